//! The operators' page as it is served, and what dashboards and alerts are made of.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use dual_write_proxy::operate::page::page;
use dual_write_proxy::operate::prometheus;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::support::{Request, World};

/// All of it is in the wasm, and each new isolate loads that.
const MAX_BYTES: usize = 55_000;

fn get(world: &Rc<World>, path: &str) -> (u16, String) {
    let answer = world.ask(Request::new("GET", path));
    (answer.status, answer.body)
}

fn header(name: &str) -> String {
    let answer = page();
    let mut headers = answer.headers.into_iter();
    let found = headers.find(|(known, _)| *known == name);
    found.unwrap_or_else(|| panic!("no header {name}")).1
}

#[test]
fn the_page_is_there_for_everybody_and_nowhere_without_an_admin_token() {
    let open = World::with(1, &[("ADMIN_TOKEN", "operator-s3cret")]);
    let (status, body) = get(&open, "/_proxy/");
    assert_eq!(status, 200);
    assert_eq!(body, page().body);
    assert!(!body.contains("operator-s3cret"));
    assert_eq!(get(&open, "/_proxy/?token=x").1, body, "a query is nothing");
    // What it asks for is still closed.
    assert_eq!(get(&open, "/_proxy/status").0, 401);
    assert_eq!(open.ask(Request::new("POST", "/_proxy/")).status, 401);
    let closed = World::with(1, &[("ADMIN_TOKEN", "")]);
    assert_eq!(get(&closed, "/_proxy/").0, 404);
    assert_eq!(open.logto.n_served(""), 0, "Logto was asked");
}

#[test]
fn its_policy_allows_its_own_script_and_style_and_nothing_else() {
    let policy = header("content-security-policy");
    let rules: BTreeMap<&str, &str> = policy
        .split("; ")
        .map(|rule| rule.split_once(' ').unwrap())
        .collect();
    let body = page().body;
    let digest = |name: &str, open: &str| {
        let close = format!("</{name}>");
        assert_eq!(body.matches(open).count(), 1);
        let inside = body.split_once(open).unwrap().1;
        let inside = inside.split_once(&close).unwrap().0;
        assert!(inside.len() > 1_000);
        format!("'sha256-{}'", STANDARD.encode(Sha256::digest(inside)))
    };
    let script = digest("script", "<script type=\"module\">");
    let style = digest("style", "<style>");
    let expected = BTreeMap::from([
        ("default-src", "'none'"),
        ("script-src", script.as_str()),
        ("style-src", style.as_str()),
        ("img-src", "data:"),
        ("connect-src", "'self'"),
        ("base-uri", "'none'"),
        ("form-action", "'none'"),
        ("frame-ancestors", "'none'"),
        ("require-trusted-types-for", "'script'"),
        ("trusted-types", "'none'"),
    ]);
    assert_eq!(rules, expected);
    for (name, value) in [
        ("content-type", "text/html; charset=utf-8"),
        ("cache-control", "no-store"),
        ("referrer-policy", "no-referrer"),
        ("x-content-type-options", "nosniff"),
        ("x-frame-options", "DENY"),
    ] {
        assert_eq!(header(name), value);
    }
}

#[test]
fn it_is_small_and_names_no_other_host_and_makes_no_markup_of_text() {
    let body = page().body;
    assert!(body.len() <= MAX_BYTES, "{} bytes", body.len());
    // The one that is a name, not an address.
    let without = body.replace("'http://www.w3.org/2000/svg'", "");
    for word in [
        "http:",
        "https:",
        "\"//",
        "'//",
        "@import",
        "url(",
        "src=",
        "innerHTML",
        "outerHTML",
        "insertAdjacentHTML",
        "document.write",
        "DOMParser",
        "eval(",
        "localStorage",
        "sessionStorage",
        "document.cookie",
        " style=\"",
        "/*style*/",
        "/*script*/",
    ] {
        assert!(!without.contains(word), "the page has {word}");
    }
    let handlers = [" onclick=", " onload=", " onsubmit=", "javascript:"];
    assert!(handlers.iter().all(|word| !body.contains(word)));
    // Nothing of a form could be sent by the browser itself.
    let form = body.split_once("<form").unwrap().1;
    let form = form.split_once("</form>").unwrap().0;
    assert!(!form.contains("name=") && !form.contains("action="));
    assert!(form.contains("autocomplete=\"off\""));
    // What it may change is what is safe.
    let posts: Vec<_> = [
        "authority",
        "stage",
        "handover",
        "abort",
        "flags/",
        "overrule",
        "confirm",
    ]
    .into_iter()
    .filter(|path| {
        body.contains(&format!("path: '{path}")) || body.contains(&format!("path: `{path}"))
    })
    .collect();
    assert!(posts.is_empty(), "{posts:?}");
}

/// What `/_proxy/metrics` tells: each series with the names of its labels.
fn exposed() -> BTreeMap<String, BTreeSet<String>> {
    let row = |metric: &str, backend: &str, label: &str| {
        let row = json!({ "metric": metric, "operation": "users.get", "backend": backend, "label": label, "count": 1 });
        row.as_object().unwrap().clone()
    };
    let rows = [
        row("requests", "mgpass", "5xx"),
        row("plans", "", "fence"),
        row("fallbacks", "", "timeout"),
        row("compared", "", "match"),
        row("mismatches", "", "value"),
        row("ignored", "", "rule"),
        row("latency", "mgpass", "10"),
        row("latency_sum_ms", "mgpass", ""),
    ];
    let newest = json!({
        "slot": 60_000, "stage": "dual_write", "authority": "logto", "asked_bps": 1, "allowed_bps": 1,
        "n_open": 1, "oldest_ms": 1, "n_parked": 1, "n_ready": 1, "n_mirrored": 1,
    });
    let text = prometheus::render(&rows, newest.as_object());
    let mut exposed: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (series, _) = line.rsplit_once(' ').unwrap();
        let (name, labels) = series.split_once('{').unwrap_or((series, ""));
        let labels = labels
            .trim_end_matches('}')
            .split(',')
            .filter_map(|pair| pair.split_once('='));
        let known = exposed.entry(name.to_owned()).or_default();
        known.extend(labels.map(|(name, _)| name.to_owned()));
    }
    // Each that is announced has a line.
    let announced = text
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE "))
        .map(|rest| rest.split(' ').next().unwrap());
    for name in announced {
        assert!(
            exposed.keys().any(|known| known.starts_with(name)),
            "{name} has no line"
        );
    }
    exposed
}

/// The series that a query names, with the labels of its selector.
fn named(query: &str) -> Vec<(String, BTreeSet<String>)> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let starts = query
        .match_indices("dual_write_")
        .map(|(start, _)| &query[start..]);
    starts
        .map(|rest| {
            let end = rest.find(|c| !is_part(c)).unwrap_or(rest.len());
            let (name, rest) = rest.split_at(end);
            let inside = rest.strip_prefix('{').and_then(|rest| rest.split_once('}'));
            let labels = inside
                .map_or("", |(labels, _)| labels)
                .split(',')
                .filter(|pair| !pair.is_empty());
            let labels = labels.map(|pair| pair.split(|c| !is_part(c)).next().unwrap().to_owned());
            (name.to_owned(), labels.collect())
        })
        .collect()
}

/// Every string below a member of that name.
fn queries(value: &Value, member: &str, found: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            for (name, value) in members {
                match value.as_str() {
                    Some(text) if name == member => found.push(text.to_owned()),
                    _ => queries(value, member, found),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| queries(item, member, found)),
        _ => {}
    }
}

fn document(name: &str) -> String {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("docs")
        .join(name);
    std::fs::read_to_string(path).unwrap()
}

#[test]
fn dashboard_and_alerts_name_what_is_exposed_and_all_of_it() {
    let exposed = exposed();
    let dashboard: Value = serde_json::from_str(&document("grafana.json")).unwrap();
    let mut expressions = Vec::new();
    queries(&dashboard, "expr", &mut expressions);
    assert!(expressions.len() > 8);
    let shown: BTreeSet<String> = expressions
        .iter()
        .flat_map(|query| named(query))
        .map(|(name, _)| name)
        .collect();
    let alerts = document("alerts.yml");
    let exprs: Vec<_> = alerts
        .lines()
        .filter_map(|line| line.trim().strip_prefix("expr: "))
        .map(str::to_owned)
        .collect();
    assert_eq!(exprs.len(), alerts.matches("- alert: ").count());
    for query in expressions.iter().chain(&exprs) {
        let series = named(query);
        assert!(!series.is_empty(), "{query}");
        for (name, labels) in series {
            let known = exposed
                .get(&name)
                .unwrap_or_else(|| panic!("{name} of {query} is not exposed"));
            assert!(labels.is_subset(known), "{query}: {labels:?} of {known:?}");
        }
    }
    // A sum is of use only beside its count.
    let unseen: Vec<_> = exposed
        .keys()
        .filter(|name| !shown.contains(*name) && !name.ends_with("_sum"))
        .collect();
    assert!(unseen.is_empty(), "on no panel: {unseen:?}");
}

#[test]
fn each_alert_says_what_is_wrong_and_what_to_do() {
    let alerts = document("alerts.yml");
    for rule in alerts.split("- alert: ").skip(1) {
        let name = rule.lines().next().unwrap();
        for member in ["expr: ", "severity: ", "summary: ", "description: "] {
            assert!(rule.contains(member), "{name} has no {member}");
        }
        assert!(rule.contains("dwp "), "{name} names no command");
    }
}

//! Which folder of `src` uses which, by the paths that the code names, and the circles
//! between its files. `cargo test --test native layout -- --nocapture` prints both.

use std::collections::{BTreeMap, BTreeSet};

use super::{code, is_test_file, sources};

/// Each folder with those that it uses, from the ground up: a folder uses only what
/// stands above it here. What is not used any more must go from the list too.
const USES: &[(&str, &[&str])] = &[
    ("inbound", &[]),
    ("token", &[]),
    ("policy", &["inbound"]),
    ("runtime", &["inbound", "policy", "token"]),
    ("auth", &["inbound", "policy", "runtime", "token"]),
    ("handover", &["inbound", "policy", "runtime"]),
    ("mirror", &["handover", "inbound", "policy", "runtime"]),
    (
        "population",
        &["handover", "inbound", "mirror", "policy", "runtime"],
    ),
    (
        "operate",
        &[
            "auth",
            "handover",
            "inbound",
            "mirror",
            "policy",
            "population",
            "runtime",
            "token",
        ],
    ),
    (
        "serve",
        &[
            "auth",
            "handover",
            "inbound",
            "mirror",
            "operate",
            "policy",
            "population",
            "runtime",
            "token",
        ],
    ),
    ("shell", &["inbound", "mirror", "runtime", "serve", "token"]),
];

/// File to the files whose names it uses.
type Graph = BTreeMap<String, BTreeSet<String>>;

/// `src/serve/read.rs` as `serve::read`.
fn module(file: &str) -> Option<String> {
    let path = file.strip_prefix("src/")?.strip_suffix(".rs")?;
    (path != "lib").then(|| path.replace('/', "::"))
}

fn folder(module: &str) -> &str {
    module.split("::").next().unwrap_or(module)
}

/// Whether `file` lies in the module `of`, however deep.
fn is_below(module: &str, of: &str) -> bool {
    module
        .strip_prefix(of)
        .is_some_and(|rest| rest.starts_with("::"))
}

/// `a::{b, c::{self, D}}` as `a::b`, `a::c::self`, `a::c::D`.
fn expand(tree: &str) -> Vec<String> {
    let Some((prefix, rest)) = tree.split_once('{') else {
        return vec![tree.trim().to_owned()];
    };
    let mut parts = vec![String::new()];
    let mut depth = 0;
    for character in rest[..rest.rfind('}').unwrap()].chars() {
        match character {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(String::new());
                continue;
            }
            _ => {}
        }
        parts.last_mut().unwrap().push(character);
    }
    parts
        .iter()
        .filter(|part| !part.trim().is_empty())
        .flat_map(|part| expand(&format!("{prefix}{}", part.trim())))
        .collect()
}

/// Every path in the code that begins with one of these, from the root of the crate.
fn paths(module: &str, text: &str) -> Vec<String> {
    let text: Vec<&str> = code(text).map(|(_, line)| line.trim()).collect();
    let text = text.join(" ");
    let is_name = |character: char| character.is_alphanumeric() || character == '_';
    let mut found = Vec::new();
    for head in ["crate::", "super::", "self::"] {
        for (start, _) in text.match_indices(head) {
            let before = text[..start].chars().next_back();
            // Not the end of another name, nor in the middle of a path.
            if before.is_some_and(|before| is_name(before) || before == ':') {
                continue;
            }
            let rest = &text[start..];
            let is_use = text[..start].trim_end().ends_with("use");
            let end = match is_use {
                true => rest.find(';'),
                false => rest.find(|next: char| !is_name(next) && next != ':'),
            };
            let whole = &rest[..end.unwrap_or(rest.len())];
            found.extend(expand(whole).iter().map(|path| absolute(module, path)));
        }
    }
    found
}

fn absolute(module: &str, path: &str) -> String {
    let mut at: Vec<&str> = module.split("::").collect();
    let mut rest = path.split(" as ").next().unwrap_or(path).trim();
    loop {
        if let Some(after) = rest.strip_prefix("crate::") {
            at.clear();
            rest = after;
        } else if let Some(after) = rest.strip_prefix("super::") {
            at.pop();
            rest = after;
        } else if let Some(after) = rest.strip_prefix("self::") {
            rest = after;
        } else {
            break;
        }
    }
    at.extend(rest.split("::").filter(|part| *part != "self"));
    at.join("::")
}

fn graph() -> Graph {
    let files: BTreeMap<String, String> = sources()
        .into_iter()
        .filter(|(name, _)| !is_test_file(name))
        .filter_map(|(name, text)| Some((module(&name)?, text)))
        .collect();
    let file_of = |path: &str| {
        let mut path = path;
        loop {
            if files.contains_key(path) {
                return Some(path.to_owned());
            }
            path = path.rsplit_once("::")?.0;
        }
    };
    files
        .iter()
        .map(|(module, text)| {
            let used = paths(module, text)
                .iter()
                .filter_map(|path| file_of(path))
                .filter(|used| used != module)
                .collect();
            (module.clone(), used)
        })
        .collect()
}

fn reached(graph: &Graph, from: &str) -> BTreeSet<String> {
    let mut seen = BTreeSet::new();
    let mut left = vec![from.to_owned()];
    while let Some(file) = left.pop() {
        for next in &graph[&file] {
            if seen.insert(next.clone()) {
                left.push(next.clone());
            }
        }
    }
    seen
}

/// Files that all reach each other, the largest first.
fn circles(graph: &Graph) -> Vec<BTreeSet<String>> {
    let reach: BTreeMap<&String, BTreeSet<String>> = graph
        .keys()
        .map(|file| (file, reached(graph, file)))
        .collect();
    let mut circles: Vec<BTreeSet<String>> = Vec::new();
    for file in graph.keys() {
        let circle: BTreeSet<String> = reach[file]
            .iter()
            .filter(|other| reach[other].contains(file))
            .cloned()
            .collect();
        if circle.len() > 1 && !circles.contains(&circle) {
            circles.push(circle);
        }
    }
    circles.sort_by_key(|circle| std::cmp::Reverse(circle.len()));
    circles
}

fn arrows(graph: &Graph) -> BTreeMap<&str, BTreeSet<&str>> {
    let mut arrows: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (file, used) in graph {
        let from = arrows.entry(folder(file)).or_default();
        from.extend(
            used.iter()
                .map(|used| folder(used))
                .filter(|to| *to != folder(file)),
        );
    }
    arrows
}

#[test]
fn the_arrows_between_folders_are_those_of_the_list_and_run_one_way() {
    let graph = graph();
    let arrows = arrows(&graph);
    let mut above = BTreeSet::new();
    for (name, uses) in USES {
        assert!(
            uses.iter().all(|used| above.contains(used)),
            "{name} uses something that does not stand above it in the list"
        );
        above.insert(*name);
    }
    println!("layout: {} folders in src", arrows.len());
    for (name, uses) in USES.iter().rev() {
        println!("layout: {name:<10} -> {}", uses.join(", "));
    }
    let listed: BTreeMap<&str, BTreeSet<&str>> = USES
        .iter()
        .map(|(name, uses)| (*name, uses.iter().copied().collect()))
        .collect();
    for (name, found) in &arrows {
        let allowed = listed
            .get(name)
            .unwrap_or_else(|| panic!("src/{name} is in no layer"));
        let forbidden: Vec<_> = graph
            .iter()
            .filter(|(file, _)| folder(file) == *name)
            .flat_map(|(file, used)| used.iter().map(move |used| (file, used)))
            .filter(|(_, used)| folder(used) != *name && !allowed.contains(folder(used)))
            .collect();
        assert!(forbidden.is_empty(), "not in the list: {forbidden:?}");
        let unused: Vec<_> = allowed.difference(found).collect();
        assert!(unused.is_empty(), "{name} does not use {unused:?} any more");
    }
    assert_eq!(arrows.len(), USES.len(), "a folder of the list is gone");
    assert!(
        arrows.len() <= 11,
        "too many folders to take in at a glance"
    );
}

#[test]
fn no_circle_of_files_is_larger_than_a_file_with_its_children() {
    let graph = graph();
    let circles = circles(&graph);
    match circles.first() {
        None => println!("layout: no circle of files"),
        Some(largest) => println!(
            "layout: largest circle of {} files: {largest:?}",
            largest.len()
        ),
    }
    for circle in circles {
        let has_parent = circle.iter().any(|parent| {
            circle
                .iter()
                .all(|file| file == parent || is_below(file, parent))
        });
        assert!(has_parent, "a circle of files: {circle:?}");
    }
}

#[test]
fn children_of_a_file_make_no_circle_among_themselves() {
    let mut graph = graph();
    for (file, used) in &mut graph {
        used.retain(|used| !is_below(file, used));
    }
    assert_eq!(circles(&graph), Vec::<BTreeSet<String>>::new());
}

#[test]
fn paths_are_read_as_the_compiler_does() {
    let text = "use crate::a::{self, b::{C, D as E}};\nfn f() { super::g::h(1); }\npub use self::k::L;\n\
        // crate::in_a_comment\n#[cfg(test)]\nmod tests {\n use crate::only_in_tests::X;\n}\n";
    let found: BTreeSet<String> = paths("x::y", text).into_iter().collect();
    let expected = ["a", "a::b::C", "a::b::D", "x::g::h", "x::y::k::L"];
    assert_eq!(found, expected.map(str::to_owned).into());
}

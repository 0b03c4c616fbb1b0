//! Judges recorded writes: reads requests with the state they met, as JSON lines, and says for each
//! what `translate_write` makes of it. The first line holds the tenants; `differential.mjs` drives it
//! and compares with what the stand-in did.
//!
//! Of each translated write it checks besides that `changes` are complete, minimal, and that the
//! user, mapped to mgPass and shown again by the read path, reads as Logto would show them.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on fails"
)]

use std::io::{BufRead, Write as _};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use dual_write_proxy::inbound::request::Method;
use dual_write_proxy::mirror::mapping::{MgpassUser, map};
use dual_write_proxy::mirror::residue::Residue;
use dual_write_proxy::runtime::backend::logto::LogtoUser;
use dual_write_proxy::runtime::backend::mgpass::{ApiIdentity, ApiUser, Field};
use dual_write_proxy::runtime::members::{Members, ObjectWriter};
use dual_write_proxy::runtime::ports::Value as SqlValue;
use dual_write_proxy::runtime::settings::MappingSettings;
use dual_write_proxy::serve::translate::view::View;
use dual_write_proxy::serve::translate::{Shown, users_get};
use dual_write_proxy::serve::translate_write::{
    AccountCaller, After, Applied, Body, Changes, Column, Cors, Facts, PathUser, Proof, Question,
    Reply, Route, Settings, Step, Tenant, Unique, UniqueKind, Write, apply, find,
};
use serde_json::{Value, json};

fn main() {
    let defect = std::env::args().nth(1).unwrap_or_default();
    let mut lines = std::io::stdin().lock().lines().map(|line| line.unwrap());
    let tenants: Value = serde_json::from_str(&lines.next().unwrap()).unwrap();
    let tenants: Vec<Tenant> = tenants
        .as_array()
        .unwrap()
        .iter()
        .map(|tenant| Tenant::parse(&tenant[0].to_string(), &tenant[1].to_string()).unwrap())
        .collect();
    let mut out = std::io::stdout().lock();
    for line in lines {
        let mut case: Value = serde_json::from_str(&line).unwrap();
        spoil(&mut case, &defect);
        let tenant = &tenants[usize::try_from(case["tenant"].as_u64().unwrap()).unwrap()];
        writeln!(out, "{}", judge(&case, tenant)).unwrap();
        out.flush().unwrap();
    }
}

/// A defect of `translate_write`, planted by giving it something else than was there.
fn spoil(case: &mut Value, defect: &str) {
    match defect {
        "" => {}
        "replaces_instead_of_merging" => {
            let path = case["path"].as_str().unwrap().to_owned();
            for (name, end) in [("customData", "/custom-data"), ("profile", "/profile")] {
                if path.ends_with(end) {
                    edit_view(case, name, &json!({}));
                }
            }
        }
        "forgets_who_holds_what" => case["held"] = json!([]),
        "takes_any_type_for_json" => case["content_type"] = json!("application/json"),
        "looks_for_the_user_first" if case["view"].is_null() => case["body"] = json!("e30="),
        "looks_for_the_user_first" => {}
        "has_a_clock_of_its_own" => {
            case["now_ms"] = json!(case["now_ms"].as_i64().unwrap_or(0) + 1);
        }
        "shows_all_to_every_token" => case["shown"] = case["view"].clone(),
        "believes_every_proof" => case["proof"] = json!("holds"),
        "forgets_passwords" => edit_view(case, "hasPassword", &json!(false)),
        other => panic!("no defect {other}"),
    }
}

/// Nothing but the one member differs.
fn edit_view(case: &mut Value, name: &str, value: &Value) {
    if let Some(view) = case["view"].as_str() {
        let mut writer = ObjectWriter::default();
        for (member, text) in Members::parse(view).unwrap().iter() {
            let value = if member == name {
                value.to_string()
            } else {
                text.to_owned()
            };
            writer.member(member, &value);
        }
        case["view"] = json!(writer.finish());
    }
}

fn mapping() -> MappingSettings {
    let same = |name: &str| (name.to_owned(), name.to_owned());
    MappingSettings {
        providers: vec![same("google"), same("apple"), same("facebook")],
        email_verified: true,
        phone_verified: true,
    }
}

fn judge(case: &Value, tenant: &Tenant) -> Value {
    let text = |name: &str| case[name].as_str();
    let mapping = mapping();
    let settings = Settings {
        tenant,
        mapping: &mapping,
        now_ms: case["now_ms"].as_i64().unwrap(),
    };
    let method = Method::parse(text("method").unwrap());
    let Some(found) = find(method, text("path").unwrap()) else {
        return json!({ "step": "no_route" });
    };
    let id = found.user.as_ref().map(|user| user.as_str());
    let write = match &found.route {
        Route::Users(route) => Write::Users {
            route,
            user: match (id, text("view")) {
                (Some(id), Some(view)) => PathUser::Known { id, view },
                (Some(id), None) => PathUser::Missing { id },
                (None, _) => PathUser::Nobody,
            },
            caller: text("caller").unwrap(),
        },
        Route::Account(route) => Write::Account {
            route,
            user: text("view").unwrap(),
            caller: AccountCaller {
                shown: text("shown").unwrap(),
                proof: match text("proof").unwrap() {
                    "holds" => Proof::Holds,
                    "fails" => Proof::Fails,
                    _ => Proof::Unknown,
                },
            },
        },
    };
    let bytes = text("body").map(|body| STANDARD.decode(body).unwrap());
    let body = Body {
        content_type: text("content_type"),
        content_encoding: text("content_encoding"),
        bytes: bytes.as_deref(),
    };
    let cors = match &found.route {
        Route::Users(_) => Cors::SameOrigin,
        Route::Account(_) => Cors::AnyOrigin {
            origin: text("origin"),
        },
    };
    let (step, asked) = settle(case, &settings, write, body);
    let mut verdict = match step {
        Step::Ask(question) => json!({ "step": "ask", "question": format!("{question:?}") }),
        Step::Refuse(refusal) => json!({ "step": "refuse", "code": refusal.code() }),
        Step::Answer(reply) => {
            let mut verdict = shown(reply, cors);
            verdict["step"] = json!("answer");
            verdict
        }
        Step::Apply(applied) => {
            let broken = broken(&settings, text("view"), &applied);
            let mut verdict = shown(applied.reply.clone(), cors);
            describe(&mut verdict, &applied);
            verdict["step"] = json!("apply");
            verdict["broken"] = json!(broken);
            verdict
        }
    };
    verdict["asked"] = json!(asked);
    verdict
}

/// Answers questions from the case until there is no more to ask.
fn settle(
    case: &Value,
    settings: &Settings<'_>,
    write: Write<'_>,
    body: Body<'_>,
) -> (Step, Vec<&'static str>) {
    let held: Vec<Unique> = case["held"]
        .as_array()
        .unwrap()
        .iter()
        .map(unique)
        .collect();
    let mut known: Vec<Unique> = Vec::new();
    let mut facts = Facts::default();
    let mut asked = Vec::new();
    loop {
        let mut now = facts;
        if asked.contains(&"holders") {
            now.held_by_others = Some(&known);
        }
        let step = apply(settings, write, body, &now);
        let question = match &step {
            Step::Ask(question) if asked.len() < 8 => question,
            _ => return (step, asked),
        };
        match question {
            Question::Holders(values) => {
                assert!(!asked.contains(&"holders"), "asked twice");
                known = values
                    .iter()
                    .filter(|value| held.contains(value))
                    .cloned()
                    .collect();
                asked.push("holders");
            }
            Question::IsAddress(text) => {
                assert_eq!(Some(text.as_str()), case["avatar"].as_str());
                facts.is_address = case["is_address"].as_bool();
                asked.push("is_address");
            }
            Question::PasswordIsLeaked(_) => {
                facts.password_is_leaked = case["is_leaked"].as_bool();
                asked.push("password_is_leaked");
            }
            Question::PasswordIsRight(_) => {
                facts.password_is_right = case["is_right"].as_bool();
                asked.push("password_is_right");
            }
            Question::SsoIdentities => {
                facts.n_sso_identities = case["n_sso"].as_u64().and_then(|n| n.try_into().ok());
                asked.push("sso_identities");
            }
            Question::Reservation => {
                asked.push("reservation");
                facts.reserved = case["reserved"].as_str();
                if facts.reserved.is_none() {
                    return (step, asked);
                }
            }
        }
    }
}

fn unique(value: &Value) -> Unique {
    let part = |index: usize| value[index].as_str().unwrap().to_owned();
    let kind = match value[0].as_str().unwrap() {
        "username" => UniqueKind::Username,
        "email" => UniqueKind::Email,
        "phone" => UniqueKind::Phone,
        _ => UniqueKind::Identity(part(2)),
    };
    Unique {
        kind,
        value: part(1),
    }
}

fn name_of(unique: &Unique) -> Value {
    match &unique.kind {
        UniqueKind::Username => json!(["username", unique.value]),
        UniqueKind::Email => json!(["email", unique.value]),
        UniqueKind::Phone => json!(["phone", unique.value]),
        UniqueKind::Identity(target) => json!(["identity", unique.value, target]),
    }
}

fn shown(reply: Reply, cors: Cors<'_>) -> Value {
    let answer = reply.into_answer("request-id", cors);
    let headers: serde_json::Map<_, _> = answer
        .headers
        .into_iter()
        .map(|(name, value)| (name.to_owned(), json!(value)))
        .collect();
    json!({ "status": answer.status, "headers": headers, "text": answer.body })
}

fn describe(verdict: &mut Value, applied: &Applied) {
    let (kind, view) = match &applied.after {
        After::Created(view) => ("created", Some(view)),
        After::Changed(view) => ("changed", Some(view)),
        After::Deleted => ("deleted", None),
    };
    verdict["after"] = json!(kind);
    verdict["view"] = json!(view);
    let names = |values: &[Unique]| values.iter().map(name_of).collect::<Vec<_>>();
    verdict["claimed"] = json!(names(&applied.changes.claimed));
    verdict["released"] = json!(names(&applied.changes.released));
    verdict["revoke_all"] = json!(applied.owed.revoke_all);
    verdict["password"] = json!(applied.owed.password.as_ref().map(|secret| &secret.0));
}

/// Which promise of `Changes` does not hold.
fn broken(settings: &Settings<'_>, before: Option<&str>, applied: &Applied) -> Option<String> {
    let mapped = |view: &str| map(&LogtoUser::parse(view).unwrap(), settings.mapping).user;
    let (view, before) = match (&applied.after, before) {
        (After::Created(view), _) => (view, None),
        (After::Changed(view), before) => (view, before.map(mapped)),
        (After::Deleted, _) => return None,
    };
    let after = mapped(view);
    if let Some(before) = before {
        let carried = carried_out(before.clone(), &applied.changes);
        if !is_same(&carried, &after) {
            return Some(format!("carried out: {carried:?}, wanted: {after:?}"));
        }
        for (column, value) in &applied.changes.columns {
            let mut spared = before.clone();
            put(&mut spared, *column, value);
            if is_same(&spared, &before) {
                return Some(format!("{} does not change", column.name()));
            }
        }
    }
    let read = read_back(&after, view, settings.mapping);
    (read != *view).then(|| format!("read back: {read}"))
}

fn carried_out(mut user: MgpassUser, changes: &Changes) -> MgpassUser {
    for (column, value) in &changes.columns {
        put(&mut user, *column, value);
    }
    let account = |identity: &dual_write_proxy::mirror::mapping::MgpassIdentity| {
        (identity.provider.clone(), identity.provider_user_id.clone())
    };
    for dropped in &changes.identities_dropped {
        user.identities
            .retain(|held| account(held) != account(dropped));
    }
    for added in &changes.identities_put {
        user.identities
            .retain(|held| account(held) != account(added));
        user.identities.push(added.clone());
    }
    user
}

fn put(user: &mut MgpassUser, column: Column, value: &SqlValue) {
    let text = match value {
        SqlValue::Text(text) => Some(text.clone()),
        SqlValue::Integer(_) | SqlValue::Null => None,
    };
    let integer = match value {
        SqlValue::Integer(number) => Some(*number),
        SqlValue::Text(_) | SqlValue::Null => None,
    };
    match column {
        Column::Email => user.email = text,
        Column::Phone => user.phone = text,
        Column::Name => user.name = text,
        Column::Avatar => user.avatar = text,
        Column::Metadata => user.metadata = text.unwrap(),
        Column::IsSuspended => user.is_suspended = integer == Some(1),
        Column::CreatedAt => user.created_at_s = integer.unwrap(),
        Column::LastSignInAt => user.last_sign_in_at_s = integer,
    }
}

fn is_same(one: &MgpassUser, other: &MgpassUser) -> bool {
    let plain = |user: &MgpassUser| {
        let mut user = user.clone();
        let metadata: Value = serde_json::from_str(&user.metadata).unwrap();
        user.metadata = String::new();
        user.identities
            .sort_by(|one, other| one.provider.cmp(&other.provider));
        (user, metadata)
    };
    plain(one) == plain(other)
}

/// The read path's answer to the user as mgPass would hold them.
fn read_back(user: &MgpassUser, view: &str, mapping: &MappingSettings) -> String {
    let residue = Residue::parse(&Residue::of(&LogtoUser::parse(view).unwrap())).unwrap();
    let api = ApiUser {
        id: user.id.as_str().to_owned(),
        email: user.email.clone(),
        phone: user.phone.clone(),
        name: user.name.clone(),
        avatar: user.avatar.clone(),
        custom_data: Field::Shown(user.metadata.clone()),
        is_suspended: user.is_suspended,
        created_at_s: user.created_at_s,
        last_sign_in_at_s: Field::Shown(user.last_sign_in_at_s),
        is_deleted: false,
    };
    let identities: Vec<ApiIdentity> = user
        .identities
        .iter()
        .map(|identity| ApiIdentity {
            provider: identity.provider.clone(),
            provider_user_id: identity.provider_user_id.clone(),
            profile_data: Field::Shown(identity.profile_data.clone()),
        })
        .collect();
    let shown = users_get::show(
        &View {
            user: &api,
            identities: &identities,
            residue: Some(&residue),
            settings: mapping,
        },
        None,
    );
    match shown {
        Shown::Body(body) => body,
        Shown::Refusal(refusal) => format!("{refusal:?}"),
    }
}

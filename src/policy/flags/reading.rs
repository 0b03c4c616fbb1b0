//! From KV's texts to flags: one key, one plain value.
//!
//! Pure and total: a bad value keeps that key's last good value in this isolate, else
//! its safe default, and is reported. It never stops traffic. Brakes fail closed: a
//! `kill_switch`, `guard` or `sign_in_stop` that cannot be read and is not empty is pulled,
//! whatever was last good.

use std::sync::Arc;

use super::{FlagFault, Flags, Guard, Share, SignInStop, Stage, served_operations};
use crate::inbound::classify::Operation;
use crate::policy::applications::Applications;

/// Every key that is read, in one order: the caller fetches them all.
pub fn keys() -> Vec<String> {
    let fixed = [
        "stage",
        "read_percent",
        "compare_percent",
        "kill_switch",
        "jwks_union",
        "fallback",
        "salt",
        "guard",
        "sign_in_percent",
        "sign_in_stop",
        "mgpass_pages",
        "applications",
    ];
    let per_operation = served_operations().map(operation_key);
    fixed
        .into_iter()
        .map(String::from)
        .chain(per_operation)
        .collect()
}

fn operation_key(operation: Operation) -> String {
    format!("read_percent.{}", operation.name())
}

/// What KV answered, key by key; `None` is an absent key.
pub type RawFlags = [(String, Option<String>)];

/// The next snapshot: `raw` over `previous`.
pub fn parse(previous: &Flags, raw: &RawFlags) -> Flags {
    let defaults = Flags::default();
    let mut next = previous.clone();
    let mut refused = Vec::new();
    for (key, value) in raw {
        // Tolerates the line end that `echo` adds.
        let value = value.as_deref().map(str::trim);
        let taken = match key.as_str() {
            "stage" => parse_stage(&mut next, value),
            "read_percent" => set(
                &mut next.read_percent,
                value,
                defaults.read_percent,
                Share::parse_percent,
            ),
            "compare_percent" => set(&mut next.compare_percent, value, None, |text| {
                Share::parse_percent(text).map(Some)
            }),
            "kill_switch" => set_brake(&mut next.kill_switch, value, false, true, parse_switch),
            "jwks_union" => set(&mut next.jwks_union, value, false, parse_switch),
            "fallback" => set(&mut next.fallback, value, true, parse_on_unless_off),
            "salt" => set(&mut next.salt, value, String::new(), |text| {
                (text.len() <= 256).then(|| text.to_owned())
            }),
            "guard" => {
                let pulled = Some(Guard::unreadable());
                set_brake(&mut next.guard, value, None, pulled, parse_guard)
            }
            "sign_in_percent" => set(
                &mut next.sign_in_percent,
                value,
                defaults.sign_in_percent,
                Share::parse_percent,
            ),
            "sign_in_stop" => {
                let pulled = Some(SignInStop {
                    reason: "unreadable".to_owned(),
                });
                set_brake(&mut next.sign_in_stop, value, None, pulled, parse_stop)
            }
            "mgpass_pages" => set(&mut next.mgpass_pages_closed, value, false, parse_pages),
            "applications" => parse_applications(&mut next.applications, value),
            _ => next
                .read_percent_by_operation
                .iter_mut()
                .find(|(operation, _)| operation_key(*operation) == *key)
                .map_or(Ok(()), |(_, share)| {
                    set(share, value, None, |text| {
                        Share::parse_percent(text).map(Some)
                    })
                }),
        };
        if let Err(code) = taken {
            refused.push(FlagFault {
                key: key.clone(),
                code,
            });
        }
    }
    next.refused = refused;
    next
}

fn set<T>(
    field: &mut T,
    value: Option<&str>,
    absent: T,
    parse: impl Fn(&str) -> Option<T>,
) -> Result<(), &'static str> {
    match value {
        None => *field = absent,
        Some(text) => *field = parse(text).ok_or("unreadable")?,
    }
    Ok(())
}

/// Whoever wrote something meant to brake: what it says is not guessed at.
fn set_brake<T>(
    brake: &mut T,
    value: Option<&str>,
    released: T,
    pulled: T,
    parse: impl Fn(&str) -> Option<T>,
) -> Result<(), &'static str> {
    let parsed = match value {
        None | Some("") => Some(released),
        Some(text) => parse(text),
    };
    let is_readable = parsed.is_some();
    *brake = parsed.unwrap_or(pulled);
    is_readable.then_some(()).ok_or("unreadable_pulled")
}

fn parse_stage(flags: &mut Flags, value: Option<&str>) -> Result<(), &'static str> {
    let stage = match value {
        None => Stage::Off,
        Some(text) => Stage::parse(text).ok_or("unreadable")?,
    };
    flags.stage = stage.min(Stage::DualWrite);
    flags.asked = stage;
    flags.is_stage_known = true;
    Ok(())
}

fn parse_switch(text: &str) -> Option<bool> {
    match text {
        "on" => Some(true),
        "off" | "" => Some(false),
        _ => None,
    }
}

/// Empty is absent, which is on.
fn parse_on_unless_off(text: &str) -> Option<bool> {
    match text {
        "on" | "" => Some(true),
        "off" => Some(false),
        _ => None,
    }
}

fn parse_pages(text: &str) -> Option<bool> {
    match text {
        "closed" => Some(true),
        "open" => Some(false),
        _ => None,
    }
}

/// `{"reason": "..."}`, as the proxy writes it.
fn parse_stop(text: &str) -> Option<Option<SignInStop>> {
    let value: serde_json::Value = serde_json::from_str(text).ok()?;
    let reason = value.get("reason")?.as_str()?.to_owned();
    Some(Some(SignInStop { reason }))
}

fn parse_applications(
    applications: &mut Arc<Applications>,
    value: Option<&str>,
) -> Result<(), &'static str> {
    let parsed = match value {
        None => Applications::default(),
        Some(text) => Applications::parse(text)?,
    };
    // Snapshots share one list for as long as it stays the same.
    if **applications != parsed {
        *applications = Arc::new(parsed);
    }
    Ok(())
}

/// `{"cap_percent": "0", "reason": "..."}`, as the guard writes it.
fn parse_guard(text: &str) -> Option<Option<Guard>> {
    let value: serde_json::Value = serde_json::from_str(text).ok()?;
    let cap = Share::parse_percent(value.get("cap_percent")?.as_str()?)?;
    let reason = value.get("reason")?.as_str()?.to_owned();
    Some(Some(Guard { cap, reason }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(pairs: &[(&str, Option<&str>)]) -> Vec<(String, Option<String>)> {
        pairs
            .iter()
            .map(|(key, value)| ((*key).to_owned(), value.map(str::to_owned)))
            .collect()
    }

    #[test]
    fn absent_keys_are_the_safe_defaults() {
        let nothing: Vec<_> = keys().into_iter().map(|key| (key, None)).collect();
        let before = Flags {
            stage: Stage::DualWrite,
            kill_switch: true,
            ..Flags::default()
        };
        assert_eq!(parse(&before, &nothing), Flags::default());
    }

    #[test]
    fn a_bad_value_keeps_the_last_good_one_and_is_reported() {
        let good = parse(
            &Flags::default(),
            &raw(&[
                ("stage", Some("dual_write\n")),
                ("read_percent", Some("50")),
                ("jwks_union", Some("on")),
            ]),
        );
        let bad = raw(&[
            ("stage", Some("DUAL_WRITE")),
            ("read_percent", Some("fifty")),
            ("jwks_union", Some("yes")),
        ]);
        let kept = parse(&good, &bad);
        let refused = |flags: &Flags| {
            let keys = flags.refused.iter().map(|fault| fault.key.clone());
            keys.collect::<Vec<_>>()
        };
        assert_eq!(refused(&kept), ["stage", "read_percent", "jwks_union"]);
        let forgiven = |flags: Flags| Flags {
            refused: vec![],
            ..flags
        };
        assert_eq!(forgiven(kept), good);
        let fresh = parse(&Flags::unknown(), &bad);
        assert!(fresh.records_writes());
        assert_eq!(forgiven(fresh), Flags::unknown());
    }

    #[test]
    fn a_brake_that_cannot_be_read_is_pulled_whatever_was_last_good() {
        let released = raw(&[("kill_switch", Some("off")), ("guard", None)]);
        for before in [Flags::unknown(), parse(&Flags::default(), &released)] {
            for text in ["yes", "ON", "true", "1", "On", "of", "Off", "\u{feff}on"] {
                let flags = parse(&before, &raw(&[("kill_switch", Some(text))]));
                assert!(flags.kill_switch, "{text}");
                check_reported(&flags, "kill_switch");
            }
            for text in [
                "{",
                "0",
                "null",
                "[]",
                r#"{"cap_percent":0,"reason":"r"}"#,
                r#"{"cap_percent":"5%","reason":"r"}"#,
                r#"{"cap_percent":"5"}"#,
            ] {
                let flags = parse(&before, &raw(&[("guard", Some(text))]));
                let cap = flags.guard.as_ref().map(|guard| guard.cap);
                assert_eq!(cap, Some(Share::NONE), "{text}");
                check_reported(&flags, "guard");
            }
        }
    }

    #[track_caller]
    fn check_reported(flags: &Flags, key: &str) {
        let fault = FlagFault {
            key: key.to_owned(),
            code: "unreadable_pulled",
        };
        assert_eq!(flags.refused, [fault]);
    }

    #[test]
    fn a_brake_that_is_empty_or_gone_is_released() {
        let pulled = Flags {
            kill_switch: true,
            guard: Some(Guard::unreadable()),
            ..Flags::default()
        };
        for value in [None, Some(""), Some(" \n")] {
            let flags = parse(&pulled, &raw(&[("kill_switch", value), ("guard", value)]));
            assert_eq!(flags, Flags::default());
        }
    }

    #[test]
    fn cutover_and_cleanup_are_wishes_and_change_nothing_by_themselves() {
        for stage in [Stage::Cutover, Stage::Cleanup] {
            let flags = parse(&Flags::unknown(), &raw(&[("stage", Some(stage.name()))]));
            assert_eq!(flags.stage, Stage::DualWrite);
            assert_eq!(flags.asked_stage(), Some(stage));
            assert!(flags.refused.is_empty());
        }
        assert_eq!(Flags::unknown().asked_stage(), None);
    }

    #[test]
    fn an_operation_may_have_its_own_percentage() {
        let flags = parse(
            &Flags::default(),
            &raw(&[
                ("read_percent", Some("10")),
                ("read_percent.users.get", Some("2.5")),
            ]),
        );
        assert!(flags.refused.is_empty());
        assert_eq!(flags.read_share(Operation::UsersGet).basis_points(), 250);
        assert!(keys().contains(&"read_percent.users.get".to_owned()));
    }

    #[test]
    fn a_guard_caps_with_its_reason() {
        let flags = parse(
            &Flags::default(),
            &raw(&[(
                "guard",
                Some(r#"{"cap_percent":"0","reason":"error_rate"}"#),
            )]),
        );
        assert!(flags.refused.is_empty());
        assert_eq!(
            flags.guard,
            Some(Guard {
                cap: Share::NONE,
                reason: "error_rate".into()
            })
        );
    }
}

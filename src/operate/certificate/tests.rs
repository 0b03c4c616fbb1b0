//! When a certificate is made, how long it holds, and that every edit shows.

use super::kept::Recorded;
use super::verify::{digest_of, verify};
use super::*;
use crate::handover::gates::Equality;
use crate::operate::checks::{Check, NAMES, State, points};

const NOW_MS: i64 = 1_800_000_000_000;

fn checklist() -> Checklist {
    let good = points::Facts {
        is_bound: true,
        finished_at_ms: Some(NOW_MS - 1_000),
        n_compared: 1,
        ..points::Facts::default()
    };
    let check = |name| {
        let verdict = points::judge(&good, NOW_MS);
        Check::new(name, verdict, Some(NOW_MS - 1_000), json!({ "n": 1 }))
    };
    Checklist {
        checks: NAMES.into_iter().map(check).collect(),
        now_ms: NOW_MS,
        term: 3,
    }
}

fn facts() -> Facts {
    Facts {
        equality: Some(Equality {
            is_done: true,
            finished_at_ms: Some(NOW_MS - 5_000),
            n_compared: 10,
            n_unexplained: 0,
        }),
        ..Facts::default()
    }
}

fn made() -> Certificate {
    make(&Findings {
        checklist: &checklist(),
        facts: &facts(),
        job: 7,
        population: &Population::default(),
    })
}

fn recorded(certificate: &Certificate) -> Recorded {
    Recorded {
        term: 3,
        made_at_ms: NOW_MS,
        valid_until_ms: certificate.valid_until_ms,
    }
}

#[test]
fn what_is_not_green_and_not_waived_by_name_makes_none() {
    assert_eq!(may_be_made(&checklist(), &facts()), Ok(()));
    let mut red = checklist();
    red.checks[4].state = State::Idle;
    let missing = Missing::NotGreen(vec!["console".to_owned()]);
    assert_eq!(may_be_made(&red, &facts()), Err(missing.clone()));
    let waived = |gate: &str, name: &str| {
        let waiver = Waiver {
            gate: gate.to_owned(),
            name: name.to_owned(),
            reason: "looked by hand".to_owned(),
            actor: "anna".to_owned(),
        };
        let facts = Facts {
            waivers: vec![waiver],
            ..facts()
        };
        may_be_made(&red, &facts)
    };
    assert_eq!(waived("checklist", "console"), Ok(()));
    assert_eq!(waived("checklist", "audit"), Err(missing.clone()));
    assert_eq!(waived("parked", "console"), Err(missing));
}

#[test]
fn a_comparison_that_did_not_pass_makes_none() {
    let with = |change: fn(&mut Equality)| {
        let mut facts = facts();
        change(facts.equality.as_mut().unwrap());
        may_be_made(&checklist(), &facts).is_ok()
    };
    assert!(with(|_| {}));
    assert!(!with(|one| one.is_done = false));
    assert!(!with(|one| one.n_compared = 0));
    assert!(!with(|one| one.n_unexplained = 1));
    assert!(!with(
        |one| one.finished_at_ms = Some(NOW_MS - MAX_AGE_MS - 1)
    ));
    assert!(
        may_be_made(
            &checklist(),
            &Facts {
                equality: None,
                ..facts()
            }
        )
        .is_err()
    );
}

#[test]
fn it_holds_a_day_from_its_oldest_finding_in_its_own_term() {
    let certificate = made();
    assert_eq!(certificate.at_ms, NOW_MS - 5_000);
    assert_eq!(digest_of(&certificate.text), Ok(certificate.digest.clone()));
    let recorded = recorded(&certificate);
    let check = |recorded, term, now_ms, expected: &str| {
        let code = verify(recorded, term, now_ms)
            .err()
            .map(|refusal| refusal.code());
        assert_eq!(code.unwrap_or("good"), expected);
    };
    let until_ms = certificate.valid_until_ms;
    check(Some(recorded), 3, until_ms, "good");
    check(Some(recorded), 3, until_ms + 1, "certificate_expired");
    check(Some(recorded), 4, NOW_MS, "certificate_of_other_term");
    check(None, 3, NOW_MS, "certificate_not_recorded");
}

#[test]
fn every_edit_shows() {
    let certificate = made();
    let text = &certificate.text;
    let check = |edited: String, expected: &str| {
        assert_ne!(edited, *text);
        assert_eq!(
            digest_of(&edited).err().map(|refusal| refusal.code()),
            Some(expected),
            "{edited}"
        );
    };
    check(
        text.replace("\"compared\":10", "\"compared\":11"),
        "certificate_edited",
    );
    check(
        text.replace("\"term\":3", "\"term\":4"),
        "certificate_edited",
    );
    check(
        text.replace("{\"certificate\"", "{ \"certificate\""),
        "certificate_edited",
    );
    check(
        text.replace("\"term\":3", "\"term\":4,\"term\":3"),
        "certificate_edited",
    );
    check(
        text.replace(&certificate.digest, &"0".repeat(64)),
        "certificate_edited",
    );
    check("{}".to_owned(), "no_certificate");
    check(String::new(), "no_certificate");
    // One that carries a digest of its own is told by the proxy.
    let body = json!({ "kind": KIND, "term": 9 });
    let forged = json!({ "certificate": body, "sha256": digest(&body.to_string()) });
    assert_eq!(
        digest_of(&forged.to_string()).map(|found| found == certificate.digest),
        Ok(false)
    );
}

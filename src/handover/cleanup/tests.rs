//! Each gate by each fact, and what a waiver opens.

use super::*;
use crate::handover::authority::Holder;
use crate::handover::gates::State;

const NOW: i64 = 2_000_000_000_000;

fn authority() -> Authority {
    Authority {
        holder: Holder::Mgpass,
        generation: 9,
        term: 6,
        since_ms: 0,
        deadline_ms: None,
        is_raise_owed: false,
        announced: None,
        armed_until_ms: None,
        wish: None,
        kv_stage: Some(Stage::Cleanup),
        kv_before: None,
        now_ms: NOW,
    }
}

fn note(name: &str, until: i64) -> Note {
    Note {
        name: name.to_owned(),
        until,
        how: "exported".to_owned(),
        digest: "d".to_owned(),
        n: 12,
        actor: "anna".to_owned(),
        at_ms: NOW,
    }
}

fn evidence(kind: &str, term: i64) -> Evidence {
    Evidence {
        kind: kind.to_owned(),
        term,
        at_ms: NOW - EVIDENCE_MS,
        digest: "d".to_owned(),
        not_green: Vec::new(),
    }
}

const POINTS: Points = Points {
    n_imported: 10,
    imported_sum: 500,
    n_entries: 10,
    n_adrift: 1,
};

fn good() -> Facts {
    Facts {
        least: Least {
            days: 7,
            quiet_hours: 72,
        },
        asked_stage: Some(Stage::Cleanup),
        handed_over_ms: Some(NOW - 7 * DAY_MS),
        dependencies: Named::default(),
        notes: vec![note("residue", 100), note("refresh_tokens", NOW)],
        residue_after: Some(0),
        evidence: vec![evidence("checklist", 6), evidence("certificate", 5)],
        points: Some((
            POINTS,
            Points {
                n_entries: 14,
                ..POINTS
            },
        )),
        has_points: true,
        keys: Some(Keys {
            stops_ms: Some(NOW),
            sunset_ms: NOW + 1,
        }),
        issuer_kept_ms: Some(1),
        waivers: Vec::new(),
    }
}

fn waived(gate: &str, name: &str) -> Waiver {
    Waiver {
        gate: gate.to_owned(),
        name: name.to_owned(),
        reason: "it must be".to_owned(),
        actor: "anna".to_owned(),
    }
}

fn shut_gates(facts: &Facts) -> Vec<&'static str> {
    let gates = judge(&authority(), facts);
    gates
        .iter()
        .filter(|gate| gate.state == State::Shut)
        .map(|gate| gate.name)
        .collect()
}

#[track_caller]
fn check(change: impl Fn(&mut Facts), expected: &str) {
    let mut facts = good();
    change(&mut facts);
    assert_eq!(shut_gates(&facts), [expected]);
    let gates = judge(&authority(), &facts);
    let gate = gates.iter().find(|gate| gate.name == expected).unwrap();
    assert!(!gate.why.is_empty() && !gate.remedy.is_empty(), "{gate:?}");
    facts.waivers = vec![waived(expected, "")];
    let still_shut: &[&str] = match may_be_waived_whole(expected) {
        true => &[],
        false => &[expected],
    };
    assert_eq!(shut_gates(&facts), still_shut, "waived");
}

#[test]
fn with_everything_as_it_should_be_all_are_open() {
    assert_eq!(shut_gates(&good()), Vec::<&str>::new());
}

#[test]
fn each_gate_is_shut_by_each_thing_that_it_is_about_and_says_what_to_do() {
    check(|facts| facts.asked_stage = Some(Stage::Cutover), "flag");
    check(|facts| facts.asked_stage = None, "flag");
    check(
        |facts| facts.handed_over_ms = Some(NOW - 7 * DAY_MS + 1),
        "days",
    );
    check(|facts| facts.handed_over_ms = None, "days");
    check(
        |facts| {
            facts.dependencies = Named {
                n: 2,
                names: vec!["news00000000".to_owned()],
            };
        },
        "dependencies",
    );
    check(
        |facts| facts.notes.retain(|note| note.name != "residue"),
        "residue",
    );
    check(|facts| facts.residue_after = None, "residue");
    check(|facts| facts.evidence[0].term = 5, "checklist");
    check(
        |facts| facts.evidence[0].at_ms = NOW - EVIDENCE_MS - 1,
        "checklist",
    );
    check(
        |facts| facts.evidence[0].not_green = vec!["console".to_owned()],
        "checklist",
    );
    check(|facts| facts.points = None, "points");
    for (n_imported, imported_sum, n_adrift) in [(9, 500, 1), (10, 499, 1), (10, 500, 2)] {
        let last = Points {
            n_imported,
            imported_sum,
            n_entries: 20,
            n_adrift,
        };
        check(|facts| facts.points = Some((POINTS, last)), "points");
    }
    check(
        |facts| facts.notes.retain(|note| note.name != "refresh_tokens"),
        "refresh_tokens",
    );
    check(|facts| facts.notes[1].until = NOW + 1, "refresh_tokens");
    check(|facts| facts.keys = None, "keys");
    let keys = |stops_ms, sunset_ms| {
        move |facts: &mut Facts| {
            facts.keys = Some(Keys {
                stops_ms,
                sunset_ms,
            });
        }
    };
    check(keys(None, NOW), "keys");
    check(keys(Some(NOW - 1), NOW + 1), "keys");
    check(keys(Some(NOW + 5), NOW + 5), "keys");
    check(|facts| facts.issuer_kept_ms = None, "issuer");
    check(|facts| facts.evidence[1].term = 4, "certificate");
    check(
        |facts| facts.evidence.retain(|one| one.kind == "checklist"),
        "certificate",
    );
}

#[test]
fn the_flag_counts_once_no_place_can_be_late() {
    let flag = |kv_stage, kv_before| {
        let authority = Authority {
            kv_stage,
            kv_before,
            ..authority()
        };
        judge(&authority, &good())[0].state
    };
    let before = |ago_ms| Some((Stage::Cutover, NOW - ago_ms));
    assert_eq!(flag(Some(Stage::Cleanup), before(LATE_MS)), State::Open);
    assert_eq!(flag(Some(Stage::Cleanup), before(LATE_MS - 1)), State::Shut);
    assert_eq!(flag(Some(Stage::Cutover), before(LATE_MS)), State::Shut);
    assert_eq!(flag(None, None), State::Shut);
}

#[test]
fn without_points_there_is_nothing_to_count() {
    let facts = Facts {
        has_points: false,
        points: None,
        ..good()
    };
    assert_eq!(shut_gates(&facts), Vec::<&str>::new());
}

#[test]
fn a_check_is_waived_by_its_name_and_nobody_else_with_it() {
    let mut facts = good();
    facts.evidence[0].not_green = vec!["console".to_owned(), "audit".to_owned()];
    facts.waivers = vec![waived("checklist", "console")];
    let gates = judge(&authority(), &facts);
    let checklist = gates.iter().find(|gate| gate.name == "checklist").unwrap();
    assert_eq!(checklist.names, ["audit"]);
    facts.waivers.push(waived("checklist", "audit"));
    assert_eq!(shut_gates(&facts), Vec::<&str>::new());
}

#[test]
fn the_evidence_digest_tells_one_look_from_another() {
    let one = evidence_digest(&good());
    let mut other = good();
    other.notes[0].digest = "e".to_owned();
    assert_ne!(one, evidence_digest(&other));
}

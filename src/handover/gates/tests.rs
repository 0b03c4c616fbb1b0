//! Each gate by each fact, and what a waiver opens.

use super::*;
use crate::handover::arm::Probe;
use crate::handover::authority::Holder;

const NOW: i64 = 2_000_000_000;

fn authority() -> Authority {
    Authority {
        holder: Holder::Logto,
        generation: 1,
        term: 5,
        since_ms: 0,
        deadline_ms: None,
        is_raise_owed: false,
        announced: None,
        armed_until_ms: Some(NOW + 1),
        wish: None,
        kv_stage: None,
        kv_before: None,
        now_ms: NOW,
    }
}

fn evidence_of(kind: &str) -> Evidence {
    Evidence {
        kind: kind.to_owned(),
        term: 5,
        at_ms: NOW - EVIDENCE_MS,
        digest: "d".to_owned(),
        not_green: Vec::new(),
    }
}

fn good() -> Facts {
    Facts {
        evidence: vec![evidence_of("checklist"), evidence_of("certificate")],
        equality: Some(Equality {
            is_done: true,
            finished_at_ms: Some(NOW - EVIDENCE_MS),
            n_compared: 100,
            n_unexplained: 0,
        }),
        reads: Reads {
            all_are_shared: true,
            is_braked: false,
            verdicts: Some(vec![
                Verdict {
                    at_ms: NOW - VERDICT_MS,
                    is_pass: true,
                    all_were_shared: true,
                };
                N_VERDICTS
            ]),
        },
        unique: Some(Unique {
            is_kept: true,
            has_gaps: false,
        }),
        behind: Some(Named::default()),
        n_applications: 2,
        ..Facts::default()
    }
}

fn shut_gates(authority: &Authority, facts: &Facts) -> Vec<&'static str> {
    let gates = judge(authority, facts);
    for gate in &gates {
        let has_remedy = !gate.remedy.is_empty();
        assert_eq!(has_remedy, gate.state == State::Shut, "{gate:?}");
        assert!(!gate.why.is_empty());
    }
    assert_eq!(
        are_open(&gates),
        gates.iter().all(|gate| gate.state != State::Shut)
    );
    let shut = gates.iter().filter(|gate| gate.state == State::Shut);
    shut.map(|gate| gate.name).collect()
}

#[test]
fn with_everything_in_order_all_are_open() {
    assert_eq!(shut_gates(&authority(), &good()), [""; 0]);
}

#[test]
fn without_any_fact_only_those_about_nothing_wrong_are_open() {
    let disarmed = Authority {
        armed_until_ms: None,
        ..authority()
    };
    assert_eq!(
        shut_gates(&disarmed, &Facts::default()),
        [
            "armed",
            "checklist",
            "certificate",
            "equality",
            "epoch",
            "reads",
            "unique",
            "applications"
        ]
    );
}

#[test]
fn each_single_objection_shuts_its_own_gate_and_no_other() {
    let check = |gate: &'static str, change: &dyn Fn(&mut Authority, &mut Facts)| {
        let (mut authority, mut facts) = (authority(), good());
        change(&mut authority, &mut facts);
        assert_eq!(shut_gates(&authority, &facts), [gate]);
    };
    check("armed", &|authority, _| {
        authority.armed_until_ms = Some(NOW)
    });
    check("armed", &|_, facts| {
        facts.probes = Some(Probes {
            without: Probe::Let,
            with_old: Some(Probe::Refused),
            with_new: Probe::Let,
        });
    });
    for index in [0, 1] {
        let name = ["checklist", "certificate"][index];
        check(name, &|_, facts| drop(facts.evidence.remove(index)));
        check(name, &|_, facts| facts.evidence[index].term = 4);
        check(name, &|_, facts| {
            facts.evidence[index].at_ms = NOW - EVIDENCE_MS - 1;
        });
        check(name, &|_, facts| {
            facts.evidence[index].not_green = vec!["points".to_owned()];
        });
    }
    check("equality", &|_, facts| facts.equality = None);
    for change in [
        (|found| found.is_done = false) as fn(&mut Equality),
        |found| found.finished_at_ms = Some(NOW - EVIDENCE_MS - 1),
        |found| found.n_compared = 0,
        |found| found.n_unexplained = 1,
    ] {
        check("equality", &|_, facts| {
            change(facts.equality.as_mut().unwrap());
        });
    }
    check("parked", &|_, facts| facts.parked.n = 1);
    check("intents", &|_, facts| facts.n_expired = 1);
    check("intents", &|_, facts| facts.n_unnamed = 1);
    for change in [
        (|found| found.all_are_shared = false) as fn(&mut Reads),
        |found| found.is_braked = true,
        |found| found.verdicts = None,
        |found| found.verdicts.as_mut().unwrap().truncate(N_VERDICTS - 1),
        |found| found.verdicts.as_mut().unwrap()[2].at_ms -= 1,
        |found| found.verdicts.as_mut().unwrap()[0].is_pass = false,
        |found| found.verdicts.as_mut().unwrap()[1].all_were_shared = false,
    ] {
        check("reads", &|_, facts| change(&mut facts.reads));
    }
    check("epoch", &|_, facts| facts.behind = None);
    check("epoch", &|_, facts| facts.behind.as_mut().unwrap().n = 1);
    check("unique", &|_, facts| facts.unique = None);
    for (is_kept, has_gaps) in [(false, false), (true, true)] {
        check("unique", &|_, facts| {
            facts.unique = Some(Unique { is_kept, has_gaps });
        });
    }
    check("passwords", &|_, facts| facts.n_voids = 1);
    check("applications", &|_, facts| facts.n_applications = 0);
    check("applications", &|_, facts| facts.applications.n = 1);
}

#[test]
fn a_waiver_opens_its_gate_with_its_reason_but_for_five() {
    let waivers: Vec<_> = NAMES
        .iter()
        .map(|gate| Waiver {
            gate: (*gate).to_owned(),
            name: String::new(),
            reason: "the drill".to_owned(),
            actor: "anna".to_owned(),
        })
        .collect();
    let disarmed = Authority {
        armed_until_ms: None,
        ..authority()
    };
    let facts = Facts {
        n_expired: 1,
        n_voids: 1,
        parked: Named {
            n: 1,
            names: vec!["u1".to_owned()],
        },
        waivers,
        ..Facts::default()
    };
    assert_eq!(shut_gates(&disarmed, &facts), NEVER_WAIVED_WHOLE);
    let gates = judge(&disarmed, &facts);
    let equality = gates.iter().find(|gate| gate.name == "equality").unwrap();
    assert_eq!(equality.state, State::Waived);
    assert!(equality.why.ends_with("Waived by anna: the drill"));
    assert!(!may_be_waived_whole("nothing of ours"));
    assert!(!may_be_waived_by_name("nothing of ours"));
}

#[test]
fn a_check_is_waived_alone_and_the_others_still_count() {
    let mut facts = good();
    facts.evidence[0].not_green = vec!["console".to_owned(), "points".to_owned()];
    let waive = |name: &str| Waiver {
        gate: "checklist".to_owned(),
        name: name.to_owned(),
        reason: "counted by hand".to_owned(),
        actor: "anna".to_owned(),
    };
    facts.waivers = vec![waive("points")];
    let gates = judge(&authority(), &facts);
    let checklist = gates.iter().find(|gate| gate.name == "checklist").unwrap();
    assert_eq!(checklist.state, State::Shut);
    assert_eq!(checklist.names, ["console"]);
    facts.waivers.push(waive("console"));
    assert_eq!(shut_gates(&authority(), &facts), [""; 0]);
}

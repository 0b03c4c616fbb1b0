//! When the route may go, and what stands in the way of clearing.

use super::*;
use crate::runtime::settings::Least;

const HOUR_MS: i64 = 3_600_000;

const NOW: i64 = 1_000 * HOUR_MS;
const LEAST: Least = Least {
    days: 7,
    quiet_hours: 72,
};

fn note(name: &str) -> Note {
    Note {
        name: name.to_owned(),
        until: NOW,
        how: String::new(),
        digest: String::new(),
        n: 0,
        actor: "anna".to_owned(),
        at_ms: NOW,
    }
}

fn standing(holder: Holder) -> Standing {
    Standing {
        holder,
        since_ms: NOW - 100 * HOUR_MS,
        generation: 7,
        is_announced: false,
        now_ms: NOW,
        used_at_ms: None,
        issuer_kept_ms: Some(1),
        logto_needed_ms: None,
        logto_webhook_ms: None,
        n_hanging: 0,
        n_voids: 0,
        n_carried: 0,
        notes: vec![note("residue"), note("archive")],
        steps: Vec::new(),
    }
}

#[test]
fn the_route_goes_when_no_token_is_left_and_nobody_came_for_the_quiet_hours() {
    let alone = standing(Holder::Alone);
    let used = |hours: i64| Standing {
        used_at_ms: Some(NOW - hours * HOUR_MS),
        ..alone.clone()
    };
    let check = |standing: &Standing, ends_ms, expected: &str| {
        assert_eq!(leaving(standing, ends_ms, LEAST).code(), expected);
    };
    check(&alone, Some(NOW), "now");
    check(&alone, Some(NOW + 1), "tokens_live");
    check(&alone, None, "end_unknown");
    check(&used(72), Some(NOW), "now");
    check(&used(71), Some(NOW), "in_use");
    for holder in [Holder::Logto, Holder::Mgpass, Holder::Returning] {
        check(&standing(holder), Some(NOW), "not_in_cleanup");
    }
    // Nobody came since a moment ago says nothing.
    let fresh = Standing {
        since_ms: NOW - HOUR_MS,
        ..alone.clone()
    };
    check(&fresh, Some(NOW), "in_use");
}

const NOTHING: Option<AtMgpass> = Some(AtMgpass {
    n_residue_after: 0,
    n_effects: 0,
});

#[test]
fn clearing_waits_for_each_thing_by_name() {
    let good = standing(Holder::Alone);
    let check = |standing: &Standing, at_mgpass, leaving, expected: Option<&str>| {
        let found = blocked(Why::Cleanup, standing, at_mgpass, leaving, None);
        assert_eq!(found.map(Blocked::code), expected);
    };
    check(&good, NOTHING, Leaving::Now, None);
    for holder in [Holder::Logto, Holder::Mgpass, Holder::Returning] {
        let code = Some("not_in_cleanup");
        check(&standing(holder), NOTHING, Leaving::Now, code);
    }
    check(&good, None, Leaving::Now, Some("mgpass_silent"));
    let in_use = Leaving::InUse { at_ms: NOW };
    check(&good, NOTHING, in_use, Some("route_in_use"));
    let mut gone = good.clone();
    gone.notes.push(note("route"));
    check(&gone, NOTHING, in_use, None);
    let owing = |n_residue_after, n_effects| {
        Some(AtMgpass {
            n_residue_after,
            n_effects,
        })
    };
    check(&good, owing(1, 0), Leaving::Now, Some("residue_left"));
    check(&good, owing(0, 1), Leaving::Now, Some("effects_owed"));
    for (name, code) in [("residue", "residue_left"), ("archive", "not_archived")] {
        let mut without = good.clone();
        without.notes.retain(|note| note.name != name);
        check(&without, NOTHING, Leaving::Now, Some(code));
    }
    let carrying = |n_voids, n_carried| Standing {
        n_voids,
        n_carried,
        ..good.clone()
    };
    check(
        &carrying(1, 0),
        NOTHING,
        Leaving::Now,
        Some("passwords_owed"),
    );
    // mgPass's own by now.
    check(&carrying(0, 1), NOTHING, Leaving::Now, None);
    // Of an earlier stage.
    let mut old = good.clone();
    old.notes[1].until = good.since_ms - 1;
    check(&old, NOTHING, Leaving::Now, Some("not_archived"));
    // What has begun is carried to its end.
    let begun = Standing {
        steps: vec![StepRow {
            step: "fence".to_owned(),
            began_at: 1,
            done_at: None,
            n: 0,
        }],
        ..good
    };
    check(&begun, None, in_use, None);
}

#[test]
fn a_migration_is_given_up_only_with_logto_as_the_authority_and_nothing_mirrored() {
    let check = |standing: &Standing, stage, expected: Option<&str>| {
        let found = blocked(Why::Abandoned, standing, NOTHING, Leaving::NotAlone, stage);
        assert_eq!(found.map(Blocked::code), expected);
    };
    let mut good = standing(Holder::Logto);
    check(&good, Some(Stage::Off), None);
    check(&good, Some(Stage::Shadow), Some("stage_not_off"));
    check(&good, None, Some("stage_not_off"));
    // Logto has it all: there is no residue to lose.
    good.notes.retain(|note| note.name != "residue");
    check(&good, Some(Stage::Off), None);
    good.n_carried = 1;
    check(&good, Some(Stage::Off), Some("passwords_owed"));
    good.n_carried = 0;
    good.is_announced = true;
    check(&good, Some(Stage::Off), Some("handover_announced"));
    for holder in [
        Holder::Draining,
        Holder::Mgpass,
        Holder::Returning,
        Holder::Alone,
    ] {
        check(&standing(holder), Some(Stage::Off), Some("not_in_cleanup"));
    }
}

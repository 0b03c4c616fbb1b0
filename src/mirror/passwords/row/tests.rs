//! When a void is due, and when a carry may be tried.

use super::*;
use crate::handover::authority::Holder;
use crate::mirror::passwords::state::{Row, Sight, may_try};

fn row(state: State) -> Option<Row> {
    Some(Row {
        state,
        ticket: 10,
        n_gaps: 1,
        not_before: 0,
    })
}

fn intent(operation: &str, settled: Option<i64>, status: Option<i64>, is_expired: bool) -> Covered {
    Covered {
        operation: operation.to_owned(),
        status,
        settled,
        is_suspect: is_expired,
        is_expired,
    }
}

fn lease(password: Option<Row>, covered: Vec<Covered>) -> Lease {
    Lease {
        subject: UserId::parse("u1").unwrap_or_else(|| panic!("an id")),
        holder: "h".to_owned(),
        ticket: 20,
        epoch: 1,
        n_gaps: 1,
        generation: 1,
        authority: Holder::Logto,
        taken_at_ms: 0,
        failures: 0,
        is_unseen: false,
        is_held_back: false,
        password,
        covered,
    }
}

#[test]
fn what_came_after_a_carry_is_voided_and_what_it_covers_is_not() {
    let operation = Due::Void(Why::PasswordOperation);
    for (covered, expected) in [
        (
            intent("users.password", Some(11), Some(200), false),
            operation,
        ),
        (
            intent("account.password", Some(11), Some(204), false),
            operation,
        ),
        (
            intent("experience.staged", Some(11), Some(204), false),
            operation,
        ),
        (
            intent("interaction.submit", Some(11), Some(200), false),
            operation,
        ),
        // Logto was asked behind it.
        (
            intent("users.password", Some(10), Some(200), false),
            Due::Nothing,
        ),
        // Some of an interaction's writes are committed before a later step fails.
        (
            intent("experience.staged", Some(11), Some(422), false),
            operation,
        ),
        (
            intent("account.password", Some(11), Some(422), false),
            Due::Nothing,
        ),
        (
            intent("account.password", Some(11), Some(500), false),
            operation,
        ),
        // Under way, and not answered in time.
        (intent("users.password", None, None, false), Due::Nothing),
        (intent("users.password", None, None, true), operation),
        (
            intent("users.patch", Some(11), Some(200), false),
            Due::Nothing,
        ),
        (
            intent("experience.submit", Some(11), Some(200), false),
            Due::Nothing,
        ),
        (intent("users.other", Some(11), Some(200), false), Due::Look),
        (
            intent("account.write", Some(11), Some(200), false),
            Due::Look,
        ),
        (intent("walk", Some(11), Some(200), false), Due::Nothing),
    ] {
        let name = format!("{covered:?}");
        assert_eq!(
            due(&lease(row(State::Carried), vec![covered])),
            expected,
            "{name}"
        );
    }
}

#[test]
fn a_call_without_an_end_and_a_gap_owe_a_void_whatever_is_covered() {
    let of = |state, n_gaps| {
        due(&Lease {
            n_gaps,
            ..lease(row(state), vec![])
        })
    };
    assert_eq!(of(State::Carrying, 1), Due::Void(Why::LeftOver));
    assert_eq!(of(State::VoidOwed, 1), Due::Void(Why::Unanswered));
    assert_eq!(of(State::Carried, 2), Due::Void(Why::Gap));
    assert_eq!(of(State::Carried, 1), Due::Nothing);
    assert_eq!(of(State::None, 2), Due::Nothing);
    assert_eq!(due(&lease(None, vec![])), Due::Nothing);
}

#[test]
fn a_password_is_carried_once() {
    let rests = row(State::None).map(|row| Row {
        not_before: 6,
        ..row
    });
    for (known, sight, expected) in [
        (None, Sight::Check, true),
        (None, Sight::Change, true),
        (row(State::None), Sight::Check, true),
        (rests.clone(), Sight::Check, false),
        (rests, Sight::Change, true),
        (row(State::Carried), Sight::Check, false),
        (row(State::Carried), Sight::Change, true),
        (row(State::Carrying), Sight::Change, false),
        (row(State::VoidOwed), Sight::Check, false),
        (row(State::VoidOwed), Sight::Change, false),
    ] {
        assert_eq!(
            may_try(known.as_ref(), sight, 5),
            expected,
            "{known:?} {sight:?}"
        );
    }
}

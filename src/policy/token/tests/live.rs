//! Rotation on virtual time: what is served, what is fetched, and how often.

use std::sync::Arc;

use super::{Issuer, key_set};
use crate::policy::token::{KeyId, KeySet, LiveKeySet, OnUnknownKeyId, UnixSeconds, Use};

const START: i64 = 1_790_000_000;
const DAY: i64 = 24 * 3600;

fn at(seconds: i64) -> UnixSeconds {
    UnixSeconds(START + seconds)
}

fn set() -> Arc<KeySet> {
    Arc::new(key_set(Issuer::Logto))
}

/// A set fetched at the start with that `max-age`.
fn fetched(max_age_s: Option<i64>) -> LiveKeySet {
    let mut live = LiveKeySet::default();
    live.attempt_started(at(0));
    live.fetched(set(), max_age_s, at(0));
    live
}

fn name(decided: &Use) -> &'static str {
    match decided {
        Use::Fresh(_) => "fresh",
        Use::StaleRefreshInBackground(_) => "background",
        Use::Stale(_) => "stale",
        Use::MustFetch { fallback: Some(_) } => "fetch or stale",
        Use::MustFetch { fallback: None } => "fetch",
        Use::LookAgain => "look again",
        Use::Unavailable => "unavailable",
    }
}

#[track_caller]
fn check(live: &LiveKeySet, seconds: i64, expected: &str) {
    assert_eq!(name(&live.decide(at(seconds))), expected, "at {seconds}");
}

fn id(text: &str) -> KeyId {
    KeyId::new(text).unwrap()
}

#[test]
fn without_a_set_one_request_fetches_for_all() {
    let mut live = LiveKeySet::default();
    check(&live, 0, "fetch");
    live.attempt_started(at(0));
    check(&live, 0, "look again");
    check(&live, 1, "look again");
    // It may have been lost with its request.
    check(&live, 2, "fetch");
    live.attempt_started(at(2));
    check(&live, 3, "look again");
    live.fetched(set(), None, at(3));
    check(&live, 3, "fresh");
}

#[test]
fn a_clock_put_back_does_not_keep_anybody_looking() {
    let mut live = LiveKeySet::default();
    live.attempt_started(at(1_000));
    check(&live, 999, "fetch");
}

#[test]
fn a_set_ages_from_fresh_to_unusable() {
    let live = fetched(Some(300));
    check(&live, 0, "fresh");
    check(&live, 299, "fresh");
    check(&live, 300, "background");
    check(&live, 899, "background");
    check(&live, 900, "fetch or stale");
    check(&live, DAY - 1, "fetch or stale");
    check(&live, DAY, "fetch");
    check(&live, 365 * DAY, "fetch");
}

#[test]
fn max_age_is_clamped() {
    for (max_age_s, fresh_s) in [
        (Some(0), 60),
        (Some(-1), 60),
        (Some(i64::MIN), 60),
        (Some(59), 60),
        (Some(61), 61),
        (Some(601), 600),
        (Some(7 * DAY), 600),
        (Some(i64::MAX), 600),
        (None, 300),
    ] {
        let live = fetched(max_age_s);
        check(&live, fresh_s - 1, "fresh");
        check(&live, fresh_s, "background");
    }
}

#[test]
fn one_request_refreshes_and_the_others_go_on() {
    let mut live = fetched(Some(60));
    check(&live, 60, "background");
    live.attempt_started(at(60));
    check(&live, 60, "stale");
    check(&live, 69, "stale");
    live.fetched(set(), Some(60), at(65));
    check(&live, 70, "fresh");
}

#[test]
fn a_set_endpoint_that_is_down_is_asked_every_ten_seconds_for_a_day() {
    let mut live = fetched(Some(300));
    let mut attempts = 0;
    for seconds in 0..DAY {
        match live.decide(at(seconds)) {
            Use::Fresh(_) | Use::Stale(_) => {}
            Use::StaleRefreshInBackground(_) | Use::MustFetch { fallback: Some(_) } => {
                live.attempt_started(at(seconds));
                attempts += 1;
            }
            Use::MustFetch { fallback: None } | Use::LookAgain | Use::Unavailable => {
                panic!("nothing to serve at {seconds}")
            }
        }
    }
    assert_eq!(attempts, (DAY - 300) / 10);
    check(&live, DAY, "fetch");
}

#[test]
fn a_clock_put_back_leads_to_a_fetch_and_never_to_eternal_freshness() {
    let live = fetched(Some(300));
    check(&live, -1, "background");
    check(&live, -DAY, "background");
}

#[test]
fn a_rotated_key_is_fetched_at_once() {
    let mut live = fetched(Some(300));
    assert_eq!(
        live.unknown_key_id(&id("new"), at(1)),
        OnUnknownKeyId::Refetch
    );
}

#[test]
fn a_set_of_this_very_second_is_not_fetched_again() {
    let mut live = fetched(Some(300));
    assert_eq!(
        live.unknown_key_id(&id("new"), at(0)),
        OnUnknownKeyId::Refuse
    );
    assert_eq!(
        live.unknown_key_id(&id("new"), at(1)),
        OnUnknownKeyId::Refetch
    );
}

#[test]
fn made_up_key_ids_cost_one_fetch_each_half_minute() {
    let mut live = fetched(Some(300));
    let mut fetches = 0;
    for request in 0_i64..36_000 {
        // Ten requests a second for an hour, each with another key id.
        let now = at(1 + request / 10);
        let made_up = id(&format!("made-up-{request}"));
        if live.unknown_key_id(&made_up, now) == OnUnknownKeyId::Refetch {
            fetches += 1;
            live.fetched(set(), Some(300), now);
            live.still_unknown(&made_up, now);
        }
    }
    assert_eq!(fetches, 3600 / 30);
}

#[test]
fn one_made_up_key_id_costs_one_fetch_each_two_minutes() {
    let mut live = fetched(Some(300));
    let bogus = id("bogus");
    let mut fetches = 0;
    for seconds in 1..=3600 {
        if live.unknown_key_id(&bogus, at(seconds)) == OnUnknownKeyId::Refetch {
            fetches += 1;
            live.fetched(set(), Some(300), at(seconds));
            live.still_unknown(&bogus, at(seconds));
        }
    }
    assert_eq!(fetches, 3600 / 120);
}

#[test]
fn a_made_up_key_id_does_not_hold_up_a_real_one() {
    let mut live = fetched(Some(300));
    assert_eq!(
        live.unknown_key_id(&id("bogus"), at(1)),
        OnUnknownKeyId::Refetch
    );
    live.still_unknown(&id("bogus"), at(1));
    assert_eq!(
        live.unknown_key_id(&id("new"), at(30)),
        OnUnknownKeyId::Refuse
    );
    assert_eq!(
        live.unknown_key_id(&id("bogus"), at(31)),
        OnUnknownKeyId::Refuse
    );
    assert_eq!(
        live.unknown_key_id(&id("new"), at(31)),
        OnUnknownKeyId::Refetch
    );
}

#[test]
fn a_failed_fetch_teaches_nothing_about_a_key_id() {
    let mut live = fetched(Some(300));
    assert_eq!(
        live.unknown_key_id(&id("new"), at(1)),
        OnUnknownKeyId::Refetch
    );
    assert_eq!(
        live.unknown_key_id(&id("new"), at(31)),
        OnUnknownKeyId::Refetch
    );
}

#[test]
fn a_key_that_appears_is_no_longer_unknown() {
    let mut live = fetched(Some(300));
    let known = key_set(Issuer::Logto).keys()[0].key_id().unwrap().clone();
    live.still_unknown(&known, at(1));
    live.fetched(set(), Some(300), at(2));
    // Gone again from a later set: asked for at once.
    assert_eq!(live.unknown_key_id(&known, at(40)), OnUnknownKeyId::Refetch);
}

#[test]
fn few_unknown_key_ids_are_remembered() {
    let mut live = fetched(Some(300));
    for number in 0..=64 {
        live.still_unknown(&id(&number.to_string()), at(1));
    }
    assert_eq!(
        live.unknown_key_id(&id("64"), at(2)),
        OnUnknownKeyId::Refuse
    );
    assert_eq!(live.unknown_key_id(&id("1"), at(2)), OnUnknownKeyId::Refuse);
    assert_eq!(
        live.unknown_key_id(&id("0"), at(2)),
        OnUnknownKeyId::Refetch
    );
}

#[test]
fn a_clock_put_back_does_not_stop_the_search_for_new_keys() {
    let mut live = fetched(Some(300));
    assert_eq!(
        live.unknown_key_id(&id("new"), at(1000)),
        OnUnknownKeyId::Refetch
    );
    live.still_unknown(&id("new"), at(1000));
    assert_eq!(
        live.unknown_key_id(&id("new"), at(500)),
        OnUnknownKeyId::Refetch
    );
}

#[test]
fn a_refetch_for_a_key_id_is_an_attempt_like_any_other() {
    let mut live = fetched(Some(300));
    check(&live, 400, "background");
    assert_eq!(
        live.unknown_key_id(&id("new"), at(400)),
        OnUnknownKeyId::Refetch
    );
    check(&live, 400, "stale");
    check(&live, 410, "background");
}

#[test]
fn a_key_id_that_stays_unknown_takes_one_place() {
    let mut live = fetched(Some(300));
    live.still_unknown(&id("first"), at(1));
    for _ in 0..100 {
        live.still_unknown(&id("again"), at(1));
    }
    assert_eq!(
        live.unknown_key_id(&id("first"), at(2)),
        OnUnknownKeyId::Refuse
    );
}

#[test]
fn after_a_failure_nobody_waits_for_the_next_attempt() {
    let mut live = LiveKeySet::default();
    live.attempt_started(at(0));
    live.failed(at(0));
    check(&live, 0, "unavailable");
    check(&live, 9, "unavailable");
    check(&live, 10, "fetch");
    assert!(live.is_failing());
    live.fetched(set(), Some(60), at(20));
    assert!(!live.is_failing());
    // Far beyond the background window, but the endpoint is known to be down.
    live.attempt_started(at(5_000));
    live.failed(at(5_000));
    check(&live, 5_001, "stale");
    check(&live, 5_010, "background");
    check(&live, 20 + DAY - 1, "background");
    check(&live, 20 + DAY, "fetch");
}

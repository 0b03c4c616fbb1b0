//! mgPass changes between the read and the batch: the batch itself sees it, and gives way.

use super::*;

/// What mgPass does with `change` between our read and our batch, and how it ends.
fn raced(change: &str) -> (Rc<World>, (Carried, Vec<String>)) {
    let world = World::new();
    at_mgpass(&world, USER);
    record(&world, USER, 120, 120, Some("bronze"));
    entry(&world, &Entry::new("01A", USER, 110));
    let is_done = std::cell::Cell::new(false);
    let (databases, change) = (Rc::clone(&world.databases), change.to_owned());
    *world.faults.script.borrow_mut() = Some(Box::new(move |port, what, _| {
        let is_write = port == Port::MgpassDatabase && what().contains("INSERT INTO points_ledger");
        if is_write && !is_done.replace(true) {
            databases.execute(Store::Mgpass, &change);
        }
        None
    }));
    let outcome = outcome_of(&world, USER);
    (world, outcome)
}

/// The condition is in the batch itself: whatever lands before it wins.
#[test]
fn a_credit_between_read_and_write_wins() {
    for id in ["pts_01B", "a", "zz", "pts_lm", "pts_lm`", "Pts_lm_e_1", ""] {
        let (world, outcome) = raced(&format!(
            "INSERT INTO points_ledger (id, user_id, event_type, points, created_at) VALUES ('{id}', '{USER}', 'purchase', 5, 1)"
        ));
        assert_eq!(outcome, parked("earned_at_mgpass", &[]));
        assert_eq!(world.mgpass("SELECT id FROM points_ledger").len(), 1);
        assert_eq!(world.mgpass("SELECT user_id FROM user_rewards"), []);
    }
}

#[test]
fn a_deletion_between_read_and_write_wins() {
    for (change, reason) in [
        (
            format!("UPDATE users SET deleted_at = 1 WHERE id = '{USER}'"),
            "user_deleted",
        ),
        (
            format!("UPDATE logto_mirror SET tombstone = 1 WHERE user_id = '{USER}'"),
            "user_deleted",
        ),
        (
            format!("DELETE FROM users WHERE id = '{USER}'"),
            "unknown_user",
        ),
        (
            format!("DELETE FROM logto_mirror WHERE user_id = '{USER}'"),
            "not_mirrored",
        ),
    ] {
        let (world, outcome) = raced(&change);
        assert_eq!(outcome, parked(reason, &[]), "{change}");
        assert_eq!(state(&world), (vec![], vec![]), "{change}");
    }
}

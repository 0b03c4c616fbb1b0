//! When each move may be made, as SQL on the row `authority`: ?1 the generation from then on,
//! ?2 the one that was seen.

macro_rules! may_announce {
    () => {
        concat!(
            "generation = ?2 AND holder = 'logto' AND wish = 'cutover' AND raise_owed = 0 AND announced_at IS NULL AND armed_until > ",
            now!()
        )
    };
}

macro_rules! may_withdraw {
    () => {
        concat!(
            "generation = ?2 AND holder = 'logto' AND announced_at IS NOT NULL AND (wish IS NOT 'cutover' OR armed_until IS NULL OR armed_until <= ",
            now!(),
            ")"
        )
    };
}

/// Nobody's write hangs without an answer, each that was answered has a name, and recording
/// had no gap since the gates looked.
macro_rules! may_drain {
    ($epoch:literal) => {
        concat!(
            "generation = ?2 AND holder = 'logto' AND wish = 'cutover' AND raise_owed = 0 AND (SELECT value FROM counters WHERE name = 'epoch') = ",
            $epoch,
            " AND armed_until > ",
            now!(),
            " AND announced_until <= ",
            now!(),
            " AND NOT EXISTS (SELECT 1 FROM intents i WHERE i.discharged_at IS NULL AND i.side = 'logto' ",
            "AND ((i.settled IS NOT NULL AND i.subject IS NULL) OR (i.settled IS NULL AND i.expires_at <= ",
            now!(),
            ")))"
        )
    };
}

/// A user whom nobody waits for: held for a person, or parked and waived.
macro_rules! is_left_aside {
    ($subject:literal) => {
        concat!(
            "(EXISTS (SELECT 1 FROM held_subjects g WHERE g.subject = ",
            $subject,
            ") OR EXISTS (SELECT 1 FROM waivers v WHERE v.term = (SELECT term FROM authority) AND v.gate = 'parked' AND v.name = ",
            $subject,
            "))"
        )
    };
}

/// Everything that Logto acknowledged is at mgPass, and the time is not over.
macro_rules! may_hand_over {
    () => {
        concat!(
            "generation = ?2 AND holder = 'draining' AND wish = 'cutover' AND deadline > ",
            now!(),
            " AND NOT EXISTS (SELECT 1 FROM intents i WHERE i.discharged_at IS NULL AND i.side = 'logto' AND (i.subject IS NULL OR NOT ",
            is_left_aside!("i.subject"),
            ")) AND NOT EXISTS (SELECT 1 FROM subjects p WHERE p.parked IS NOT NULL AND NOT ",
            is_left_aside!("p.subject"),
            ")"
        )
    };
}

macro_rules! may_return {
    () => {
        concat!(
            "generation = ?2 AND holder = 'draining' AND (deadline <= ",
            now!(),
            " OR wish IS NOT 'cutover')"
        )
    };
}

macro_rules! may_go_back {
    () => {
        concat!(
            "generation = ?2 AND holder = 'mgpass' AND wish = 'dual_write' AND raise_owed = 0 AND NOT EXISTS (SELECT 1 FROM ",
            may_still_land!(),
            " WHERE since <= ",
            now!(),
            " - ",
            lease_ms!(),
            ")"
        )
    };
}

/// Everything that mgPass acknowledged is at Logto, but for who is held; and no call of ours
/// can land there any more, over what is written from now on.
macro_rules! may_come_back {
    () => {
        concat!(
            "generation = ?2 AND holder = 'returning' AND wish = 'dual_write' AND deadline > ",
            now!(),
            " AND NOT EXISTS (SELECT 1 FROM intents i WHERE i.discharged_at IS NULL AND i.side = 'mgpass' ",
            "AND (i.subject IS NULL OR NOT EXISTS (SELECT 1 FROM held_subjects g WHERE g.subject = i.subject))) ",
            "AND NOT EXISTS (SELECT 1 FROM ",
            may_still_land!(),
            ")"
        )
    };
}

macro_rules! may_stay {
    () => {
        concat!(
            "generation = ?2 AND holder = 'returning' AND (deadline <= ",
            now!(),
            " OR wish IS NOT 'dual_write')"
        )
    };
}

/// No call of ours is left without an answer.
macro_rules! may_leave {
    () => {
        concat!(
            "generation = ?2 AND holder = 'mgpass' AND wish = 'cleanup' AND raise_owed = 0 AND NOT EXISTS (SELECT 1 FROM ",
            may_still_land!(),
            " WHERE since <= ",
            now!(),
            " - ",
            lease_ms!(),
            ")"
        )
    };
}

/// While everything is still there.
macro_rules! may_rejoin {
    () => {
        "generation = ?2 AND holder = 'alone' AND wish = 'cutover' AND raise_owed = 0 AND NOT EXISTS (SELECT 1 FROM cleanup_steps)"
    };
}

macro_rules! may_abandon {
    () => {
        "generation = ?2 AND holder IN ('mgpass', 'returning')"
    };
}

macro_rules! may_lift {
    () => {
        "generation = ?2 AND ?1 > ?2"
    };
}

pub(super) use {
    is_left_aside, may_abandon, may_announce, may_come_back, may_drain, may_go_back, may_hand_over,
    may_leave, may_lift, may_rejoin, may_return, may_stay, may_withdraw,
};

//! What the SQL of several modules is made of, as macros since `concat!` takes literals;
//! and how a row is read.

use crate::runtime::ports::Row;

/// The database's own clock, in milliseconds.
macro_rules! now {
    () => {
        "CAST(unixepoch('subsec') * 1000 AS INTEGER)"
    };
}

/// The newest of settle order and tickets, in the proxy's database.
macro_rules! sequence {
    () => {
        "(SELECT value FROM counters WHERE name = 'sequence')"
    };
}

/// An intent that was not settled by then is reconciled on suspicion ...
macro_rules! expiry_ms {
    () => {
        60_000
    };
}

/// ... and once more so long after its opening, since Logto may commit late (180 s
/// were seen); only then is it discharged.
macro_rules! late_commit_ms {
    () => {
        900_000
    };
}

/// Of a subject; longer than a reconcile takes with every backend at its deadline.
macro_rules! lease_ms {
    () => {
        30_000
    };
}

/// Stands for the clocks of isolate and database, in the fence of reads.
macro_rules! clock_margin_ms {
    () => {
        2_000
    };
}

/// A discharged intent stays so long for the fence.
macro_rules! discharged_kept_ms {
    () => {
        60_000
    };
}

/// An interaction of Logto's lives for an hour; whose it was is kept for two.
macro_rules! interaction_kept_ms {
    () => {
        7_200_000
    };
}

/// An intent `i` of which a reconcile that begins now covers something: it is settled,
/// or it was not settled in time and is due for its first look, or for its last.
macro_rules! coverable {
    () => {
        concat!(
            "i.discharged_at IS NULL AND (i.settled IS NOT NULL OR (i.expiry_checks = 0 AND i.expires_at <= ",
            now!(),
            ") OR i.opened_at + ",
            late_commit_ms!(),
            " <= ",
            now!(),
            ")"
        )
    };
}

/// Operations after which Logto may have another password of the user.
macro_rules! password_operations {
    () => {
        "('users.password', 'account.password', 'experience.staged', 'interaction.submit', 'interaction.other')"
    };
}

/// Who is the authority now, of the row `authority`. Past its deadline a hand-over has
/// failed, whoever is to write that down: the side it began at goes on.
macro_rules! holder {
    () => {
        concat!(
            "CASE WHEN deadline <= ",
            now!(),
            " THEN CASE holder WHEN 'draining' THEN 'logto' ELSE 'mgpass' END ELSE holder END"
        )
    };
}

/// The columns of [`crate::policy::authority::View`], of the row `authority`.
macro_rules! view_columns {
    () => {
        concat!(
            holder!(),
            " AS holder, generation, term, announced_until, deadline, raise_owed, ",
            now!(),
            " AS now"
        )
    };
}

/// True while mgPass takes translated writes.
macro_rules! takes_translated {
    () => {
        concat!(
            "EXISTS (SELECT 1 FROM authority WHERE ",
            holder!(),
            " IN ('mgpass', 'alone'))"
        )
    };
}

/// Whose user relays read as the truth now, and so whose intents they cover: Logto's until
/// the hand-over is complete, mgPass's until the way back is. Alone nobody's.
macro_rules! relay_side {
    () => {
        "(SELECT CASE WHEN holder IN ('logto', 'draining') THEN 'logto' WHEN holder = 'alone' THEN 'nobody' ELSE 'mgpass' END FROM authority)"
    };
}

/// True while relays may write: mgPass's database knows the generation.
macro_rules! may_relay {
    () => {
        "EXISTS (SELECT 1 FROM authority WHERE raise_owed = 0)"
    };
}

/// True while the mirror's own triggers may ask for a reconcile of Logto's user.
macro_rules! may_trigger {
    () => {
        "EXISTS (SELECT 1 FROM authority WHERE holder IN ('logto', 'draining'))"
    };
}

/// Nobody has taken the lease of subject ?1 since; NULL: whoever says it holds none.
macro_rules! is_still_leased_by {
    ($holder:literal) => {
        concat!(
            "(",
            $holder,
            " IS NULL OR EXISTS (SELECT 1 FROM subjects WHERE subject = ?1 AND lease_holder = ",
            $holder,
            "))"
        )
    };
}

/// What was sent to Logto and has no answer: it may still land there, over whatever was
/// written since, or has landed, and nobody has looked since. Whoever is left to a person
/// is not looked at.
macro_rules! may_still_land {
    () => {
        concat!(
            "(SELECT subject, sent_at AS since FROM sent_back WHERE answered_at IS NULL AND sent_at > ",
            now!(),
            " - ",
            late_commit_ms!(),
            " UNION ALL SELECT subject, since FROM debt d WHERE class = 'unanswered' AND (since + ",
            late_commit_ms!(),
            " > ",
            now!(),
            " OR NOT EXISTS (SELECT 1 FROM held_subjects g WHERE g.subject = d.subject) ",
            "AND NOT EXISTS (SELECT 1 FROM subjects p WHERE p.subject = d.subject AND p.parked IS NOT NULL)))"
        )
    };
}

/// In mgPass's database: what the first statement of every batch that writes users asks
/// for. A writer of an earlier generation of the authority changes nothing.
macro_rules! in_generation {
    ($parameter:literal) => {
        concat!(
            "(SELECT generation FROM logto_mirror_authority) = ",
            $parameter
        )
    };
}

pub(crate) use {
    clock_margin_ms, coverable, discharged_kept_ms, expiry_ms, holder, in_generation,
    interaction_kept_ms, is_still_leased_by, late_commit_ms, lease_ms, may_relay, may_still_land,
    may_trigger, now, password_operations, relay_side, sequence, takes_translated, view_columns,
};

pub fn text(row: &Row, column: &str) -> Option<String> {
    row.get(column)?.as_str().map(str::to_owned)
}

/// D1 hands integers over as JavaScript numbers.
pub fn integer(row: &Row, column: &str) -> Option<i64> {
    let value = row.get(column)?;
    value
        .as_i64()
        .or_else(|| value.as_f64().map(|float| float as i64))
}

//! What the gates go by, as it is read from the databases; and the waivers.

use crate::handover::gates::{
    Equality, Evidence, Facts, N_NAMES, N_VERDICTS, Named, Reads, Unique, Verdict, Waiver,
};
use crate::policy::flags::Flags;
use crate::runtime::ports::{Row, Statement};
use crate::runtime::sql::{integer, now, text};

const EVIDENCE: &str = "SELECT kind, term, at, digest, not_green FROM evidence";
/// Users who differ without a reason that the mirror knows.
const EQUALITY: &str = "SELECT j.state AS state, j.finished_at AS finished_at, j.n_users AS n_users, \
     (SELECT count(*) FROM job_users u INDEXED BY job_users_unequal WHERE u.kind = 'equality' AND u.job = j.id \
     AND u.outcome IN ('differs', 'missing') AND u.outcome <> 'equal' AND u.reason = 'unexplained') AS n_unexplained \
     FROM jobs j WHERE j.kind = 'equality' ORDER BY j.id DESC LIMIT 1";

/// Parked or held, and not waived by name in this term.
macro_rules! unwaived_users {
    () => {
        "(SELECT p.subject AS name FROM subjects p INDEXED BY subjects_parked WHERE p.parked IS NOT NULL UNION SELECT h.subject FROM held_subjects h) u \
         WHERE NOT EXISTS (SELECT 1 FROM waivers w WHERE w.term = (SELECT term FROM authority) AND w.gate = 'parked' AND w.name = u.name)"
    };
}

const PARKED: &str = concat!(
    "SELECT name FROM ",
    unwaived_users!(),
    " ORDER BY name LIMIT ?1"
);
const N_PARKED: &str = concat!("SELECT count(*) AS n FROM ", unwaived_users!());

/// Needed Logto within the last seven days.
macro_rules! applications {
    () => {
        concat!(
            "(SELECT DISTINCT application AS name FROM dependencies WHERE last_needed_at > ",
            now!(),
            " - 604800000) d"
        )
    };
}

macro_rules! unwaived_applications {
    () => {
        concat!(
            applications!(),
            " WHERE NOT EXISTS (SELECT 1 FROM waivers w WHERE w.term = (SELECT term FROM authority) AND w.gate = 'applications' AND w.name = d.name)"
        )
    };
}

const APPLICATIONS: &str = concat!(
    "SELECT name FROM ",
    unwaived_applications!(),
    " ORDER BY name LIMIT ?1"
);
const N_APPLICATIONS: &str = concat!(
    "SELECT (SELECT count(*) FROM ",
    applications!(),
    ") AS n_all, (SELECT count(*) FROM ",
    unwaived_applications!(),
    ") AS n"
);
const EPOCH: &str = "SELECT value AS epoch, (SELECT count(*) FROM passwords INDEXED BY passwords_due WHERE state = 'void_owed' AND due_at > 0) \
     + (SELECT count(*) FROM passwords INDEXED BY passwords_under_way WHERE state = 'carrying' AND since > 0) AS n_voids \
     FROM counters WHERE name = 'epoch'";
/// Of these users whoever is neither parked nor held: those gates are about them.
const WAITED_FOR: &str = "SELECT value AS name FROM json_each(?1) WHERE value NOT IN (SELECT p.subject FROM subjects p INDEXED BY subjects_parked WHERE p.parked IS NOT NULL UNION SELECT h.subject FROM held_subjects h) ORDER BY value";
const WAIVERS: &str = "SELECT gate, name, reason, actor FROM waivers WHERE term = (SELECT term FROM authority) ORDER BY gate, name";
const WAIVE: &str = concat!(
    "INSERT INTO waivers (term, gate, name, reason, actor, at) SELECT term, ?1, ?2, ?3, ?4, ",
    now!(),
    " FROM authority WHERE true ON CONFLICT (term, gate, name) DO UPDATE SET reason = excluded.reason, actor = excluded.actor, at = excluded.at"
);
/// Each that is parked or held now, by name.
const WAIVE_PARKED: &str = concat!(
    "INSERT INTO waivers (term, gate, name, reason, actor, at) SELECT (SELECT term FROM authority), 'parked', name, ?1, ?2, ",
    now!(),
    " FROM ",
    unwaived_users!(),
    " ON CONFLICT (term, gate, name) DO NOTHING"
);
/// And each application that needed Logto of late.
const WAIVE_APPLICATIONS: &str = concat!(
    "INSERT INTO waivers (term, gate, name, reason, actor, at) SELECT (SELECT term FROM authority), 'applications', name, ?1, ?2, ",
    now!(),
    " FROM ",
    unwaived_applications!(),
    " ON CONFLICT (term, gate, name) DO NOTHING"
);
/// And each that ever did.
const WAIVE_DEPENDENCIES: &str = concat!(
    "INSERT INTO waivers (term, gate, name, reason, actor, at) SELECT (SELECT term FROM authority), 'dependencies', name, ?1, ?2, ",
    now!(),
    " FROM (SELECT DISTINCT application AS name FROM dependencies) WHERE true ON CONFLICT (term, gate, name) DO NOTHING"
);
const UNWAIVE: &str = "DELETE FROM waivers WHERE term = (SELECT term FROM authority) AND gate = ?1 AND name = ?2 RETURNING gate";
const KEEP_EVIDENCE: &str = concat!(
    "INSERT INTO evidence (kind, term, at, digest, not_green) SELECT ?1, term, min(?4, ",
    now!(),
    "), ?2, ?3 FROM authority WHERE true ",
    "ON CONFLICT (kind) DO UPDATE SET term = excluded.term, at = excluded.at, digest = excluded.digest, not_green = excluded.not_green"
);

/// Every string above, for the test that prepares each one against the schema.
#[cfg(not(target_arch = "wasm32"))]
pub const ALL_SQL: &[&str] = &[
    EVIDENCE,
    EQUALITY,
    PARKED,
    N_PARKED,
    APPLICATIONS,
    N_APPLICATIONS,
    EPOCH,
    WAITED_FOR,
    WAIVERS,
    WAIVE,
    WAIVE_PARKED,
    WAIVE_APPLICATIONS,
    WAIVE_DEPENDENCIES,
    UNWAIVE,
    KEEP_EVIDENCE,
];

/// With whether every read that mgPass may serve was to be served by it then.
const VERDICTS: &str = "SELECT at, verdict, coalesce(json_extract(figures, '$.all_reads_shared'), 0) AS all_were_shared FROM verdicts ORDER BY id DESC LIMIT ?1";
/// Every string above that is about the metrics database.
#[cfg(not(target_arch = "wasm32"))]
pub const METRICS_SQL: &[&str] = &[VERDICTS];

/// The triggers that keep it, and whether a mirrored user is missing in it.
const UNIQUE: &str = "SELECT (SELECT count(*) FROM sqlite_schema WHERE type = 'trigger' \
     AND name IN ('logto_mirror_unique_new', 'logto_mirror_unique_changed')) AS n_triggers, \
     (EXISTS (SELECT 1 FROM logto_mirror m WHERE json_type(m.residue, '$.username') = 'text' \
     AND NOT EXISTS (SELECT 1 FROM logto_mirror_unique u WHERE u.kind = 'username' \
     AND u.value = json_extract(m.residue, '$.username') AND u.user_id = m.user_id)) \
     OR EXISTS (SELECT 1 FROM logto_mirror m WHERE json_type(m.residue, '$.primaryPhone') = 'text' \
     AND NOT EXISTS (SELECT 1 FROM logto_mirror_unique u WHERE u.kind = 'phone' \
     AND u.value = json_extract(m.residue, '$.primaryPhone') AND u.user_id = m.user_id)) \
     OR EXISTS (SELECT 1 FROM logto_mirror m, json_each(m.residue, '$.identities') i WHERE json_type(i.value, '$.userId') = 'text' \
     AND NOT EXISTS (SELECT 1 FROM logto_mirror_unique u WHERE u.kind = 'identity:' || i.key \
     AND u.value = json_extract(i.value, '$.userId') AND u.user_id = m.user_id))) AS has_gaps";
/// Whose last reconcile began before recording had its last gap.
const BEHIND: &str = "SELECT user_id AS name FROM logto_mirror WHERE tombstone = 0 AND epoch < ?1 ORDER BY user_id LIMIT ?2";
/// More of them are not looked at one by one.
const MAX_BEHIND: i64 = 10_000;
/// Every string above that is about mgPass's database.
#[cfg(not(target_arch = "wasm32"))]
pub const MGPASS_SQL: &[&str] = &[UNIQUE, BEHIND];

/// Behind [`crate::handover::row::read`] in one batch.
pub fn read() -> Vec<Statement> {
    let plain = |sql| Statement::new(sql, vec![]);
    let some = |sql| Statement::new(sql, vec![N_NAMES.into()]);
    vec![
        evidence(),
        plain(EQUALITY),
        some(PARKED),
        plain(N_PARKED),
        some(APPLICATIONS),
        plain(N_APPLICATIONS),
        waivers(),
        plain(EPOCH),
    ]
}

/// The answers of [`read`].
pub fn parse(results: &[Vec<Row>]) -> Option<Facts> {
    let [
        evidence,
        equality,
        parked,
        n_parked,
        applications,
        n_applications,
        waivers,
        epoch,
    ] = results
    else {
        return None;
    };
    let of = |rows: &[Row], name: &str| integer(rows.first()?, name);
    Some(Facts {
        evidence: parse_evidence(evidence)?,
        equality: match equality.first() {
            None => None,
            Some(row) => Some(Equality {
                is_done: text(row, "state")? == "done",
                finished_at_ms: integer(row, "finished_at"),
                n_compared: integer(row, "n_users")?,
                n_unexplained: integer(row, "n_unexplained")?,
            }),
        },
        parked: Named {
            n: of(n_parked, "n")?,
            names: names(parked),
        },
        applications: Named {
            n: of(n_applications, "n")?,
            names: names(applications),
        },
        n_applications: of(n_applications, "n_all")?,
        epoch: of(epoch, "epoch")?,
        n_voids: of(epoch, "n_voids")?,
        waivers: parse_waivers(waivers)?,
        ..Facts::default()
    })
}

pub(super) fn evidence() -> Statement {
    Statement::new(EVIDENCE, vec![])
}

pub(super) fn parse_evidence(rows: &[Row]) -> Option<Vec<Evidence>> {
    let evidence = rows.iter().map(|row| {
        Some(Evidence {
            kind: text(row, "kind")?,
            term: integer(row, "term")?,
            at_ms: integer(row, "at")?,
            digest: text(row, "digest")?,
            not_green: serde_json::from_str(&text(row, "not_green")?).ok()?,
        })
    });
    evidence.collect()
}

/// Of this term.
pub(super) fn waivers() -> Statement {
    Statement::new(WAIVERS, vec![])
}

pub(super) fn parse_waivers(rows: &[Row]) -> Option<Vec<Waiver>> {
    let waivers = rows.iter().map(|row| {
        Some(Waiver {
            gate: text(row, "gate")?,
            name: text(row, "name")?,
            reason: text(row, "reason")?,
            actor: text(row, "actor")?,
        })
    });
    waivers.collect()
}

pub(super) fn names(rows: &[Row]) -> Vec<String> {
    rows.iter().filter_map(|row| text(row, "name")).collect()
}

/// In the metrics database.
pub fn verdicts() -> Statement {
    Statement::new(VERDICTS, vec![(N_VERDICTS as i64).into()])
}

/// `results`: of [`verdicts`], where that database answered.
pub fn reads(flags: &Flags, results: Option<&[Vec<Row>]>) -> Reads {
    let verdict = |row: &Row| {
        Some(Verdict {
            at_ms: integer(row, "at")?,
            is_pass: text(row, "verdict")? == "pass",
            all_were_shared: integer(row, "all_were_shared")? != 0,
        })
    };
    Reads {
        all_are_shared: flags.are_all_reads_shared(),
        is_braked: flags.kill_switch || flags.guard.is_some(),
        verdicts: results.map(|results| {
            let rows = results.first().map(Vec::as_slice).unwrap_or_default();
            rows.iter().filter_map(verdict).collect()
        }),
    }
}

/// In mgPass's database; looks at every mirrored user.
pub fn at_mgpass(epoch: i64) -> Vec<Statement> {
    vec![
        Statement::new(UNIQUE, vec![]),
        Statement::new(BEHIND, vec![epoch.into(), MAX_BEHIND.into()]),
    ]
}

/// Who of those that are behind is waited for.
pub fn waited_for(results: &[Vec<Row>]) -> Statement {
    let names = results.get(1).map(|rows| names(rows)).unwrap_or_default();
    let names = serde_json::json!(names).to_string();
    Statement::new(WAITED_FOR, vec![names.into()])
}

/// The answer of [`waited_for`].
pub fn parse_behind(results: &[Vec<Row>]) -> Option<Named> {
    let mut names = names(results.first()?);
    let n = names.len() as i64;
    names.truncate(N_NAMES as usize);
    Some(Named { n, names })
}

pub fn parse_unique(results: &[Vec<Row>]) -> Option<Unique> {
    let row = results.first()?.first()?;
    Some(Unique {
        is_kept: integer(row, "n_triggers")? == 2,
        has_gaps: integer(row, "has_gaps")? != 0,
    })
}

/// What an operator lets pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waived<'a> {
    Gate(&'a str),
    One {
        gate: &'a str,
        name: &'a str,
    },
    /// Everybody whom the gate counts now, each by name.
    AllOf(&'a str),
}

/// `None`: of that gate nobody is counted by name.
pub fn waive(waived: Waived<'_>, reason: &str, actor: &str) -> Option<Statement> {
    let (gate, name) = match waived {
        Waived::Gate(gate) => (gate, ""),
        Waived::One { gate, name } => (gate, name),
        Waived::AllOf(gate) => {
            let sql = match gate {
                "parked" => WAIVE_PARKED,
                "applications" => WAIVE_APPLICATIONS,
                "dependencies" => WAIVE_DEPENDENCIES,
                _ => return None,
            };
            return Some(Statement::new(sql, vec![reason.into(), actor.into()]));
        }
    };
    let values = vec![gate.into(), name.into(), reason.into(), actor.into()];
    Some(Statement::new(WAIVE, values))
}

/// The answer has a row if there was such a waiver.
pub fn unwaive(gate: &str, name: &str) -> Statement {
    Statement::new(UNWAIVE, vec![gate.into(), name.into()])
}

/// The checklist's or the certificate's newest result, of this term; `at_ms`: when the
/// oldest of what it rests on was found.
pub fn keep_evidence(kind: &str, digest: &str, not_green: &[String], at_ms: i64) -> Statement {
    let not_green = serde_json::json!(not_green).to_string();
    let values = vec![kind.into(), digest.into(), not_green.into(), at_ms.into()];
    Statement::new(KEEP_EVIDENCE, values)
}

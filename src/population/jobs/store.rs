//! The store of jobs: every SQL string of theirs, in one place.
//!
//! A lane claims a page, works, and finishes it in one batch; a claim that runs out
//! is taken over. Why twice is harmless: pages are written under tickets, users are
//! recorded by id, and counts move only with the claim that still holds.

use crate::inbound::request::{UserId, id_list};
use crate::runtime::ports::{Row, Statement, Value};
use crate::runtime::sql::{integer, now, text};

pub use super::paged::{Cost, Paged, Recorded, UserOutcome};
use super::{Kind, Phase};

const NEXT: &str = "UPDATE counters SET value = value + 1 WHERE name = 'sequence'";
/// Nothing when one of the kind is active.
const START: &str = concat!(
    "INSERT INTO jobs (kind, state, phase, dry_run, repair, inspect, lanes, rate, started_at, moved_at) ",
    "SELECT ?1, 'running', ?2, ?3, ?4, ?5, ?6, ?7, ",
    now!(),
    ", ",
    now!(),
    " WHERE (SELECT holder FROM authority) = 'logto' ON CONFLICT DO NOTHING RETURNING id"
);
const HOLDER: &str = "SELECT holder FROM authority";
const NEWEST: &str = "SELECT * FROM jobs WHERE kind = ?1 ORDER BY id DESC LIMIT 1";
const RUNNING: &str = concat!(
    "SELECT id, lanes FROM jobs WHERE state = 'running' AND moved_at < ",
    now!(),
    " - 20000 AND next_at < ",
    now!(),
    " - 20000"
);
/// From one of these states into another.
const TURN: &str = concat!(
    "UPDATE jobs SET state = ?3, rate = CASE WHEN ?4 = 1 THEN ?5 ELSE rate END, moved_at = ",
    now!(),
    ", finished_at = CASE WHEN ?3 = 'stopped' THEN ",
    now!(),
    " END WHERE kind = ?1 AND (state = ?2 OR (?3 = 'stopped' AND state IN ('running', 'paused'))) RETURNING id"
);
const CLAIM_EXPIRED: &str = concat!(
    "UPDATE job_pages SET holder = ?2, claimed_until = ",
    now!(),
    " + 60000 WHERE job = ?1 AND page = (SELECT min(page) FROM job_pages WHERE job = ?1 AND claimed_until < ",
    now!(),
    ") AND EXISTS (SELECT 1 FROM jobs WHERE id = ?1 AND state = 'running') AND (SELECT holder FROM authority) = 'logto' AND (SELECT raise_owed FROM authority) = 0"
);
const CLAIM_NEXT: &str = concat!(
    "INSERT INTO job_pages (job, page, holder, claimed_until) SELECT id, next_page, ?2, ",
    now!(),
    " + 60000 FROM jobs WHERE id = ?1 AND state = 'running' AND (SELECT holder FROM authority) = 'logto' AND (SELECT raise_owed FROM authority) = 0 ",
    "AND next_at <= ",
    now!(),
    " AND (last_page IS NULL OR next_page <= last_page) ",
    "AND NOT EXISTS (SELECT 1 FROM job_pages WHERE holder = ?2) ",
    "AND (SELECT count(*) FROM job_pages WHERE job = ?1) < CASE phase WHEN 'list' THEN lanes ELSE 1 END"
);
const ADVANCE_PAGE: &str = concat!(
    "UPDATE jobs SET next_page = next_page + 1, next_at = CASE WHEN rate IS NULL THEN 0 ELSE max(next_at, ",
    now!(),
    ") + CAST(?3 * 60000 / rate AS INTEGER) END WHERE id = ?1 ",
    "AND EXISTS (SELECT 1 FROM job_pages WHERE job = ?1 AND holder = ?2 AND page = jobs.next_page)"
);
const STANDING: &str = concat!(
    "SELECT j.*, p.page AS page, coalesce(p.n_done, 0) AS n_done, ",
    now!(),
    " AS now, (SELECT value FROM counters WHERE name = 'sequence') AS ticket, ",
    "(SELECT value FROM counters WHERE name = 'epoch') AS epoch, (SELECT generation FROM authority) AS generation, ",
    "(SELECT count(*) FROM job_pages WHERE job = ?1) AS n_claimed ",
    "FROM jobs j LEFT JOIN job_pages p ON p.job = j.id AND p.holder = ?2 WHERE j.id = ?1"
);
/// Before the users are recorded: the new ones are counted against what is there.
const COUNT: &str = concat!(
    "UPDATE jobs SET n_seen = n_seen + ?3, n_users = n_users + (SELECT count(*) FROM json_each(?4) w ",
    "WHERE NOT EXISTS (SELECT 1 FROM job_users u WHERE u.kind = jobs.kind AND u.user_id = json_extract(w.value, '$[0]') AND u.job = jobs.id)), ",
    "n_pages = n_pages + 1, n_statements = n_statements + ?5, logto_ms = logto_ms + ?6, mgpass_ms = mgpass_ms + ?7, work_ms = work_ms + ?8, ",
    "total_first = coalesce(total_first, ?9), total_last = coalesce(?9, total_last), ",
    "last_page = CASE WHEN ?10 = 1 THEN min(coalesce(last_page, ?11), ?11) ELSE last_page END, after_id = ?12, ",
    "n_whole = n_whole + ?13, n_added = n_added + ?14, memory_bytes = max(memory_bytes, ?15), last_failure = NULL, moved_at = ",
    now!(),
    " WHERE id = ?1 AND EXISTS (SELECT 1 FROM job_pages WHERE job = ?1 AND holder = ?2)"
);
const RECORD: &str = "INSERT INTO job_users (kind, user_id, job, pass, outcome, reason, notes) \
     SELECT j.kind, json_extract(w.value, '$[0]'), j.id, j.pass, json_extract(w.value, '$[1]'), json_extract(w.value, '$[2]'), \
     json_extract(w.value, '$[3]') FROM json_each(?2) w JOIN jobs j ON j.id = ?1 WHERE true \
     ON CONFLICT (kind, user_id) DO UPDATE SET job = excluded.job, pass = excluded.pass, outcome = excluded.outcome, \
     reason = excluded.reason, notes = excluded.notes WHERE job_users.job <= excluded.job";
/// Somebody goes on with the page behind these rows.
const LEAVE_REST: &str =
    "UPDATE job_pages SET n_done = ?3, claimed_until = 0 WHERE job = ?1 AND holder = ?2";
const DROP_CLAIM: &str = "DELETE FROM job_pages WHERE job = ?1 AND holder = ?2";
/// The list is empty when another lane has it by now.
const RENEW: &str = concat!(
    "UPDATE job_pages SET claimed_until = ",
    now!(),
    " + 60000 WHERE job = ?1 AND holder = ?2 RETURNING page"
);
const GIVE_BACK: &str = "UPDATE job_pages SET claimed_until = 0 WHERE job = ?1 AND holder = ?2";
const FAILED: &str = "UPDATE jobs SET last_failure = ?2 WHERE id = ?1";
/// Into the next phase or pass, once: every page of this one is done.
const MOVE_ON: &str = concat!(
    "UPDATE jobs SET phase = ?4, pass = ?5, next_page = 1, last_page = NULL, after_id = '', n_seen = 0, next_at = 0, ",
    "total_first = CASE WHEN ?4 = 'list' THEN NULL ELSE total_first END, moved_at = ",
    now!(),
    " WHERE id = ?1 AND phase = ?2 AND pass = ?3 AND next_page > last_page ",
    "AND NOT EXISTS (SELECT 1 FROM job_pages WHERE job = ?1) RETURNING id"
);
const END: &str = concat!(
    "UPDATE jobs SET state = 'done', finished_at = ",
    now!(),
    ", moved_at = ",
    now!(),
    " WHERE id = ?1 AND state = 'running' AND phase = ?2 AND next_page > last_page ",
    "AND NOT EXISTS (SELECT 1 FROM job_pages WHERE job = ?1) RETURNING id"
);
/// Of earlier jobs, who is in no listing any more.
const FORGET_USERS: &str = "DELETE FROM job_users WHERE kind = ?1 AND user_id IN \
     (SELECT user_id FROM job_users WHERE kind = ?1 AND job < ?2 LIMIT 5000)";
const SEEN_IN_PASS: &str =
    "SELECT count(*) AS n FROM job_users WHERE kind = ?1 AND job = ?2 AND pass = ?3";
/// Listed before, but not in the last pass.
const ABSENT: &str = "SELECT user_id FROM job_users WHERE kind = ?1 AND job = ?2 AND pass < ?3 AND user_id > ?4 \
     ORDER BY user_id LIMIT ?5";
/// What the relay has made of those that were handed to it. A live write that nobody
/// settled is looked at for a quarter of an hour; the job does not wait for that.
const SETTLE: &str = "UPDATE job_users SET \
     outcome = CASE WHEN (SELECT parked FROM subjects WHERE subject = user_id) IS NOT NULL THEN 'parked' \
     WHEN reason = 'gone' OR (SELECT last_outcome FROM subjects WHERE subject = user_id) IN ('deleted', 'absent') THEN 'deleted' ELSE 'equal' END, \
     reason = (SELECT parked FROM subjects WHERE subject = user_id) \
     WHERE kind = ?1 AND job = ?2 AND outcome = 'pending' AND ((SELECT parked FROM subjects WHERE subject = user_id) IS NOT NULL \
     OR NOT EXISTS (SELECT 1 FROM intents i WHERE i.subject = user_id AND i.discharged_at IS NULL AND i.settled IS NOT NULL))";
const PENDING: &str =
    "SELECT user_id FROM job_users WHERE kind = ?1 AND job = ?2 AND outcome = 'pending' LIMIT ?3";
/// Whom the newest job of this kind has not recorded.
const UNRECORDED: &str = "SELECT w.value AS id FROM json_each(?3) w \
     WHERE NOT EXISTS (SELECT 1 FROM job_users u WHERE u.kind = ?1 AND u.job = ?2 AND u.user_id = w.value) ORDER BY w.key";

/// Every string above, for the test that prepares each one against the schema.
#[cfg(not(target_arch = "wasm32"))]
pub const ALL_SQL: &[&str] = &[
    NEXT,
    START,
    HOLDER,
    NEWEST,
    RUNNING,
    TURN,
    CLAIM_EXPIRED,
    CLAIM_NEXT,
    ADVANCE_PAGE,
    STANDING,
    COUNT,
    RECORD,
    LEAVE_REST,
    DROP_CLAIM,
    RENEW,
    GIVE_BACK,
    FAILED,
    MOVE_ON,
    END,
    FORGET_USERS,
    SEEN_IN_PASS,
    ABSENT,
    SETTLE,
    PENDING,
    UNRECORDED,
];

/// What an operator asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Order {
    pub kind: Kind,
    pub dry_run: bool,
    pub repair: bool,
    /// Whether each user's second factors and SSO identities are asked for.
    pub inspect: bool,
    pub lanes: i64,
    pub rate: Option<i64>,
}

/// The first list is empty when one of the kind is active already, or where the third says
/// that Logto is not the authority.
pub fn start(order: &Order) -> Vec<Statement> {
    let values = vec![
        order.kind.name().into(),
        order.kind.first_phase().name().into(),
        order.dry_run.into(),
        order.repair.into(),
        order.inspect.into(),
        order.lanes.into(),
        order.rate.into(),
    ];
    vec![
        Statement::new(START, values),
        newest(order.kind),
        Statement::new(HOLDER, vec![]),
    ]
}

pub fn newest(kind: Kind) -> Statement {
    Statement::new(NEWEST, vec![kind.name().into()])
}

/// Jobs that nothing has moved for a while.
pub fn stalled() -> Vec<Statement> {
    vec![Statement::new(RUNNING, vec![])]
}

pub fn parse_stalled(results: &[Vec<Row>]) -> Vec<(i64, i64)> {
    let rows = results.first().map(Vec::as_slice).unwrap_or_default();
    rows.iter()
        .filter_map(|row| Some((integer(row, "id")?, integer(row, "lanes")?)))
        .collect()
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transition {
    Pause,
    /// With another limit of the rate, where one is given.
    Resume(Option<i64>),
    Stop,
}

/// The first list is empty when no job was in a state to turn from.
pub fn change_state(kind: Kind, turn: Transition) -> Vec<Statement> {
    let (from, to, rate) = match turn {
        Transition::Pause => ("running", "paused", None),
        Transition::Resume(rate) => ("paused", "running", rate),
        Transition::Stop => ("running", "stopped", None),
    };
    let values = vec![
        kind.name().into(),
        from.into(),
        to.into(),
        rate.is_some().into(),
        rate.into(),
    ];
    vec![Statement::new(TURN, values), newest(kind)]
}

/// A lane's hold on one page of a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    pub job: i64,
    pub holder: String,
    pub page: i64,
}

/// A job as a lane finds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobState {
    pub kind: Kind,
    pub phase: Phase,
    pub is_running: bool,
    pub dry_run: bool,
    pub repair: bool,
    pub inspect: bool,
    pub lanes: i64,
    pub pass: i64,
    pub after_id: String,
    pub total_first: Option<i64>,
    pub total_last: Option<i64>,
    /// Past its last page, and no lane at work.
    pub is_exhausted: bool,
    /// How long the limit of the rate still holds everybody back.
    pub wait_ms: i64,
    /// Taken after the claim and before anything is read.
    pub ticket: i64,
    pub epoch: i64,
    /// Of the authority.
    pub generation: i64,
    pub page: Option<i64>,
    /// Rows of the page that are done.
    pub n_done: i64,
}

pub fn claim(job: i64, holder: &str, page_size: i64) -> Vec<Statement> {
    let key = || vec![Value::from(job), Value::from(holder)];
    let mut advance = key();
    advance.push(page_size.into());
    vec![
        Statement::new(NEXT, vec![]),
        Statement::new(CLAIM_EXPIRED, key()),
        Statement::new(CLAIM_NEXT, key()),
        Statement::new(ADVANCE_PAGE, advance),
        Statement::new(STANDING, key()),
    ]
}

/// The answer of `claim` and `finish`; `None`: no such job.
pub fn parse_state(results: &[Vec<Row>]) -> Option<JobState> {
    let row = results.last()?.first()?;
    let flag = |name| Some(integer(row, name)? == 1);
    let past_the_end =
        integer(row, "last_page").is_some_and(|last| integer(row, "next_page") > Some(last));
    Some(JobState {
        kind: Kind::from_name(&text(row, "kind")?)?,
        phase: Phase::from_name(&text(row, "phase")?)?,
        is_running: text(row, "state")? == "running",
        dry_run: flag("dry_run")?,
        repair: flag("repair")?,
        inspect: flag("inspect")?,
        lanes: integer(row, "lanes")?,
        pass: integer(row, "pass")?,
        after_id: text(row, "after_id")?,
        total_first: integer(row, "total_first"),
        total_last: integer(row, "total_last"),
        is_exhausted: past_the_end && integer(row, "n_claimed")? == 0,
        wait_ms: (integer(row, "next_at")? - integer(row, "now")?).max(0),
        ticket: integer(row, "ticket")?,
        epoch: integer(row, "epoch")?,
        generation: integer(row, "generation")?,
        page: integer(row, "page"),
        n_done: integer(row, "n_done")?,
    })
}

impl Claim {
    fn key(&self) -> Vec<Value> {
        vec![self.job.into(), self.holder.as_str().into()]
    }

    pub fn finish(&self, paged: Paged) -> Vec<Statement> {
        let users: Vec<_> = paged.users.iter().map(Recorded::to_json).collect();
        let users = serde_json::Value::from(users).to_string();
        let n_own = paged.statements.len() as i64 + 4;
        let mut count = self.key();
        count.extend([
            (paged.users.len() as i64).into(),
            users.as_str().into(),
            (paged.cost.n_statements + n_own).into(),
            paged.cost.logto_ms.into(),
            paged.cost.mgpass_ms.into(),
            paged.cost.work_ms.into(),
            paged.total.into(),
            paged.is_last.into(),
            self.page.into(),
            paged.after_id.into(),
            paged.n_whole.into(),
            paged.n_added.into(),
            paged.cost.memory_bytes.into(),
        ]);
        let mut statements = vec![
            Statement::new(COUNT, count),
            Statement::new(RECORD, vec![self.job.into(), users.into()]),
        ];
        statements.extend(paged.statements);
        statements.push(match paged.n_done {
            None => Statement::new(DROP_CLAIM, self.key()),
            Some(n_done) => {
                let mut values = self.key();
                values.push(n_done.into());
                Statement::new(LEAVE_REST, values)
            }
        });
        statements.push(Statement::new(STANDING, self.key()));
        statements
    }

    /// The page takes longer.
    pub fn renew(&self) -> Statement {
        Statement::new(RENEW, self.key())
    }

    /// For another lane, or for another try.
    pub fn give_back(&self, code: Option<&'static str>) -> Vec<Statement> {
        vec![
            Statement::new(GIVE_BACK, self.key()),
            Statement::new(FAILED, vec![self.job.into(), code.into()]),
        ]
    }
}

/// The list is empty when somebody else did it, or when there is still work.
pub fn move_on(job: i64, job_state: &JobState, phase: Phase, pass: i64) -> Vec<Statement> {
    let values = vec![
        job.into(),
        job_state.phase.name().into(),
        job_state.pass.into(),
        phase.name().into(),
        pass.into(),
    ];
    vec![Statement::new(MOVE_ON, values)]
}

pub fn end(job: i64, job_state: &JobState) -> Vec<Statement> {
    vec![
        Statement::new(END, vec![job.into(), job_state.phase.name().into()]),
        Statement::new(FORGET_USERS, vec![job_state.kind.name().into(), job.into()]),
    ]
}

pub fn seen_in_pass(job: i64, job_state: &JobState) -> Statement {
    let values = vec![
        job_state.kind.name().into(),
        job.into(),
        job_state.pass.into(),
    ];
    Statement::new(SEEN_IN_PASS, values)
}

pub fn absent(job: i64, job_state: &JobState, limit: i64) -> Statement {
    let values = vec![
        job_state.kind.name().into(),
        job.into(),
        job_state.pass.into(),
        job_state.after_id.as_str().into(),
        limit.into(),
    ];
    Statement::new(ABSENT, values)
}

pub fn settle(job: i64, kind: Kind, limit: i64) -> Vec<Statement> {
    let key = || vec![Value::from(kind.name()), Value::from(job)];
    let mut pending = key();
    pending.push(limit.into());
    vec![
        Statement::new(SETTLE, key()),
        Statement::new(PENDING, pending),
    ]
}

/// Ids in a column `id` or `user_id` of one list of rows.
pub fn parse_ids(rows: Option<&Vec<Row>>) -> Vec<UserId> {
    let rows = rows.map(Vec::as_slice).unwrap_or_default();
    rows.iter()
        .filter_map(|row| {
            let id = text(row, "user_id").or_else(|| text(row, "id"))?;
            UserId::parse(&id)
        })
        .collect()
}

pub fn unrecorded(job: i64, kind: Kind, users: &[UserId]) -> Statement {
    let ids = id_list(users);
    Statement::new(UNRECORDED, vec![kind.name().into(), job.into(), ids.into()])
}

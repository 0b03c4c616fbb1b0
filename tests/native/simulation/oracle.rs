//! The judgement: both stores after the drain, compared from outside.

use std::collections::BTreeSet;
use std::rc::Rc;

use dual_write_proxy::inbound::request::UserId;
use dual_write_proxy::mirror::triggers::Trigger;
use dual_write_proxy::runtime::digest::digest;
use dual_write_proxy::runtime::ports::{Row, Store};
use serde_json::{Value, json};

use super::Setup;
use super::actions::Journal;
use super::chaos::SimulationTamper;
use super::values::MAY_BE_TOO_LARGE_BYTES;
use crate::support::World;
use crate::support::logto::User;

#[derive(Clone, Debug, Default)]
pub struct Verdict {
    /// A write that mgPass does not have.
    pub lost: Vec<String>,
    /// A thing done twice that may be done once.
    pub doubled: Vec<String>,
    /// A change made at mgPass on purpose of which nothing tells.
    pub vanished: Vec<String>,
    /// An effect that nobody carried out.
    pub missing: Vec<String>,
    /// Deleted although Logto has the user, or alive although it was deleted.
    pub wrong: Vec<String>,
    /// Intents, effects or parked subjects that nothing will ever move.
    pub stuck: Vec<String>,
    /// Without a fault, and yet not before a sweep.
    pub late: Vec<String>,
    /// Turns that took a lease, and read both backends, with nothing to cover.
    pub wasted: Vec<String>,
    /// Gaps of writes that somebody could name, without a fault.
    pub needless: Vec<String>,
    /// What is claimed of a hand-over, and was not so.
    pub disproved: Vec<String>,
    /// Read from mgPass: less than was acknowledged, and with a brake pulled.
    pub stale: Vec<String>,
    pub unbraked: Vec<String>,
    pub n_reads: u64,
    pub n_from_mgpass: u64,
    /// Turns with something to cover, and without.
    pub n_turns: u64,
    pub n_idle: u64,
    /// How often a broken variant made a difference.
    pub n_broken: u64,
    pub n_acknowledged: u64,
    pub n_calls: u64,
    pub n_parked: u64,
    /// Registrations recorded without an id: for the catch-up, which is off.
    pub n_waiting: u64,
    /// Users whose reads a gap keeps at Logto, and whom only the walk brings up to date.
    pub n_behind: u64,
    /// Users parked as too large for the platform.
    pub n_too_large: u64,
    /// Imports that went through.
    pub n_imports: u64,
    pub n_hand_overs: u64,
    /// How often Logto was left alone.
    pub n_left: u64,
}

impl Verdict {
    pub fn is_good(&self) -> bool {
        self.kinds().is_empty()
    }

    pub fn kinds(&self) -> String {
        let names: Vec<_> = self.found().map(|(name, _)| name).collect();
        names.join(", ")
    }

    /// One of what was found.
    pub fn first(&self) -> Option<&str> {
        let (_, list) = self.found().last()?;
        list.first().map(String::as_str)
    }

    fn found(&self) -> impl Iterator<Item = (&'static str, &Vec<String>)> {
        let kinds = [
            ("lost", &self.lost),
            ("doubled", &self.doubled),
            ("vanished", &self.vanished),
            ("missing effect", &self.missing),
            ("wrong", &self.wrong),
            ("stuck", &self.stuck),
            ("late", &self.late),
            ("wasted", &self.wasted),
            ("needless gap", &self.needless),
            ("stale read", &self.stale),
            ("unbraked read", &self.unbraked),
            ("disproved", &self.disproved),
        ];
        kinds.into_iter().filter(|(_, list)| !list.is_empty())
    }
}

const OPEN: &str = "SELECT count(*) FROM intents WHERE discharged_at IS NULL AND subject IS NOT NULL AND subject NOT IN (SELECT subject FROM subjects WHERE parked IS NOT NULL)";
const UNRESOLVED: &str =
    "SELECT count(*) FROM intents WHERE discharged_at IS NULL AND subject IS NULL";
/// Whom no reconcile has looked at since the epoch was raised.
const BEHIND: &str = "SELECT user_id, epoch FROM logto_mirror WHERE tombstone = 0";
const OWED: &str = "SELECT count(*) FROM logto_mirror_effects";

const JOBS: &str = "SELECT count(*) FROM jobs WHERE state = 'running'";
const IMPORTS: &str = "SELECT count(*) FROM jobs WHERE state = 'done'";

pub fn is_drained(world: &World, setup: &Setup) -> bool {
    world.next_due_ms().is_none()
        && (!setup.is_helped || (number(world, Store::Proxy, UNRESOLVED) == 0 && is_walked(world)))
        && number(world, Store::Proxy, OPEN) == 0
        && number(world, Store::Proxy, JOBS) == 0
        && number(world, Store::Mgpass, OWED) == 0
}

/// The walk has been where a gap was.
fn is_walked(world: &World) -> bool {
    let epoch = world.counter("epoch");
    let parked = parked(world);
    let is_parked = |row: &Row| {
        parked
            .iter()
            .any(|(subject, _)| row["user_id"] == subject.as_str())
    };
    let rows = world.mgpass(BEHIND);
    rows.iter()
        .all(|row| row["epoch"].as_i64() >= Some(epoch) || is_parked(row))
}

fn number(world: &World, store: Store, sql: &str) -> i64 {
    world.value(store, sql).as_i64().unwrap_or_default()
}

pub fn parked(world: &World) -> Vec<(String, String)> {
    let rows = world.proxy("SELECT subject, parked FROM subjects WHERE parked IS NOT NULL");
    rows.iter()
        .map(|row| {
            let text = |name: &str| row[name].as_str().unwrap_or_default().to_owned();
            (text("subject"), text("parked"))
        })
        .collect()
}

/// An operator's word.
pub fn say(world: &World, subject: &str, word: Trigger) {
    let user = UserId::parse(subject).unwrap();
    let statements = word.each(&[user]);
    world.databases.batch(Store::Proxy, &statements).unwrap();
}

/// Deletions that a client was told of, before any operator acts.
pub fn unmirrored_deletions(world: &World, journal: &Journal) -> Vec<String> {
    let deleted = journal.deleted.borrow();
    let alive = deleted.iter().filter(|id| {
        let sql = format!("SELECT count(*) FROM users WHERE id = '{id}' AND deleted_at IS NULL");
        number(world, Store::Mgpass, &sql) > 0
    });
    alive
        .map(|id| format!("{id} is alive, and a client was told of the deletion"))
        .collect()
}

pub fn judge(
    world: &Rc<World>,
    setup: &Setup,
    journal: &Journal,
    tamper: &SimulationTamper,
) -> Verdict {
    let mut verdict = Verdict {
        n_acknowledged: journal.n_acknowledged.get(),
        ..Verdict::default()
    };
    let rows = world.mgpass(
        "SELECT u.*, m.digest, m.tombstone, m.epoch AS mirror_epoch, (SELECT count(*) FROM user_roles r WHERE r.user_id = u.id) AS n_roles, \
         (SELECT count(*) FROM audit_logs a WHERE a.target_id = u.id AND a.event_type = 'user.created') AS n_created, \
         (SELECT count(*) FROM audit_logs a WHERE a.target_id = u.id AND a.event_type = 'user.deleted') AS n_deleted, \
         (SELECT json_group_array(s.provider || ' ' || s.provider_user_id) FROM social_identities s WHERE s.user_id = u.id) AS identities \
         FROM users u LEFT JOIN logto_mirror m ON m.user_id = u.id",
    );
    let parked = parked(world);
    let parked_as = |id: &str| {
        parked
            .iter()
            .find(|(subject, _)| subject == id)
            .map(|(_, reason)| reason.as_str())
    };
    let users = world.logto.users.borrow();
    // Nobody can help them but who makes them smaller; nor whoever has taken a value over
    // from them. An operator sees both.
    let is_too_large = |id: &str| {
        let json = users.get(id).map(User::json);
        parked_as(id) == Some("too_large")
            && json.is_some_and(|json| json.len() > MAY_BE_TOO_LARGE_BYTES)
    };
    let too_large: Vec<_> = users.keys().filter(|id| is_too_large(id)).collect();
    verdict.n_too_large = too_large.len() as u64;
    let is_excused = |id: &str| {
        is_too_large(id) || !too_large.is_empty() && parked_as(id) == Some("value_taken_in_logto")
    };
    let mut n_unresolved = number(world, Store::Proxy, UNRESOLVED);
    // Each says that one user may lag behind; with help, nobody does any more.
    let mut n_gaps = match setup.is_helped {
        true => 0,
        false => world.counter("unrecorded"),
    };
    let epoch = world.counter("epoch");
    let doubtful = journal.doubtful.borrow();
    verdict.n_waiting = n_unresolved as u64;
    verdict.n_imports = number(world, Store::Proxy, IMPORTS) as u64;
    if setup.is_helped && n_unresolved > 0 {
        verdict
            .stuck
            .push(format!("{n_unresolved} intents of nobody"));
        n_unresolved = 0;
    }
    for user in users.values() {
        if is_excused(&user.id) {
            continue;
        }
        match rows.iter().find(|row| row["id"] == user.id.as_str()) {
            None if n_unresolved > 0 => n_unresolved -= 1,
            None => verdict.lost.push(format!("{} is not at mgPass", user.id)),
            Some(row) if row["deleted_at"] != Value::Null => {
                verdict
                    .wrong
                    .push(format!("{} is deleted at mgPass only", user.id));
            }
            Some(row) => {
                let found = differences(user, row);
                if found.is_empty() {
                    continue;
                }
                // Of whom a gap says so, the reads are Logto's.
                let is_behind = n_gaps > 0 && row["mirror_epoch"].as_i64() < Some(epoch);
                let is_unacknowledged = !setup.is_helped && doubtful.contains(&user.id);
                n_gaps -= i64::from(is_behind);
                verdict.n_behind += u64::from(is_behind);
                if !is_behind && !is_unacknowledged {
                    verdict.lost.extend(found);
                }
            }
        }
    }
    for row in &rows {
        let id = row["id"].as_str().unwrap_or_default();
        if row["n_created"] != 1 || row["n_roles"] != 1 || row["n_deleted"].as_i64() > Some(1) {
            verdict.doubled.push(format!("{id}: {}", json!(row)));
        }
        if users.contains_key(id) || row["deleted_at"] != Value::Null {
            continue;
        }
        verdict.wrong.push(format!(
            "{id} is deleted at Logto only, parked {:?}",
            parked_as(id)
        ));
    }
    for (subject, reason) in parked.iter().filter(|(id, _)| !is_excused(id)) {
        verdict.stuck.push(format!("{subject} is parked: {reason}"));
    }
    for (sql, store, what) in [
        (OPEN, Store::Proxy, "intents"),
        (OWED, Store::Mgpass, "effects"),
        (JOBS, Store::Proxy, "imports"),
    ] {
        let n_left = number(world, store, sql);
        if n_left > 0 {
            verdict.stuck.push(format!("{n_left} {what}"));
        }
    }
    verdict.n_broken = tamper.n_broken.get();
    let turns = &tamper.turns;
    verdict.n_turns = turns.n_covering.get();
    verdict.n_idle = turns.n_idle.get();
    let n_for_nothing = turns.n_for_nothing.get();
    if n_for_nothing > 0 {
        verdict.wasted.push(format!("{n_for_nothing} turns"));
    }
    verdict.vanished = vanished(world, journal, &is_excused);
    judge_effects(world, journal, tamper, &rows, &is_excused, &mut verdict);
    verdict
}

/// Found by the relay, or told by mgPass's audit log, which keeps it for ever.
fn vanished(world: &World, journal: &Journal, is_excused: &dyn Fn(&str) -> bool) -> Vec<String> {
    let edits = journal.edits.borrow();
    let untold = edits.iter().filter(|(user, field)| {
        let found = format!(
            "SELECT count(*) FROM findings WHERE user_id = '{user}' AND kind = 'finding' AND paths LIKE '%\"{field}\"%'"
        );
        let told = format!(
            "SELECT count(*) FROM audit_logs WHERE target_id = '{user}' AND actor_id = 'logto_mirror' \
             AND EXISTS (SELECT 1 FROM json_each(metadata, '$.overruled') f WHERE f.value = '{field}')"
        );
        !is_excused(user)
            && number(world, Store::Proxy, &found) == 0
            && number(world, Store::Mgpass, &told) == 0
    });
    untold
        .map(|(user, field)| format!("{user}: {field} was edited at mgPass, and nothing tells"))
        .collect()
}

fn differences(user: &User, row: &Row) -> Vec<String> {
    let name = user.name.clone().or_else(|| user.username.clone());
    let phone = user.phone.as_ref().map(|phone| format!("+{phone}"));
    let wanted: BTreeSet<_> = user
        .identities
        .iter()
        .map(|(target, id, _)| format!("{target} {id}"))
        .collect();
    let held: BTreeSet<String> =
        serde_json::from_str(row["identities"].as_str().unwrap_or("[]")).unwrap();
    let metadata: Value = serde_json::from_str(row["metadata"].as_str().unwrap_or("{}")).unwrap();
    let custom_data: Value = serde_json::from_str(&user.custom_data).unwrap();
    let pairs = [
        ("email", json!(user.email), row["email"].clone()),
        ("phone", json!(phone), row["phone"].clone()),
        ("name", json!(name), row["name"].clone()),
        ("metadata", custom_data, metadata),
        (
            "is_suspended",
            json!(i64::from(user.is_suspended)),
            row["is_suspended"].clone(),
        ),
        (
            "last_sign_in_at",
            json!(user.last_sign_in_at.map(|at| at / 1_000)),
            row["last_sign_in_at"].clone(),
        ),
        (
            "created_at",
            json!(user.created_at / 1_000),
            row["created_at"].clone(),
        ),
        ("identities", json!(wanted), json!(held)),
        // Of the whole answer: the residue is that of Logto's last state.
        ("digest", json!(digest(&user.json())), row["digest"].clone()),
    ];
    pairs
        .into_iter()
        .filter(|(_, logto, mgpass)| logto != mgpass)
        .map(|(field, logto, mgpass)| {
            format!("{} {field}: {logto} at Logto, {mgpass} at mgPass", user.id)
        })
        .collect()
}

fn judge_effects(
    world: &World,
    journal: &Journal,
    tamper: &SimulationTamper,
    rows: &[Row],
    is_excused: &dyn Fn(&str) -> bool,
    verdict: &mut Verdict,
) {
    let ended = world.logto.ended.borrow();
    let revoked = world.mgpass.revoked.borrow();
    let created_ms = |id: &str| {
        let sql = format!(
            "SELECT created_at FROM audit_logs WHERE target_id = '{id}' AND event_type = 'user.created'"
        );
        world
            .value(Store::Mgpass, &sql)
            .as_i64()
            .map(|at| at * 1_000 + 999)
    };
    for (id, at_ms) in ended.iter() {
        let row = rows.iter().find(|row| row["id"] == id.as_str());
        // Nobody at mgPass then.
        let had_no_session =
            row.is_none() || created_ms(id).is_none_or(|created_ms| created_ms >= *at_ms);
        // Who is suspended at mgPass has no session there, and can begin none. The audit
        // log knows seconds: a suspension within the same one counts, and owed its own call.
        let at_s = at_ms / 1_000;
        let sql = format!(
            "SELECT event_type FROM audit_logs WHERE target_id = '{id}' AND (created_at < {at_s} \
             AND event_type IN ('user.suspended', 'user.unsuspended') OR created_at = {at_s} AND event_type = 'user.suspended') \
             ORDER BY rowid DESC"
        );
        let was_suspended = world.value(Store::Mgpass, &sql) == "user.suspended";
        if had_no_session || was_suspended || is_excused(id) {
            continue;
        }
        if !revoked
            .iter()
            .any(|(user, when)| user == id && when >= at_ms)
        {
            verdict
                .missing
                .push(format!("sessions of {id} outlived {at_ms}"));
        }
    }
    // A suspension that a reconcile saw before it was settled, and that was undone
    // before the next one, is called for twice: better than not at all.
    let excused = tamper.n_effect_faults.get()
        + 2 * journal.n_doubtful_suspensions.get()
        + journal.n_undone_suspensions.get();
    if revoked.len() as u64 > ended.len() as u64 + excused {
        verdict.doubled.push(format!(
            "{} calls of revoke-all for {} ended sessions, {excused} excused",
            revoked.len(),
            ended.len()
        ));
    }
}

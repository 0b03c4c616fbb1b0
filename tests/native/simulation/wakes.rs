//! The Queue as it may be: a wake-up is lost, doubled, or overtakes another; and what
//! the relay's turns were for. A record of a write is never lost (the Queue says so),
//! but may come twice or late.

use std::cell::Cell;

use dual_write_proxy::runtime::message::Message;
use dual_write_proxy::runtime::ports::{Row, Store};

use crate::support::World;
use crate::support::executor::Random;

/// What becomes of one message.
#[derive(Clone, Copy, Debug)]
pub enum Fate {
    Lost,
    Doubled,
    Late(i64),
}

pub const FATES: &[Fate] = &[Fate::Lost, Fate::Doubled, Fate::Late(95_000)];

/// When its copies come, after the Queue's usual delay.
pub fn copies(message: &Message, fate: Fate) -> Vec<i64> {
    let is_record = matches!(message, Message::Open { .. } | Message::Settle { .. });
    match fate {
        Fate::Lost if is_record => vec![0],
        Fate::Lost => vec![],
        Fate::Doubled => vec![0, 3_000],
        Fate::Late(late_ms) => vec![late_ms],
    }
}

/// A run's Queue: most are good, some lose and reorder a few messages, some many.
pub fn moods(random: &Random) -> usize {
    [usize::MAX, usize::MAX, 25, 4][random.below(4)]
}

pub fn draw(random: &Random) -> Fate {
    match random.below(4) {
        0 => Fate::Lost,
        1 => Fate::Doubled,
        _ => Fate::Late([300, 5_000, 30_000, 95_000][random.below(4)]),
    }
}

/// What the relay's turns were for, as the answers of the outbox tell.
#[derive(Default)]
pub struct Turns {
    /// A lease was taken, and there was something to cover.
    pub n_covering: Cell<u64>,
    /// A message came, and there was nothing to cover.
    pub n_idle: Cell<u64>,
    /// A lease was taken with nothing to cover.
    pub n_for_nothing: Cell<u64>,
}

impl Turns {
    /// Of a batch that asked for the lease of a subject's own turn.
    pub fn observe(&self, store: Store, sql: &[&'static str], results: &[Vec<Row>]) {
        let is_own_lease = store == Store::Proxy
            && sql.len() == 5
            && sql[3].starts_with("SELECT operation, status, settled");
        let ([_, _, standing, covered, _], true) = (results, is_own_lease) else {
            return;
        };
        let number = |row: &Row, name: &str| row[name].as_i64().unwrap_or_default();
        let now_ms = number(&standing[0], "now");
        let has_work = covered.iter().any(|row| {
            let expires_at = number(row, "expires_at");
            !row["settled"].is_null()
                || (number(row, "expiry_checks") == 0 && expires_at <= now_ms)
                || expires_at + 840_000 <= now_ms
        });
        let counter = match (number(&standing[0], "held") == 1, has_work) {
            (true, true) => &self.n_covering,
            (true, false) => &self.n_for_nothing,
            (false, false) if standing[0]["authority"] == "logto" => &self.n_idle,
            // Busy, or paused: the turn is yet to come.
            (false, _) => return,
        };
        counter.set(counter.get() + 1);
    }
}

/// Without a fault nobody waits for a sweep: subjects that have something settled to
/// cover since 20 s, and neither wait for their turn nor for an operator.
pub fn late(world: &World) -> Vec<String> {
    let now_ms = world.now_ms();
    let sql = format!(
        "SELECT DISTINCT i.subject AS subject FROM intents i JOIN subjects s ON s.subject = i.subject \
         WHERE i.discharged_at IS NULL AND i.settled IS NOT NULL AND i.opened_at < {now_ms} - 20000 \
         AND s.parked IS NULL AND s.lease_until < {now_ms} AND s.busy_until < {now_ms} AND coalesce(s.retry_at, 0) < {now_ms} - 5000"
    );
    let rows = world.proxy(&sql);
    rows.iter()
        .map(|row| format!("{} waits for a sweep", row["subject"]))
        .collect()
}

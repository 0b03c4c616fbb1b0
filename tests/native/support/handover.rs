//! A world in which a hand-over may begin: every gate open, or one of them shut.

use std::rc::Rc;

use dual_write_proxy::handover::advance::{self, Ran};
use dual_write_proxy::handover::cleanup::{self, Note, notes};
use dual_write_proxy::handover::{arm, facts, wish};
use dual_write_proxy::policy::flags::Stage;
use dual_write_proxy::runtime::ports::{Statement, Store};
use dual_write_proxy::runtime::snapshot;

use super::World;
use super::logto::{HANDOVER_SECRET, ORIGIN_SECRET};

/// Lease, Logto's deadline, late commits: as in production.
pub const ANNOUNCEMENT_MS: i64 = 60_000 + 125_000 + 900_000;
pub const DEADLINE_MS: i64 = 120_000;

/// With a version that has the hand-over secret, before an origin that takes nothing else.
pub fn world() -> Rc<World> {
    world_with(&[])
}

pub fn world_with(changes: &[(&str, &str)]) -> Rc<World> {
    let mut all = vec![
        ("HANDOVER_SECRET", HANDOVER_SECRET),
        ("ORIGIN_SECRET", ORIGIN_SECRET),
        ("ADMIN_TOKEN", "admin"),
    ];
    all.extend(changes);
    let world = World::with(1, &all);
    world.logto.is_closed.set(true);
    *world.logto.secrets.borrow_mut() = vec![HANDOVER_SECRET];
    world
}

/// What an operator named or did, before Logto is left alone.
pub fn cleanup_note(name: &str, until: i64) -> Statement {
    notes::keep(&Note {
        name: name.to_owned(),
        until,
        how: "exported".to_owned(),
        digest: "d".to_owned(),
        n: 2,
        actor: "anna".to_owned(),
        at_ms: 0,
    })
}

impl World {
    /// All that the gates ask for, but for the arming.
    pub fn prepare(self: &Rc<Self>) {
        self.flag("read_percent", "100");
        let proxy = |sql: &str| self.databases.execute(Store::Proxy, sql);
        proxy("DELETE FROM dependencies; DELETE FROM jobs WHERE kind = 'equality'");
        let now_ms = self.now_ms();
        proxy(&format!(
            "INSERT INTO dependencies VALUES ('app_shop', 'refresh', {now_ms}, 3);
             INSERT INTO jobs (kind, state, phase, dry_run, repair, inspect, lanes, n_users, started_at, moved_at, finished_at)
             VALUES ('equality', 'done', 'mgpass', 0, 0, 0, 1, 10, {now_ms}, {now_ms}, {now_ms})"
        ));
        let mut statements = vec![
            facts::keep_evidence("checklist", "c1", &[], now_ms),
            facts::keep_evidence("certificate", "c2", &[], now_ms),
        ];
        statements.extend(facts::waive(
            facts::Waived::AllOf("applications"),
            "they stay at Logto",
            "anna",
        ));
        self.databases.batch(Store::Proxy, &statements).unwrap();
        self.guard_passes();
    }

    /// All that the gates of cleanup ask for, but for what KV says: what a person may waive
    /// is waived.
    pub fn prepare_cleanup(&self) {
        let mut statements = vec![cleanup_note("residue", 0)];
        for gate in cleanup::NAMES {
            if cleanup::may_be_waived_whole(gate) {
                statements.extend(facts::waive(facts::Waived::Gate(gate), "tried", "anna"));
            }
        }
        self.databases.batch(Store::Proxy, &statements).unwrap();
    }

    pub fn guard_passes(&self) {
        let now_ms = self.now_ms();
        for _ in 0..3 {
            self.databases.execute(
                Store::Metrics,
                &format!("INSERT INTO verdicts (at, verdict, reason, figures) VALUES ({now_ms}, 'pass', 'as_good_as_logto', '{{\"all_reads_shared\":true}}')"),
            );
        }
    }

    pub fn arm(&self) {
        let armed = self
            .databases
            .batch(Store::Proxy, &arm::arm(4 * 3_600_000))
            .unwrap();
        assert_eq!(armed[0].len(), 1, "not armed");
    }

    /// As `dwp stage` writes it.
    pub fn wish(&self, stage: Option<Stage>) {
        let generation = self.generation();
        let (authority, _) = self.authority();
        assert_eq!(authority.generation, generation);
        let order = wish::order(&authority, stage);
        let rows = self.databases.batch(Store::Proxy, &[order]).unwrap();
        assert_eq!(rows[0].len(), 1);
    }

    pub fn authority(
        &self,
    ) -> (
        dual_write_proxy::handover::row::Authority,
        dual_write_proxy::handover::row::Pending,
    ) {
        use dual_write_proxy::handover::row;
        let results = self.databases.batch(Store::Proxy, &row::read()).unwrap();
        row::parse(&results).unwrap()
    }

    pub fn holder(&self) -> &'static str {
        self.authority().0.holder.name()
    }

    pub fn generation(&self) -> i64 {
        self.value(Store::Proxy, "SELECT generation FROM authority")
            .as_i64()
            .unwrap()
    }

    /// As mgPass's database knows it.
    pub fn told_generation(&self) -> i64 {
        let sql = "SELECT generation FROM logto_mirror_authority";
        self.value(Store::Mgpass, sql).as_i64().unwrap()
    }

    /// From, to and cause of every move so far.
    pub fn moves(&self) -> Vec<String> {
        let rows = self.proxy(
            "SELECT from_holder || '>' || to_holder || ' ' || cause AS move FROM authority_log ORDER BY id",
        );
        rows.iter()
            .map(|row| row["move"].as_str().unwrap().to_owned())
            .collect()
    }

    /// One run of cron, in an isolate of its own.
    pub fn tick(self: &Rc<Self>) {
        let node = self.node();
        self.finish(async move { node.cron().await });
    }

    /// What `dwp` and cron do about the authority, and nothing else.
    pub fn operate(self: &Rc<Self>) -> Ran {
        let node = self.node();
        self.finish(async move {
            let flags = snapshot::read(&node, &node.deployment.isolate).await;
            let context = node.context();
            let operated = advance::Operated {
                flags: &flags,
                logto_origin: &context.settings.logto_origin,
                context: Some(context),
            };
            advance::operate(&node, &context.settings.handover, operated).await
        })
        .expect("it came to no end")
    }

    /// What a relay and a waiting write do about it.
    pub fn nudge(self: &Rc<Self>) -> Ran {
        let node = self.node();
        self.finish(async move { advance::nudge(&node, &node.context().settings.handover).await })
            .expect("it came to no end")
    }

    /// Gates open, armed, wished, announced, and the announcement over.
    pub fn announced(self: &Rc<Self>) {
        self.prepare();
        self.arm();
        self.wish(Some(Stage::Cutover));
        self.operate();
        assert_eq!(self.moves(), ["logto>logto announced"]);
        self.advance(ANNOUNCEMENT_MS);
        self.guard_passes();
    }

    /// All the way.
    pub fn handed_over(self: &Rc<Self>) {
        self.announced();
        self.operate();
        assert_eq!(self.holder(), "mgpass", "{:?}", self.events.borrow());
    }

    /// A write at Logto that Logto has answered and mgPass does not have yet.
    pub fn pending_write(&self, id: &str, user: &str) {
        self.databases.execute(
            Store::Proxy,
            &format!(
                "UPDATE counters SET value = value + 1 WHERE name = 'sequence';
                 INSERT INTO intents (id, subject, operation, opened_at, expires_at, settled, status)
                 SELECT '{id}', '{user}', 'users.patch', {now}, {now} + 60000, value, 200 FROM counters WHERE name = 'sequence'",
                now = self.now_ms()
            ),
        );
    }

    /// One that Logto has not answered.
    pub fn hanging_write(&self, id: &str, user: &str) {
        self.databases.execute(
            Store::Proxy,
            &format!(
                "INSERT INTO intents (id, subject, operation, opened_at, expires_at) VALUES ('{id}', '{user}', 'users.patch', {now}, {now} + 60000)",
                now = self.now_ms()
            ),
        );
    }

    /// A write at mgPass that Logto does not have yet.
    pub fn pending_translated(&self, id: &str, user: &str) {
        self.databases.execute(
            Store::Proxy,
            &format!(
                "UPDATE counters SET value = value + 1 WHERE name = 'sequence';
                 INSERT INTO intents (id, subject, operation, opened_at, expires_at, settled, status, side, generation)
                 SELECT '{id}', '{user}', 'users.patch', {now}, {now} + 60000, value, 200, 'mgpass', (SELECT generation FROM authority) FROM counters WHERE name = 'sequence'",
                now = self.now_ms()
            ),
        );
    }
}

//! What the operator does in 45 days: all stages there, two rollbacks, brakes, mistakes that
//! the product has to stop, and a forecast before each move. The authority changes hands by
//! the product's own gates and moves; what the gates ask for of other parts (checklist,
//! certificate, comparison of reads) is written in as done.

use std::rc::Rc;

use dual_write_proxy::handover::cleanup::notes;
use dual_write_proxy::handover::facts::{self, Waived};
use dual_write_proxy::policy::flags::Stage;
use dual_write_proxy::runtime::isolate::OldIssuer;
use dual_write_proxy::runtime::ports::Store;
use serde_json::{Value, json};

use super::backends::DAY_MS;
use super::judge::{STUCK, SUSPENDED};
use super::people::Town;
use super::{NAMES, OPERATOR};
use crate::support::handover::cleanup_note;
use crate::support::tokens::{LOGTO_KEY, imported};
use crate::support::world::START_MS;
use crate::support::{Node, Request};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    Flag(&'static str, &'static str),
    Share(u16),
    Lift,
    /// Everybody is brought to mgPass.
    Mirror,
    MgpassDown(bool),
    /// Somebody registers at mgPass's own pages.
    SecondWriter,
    /// The application that stayed is deployed for both.
    AllMove,
    HandOver,
    ComeBack,
    /// Before the day that was named for Logto's refresh tokens.
    CleanupTooEarly,
    Cleanup,
    /// Cron, each minute while something moves.
    Minute,
}

/// In hours from the beginning.
pub const COURSE: [(i64, Act); 36] = [
    (0, Act::Flag("stage", "off")),
    (48, Act::Flag("stage", "shadow")),
    (49, Act::Mirror),
    (96, Act::Flag("stage", "dual_write")),
    // Before anybody has closed mgPass's pages.
    (102, Act::Share(100)),
    (108, Act::Flag("mgpass_pages", "closed")),
    (192, Act::Share(2_000)),
    (264, Act::Share(5_000)),
    // By mistake.
    (312, Act::Flag("mgpass_pages", "open")),
    (330, Act::Flag("mgpass_pages", "closed")),
    (340, Act::Flag("read_percent", "100")),
    (360, Act::MgpassDown(true)),
    (361, Act::MgpassDown(false)),
    (384, Act::Flag("kill_switch", "on")),
    (400, Act::Flag("kill_switch", "off")),
    (408, Act::SecondWriter),
    (431, Act::Lift),
    // The first rollback.
    (432, Act::Flag("stage", "shadow")),
    (456, Act::Flag("stage", "dual_write")),
    (480, Act::Share(10_000)),
    (528, Act::HandOver),
    (540, Act::Flag("mgpass_pages", "open")),
    (620, Act::Flag("mgpass_pages", "closed")),
    // The second.
    (624, Act::ComeBack),
    (625, Act::Share(0)),
    (650, Act::Share(10_000)),
    (696, Act::HandOver),
    (700, Act::Flag("mgpass_pages", "open")),
    (768, Act::AllMove),
    (888, Act::CleanupTooEarly),
    (900, Act::Flag("stage", "cutover")),
    (1_000, Act::MgpassDown(true)),
    (1_001, Act::MgpassDown(false)),
    (1_010, Act::Share(10_000)),
    (1_032, Act::Cleanup),
    (1_060, Act::Share(10_000)),
];
const NAMED_DAY: i64 = 43;
/// An announcement takes 18 minutes, draining two.
const MOVE_MINUTES: u32 = 120;

/// What holds, as the operator knows it.
#[derive(Clone, Debug)]
pub struct Now {
    pub stage: &'static str,
    pub share_bps: u16,
    pub pages_are_closed: bool,
    pub is_killed: bool,
    pub is_stopped: bool,
    pub mgpass_is_down: bool,
    pub holder: &'static str,
    pub logto_named_end_ms: Option<i64>,
    has_all: bool,
    changed_ms: i64,
    /// Where the authority is to be, and how many minutes are left for that.
    goes_to: Option<(&'static str, u32)>,
}

impl Now {
    pub fn new() -> Self {
        Self {
            stage: "off",
            share_bps: 0,
            pages_are_closed: false,
            is_killed: false,
            is_stopped: false,
            mgpass_is_down: false,
            holder: "logto",
            logto_named_end_ms: None,
            has_all: false,
            changed_ms: START_MS,
            goes_to: None,
        }
    }

    pub fn is_braked(&self) -> bool {
        self.share_bps == 0
            || self.is_killed
            || self.is_stopped
            || matches!(self.stage, "off" | "shadow")
    }

    pub fn moves(&self, client: usize) -> bool {
        self.has_all || NAMES[client] != "forum"
    }

    /// Logto's own clients too, once sign-ins can be at either side.
    pub fn signs_out_at_both(&self) -> bool {
        !self.is_killed && !self.mgpass_is_down && !matches!(self.stage, "off" | "shadow")
    }

    pub fn is_steady(&self, now_ms: i64) -> bool {
        now_ms - self.changed_ms > 600_000
    }

    pub fn is_moving(&self) -> bool {
        self.goes_to.is_some()
    }

    pub fn day(&self, now_ms: i64) -> String {
        let day = (now_ms - START_MS) as f64 / DAY_MS as f64;
        let Self {
            holder,
            stage,
            share_bps,
            ..
        } = self;
        format!("day {day:.2} ({stage}, {holder}, share {share_bps})")
    }
}

pub fn applications(has_all: bool) -> String {
    let list: Vec<_> = NAMES
        .iter()
        .enumerate()
        .map(|(client, name)| {
            let ready = match has_all || *name != "forum" {
                true => json!(["sign_in", "sign_out"]),
                false => json!([]),
            };
            let (logto, mgpass) = super::CLIENT_IDS[client];
            let start = |side: &str| format!("https://{name}.example/login/{side}");
            let group = if *name == "tools" { "devices" } else { "main" };
            json!({ "name": name, "group": group, "owner": "web", "ready": ready,
                "logto": { "client_id": logto, "start": start("logto") },
                "mgpass": { "client_id": mgpass, "start": start("mgpass") } })
        })
        .collect();
    json!(list).to_string()
}

impl Town {
    pub fn act(&mut self, act: Act) {
        let now_ms = self.world.now_ms();
        if act != Act::Minute {
            self.now.changed_ms = now_ms;
        }
        match act {
            Act::Flag(key, value) => {
                self.forecast();
                self.world.flag(key, value);
                match key {
                    "stage" => self.now.stage = value,
                    "mgpass_pages" => self.now.pages_are_closed = value == "closed",
                    "kill_switch" => self.now.is_killed = value == "on",
                    _ => {}
                }
            }
            Act::Share(bps) => {
                self.forecast();
                self.now.share_bps = bps;
                let percent = format!("{}.{:02}", bps / 100, bps % 100);
                self.world.flag("sign_in_percent", &percent);
            }
            Act::Lift => {
                self.world.flags.borrow_mut().remove("sign_in_stop");
                self.now.is_stopped = false;
            }
            Act::Mirror => self.mirror(),
            Act::MgpassDown(is_down) => {
                self.forecast();
                self.now.mgpass_is_down = is_down;
            }
            Act::SecondWriter => {
                self.world.databases.execute(
                    Store::Mgpass,
                    "INSERT INTO audit_logs (id, event_type, actor_type, actor_id, target_type, target_id, created_at)
                     VALUES ('aud_foreign', 'user.created', 'user', 'usr_x', 'user', 'usr_x', unixepoch())",
                );
                self.world.advance(1_000);
                self.cron();
                self.now.is_stopped = true;
            }
            Act::AllMove => {
                self.forecast();
                self.now.has_all = true;
                self.world.flag("applications", &applications(true));
            }
            Act::HandOver => {
                self.forecast();
                self.open_gates();
                self.world.arm();
                self.world.flag("stage", "cutover");
                self.world.wish(Some(Stage::Cutover));
                self.now.stage = "cutover";
                self.now.goes_to = Some(("mgpass", MOVE_MINUTES));
            }
            Act::ComeBack => {
                self.forecast();
                self.world.flag("stage", "dual_write");
                self.world.wish(Some(Stage::DualWrite));
                self.now.stage = "dual_write";
                self.now.goes_to = Some(("logto", MOVE_MINUTES));
            }
            Act::CleanupTooEarly => {
                self.forecast();
                self.prepare_cleanup();
                self.world.wish(Some(Stage::Cleanup));
                self.world.advance(180_000);
                for _ in 0..3 {
                    self.world.advance(60_000);
                    self.cron();
                }
                self.look_at_holder();
                if self.now.holder == "mgpass" {
                    self.world.wish(None);
                }
            }
            Act::Cleanup => {
                self.forecast();
                self.prepare_cleanup();
                self.world.wish(Some(Stage::Cleanup));
                self.now.stage = "cleanup";
                self.now.goes_to = Some(("alone", MOVE_MINUTES));
            }
            Act::Minute => return self.minute(),
        }
        // Isolates hear of it behind some request within seconds.
        for _ in 0..2 {
            self.world.advance(6_000);
            let node = self.node.clone();
            self.world.ask_at(&node, Request::new("GET", "/oidc/jwks"));
        }
        self.settle();
    }

    pub fn cron(&mut self) {
        let node = self.node.next_invocation();
        self.world.finish(async move { node.cron().await });
        self.settle();
        self.look_at_holder();
    }

    fn look_at_holder(&mut self) {
        self.now.holder = self.world.holder();
    }

    fn minute(&mut self) {
        let Some((to, n_left)) = self.now.goes_to else {
            return;
        };
        self.cron();
        self.now.changed_ms = self.world.now_ms();
        self.now.goes_to = match (self.now.holder == to, n_left) {
            (true, _) if to == "logto" => {
                // As docs/runbook.md says of those of whom Logto does not have all.
                self.release();
                // What the walk does behind a way back.
                self.mirror();
                None
            }
            (true, _) => None,
            (false, 0) => {
                let world = Rc::clone(&self.world);
                let (moves, pending) = (world.moves(), world.authority());
                let gates = self.world.operate().gates;
                let shut: Vec<_> = gates
                    .into_iter()
                    .flatten()
                    .map(|gate| format!("{gate:?}"))
                    .filter(|gate| gate.contains("Shut"))
                    .collect();
                let parked = world.proxy("SELECT parked, count(*) AS n, max(subject) AS one FROM subjects WHERE parked IS NOT NULL GROUP BY 1");
                self.judge.add(STUCK, 1, || {
                    format!("not at {to}: {moves:?} {pending:?} {shut:?} {parked:?}")
                });
                None
            }
            (false, n_left) => Some((to, n_left - 1)),
        };
    }

    /// As `dwp app forecast` asks.
    fn forecast(&mut self) {
        let request = Request::new("GET", "/_proxy/applications/forecast").token(OPERATOR);
        let node = self.node.clone();
        let answer = self.world.ask_at(&node, request);
        let forecast: Value = serde_json::from_str(&answer.body).unwrap_or_default();
        self.judge.forecast(&forecast);
    }

    /// As `dwp hold release`, of everybody.
    fn release(&mut self) {
        let held = self.world.proxy("SELECT subject FROM held_subjects");
        for row in held {
            let user = row["subject"].as_str().unwrap_or_default();
            let path = format!("/_proxy/holds/release?user={user}");
            let answer = self.ask(Request::new("POST", &path).token(OPERATOR));
            if answer.status != 200 {
                let said = format!("{user} not released: {}", answer.body);
                self.judge.add(STUCK, 1, || said);
            }
        }
    }

    fn mirror(&mut self) {
        for chunk in 0..self.people.len().div_ceil(200) {
            for person in self.people.iter().skip(chunk * 200).take(200) {
                self.world.wake(&person.id);
            }
            let until_ms = self.world.now_ms() + 2_000;
            self.pass(until_ms);
        }
    }

    /// What other parts of the product, or people, have to show before a hand-over.
    fn open_gates(&self) {
        let now_ms = self.world.now_ms();
        self.world.databases.execute(
            Store::Proxy,
            &format!(
                "DELETE FROM jobs WHERE kind = 'equality';
                 INSERT INTO jobs (kind, state, phase, dry_run, repair, inspect, lanes, n_users, started_at, moved_at, finished_at)
                 VALUES ('equality', 'done', 'mgpass', 0, 0, 0, 1, 10, {now_ms}, {now_ms}, {now_ms})"
            ),
        );
        let mut statements = vec![
            facts::keep_evidence("checklist", "c1", &[], now_ms),
            facts::keep_evidence("certificate", "c2", &[], now_ms),
        ];
        for waived in [
            Waived::AllOf("applications"),
            Waived::AllOf("parked"),
            Waived::Gate("reads"),
        ] {
            statements.extend(facts::waive(waived, "they stay", "anna"));
        }
        self.world
            .databases
            .batch(Store::Proxy, &statements)
            .unwrap();
    }

    fn prepare_cleanup(&mut self) {
        let world = &self.world;
        let now_ms = world.now_ms();
        let named_ms = START_MS + NAMED_DAY * DAY_MS;
        self.now.logto_named_end_ms = Some(named_ms);
        world.has_rewards.set(false);
        let now_s = now_ms / 1_000;
        let keys = imported(&LOGTO_KEY, Some(now_s + 3_600), now_s + 86_400);
        *world.imported_keys.borrow_mut() = Some(keys);
        let issuer = OldIssuer {
            discovery: "{}".to_owned(),
            jwks: "{}".to_owned(),
        };
        let mut statements = vec![
            notes::keep_issuer(&issuer),
            cleanup_note("residue", 1_000_000),
            cleanup_note("refresh_tokens", named_ms),
            facts::keep_evidence("checklist", "c1", &[], now_ms),
            facts::keep_evidence("certificate", "c2", &[], now_ms),
        ];
        // They were told, and the forecast says whom it asks.
        statements.extend(facts::waive(
            Waived::Gate("dependencies"),
            "forecast",
            "anna",
        ));
        world.databases.batch(Store::Proxy, &statements).unwrap();
        world.flag("stage", "cleanup");
    }

    /// Who is suspended has nothing left, some minutes later.
    pub fn look_at_suspended(&mut self, person: usize) {
        if self.is_suspended_and_lives(person) {
            let day = self.now.day(self.world.now_ms());
            self.judge
                .add(SUSPENDED, 1, || format!("person {person} at {day}"));
        }
    }

    /// Lets time pass, with the Queue delivering.
    pub fn pass(&mut self, until_ms: i64) {
        let world = Rc::clone(&self.world);
        loop {
            let due_ms = world.next_due_ms().filter(|due_ms| *due_ms <= until_ms);
            let Some(due_ms) = due_ms else {
                world.executor.run(until_ms, || {
                    world.next_due_ms().is_some_and(|due_ms| due_ms <= until_ms)
                });
                if world.now_ms() >= until_ms
                    && world.next_due_ms().is_none_or(|due_ms| due_ms > until_ms)
                {
                    return;
                }
                continue;
            };
            world.executor.run(due_ms.max(world.now_ms()), || false);
            let mut due = world.take_due();
            while !due.is_empty() {
                let rest = due.split_off(due.len().min(10));
                let node: Node = self.node.next_invocation();
                world.finish(async move { node.deliver(due).await });
                due = rest;
            }
            self.settle();
        }
    }
}

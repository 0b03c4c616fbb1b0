//! Broken variants: each takes one rule away by changing what the core says to a port, or
//! what it is told, and must be caught by the count that is named for it.

use std::cell::{Cell, RefCell};

use dual_write_proxy::auth::pin;
use dual_write_proxy::inbound::request::Secret;
use dual_write_proxy::runtime::ports::{Call, Row, Statement, Store};

use super::judge;
use super::{CLIENT_IDS, PIN_SECRET};
use crate::support::World;
use crate::support::world::Tamper;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broken {
    PagesNotAsked,
    StopNotWritten,
    KillSwitchNotAsked,
    StageNotAsked,
    PinNotKept,
    ReadyNotDemanded,
    FactorsNotLookedFor,
    MarkForgotten,
    SessionNotFirst,
    DrawnInFrames,
    OwnerGuessed,
    SentAgain,
    BothAsked,
    RollbackForgetsOwners,
    RollbackEndsSessions,
    SignsOutAtOneSide,
    SuspensionEndsNothing,
    CleanupBeforeItsDay,
    ForecastForgetsTheWayBack,
    ForecastForgetsTheEnd,
}

pub const BROKEN: [Broken; 20] = [
    Broken::PagesNotAsked,
    Broken::StopNotWritten,
    Broken::KillSwitchNotAsked,
    Broken::StageNotAsked,
    Broken::PinNotKept,
    Broken::ReadyNotDemanded,
    Broken::FactorsNotLookedFor,
    Broken::MarkForgotten,
    Broken::SessionNotFirst,
    Broken::DrawnInFrames,
    Broken::OwnerGuessed,
    Broken::SentAgain,
    Broken::BothAsked,
    Broken::RollbackForgetsOwners,
    Broken::RollbackEndsSessions,
    Broken::SignsOutAtOneSide,
    Broken::SuspensionEndsNothing,
    Broken::CleanupBeforeItsDay,
    Broken::ForecastForgetsTheWayBack,
    Broken::ForecastForgetsTheEnd,
];

impl Broken {
    pub fn name(self) -> &'static str {
        match self {
            Self::PagesNotAsked => "share counts while mgPass's pages are open",
            Self::StopNotWritten => "share not stopped by a second writer",
            Self::KillSwitchNotAsked => "share counts with the kill switch pulled",
            Self::StageNotAsked => "share counts in stage shadow",
            Self::PinNotKept => "pin drawn anew each time",
            Self::ReadyNotDemanded => "mark of a ready user not demanded",
            Self::FactorsNotLookedFor => "second factors not looked for",
            Self::MarkForgotten => "mark of who stays at Logto not looked at",
            Self::SessionNotFirst => "session at Logto not answered by Logto first",
            Self::DrawnInFrames => "drawn in a frame as in a window",
            Self::OwnerGuessed => "owner guessed, not by client id",
            Self::SentAgain => "token request sent again where no answer came",
            Self::BothAsked => "refresh tried at both sides",
            Self::RollbackForgetsOwners => "rollback that takes all clients for Logto's",
            Self::RollbackEndsSessions => "rollback that ends sessions at mgPass",
            Self::SignsOutAtOneSide => "signing out at one side only",
            Self::SuspensionEndsNothing => "suspension that ends nothing at mgPass",
            Self::CleanupBeforeItsDay => "cleanup before Logto's chains were to end",
            Self::ForecastForgetsTheWayBack => "forecast without who is at mgPass",
            Self::ForecastForgetsTheEnd => "forecast without Logto's chains",
        }
    }

    /// Shown only by somebody who is at mgPass before the cutover.
    pub fn is_rare(self) -> bool {
        matches!(
            self,
            Self::PinNotKept
                | Self::StopNotWritten
                | Self::KillSwitchNotAsked
                | Self::RollbackForgetsOwners
                | Self::SuspensionEndsNothing
        )
    }

    /// By which it must be caught.
    pub fn shows(self) -> &'static str {
        match self {
            Self::PagesNotAsked => judge::TWO_WRITERS,
            Self::StopNotWritten | Self::KillSwitchNotAsked | Self::StageNotAsked => judge::BRAKED,
            Self::PinNotKept => judge::MOVED_BACK,
            Self::ReadyNotDemanded | Self::FactorsNotLookedFor => judge::UNREADY,
            Self::MarkForgotten => judge::AROUND_FACTOR,
            Self::SessionNotFirst => judge::FROM_SESSION,
            Self::DrawnInFrames => judge::IN_A_FRAME,
            Self::OwnerGuessed | Self::BothAsked | Self::RollbackForgetsOwners => judge::WRONG_SIDE,
            Self::SentAgain => judge::TWICE,
            Self::RollbackEndsSessions | Self::CleanupBeforeItsDay => judge::ENDED,
            Self::SignsOutAtOneSide => judge::LEFT,
            Self::SuspensionEndsNothing => judge::SUSPENDED,
            Self::ForecastForgetsTheWayBack | Self::ForecastForgetsTheEnd => judge::UNFORESEEN,
        }
    }
}

pub struct Breaker {
    broken: Broken,
    stage: RefCell<String>,
    is_back: Cell<bool>,
    n_held: Cell<u64>,
}

impl Breaker {
    pub fn new(broken: Broken) -> Self {
        Self {
            broken,
            stage: RefCell::default(),
            is_back: Cell::new(false),
            n_held: Cell::new(0),
        }
    }

    fn without(cookies: &str, name: &str) -> String {
        let kept = cookies
            .split("; ")
            .filter(|pair| !pair.starts_with(&format!("{name}=")));
        kept.collect::<Vec<_>>().join("; ")
    }
}

impl Tamper for Breaker {
    fn flag(&self, key: &str, value: Option<String>) -> Option<String> {
        if key == "stage" {
            let next = value.clone().unwrap_or_default();
            let was = self.stage.replace(next.clone());
            if (was.as_str(), next.as_str()) == ("cutover", "dual_write") {
                self.is_back.set(true);
            }
        }
        let set = |text: &str| Some(text.to_owned());
        match (self.broken, key) {
            (Broken::PagesNotAsked, "mgpass_pages") => set("closed"),
            (Broken::KillSwitchNotAsked, "kill_switch") => set("off"),
            (Broken::StageNotAsked, "stage") if value.as_deref() == Some("shadow") => {
                set("dual_write")
            }
            (Broken::RollbackForgetsOwners, "applications") if *self.stage.borrow() == "shadow" => {
                set("[]")
            }
            (Broken::SignsOutAtOneSide, "applications") => {
                value.map(|list| list.replace(r#","sign_out""#, ""))
            }
            _ => value,
        }
    }

    fn header(&self, name: &str, value: Option<String>) -> Option<String> {
        match (self.broken, name) {
            (Broken::PinNotKept, "cookie") => {
                value.map(|cookies| Self::without(&cookies, "__Secure-dwp_pin"))
            }
            (Broken::MarkForgotten, "cookie") => {
                value.map(|cookies| Self::without(&cookies, "__Secure-dwp_ready"))
            }
            (Broken::SessionNotFirst, "cookie") => {
                value.map(|cookies| Self::without(&cookies, "_session"))
            }
            (Broken::ReadyNotDemanded, "cookie") => value.map(|cookies| {
                let secret = Secret(PIN_SECRET.to_owned());
                // Far from over at any time of the run.
                let line = pin::ready_cookie(&secret, crate::support::world::START_MS / 1_000 + 2);
                format!("{cookies}; {}", line.split(';').next().unwrap_or_default())
            }),
            (Broken::DrawnInFrames, "sec-fetch-dest") => value.map(|_| "document".to_owned()),
            _ => value,
        }
    }

    fn held(&self, body: String) -> String {
        if self.broken != Broken::OwnerGuessed {
            return body;
        }
        let n = self.n_held.get();
        self.n_held.set(n + 1);
        match n % 20 {
            0 => CLIENT_IDS
                .iter()
                .fold(body, |body, (logto, mgpass)| body.replace(mgpass, logto)),
            _ => body,
        }
    }

    fn sends_again(&self) -> bool {
        self.broken == Broken::SentAgain
    }

    fn asks_the_other(&self) -> bool {
        self.broken == Broken::BothAsked
    }

    fn call(&self, mut call: Call) -> Call {
        if self.broken == Broken::FactorsNotLookedFor
            && let Some(path) = call.url.strip_suffix("/mfa-verifications")
            && let Some((users, _)) = path.rsplit_once('/')
        {
            // Somebody who has none.
            call.url = format!("{users}/{}/mfa-verifications", super::PLAIN);
        }
        if self.broken == Broken::SuspensionEndsNothing && call.url.ends_with("/revoke-all") {
            // Of nobody: taken for done.
            call.url = call.url.replace("/revoke-all", "/revoke-none");
        }
        call
    }

    fn statements(
        &self,
        _: &World,
        store: Store,
        mut statements: Vec<Statement>,
    ) -> Vec<Statement> {
        // At the first look into mgPass's rows behind the way back.
        if self.broken == Broken::RollbackEndsSessions
            && store == Store::Mgpass
            && self.is_back.take()
        {
            statements.push(Statement::new(
                "INSERT INTO logto_mirror_effects (user_id, effect, ticket, owed_at) \
                 SELECT user_id, 'revoke_all', ticket, 1 FROM logto_mirror WHERE true ON CONFLICT DO NOTHING",
                vec![],
            ));
        }
        statements
    }

    fn results(
        &self,
        _: &World,
        _: Store,
        _: &[&'static str],
        mut results: Vec<Vec<Row>>,
    ) -> Vec<Vec<Row>> {
        for row in results.iter_mut().flatten() {
            let forgets = match self.broken {
                Broken::ForecastForgetsTheWayBack => Some("n_there"),
                Broken::ForecastForgetsTheEnd => Some("n_chained"),
                _ => None,
            };
            if let Some(name) = forgets
                && row.contains_key(name)
            {
                row.insert(name.to_owned(), 0.into());
            }
            if self.broken == Broken::StopNotWritten && row.contains_key("newest") {
                row.insert("event".to_owned(), serde_json::Value::Null);
            }
            if self.broken == Broken::CleanupBeforeItsDay && row.contains_key("until") {
                row.insert("until".to_owned(), 1.into());
            }
        }
        results
    }
}

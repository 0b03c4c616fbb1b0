//! Webhooks of both sides: that they arrive, by what arrived, and by the last test, which
//! caused one and waited.

use serde_json::{Value as Json, json};

use super::{MAX_AGE_MS, State, Verdict};
use crate::mirror::receipts::{Receipt, Test};
use crate::runtime::ports::Backend;

/// A side is silent when what was caused has not come within this time: mgPass tries for
/// half a minute.
pub const SILENT_MS: i64 = 60_000;
const TEST: &str = "`dwp webhooks test`.";

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    pub logto: Side,
    pub mgpass: Side,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Side {
    /// Whether its secret is set.
    pub is_open: bool,
    pub receipts: Vec<Receipt>,
    pub test: Option<Test>,
}

impl Facts {
    pub fn of(receipts: Vec<Receipt>, tests: Vec<Test>, is_open: impl Fn(Backend) -> bool) -> Self {
        let side = |source: Backend| Side {
            is_open: is_open(source),
            receipts: receipts
                .iter()
                .filter(|one| one.source == source)
                .cloned()
                .collect(),
            test: tests.iter().find(|test| test.source == source).cloned(),
        };
        Self {
            logto: side(Backend::Logto),
            mgpass: side(Backend::Mgpass),
        }
    }

    /// When the older of the newest two came.
    pub fn at_ms(&self) -> Option<i64> {
        Some(self.logto.last_at_ms()?.min(self.mgpass.last_at_ms()?))
    }
}

impl Side {
    pub fn last_at_ms(&self) -> Option<i64> {
        self.receipts.iter().map(|one| one.last_at_ms).max()
    }

    /// What came after the last test was begun.
    pub fn is_heard(&self, test: &Test) -> bool {
        self.last_at_ms() >= Some(test.caused_at_ms)
    }
}

/// The worse of the two sides.
pub fn judge(facts: &Facts, now_ms: i64) -> Verdict {
    let logto = side("Logto", "LOGTO_WEBHOOK_SECRET", &facts.logto, now_ms);
    let mgpass = side("mgPass", "MGPASS_WEBHOOK_SECRET", &facts.mgpass, now_ms);
    let rank = |verdict: &Verdict| match verdict.state {
        State::Red => 0,
        State::Green => 2,
        State::NotProbed | State::NothingSampled | State::Idle | State::Old | State::Unreadable => {
            1
        }
    };
    match rank(&mgpass) < rank(&logto) {
        true => mgpass,
        false if rank(&logto) < 2 => logto,
        false => Verdict::green("Webhooks of both sides arrive."),
    }
}

fn side(name: &str, secret: &'static str, side: &Side, now_ms: i64) -> Verdict {
    if !side.is_open {
        return Verdict::of(
            State::NotProbed,
            format!("No secret of {name}'s webhooks is set, so none is received."),
            match secret {
                "LOGTO_WEBHOOK_SECRET" => {
                    "Register /_proxy/hooks/logto at Logto and set LOGTO_WEBHOOK_SECRET."
                }
                _ => "Register /_proxy/hooks/mgpass at mgPass and set MGPASS_WEBHOOK_SECRET.",
            },
        );
    }
    if let Some(test) = &side.test
        && !side.is_heard(test)
    {
        if let Some(code) = &test.failure {
            return Verdict::red(
                format!("The test could cause none of {name}'s: {code}."),
                "Mend the probe account or that side, then `dwp webhooks test`.",
            );
        }
        let age_ms = now_ms - test.caused_at_ms;
        return match age_ms > SILENT_MS {
            true => Verdict::red(
                format!("{name} is silent: what the last test caused has not come."),
                "Look at that side's list of deliveries: is the webhook registered, active, signed with this secret? Then `dwp webhooks test`.",
            ),
            false => Verdict::of(
                State::Idle,
                format!("A webhook of {name}'s was caused and is waited for."),
                "Look again in a minute.",
            ),
        };
    }
    match side.last_at_ms() {
        None => Verdict::of(State::Idle, format!("None of {name}'s has come yet."), TEST),
        Some(at_ms) if now_ms - at_ms > MAX_AGE_MS => Verdict::of(
            State::Idle,
            format!("None of {name}'s has come for a day."),
            TEST,
        ),
        Some(_) => Verdict::green(""),
    }
}

pub fn figures(facts: &Facts) -> Json {
    json!({ "logto": shown(&facts.logto), "mgpass": shown(&facts.mgpass) })
}

fn shown(side: &Side) -> Json {
    let kinds: serde_json::Map<String, Json> = side
        .receipts
        .iter()
        .map(|one| {
            (
                one.kind.clone(),
                json!({ "last_at": one.last_at_ms, "n": one.n }),
            )
        })
        .collect();
    json!({
        "is_open": side.is_open,
        "last_at": side.last_at_ms(),
        "kinds": kinds,
        "test": side.test.as_ref().map(|test| json!({
            "kind": test.kind, "caused_at": test.caused_at_ms, "failure": test.failure,
            "heard": side.is_heard(test),
        })),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn receipt(source: Backend, last_at_ms: i64) -> Receipt {
        Receipt {
            source,
            kind: "user.suspended".to_owned(),
            first_at_ms: 0,
            last_at_ms,
            n: 1,
        }
    }

    fn test(source: Backend, caused_at_ms: i64, failure: Option<&str>) -> Test {
        Test {
            source,
            kind: "user.login.success".to_owned(),
            caused_at_ms,
            failure: failure.map(str::to_owned),
        }
    }

    #[test]
    fn a_silent_side_is_red_and_an_idle_one_not_green() {
        use Backend::{Logto, Mgpass};
        let state = |receipts: Vec<Receipt>, tests: Vec<Test>, now_ms: i64| {
            judge(&Facts::of(receipts, tests, |_| true), now_ms).state
        };
        let both = || vec![receipt(Logto, 100), receipt(Mgpass, 120)];
        assert_eq!(state(both(), vec![], 200), State::Green);
        assert_eq!(
            state(both(), vec![test(Mgpass, 110, None)], 200),
            State::Green
        );
        assert_eq!(
            state(both(), vec![test(Logto, 110, None)], 200),
            State::Idle
        );
        assert_eq!(
            state(both(), vec![test(Logto, 110, None)], 70_000),
            State::Red
        );
        assert_eq!(
            state(both(), vec![test(Mgpass, 130, Some("refused"))], 200),
            State::Red
        );
        assert_eq!(state(vec![receipt(Logto, 100)], vec![], 200), State::Idle);
        assert_eq!(state(both(), vec![], MAX_AGE_MS + 121), State::Idle);
        let closed = judge(&Facts::of(both(), vec![], |side| side == Logto), 200);
        assert_eq!(closed.state, State::NotProbed);
        let silent_and_closed =
            Facts::of(both(), vec![test(Logto, 110, None)], |side| side == Logto);
        assert_eq!(judge(&silent_and_closed, 70_000).state, State::Red);
    }
}

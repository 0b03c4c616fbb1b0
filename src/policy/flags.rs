//! The operator's flags, as one value. One snapshot serves a whole request; how it
//! comes from KV's texts is [`reading`]'s to say.

pub mod bucket;
pub mod form;
mod reading;

pub use self::reading::{keys, parse};

use std::sync::Arc;

use crate::inbound::classify::{Kind, OPERATIONS, Operation};
use crate::policy::applications::Applications;

/// The operator's wish. `cutover` and `cleanup` are the authority's to carry out, and until
/// then all goes on as before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    Off,
    Shadow,
    DualWrite,
    Cutover,
    Cleanup,
}

impl Stage {
    pub fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Shadow => "shadow",
            Self::DualWrite => "dual_write",
            Self::Cutover => "cutover",
            Self::Cleanup => "cleanup",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        [
            Self::Off,
            Self::Shadow,
            Self::DualWrite,
            Self::Cutover,
            Self::Cleanup,
        ]
        .into_iter()
        .find(|stage| stage.name() == text)
    }
}

/// A share of all users or requests, in basis points: 0 to 10,000.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Share(u16);

impl Share {
    pub const NONE: Self = Self(0);
    pub const ONE_PERCENT: Self = Self(100);
    pub const ALL: Self = Self(10_000);

    pub fn basis_points(self) -> u16 {
        self.0
    }

    /// `None` above 10,000.
    pub fn from_basis_points(basis_points: i64) -> Option<Self> {
        let basis_points = u16::try_from(basis_points).ok()?;
        (basis_points <= 10_000).then_some(Self(basis_points))
    }

    /// As [`Self::parse_percent`] takes it, in its shortest form.
    pub fn to_percent(self) -> String {
        let (whole, rest) = (self.0 / 100, self.0 % 100);
        match rest {
            0 => whole.to_string(),
            _ if rest.is_multiple_of(10) => format!("{whole}.{}", rest / 10),
            _ => format!("{whole}.{rest:02}"),
        }
    }

    /// `0` to `100` with up to two decimals; no sign, no exponent, no spaces.
    pub fn parse_percent(text: &str) -> Option<Self> {
        let (whole, decimals) = text.split_once('.').unwrap_or((text, "0"));
        let digits =
            |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        if !digits(whole) || !digits(decimals) || whole.len() > 3 || decimals.len() > 2 {
            return None;
        }
        let hundredths: u16 = match decimals.len() {
            1 => decimals.parse::<u16>().ok()? * 10,
            _ => decimals.parse().ok()?,
        };
        let basis_points = whole.parse::<u16>().ok()? * 100 + hundredths;
        (basis_points <= 10_000).then_some(Self(basis_points))
    }
}

/// A ramp that the guard stopped: reads from mgPass are capped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Guard {
    pub cap: Share,
    pub reason: String,
}

impl Guard {
    /// There is a cap, and nobody knows which.
    fn unreadable() -> Self {
        Self {
            cap: Share::NONE,
            reason: "unreadable".to_owned(),
        }
    }
}

/// Why no browser draws mgPass any more, until a person deletes the key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignInStop {
    pub reason: String,
}

/// One snapshot of all flags.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flags {
    /// What recording, mirroring and reads go by while Logto is the authority: no later
    /// than `dual_write`.
    pub stage: Stage,
    /// What KV says; see [`Self::asked_stage`].
    pub asked: Stage,
    /// False until KV has told this isolate a stage: then `stage` is `off`, which may be wrong.
    pub is_stage_known: bool,
    pub read_percent: Share,
    /// One entry per operation that mgPass may serve.
    pub read_percent_by_operation: Vec<(Operation, Option<Share>)>,
    /// `None`: the default, which depends on stage and `read_percent`.
    pub compare_percent: Option<Share>,
    pub kill_switch: bool,
    /// `/oidc/jwks` serves the keys of both issuers.
    pub jwks_union: bool,
    /// Once mgPass is the authority: Logto may stand in for reads that mgPass cannot answer.
    pub fallback: bool,
    pub salt: String,
    pub guard: Option<Guard>,
    /// Of browsers, whose next sign-in begins at mgPass.
    pub sign_in_percent: Share,
    /// A brake like `guard`.
    pub sign_in_stop: Option<SignInStop>,
    /// The operator's word: nobody registers, links or edits a profile on mgPass's pages.
    pub mgpass_pages_closed: bool,
    pub applications: Arc<Applications>,
    /// What the last reading could not take.
    pub refused: Vec<FlagFault>,
}

impl Default for Flags {
    fn default() -> Self {
        Self {
            stage: Stage::Off,
            asked: Stage::Off,
            is_stage_known: true,
            read_percent: Share::NONE,
            read_percent_by_operation: served_operations()
                .map(|operation| (operation, None))
                .collect(),
            compare_percent: None,
            kill_switch: false,
            jwks_union: false,
            fallback: true,
            salt: String::new(),
            guard: None,
            sign_in_percent: Share::NONE,
            sign_in_stop: None,
            mgpass_pages_closed: false,
            applications: Arc::default(),
            refused: Vec::new(),
        }
    }
}

impl Flags {
    /// What an isolate has that KV has told nothing.
    pub fn unknown() -> Self {
        Self {
            is_stage_known: false,
            ..Self::default()
        }
    }

    /// What KV says, once it has said something.
    pub fn asked_stage(&self) -> Option<Stage> {
        self.is_stage_known.then_some(self.asked)
    }

    pub fn stage_name(&self) -> &'static str {
        if self.is_stage_known {
            self.stage.name()
        } else {
            "unknown"
        }
    }

    /// In doubt yes: an intent too many waits in the outbox and does no harm, one too
    /// few is a write that only the walk finds.
    pub fn records_writes(&self) -> bool {
        self.stage != Stage::Off || !self.is_stage_known
    }

    /// Whether requests of clients go to the side of their client id. In doubt yes: what
    /// looks like mgPass's is not shown to Logto.
    pub fn tells_clients_apart(&self) -> bool {
        !self.is_stage_known || !self.applications.is_empty()
    }

    /// Every read that mgPass may serve is to be served by it, to everybody.
    pub fn are_all_reads_shared(&self) -> bool {
        served_operations().all(|operation| self.read_share(operation) == Share::ALL)
    }

    /// The share that holds for one operation, before the guard's cap.
    pub fn read_share(&self, operation: Operation) -> Share {
        self.read_percent_by_operation
            .iter()
            .find(|(candidate, _)| *candidate == operation)
            .and_then(|(_, share)| *share)
            .unwrap_or(self.read_percent)
    }

    pub fn compare_share(&self) -> Share {
        let comparing = self.stage == Stage::Shadow || self.read_percent > Share::NONE;
        let default = if comparing {
            Share::ONE_PERCENT
        } else {
            Share::NONE
        };
        self.compare_percent.unwrap_or(default)
    }
}

/// A value that was not taken. The value itself is not repeated: it may be anything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlagFault {
    pub key: String,
    pub code: &'static str,
}

fn served_operations() -> impl Iterator<Item = Operation> {
    OPERATIONS
        .iter()
        .filter(|row| row.kind == Kind::Read)
        .map(|row| row.operation)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentages_have_two_decimals_and_no_tricks() {
        for (text, basis_points) in [
            ("0", 0),
            ("100", 10_000),
            ("0.01", 1),
            ("12.5", 1_250),
            ("99.99", 9_999),
            ("007", 700),
        ] {
            assert_eq!(
                Share::parse_percent(text).map(Share::basis_points),
                Some(basis_points),
                "{text}"
            );
        }
        for text in [
            "", "-1", "+1", "100.01", "101", "1e1", "1.234", ".5", "1.", "٣", " 1", "NaN", "1,5",
        ] {
            assert_eq!(Share::parse_percent(text), None, "{text}");
        }
    }

    #[test]
    fn every_share_is_written_as_it_is_read() {
        for basis_points in 0..=10_000 {
            let share = Share::from_basis_points(basis_points).unwrap();
            assert_eq!(Share::parse_percent(&share.to_percent()), Some(share));
        }
        assert_eq!(Share(1_250).to_percent(), "12.5");
        assert_eq!(Share(5).to_percent(), "0.05");
        assert_eq!(Share::from_basis_points(10_001), None);
    }

    #[test]
    fn comparing_is_on_at_one_percent_while_there_is_something_to_compare() {
        let mut flags = Flags::default();
        assert_eq!(flags.compare_share(), Share::NONE);
        flags.stage = Stage::Shadow;
        assert_eq!(flags.compare_share(), Share::ONE_PERCENT);
        flags.compare_percent = Some(Share::NONE);
        assert_eq!(flags.compare_share(), Share::NONE);
    }
}

//! What is known of a user's password at mgPass, as a lease brings it along.

use serde::Deserialize;

use crate::runtime::ports::Row as DatabaseRow;
use crate::runtime::sql::text;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    None,
    Carrying,
    Carried,
    VoidOwed,
}

impl State {
    /// mgPass may have a password by which somebody signs in.
    pub fn is_there(self) -> bool {
        match self {
            Self::Carrying | Self::Carried | Self::VoidOwed => true,
            Self::None => false,
        }
    }
}

/// As a lease brings it along.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Row {
    pub state: State,
    pub ticket: i64,
    pub n_gaps: i64,
    pub not_before: i64,
}

impl Row {
    /// `None`: there is no row.
    pub fn parse(row: &DatabaseRow) -> Option<Self> {
        serde_json::from_str(&text(row, "password")?).ok()
    }
}

/// What showed the password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sight {
    /// Logto found it right: the password may have been carried before.
    Check,
    /// Logto has it from now on.
    Change,
}

/// Whether a carry may be begun, as far as the row says.
pub fn may_try(row: Option<&Row>, sight: Sight, now_ms: i64) -> bool {
    match (row.map(|row| row.state), sight) {
        (None, _) | (Some(State::None | State::Carried), Sight::Change) => true,
        (Some(State::None), Sight::Check) => row.is_some_and(|row| row.not_before <= now_ms),
        (Some(State::Carried), Sight::Check) | (Some(State::Carrying | State::VoidOwed), _) => {
            false
        }
    }
}

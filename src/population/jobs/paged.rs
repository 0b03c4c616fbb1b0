//! What a page of a job came to, before the store has it.

use crate::runtime::ports::Statement;

/// What became of one user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recorded {
    pub user: String,
    pub outcome: UserOutcome,
    pub reason: Option<String>,
    /// Codes of what an operator should know of this user.
    pub notes: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UserOutcome {
    Equal,
    Parked,
    Deleted,
    /// Handed to the relay.
    Pending,
    /// What a real run would do.
    Create,
    Update,
    Differs,
    Missing,
    OnlyAtMgpass,
}

impl UserOutcome {
    pub fn name(self) -> &'static str {
        match self {
            Self::Equal => "equal",
            Self::Parked => "parked",
            Self::Deleted => "deleted",
            Self::Pending => "pending",
            Self::Create => "create",
            Self::Update => "update",
            Self::Differs => "differs",
            Self::Missing => "missing",
            Self::OnlyAtMgpass => "only_at_mgpass",
        }
    }
}

/// What one page came to.
#[derive(Clone, Debug, Default)]
pub struct Paged {
    pub users: Vec<Recorded>,
    /// Of a listing: the total that its answer named.
    pub total: Option<i64>,
    pub is_last: bool,
    /// Of a listing's page: rows done, where the invocation could not do all of them.
    pub n_done: Option<i64>,
    /// Where the next page of a phase by id begins.
    pub after_id: String,
    /// For the proxy's database, in the same batch: intents, marks, differences.
    pub statements: Vec<Statement>,
    pub n_whole: i64,
    pub n_added: i64,
    pub cost: Cost,
}

/// What a page took, for the operator's view.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    pub logto_ms: i64,
    pub mgpass_ms: i64,
    pub work_ms: i64,
    pub n_statements: i64,
    pub memory_bytes: i64,
}

impl Recorded {
    pub(super) fn to_json(&self) -> serde_json::Value {
        let notes = serde_json::json!(self.notes).to_string();
        serde_json::json!([self.user, self.outcome.name(), self.reason, notes])
    }
}

//! What was found of one user beyond what triggers tell: a user id, a code and names
//! of fields, never a value. Counted by user and code, so harmless twice.

use serde_json::json;

use crate::inbound::request::{UserId, id_list};
use crate::runtime::ports::{Row, Statement};
use crate::runtime::sql::now;

/// Not of a user whose intent is open: there the mirror knows already.
const FIND: &str = concat!(
    "INSERT INTO findings (user_id, code, kind, found_at) SELECT w.value, ?2, ?3, ",
    now!(),
    " FROM json_each(?1) w WHERE NOT EXISTS (SELECT 1 FROM intents i WHERE i.subject = w.value AND i.discharged_at IS NULL) ",
    "ON CONFLICT (user_id, code) DO UPDATE SET found_at = excluded.found_at, n_times = findings.n_times + 1"
);
const FOUND: &str = concat!(
    "INSERT INTO findings (user_id, code, kind, paths, found_at) VALUES (?1, ?2, ?3, ?4, ",
    now!(),
    ") ON CONFLICT (user_id, code) DO UPDATE SET paths = excluded.paths, found_at = excluded.found_at, n_times = findings.n_times + 1"
);
const NEWEST: &str = "SELECT user_id, code, kind, paths, found_at, n_times FROM findings ORDER BY found_at DESC LIMIT 50";
/// Found within a day, by code.
const BY_CODE: &str = concat!(
    "SELECT code, kind, count(*) AS n, max(found_at) AS found_at FROM findings INDEXED BY findings_by_time WHERE found_at >= ",
    now!(),
    " - ?1 GROUP BY code, kind ORDER BY n DESC, code"
);
const OF_USER: &str =
    "SELECT code, kind, paths, found_at, n_times FROM findings WHERE user_id = ?1 ORDER BY code";
const FORGET: &str = concat!(
    "DELETE FROM findings WHERE found_at < ",
    now!(),
    " - 2592000000"
);

/// Every string above, for the test that prepares each one against the schema.
#[cfg(not(target_arch = "wasm32"))]
pub const ALL_SQL: &[&str] = &[FIND, FOUND, NEWEST, BY_CODE, OF_USER, FORGET];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finding {
    /// By the walk: Logto has the user, the mirror does not know them.
    NotMirrored,
    /// By the walk: the two sides differ.
    Differs,
    GoneAtLogto,
    /// mgPass's own user: never a repair.
    OnlyAtMgpass,
    /// mgPass's rows were changed, and its audit log names nobody: repaired.
    AlteredAtMgpass,
    /// Somebody changed them there on purpose: held for a person.
    EditedAtMgpass,
    /// Such a change gave way to a newer one at Logto, or to an operator's word.
    EditOverruled,
    /// A translated write was done at mgPass while the authority moved: nobody was told.
    TranslatedButMoved,
}

impl Finding {
    pub fn code(self) -> &'static str {
        match self {
            Self::NotMirrored => "not_mirrored",
            Self::Differs => "differs",
            Self::GoneAtLogto => "gone_at_logto",
            Self::OnlyAtMgpass => "only_at_mgpass",
            Self::AlteredAtMgpass => "altered_at_mgpass",
            Self::EditedAtMgpass => "edited_at_mgpass",
            Self::EditOverruled => "edit_overruled",
            Self::TranslatedButMoved => "translated_but_moved",
        }
    }

    fn kind(self) -> &'static str {
        match self {
            Self::OnlyAtMgpass
            | Self::EditedAtMgpass
            | Self::EditOverruled
            | Self::TranslatedButMoved => "finding",
            Self::NotMirrored | Self::Differs | Self::GoneAtLogto | Self::AlteredAtMgpass => {
                "repair"
            }
        }
    }

    /// Of many at once.
    pub fn note(self, subjects: &[UserId]) -> Statement {
        let values = vec![
            id_list(subjects).into(),
            self.code().into(),
            self.kind().into(),
        ];
        Statement::new(FIND, values)
    }

    /// Of one, with the fields that it is about.
    pub fn note_of(self, subject: &UserId, paths: &[String]) -> Statement {
        let values = vec![
            subject.as_str().into(),
            self.code().into(),
            self.kind().into(),
            json!(paths).to_string().into(),
        ];
        Statement::new(FOUND, values)
    }
}

pub fn newest() -> Statement {
    Statement::new(NEWEST, vec![])
}

/// How many users by code, of what was found within the last `within_ms`.
pub fn by_code(within_ms: i64) -> Statement {
    Statement::new(BY_CODE, vec![within_ms.into()])
}

pub fn of_user(user: &UserId) -> Statement {
    Statement::new(OF_USER, vec![user.as_str().into()])
}

/// Older than 30 days.
pub fn forget() -> Statement {
    Statement::new(FORGET, vec![])
}

/// For display: the paths are kept as JSON text.
pub fn shown(mut row: Row) -> Row {
    let paths = row.get("paths").and_then(serde_json::Value::as_str);
    if let Some(paths) = paths.and_then(|text| serde_json::from_str(text).ok()) {
        row.insert("paths".to_owned(), paths);
    }
    row
}

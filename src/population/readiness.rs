//! How each mirrored person will get in at mgPass without their old password, which
//! Logto does not hand out. Asked of mgPass's rows, so that it is never out of date.

use serde_json::{Value as Json, json};

use crate::runtime::ports::{Row, Statement};
use crate::runtime::sql::{integer, text};

/// A carried social identity, else a verified address for a reset, else nothing.
macro_rules! readiness {
    () => {
        "CASE WHEN EXISTS (SELECT 1 FROM social_identities s WHERE s.user_id = u.id) THEN 'social' \
         WHEN u.email IS NOT NULL AND u.email_verified = 1 THEN 'email_reset' ELSE 'none' END"
    };
}

const COUNT: &str = concat!(
    "SELECT ",
    readiness!(),
    " AS readiness, count(*) AS n FROM logto_mirror m JOIN users u ON u.id = m.user_id \
     WHERE u.deleted_at IS NULL GROUP BY 1"
);
const LIST: &str = concat!(
    "SELECT u.id AS id, ",
    readiness!(),
    " AS readiness, coalesce(json_extract(m.residue, '$.hasPassword'), 0) AS had_password, json_extract(m.residue, '$.username') AS username, u.email AS email, u.phone AS phone \
     FROM logto_mirror m JOIN users u ON u.id = m.user_id WHERE u.deleted_at IS NULL AND m.user_id > ?1 \
     ORDER BY m.user_id LIMIT ?2"
);

/// By the application through which Logto first met them. `live`: signed in within the
/// 14 days that a session and a refresh token of Logto's last.
const BY_APPLICATION: &str = concat!(
    "SELECT json_extract(m.residue, '$.applicationId') AS client_id, ",
    readiness!(),
    " AS readiness, coalesce(u.last_sign_in_at, 0) > unixepoch() - 1209600 AS live, count(*) AS n \
     FROM logto_mirror m JOIN users u ON u.id = m.user_id WHERE u.deleted_at IS NULL \
     GROUP BY 1, 2, 3 ORDER BY 1, 2, 3"
);

/// Every string above, for the test that prepares each one against the schema.
#[cfg(not(target_arch = "wasm32"))]
pub const ALL_SQL: &[&str] = &[COUNT, LIST, BY_APPLICATION];

pub fn count() -> Vec<Statement> {
    vec![Statement::new(COUNT, vec![])]
}

/// The three of them, 0 where nobody is so.
pub fn parse_count(results: &[Vec<Row>]) -> Json {
    let rows = results.first().map(Vec::as_slice).unwrap_or_default();
    let of = |name: &str| {
        rows.iter()
            .find(|row| text(row, "readiness").as_deref() == Some(name))
            .and_then(|row| integer(row, "n"))
            .unwrap_or(0)
    };
    json!({ "social": of("social"), "email_reset": of("email_reset"), "none": of("none") })
}

/// Who will have to sign in anew, and how they get in.
pub fn by_application() -> Statement {
    Statement::new(BY_APPLICATION, vec![])
}

pub fn list(after: &str, limit: i64) -> Vec<Statement> {
    vec![Statement::new(LIST, vec![after.into(), limit.into()])]
}

pub fn shown(row: &Row) -> Json {
    json!({
        "id": row.get("id"),
        "readiness": row.get("readiness"),
        "had_password": integer(row, "had_password") == Some(1),
        "username": row.get("username"),
        "email": row.get("email"),
        "phone": row.get("phone"),
    })
}

//! How each mirrored person gets in at mgPass, since Logto does not hand out passwords. Asked of mgPass's rows, so that it is never out of date.

use serde_json::{Value as Json, json};

use crate::runtime::ports::{Row, Statement};
use crate::runtime::sql::{integer, text};

/// A password at mgPass that somebody knows: carried over, or set there, by a reset or
/// because mgPass's page asked for one (what tells those apart is our assumption,
/// docs/assumptions.md). Else a social identity, else a verified address for a reset, else
/// nothing. A random password that took the place of an old one is none.
macro_rules! readiness {
    () => {
        "CASE WHEN u.password_hash IS NOT NULL AND u.password_hash IS NOT m.void_hash THEN CASE WHEN m.password_carried = 1 THEN 'carried' \
         WHEN EXISTS (SELECT 1 FROM audit_logs a WHERE a.target_id = u.id AND a.event_type = 'user.password_reset') THEN 'reset' \
         WHEN EXISTS (SELECT 1 FROM audit_logs a WHERE a.target_id = u.id AND a.event_type = 'user.password_set') THEN 'prompted' ELSE 'password' END \
         WHEN EXISTS (SELECT 1 FROM social_identities s WHERE s.user_id = u.id) THEN 'social' \
         WHEN u.email IS NOT NULL AND u.email_verified = 1 THEN 'email_reset' ELSE 'none' END"
    };
}

/// In the order in which they are shown.
pub const ROADS: [&str; 7] = [
    "carried",
    "prompted",
    "reset",
    "password",
    "social",
    "email_reset",
    "none",
];

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
     FROM logto_mirror m JOIN users u ON u.id = m.user_id WHERE u.deleted_at IS NULL AND m.user_id > ?1 AND (?3 IS NULL OR ?3 = ",
    readiness!(),
    ") ORDER BY m.user_id LIMIT ?2"
);
/// What keeps people at Logto: found behind their sign-ins.
const NOT_MOVED: &str = "SELECT verdict, count(*) AS n FROM sign_in_ready WHERE verdict IN ('second_factor', 'enterprise_sso') GROUP BY verdict \
     UNION ALL SELECT 'waived', count(*) FROM waivers WHERE term = (SELECT term FROM authority) AND gate = 'factors' HAVING count(*) > 0";

/// Whose sign-in at Logto was looked at since sign-ins move.
const JUDGED: &str = "SELECT count(*) AS n FROM sign_in_ready";

/// By the application through which Logto first met them. `live`: signed in within the
/// 14 days that a session and a refresh token of Logto's last.
const BY_APPLICATION: &str = concat!(
    "SELECT json_extract(m.residue, '$.applicationId') AS client_id, ",
    readiness!(),
    " AS readiness, coalesce(u.last_sign_in_at, 0) > unixepoch() - 1209600 AS live, count(*) AS n \
     FROM logto_mirror m JOIN users u ON u.id = m.user_id WHERE u.deleted_at IS NULL \
     GROUP BY 1, 2, 3 ORDER BY 1, 2, 3"
);

/// Who may have what at Logto, and who has been at mgPass. A session lasts 14 days; a chain
/// of refresh tokens is rotated on for a year at most (contract of Logto, lifetimes).
const POPULATION: &str = concat!(
    "SELECT json_extract(m.residue, '$.applicationId') AS client_id, count(*) AS n_people, \
     sum(coalesce(u.last_sign_in_at, 0) > unixepoch() - 1209600) AS n_live, \
     sum(coalesce(u.last_sign_in_at, 0) > unixepoch() - 31536000) AS n_chained, \
     sum(",
    readiness!(),
    " IN ('email_reset', 'none')) AS n_without_road, \
     sum(EXISTS (SELECT 1 FROM audit_logs a WHERE a.target_id = u.id AND a.event_type = 'user.login.success')) AS n_there \
     FROM logto_mirror m JOIN users u ON u.id = m.user_id WHERE u.deleted_at IS NULL GROUP BY 1 ORDER BY 1"
);

/// Every string above, for the test that prepares each one against the schema.
#[cfg(not(target_arch = "wasm32"))]
pub const ALL_SQL: &[&str] = &[COUNT, LIST, BY_APPLICATION, POPULATION];
#[cfg(not(target_arch = "wasm32"))]
pub const PROXY_SQL: &[&str] = &[NOT_MOVED, JUDGED];

pub fn count() -> Vec<Statement> {
    vec![Statement::new(COUNT, vec![])]
}

/// All of them, 0 where nobody is so.
pub fn parse_count(results: &[Vec<Row>]) -> Json {
    let rows = results.first().map(Vec::as_slice).unwrap_or_default();
    let of = |name: &str| {
        rows.iter()
            .find(|row| text(row, "readiness").as_deref() == Some(name))
            .and_then(|row| integer(row, "n"))
            .unwrap_or(0)
    };
    let roads = ROADS.map(|road| (road.to_owned(), json!(of(road))));
    Json::Object(roads.into_iter().collect())
}

pub fn not_moved() -> Statement {
    Statement::new(NOT_MOVED, vec![])
}

pub fn parse_not_moved(results: &[Vec<Row>]) -> Json {
    let rows = results.first().map(Vec::as_slice).unwrap_or_default();
    let named = rows
        .iter()
        .filter_map(|row| Some((text(row, "verdict")?, json!(integer(row, "n")?))));
    Json::Object(named.collect())
}

pub fn judged() -> Statement {
    Statement::new(JUDGED, vec![])
}

/// Who will have to sign in anew, and how they get in.
pub fn by_application() -> Statement {
    Statement::new(BY_APPLICATION, vec![])
}

/// Whom a move can make sign in anew.
pub fn population() -> Statement {
    Statement::new(POPULATION, vec![])
}

/// `only`: of this road.
pub fn list(after: &str, limit: i64, only: Option<&str>) -> Vec<Statement> {
    vec![Statement::new(
        LIST,
        vec![after.into(), limit.into(), only.into()],
    )]
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

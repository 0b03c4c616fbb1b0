//! Writes of Logto's Management API on users and of its Account API, once mgPass is the authority:
//! what Logto would have done, computed.
//!
//! `apply` is pure and total. From Logto's view of the user (`translate::view` makes it of mgPass's
//! rows and the residue) and the request it gives the new view, Logto's answer to the byte, and what
//! has to be changed at mgPass; or Logto's own error; or a refusal with a code of the proxy's. Where
//! it needs a fact that costs something (who holds a value, whether a password is leaked), it asks
//! and is called again with the answer, as `plan` is: nothing is asked that the answer does not
//! depend on, and Logto's validation comes before every question.
//!
//! The order of checks is Logto's (1.41), route by route. A refusal of the proxy's own stands only
//! where Logto would have gone on: an error of Logto's that can be known is always given instead.
//!
//! What the caller has to do, so that nobody is half-written:
//! 1. judge the token first: who is no caller of Logto's never gets here (`Write`);
//! 2. answer `Step::Ask` and call again, with the same body and the view read anew;
//! 3. carry `Applied` out in one guarded batch: `changes` are changed columns only, to be written on
//!    condition that the rows are those that the view was made of, together with the residue of
//!    `after`, `owed.revoke_all`, and the values claimed and released (those that mgPass's own
//!    constraints do not keep unique stand in `logto_mirror_unique`);
//! 4. set `owed.password` by API, at mgPass and at Logto; it stands in no row. Of a user who exists
//!    before the batch, so that a password that mgPass refuses leaves nothing changed; a new user
//!    exists first, and is taken back when the password is refused;
//! 5. answer with `reply` only when all of it is done.
//!
//! Never here: I/O, a clock, a plaintext outside `Secret`, a text of Logto's that is not Logto's.

mod account;
mod body;
mod change;
mod json;
mod management;
mod phone;
mod policy;
mod reply;
mod routes;
mod row;
mod schema;
mod shapes;
pub mod shown;
mod unique;

pub use self::account::{AccountCaller, Proof};
pub use self::body::Body;
pub use self::change::{Changes, Column};
#[cfg(not(target_arch = "wasm32"))]
pub use self::reply::Content;
pub use self::reply::{Cors, Reply};
pub use self::routes::{AccountRoute, Found, Route, UsersRoute, find};
pub use self::unique::{Unique, UniqueKind};
pub use crate::inbound::classify::Refusal;
pub use crate::policy::tenant::Tenant;

use self::row::Row;
use crate::inbound::request::Secret;
use crate::runtime::settings::MappingSettings;

/// What holds for every request.
#[derive(Clone, Copy)]
pub struct Settings<'a> {
    pub tenant: &'a Tenant,
    pub mapping: &'a MappingSettings,
    pub now_ms: i64,
}

/// The route, and whose request it is.
#[derive(Clone, Copy)]
pub enum Write<'a> {
    Users {
        route: &'a UsersRoute,
        user: PathUser<'a>,
        /// The token's `sub`.
        caller: &'a str,
    },
    Account {
        route: &'a AccountRoute,
        /// The caller in Logto's form.
        user: &'a str,
        caller: AccountCaller<'a>,
    },
}

/// The user of the path.
#[derive(Clone, Copy, Debug)]
pub enum PathUser<'a> {
    /// The route names nobody.
    Nobody,
    Missing {
        id: &'a str,
    },
    /// In Logto's form.
    Known {
        id: &'a str,
        view: &'a str,
    },
}

/// Answers to what was asked; `None` has not been asked.
#[derive(Clone, Copy, Debug, Default)]
pub struct Facts<'a> {
    /// Of the values asked for, those that another user holds, at mgPass or in Logto's eyes.
    pub held_by_others: Option<&'a [Unique]>,
    pub is_address: Option<bool>,
    pub password_is_leaked: Option<bool>,
    pub password_is_right: Option<bool>,
    pub n_sso_identities: Option<usize>,
    /// Logto's answer to the reservation of an id: a user without anything.
    pub reserved: Option<&'a str>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Question {
    /// Who else holds any of these.
    Holders(Vec<Unique>),
    /// Whether a runtime takes it for an address (`new URL`), as Logto's asks its own.
    IsAddress(String),
    /// Whether the look-up of leaked passwords knows it.
    PasswordIsLeaked(Secret<String>),
    /// Whether it is the user's present password. Logto has no objection to one that it keeps in
    /// another way than Argon2i being set again.
    PasswordIsRight(Secret<String>),
    /// How many SSO identities Logto knows of the user.
    SsoIdentities,
    /// An id for a new user, to be had of Logto. Asked last: the user is created unless the batch
    /// fails.
    Reservation,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    Ask(Question),
    /// Logto would have done it.
    Apply(Box<Applied>),
    /// Logto would have changed nothing: an error, or the outcome of a check.
    Answer(Reply),
    /// It cannot be done here; nothing is changed.
    Refuse(Refusal),
}

#[derive(Clone, Debug, PartialEq)]
pub struct Applied {
    pub reply: Reply,
    pub after: After,
    pub changes: Changes,
    pub owed: Owed,
}

/// The user in Logto's form afterwards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum After {
    Created(String),
    Changed(String),
    Deleted,
}

/// What rows cannot do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Owed {
    /// The user's sessions end, at both sides.
    pub revoke_all: bool,
    /// To be set by API at both sides, and in no row.
    pub password: Option<Secret<String>>,
}

pub fn apply(settings: &Settings<'_>, write: Write<'_>, body: Body<'_>, facts: &Facts<'_>) -> Step {
    let outcome = match write {
        Write::Users {
            route,
            user,
            caller,
        } => management::apply(settings, route, user, caller, body, facts),
        Write::Account {
            route,
            user,
            caller,
        } => account::apply(settings, route, user, caller, body, facts),
    };
    match outcome {
        Ok(applied) => Step::Apply(Box::new(applied)),
        Err(step) => step,
    }
}

impl From<Reply> for Step {
    fn from(reply: Reply) -> Self {
        Self::Answer(reply)
    }
}

impl From<Refusal> for Step {
    fn from(refusal: Refusal) -> Self {
        Self::Refuse(refusal)
    }
}

/// # Errors
/// A view that is no user of Logto's: a defect of whoever made it.
fn parse_view(view: &str) -> Result<Row, Step> {
    Row::parse(view).ok_or(Step::Refuse(Refusal::UnreadableUser))
}

#[cfg(test)]
mod tests;

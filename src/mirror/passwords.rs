//! Passwords that are carried to mgPass, and that none of them outlives its change.
//!
//! A password is carried where one request holds it and Logto's word on it (`serve::carry`),
//! behind that request's answer and once: under the user's lease Logto is asked whether it is
//! this user's, mgPass is given it, and Logto is asked again. It is never written anywhere
//! outside the isolate.
//!
//! What a change leaves behind is found by intents: each password operation has a name of its
//! own, its intent exists before the change, and while mgPass has a carried password it is
//! discharged only once the newer one was carried, or once mgPass has a random password and
//! owes the end of the user's sessions. A call without an answer may land later: the void is
//! repeated when nothing of it can land any more.
//!
//! Harmless twice: a void, an owed end of sessions, a look at Logto's hash. A carry is not,
//! and is claimed in the row before it leaves.

pub mod carry;
pub mod decision;
pub mod place;
pub mod row;
pub mod state;
pub mod sweep;
mod void;

pub(super) use self::void::{Voided, before_discharge};

use crate::runtime::context::Context;

/// Queries of a void: what is owed 2, marks 3, the row 2.
pub(super) const VOID_QUERIES: usize = 7;

/// Whether this version carries passwords at all.
pub fn is_carrying(context: &Context<'_>) -> bool {
    context.settings.passwords.is_carrying && context.subject_key.is_some()
}

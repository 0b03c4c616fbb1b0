//! What every flow is handed besides its ports.

use crate::inbound::request::{Secret, UserId};
use crate::runtime::isolate::Isolate;
use crate::runtime::settings::Migration;
use crate::token::IssuerNames;

#[derive(Clone, Copy)]
pub struct Context<'a> {
    pub settings: &'a Migration,
    pub issuers: &'a IssuerNames,
    pub isolate: &'a Isolate,
    pub subject_key: Option<&'a Secret<String>>,
}

impl Context<'_> {
    pub fn subject_hash(&self, user: &UserId) -> Option<String> {
        crate::runtime::observe::subject_hash(user, self.subject_key)
    }
}

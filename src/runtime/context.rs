//! What every flow is handed besides its ports.

use crate::inbound::request::{Secret, UserId};
use std::sync::Arc;

use crate::policy::flags::Flags;
use crate::runtime::isolate::Isolate;
use crate::runtime::settings::{Migration, Settings};
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

/// The request's fixed surroundings.
pub struct Surroundings<'a> {
    pub settings: &'a Settings,
    /// Absent when the settings had faults: then the proxy is a pipe.
    pub context: Option<Context<'a>>,
    pub flags: Arc<Flags>,
    pub request_id: &'a str,
    pub began_ms: i64,
}

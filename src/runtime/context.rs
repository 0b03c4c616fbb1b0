//! What every flow is handed besides its ports.

use std::sync::Arc;

use crate::inbound::Inbound;
use crate::inbound::request::{Secret, UserId};
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

/// One request, with the settings and flags that are in force for the whole of it.
pub struct Request<'a> {
    pub inbound: &'a Inbound,
    pub settings: &'a Settings,
    pub isolate: &'a Isolate,
    /// Absent when the settings had faults: then the proxy is a pipe.
    pub context: Option<Context<'a>>,
    pub flags: Arc<Flags>,
    pub id: String,
    pub began_ms: i64,
}

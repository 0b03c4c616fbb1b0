//! The flows over fakes: every port with its faults, on virtual time.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on fails"
)]

mod cleanup;
mod compare;
mod corpus;
mod costs;
mod equality;
mod evidence;
mod forward_auth;
mod guard;
mod handover;
mod introspection;
mod jobs;
mod limits;
mod page;
mod passwords;
mod points;
mod proxy;
mod reads;
mod relay;
mod reverse;
mod routes;
mod schema;
mod service;
mod sign_in;
mod steering;
#[allow(dead_code, reason = "shared with the simulation")]
mod support;
mod tidy;
mod tokens;
mod translated;
mod triggers;
mod walk;
mod writes;

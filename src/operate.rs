//! What operators see and do: routes, figures, findings, and the guard that stops a ramp.

pub mod admin;
pub mod carry_check;
pub mod certificate;
pub mod checklist;
pub mod checks;
pub mod cleanup;
pub mod cutover;
pub mod dependencies;
pub mod findings;
pub mod forecast;
pub mod guard;
pub mod metrics;
pub mod page;
pub mod parked;
pub mod probe;
pub mod problems;
pub mod prometheus;
pub mod ramp;
pub mod sign_in;
pub mod status;
pub mod timeline;
pub mod watch;
pub mod webhook_test;
pub mod why;

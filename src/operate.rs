//! What operators see and do: routes, figures, findings, and the guard that stops a ramp.

pub mod admin;
pub mod findings;
pub mod guard;
pub mod metrics;
pub mod page;
pub mod parked;
pub mod problems;
pub mod prometheus;
pub mod ramp;
pub mod status;
pub mod timeline;
pub mod watch;

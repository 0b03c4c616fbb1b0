//! What operators see and do: routes, figures, findings, and the guard that stops a ramp.

pub mod admin;
pub mod findings;
pub mod guard;
pub mod metrics;
pub mod prometheus;

//! Move everybody, and prove that both sides are equal.

pub mod jobs;
pub mod page;
pub mod points;
pub mod readiness;

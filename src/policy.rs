//! Pure decisions about reads and stages: no port, no clock, no store.

pub mod breaker;
pub mod flags;
pub mod guard;
pub mod plan;

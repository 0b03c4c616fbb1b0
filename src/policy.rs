//! Pure decisions about reads, stages and tokens: no port, no clock, no store.

pub mod allowance;
pub mod applications;
pub mod authority;
pub mod breaker;
pub mod cutover;
pub mod flags;
pub mod guard;
pub mod left_behind;
pub mod plan;
pub mod ramp;
pub mod sign_in;
pub mod tenant;
pub mod token;

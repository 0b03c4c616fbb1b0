//! Whose data wins, and how that changes.

pub mod authority;
pub mod lease;
pub mod target;
pub mod translated;

//! Whose data wins, and how that changes.

pub mod advance;
pub mod arm;
pub mod authority;
pub mod cleanup;
pub mod debt;
pub mod facts;
pub mod gates;
pub mod holds;
pub mod hung;
pub mod log;
pub mod machine;
pub mod moves;
pub mod proof;
pub mod row;
pub mod strays;
pub mod target;
pub mod translated;
pub mod wish;

//! Requests about users while mgPass is the authority.

pub mod asked;
pub mod batch;
pub mod caller;
pub mod holders;
pub mod leaks;
pub mod orphans;
pub mod person;
pub mod search;
pub mod standing;
pub mod tenant;
pub mod write;

//! Requests about users while mgPass is the authority.

pub mod batch;
pub mod caller;
pub mod holders;
pub mod leaks;
pub mod orphans;
pub mod person;
pub mod tenant;
pub mod write;

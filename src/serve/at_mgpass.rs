//! Requests about users while mgPass is the authority.

pub mod batch;
pub mod holders;
pub mod leaks;
pub mod person;
pub mod tenant;

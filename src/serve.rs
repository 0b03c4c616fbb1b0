//! One request from arrival to what follows its answer; one delivery of the Queue.

pub mod authority;
pub mod compare;
pub mod cron;
pub mod deliver;
pub mod execute;
pub mod follow_up;
pub mod question;
pub mod read;
pub mod service;
pub mod translate;

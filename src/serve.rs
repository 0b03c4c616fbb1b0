//! One request from arrival to what follows its answer; one delivery of the Queue.

pub mod afterwards;
pub mod at_mgpass;
pub mod compare;
pub mod cron;
pub mod deliver;
pub mod execute;
pub mod question;
pub mod read;
pub mod translate;
pub mod translate_write;

//! One request from arrival to what follows its answer; one delivery of the Queue.

pub mod alone;
pub mod at_mgpass;
pub mod authority;
pub mod carry;
pub mod compare;
pub mod cron;
pub mod deliver;
pub mod execute;
pub mod follow_up;
pub mod oidc;
pub mod question;
pub mod read;
pub mod ready;
pub mod service;
pub mod sign_in;
pub mod translate;
pub mod translate_write;

//! What every flow is handed: the outside as ports, and what an isolate knows.

pub mod answer;
pub mod authority;
pub mod backend;
pub mod context;
pub mod dependencies;
pub mod deployment;
pub mod digest;
pub mod error;
pub mod isolate;
pub mod limits;
pub mod members;
pub mod message;
pub mod metrics;
pub mod observe;
pub mod ports;
pub mod settings;
pub mod snapshot;
pub mod sql;
pub mod trial;

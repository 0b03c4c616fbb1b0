//! Dual-write proxy: carries a live user base from Logto to mgPass.
//!
//! One Worker in front of both. The flow of a request is the order of the modules:
//! [`request`] -> [`classify`] -> [`flags`] -> [`plan`] -> [`execute`] (with
//! [`token`] and [`authenticate`], [`read`] and [`translate`] where a read may go
//! to mgPass, [`translate_write`] for a write once mgPass is the authority) ->
//! [`afterwards`] (with [`compare`]) -> [`observe`] and [`metrics`], which [`guard`]
//! judges every minute. The slow lane makes mgPass equal to Logto: [`mirror`]
//! decides, [`relay`] delivers.
//!
//! Everything but [`shell`] is pure of the platform: it reaches the outside only
//! through [`ports`]. ARCHITECTURE.md has the map and the reasons.

pub mod request;

pub mod breaker;
pub mod classify;
pub mod flags;
pub mod plan;
pub mod snapshot;

pub mod authenticate;
pub mod introspection;
#[cfg(feature = "cli")]
pub mod key_import;
pub mod token;

pub mod backend;
pub mod compare;
pub mod read;
pub mod translate;
pub mod translate_write;

pub mod mirror;
pub mod points;
pub mod relay;

pub mod hooks;
pub mod jobs;
pub mod walk;

pub mod afterwards;
pub mod execute;

pub mod admin;
pub mod context;
pub mod edge;
pub mod error;
pub mod guard;
pub mod isolate;
pub mod metrics;
pub mod observe;
pub mod settings;
mod sql;

pub mod ports;
#[cfg(target_arch = "wasm32")]
pub mod shell;

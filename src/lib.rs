//! Dual-write proxy: carries a live user base from Logto to mgPass.
//!
//! One Worker in front of both. The flow of a request is the order of the modules:
//! [`request`] -> [`classify`] -> [`flags`] -> [`plan`] -> [`execute`] (with
//! [`token`] and [`authenticate`], [`read`] and [`translate`] where a read may go
//! to mgPass) -> [`afterwards`] -> [`observe`]. The slow lane makes mgPass equal to
//! Logto: [`mirror`] decides, [`relay`] delivers.
//!
//! Everything but [`shell`] is pure of the platform: it reaches the outside only
//! through [`ports`]. ARCHITECTURE.md has the map and the reasons.

pub mod request;

pub mod classify;
pub mod flags;
pub mod plan;
pub mod snapshot;

pub mod authenticate;
pub mod token;

pub mod backend;
pub mod read;
pub mod translate;

pub mod mirror;
pub mod relay;

pub mod hooks;
pub mod walk;

pub mod afterwards;
pub mod execute;

pub mod admin;
pub mod context;
pub mod error;
pub mod isolate;
pub mod observe;
pub mod settings;

pub mod ports;
#[cfg(target_arch = "wasm32")]
pub mod shell;

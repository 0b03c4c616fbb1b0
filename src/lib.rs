//! Dual-write proxy: carries a live user base from Logto to mgPass.
//!
//! One Worker in front of both. Each folder uses those above it in this list and none
//! below, which `tests/native/tidy.rs` holds to; ARCHITECTURE.md has the map and the
//! reasons.
//!
//! A request: [`inbound`] says what it means, [`policy`] where it goes, [`serve`] carries
//! it out, with [`auth`] and [`token`] where it matters who asks. The slow lane:
//! [`mirror`] makes mgPass equal to Logto, one user at a time. Whose data wins, and how
//! that changes, is [`handover`]'s. The operator's: [`population`] moves everybody,
//! [`operate`] shows and steers.
//!
//! Everything but [`shell`] is pure of the platform: it reaches the outside only
//! through [`runtime::ports`].

pub mod inbound;
pub mod token;

pub mod policy;

pub mod runtime;

pub mod auth;
pub mod handover;
pub mod mirror;

pub mod population;

pub mod operate;

pub mod serve;

#[cfg(target_arch = "wasm32")]
pub mod shell;

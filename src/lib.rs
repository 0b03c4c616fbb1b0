//! Dual-write proxy: carries a live user base from Logto to mgPass.
//!
//! One Worker in front of both. Each folder uses those above it in this list and none
//! below, which `tests/native/tidy.rs` holds to; ARCHITECTURE.md has the map and the
//! reasons.
//!
//! A request: [`inbound`] says what it means, [`policy`] where it goes, [`serve`] carries
//! it out, with [`auth`] where it matters who asks. The slow lane:
//! [`mirror`] makes mgPass equal to Logto, one user at a time. Whose data wins, and how
//! that changes, is [`handover`]'s. The operator's: [`population`] moves everybody,
//! [`operate`] shows and steers.
//!
//! Everything but [`shell`] is pure of the platform: it reaches the outside only
//! through [`runtime::ports`].

// In the Worker's own build every folder is private, so that the compiler names what
// nothing uses. Elsewhere, tests and `dwp` are crates of their own and use the parts.
#[cfg(target_arch = "wasm32")]
mod inbound;
#[cfg(not(target_arch = "wasm32"))]
pub mod inbound;

#[cfg(target_arch = "wasm32")]
mod policy;
#[cfg(not(target_arch = "wasm32"))]
pub mod policy;

#[cfg(target_arch = "wasm32")]
mod runtime;
#[cfg(not(target_arch = "wasm32"))]
pub mod runtime;

#[cfg(target_arch = "wasm32")]
mod auth;
#[cfg(not(target_arch = "wasm32"))]
pub mod auth;

#[cfg(target_arch = "wasm32")]
mod handover;
#[cfg(not(target_arch = "wasm32"))]
pub mod handover;

#[cfg(target_arch = "wasm32")]
mod mirror;
#[cfg(not(target_arch = "wasm32"))]
pub mod mirror;

#[cfg(target_arch = "wasm32")]
mod population;
#[cfg(not(target_arch = "wasm32"))]
pub mod population;

#[cfg(target_arch = "wasm32")]
mod operate;
#[cfg(not(target_arch = "wasm32"))]
pub mod operate;

#[cfg(target_arch = "wasm32")]
mod serve;
#[cfg(not(target_arch = "wasm32"))]
pub mod serve;

#[cfg(target_arch = "wasm32")]
mod shell;

/// What the benchmark of the verifier calls by itself.
#[cfg(target_arch = "wasm32")]
pub mod benchmark {
    pub use crate::policy::token::{
        Issuer, IssuerNames, KeySet, Policy, Refusal, Skew, UnixSeconds, Validity, VerifiedTokens,
        parse,
    };
    pub use crate::shell::crypto;
}

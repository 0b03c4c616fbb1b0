//! Small cases whose every interleaving is searched, with the very decisions of the Worker:
//! `plan`, `judge`, `due`, `way`, `decide`, the lease. Each says what holds in every state;
//! each rule that this rests on is then taken away alone, and the search must find how it
//! goes wrong.
//!
//! `cargo test --test model -- --nocapture` shows the cases; `MODEL=deep` searches larger
//! ones (`npm run model`).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on fails"
)]

mod back;
mod flags;
mod leases;
mod moves;
mod reads;
mod search;

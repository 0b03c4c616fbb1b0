//! The mirror: make mgPass equal to Logto for one subject.
//!
//! A write is never replayed from its request. `outbox` records who changes;
//! `reconcile` decides, from Logto's state and mgPass's rows, what one guarded
//! batch must do; `target` is that batch in SQL. The flow is in `relay`.

pub mod backlog;
pub mod backoff;
pub mod base;
pub mod differences;
pub mod edits;
pub mod fence;
pub mod findings;
pub mod mapping;
pub mod members;
pub mod merge;
pub mod outbox;
pub mod page;
pub mod pass;
pub mod preflight;
pub mod readiness;
pub mod reconcile;
pub mod residue;
pub mod target;
pub mod triggers;
pub mod wake;
pub mod writer;

//! Make mgPass equal to Logto, one user at a time.
//!
//! A write is never replayed from its request. `outbox` records who changes;
//! `reconcile` decides, from Logto's state and mgPass's rows, what one guarded
//! batch must do; `target` is that batch in SQL. The flow is in `relay`.

pub mod backlog;
pub mod backoff;
pub mod eligibility;
pub mod mapping;
pub mod outbox;
pub mod preflight;
pub mod reconcile;
pub mod relay;
pub mod residue;
pub mod target;
pub mod triggers;
pub mod walk;
pub mod webhook;

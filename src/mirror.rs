//! Make mgPass equal to Logto, one user at a time.
//!
//! A write is never replayed from its request. `outbox` records who changes;
//! `reconcile` decides, from Logto's state and mgPass's rows, what one guarded
//! batch must do; `target` is that batch in SQL. The flow is in `relay`.

pub mod backlog;
pub mod backoff;
pub mod base;
pub mod differences;
pub mod edits;
pub mod eligibility;
pub mod fence;
pub mod findings;
pub mod intent;
pub mod listing;
pub mod mapping;
pub mod merge;
pub mod mgpass_webhook;
pub mod outbox;
pub mod owed;
pub mod pass;
pub mod passwords;
pub mod preflight;
pub mod receipts;
pub mod reconcile;
pub mod relay;
pub mod residue;
pub mod reverse;
pub mod rows;
pub mod states;
pub mod target;
pub mod telling;
pub mod triggers;
pub mod view;
pub mod wake;
pub mod waking;
pub mod walk;
pub mod webhook;
pub mod writer;

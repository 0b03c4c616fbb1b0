//! Whose data wins: what it is, and how the row is read.

pub use crate::policy::authority::{Holder, Lease, Side, View};
pub use crate::runtime::authority::{parse_view, view};

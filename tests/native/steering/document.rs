//! The status is the document that docs/status.md describes, and it says what is wrong.

use super::*;

//! Lists of people, and orders about one of them.

use super::super::support::{Fault, Port};
use super::*;

const ALICE: &str = "alice0000001";

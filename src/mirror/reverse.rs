//! The mirror with its sides swapped: what Logto is sent while mgPass is the authority.
//!
//! `decide` is pure: three ways, field by field. `rows` is what it goes by and what it
//! leaves, as SQL. `relay::back` carries it out, under the same lease and from the same
//! sequence of tickets as the way to mgPass. `feed` reads mgPass's audit log, a help;
//! `walk` compares everybody, the base.

pub mod decide;
pub mod feed;
pub mod password;
pub mod rows;
pub mod walk;

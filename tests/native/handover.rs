//! The authority's moves over the fakes: each step, each fault, two at once.

mod fences;
mod generations;
mod interactions;
mod moves;
mod operator;
mod requests;
mod returns;
pub(crate) mod watched;

//! The world outside the core, in memory and on virtual time.

pub mod client;
pub mod database;
pub mod executor;
pub mod faults;
pub mod handover;
pub mod hosted;
pub mod introspection;
pub mod logto;
pub mod mgpass;
pub mod node;
pub mod tokens;
pub mod user;
pub mod webhooks;
pub mod world;

pub use client::{Body, Request};
pub use faults::{Fault, Port};
pub use node::Node;
pub use world::World;

//! Who is asking, and what others may be told about that.

pub mod authenticate;
pub mod client;
pub mod forward_auth;
pub mod introspection;
pub mod pin;

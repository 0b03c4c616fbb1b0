//! What a request means, from its method, target and headers alone.

pub mod classify;
pub mod request;

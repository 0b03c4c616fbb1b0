//! The import of Logto's signing keys, apart from the command, for what feeds it
//! anything at all.

pub mod key_import;

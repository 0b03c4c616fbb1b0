//! What a request about a user becomes once mgPass is the authority: the one seam.
//!
//! Nothing of it is forwarded, whatever was predicted of it.

use super::Executed;
use crate::runtime::context::Request;
use crate::runtime::error::ProxyError;
use crate::serve::authority::Kept;

impl Request<'_> {
    /// It must not reach Logto.
    pub(super) fn kept<C>(&self, kept: Kept) -> Executed<C> {
        match kept {
            Kept::Refused(error) => self.failed(error),
            // Neither translated writes nor reads of mgPass's rows are built.
            Kept::AtMgpass => self.failed(ProxyError::NotTranslatedYet),
        }
    }
}

//! `GET /api/users/:id/identities/:target`: the identity in a member of its own.
//! Beside it the real server may put a token secret, which it does only when asked
//! by a query; such a request stays on Logto.

use super::view::View;
use super::{LogtoRefusal, Shown};
use crate::runtime::members::{Members, ObjectWriter};

pub fn show(view: &View<'_>, target: Option<&str>) -> Shown {
    let identities = view
        .shown("identities")
        .and_then(|text| Members::parse(&text));
    let identity = identities
        .as_ref()
        .and_then(|identities| identities.get(target?));
    match identity {
        None => Shown::Refusal(LogtoRefusal::IdentityNotExist),
        Some(identity) => {
            let mut writer = ObjectWriter::default();
            writer.member("identity", identity);
            Shown::Body(writer.finish())
        }
    }
}

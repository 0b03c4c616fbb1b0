//! A read answered by mgPass, in Logto's form.
//!
//! Asked only after `mirror::eligibility` found the user equal. On any failure the
//! caller falls back to Logto, once, within the request.

use std::pin::pin;

use futures_util::future::{Either, join, select};

use crate::inbound::classify::Operation;
use crate::inbound::request::UserId;
use crate::mirror::target::MirrorRow;
use crate::runtime::backend::BackendFailure;
use crate::runtime::backend::mgpass::{self, ApiIdentity, ApiUser, Caller, Found};
use crate::runtime::context::Context;
use crate::runtime::ports::{Backend, CallFailure, Platform};
use crate::serve::translate::view::View;
use crate::serve::translate::{LogtoRefusal, Shown, Translation, translation};

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    pub operation: Operation,
    pub user: &'a UserId,
    /// The last parameter of the path, where the route has one.
    pub item: Option<&'a str>,
}

/// Why mgPass's answer could not be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unserved {
    Backend(BackendFailure),
    /// The mirror says the user is there, mgPass's API says not.
    Missing,
    /// An error whose text the client wants in another language than English.
    NotEnglish,
}

impl Unserved {
    pub fn code(self) -> &'static str {
        match self {
            Self::Backend(failure) => failure.code(),
            Self::Missing => "missing",
            Self::NotEnglish => "not_english",
        }
    }

    pub fn blames_mgpass(self) -> bool {
        match self {
            Self::Backend(_) | Self::Missing => true,
            Self::NotEnglish => false,
        }
    }
}

/// mgPass's answer to `wanted`, in Logto's form.
///
/// # Errors
/// When the answer must come from elsewhere.
pub async fn shown<P: Platform>(
    platform: &P,
    context: &Context<'_>,
    caller: &Caller,
    wanted: Wanted<'_>,
    mirror: Option<&MirrorRow>,
) -> Result<Shown, Unserved> {
    let Some(translation) = translation(wanted.operation) else {
        return Err(Unserved::Missing);
    };
    // The deadline is of the whole, a fetch of the proxy's own token included.
    let asked = pin!(ask(platform, context, caller, wanted.user, translation));
    let deadline = pin!(platform.sleep(context.settings.mgpass_deadline_ms));
    let (user, identities) = match select(asked, deadline).await {
        Either::Left((Ok(Found::Yes(found)), _)) => found,
        Either::Left((Ok(Found::NotAllowed(status)), _)) => {
            return Ok(Shown::Refusal(LogtoRefusal::of_status(status)));
        }
        Either::Left((Ok(Found::No), _)) => {
            return match caller {
                Caller::Proxy => Err(Unserved::Missing),
                Caller::Client(_) => Ok(Shown::Refusal(LogtoRefusal::EntityNotFound)),
            };
        }
        Either::Left((Err(failure), _)) => return Err(Unserved::Backend(failure)),
        Either::Right(_) => {
            let failure = BackendFailure::Down(Backend::Mgpass, CallFailure::TimedOut.code());
            return Err(Unserved::Backend(failure));
        }
    };
    let residue = mirror.and_then(MirrorRow::residue);
    let view = View {
        user: &user,
        identities: &identities,
        residue: residue.as_ref(),
        settings: &context.settings.mapping,
    };
    Ok((translation.show)(&view, wanted.item))
}

async fn ask<P: Platform>(
    platform: &P,
    context: &Context<'_>,
    caller: &Caller,
    user: &UserId,
    translation: Translation,
) -> Result<Found<(ApiUser, Vec<ApiIdentity>)>, BackendFailure> {
    let deadline_ms = context.settings.mgpass_deadline_ms;
    let found = mgpass::user(platform, context, caller, user, deadline_ms);
    if !translation.needs_identities {
        return Ok(match found.await? {
            Found::Yes(user) if user.is_deleted => Found::No,
            Found::Yes(user) => Found::Yes((user, Vec::new())),
            Found::No => Found::No,
            Found::NotAllowed(status) => Found::NotAllowed(status),
        });
    }
    let identities = mgpass::identities(platform, context, caller, user, deadline_ms);
    let (user, identities) = join(found, identities).await;
    Ok(match (user?, identities?) {
        (Found::Yes(user), Found::Yes(identities)) if !user.is_deleted => {
            Found::Yes((user, identities))
        }
        (Found::NotAllowed(status), _) | (_, Found::NotAllowed(status)) => {
            Found::NotAllowed(status)
        }
        _ => Found::No,
    })
}

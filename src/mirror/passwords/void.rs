//! No old password stays alive at mgPass: it gets a random one, and the sessions end.

use super::place;
use super::row::{Due, Why, Writer, due, frees, is_done};
use crate::handover::authority::Side;
use crate::mirror::outbox::Lease;
use crate::mirror::reverse::password;
use crate::runtime::backend::mgpass::{self, PasswordAnswer};
use crate::runtime::backend::{BackendFailure, Unsure, logto};
use crate::runtime::context::Context;
use crate::runtime::observe::Event;
use crate::runtime::ports::{DatabaseFailure, Platform, Store};

/// Whether anything was voided, so that the user's sessions end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Voided {
    Nothing,
    Password,
}

/// Of what a lease covers, before it is discharged.
///
/// # Errors
/// When mgPass may still have an old password: nothing is discharged.
pub async fn before_discharge<P: Platform>(
    platform: &P,
    context: &Context<'_>,
    lease: &Lease,
) -> Result<Voided, &'static str> {
    let why = match due(lease) {
        Due::Void(why) => why,
        Due::Look => {
            let found = logto::sign_in_ways(platform, context, &lease.subject).await;
            match found.map_err(BackendFailure::code)?.is_plain() {
                true => return Ok(Voided::Nothing),
                false => Why::NotReady,
            }
        }
        Due::Nothing => {
            if frees(lease) {
                let free = Writer { lease }.free();
                let freed = platform.batch(Store::Proxy, vec![free]).await;
                freed.map_err(DatabaseFailure::code)?;
            }
            return Ok(Voided::Nothing);
        }
    };
    void(platform, context, lease, why).await
}

/// # Errors
/// When it is owed still, which the row says.
pub async fn void<P: Platform>(
    platform: &P,
    context: &Context<'_>,
    lease: &Lease,
    why: Why,
) -> Result<Voided, &'static str> {
    let ended = end(platform, context, lease, why).await;
    let subject = context.subject_hash(&lease.subject);
    let outcome = match ended {
        Ok(Voided::Nothing) => return ended,
        Ok(Voided::Password) => "voided",
        Err(code) => code,
    };
    platform.emit(&Event::PasswordVoided {
        subject: subject.as_deref(),
        reason: why.code(),
        outcome,
    });
    ended
}

async fn end<P: Platform>(
    platform: &P,
    context: &Context<'_>,
    lease: &Lease,
    why: Why,
) -> Result<Voided, &'static str> {
    let row = Writer { lease };
    let begun = platform.batch(Store::Proxy, vec![row.void(why)]).await;
    if !is_done(&begun.map_err(DatabaseFailure::code)?) {
        // Somebody else's turn has ended it.
        return Ok(Voided::Nothing);
    }
    // Once mgPass is the authority its users may have set another one by themselves.
    if lease.source() == Side::Mgpass && !is_ours(platform, context, lease).await? {
        let ended = platform.batch(Store::Proxy, row.voided()).await;
        ended.map_err(DatabaseFailure::code)?;
        return Ok(Voided::Nothing);
    }
    let announced = platform
        .batch(Store::Mgpass, vec![place::announce(lease)])
        .await;
    if !is_done(&announced.map_err(DatabaseFailure::code)?) {
        return Err("authority_moved");
    }
    let password = password::random(platform);
    match mgpass::set_password(platform, context, &lease.subject, &password).await {
        Ok(PasswordAnswer::Set | PasswordAnswer::NoUser) => {}
        // A rule that takes no random password: a person must look.
        Ok(PasswordAnswer::Refused) => return Err("random_password_refused"),
        Err(Unsure::NotDone(failure)) => return Err(failure.code()),
        Err(Unsure::Unknown(failure)) => {
            let _ = platform.batch(Store::Proxy, vec![row.void_unsure()]).await;
            return Err(failure.code());
        }
    }
    let hash = platform
        .batch(Store::Mgpass, vec![place::hash(&lease.subject)])
        .await
        .map_err(DatabaseFailure::code)?;
    let mark = place::mark(&hash, context.subject_key);
    let noted = platform
        .batch(Store::Mgpass, place::voided(lease, mark))
        .await;
    noted.map_err(DatabaseFailure::code)?;
    let ended = platform.batch(Store::Proxy, row.voided()).await;
    ended.map_err(DatabaseFailure::code)?;
    Ok(Voided::Password)
}

/// mgPass has the password still that the proxy left there last.
async fn is_ours<P: Platform>(
    platform: &P,
    context: &Context<'_>,
    lease: &Lease,
) -> Result<bool, &'static str> {
    let asked = vec![place::standing(&lease.subject)];
    let results = platform.batch(Store::Mgpass, asked).await;
    let results = results.map_err(DatabaseFailure::code)?;
    Ok(place::is_ours(&results, context.subject_key))
}

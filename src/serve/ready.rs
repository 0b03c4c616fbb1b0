//! Who can sign in at mgPass: judged behind each sign-in at Logto, and marked in the
//! browser at the next.
//!
//! A ready user has a social account that mgPass knows or a carried password, and neither a second factor nor a
//! passkey nor a company sign-in at Logto, none of which mgPass can take over. Unknown
//! counts as not ready. The mark is a convenience and protects nothing: it keeps those who
//! would get stuck at mgPass away from it, and those who would leave a factor behind there
//! at Logto after the cutover, too.
//!
//! The mark costs the answer to a sign-in one question of the database within
//! [`LOOK_UP_MS`], and that only while sign-ins move. It goes by its path to the sign-in
//! link alone.

use std::pin::pin;

use futures_util::future::{Either, select};

use crate::auth::pin::{self, Kind};
use crate::inbound::classify::Operation;
use crate::inbound::request::UserId;
use crate::policy::flags::Share;
use crate::policy::plan::Reason;
use crate::runtime::backend::logto::{self, LeftBehind};
use crate::runtime::context::{Context, Request};
use crate::runtime::observe::Event;
use crate::runtime::ports::{Exchange, Platform, Statement, Store};
use crate::runtime::sql::{integer, text};
use crate::serve::execute::{Executed, Reply};
use crate::serve::follow_up::FollowUp;

const LOOK_UP_MS: u32 = 200;

const FIND: &str = "SELECT verdict FROM sign_in_ready WHERE user_id = ?1";
const KEEP: &str = "INSERT INTO sign_in_ready (user_id, verdict, judged_at) \
     VALUES (?1, ?2, CAST(unixepoch('subsec') * 1000 AS INTEGER)) ON CONFLICT (user_id) \
     DO UPDATE SET verdict = excluded.verdict, judged_at = excluded.judged_at";
const SOCIAL: &str = "SELECT 1 AS has_social FROM social_identities s JOIN users u ON u.id = s.user_id \
     WHERE s.user_id = ?1 AND u.deleted_at IS NULL AND u.is_suspended = 0 LIMIT 1";
/// And whether a person lets the user go by name, whatever is left behind at Logto.
const CARRIED: &str = "SELECT EXISTS (SELECT 1 FROM passwords WHERE subject = ?1 AND state = 'carried') AS is_carried, \
     EXISTS (SELECT 1 FROM waivers WHERE term = (SELECT term FROM authority) AND gate = 'factors' AND name = ?1) AS is_waived";

/// Every string above, for the test that prepares each one against the schema.
#[cfg(not(target_arch = "wasm32"))]
pub const ALL_SQL: &[&str] = &[FIND, KEEP, CARRIED];
#[cfg(not(target_arch = "wasm32"))]
pub const MGPASS_SQL: &[&str] = &[SOCIAL];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Ready,
    NoRoad,
    SecondFactor,
    EnterpriseSso,
}

/// Of somebody who signs in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Known {
    As(Verdict),
    NotJudged,
    /// Nobody can tell who that is, or the database gave no answer in time.
    Unsaid,
}

impl Verdict {
    /// What mgPass cannot take over comes first: with a road beside it, it would be one
    /// around the second factor.
    fn of(left_behind: &LeftBehind, has_road: bool) -> Self {
        if !left_behind.factors.is_empty() {
            Self::SecondFactor
        } else if !left_behind.sso.is_empty() {
            Self::EnterpriseSso
        } else if has_road {
            Self::Ready
        } else {
            Self::NoRoad
        }
    }

    fn by_code(code: &str) -> Option<Self> {
        [
            Self::Ready,
            Self::NoRoad,
            Self::SecondFactor,
            Self::EnterpriseSso,
        ]
        .into_iter()
        .find(|verdict| verdict.code() == code)
    }

    fn code(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::NoRoad => "no_road",
            Self::SecondFactor => "second_factor",
            Self::EnterpriseSso => "enterprise_sso",
        }
    }
}

/// Somebody has just signed in at Logto: the browser gets the mark, or loses it. Answers
/// whom to judge behind the answer.
pub async fn mark<P: Platform, E: Exchange>(
    platform: &P,
    request: &Request<'_>,
    exchange: &mut E,
    executed: &Executed<E::Copy>,
) -> Option<UserId> {
    let flags = &request.flags;
    let secret = request.settings.pin_secret.as_ref()?;
    let is_sign_in = matches!(
        request.inbound.operation,
        Operation::ExperienceSubmit | Operation::InteractionSubmit
    ) && executed.reply == Reply::Forwarded
        && (200..300).contains(&executed.status);
    let is_moving = !flags.applications.is_empty() && flags.sign_in_percent > Share::NONE;
    if !is_sign_in || !is_moving {
        return None;
    }
    let user = match &executed.follow_up {
        Some(FollowUp::Settle { intent, .. }) => intent.subject.clone(),
        _ => executed.signs_in.clone(),
    };
    let known = match &user {
        Some(user) => known(platform, user).await,
        None => Known::Unsaid,
    };
    let now_s = platform.now_ms().div_euclid(1_000);
    let line = match known {
        Known::As(Verdict::Ready) => pin::ready_cookie(secret, now_s),
        Known::As(Verdict::SecondFactor | Verdict::EnterpriseSso) => {
            pin::stays_cookie(secret, now_s)
        }
        // From draining on it is the mark that keeps somebody at Logto, not its absence.
        Known::Unsaid if executed.plan.reason == Reason::SignIn => return user,
        Known::As(Verdict::NoRoad) | Known::NotJudged | Known::Unsaid => {
            pin::no_cookie(Kind::Ready)
        }
    };
    exchange.add_answer_cookie(&line);
    user
}

async fn known<P: Platform>(platform: &P, user: &UserId) -> Known {
    let find = Statement::new(FIND, vec![user.as_str().into()]);
    let asked = pin!(platform.batch(Store::Proxy, vec![find]));
    let deadline = pin!(platform.sleep(LOOK_UP_MS));
    match select(asked, deadline).await {
        Either::Left((Ok(results), _)) => {
            let row = results.first().and_then(|rows| rows.first());
            let code = row.and_then(|row| text(row, "verdict"));
            let verdict = code.and_then(|code| Verdict::by_code(&code));
            verdict.map_or(Known::NotJudged, Known::As)
        }
        Either::Left((Err(_), _)) | Either::Right(_) => Known::Unsaid,
    }
}

/// Behind the answer. Harmless twice; what is not found out now leaves what is known.
pub async fn judge<P: Platform>(platform: &P, context: &Context<'_>, user: &UserId) {
    if let Err((step, code)) = keep(platform, context, user).await {
        platform.emit(&Event::SignInDelayed { step, code });
    }
}

async fn keep<P: Platform>(
    platform: &P,
    context: &Context<'_>,
    user: &UserId,
) -> Result<(), (&'static str, &'static str)> {
    let left_behind = logto::left_behind(platform, context, user).await;
    let left_behind = left_behind.map_err(|failure| ("factors", failure.code()))?;
    let social = Statement::new(SOCIAL, vec![user.as_str().into()]);
    let results = platform.batch(Store::Mgpass, vec![social]).await;
    let results = results.map_err(|failure| ("social", failure.code()))?;
    let row = results.first().and_then(|rows| rows.first());
    let has_social = row.is_some_and(|row| integer(row, "has_social") == Some(1));
    let carried = Statement::new(CARRIED, vec![user.as_str().into()]);
    let results = platform.batch(Store::Proxy, vec![carried]).await;
    let results = results.map_err(|failure| ("password", failure.code()))?;
    let row = results.first().and_then(|rows| rows.first());
    let is = |name: &str| row.is_some_and(|row| integer(row, name) == Some(1));
    let left_behind = match is("is_waived") {
        true => LeftBehind::default(),
        false => left_behind,
    };
    let verdict = Verdict::of(&left_behind, has_social || is("is_carried"));
    let keep = Statement::new(KEEP, vec![user.as_str().into(), verdict.code().into()]);
    let kept = platform.batch(Store::Proxy, vec![keep]).await;
    kept.map_err(|failure| ("verdict", failure.code()))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_mgpass_cannot_take_over_outweighs_a_road() {
        let left = |factors: &[&str], sso: &[&str]| LeftBehind {
            factors: factors.iter().map(|name| (*name).to_owned()).collect(),
            sso: sso.iter().map(|name| (*name).to_owned()).collect(),
        };
        for (left_behind, has_social, verdict) in [
            (left(&[], &[]), true, Verdict::Ready),
            (left(&[], &[]), false, Verdict::NoRoad),
            (left(&["Totp"], &[]), true, Verdict::SecondFactor),
            (left(&["WebAuthn"], &["c1"]), true, Verdict::SecondFactor),
            (left(&[], &["c1"]), true, Verdict::EnterpriseSso),
        ] {
            assert_eq!(Verdict::of(&left_behind, has_social), verdict);
        }
    }
}

//! Requests that hold a password beside Logto's word on it: noticed, and behind the answer
//! handed on to be carried to mgPass.
//!
//! Only where Logto says so in the answer to the same request: a sign-in's check, a check for
//! a later change, a change. What is staged for a later request is not: its password comes
//! with the next sign-in. The answer is sent before anything is done about it, and a refused
//! password is not looked at, so neither tells anybody whether a user is known.

use serde::Deserialize;

use crate::inbound::classify::Operation;
use crate::inbound::request::{Secret, UserId};
use crate::mirror::passwords::carry::{self, Seen};
use crate::mirror::passwords::place::{self, Identifier};
use crate::mirror::passwords::state::Sight;
use crate::runtime::backend::logto;
use crate::runtime::context::{Context, Request};
use crate::runtime::ports::{Exchange, Platform, Store};
use crate::serve::question::Question;

/// Bodies that hold a password are small; Logto's JSON API takes 1 MB.
pub const MAX_BODY_BYTES: usize = 1024 * 1024;

/// Whose password it is.
#[derive(Clone, Debug)]
pub enum Whose {
    Known(UserId),
    /// Of the write that showed it: its intent names them.
    Writes,
    /// By what they signed in. Personal data: it prints redacted, and goes nowhere but to
    /// Logto and into one query.
    Named(Identifier, Secret<String>),
    /// Whose access token it is, says Logto.
    Bears(Question),
}

/// Nothing of it prints.
#[derive(Clone, Debug)]
pub struct Shown {
    pub whose: Whose,
    password: Secret<String>,
    sight: Sight,
    road: &'static str,
}

#[derive(Deserialize)]
struct Body {
    password: Option<String>,
    identifier: Option<Named>,
}

#[derive(Deserialize)]
struct Named {
    #[serde(rename = "type")]
    kind: String,
    value: String,
}

/// Whether that operation, answered so, says of a password that it is right.
fn sight(operation: Operation, status: u16) -> Option<Sight> {
    match (operation, status) {
        (Operation::ExperiencePasswordCheck, 200)
        | (Operation::AccountPasswordCheck, 201)
        | (Operation::UsersPasswordCheck, 204) => Some(Sight::Check),
        (Operation::AccountPassword, 204)
        | (Operation::UsersPassword | Operation::UsersCreate, 200) => Some(Sight::Change),
        (_, _) => None,
    }
}

impl Request<'_> {
    pub fn carries_passwords(&self) -> bool {
        self.settings.carries_passwords() && self.flags.records_writes()
    }

    /// The password that a request has shown, once Logto has answered it.
    pub fn shown_password<E: Exchange>(&self, exchange: &E, status: u16) -> Option<Box<Shown>> {
        if !self.carries_passwords() {
            return None;
        }
        let operation = self.inbound.operation;
        let sight = sight(operation, status)?;
        let body: Body = serde_json::from_str(&exchange.held_text()?).ok()?;
        let whose = match operation {
            Operation::ExperiencePasswordCheck => {
                let named = body.identifier?;
                Whose::Named(Identifier::from_name(&named.kind)?, Secret(named.value))
            }
            Operation::AccountPasswordCheck => {
                let header = exchange.header("authorization")?;
                Whose::Bears(Question::Account(Secret(header)))
            }
            Operation::UsersPasswordCheck => Whose::Known(self.inbound.user.clone()?),
            _ => Whose::Writes,
        };
        Some(Box::new(Shown {
            whose,
            password: Secret(body.password?),
            sight,
            road: operation.name(),
        }))
    }
}

/// `writes`: whose write it was.
pub async fn carry_out<P: Platform>(
    platform: &P,
    context: &Context<'_>,
    shown: Shown,
    writes: Option<&UserId>,
) {
    let found = match &shown.whose {
        Whose::Known(user) => Some(user.clone()),
        Whose::Writes => writes.cloned(),
        Whose::Named(identifier, value) => find(platform, context, *identifier, value).await,
        Whose::Bears(question) => {
            let told = question.ask(platform, context).await;
            told.ok().flatten().and_then(|told| told.user)
        }
    };
    let Some(user) = found else {
        return;
    };
    let seen = Seen {
        user: &user,
        password: &shown.password,
        sight: shown.sight,
        road: shown.road,
    };
    carry::attempt(platform, context, &seen).await;
}

/// Of mgPass's rows, else of Logto. Another user's id would do no harm: Logto is asked
/// whether it is their password.
async fn find<P: Platform>(
    platform: &P,
    context: &Context<'_>,
    identifier: Identifier,
    value: &Secret<String>,
) -> Option<UserId> {
    let asked = vec![place::by(identifier, &value.0)];
    let results = platform.batch(Store::Mgpass, asked).await.ok()?;
    if let Some(user) = place::only(&results) {
        return Some(user);
    }
    let name = match identifier {
        Identifier::Email => "primaryEmail",
        Identifier::Phone => "primaryPhone",
        Identifier::Username => "username",
    };
    let found = logto::find_user(platform, context, name, value).await;
    found.ok().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_logtos_yes_shows_a_password() {
        use Operation as O;
        for (operation, status, expected) in [
            (O::ExperiencePasswordCheck, 200, Some(Sight::Check)),
            (O::ExperiencePasswordCheck, 422, None),
            (O::ExperiencePasswordCheck, 401, None),
            (O::AccountPasswordCheck, 201, Some(Sight::Check)),
            (O::AccountPasswordCheck, 422, None),
            (O::UsersPasswordCheck, 204, Some(Sight::Check)),
            (O::UsersPasswordCheck, 422, None),
            (O::AccountPassword, 204, Some(Sight::Change)),
            (O::AccountPassword, 401, None),
            (O::UsersPassword, 200, Some(Sight::Change)),
            (O::UsersPassword, 500, None),
            (O::UsersCreate, 200, Some(Sight::Change)),
            (O::UsersPatch, 200, None),
            (O::ExperienceSubmit, 200, None),
            (O::ExperienceStaged, 204, None),
        ] {
            assert_eq!(sight(operation, status), expected, "{operation:?} {status}");
        }
    }

    #[test]
    fn nothing_of_it_prints() {
        let shown = Shown {
            whose: Whose::Named(Identifier::Email, Secret("kofi@example.test".to_owned())),
            password: Secret("plain-canary".to_owned()),
            sight: Sight::Check,
            road: "experience.password_check",
        };
        let printed = format!("{shown:?}");
        assert!(
            !printed.contains("canary") && !printed.contains("kofi"),
            "{printed}"
        );
    }
}

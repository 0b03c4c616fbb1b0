//! Values that one user alone may hold. Who holds one is asked of the caller: all of a request's
//! values in one question, judged then in the order in which Logto's route looks.

use super::phone::Phone;
use super::reply::{LogtoError, Reply};
use super::row::Row;
use super::{Facts, Question, Step};
use crate::policy::tenant::Tenant;

#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum UniqueKind {
    Username,
    Email,
    Phone,
    /// An account at this identity target.
    Identity(String),
}

/// In the form in which two values are compared: e-mail addresses without their case, usernames
/// as the tenant says, phone numbers as they are stored.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Unique {
    pub kind: UniqueKind,
    pub value: String,
}

/// A value that a request wants, before it is known to be free.
pub struct Wanted {
    /// More than one: equal in Logto's eyes, and stored in either form.
    forms: Vec<Unique>,
    error: LogtoError,
    /// The database cannot even compare it.
    is_incomparable: bool,
}

impl Wanted {
    fn new(forms: Vec<Unique>, error: LogtoError) -> Self {
        let is_incomparable = forms.iter().any(|form| form.value.contains('\0'));
        Self {
            forms,
            error,
            is_incomparable,
        }
    }

    pub fn username(tenant: &Tenant, username: &str) -> Self {
        let form = Unique::username(tenant, username);
        Self::new(vec![form], LogtoError::UsernameInUse)
    }

    pub fn email(email: &str) -> Self {
        Self::new(vec![Unique::email(email)], LogtoError::EmailInUse)
    }

    pub fn phone(digits: &str) -> Self {
        let forms = match Phone::parse(digits) {
            Some(phone) => vec![
                Unique::phone(&phone.international()),
                Unique::phone(&phone.with_leading_zero()),
            ],
            None => vec![Unique::phone(digits)],
        };
        Self::new(forms, LogtoError::PhoneInUse)
    }

    pub fn identity(target: &str, user_id: &str) -> Self {
        let form = Unique::identity(target, user_id);
        Self::new(vec![form], LogtoError::IdentityInUse)
    }
}

/// # Errors
/// When the holders are not known yet, or when one of the values is held.
pub fn assert_free(facts: &Facts<'_>, wanted: &[Wanted]) -> Result<(), Step> {
    let asked: Vec<Unique> = wanted
        .iter()
        .filter(|wanted| !wanted.is_incomparable)
        .flat_map(|wanted| wanted.forms.iter().cloned())
        .collect();
    let held = match (asked.is_empty(), facts.held_by_others) {
        (true, _) => &[],
        (false, None) => return Err(Step::Ask(Question::Holders(asked))),
        (false, Some(held)) => held,
    };
    for value in wanted {
        if value.is_incomparable {
            return Err(Reply::internal().into());
        }
        if value.forms.iter().any(|form| held.contains(form)) {
            return Err(Reply::error(value.error).into());
        }
    }
    Ok(())
}

impl Unique {
    fn username(tenant: &Tenant, username: &str) -> Self {
        Self {
            kind: UniqueKind::Username,
            value: if tenant.username.case_sensitive {
                username.to_owned()
            } else {
                username.to_lowercase()
            },
        }
    }

    fn email(email: &str) -> Self {
        Self {
            kind: UniqueKind::Email,
            value: email.to_lowercase(),
        }
    }

    fn phone(digits: &str) -> Self {
        Self {
            kind: UniqueKind::Phone,
            value: digits.to_owned(),
        }
    }

    fn identity(target: &str, user_id: &str) -> Self {
        Self {
            kind: UniqueKind::Identity(target.to_owned()),
            value: user_id.to_owned(),
        }
    }

    /// All that a user holds.
    pub fn of(tenant: &Tenant, row: &Row) -> Vec<Self> {
        let text = |name: &str| row.text(name).filter(|text| !text.is_empty());
        let mut held = Vec::new();
        held.extend(text("username").map(|username| Self::username(tenant, username)));
        held.extend(text("primaryEmail").map(Self::email));
        held.extend(text("primaryPhone").map(Self::phone));
        for (target, identity) in row.object("identities").iter() {
            let user_id = identity
                .as_object()
                .and_then(|identity| identity.text("userId"));
            held.extend(user_id.map(|user_id| Self::identity(target, user_id)));
        }
        held
    }
}

//! The Management API on users, route by route, each check where Logto has it.

use super::body::{Body, read};
use super::change::Changes;
use super::json::{Object, Value};
use super::reply::{LogtoError, Reply};
use super::routes::UsersRoute;
use super::row::{Mode, Row};
use super::schema::{Address, Field, parse};
use super::shapes::{
    CONNECTOR, IDENTITY, PASSWORD, SUSPENSION, USERS_CREATE, USERS_CUSTOM_DATA, USERS_PATCH,
    USERS_PROFILE,
};
use super::unique::{Wanted, assert_free};
use super::{After, Applied, Facts, Owed, PathUser, Question, Refusal, Settings, Step, parse_view};
use crate::inbound::request::Secret;

pub(super) fn apply(
    settings: &Settings<'_>,
    route: &UsersRoute,
    user: PathUser<'_>,
    caller: &str,
    body: Body<'_>,
    facts: &Facts<'_>,
) -> Result<Applied, Step> {
    let request = Request {
        settings,
        user,
        facts,
    };
    match route {
        UsersRoute::Create => request.create(&input(USERS_CREATE, body, facts)?),
        UsersRoute::Patch => request.patch(&input(USERS_PATCH, body, facts)?),
        UsersRoute::CustomData => {
            request.merge(&input(USERS_CUSTOM_DATA, body, facts)?, "customData")
        }
        UsersRoute::Profile => request.merge(&input(USERS_PROFILE, body, facts)?, "profile"),
        UsersRoute::Password => request.set_password(&input(PASSWORD, body, facts)?),
        UsersRoute::VerifyPassword => request.verify_password(&input(PASSWORD, body, facts)?),
        UsersRoute::Suspension => request.suspend(&input(SUSPENSION, body, facts)?),
        UsersRoute::Delete => request.delete(caller),
        UsersRoute::PutIdentity { target } => {
            request.put_identity(target, input(IDENTITY, body, facts)?)
        }
        UsersRoute::LinkIdentity => {
            input(CONNECTOR, body, facts)?;
            // Whether connector or user is missing, Logto looks for both at once.
            Err(Refusal::NeedsConnector.into())
        }
        UsersRoute::DropIdentity { target } => request.drop_identity(target),
    }
}

/// The body's known members.
///
/// # Errors
/// When the body is none that Logto takes, or none of which that can be said.
pub(super) fn input(
    shape: &'static [Field],
    body: Body<'_>,
    facts: &Facts<'_>,
) -> Result<Object, Step> {
    let body = read(body)?;
    let takes_avatar = shape.iter().any(|field| field.name == "avatar");
    let avatar = body
        .as_object()
        .and_then(|body| body.text("avatar"))
        .filter(|avatar| takes_avatar && !avatar.is_empty());
    let address = match (avatar, facts.is_address) {
        (None, _) | (Some(_), Some(false)) => Address::Invalid,
        (Some(_), Some(true)) => Address::Valid,
        (Some(avatar), None) => return Err(Step::Ask(Question::IsAddress(avatar.to_owned()))),
    };
    parse(shape, &body, address).map_err(|issues| Reply::invalid(&issues).into())
}

pub(super) fn password_of(input: &Object) -> Option<Secret<String>> {
    let password = input.text("password").filter(|text| !text.is_empty())?;
    Some(Secret(password.to_owned()))
}

/// Names that every JavaScript object has by its prototype, and Logto takes for an identity's.
pub(super) fn is_prototype_name(target: &str) -> bool {
    matches!(
        target,
        "constructor"
            | "__defineGetter__"
            | "__defineSetter__"
            | "hasOwnProperty"
            | "__lookupGetter__"
            | "__lookupSetter__"
            | "isPrototypeOf"
            | "propertyIsEnumerable"
            | "toString"
            | "valueOf"
            | "__proto__"
            | "toLocaleString"
    )
}

struct Request<'a> {
    settings: &'a Settings<'a>,
    user: PathUser<'a>,
    facts: &'a Facts<'a>,
}

impl Request<'_> {
    fn row(&self) -> Result<Row, Step> {
        match self.user {
            PathUser::Known { view, .. } => parse_view(view),
            PathUser::Nobody | PathUser::Missing { .. } => {
                Err(Reply::error(LogtoError::NotFound).into())
            }
        }
    }

    /// `reply` is made of the row as it is then.
    fn changed(
        &self,
        before: &Row,
        after: &Row,
        reply: impl FnOnce(&Row) -> Reply,
    ) -> Result<Applied, Step> {
        Ok(Applied {
            reply: reply(after),
            after: After::Changed(after.to_json()),
            changes: Changes::between(self.settings, Some(before), Some(after))?,
            owed: Owed::default(),
        })
    }

    fn create(&self, input: &Object) -> Result<Applied, Step> {
        let text = |name: &str| input.text(name).filter(|text| !text.is_empty());
        let (digest, algorithm) = (text("passwordDigest"), input.text("passwordAlgorithm"));
        let password = password_of(input);
        if password.is_some() && digest.is_some() {
            return Err(Reply::error(LogtoError::PasswordAndDigest).into());
        }
        if digest.is_some() && algorithm.is_none() {
            return Err(Reply::error(LogtoError::PasswordAlgorithmRequired).into());
        }
        let tenant = self.settings.tenant;
        let mut wanted = Vec::new();
        wanted.extend(text("username").map(|username| Wanted::username(tenant, username)));
        wanted.extend(text("primaryEmail").map(Wanted::email));
        wanted.extend(text("primaryPhone").map(Wanted::phone));
        assert_free(self.facts, &wanted)?;
        if algorithm == Some("Legacy") && digest.is_none() {
            return Err(Reply::error(LogtoError::UnsupportedEncryptionMethod).into());
        }
        // How the digest reads is looked at first, which nothing but Logto's own runtime can.
        if algorithm == Some("Legacy") {
            return Err(Refusal::PasswordDigest.into());
        }
        let mut set = input.clone();
        for name in ["password", "passwordDigest", "passwordAlgorithm"] {
            set.remove(name);
        }
        // Nothing that Logto would refuse must cost a reservation.
        self.filled(Row::default(), &set, password.is_some())?;
        if digest.is_some() {
            return Err(Refusal::PasswordDigest.into());
        }
        let Some(reserved) = self.facts.reserved else {
            return Err(Step::Ask(Question::Reservation));
        };
        let row = self.filled(parse_view(reserved)?, &set, password.is_some())?;
        Ok(Applied {
            reply: Reply::json(200, row.to_json()),
            after: After::Created(row.to_json()),
            changes: Changes::between(self.settings, None, Some(&row))?,
            owed: Owed {
                password,
                ..Owed::default()
            },
        })
    }

    /// A new user of the body's members.
    fn filled(&self, mut row: Row, set: &Object, has_password: bool) -> Result<Row, Step> {
        // Without the reservation's own mark.
        row.put("customData", Value::Object(Object::default()));
        row.put("hasPassword", Value::Bool(has_password));
        if !set.is_empty() {
            row.store(set, Mode::Replace, self.settings.now_ms)?;
        }
        // Of a row that was just inserted both times are one.
        let created_at = row.get("createdAt").cloned();
        row.put("updatedAt", created_at.unwrap_or(Value::Null));
        Ok(row)
    }

    fn patch(&self, input: &Object) -> Result<Applied, Step> {
        let before = self.row()?;
        let text = |name: &str| input.text(name).filter(|text| !text.is_empty());
        let mut wanted = Vec::new();
        wanted.extend(text("primaryEmail").map(Wanted::email));
        wanted.extend(text("primaryPhone").map(Wanted::phone));
        let tenant = self.settings.tenant;
        wanted.extend(text("username").map(|username| Wanted::username(tenant, username)));
        assert_free(self.facts, &wanted)?;
        let mut after = before.clone();
        after.store(input, Mode::Replace, self.settings.now_ms)?;
        self.changed(&before, &after, whole_user)
    }

    /// One level deep; the answer is the merged object alone.
    fn merge(&self, input: &Object, name: &str) -> Result<Applied, Step> {
        let before = self.row()?;
        let mut after = before.clone();
        after.store(input, Mode::Merge, self.settings.now_ms)?;
        self.changed(&before, &after, |row| member(row, name, 200))
    }

    fn set_password(&self, input: &Object) -> Result<Applied, Step> {
        let before = self.row()?;
        let mut after = before.clone();
        after.put("hasPassword", Value::Bool(true));
        after.touch(self.settings.now_ms);
        let mut applied = self.changed(&before, &after, whole_user)?;
        applied.owed.password = password_of(input);
        Ok(applied)
    }

    fn verify_password(&self, input: &Object) -> Result<Applied, Step> {
        let row = self.row()?;
        let is_right = match (row.has_password(), self.facts.password_is_right) {
            (false, _) => false,
            (true, Some(is_right)) => is_right,
            (true, None) => {
                let password = Secret(input.text("password").unwrap_or_default().to_owned());
                return Err(Step::Ask(Question::PasswordIsRight(password)));
            }
        };
        Err(if is_right {
            Reply::NO_CONTENT.into()
        } else {
            Reply::error(LogtoError::InvalidCredentials).into()
        })
    }

    fn suspend(&self, input: &Object) -> Result<Applied, Step> {
        let before = self.row()?;
        let mut after = before.clone();
        after.store(input, Mode::Replace, self.settings.now_ms)?;
        let mut applied = self.changed(&before, &after, whole_user)?;
        // Also of who is suspended already: Logto ends what began meanwhile.
        applied.owed.revoke_all = input.get("isSuspended") == Some(&Value::Bool(true));
        Ok(applied)
    }

    fn delete(&self, caller: &str) -> Result<Applied, Step> {
        match self.user {
            PathUser::Missing { id } | PathUser::Known { id, .. } if id == caller => {
                return Err(Reply::error(LogtoError::CannotDeleteSelf).into());
            }
            PathUser::Nobody | PathUser::Missing { .. } | PathUser::Known { .. } => {}
        }
        let before = self.row()?;
        Ok(Applied {
            reply: Reply::NO_CONTENT,
            after: After::Deleted,
            changes: Changes::between(self.settings, Some(&before), None)?,
            owed: Owed {
                revoke_all: true,
                password: None,
            },
        })
    }

    fn put_identity(&self, target: &str, identity: Object) -> Result<Applied, Step> {
        let before = self.row()?;
        // Logto writes the target into a statement as it stands; and one name it loses.
        if target.contains(['\'', '"', '\\', '\0']) || target == "__proto__" {
            return Err(Refusal::IdentityTarget.into());
        }
        let user_id = identity.text("userId").unwrap_or_default();
        assert_free(self.facts, &[Wanted::identity(target, user_id)])?;
        let is_new = before.object("identities").get(target).is_none();
        let status = if is_new && !is_prototype_name(target) {
            201
        } else {
            200
        };
        let mut set = Object::default();
        let mut added = Object::default();
        added.set(target, Value::Object(identity));
        set.set("identities", Value::Object(added));
        let mut after = before.clone();
        after.store(&set, Mode::Merge, self.settings.now_ms)?;
        self.changed(&before, &after, |row| member(row, "identities", status))
    }

    fn drop_identity(&self, target: &str) -> Result<Applied, Step> {
        let before = self.row()?;
        let mut identities = before.object("identities");
        if identities.get(target).is_none() {
            return Err(Reply::error(LogtoError::IdentityNotExist).into());
        }
        identities.remove(target);
        let mut after = before.clone();
        after.put("identities", Value::Object(identities));
        after.touch(self.settings.now_ms);
        self.changed(&before, &after, whole_user)
    }
}

fn whole_user(row: &Row) -> Reply {
    Reply::json(200, row.to_json())
}

fn member(row: &Row, name: &str, status: u16) -> Reply {
    Reply::json(status, row.object(name).to_json())
}

//! The Account API, route by route, each check where Logto has it.
//!
//! Who the caller is, which scopes the token has and whether a verification record holds is known to
//! Logto alone; harmless reads under the caller's own headers tell of it (`AccountCaller`). What a
//! record says of a *new* address or account no read tells: such writes are refused where Logto would
//! look at it, and what Logto would say before that is said.

use super::body::Body;
use super::change::Changes;
use super::json::{Object, Value};
use super::management::{input, is_prototype_name, password_of};
use super::policy::{password_issues, username_violation};
use super::reply::{LogtoError, Reply};
use super::routes::AccountRoute;
use super::row::{Mode, Row};
use super::shapes::{
    ACCOUNT_EMAIL, ACCOUNT_IDENTITY, ACCOUNT_PATCH, ACCOUNT_PHONE, PASSWORD, PROFILE,
};
use super::unique::{Wanted, assert_free};
use super::{After, Applied, Facts, Owed, Question, Refusal, Settings, Step, parse_view};
use crate::inbound::request::Secret;
use crate::policy::tenant::{Control, Fields};

#[derive(Clone, Copy, Debug)]
pub struct AccountCaller<'a> {
    /// Logto's answer to `GET /api/my-account` under the caller's own headers: which members it
    /// shows tells of the token's scopes.
    pub shown: &'a str,
    pub proof: Proof,
}

/// Whether `logto-verification-id` names a record that holds for this user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    Holds,
    /// Also when the request names none.
    Fails,
    /// Could not be asked. `GET /api/my-account/sessions` with the same headers tells: it is refused
    /// with `verification_record.permission_denied` exactly when the record does not hold.
    Unknown,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Scope {
    Granted,
    Missing,
    Unknown,
}

pub(super) fn apply(
    settings: &Settings<'_>,
    route: &AccountRoute,
    user: &str,
    caller: AccountCaller<'_>,
    body: Body<'_>,
    facts: &Facts<'_>,
) -> Result<Applied, Step> {
    let before = parse_view(user)?;
    let request = Request {
        settings,
        facts,
        shown: parse_view(caller.shown)?,
        proof: caller.proof,
        before,
    };
    match route {
        AccountRoute::Patch => request.patch(&input(ACCOUNT_PATCH, body, facts)?),
        AccountRoute::Profile => request.profile(input(PROFILE, body, facts)?),
        AccountRoute::Password => request.password(&input(PASSWORD, body, facts)?),
        AccountRoute::SetEmail => {
            input(ACCOUNT_EMAIL, body, facts)?;
            request.set_address(Address::Email)
        }
        AccountRoute::SetPhone => {
            input(ACCOUNT_PHONE, body, facts)?;
            request.set_address(Address::Phone)
        }
        AccountRoute::DropEmail => request.drop_address(Address::Email),
        AccountRoute::DropPhone => request.drop_address(Address::Phone),
        AccountRoute::LinkIdentity => {
            input(ACCOUNT_IDENTITY, body, facts)?;
            request.link_identity()
        }
        AccountRoute::DropIdentity { target } => request.drop_identity(target),
    }
}

#[derive(Clone, Copy)]
enum Address {
    Email,
    Phone,
}

impl Address {
    fn column(self) -> &'static str {
        match self {
            Self::Email => "primaryEmail",
            Self::Phone => "primaryPhone",
        }
    }

    fn control(self, fields: &Fields) -> Control {
        match self {
            Self::Email => fields.email,
            Self::Phone => fields.phone,
        }
    }
}

struct Request<'a> {
    settings: &'a Settings<'a>,
    facts: &'a Facts<'a>,
    shown: Row,
    proof: Proof,
    before: Row,
}

impl Request<'_> {
    fn fields(&self) -> &Fields {
        &self.settings.tenant.fields
    }

    fn assert_proof(&self) -> Result<(), Step> {
        match self.proof {
            Proof::Holds => Ok(()),
            Proof::Fails => Err(Reply::error(LogtoError::ProofDenied).into()),
            Proof::Unknown => Err(Refusal::ProofUnknown.into()),
        }
    }

    /// Who has no way to prove anything need not.
    fn assert_proof_if_any(&self) -> Result<(), Step> {
        if can_prove(&self.before) {
            self.assert_proof()
        } else {
            Ok(())
        }
    }

    /// Shown with the scope alone, whatever the fields.
    fn has_profile_scope(&self) -> bool {
        self.shown.get("createdAt").is_some()
    }

    /// Of a member whose field is readable.
    fn assert_shown(&self, member: &str, missing: LogtoError) -> Result<(), Step> {
        match self.shown.get(member) {
            Some(_) => Ok(()),
            None => Err(Reply::error(missing).into()),
        }
    }

    fn assert_profile_scope(&self) -> Result<(), Step> {
        if self.has_profile_scope() {
            Ok(())
        } else {
            Err(Reply::error(LogtoError::ScopeMissing).into())
        }
    }

    fn address_scope(&self) -> Scope {
        address_scope(&self.shown, &self.before)
    }

    fn applied(&self, after: &Row, reply: Reply) -> Result<Applied, Step> {
        Ok(Applied {
            reply,
            after: After::Changed(after.to_json()),
            changes: Changes::between(self.settings, Some(&self.before), Some(after))?,
            owed: Owed::default(),
        })
    }

    fn patch(&self, input: &Object) -> Result<Applied, Step> {
        let fields = self.fields();
        let controls = [
            ("name", fields.name),
            ("avatar", fields.avatar),
            ("username", fields.username),
            ("customData", fields.custom_data),
        ];
        for (name, control) in controls {
            if input.get(name).is_some() {
                assert_editable(control)?;
            }
        }
        self.assert_profile_scope()?;
        if input.get("customData").is_some() {
            self.assert_shown("customData", LogtoError::ScopeMissing)?;
        }
        match input.get("username") {
            None => {}
            Some(username) => {
                self.assert_proof()?;
                self.assert_username(username.as_text())?;
            }
        }
        let mut after = self.before.clone();
        after.store(input, Mode::Replace, self.settings.now_ms)?;
        let reply = Reply::json(200, self.account(&after));
        self.applied(&after, reply)
    }

    fn assert_username(&self, username: Option<&str>) -> Result<(), Step> {
        let Some(username) = username else {
            return self.assert_remaining_identifier("username", Value::Null);
        };
        let tenant = self.settings.tenant;
        if let Some(violation) = username_violation(&tenant.username, username) {
            return Err(Reply::error(violation).into());
        }
        assert_free(self.facts, &[Wanted::username(tenant, username)])
    }

    fn assert_remaining_identifier(&self, name: &str, value: Value) -> Result<(), Step> {
        let mut after = self.before.clone();
        after.put(name, value);
        let has_any = ["username", "primaryEmail", "primaryPhone"]
            .iter()
            .any(|name| after.text(name).is_some_and(|text| !text.is_empty()));
        if has_any || !after.object("identities").is_empty() {
            return Ok(());
        }
        match self.facts.n_sso_identities {
            None => Err(Step::Ask(Question::SsoIdentities)),
            Some(0) => Err(Reply::error(LogtoError::LastSignInMethodRequired).into()),
            Some(_) => Ok(()),
        }
    }

    fn profile(&self, input: Object) -> Result<Applied, Step> {
        assert_editable(self.fields().profile)?;
        self.assert_profile_scope()?;
        if input.get("address").is_some() {
            match self.address_scope() {
                Scope::Granted => {}
                Scope::Missing => return Err(Reply::error(LogtoError::ScopeMissing).into()),
                Scope::Unknown => return Err(Refusal::ScopeUnknown.into()),
            }
        }
        let mut set = Object::default();
        set.set("profile", Value::Object(input));
        let mut after = self.before.clone();
        after.store(&set, Mode::Merge, self.settings.now_ms)?;
        let reply = Reply::json(200, self.scoped_profile(&after).to_json());
        self.applied(&after, reply)
    }

    fn password(&self, input: &Object) -> Result<Applied, Step> {
        self.assert_proof_if_any()?;
        assert_editable(self.fields().password)?;
        let text = input.text("password").unwrap_or_default();
        let secret = || Secret(text.to_owned());
        let policy = &self.settings.tenant.password;
        let is_leaked = match (policy.rejects.pwned, self.facts.password_is_leaked) {
            (false, _) => false,
            (true, Some(is_leaked)) => is_leaked,
            (true, None) => return Err(Step::Ask(Question::PasswordIsLeaked(secret()))),
        };
        if let Some(issues) = password_issues(policy, text, &self.before, is_leaked) {
            return Err(LogtoError::PasswordRejected.reply(Some(&issues)).into());
        }
        match (self.before.has_password(), self.facts.password_is_right) {
            (false, _) | (true, Some(false)) => {}
            (true, Some(true)) => return Err(Reply::error(LogtoError::SamePassword).into()),
            (true, None) => return Err(Step::Ask(Question::PasswordIsRight(secret()))),
        }
        let mut after = self.before.clone();
        after.put("hasPassword", Value::Bool(true));
        after.touch(self.settings.now_ms);
        let mut applied = self.applied(&after, Reply::NO_CONTENT)?;
        applied.owed.password = password_of(input);
        Ok(applied)
    }

    fn assert_address(&self, address: Address) -> Result<(), Step> {
        self.assert_proof()?;
        assert_editable(address.control(self.fields()))?;
        self.assert_shown(address.column(), LogtoError::ScopeMissing)
    }

    fn set_address(&self, address: Address) -> Result<Applied, Step> {
        self.assert_address(address)?;
        Err(Refusal::NeedsVerificationRecord.into())
    }

    fn drop_address(&self, address: Address) -> Result<Applied, Step> {
        self.assert_address(address)?;
        self.assert_remaining_identifier(address.column(), Value::Null)?;
        let mut set = Object::default();
        set.set(address.column(), Value::Null);
        let mut after = self.before.clone();
        after.store(&set, Mode::Merge, self.settings.now_ms)?;
        self.applied(&after, Reply::NO_CONTENT)
    }

    fn link_identity(&self) -> Result<Applied, Step> {
        assert_editable(self.fields().social)?;
        self.assert_shown("identities", LogtoError::ScopeMissingUnauthorized)?;
        self.assert_proof_if_any()?;
        Err(Refusal::NeedsVerificationRecord.into())
    }

    fn drop_identity(&self, target: &str) -> Result<Applied, Step> {
        assert_editable(self.fields().social)?;
        self.assert_shown("identities", LogtoError::ScopeMissing)?;
        self.assert_proof_if_any()?;
        let mut identities = self.before.object("identities");
        if identities.get(target).is_none() && !is_prototype_name(target) {
            return Err(Reply::error(LogtoError::IdentityNotExist).into());
        }
        identities.remove(target);
        let identities = Value::Object(identities);
        self.assert_remaining_identifier("identities", identities.clone())?;
        let mut after = self.before.clone();
        after.put("identities", identities);
        after.touch(self.settings.now_ms);
        self.applied(&after, Reply::NO_CONTENT)
    }

    fn account(&self, after: &Row) -> String {
        shown(&self.shown, &self.before, after)
    }

    fn scoped_profile(&self, after: &Row) -> Object {
        scoped_profile(self.address_scope(), after)
    }
}

/// The members that this token is shown, as they are now.
pub(super) fn shown(shown: &Row, before: &Row, after: &Row) -> String {
    let mut account = Object::default();
    for (name, shown_value) in shown.iter() {
        let value = match name {
            "profile" => Value::Object(scoped_profile(address_scope(shown, before), after)),
            "hasSecurityVerificationMethod" => Value::Bool(can_prove(after)),
            _ => after.get(name).unwrap_or(shown_value).clone(),
        };
        account.set(name, value);
    }
    account.to_json()
}

/// Shown only where there is an address.
fn address_scope(shown: &Row, before: &Row) -> Scope {
    let has_address = |row: &Row| row.object("profile").get("address").is_some();
    if has_address(shown) {
        Scope::Granted
    } else if has_address(before) {
        Scope::Missing
    } else {
        Scope::Unknown
    }
}

fn scoped_profile(scope: Scope, after: &Row) -> Object {
    let mut profile = after.object("profile");
    if scope != Scope::Granted {
        profile.remove("address");
    }
    profile
}

fn assert_editable(control: Control) -> Result<(), Step> {
    match control {
        Control::Edit => Ok(()),
        Control::Off | Control::ReadOnly => Err(Reply::error(LogtoError::FieldNotEditable).into()),
    }
}

fn can_prove(row: &Row) -> bool {
    let has = |name: &str| row.text(name).is_some_and(|text| !text.is_empty());
    row.has_password() || has("primaryEmail") || has("primaryPhone")
}

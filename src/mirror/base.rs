//! The base: how the newest reconcile left one user, field by field, on either side.
//!
//! Kept beside mgPass's rows, as a digest of each field, so that whatever differs from it
//! later was changed there and not by the mirror. One pure function makes mgPass's, of rows
//! as read or as they will stand behind a batch; another one Logto's, of its user.
//!
//! What is no field of Logto's here (`lastSignInAt`, `updatedAt`, `createdAt`,
//! `applicationId`, `hasPassword`) is never carried back, and never missed.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::mirror::mapping::MgpassIdentity;
use crate::mirror::rows::TargetUser;
use crate::runtime::backend::logto::LogtoUser;
use crate::runtime::members::canonical_json;

/// Before the target of each of Logto's, or the provider of each of mgPass's.
pub const IDENTITIES: &str = "identities.";
/// 128 bits: nobody finds two values that pass for one.
const DIGEST_BYTES: usize = 16;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Base(BTreeMap<String, String>);

impl Base {
    /// Of the rows; empty where there is no user.
    pub fn of<'a>(
        user: Option<&TargetUser>,
        identities: impl IntoIterator<Item = &'a MgpassIdentity>,
    ) -> Self {
        let mut base = Self::default();
        if let Some(user) = user {
            base.put("email", &user.email);
            base.put("email_verified", &user.email_verified);
            base.put("phone", &user.phone);
            base.put("phone_verified", &user.phone_verified);
            base.put("name", &user.name);
            base.put("avatar", &user.avatar);
            base.put("metadata", &user.metadata);
            base.put("is_suspended", &user.is_suspended);
            base.put("created_at", &user.created_at_s);
            base.put("last_sign_in_at", &user.last_sign_in_at_s);
            base.put("deleted_at", &user.is_deleted);
        }
        for identity in identities {
            base.put(&identity_key(identity), &identity.profile_data);
        }
        base
    }

    /// Of Logto's user. An empty text is none, as Logto takes it.
    pub fn of_logto(user: &LogtoUser) -> Self {
        let mut base = Self::default();
        let text = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        base.put("username", &text(&user.username));
        base.put("primaryEmail", &text(&user.primary_email));
        base.put("primaryPhone", &text(&user.primary_phone));
        base.put("name", &text(&user.name));
        base.put("avatar", &text(&user.avatar));
        base.put("customData", &canonical_json(&user.custom_data));
        let profile = user.members.get("profile").unwrap_or("{}");
        base.put("profile", &canonical_json(profile));
        base.put("isSuspended", &user.is_suspended);
        for identity in &user.identities {
            let details = identity.details.as_deref().unwrap_or("{}");
            let value = (&identity.user_id, canonical_json(details));
            base.put(&format!("{IDENTITIES}{}", identity.target), &value);
        }
        base
    }

    /// As [`Self::of_logto`] has it.
    pub fn of_suspension(is_suspended: bool) -> Option<String> {
        Some(digest(&is_suspended))
    }

    fn put(&mut self, key: &str, value: &impl Serialize) {
        self.0.insert(key.to_owned(), digest(value));
    }

    pub fn parse(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok().map(Self)
    }

    pub fn to_text(&self) -> String {
        json!(self.0).to_string()
    }

    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }

    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// `None`: there is no such field.
    pub fn set(&mut self, key: &str, digest: Option<&str>) {
        match digest {
            Some(digest) => self.0.insert(key.to_owned(), digest.to_owned()),
            None => self.0.remove(key),
        };
    }

    /// Takes this field's digest over, its absence too.
    pub fn keep(&mut self, key: &str, from: &Self) {
        match from.0.get(key) {
            Some(digest) => self.0.insert(key.to_owned(), digest.clone()),
            None => self.0.remove(key),
        };
    }

    /// Keys whose digests differ, or that one of the two lacks.
    pub fn differing<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = &'a str> {
        let changed = self.0.keys().filter(|key| self.get(key) != other.get(key));
        let missing = other.0.keys().filter(|key| self.get(key).is_none());
        changed.chain(missing).map(String::as_str)
    }
}

/// One field for each account: a user may have linked another one of the same provider.
pub fn identity_key(identity: &MgpassIdentity) -> String {
    let account = digest(&identity.provider_user_id);
    format!("identities.{}.{account}", identity.provider)
}

/// A key as people read it: without the account.
pub fn path(key: &str) -> &str {
    match key.strip_prefix("identities.") {
        Some(_) => key.rsplit_once('.').map_or(key, |(path, _)| path),
        None => key,
    }
}

/// Of its JSON, which is not made: a value may be large.
fn digest(value: &impl Serialize) -> String {
    let mut hasher = Sha256::new();
    // Neither texts and numbers nor a hasher can fail.
    let _ = serde_json::to_writer(&mut hasher, value);
    let digest = hasher.finalize();
    let bytes = digest.get(..DIGEST_BYTES).unwrap_or_default();
    URL_SAFE_NO_PAD.encode(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(provider: &str, account: &str) -> MgpassIdentity {
        MgpassIdentity {
            provider: provider.to_owned(),
            provider_user_id: account.to_owned(),
            profile_data: None,
        }
    }

    #[test]
    fn each_account_is_a_field_of_its_own_and_stands_there_as_a_digest() {
        let (one, other) = (identity("google", "g-1@a.b"), identity("google", "g-2"));
        let base = Base::of(None, [&one, &other]);
        let text = base.to_text();
        assert!(!text.contains("g-1"), "{text}");
        assert_eq!(Base::parse(&text), Some(base.clone()));
        let fewer = Base::of(None, [&other]);
        let differing: Vec<_> = base.differing(&fewer).map(path).collect();
        assert_eq!(differing, ["identities.google"]);
        assert_eq!(fewer.differing(&base).count(), 1);
        assert_eq!(path(&identity_key(&identity("a.b", "x"))), "identities.a.b");
        assert_eq!(path("email"), "email");
    }

    #[test]
    fn a_kept_field_keeps_its_older_digest_or_its_absence() {
        let google = identity("google", "g-1");
        let older = Base::of(None, [&google]);
        let mut newer = Base::default();
        newer.keep(&identity_key(&google), &older);
        assert_eq!(newer, older);
        newer.keep(&identity_key(&google), &Base::default());
        assert_eq!(newer, Base::default());
    }
}

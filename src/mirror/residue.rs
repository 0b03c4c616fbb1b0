//! The residue: Logto's own form of what mgPass cannot hold.
//!
//! Kept as Logto's user object, members in Logto's order, with `null` in the
//! place of each member that mgPass holds exactly. A member is shown in the
//! residue's form only while the residue, mapped, equals mgPass's value; so a
//! change made at mgPass alone is always seen.

use crate::runtime::backend::logto::LogtoUser;
use crate::runtime::members::{Members, ObjectWriter};

/// Members that mgPass holds without loss; their values stay out of the residue.
const DIRECT: [&str; 4] = ["id", "primaryEmail", "avatar", "isSuspended"];

#[derive(Clone, Debug)]
pub struct Residue(Members);

impl Residue {
    pub fn of(user: &LogtoUser) -> String {
        let mut writer = ObjectWriter::default();
        for (name, text) in user.members.iter() {
            writer.member(name, if DIRECT.contains(&name) { "null" } else { text });
        }
        writer.finish()
    }

    pub fn parse(json: &str) -> Option<Self> {
        Members::parse(json).map(Self)
    }

    pub fn members(&self) -> &Members {
        &self.0
    }

    pub fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name)
    }

    pub fn string(&self, name: &str) -> Option<String> {
        serde_json::from_str(self.text(name)?).ok().flatten()
    }

    pub fn integer(&self, name: &str) -> Option<i64> {
        serde_json::from_str(self.text(name)?).ok().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mirror::mapping::tests::ALICE;

    #[test]
    fn what_mgpass_holds_exactly_stays_out() {
        let text = Residue::of(&LogtoUser::parse(ALICE).unwrap());
        assert!(!text.contains("alice.1ae441@example.test"));
        assert!(text.starts_with(r#"{"id":null,"username":"alice_1ae441","primaryEmail":null,"#));
        let residue = Residue::parse(&text).unwrap();
        assert_eq!(residue.string("username").as_deref(), Some("alice_1ae441"));
        assert_eq!(residue.integer("createdAt"), Some(1_795_376_188_089));
        assert_eq!(residue.string("applicationId"), None);
        assert_eq!(
            residue.text("customData"),
            Some(r#"{"beta":true,"plan":"free"}"#)
        );
    }
}

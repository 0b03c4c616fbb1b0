//! One user as mgPass's database holds them, and Logto's form of that.
//!
//! Read past mgPass's API, which may cache: so it is what a write decides on, and what
//! somebody reads whose write the API may not show yet. The generation of the authority
//! comes with it: while it is the one of a hand-over to mgPass, no way back has ended.

use crate::handover;
use crate::inbound::request::UserId;
use crate::mirror::residue::Residue;
use crate::mirror::rows::{TargetIdentity, TargetUser, parse_identity, parse_user};
use crate::mirror::target::{
    MirrorRow, SELECT_IDENTITIES, SELECT_MIRROR, SELECT_USER, first, parse_mirror,
};
use crate::runtime::backend::mgpass::{ApiIdentity, ApiUser};
use crate::runtime::ports::{Row, Statement};
use crate::runtime::settings::MappingSettings;
use crate::serve::translate::view::{View, shown_rows};
use crate::serve::translate::{Shown, users_get};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Person {
    pub user: Option<TargetUser>,
    pub identities: Vec<TargetIdentity>,
    pub mirror: Option<MirrorRow>,
    /// Of the authority, as mgPass's database knows it.
    pub generation: i64,
}

/// Of [`read`], and so of what [`Person::parse`] takes.
pub const N_STATEMENTS: usize = 4;

pub fn read(id: &UserId) -> Vec<Statement> {
    let by_id = |sql| Statement::new(sql, vec![id.as_str().into()]);
    vec![
        by_id(SELECT_USER),
        by_id(SELECT_IDENTITIES),
        by_id(SELECT_MIRROR),
        handover::target::generation(),
    ]
}

impl Person {
    /// Of a user who is not there yet.
    pub fn nobody(generation: i64) -> Self {
        Self {
            user: None,
            identities: Vec::new(),
            mirror: None,
            generation,
        }
    }

    /// `None`: a row was not as the schema says.
    pub fn parse(results: &[Vec<Row>]) -> Option<Self> {
        let [users, identities, mirror, _] = results else {
            return None;
        };
        Some(Self {
            user: first(users, parse_user)?,
            identities: identities
                .iter()
                .map(parse_identity)
                .collect::<Option<_>>()?,
            mirror: first(mirror, parse_mirror)?,
            generation: handover::target::parse_generation(results)?,
        })
    }

    /// The ticket in force; 0 without a mirror row.
    pub fn seen(&self) -> i64 {
        self.mirror.as_ref().map_or(0, |mirror| mirror.ticket)
    }

    /// Registered at mgPass's own pages: Logto never had them.
    pub fn is_born_at_mgpass(&self) -> bool {
        self.mirror.is_none()
    }

    /// What the answers to reads are made of; `None`: there is nobody, or nobody any more.
    pub fn shown(&self, id: &UserId) -> Option<(ApiUser, Vec<ApiIdentity>, Option<Residue>)> {
        let (api, identities) = shown_rows(id, self.user.as_ref(), &self.identities)?;
        let residue = self
            .mirror
            .as_ref()
            .filter(|mirror| !mirror.is_tombstone)
            .and_then(MirrorRow::residue);
        Some((api, identities, residue))
    }

    /// As Logto would show them; `None`: there is nobody, or nobody any more.
    pub fn view(&self, id: &UserId, settings: &MappingSettings) -> Option<String> {
        let (user, identities, residue) = self.shown(id)?;
        let view = View {
            user: &user,
            identities: &identities,
            residue: residue.as_ref(),
            settings,
        };
        match users_get::show(&view, None) {
            Shown::Body(json) => Some(json),
            Shown::Refusal(_) => None,
        }
    }
}

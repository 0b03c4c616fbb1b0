//! Whether a request may go to Logto now: one pure function of what the request is and of
//! what is known of the authority.
//!
//! A version without the hand-over secret asks for nothing; it goes by what an answer of
//! the database brings along anyway. With it, nothing about a user reaches Logto without
//! proof that Logto is the authority. Assets, keys, discovery and `/oidc/token` never ask.

use crate::handover::authority::{Holder, Lease, View};
use crate::handover::proof;
use crate::inbound::Inbound;
use crate::inbound::classify::{AfterCutover, Kind, Refusal, after_cutover, why_unrecorded};
use crate::inbound::request::Method;
use crate::runtime::context::Request;
use crate::runtime::error::ProxyError;
use crate::runtime::observe::Event;
use crate::runtime::ports::Platform;

/// What a request needs of the authority.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// It is about no user.
    Nothing,
    /// A read of a user at Logto: nobody may be shown less than they were told was written.
    Read,
    /// A step that changes nobody by itself: of an interaction, or the check of a password.
    Step,
    /// A user write that is recorded before the forward: the fenced insert proves it.
    Write,
    /// A user write that is not: the stage is `off`, or Logto is thought to refuse it.
    Unrecorded,
}

/// What is known of the authority.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    /// The database did not say, and no lease holds.
    Nothing,
    View(View),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    Forward,
    /// A hand-over is announced: the record, and nothing else, is the proof from now on.
    RecordFirst,
    /// Until one side may write.
    Hold,
    /// mgPass is the authority; or what becomes of it then holds already.
    AtMgpass(View),
    Refuse(ProxyError),
}

/// Whom a step belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// An interaction at Logto: from draining on it may end in a sign-in, which is asked
    /// for and does not wait.
    Interaction,
    Other,
}

pub fn decide(need: Need, flow: Flow, known: Known) -> Decision {
    let view = match (need, known) {
        (Need::Nothing, _) => return Decision::Forward,
        (_, Known::Nothing) => return Decision::Refuse(ProxyError::AuthorityUnknown),
        (_, Known::View(view)) => view,
    };
    match (need, view.holder) {
        (Need::Unrecorded, Holder::Logto) if view.announced_until_ms.is_some() => {
            Decision::RecordFirst
        }
        (_, Holder::Logto) => Decision::Forward,
        (Need::Step | Need::Write | Need::Unrecorded, _) if flow == Flow::Interaction => {
            Decision::AtMgpass(view)
        }
        // Nobody writes anywhere: what Logto shows is what was written.
        (Need::Nothing | Need::Read, Holder::Draining) => Decision::Forward,
        (Need::Nothing | Need::Read, Holder::Mgpass | Holder::Returning | Holder::Alone) => {
            Decision::AtMgpass(view)
        }
        (Need::Step | Need::Write | Need::Unrecorded, Holder::Draining | Holder::Returning) => {
            Decision::Hold
        }
        (Need::Step | Need::Write | Need::Unrecorded, Holder::Mgpass | Holder::Alone)
            if view.is_raise_owed =>
        {
            Decision::Hold
        }
        (Need::Step | Need::Write | Need::Unrecorded, Holder::Mgpass | Holder::Alone) => {
            Decision::AtMgpass(view)
        }
    }
}

pub fn need(inbound: &Inbound) -> Need {
    match inbound.operation.kind() {
        Kind::Write(_) => Need::Write,
        Kind::Read => Need::Read,
        // Userinfo.
        Kind::Token if shows_users(inbound.path()) => Need::Read,
        Kind::Token => Need::Nothing,
        Kind::PassThrough => {
            let is_step = why_unrecorded(inbound.method, inbound.path()).is_some();
            match (is_step, shows_users(inbound.path()), inbound.method) {
                (true, _, _) => Need::Step,
                (false, true, Method::Get | Method::Post | Method::Other) => Need::Read,
                (false, _, _) => Need::Nothing,
            }
        }
    }
}

fn flow(inbound: &Inbound) -> Flow {
    match after_cutover(inbound.method, inbound.path()) {
        AfterCutover::FinishSignIn(_) | AfterCutover::Refuse(Refusal::StartAgain) => {
            Flow::Interaction
        }
        AfterCutover::Translate
        | AfterCutover::Refuse(_)
        | AfterCutover::Forward(_)
        | AfterCutover::Own => Flow::Other,
    }
}

/// Lists and searches, the account of a token, userinfo.
fn shows_users(path: &str) -> bool {
    let is = |mount: &str, names: &[&str]| {
        let rest = path.strip_prefix(mount);
        let first = rest.and_then(|rest| rest.split('/').next());
        first.is_some_and(|first| names.iter().any(|name| first.eq_ignore_ascii_case(name)))
    };
    is("/api/", &["users", "my-account"]) || is("/oidc/", &["me"])
}

/// Whether the Queue may stand in as outbox: not from an announcement on, and only where
/// a lease says that there is none. `needs_proof`: of this version.
pub fn may_queue(needs_proof: NeedsProof, lease: &Lease, now_ms: i64) -> bool {
    let is_announced = lease
        .view()
        .is_some_and(|view| view.announced_until_ms.is_some());
    match needs_proof {
        NeedsProof::No => true,
        NeedsProof::Yes => lease.holds(now_ms) && !is_announced,
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NeedsProof {
    No,
    Yes,
}

/// How a request may go to Logto.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admitted {
    Freely,
    /// Not without its record in the database.
    RecordedFirst,
}

/// Why it may not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// mgPass is the authority, as this was last heard; of an interaction also that it is
    /// about to be.
    AtMgpass(View),
    Refused(ProxyError),
}

impl Request<'_> {
    pub fn needs_proof(&self) -> NeedsProof {
        match self.settings.handover.needs_proof() {
            true => NeedsProof::Yes,
            false => NeedsProof::No,
        }
    }

    /// By the lease, or by asking now; a write waits for a side that may write.
    ///
    /// # Errors
    /// When it must not reach Logto.
    pub async fn admit<P: Platform>(&self, platform: &P, need: Need) -> Result<Admitted, Kept> {
        let proven = proof::prove(platform, self.isolate, &self.settings.handover).await;
        self.admit_by(platform, need, proven.map_or(Known::Nothing, Known::View))
            .await
    }

    /// # Errors
    /// When it must not reach Logto.
    pub async fn admit_by<P: Platform>(
        &self,
        platform: &P,
        need: Need,
        known: Known,
    ) -> Result<Admitted, Kept> {
        let flow = flow(self.inbound);
        match decide(need, flow, known) {
            Decision::Forward => Ok(Admitted::Freely),
            Decision::RecordFirst => Ok(Admitted::RecordedFirst),
            Decision::AtMgpass(view) => Err(Kept::AtMgpass(view)),
            Decision::Refuse(error) => Err(Kept::Refused(error)),
            Decision::Hold => {
                let began_ms = platform.now_ms();
                let settings = &self.settings.handover;
                let came = proof::wait(platform, self.isolate, settings).await;
                platform.emit(&Event::AuthorityWaited {
                    operation: self.inbound.operation.name(),
                    holder: came.map_or("none", |view| view.holder.name()),
                    duration_ms: platform.now_ms() - began_ms,
                });
                match came.map(|view| decide(need, flow, Known::View(view))) {
                    Some(Decision::Forward) => Ok(Admitted::Freely),
                    Some(Decision::RecordFirst) => Ok(Admitted::RecordedFirst),
                    Some(Decision::AtMgpass(view)) => Err(Kept::AtMgpass(view)),
                    Some(Decision::Refuse(error)) => Err(Kept::Refused(error)),
                    Some(Decision::Hold) | None => Err(Kept::Refused(ProxyError::AuthorityMoving)),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(holder: Holder) -> View {
        View {
            holder,
            generation: 1,
            term: 1,
            announced_until_ms: None,
            deadline_ms: None,
            is_raise_owed: false,
            now_ms: 0,
        }
    }

    const NEEDS: [Need; 5] = [
        Need::Nothing,
        Need::Read,
        Need::Step,
        Need::Write,
        Need::Unrecorded,
    ];

    #[test]
    fn the_whole_table() {
        use Decision::{AtMgpass, Forward, Hold, RecordFirst};
        let [at, owes, goes_back] = [
            view(Holder::Mgpass),
            View {
                is_raise_owed: true,
                ..view(Holder::Mgpass)
            },
            view(Holder::Returning),
        ]
        .map(AtMgpass);
        let alone = AtMgpass(view(Holder::Alone));
        let unknown = Decision::Refuse(ProxyError::AuthorityUnknown);
        let announced = View {
            announced_until_ms: Some(1),
            ..view(Holder::Logto)
        };
        let owing = View {
            is_raise_owed: true,
            ..view(Holder::Mgpass)
        };
        // Nothing, a read, a step, a write, one that is not recorded.
        #[rustfmt::skip]
        let rows = [
            (Known::Nothing, [Forward, unknown, unknown, unknown, unknown]),
            (Known::View(view(Holder::Logto)), [Forward; 5]),
            (Known::View(announced), [Forward, Forward, Forward, Forward, RecordFirst]),
            (Known::View(view(Holder::Draining)), [Forward, Forward, Hold, Hold, Hold]),
            (Known::View(view(Holder::Mgpass)), [Forward, at, at, at, at]),
            (Known::View(owing), [Forward, owes, Hold, Hold, Hold]),
            (Known::View(view(Holder::Returning)), [Forward, goes_back, Hold, Hold, Hold]),
            // What needs nothing is not forwarded all the same: `send_to_logto`.
            (Known::View(view(Holder::Alone)), [Forward, alone, alone, alone, alone]),
        ];
        for (known, expected) in rows {
            for (need, expected) in NEEDS.into_iter().zip(expected) {
                let found = decide(need, Flow::Other, known);
                assert_eq!(found, expected, "{need:?} {known:?}");
            }
        }
        // Of an interaction nothing waits once Logto is not the authority.
        for holder in [Holder::Draining, Holder::Mgpass, Holder::Returning] {
            for owes in [false, true] {
                let view = View {
                    is_raise_owed: owes,
                    ..view(holder)
                };
                for need in [Need::Step, Need::Write, Need::Unrecorded] {
                    let found = decide(need, Flow::Interaction, Known::View(view));
                    assert_eq!(found, AtMgpass(view), "{need:?} {holder:?}");
                }
            }
        }
    }

    #[test]
    fn what_a_request_needs_shows_in_its_method_and_path() {
        let check = |method: &str, path: &str, expected: Need| {
            let url = format!("https://auth.example.com{path}");
            let inbound = Inbound::read(Method::parse(method), url, |_| None);
            assert_eq!(need(&inbound), expected, "{method} {path}");
        };
        for (method, path) in [
            ("GET", "/"),
            ("GET", "/assets/index.js"),
            ("GET", "/oidc/jwks"),
            ("GET", "/oidc/.well-known/openid-configuration"),
            ("POST", "/oidc/token"),
            ("POST", "/oidc/token/introspection"),
            ("GET", "/oidc/auth?client_id=x"),
            ("GET", "/api/applications"),
            ("POST", "/api/applications"),
            ("GET", "/api/experience/interaction"),
            ("GET", "/oidc/messages"),
            ("GET", "/api/users-export"),
        ] {
            check(method, path, Need::Nothing);
        }
        for (method, path) in [
            ("GET", "/api/users"),
            ("GET", "/api/Users?search=x"),
            ("HEAD", "/api/users/u1"),
            ("GET", "/api/users/u1"),
            ("GET", "/api/users/u1/roles"),
            ("GET", "/api/my-account"),
            ("GET", "/api/my-account/mfa-verifications"),
            ("GET", "/oidc/me"),
            ("POST", "/oidc/me/"),
        ] {
            check(method, path, Need::Read);
        }
        for (method, path) in [
            ("POST", "/api/experience/verification/password"),
            ("PUT", "/api/experience"),
            ("POST", "/api/users/u1/password/verify"),
        ] {
            check(method, path, Need::Step);
        }
        for (method, path) in [
            ("POST", "/api/users"),
            ("PATCH", "/api/users/u1"),
            ("DELETE", "/api/users/u1"),
            ("PATCH", "/api/my-account"),
            ("POST", "/api/experience/submit"),
            ("POST", "/api/interaction/submit"),
            ("GET", "/consent"),
        ] {
            check(method, path, Need::Write);
        }
    }

    #[test]
    fn the_queue_is_no_outbox_without_a_lease_nor_from_an_announcement_on() {
        let mut lease = Lease::default();
        assert!(may_queue(NeedsProof::No, &lease, 0));
        assert!(!may_queue(NeedsProof::Yes, &lease, 0));
        lease.renew(view(Holder::Logto), 0, 1_000);
        assert!(may_queue(NeedsProof::Yes, &lease, 999));
        assert!(!may_queue(NeedsProof::Yes, &lease, 1_000));
        let announced = View {
            announced_until_ms: Some(10_000),
            ..view(Holder::Logto)
        };
        lease.renew(announced, 1_000, 1_000);
        assert!(!may_queue(NeedsProof::Yes, &lease, 1_001));
        assert!(may_queue(NeedsProof::No, &lease, 1_001));
    }
}

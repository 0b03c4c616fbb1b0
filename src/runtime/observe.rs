//! Every event the system can emit, as a closed enum; one JSON line each.
//!
//! Never a token, a cookie, a body, a mail address or an IP. A subject appears
//! only as a keyed hash. docs/events.md is checked against [`Event::NAMES`].

mod describe;

use serde::Serialize;
use siphasher::sip128::{Hasher128, SipHasher24};
use std::hash::Hasher;

use crate::inbound::request::{Secret, UserId};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    Info,
    Warn,
    Error,
}

impl Level {
    fn name(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
        }
    }
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum Event<'a> {
    /// The closing line of every request.
    RequestDone {
        #[serde(rename = "request.id")]
        request_id: &'a str,
        operation: &'static str,
        #[serde(rename = "plan.primary")]
        primary: &'static str,
        #[serde(rename = "plan.mirror")]
        mirror: &'static str,
        #[serde(rename = "plan.reason")]
        reason: &'static str,
        #[serde(rename = "flags.stage")]
        stage: &'static str,
        #[serde(skip_serializing_if = "Option::is_none")]
        bucket: Option<u16>,
        /// Whose answer the client got.
        backend: &'static str,
        status: u16,
        duration_ms: i64,
        /// Why mgPass was left for Logto within the request.
        #[serde(skip_serializing_if = "Option::is_none")]
        fallback: Option<&'static str>,
        /// The proxy's own error, if it answered itself.
        #[serde(skip_serializing_if = "Option::is_none")]
        error: Option<&'static str>,
    },
    FlagsRefused {
        key: &'a str,
        code: &'static str,
    },
    FlagsUnreachable {
        stage: &'static str,
    },
    SettingsRefused {
        setting: &'a str,
        code: &'static str,
    },
    TokenRefused {
        #[serde(rename = "request.id")]
        request_id: &'a str,
        issuer: &'static str,
        code: &'static str,
    },
    KeysRefreshed {
        issuer: &'static str,
        n_keys: usize,
        n_skipped: usize,
    },
    KeysUnreachable {
        issuer: &'static str,
        code: &'static str,
    },
    /// Something older stood in for a key set that could not be had.
    KeysStale {
        issuer: &'static str,
        /// `stale_set` or `imported`.
        source: &'static str,
    },
    /// A write that was not recorded in time went to the Queue instead.
    OutboxQueued {
        operation: &'static str,
        code: &'static str,
    },
    /// An acknowledged write that nothing recorded: the epoch rises.
    OutboxGap {
        operation: &'static str,
        code: &'static str,
    },
    /// Logto acknowledged what it was thought to refuse, or whose user nobody could name
    /// before: told before the client had the answer.
    OutboxLate {
        operation: &'static str,
        outcome: &'static str,
    },
    /// What the proxy does after an answer could not be done now; the sweep will.
    OutboxDelayed {
        step: &'static str,
        code: &'static str,
    },
    MirrorReconciled {
        #[serde(skip_serializing_if = "Option::is_none")]
        subject: Option<&'a str>,
        outcome: &'static str,
        ticket: i64,
        n_intents: usize,
        duration_ms: i64,
    },
    MirrorPaused {
        backend: &'static str,
        code: &'static str,
        pause_ms: i64,
    },
    MirrorFailed {
        #[serde(skip_serializing_if = "Option::is_none")]
        subject: Option<&'a str>,
        code: &'static str,
        failures: i64,
    },
    MirrorParked {
        #[serde(skip_serializing_if = "Option::is_none")]
        subject: Option<&'a str>,
        reason: &'static str,
    },
    /// Logto lacks something of what mgPass has.
    MirrorOwed {
        #[serde(skip_serializing_if = "Option::is_none")]
        subject: Option<&'a str>,
        class: &'static str,
        code: &'a str,
    },
    /// Nobody's fault: a newer reconcile, a busy holder, nothing to cover any more.
    MirrorWaited {
        #[serde(skip_serializing_if = "Option::is_none")]
        subject: Option<&'a str>,
        code: &'static str,
    },
    /// Something was changed at mgPass itself since the last reconcile.
    MirrorFound {
        #[serde(skip_serializing_if = "Option::is_none")]
        subject: Option<&'a str>,
        code: &'static str,
        n_fields: usize,
    },
    MirrorEffect {
        effect: &'static str,
        outcome: &'static str,
    },
    SchemaRefused {
        table: &'a str,
        column: &'a str,
        code: &'static str,
    },
    SweepDone {
        n_woken: usize,
        n_purged: i64,
        duration_ms: i64,
    },
    MessageRefused {
        code: &'static str,
    },
    /// Messages that the Queue gave up on; each woke its subject once more.
    MessageDead {
        n_messages: usize,
    },
    HookReceived {
        source: &'static str,
        outcome: &'static str,
    },
    HookRefused {
        source: &'static str,
        code: &'static str,
    },
    /// One check of the checklist was judged by what it found just now.
    CheckJudged {
        check: &'static str,
        result: &'static str,
    },
    /// What one check goes by was gathered and kept.
    CheckRun {
        check: &'static str,
        duration_ms: i64,
    },
    /// A check could not be made now, or what it found could not be kept.
    CheckDelayed {
        check: &'static str,
        code: &'static str,
    },
    CertificateMade {
        term: i64,
        n_waivers: usize,
    },
    CatchUpDone {
        outcome: &'static str,
        n_users: usize,
    },
    WalkStepped {
        outcome: &'static str,
        n_seen: usize,
        n_repaired: usize,
    },
    /// The walk does not go on now.
    WalkDelayed {
        code: &'static str,
    },
    /// A row of Logto's listing that is no user, and whose user cannot be told.
    ListingRefused {
        code: &'static str,
        place: i64,
    },
    /// One page of a job is done.
    JobPaged {
        kind: &'static str,
        phase: &'static str,
        page: i64,
        n_users: usize,
        duration_ms: i64,
    },
    /// A page could not be done now; its claim went back.
    JobDelayed {
        kind: &'static str,
        phase: &'static str,
        code: &'static str,
    },
    JobMoved {
        kind: &'static str,
        to: &'static str,
    },
    /// An operator's doing: a replay, a confirmed deletion.
    OperatorActed {
        action: &'static str,
        n_subjects: usize,
    },
    /// A confirmed difference between the two backends' answers to one read.
    CompareMismatch {
        #[serde(skip_serializing_if = "Option::is_none")]
        subject: Option<&'a str>,
        operation: &'static str,
        path: &'a str,
        class: &'static str,
    },
    BreakerChanged {
        state: &'static str,
    },
    MetricsDelayed {
        step: &'static str,
        code: &'static str,
    },
    GuardJudged {
        verdict: &'static str,
        reason: &'static str,
        n_mgpass: i64,
        n_logto: i64,
        n_compared: i64,
    },
    /// A hand-over is announced: no draining begins before.
    AuthorityAnnounced {
        until_ms: i64,
    },
    /// As somebody wished.
    AuthorityMoved {
        from: &'static str,
        to: &'static str,
        generation: i64,
        /// How long the one before was the authority.
        duration_ms: i64,
    },
    /// By itself, or by an operator who gave up what mgPass had: `cause` says why.
    AuthorityReturned {
        from: &'static str,
        to: &'static str,
        generation: i64,
        cause: &'static str,
        /// mgPass's database could not be told yet; until then nothing is written there.
        owes_raise: bool,
    },
    AuthorityDelayed {
        step: &'static str,
        code: &'static str,
    },
    /// Somebody asked for a stage, and what became of that.
    AuthorityWished {
        stage: &'static str,
        source: &'static str,
        outcome: &'static str,
    },
    /// A change at Logto while mgPass is the authority.
    AuthorityStray {
        source: &'static str,
        n_records: usize,
    },
    /// What is recommended while mgPass is the authority; said when it changes.
    CutoverJudged {
        advice: &'static str,
        reason: &'static str,
    },
    /// A user write waited for a side that may write.
    AuthorityWaited {
        operation: &'static str,
        /// Who was the authority in the end; `none` when the time was over.
        holder: &'static str,
        duration_ms: i64,
    },
    /// A write was done at mgPass while the authority moved, and its client was not told.
    TranslatedUnacknowledged {
        #[serde(skip_serializing_if = "Option::is_none")]
        subject: Option<&'a str>,
        operation: &'static str,
        ticket: i64,
    },
    /// A part of a translated write could not be done now; what is left of it is known.
    TranslatedDelayed {
        step: &'static str,
        code: &'static str,
    },
    /// A ramp plan went on, rests or has ended.
    RampMoved {
        what: &'static str,
        share_bps: u16,
        #[serde(skip_serializing_if = "Option::is_none")]
        why: Option<&'static str>,
    },
    /// A browser came by the sign-in link; to which side it went and why.
    SignInDrawn {
        application: &'a str,
        side: &'static str,
        reason: &'static str,
    },
    /// No browser draws mgPass until a person deletes the KV key `sign_in_stop`.
    SignInStopped {
        reason: &'static str,
        outcome: &'static str,
    },
    /// Whether somebody else writes at mgPass could not be looked at now.
    SignInDelayed {
        step: &'static str,
        code: &'static str,
    },
    /// A password that a request showed was carried to mgPass, or why not.
    PasswordCarried {
        #[serde(skip_serializing_if = "Option::is_none")]
        subject: Option<&'a str>,
        road: &'static str,
        outcome: &'static str,
    },
    /// mgPass was given a random password in place of a carried one, or not yet.
    PasswordVoided {
        #[serde(skip_serializing_if = "Option::is_none")]
        subject: Option<&'a str>,
        reason: &'static str,
        outcome: &'static str,
    },
    /// What is owed of carried passwords could not be looked at now.
    PasswordDelayed {
        step: &'static str,
        code: &'static str,
    },
    /// `both`: mgPass's session ends first, then Logto's. mgPass did not answer: `owed`,
    /// its sessions of that user end once it does; `not_owed`, nobody knows whose; or
    /// `not_recorded`, its database did not answer either.
    SignOutBegun {
        application: &'a str,
        outcome: &'static str,
    },
    /// A ramp was stopped: no read goes to mgPass until a person deletes the KV key `guard`.
    GuardStopped {
        reason: &'static str,
        outcome: &'static str,
    },
}

impl Event<'_> {
    #[cfg(not(target_arch = "wasm32"))]
    pub fn name(&self) -> &'static str {
        self.describe().0
    }

    pub fn level(&self) -> Level {
        self.describe().1
    }

    /// One JSON object: `event`, `level`, then the event's own fields.
    pub fn to_line(&self) -> String {
        let (event, level) = self.describe();
        // Members are joined as text: flattening would buffer every field first.
        let fields = serde_json::to_string(self).unwrap_or_default();
        let fields = fields.strip_prefix('{').unwrap_or("}");
        let separator = if fields == "}" { "" } else { "," };
        format!(
            r#"{{"event":"{event}","level":"{}"{separator}{fields}"#,
            level.name()
        )
    }
}

/// How events name a subject: a keyed hash, or nothing without a key.
pub fn subject_hash(user: &UserId, key: Option<&Secret<String>>) -> Option<String> {
    keyed_hash(user.as_str(), key)
}

/// Stands for a text that must not leave the process.
pub fn keyed_hash(text: &str, key: Option<&Secret<String>>) -> Option<String> {
    let key = key?;
    let mut hasher = SipHasher24::new_with_keys(0x6475_616c_2d77_7269, key.0.len() as u64);
    hasher.write(key.0.as_bytes());
    hasher.write(&[0]);
    hasher.write(text.as_bytes());
    Some(format!("{:032x}", hasher.finish128().as_u128()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_one_json_line_with_dotted_fields() {
        let event = Event::RequestDone {
            request_id: "r1",
            operation: "users.get",
            primary: "mgpass",
            mirror: "none",
            reason: "in_share",
            stage: "dual_write",
            bucket: Some(17),
            backend: "mgpass",
            status: 200,
            duration_ms: 3,
            fallback: None,
            error: None,
        };
        assert_eq!(
            event.to_line(),
            r#"{"event":"request.done","level":"info","request.id":"r1","operation":"users.get","plan.primary":"mgpass","plan.mirror":"none","plan.reason":"in_share","flags.stage":"dual_write","bucket":17,"backend":"mgpass","status":200,"duration_ms":3}"#
        );
    }

    #[test]
    fn a_subject_is_a_keyed_hash_or_nothing() {
        let user = UserId::parse("ohr0n387iy4o").unwrap();
        assert_eq!(subject_hash(&user, None), None);
        let one = subject_hash(&user, Some(&Secret("k1".into()))).unwrap();
        assert_ne!(
            Some(one.clone()),
            subject_hash(&user, Some(&Secret("k2".into())))
        );
        assert!(!one.contains("ohr0n"));
    }
}

//! Each event's name and level.

use super::{Event, Level};

impl Event<'_> {
    #[cfg(not(target_arch = "wasm32"))]
    pub const NAMES: &'static [&'static str] = &[
        "request.done",
        "flags.refused",
        "flags.unreachable",
        "settings.refused",
        "token.refused",
        "keys.refreshed",
        "keys.unreachable",
        "keys.stale",
        "outbox.queued",
        "outbox.gap",
        "outbox.late",
        "outbox.delayed",
        "mirror.reconciled",
        "mirror.paused",
        "mirror.failed",
        "mirror.parked",
        "mirror.owed",
        "mirror.waited",
        "mirror.found",
        "mirror.effect",
        "schema.refused",
        "sweep.done",
        "message.refused",
        "message.dead",
        "hook.received",
        "hook.refused",
        "check.judged",
        "check.run",
        "check.delayed",
        "certificate.made",
        "catch_up.done",
        "walk.stepped",
        "walk.delayed",
        "listing.refused",
        "job.paged",
        "job.delayed",
        "job.moved",
        "operator.acted",
        "compare.mismatch",
        "breaker.changed",
        "metrics.delayed",
        "authority.announced",
        "authority.moved",
        "authority.returned",
        "authority.delayed",
        "authority.wished",
        "authority.stray",
        "cutover.judged",
        "authority.waited",
        "translated.unacknowledged",
        "translated.delayed",
        "sign_in.drawn",
        "sign_in.stopped",
        "sign_in.delayed",
        "password.carried",
        "password.voided",
        "password.delayed",
        "sign_out.begun",
        "guard.judged",
        "guard.stopped",
        "ramp.moved",
    ];

    pub(super) fn describe(&self) -> (&'static str, Level) {
        match self {
            Self::RequestDone { .. } => ("request.done", Level::Info),
            Self::FlagsRefused { .. } => ("flags.refused", Level::Warn),
            Self::FlagsUnreachable { .. } => ("flags.unreachable", Level::Warn),
            Self::SettingsRefused { .. } => ("settings.refused", Level::Error),
            Self::TokenRefused { .. } => ("token.refused", Level::Info),
            Self::KeysRefreshed { .. } => ("keys.refreshed", Level::Info),
            Self::KeysUnreachable { .. } => ("keys.unreachable", Level::Warn),
            Self::KeysStale { .. } => ("keys.stale", Level::Warn),
            Self::OutboxQueued { .. } => ("outbox.queued", Level::Warn),
            // Meant so by the operator, and harmless: nobody reads from mgPass meanwhile.
            Self::OutboxGap {
                code: "stage_off", ..
            } => ("outbox.gap", Level::Info),
            Self::OutboxGap { .. } => ("outbox.gap", Level::Error),
            Self::OutboxLate { .. } => ("outbox.late", Level::Info),
            Self::OutboxDelayed { .. } => ("outbox.delayed", Level::Warn),
            Self::MirrorReconciled { .. } => ("mirror.reconciled", Level::Info),
            Self::MirrorPaused { .. } => ("mirror.paused", Level::Warn),
            Self::MirrorFailed { .. } => ("mirror.failed", Level::Warn),
            Self::MirrorParked { .. } => ("mirror.parked", Level::Error),
            Self::MirrorOwed { .. } => ("mirror.owed", Level::Error),
            Self::MirrorWaited { .. } => ("mirror.waited", Level::Info),
            Self::MirrorFound { .. } => ("mirror.found", Level::Warn),
            Self::MirrorEffect { .. } => ("mirror.effect", Level::Info),
            Self::SchemaRefused { .. } => ("schema.refused", Level::Error),
            Self::SweepDone { .. } => ("sweep.done", Level::Info),
            Self::MessageRefused { .. } => ("message.refused", Level::Warn),
            Self::MessageDead { .. } => ("message.dead", Level::Warn),
            Self::HookReceived { .. } => ("hook.received", Level::Info),
            Self::HookRefused { .. } => ("hook.refused", Level::Warn),
            Self::CheckJudged { .. } => ("check.judged", Level::Info),
            Self::CheckRun { .. } => ("check.run", Level::Info),
            Self::CheckDelayed { .. } => ("check.delayed", Level::Warn),
            Self::CertificateMade { .. } => ("certificate.made", Level::Info),
            Self::CatchUpDone { .. } => ("catch_up.done", Level::Info),
            Self::WalkStepped { .. } => ("walk.stepped", Level::Info),
            Self::WalkDelayed { .. } => ("walk.delayed", Level::Warn),
            Self::ListingRefused { .. } => ("listing.refused", Level::Error),
            Self::JobPaged { .. } => ("job.paged", Level::Info),
            Self::JobDelayed { .. } => ("job.delayed", Level::Warn),
            Self::JobMoved { .. } => ("job.moved", Level::Info),
            Self::OperatorActed { .. } => ("operator.acted", Level::Info),
            Self::CompareMismatch { .. } => ("compare.mismatch", Level::Warn),
            Self::BreakerChanged { .. } => ("breaker.changed", Level::Warn),
            Self::MetricsDelayed { .. } => ("metrics.delayed", Level::Warn),
            Self::AuthorityAnnounced { .. } => ("authority.announced", Level::Warn),
            Self::AuthorityMoved { .. } => ("authority.moved", Level::Warn),
            Self::AuthorityReturned { .. } => ("authority.returned", Level::Error),
            Self::AuthorityDelayed { .. } => ("authority.delayed", Level::Warn),
            Self::AuthorityWished { .. } => ("authority.wished", Level::Info),
            Self::AuthorityStray { .. } => ("authority.stray", Level::Error),
            Self::CutoverJudged { advice, .. } => {
                let level = match *advice {
                    "stay" => Level::Info,
                    "go_back" => Level::Error,
                    _ => Level::Warn,
                };
                ("cutover.judged", level)
            }
            Self::AuthorityWaited { .. } => ("authority.waited", Level::Info),
            Self::TranslatedUnacknowledged { .. } => ("translated.unacknowledged", Level::Error),
            Self::TranslatedDelayed { .. } => ("translated.delayed", Level::Warn),
            Self::SignInDrawn { .. } => ("sign_in.drawn", Level::Info),
            Self::SignInStopped { .. } => ("sign_in.stopped", Level::Error),
            Self::SignInDelayed { .. } => ("sign_in.delayed", Level::Warn),
            Self::PasswordCarried { .. } => ("password.carried", Level::Info),
            Self::PasswordVoided { outcome, .. } => {
                let is_voided = *outcome == "voided";
                let level = if is_voided { Level::Info } else { Level::Warn };
                ("password.voided", level)
            }
            Self::PasswordDelayed { .. } => ("password.delayed", Level::Warn),
            Self::SignOutBegun { outcome, .. } => {
                let is_whole = *outcome == "both";
                let level = if is_whole { Level::Info } else { Level::Warn };
                ("sign_out.begun", level)
            }
            Self::GuardJudged { .. } => ("guard.judged", Level::Info),
            Self::GuardStopped { .. } => ("guard.stopped", Level::Error),
            // A person has to look before it goes on.
            Self::RampMoved {
                what: "paused" | "aborted" | "not_written",
                ..
            } => ("ramp.moved", Level::Warn),
            Self::RampMoved { .. } => ("ramp.moved", Level::Info),
        }
    }
}

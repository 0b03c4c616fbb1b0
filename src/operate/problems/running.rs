//! Whether the proxy itself runs: settings, stores, cron, the mirror and its backlog.

use super::{Facts, Problem, Severity, is_mirroring, users};

/// What runs every minute is missed after so long.
const CRON_SILENT_MS: i64 = 5 * 60_000;
const BACKLOG_OLD_MS: i64 = 20 * 60_000;
const UNRESOLVED_OLD_MS: i64 = 10 * 60_000;
const PAUSED_LONG_MS: i64 = 60_000;
const VOID_LATE_MS: i64 = 10 * 60_000;
const WALK_SILENT_MS: i64 = 60 * 60_000;

pub(super) fn platform(facts: &Facts, all: &mut Vec<Problem>) {
    use Severity::{Critical, Notice, Warning};
    if !facts.setting_faults.is_empty() {
        let faults = facts.setting_faults.iter();
        let faults: Vec<_> = faults
            .map(|(name, code)| format!("{name} ({code})"))
            .collect();
        all.push(Problem {
            code: "settings_refused",
            severity: Critical,
            since: None,
            what: format!(
                "Settings are missing or wrong: {}. The proxy is a pipe: nothing is mirrored, and each write is a gap.",
                faults.join(", ")
            ),
            remedy: "Mend them in wrangler.toml, or by `wrangler secret put NAME`, and deploy.".to_owned(),
        });
    }
    if !facts.hasty_handover.is_empty() {
        all.push(Problem {
            code: "handover_hasty",
            severity: Warning,
            since: None,
            what: format!(
                "{} is set shorter than is safe: a write that Logto commits late, or that an older isolate forwards, may come after the users have changed hands, and is a stray then.",
                facts.hasty_handover.join(", ")
            ),
            remedy: "Leave them out of wrangler.toml but for a drill, and deploy, before a hand-over is announced.".to_owned(),
        });
    }
    if let Some(code) = &facts.database_failure {
        all.push(Problem {
            code: "database_unavailable",
            severity: Critical,
            since: None,
            what: format!("The proxy's own database cannot be read ({code}): reads stay on Logto, writes are recorded by the Queue."),
            remedy: "Look at the state of D1, and at the migrations of schema/proxy. Longer than a day: raise the epoch when it is back (docs/troubleshooting.md, \"Gaps and the epoch\").".to_owned(),
        });
    }
    if facts.flags.is_none() {
        all.push(Problem {
            code: "flags_unreachable",
            severity: Warning,
            since: None,
            what: "KV does not answer: flags stay as they are, and changes are not seen.".to_owned(),
            remedy: "Look at the state of KV. A fresh isolate reads from Logto and records every write until it is back.".to_owned(),
        });
    }
    if is_mirroring(facts)
        && let Some(at) = facts.cron_at
        && facts.now_ms - at > CRON_SILENT_MS
    {
        all.push(Problem {
            code: "cron_silent",
            severity: Critical,
            since: Some(at),
            what: "Cron has not run for more than five minutes: nothing retries, judges the ramp or notices changes.".to_owned(),
            remedy: "See that the Worker's cron trigger is deployed (`[triggers]` in wrangler.toml) and look at its invocations.".to_owned(),
        });
    }
    if let Some(code) = &facts.metrics_failure {
        all.push(Problem {
            code: "metrics_unavailable",
            severity: Warning,
            since: None,
            what: format!("The metrics cannot be read ({code}): the guard holds, and a ramp plan rests."),
            remedy: "Look at METRICS_DB and its migrations (schema/metrics). Nothing else depends on it.".to_owned(),
        });
    }
    for issuer in &facts.failing_keys {
        all.push(Problem {
            code: "keys_unreachable",
            severity: Warning,
            since: None,
            what: format!(
                "The signing keys of {issuer} cannot be fetched; those at hand serve for a day."
            ),
            remedy: format!("Look at the key endpoint of {issuer}."),
        });
    }
    if facts.stage == "off" {
        all.push(Problem {
            code: "stage_off",
            severity: Notice,
            since: None,
            what: "The stage is off: the proxy is a pipe, and nothing is mirrored.".to_owned(),
            remedy: "`dwp flag set stage shadow` when mirroring shall begin.".to_owned(),
        });
    }
}

pub(super) fn mirror(facts: &Facts, all: &mut Vec<Problem>) {
    if let Some(since) = facts.void_owed_since
        && facts.now_ms - since > VOID_LATE_MS
    {
        all.push(Problem {
            code: "old_password_may_live",
            severity: Severity::Critical,
            since: Some(since),
            what: "A carried password that may be an old one by now has not been taken away at mgPass for ten minutes.".to_owned(),
            remedy: "`password.voided` in the log says why. Mend it; if it lasts, set these people another password at mgPass by hand (docs/troubleshooting.md, \"Passwords\").".to_owned(),
        });
    }
    let backlog = &facts.backlog;
    if is_mirroring(facts) {
        let age_ms = backlog.oldest_ms.unwrap_or_default();
        let is_paused = backlog.paused_until > facts.now_ms && age_ms > PAUSED_LONG_MS;
        let is_old = age_ms > BACKLOG_OLD_MS;
        if is_paused || is_old {
            all.push(Problem {
                code: if is_paused { "mirror_paused" } else { "backlog_old" },
                severity: if is_old { Severity::Critical } else { Severity::Warning },
                since: Some(facts.now_ms - age_ms),
                what: match is_paused {
                    true => format!("The mirror waits for a backend or a database; {} writes wait with it.", backlog.n_open),
                    false => format!("{} writes wait to be mirrored, the oldest for longer than twenty minutes.", backlog.n_open),
                },
                remedy: "`mirror.paused` and `mirror.failed` in the log say what is down. Nothing is lost: the backlog drains by itself.".to_owned(),
            });
        }
        if backlog.n_unresolved > 0 && backlog.unresolved_ms > Some(UNRESOLVED_OLD_MS) {
            all.push(Problem {
                code: "unresolved",
                severity: Severity::Warning,
                since: backlog.unresolved_ms.map(|age_ms| facts.now_ms - age_ms),
                what: format!(
                    "Registrations without a user yet: {}.",
                    backlog.n_unresolved
                ),
                remedy:
                    "The walk finds whom they made. If they stay: docs/troubleshooting.md, \"The backlog\"."
                        .to_owned(),
            });
        }
        if let Some(at) = facts.walk_at
            && at > 0
            && facts.now_ms - at > WALK_SILENT_MS
        {
            all.push(Problem {
                code: "walk_silent",
                severity: Severity::Warning,
                since: Some(at),
                what: "The walk has not moved for an hour: nobody looks for what was written past the proxy.".to_owned(),
                remedy: "`walk.delayed` in the log has the code; mend what it names.".to_owned(),
            });
        }
    }
    if is_mirroring(facts)
        && let (Some(n_ready), Some(n_mirrored)) = (facts.n_ready, facts.n_mirrored)
        && n_ready < n_mirrored
    {
        all.push(Problem {
            code: "epoch_behind",
            severity: Severity::Notice,
            since: None,
            what: format!(
                "{} of {n_mirrored} users are read from Logto until they are reconciled anew.",
                n_mirrored - n_ready
            ),
            remedy: "The walk does it; `dwp import users --no-inspect` does it sooner.".to_owned(),
        });
    }
    if facts.n_altered > 0 {
        all.push(Problem {
            code: "altered_at_mgpass",
            severity: Severity::Notice,
            since: facts.altered_at,
            what: format!("Changed in mgPass's rows within a day by nobody that its audit log names, and undone: {}.", users(facts.n_altered)),
            remedy: "`dwp mirror` shows the findings. When it goes on, find out what writes to mgPass's database.".to_owned(),
        });
    }
}

//! Sign-ins that move: what operators see of the applications, and the stop of the share.
//!
//! While Logto is the authority nobody else may create or change users at mgPass: the
//! operator declares its pages closed, and here is looked whether they are. One entry of
//! somebody else's in mgPass's audit log stops the share: two writers have begun.
//!
//! ASSUMPTION (docs/assumptions.md): the entry is there as soon as the change is, and
//! rows of the log are only ever added. What the proxy enters itself by setting a password
//! through mgPass's API is told by the times at which it did (`mirror::passwords::place`).

use serde_json::{Value, json};

use crate::policy::applications::{Application, Part};
use crate::policy::authority::Holder;
use crate::policy::flags::{Flags, Share, Stage};
use crate::runtime::context::Request;
use crate::runtime::observe::Event;
use crate::runtime::ports::{DatabaseFailure, Platform, Statement, Store};
use crate::runtime::sql::{integer, text};

/// And since when nobody else was to write: what came before Logto had the authority back
/// was mgPass's to write.
const CURSOR: &str = "SELECT w.audit AS audit, CASE a.holder WHEN 'logto' THEN a.since / 1000 ELSE 0 END AS since \
     FROM sign_in_watch w, authority a WHERE w.id = 1";
const MOVE: &str = "INSERT INTO sign_in_watch (id, audit) VALUES (1, ?1) \
     ON CONFLICT (id) DO UPDATE SET audit = excluded.audit WHERE audit <> excluded.audit";
const FOREIGN: &str = "SELECT coalesce(max(rowid), 0) AS newest, (SELECT event_type FROM audit_logs a \
     WHERE rowid > ?1 AND created_at >= ?2 AND event_type IN ('user.created', 'user.register', 'user.updated') \
     AND actor_id IS NOT 'logto_mirror' AND NOT (event_type = 'user.updated' AND EXISTS (SELECT 1 FROM logto_mirror m \
     WHERE m.user_id = a.target_id AND a.created_at BETWEEN m.own_set_from - 5 AND m.own_set_until)) ORDER BY rowid LIMIT 1) AS event FROM audit_logs";

/// Every string above, for the test that prepares each one against the schema.
#[cfg(not(target_arch = "wasm32"))]
pub const ALL_SQL: &[&str] = &[CURSOR, MOVE];
#[cfg(not(target_arch = "wasm32"))]
pub const MGPASS_SQL: &[&str] = &[FOREIGN];

/// One run of cron. What was entered while nothing could move is not judged; what was
/// entered before a stop was lifted is not judged again.
pub async fn watch<P: Platform>(platform: &P, flags: &Flags, holder: Holder) {
    if flags.applications.is_empty() {
        return;
    }
    if let Err((step, failure)) = look(platform, is_watched(flags, holder)).await {
        let code = failure.code();
        platform.emit(&Event::SignInDelayed { step, code });
    }
}

fn is_watched(flags: &Flags, holder: Holder) -> bool {
    matches!(holder, Holder::Logto | Holder::Draining)
        && flags.stage >= Stage::DualWrite
        && flags.sign_in_percent > Share::NONE
        && flags.sign_in_stop.is_none()
}

async fn look<P: Platform>(
    platform: &P,
    is_watched: bool,
) -> Result<(), (&'static str, DatabaseFailure)> {
    let first = |results: Vec<Vec<_>>| results.into_iter().flatten().next();
    let cursor = platform
        .batch(Store::Proxy, vec![Statement::new(CURSOR, vec![])])
        .await
        .map_err(|failure| ("cursor", failure))?;
    let cursor = first(cursor);
    let of_cursor = |name| cursor.as_ref().and_then(|row| integer(row, name));
    let after = of_cursor("audit").unwrap_or(i64::MAX);
    let since_s = of_cursor("since").unwrap_or(0);
    let foreign = Statement::new(FOREIGN, vec![after.into(), since_s.into()]);
    let found = platform
        .batch(Store::Mgpass, vec![foreign])
        .await
        .map_err(|failure| ("audit_log", failure))?;
    let Some(found) = first(found) else {
        return Ok(());
    };
    if is_watched
        && let Some(event) = text(&found, "event")
        && !stop(platform, &event).await
    {
        // Judged again in a minute.
        return Ok(());
    }
    let newest = integer(&found, "newest").unwrap_or(0);
    platform
        .batch(
            Store::Proxy,
            vec![Statement::new(MOVE, vec![newest.into()])],
        )
        .await
        .map_err(|failure| ("cursor", failure))?;
    Ok(())
}

async fn stop<P: Platform>(platform: &P, event: &str) -> bool {
    let reason = match event {
        "user.updated" => "foreign_user_updated",
        _ => "foreign_user_created",
    };
    let value = json!({ "reason": reason }).to_string();
    // The key is a brake; deleting it lifts it.
    let is_written = platform.put_flag("sign_in_stop", &value).await.is_ok();
    let outcome = if is_written { "written" } else { "not_written" };
    platform.emit(&Event::SignInStopped { reason, outcome });
    is_written
}

/// Nothing secret: client ids and addresses stand in every login link.
pub fn view(request: &Request<'_>) -> Value {
    let flags = &request.flags;
    let applications: Vec<_> = flags.applications.list().iter().map(shown).collect();
    json!({
        "applications": applications,
        "sign_in_bps": flags.sign_in_percent.basis_points(),
        "stop": flags.sign_in_stop.as_ref().map(|stop| &stop.reason),
        "mgpass_pages": if flags.mgpass_pages_closed { "closed" } else { "open" },
        "pin_secret": request.settings.pin_secret.is_some(),
        "is_known": flags.is_stage_known,
    })
}

fn shown(application: &Application) -> Value {
    let ready: Vec<_> = [(Part::SignIn, "sign_in"), (Part::SignOut, "sign_out")]
        .into_iter()
        .filter(|(part, _)| application.is_ready(*part))
        .map(|(_, name)| name)
        .collect();
    json!({
        "name": application.name, "group": application.group, "owner": application.owner, "ready": ready,
        "logto": { "client_id": application.logto.client_id, "start": application.logto.start },
        "mgpass": { "client_id": application.mgpass.client_id, "start": application.mgpass.start },
    })
}

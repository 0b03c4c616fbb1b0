//! The migrations and every SQL string, on real SQLite.

use std::sync::Arc;
use std::sync::atomic::AtomicI64;

use dual_write_proxy::handover::{
    arm, cleanup, debt, facts, holds, hung, log, moves, row, strays, target as handover_target,
    translated, wish,
};
use dual_write_proxy::mirror::{
    backlog, edits, fence, findings as mirror_findings, intent, mgpass_webhook, outbox, owed, pass,
    passwords::{decision, place, row as password_row, sweep as password_sweep},
    preflight, receipts,
    reverse::{feed, password as back_password, rows as back_rows, walk as back_walk},
    states, target, telling, triggers, wake, writer,
};
use dual_write_proxy::operate::certificate;
use dual_write_proxy::operate::checks;
use dual_write_proxy::operate::{
    carry_check, cleanup as clean, cutover, dependencies, findings, guard, metrics, parked, ramp,
    sign_in, timeline, watch, why,
};
use dual_write_proxy::population::jobs::{equality, store, view};
use dual_write_proxy::population::{page, points, readiness};
use dual_write_proxy::runtime::authority;
use dual_write_proxy::runtime::ports::Store;
use dual_write_proxy::serve::at_mgpass::{batch, holders, orphans, tenant};
use dual_write_proxy::serve::execute::interaction;
use dual_write_proxy::serve::ready;

use super::support::World;
use super::support::database::{
    MGPASS_MIGRATIONS, PROXY_MIGRATIONS, REWARDS_MIGRATIONS, empty, migrations, open,
};
use super::support::executor::SharedTime;

fn time() -> SharedTime {
    Arc::new(AtomicI64::new(1_800_000_000_000))
}

#[test]
fn every_statement_prepares_against_the_migrations() {
    let world = World::new();
    for (store, all) in [
        (Store::Proxy, authority::ALL_SQL),
        (Store::Proxy, row::ALL_SQL),
        (Store::Proxy, password_row::ALL_SQL),
        (Store::Proxy, password_sweep::ALL_SQL),
        (Store::Proxy, decision::ALL_SQL),
        (Store::Mgpass, place::ALL_SQL),
        (Store::Proxy, moves::ALL_SQL),
        (Store::Proxy, hung::ALL_SQL),
        (Store::Proxy, log::ALL_SQL),
        (Store::Proxy, wish::ALL_SQL),
        (Store::Proxy, cleanup::facts::ALL_SQL),
        (Store::Mgpass, cleanup::facts::MGPASS_SQL),
        (Store::Proxy, cleanup::notes::ALL_SQL),
        (Store::Proxy, clean::ALL_SQL),
        (Store::Proxy, clean::clear::ALL_SQL),
        (Store::Proxy, clean::residue::ALL_SQL),
        (Store::Mgpass, clean::residue::MGPASS_SQL),
        (Store::Mgpass, clean::verify::MGPASS_SQL),
        (Store::Proxy, facts::ALL_SQL),
        (Store::Metrics, facts::METRICS_SQL),
        (Store::Mgpass, facts::MGPASS_SQL),
        (Store::Proxy, arm::ALL_SQL),
        (Store::Proxy, strays::ALL_SQL),
        (Store::Proxy, debt::ALL_SQL),
        (Store::Proxy, back_rows::PROXY_SQL),
        (Store::Mgpass, back_rows::MGPASS_SQL),
        (Store::Proxy, feed::PROXY_SQL),
        (Store::Mgpass, feed::MGPASS_SQL),
        (Store::Proxy, back_walk::PROXY_SQL),
        (Store::Mgpass, back_walk::MGPASS_SQL),
        (Store::Mgpass, back_password::MGPASS_SQL),
        (Store::Proxy, holds::ALL_SQL),
        (Store::Proxy, translated::ALL_SQL),
        (Store::Mgpass, handover_target::ALL_SQL),
        (Store::Mgpass, batch::ALL_SQL),
        (Store::Mgpass, holders::ALL_SQL),
        (Store::Proxy, tenant::ALL_SQL),
        (Store::Proxy, orphans::PROXY_SQL),
        (Store::Mgpass, orphans::MGPASS_SQL),
        (Store::Proxy, outbox::ALL_SQL),
        (Store::Proxy, intent::ALL_SQL),
        (Store::Proxy, fence::ALL_SQL),
        (Store::Proxy, backlog::ALL_SQL),
        (Store::Proxy, triggers::ALL_SQL),
        (Store::Proxy, wake::ALL_SQL),
        (Store::Proxy, pass::ALL_SQL),
        (Store::Proxy, mirror_findings::ALL_SQL),
        (Store::Proxy, findings::ALL_SQL),
        (Store::Proxy, parked::ALL_SQL),
        (Store::Proxy, receipts::ALL_SQL),
        (Store::Mgpass, mgpass_webhook::ALL_SQL),
        (Store::Proxy, checks::kept::ALL_SQL),
        (Store::Proxy, checks::points::ALL_SQL),
        (Store::Mgpass, checks::sign_in::ALL_SQL),
        (Store::Mgpass, checks::console::ALL_SQL),
        (Store::Mgpass, checks::audit::ALL_SQL),
        (Store::Proxy, certificate::kept::ALL_SQL),
        (Store::Proxy, certificate::population::ALL_SQL),
        (Store::Proxy, ramp::ALL_SQL),
        (Store::Proxy, watch::ALL_SQL),
        (Store::Metrics, ramp::METRICS_SQL),
        (Store::Proxy, cutover::ALL_SQL),
        (Store::Metrics, cutover::METRICS_SQL),
        (Store::Mgpass, cutover::MGPASS_SQL),
        (Store::Metrics, timeline::ALL_SQL),
        (Store::Mgpass, timeline::MGPASS_SQL),
        (Store::Proxy, store::ALL_SQL),
        (Store::Proxy, view::ALL_SQL),
        (Store::Proxy, equality::ALL_SQL),
        (Store::Proxy, ready::ALL_SQL),
        (Store::Proxy, interaction::ALL_SQL),
        (Store::Proxy, why::ALL_SQL),
        (Store::Mgpass, why::MGPASS_SQL),
        (Store::Mgpass, ready::MGPASS_SQL),
        (Store::Proxy, dependencies::ALL_SQL),
        (Store::Proxy, sign_in::ALL_SQL),
        (Store::Mgpass, sign_in::MGPASS_SQL),
        (Store::Mgpass, owed::ALL_SQL),
        (Store::Mgpass, target::ALL_SQL),
        (Store::Mgpass, writer::ALL_SQL),
        (Store::Mgpass, telling::ALL_SQL),
        (Store::Mgpass, points::audit::ALL_SQL),
        (Store::Mgpass, edits::ALL_SQL),
        (Store::Mgpass, states::ALL_SQL),
        (Store::Mgpass, page::ALL_SQL),
        (Store::Mgpass, readiness::ALL_SQL),
        (Store::Proxy, readiness::PROXY_SQL),
        (Store::Mgpass, carry_check::MGPASS_SQL),
        (Store::Metrics, metrics::ALL_SQL),
        (Store::Metrics, guard::ALL_SQL),
        (Store::Rewards, points::source::ALL_SQL),
        (Store::Mgpass, points::target::ALL_SQL),
    ] {
        for sql in all {
            assert_eq!(world.databases.prepares(store, sql), Ok(()), "{sql}");
            // As docs/limits.md says; D1 takes 100,000.
            assert!(sql.len() < 5_000, "{sql}");
        }
    }
    for step in clean::clear::STEPS {
        for sql in step.sql() {
            assert_eq!(world.databases.prepares(step.store, sql), Ok(()), "{sql}");
        }
    }
    for part in clean::history::PARTS {
        let sql = part.sql();
        assert_eq!(world.databases.prepares(part.store, sql), Ok(()), "{sql}");
    }
    for (store, shape) in [
        (Store::Mgpass, &preflight::MIRROR),
        (Store::Mgpass, &preflight::REWARDS_TARGET),
        (Store::Rewards, &preflight::REWARDS_SOURCE),
    ] {
        for statement in shape.read() {
            assert_eq!(world.databases.prepares(store, statement.sql), Ok(()));
        }
    }
}

/// A string that is missing in the list would escape the tests above and below.
#[test]
fn the_lists_of_statements_are_complete() {
    for (source, all) in [
        (
            include_str!("../../src/runtime/authority.rs"),
            authority::ALL_SQL,
        ),
        (include_str!("../../src/handover/row.rs"), row::ALL_SQL),
        (include_str!("../../src/handover/moves.rs"), moves::ALL_SQL),
        (include_str!("../../src/handover/hung.rs"), hung::ALL_SQL),
        (include_str!("../../src/handover/log.rs"), log::ALL_SQL),
        (include_str!("../../src/handover/wish.rs"), wish::ALL_SQL),
        (include_str!("../../src/handover/arm.rs"), arm::ALL_SQL),
        (
            include_str!("../../src/handover/cleanup/facts.rs"),
            &[cleanup::facts::ALL_SQL, cleanup::facts::MGPASS_SQL].concat(),
        ),
        (
            include_str!("../../src/handover/cleanup/notes.rs"),
            cleanup::notes::ALL_SQL,
        ),
        (include_str!("../../src/operate/cleanup.rs"), clean::ALL_SQL),
        (
            include_str!("../../src/operate/cleanup/residue.rs"),
            &[clean::residue::ALL_SQL, clean::residue::MGPASS_SQL].concat(),
        ),
        (
            include_str!("../../src/operate/cleanup/verify.rs"),
            clean::verify::MGPASS_SQL,
        ),
        (
            include_str!("../../src/handover/strays.rs"),
            strays::ALL_SQL,
        ),
        (include_str!("../../src/handover/debt.rs"), debt::ALL_SQL),
        (
            include_str!("../../src/mirror/reverse/rows.rs"),
            &[back_rows::PROXY_SQL, back_rows::MGPASS_SQL].concat(),
        ),
        (
            include_str!("../../src/mirror/reverse/feed.rs"),
            &[feed::PROXY_SQL, feed::MGPASS_SQL].concat(),
        ),
        (
            include_str!("../../src/mirror/reverse/password.rs"),
            back_password::MGPASS_SQL,
        ),
        (
            include_str!("../../src/mirror/reverse/walk.rs"),
            &[back_walk::PROXY_SQL, back_walk::MGPASS_SQL].concat(),
        ),
        (include_str!("../../src/handover/holds.rs"), holds::ALL_SQL),
        (
            include_str!("../../src/handover/translated.rs"),
            translated::ALL_SQL,
        ),
        (
            include_str!("../../src/handover/target.rs"),
            handover_target::ALL_SQL,
        ),
        (
            include_str!("../../src/serve/at_mgpass/batch.rs"),
            batch::ALL_SQL,
        ),
        (
            include_str!("../../src/serve/at_mgpass/holders.rs"),
            holders::ALL_SQL,
        ),
        (
            include_str!("../../src/serve/at_mgpass/tenant.rs"),
            tenant::ALL_SQL,
        ),
        (
            include_str!("../../src/serve/at_mgpass/orphans.rs"),
            &[orphans::PROXY_SQL, orphans::MGPASS_SQL].concat(),
        ),
        (include_str!("../../src/mirror/outbox.rs"), outbox::ALL_SQL),
        (include_str!("../../src/mirror/intent.rs"), intent::ALL_SQL),
        (include_str!("../../src/mirror/fence.rs"), fence::ALL_SQL),
        (
            include_str!("../../src/mirror/backlog.rs"),
            backlog::ALL_SQL,
        ),
        (
            include_str!("../../src/mirror/triggers.rs"),
            triggers::ALL_SQL,
        ),
        (include_str!("../../src/mirror/wake.rs"), wake::ALL_SQL),
        (include_str!("../../src/mirror/pass.rs"), pass::ALL_SQL),
        (
            include_str!("../../src/mirror/findings.rs"),
            mirror_findings::ALL_SQL,
        ),
        (include_str!("../../src/mirror/target.rs"), target::ALL_SQL),
        (include_str!("../../src/mirror/writer.rs"), writer::ALL_SQL),
        (include_str!("../../src/mirror/edits.rs"), edits::ALL_SQL),
        (
            include_str!("../../src/mirror/telling.rs"),
            telling::ALL_SQL,
        ),
        (
            include_str!("../../src/population/points/audit.rs"),
            points::audit::ALL_SQL,
        ),
        (include_str!("../../src/mirror/states.rs"), states::ALL_SQL),
        (include_str!("../../src/population/page.rs"), page::ALL_SQL),
        (
            include_str!("../../src/population/readiness.rs"),
            &[readiness::ALL_SQL, readiness::PROXY_SQL].concat(),
        ),
        (
            include_str!("../../src/mirror/passwords/row.rs"),
            password_row::ALL_SQL,
        ),
        (
            include_str!("../../src/mirror/passwords/place.rs"),
            place::ALL_SQL,
        ),
        (
            include_str!("../../src/mirror/passwords/sweep.rs"),
            password_sweep::ALL_SQL,
        ),
        (
            include_str!("../../src/mirror/passwords/decision.rs"),
            decision::ALL_SQL,
        ),
        (
            include_str!("../../src/operate/carry_check.rs"),
            carry_check::MGPASS_SQL,
        ),
        (
            include_str!("../../src/population/jobs/store.rs"),
            store::ALL_SQL,
        ),
        (
            include_str!("../../src/population/jobs/view.rs"),
            view::ALL_SQL,
        ),
        (
            include_str!("../../src/population/jobs/equality.rs"),
            equality::ALL_SQL,
        ),
        (
            include_str!("../../src/operate/findings.rs"),
            findings::ALL_SQL,
        ),
        (
            include_str!("../../src/operate/metrics.rs"),
            metrics::ALL_SQL,
        ),
        (include_str!("../../src/operate/guard.rs"), guard::ALL_SQL),
        (
            include_str!("../../src/operate/dependencies.rs"),
            dependencies::ALL_SQL,
        ),
        (
            include_str!("../../src/operate/sign_in.rs"),
            &[sign_in::ALL_SQL, sign_in::MGPASS_SQL].concat(),
        ),
        (include_str!("../../src/mirror/owed.rs"), owed::ALL_SQL),
        (
            include_str!("../../src/serve/execute/interaction.rs"),
            interaction::ALL_SQL,
        ),
        (
            include_str!("../../src/operate/why.rs"),
            &[why::ALL_SQL, why::MGPASS_SQL].concat(),
        ),
        (
            include_str!("../../src/serve/ready.rs"),
            &[ready::ALL_SQL, ready::MGPASS_SQL].concat(),
        ),
        (include_str!("../../src/operate/parked.rs"), parked::ALL_SQL),
        (include_str!("../../src/operate/watch.rs"), watch::ALL_SQL),
        (
            include_str!("../../src/operate/ramp/book.rs"),
            &[ramp::ALL_SQL, ramp::METRICS_SQL].concat(),
        ),
        (
            concat!(
                include_str!("../../src/operate/cutover.rs"),
                include_str!("../../src/operate/cutover/course.rs"),
                include_str!("../../src/operate/cutover/points.rs")
            ),
            &[cutover::ALL_SQL, cutover::METRICS_SQL, cutover::MGPASS_SQL].concat(),
        ),
        (
            include_str!("../../src/operate/timeline.rs"),
            &[timeline::ALL_SQL, timeline::MGPASS_SQL].concat(),
        ),
        (
            include_str!("../../src/population/points/source.rs"),
            points::source::ALL_SQL,
        ),
        (
            include_str!("../../src/population/points/target.rs"),
            points::target::ALL_SQL,
        ),
    ] {
        let n_constants = source
            .lines()
            .filter(|line| {
                let line = line
                    .trim_start_matches("pub(super) ")
                    .trim_start_matches("pub(crate) ")
                    .trim_start_matches("pub ");
                line.starts_with("const ") && line.contains(": &str =")
            })
            .filter(|line| {
                !line.contains("IDENTITY_PREFIX")
                    && !line.contains("PROBED")
                    && !line.contains("UNBOUNDED")
            })
            .count();
        assert_eq!(all.len(), n_constants);
    }
}

#[test]
fn migrations_are_numbered_without_gap_and_named_by_verb_and_noun() {
    for folder in ["proxy", "mgpass", "mirror", "metrics", "rewards"] {
        for (index, (name, _)) in migrations(&[folder]).iter().enumerate() {
            let file = name.rsplit('/').next().unwrap();
            let (number, words) = file.trim_end_matches(".sql").split_once('_').unwrap();
            assert_eq!(number, format!("{:04}", index + 1), "{name}");
            assert!(words.contains('_'), "{name}");
        }
    }
}

#[test]
fn migrations_build_the_same_database_every_time_and_never_run_twice_by_accident() {
    let schema = |folders: &[&str]| {
        let connection = open(&time(), folders);
        let mut statement = connection
            .prepare("SELECT sql FROM sqlite_schema ORDER BY name")
            .unwrap();
        let rows = statement
            .query_map([], |row| row.get::<_, Option<String>>(0))
            .unwrap();
        rows.map(Result::unwrap).collect::<Vec<_>>()
    };
    for folders in [PROXY_MIGRATIONS, MGPASS_MIGRATIONS, REWARDS_MIGRATIONS] {
        assert_eq!(schema(folders), schema(folders));
        let connection = open(&time(), folders);
        for (name, sql) in migrations(folders) {
            // Fails as a whole instead of half repeating itself (a second seed row, say).
            assert!(
                connection.execute_batch(&format!("BEGIN; {sql}")).is_err(),
                "{name}"
            );
            connection.execute_batch("ROLLBACK").unwrap();
        }
    }
}

#[test]
fn the_mirrors_tables_stand_on_their_own() {
    // A real mgPass is never given the tables of `schema/mgpass`.
    let connection = empty(&time());
    for (_, sql) in migrations(&["mirror"]) {
        connection.execute_batch(&sql).unwrap();
    }
}

#[test]
fn every_table_is_strict() {
    for folders in [PROXY_MIGRATIONS, MGPASS_MIGRATIONS, REWARDS_MIGRATIONS] {
        let connection = open(&time(), folders);
        let sql = "SELECT group_concat(name) FROM pragma_table_list WHERE schema = 'main' AND type = 'table' AND NOT strict AND name NOT LIKE 'sqlite_%'";
        let loose: Option<String> = connection.query_row(sql, [], |row| row.get(0)).unwrap();
        assert_eq!(loose, None);
    }
}

fn differences(changes: &str) -> Vec<String> {
    differences_of(Store::Mgpass, &preflight::MIRROR, changes)
}

fn differences_of(store: Store, shape: &preflight::Shape, changes: &str) -> Vec<String> {
    let world = World::new();
    world.databases.execute(store, changes);
    let results = world.databases.batch(store, &shape.read()).unwrap();
    shape
        .differences(&results)
        .into_iter()
        .map(|difference| {
            format!(
                "{}.{} {}",
                difference.table, difference.column, difference.code
            )
        })
        .collect()
}

#[test]
fn the_preflight_passes_on_the_shape_we_rely_on() {
    assert_eq!(differences(""), [""; 0]);
    // What mgPass adds for itself is its own matter.
    assert_eq!(
        differences("ALTER TABLE users ADD COLUMN locale TEXT"),
        [""; 0]
    );
    assert_eq!(
        differences("ALTER TABLE users ADD COLUMN flags INTEGER NOT NULL DEFAULT 0"),
        [""; 0]
    );
    assert_eq!(
        differences("ALTER TABLE roles ADD COLUMN kind TEXT NOT NULL DEFAULT 'x'"),
        [""; 0]
    );
}

#[test]
fn the_preflight_names_each_difference() {
    assert_eq!(
        differences("DROP TABLE logto_mirror_effects"),
        ["logto_mirror_effects.* table_missing"]
    );
    assert_eq!(
        differences(
            "ALTER TABLE users RENAME COLUMN avatar TO picture; ALTER TABLE users DROP COLUMN suspension_reason"
        ),
        [
            "users.avatar column_missing",
            "users.suspension_reason column_missing"
        ]
    );
    assert_eq!(
        differences(
            "DROP TABLE user_roles; CREATE TABLE user_roles (user_id TEXT NOT NULL, role_id TEXT NOT NULL, created_at INTEGER NOT NULL, tenant TEXT NOT NULL)"
        ),
        ["user_roles.tenant unknown_column_required"]
    );
}

#[test]
fn the_rewards_tables_have_a_preflight_of_their_own() {
    let target = |changes| differences_of(Store::Mgpass, &preflight::REWARDS_TARGET, changes);
    let source = |changes| differences_of(Store::Rewards, &preflight::REWARDS_SOURCE, changes);
    assert_eq!((target(""), source("")), (vec![], vec![]));
    // The mirror of users goes on without them.
    assert_eq!(
        differences("DROP TABLE points_ledger; DROP TABLE user_rewards"),
        [""; 0]
    );
    assert_eq!(
        target(
            "DROP TABLE points_ledger; ALTER TABLE user_rewards ADD COLUMN currency TEXT NOT NULL DEFAULT 'x'"
        ),
        ["points_ledger.* table_missing"]
    );
    assert_eq!(
        target(
            "DROP TABLE user_rewards; CREATE TABLE user_rewards (user_id TEXT, total_points INTEGER, lifetime_earned INTEGER, tier TEXT, updated_at INTEGER, wallet TEXT NOT NULL)"
        ),
        ["user_rewards.wallet unknown_column_required"]
    );
    // The source is only read: what else it has is its own matter.
    assert_eq!(
        source(
            "DROP TABLE rewards_users; CREATE TABLE rewards_users (user_id TEXT, points INTEGER NOT NULL, lifetime_earned INTEGER, tier TEXT)"
        ),
        ["rewards_users.total_points column_missing"]
    );
}

/// What SQLite would do, step by step.
fn plan_of(connection: &rusqlite::Connection, sql: &str) -> Vec<String> {
    let mut statement = connection
        .prepare(&format!("EXPLAIN QUERY PLAN {sql}"))
        .unwrap();
    let rows = statement.raw_query();
    let steps = rows.mapped(|row| row.get::<_, String>("detail"));
    steps.map(Result::unwrap).collect()
}

#[test]
fn no_statement_reads_a_growing_table_from_end_to_end() {
    let proxy = open(&time(), PROXY_MIGRATIONS);
    let mgpass = open(&time(), MGPASS_MIGRATIONS);
    let rewards = open(&time(), REWARDS_MIGRATIONS);
    let paged: Vec<_> = points::source::ALL_SQL
        .iter()
        .copied()
        // Counts everybody, once an import.
        .filter(|sql| !sql.contains("count(DISTINCT"))
        .collect();
    let small = [
        "password_carry",
        // Lists and portions that the statement itself bounds.
        "e",
        "p",
        "reward_tiers",
        "authority",
        "logto_mirror_authority",
        "counters",
        "roles",
        "r",
        "w",
        "json_each",
        "logto_mirror_effects",
        "CONSTANT",
        "walk",
        // A row for each step of clearing, and for each thing that was named before it.
        "cleanup_steps",
        "cleanup_notes",
        "old_issuer",
        "cutover_watch",
        // From its end, a bounded number of rows.
        "authority_log",
        // A row for each application, kind of evidence, and user whom a person decides
        // on; read whole at a move of the authority and at its gates.
        "evidence",
        "dependencies",
        "debt",
        "held_subjects",
        "h",
        "d",
        "u",
    ];
    for (connection, all) in [
        (&proxy, authority::ALL_SQL),
        (&proxy, row::ALL_SQL),
        (&proxy, moves::ALL_SQL),
        (&proxy, cleanup::facts::ALL_SQL),
        (&proxy, cleanup::notes::ALL_SQL),
        (&proxy, hung::ALL_SQL),
        (&proxy, log::ALL_SQL),
        (&proxy, wish::ALL_SQL),
        (&proxy, facts::ALL_SQL),
        (&proxy, arm::ALL_SQL),
        (&proxy, strays::ALL_SQL),
        (&proxy, debt::ALL_SQL),
        (&proxy, back_rows::PROXY_SQL),
        (&mgpass, back_rows::MGPASS_SQL),
        (&proxy, feed::PROXY_SQL),
        (&mgpass, feed::MGPASS_SQL),
        (&proxy, back_walk::PROXY_SQL),
        (&mgpass, back_walk::MGPASS_SQL),
        (&mgpass, back_password::MGPASS_SQL),
        (&proxy, holds::ALL_SQL),
        (&proxy, translated::ALL_SQL),
        (&mgpass, handover_target::ALL_SQL),
        (&mgpass, batch::ALL_SQL),
        (&mgpass, holders::ALL_SQL),
        (&proxy, orphans::PROXY_SQL),
        (&mgpass, orphans::MGPASS_SQL),
        (&proxy, outbox::ALL_SQL),
        (&proxy, intent::ALL_SQL),
        (&proxy, fence::ALL_SQL),
        (&proxy, backlog::ALL_SQL),
        (&proxy, triggers::ALL_SQL),
        (&proxy, wake::ALL_SQL),
        (&proxy, pass::ALL_SQL),
        (&proxy, mirror_findings::ALL_SQL),
        (&proxy, password_row::ALL_SQL),
        (&proxy, password_sweep::ALL_SQL),
        (&mgpass, place::ALL_SQL),
        (&mgpass, target::ALL_SQL),
        (&mgpass, writer::ALL_SQL),
        (&mgpass, telling::ALL_SQL),
        (&mgpass, points::audit::ALL_SQL),
        (&mgpass, edits::ALL_SQL),
        (&mgpass, points::target::ALL_SQL),
        (&rewards, &paged),
    ] {
        for sql in all {
            for step in plan_of(connection, sql) {
                let Some(scanned) = step.strip_prefix("SCAN ") else {
                    continue;
                };
                let table = scanned.split(' ').next().unwrap_or_default();
                // By a partial index it reads only the rows it is for.
                let is_bounded = [
                    "intents_undischarged",
                    "intents_discharged",
                    "subjects_parked",
                    "intents_unresolved",
                    "findings_by_time",
                    "logto_mirror_by_tombstone",
                    "logto_mirror_by_telling",
                    "strays_open",
                    "passwords_due",
                    "passwords_under_way",
                ]
                .iter()
                .any(|index| step.contains(index));
                // A portion of rows that steps of its own, judged here too, put together.
                let is_bounded = is_bounded || table.starts_with("(subquery");
                assert!(small.contains(&table) || is_bounded, "{step}: {sql}");
            }
        }
    }
}

#[test]
fn the_sweep_uses_its_indexes() {
    let connection = open(&time(), PROXY_MIGRATIONS);
    for (part, index) in [
        ("SELECT DISTINCT i.subject, ''", "intents_undischarged"),
        ("AS waiting", "intents_undischarged"),
        ("FROM json_each(?1) w WHERE EXISTS", "intents_by_subject"),
        (
            "DELETE FROM intents WHERE discharged_at",
            "intents_discharged",
        ),
        ("DELETE FROM interactions", "interactions_by_age"),
        (
            "EXISTS (SELECT 1 FROM intents i WHERE i.subject = ?1",
            "intents_by_subject",
        ),
        ("UPDATE intents SET subject", "intents_by_interaction"),
    ] {
        let sql = outbox::ALL_SQL
            .iter()
            .chain(intent::ALL_SQL)
            .chain(backlog::ALL_SQL)
            .chain(wake::ALL_SQL)
            .find(|sql| sql.contains(part))
            .unwrap();
        let steps = plan_of(&connection, sql).join("\n");
        assert!(steps.contains(index), "{steps}");
    }
}

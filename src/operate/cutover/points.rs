//! Points at mgPass, which nobody but mgPass writes now: whether what was imported is
//! there unchanged, and whether balances are the sums of their entries. Counted by cron,
//! and rarely: it takes a look at each entry.

use serde_json::{Value as Json, json};

use crate::policy::cutover::Points;
use crate::runtime::ports::{Platform, Row, Statement, Store, Value};
use crate::runtime::sql::{integer, text};

/// Small, and of ours: answers when the database does.
const IS_THERE: &str = "SELECT generation FROM logto_mirror_authority";
/// '`' follows '_'. Balances of mgPass's own users are its own affair.
const COUNT: &str = "SELECT (SELECT count(*) FROM points_ledger WHERE id >= 'pts_lm_' AND id < 'pts_lm`') AS n_imported, \
     (SELECT coalesce(sum(points), 0) FROM points_ledger WHERE id >= 'pts_lm_' AND id < 'pts_lm`') AS imported_sum, \
     (SELECT count(*) FROM points_ledger) AS n_entries, \
     (SELECT count(*) FROM user_rewards r JOIN logto_mirror m ON m.user_id = r.user_id WHERE m.tombstone = 0 \
     AND r.total_points <> (SELECT coalesce(sum(l.points), 0) FROM points_ledger l WHERE l.user_id = r.user_id)) AS n_adrift";

/// Every string above, for the test that prepares each one against the schema.
#[cfg(not(target_arch = "wasm32"))]
pub const ALL_SQL: &[&str] = &[IS_THERE, COUNT];

const EVERY_MS: i64 = 600_000;

/// As first and as last read in a term.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Kept {
    first: Option<Points>,
    last: Option<Points>,
    pub(super) at_ms: i64,
}

impl Kept {
    pub(super) fn parse(row: &Row) -> Self {
        let points = |name| from_json(&serde_json::from_str(&text(row, name)?).ok()?);
        Self {
            first: points("points_first"),
            last: points("points_last"),
            at_ms: integer(row, "points_at").unwrap_or_default(),
        }
    }

    pub(super) fn take(&mut self, last: Points, now_ms: i64) {
        self.first = self.first.or(Some(last));
        self.last = Some(last);
        self.at_ms = now_ms;
    }

    pub(super) fn both(&self) -> Option<(Points, Points)> {
        self.first.zip(self.last)
    }

    pub(super) fn kept(&self) -> [Value; 2] {
        let kept = |points: &Option<Points>| match points {
            Some(points) => to_json(points).to_string().into(),
            None => Value::Null,
        };
        [kept(&self.first), kept(&self.last)]
    }
}

pub(super) fn is_due(kept: &Kept, now_ms: i64) -> bool {
    !(0..EVERY_MS).contains(&(now_ms - kept.at_ms))
}

/// Whether mgPass's database answers.
pub(super) async fn is_there<P: Platform>(platform: &P) -> bool {
    let asked = vec![Statement::new(IS_THERE, vec![])];
    platform.batch(Store::Mgpass, asked).await.is_ok()
}

/// `None`: not to be had, or mgPass keeps its points elsewhere.
pub(super) async fn read<P: Platform>(platform: &P) -> Option<Points> {
    let asked = vec![Statement::new(COUNT, vec![])];
    let results = platform.batch(Store::Mgpass, asked).await.ok()?;
    let row = results.into_iter().flatten().next()?;
    from_json(&Json::Object(row))
}

fn from_json(kept: &Json) -> Option<Points> {
    let of = |name| kept.get(name)?.as_i64();
    Some(Points {
        n_imported: of("n_imported")?,
        imported_sum: of("imported_sum")?,
        n_entries: of("n_entries")?,
        n_adrift: of("n_adrift")?,
    })
}

fn to_json(points: &Points) -> Json {
    json!({
        "n_imported": points.n_imported,
        "imported_sum": points.imported_sum,
        "n_entries": points.n_entries,
        "n_adrift": points.n_adrift,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_stays_and_the_last_moves() {
        let of = |n_entries| Points {
            n_entries,
            ..Points::default()
        };
        let mut kept = Kept::default();
        assert!(is_due(&kept, EVERY_MS));
        kept.take(of(1), EVERY_MS);
        kept.take(of(2), EVERY_MS + 1);
        assert_eq!(kept.both(), Some((of(1), of(2))));
        assert!(!is_due(&kept, EVERY_MS + 2));
        let [first, last] = kept.kept();
        let row = json!({ "points_first": text_of(&first), "points_last": text_of(&last), "points_at": EVERY_MS + 1 });
        assert_eq!(Kept::parse(row.as_object().unwrap()), kept);
    }

    fn text_of(value: &Value) -> &str {
        match value {
            Value::Text(text) => text,
            _ => panic!("{value:?}"),
        }
    }
}

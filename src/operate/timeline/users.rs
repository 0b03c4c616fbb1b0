//! How many users are mirrored, and equal in the current epoch: counted by cron, since it
//! takes a look at each.

use super::{COUNT_USERS, PUT_GAUGE};
use crate::runtime::ports::{Platform, Row, Statement, Store, Value};
use crate::runtime::sql::{integer, text};

/// Whoever has many users does not count them every minute.
const FEW_USERS: i64 = 20_000;
const COUNTED_EVERY_MS: i64 = 600_000;

/// Users equal in the current epoch, users mirrored, and when they were counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Users {
    pub n_ready: Option<i64>,
    pub n_mirrored: Option<i64>,
    pub at: i64,
}

pub fn parse_gauges(rows: &[Row]) -> Users {
    let find = |name: &str| {
        let mut rows = rows.iter();
        rows.find(|row| text(row, "name").as_deref() == Some(name))
    };
    let value = |name| find(name).and_then(|row| integer(row, "value"));
    Users {
        n_ready: value("n_ready"),
        n_mirrored: value("n_mirrored"),
        at: find("n_ready")
            .and_then(|row| integer(row, "at"))
            .unwrap_or_default(),
    }
}

impl Users {
    fn is_due(&self, now_ms: i64) -> bool {
        let every_ms = match self.n_mirrored {
            Some(many) if many > FEW_USERS => COUNTED_EVERY_MS,
            Some(_) | None => 0,
        };
        !(0..every_ms).contains(&(now_ms - self.at))
    }
}

/// As counted before, unless that is due again; and what keeps the new count.
pub(super) async fn count_users<P: Platform>(
    platform: &P,
    before: Users,
    backlog: &Row,
    now_ms: i64,
) -> (Users, Vec<Statement>) {
    let Some(epoch) = integer(backlog, "epoch").filter(|_| before.is_due(now_ms)) else {
        return (before, Vec::new());
    };
    let asked = vec![Statement::new(COUNT_USERS, vec![epoch.into()])];
    let Ok(results) = platform.batch(Store::Mgpass, asked).await else {
        return (before, Vec::new());
    };
    let row = results.into_iter().flatten().next().unwrap_or_default();
    let users = Users {
        n_ready: integer(&row, "n_ready"),
        n_mirrored: integer(&row, "n_mirrored"),
        at: now_ms,
    };
    let kept = [("n_ready", users.n_ready), ("n_mirrored", users.n_mirrored)];
    let kept = kept.into_iter().filter_map(|(name, value)| {
        let values = vec![name.into(), Value::Integer(value?), now_ms.into()];
        Some(Statement::new(PUT_GAUGE, values))
    });
    (users, kept.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_users_are_counted_rarely_and_few_each_time() {
        let users = |n_mirrored| Users {
            n_ready: None,
            n_mirrored,
            at: 1_000_000,
        };
        assert!(users(None).is_due(1_000_000));
        assert!(users(Some(FEW_USERS)).is_due(1_000_000));
        let many = users(Some(FEW_USERS + 1));
        assert!(!many.is_due(1_000_001));
        assert!(many.is_due(1_000_000 + COUNTED_EVERY_MS));
        assert!(many.is_due(999_999), "a clock set back");
    }
}

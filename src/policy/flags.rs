//! The operator's flags: one KV key, one plain value.
//!
//! Parsing is pure and total: a bad value keeps that key's last good value in
//! this isolate, else its safe default, and is reported. It never stops traffic.
//! One snapshot serves a whole request.

pub mod bucket;

use crate::inbound::classify::{Kind, OPERATIONS, Operation};

/// The operator's wish. What is built stops at `dual_write`: the two later
/// stages parse and are refused, and the last allowed stage stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    Off,
    Shadow,
    DualWrite,
    Cutover,
    Cleanup,
}

impl Stage {
    pub fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Shadow => "shadow",
            Self::DualWrite => "dual_write",
            Self::Cutover => "cutover",
            Self::Cleanup => "cleanup",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        [
            Self::Off,
            Self::Shadow,
            Self::DualWrite,
            Self::Cutover,
            Self::Cleanup,
        ]
        .into_iter()
        .find(|stage| stage.name() == text)
    }

    pub fn is_built(self) -> bool {
        self <= Self::DualWrite
    }
}

/// A share of all users or requests, in basis points: 0 to 10,000.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Share(u16);

impl Share {
    pub const NONE: Self = Self(0);
    pub const ONE_PERCENT: Self = Self(100);
    pub const ALL: Self = Self(10_000);

    pub fn basis_points(self) -> u16 {
        self.0
    }

    /// `0` to `100` with up to two decimals; no sign, no exponent, no spaces.
    pub fn parse_percent(text: &str) -> Option<Self> {
        let (whole, decimals) = text.split_once('.').unwrap_or((text, "0"));
        let digits =
            |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        if !digits(whole) || !digits(decimals) || whole.len() > 3 || decimals.len() > 2 {
            return None;
        }
        let hundredths: u16 = match decimals.len() {
            1 => decimals.parse::<u16>().ok()? * 10,
            _ => decimals.parse().ok()?,
        };
        let basis_points = whole.parse::<u16>().ok()? * 100 + hundredths;
        (basis_points <= 10_000).then_some(Self(basis_points))
    }
}

/// A ramp that the guard stopped: reads from mgPass are capped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Guard {
    pub cap: Share,
    pub reason: String,
}

/// One snapshot of all flags.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flags {
    pub stage: Stage,
    /// False until KV has told this isolate a stage: then `stage` is `off`, which may be wrong.
    pub is_stage_known: bool,
    /// A later stage that was asked for and refused.
    pub refused_stage: Option<Stage>,
    pub read_percent: Share,
    /// One entry per operation that mgPass may serve.
    pub read_percent_by_operation: Vec<(Operation, Option<Share>)>,
    /// `None`: the default, which depends on stage and `read_percent`.
    pub compare_percent: Option<Share>,
    pub kill_switch: bool,
    /// `/oidc/jwks` serves the keys of both issuers.
    pub jwks_union: bool,
    pub salt: String,
    pub guard: Option<Guard>,
}

impl Default for Flags {
    fn default() -> Self {
        Self {
            stage: Stage::Off,
            is_stage_known: true,
            refused_stage: None,
            read_percent: Share::NONE,
            read_percent_by_operation: served_operations()
                .map(|operation| (operation, None))
                .collect(),
            compare_percent: None,
            kill_switch: false,
            jwks_union: false,
            salt: String::new(),
            guard: None,
        }
    }
}

impl Flags {
    /// What an isolate has that KV has told nothing.
    pub fn unknown() -> Self {
        Self {
            is_stage_known: false,
            ..Self::default()
        }
    }

    pub fn stage_name(&self) -> &'static str {
        if self.is_stage_known {
            self.stage.name()
        } else {
            "unknown"
        }
    }

    /// In doubt yes: an intent too many waits in the outbox and does no harm, one too
    /// few is a write that only the walk finds.
    pub fn records_writes(&self) -> bool {
        self.stage != Stage::Off || !self.is_stage_known
    }

    /// The share that holds for one operation, before the guard's cap.
    pub fn read_share(&self, operation: Operation) -> Share {
        self.read_percent_by_operation
            .iter()
            .find(|(candidate, _)| *candidate == operation)
            .and_then(|(_, share)| *share)
            .unwrap_or(self.read_percent)
    }

    pub fn compare_share(&self) -> Share {
        let comparing = self.stage == Stage::Shadow || self.read_percent > Share::NONE;
        let default = if comparing {
            Share::ONE_PERCENT
        } else {
            Share::NONE
        };
        self.compare_percent.unwrap_or(default)
    }
}

fn served_operations() -> impl Iterator<Item = Operation> {
    OPERATIONS
        .iter()
        .filter(|row| row.kind == Kind::Read)
        .map(|row| row.operation)
}

/// Every key that is read, in one order: the caller fetches them all.
pub fn keys() -> Vec<String> {
    let fixed = [
        "stage",
        "read_percent",
        "compare_percent",
        "kill_switch",
        "jwks_union",
        "salt",
        "guard",
    ];
    let per_operation = served_operations().map(operation_key);
    fixed
        .into_iter()
        .map(String::from)
        .chain(per_operation)
        .collect()
}

fn operation_key(operation: Operation) -> String {
    format!("read_percent.{}", operation.name())
}

/// A value that was not taken. The value itself is not repeated: it may be anything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlagFault {
    pub key: String,
    pub code: &'static str,
}

/// What KV answered, key by key; `None` is an absent key.
pub type RawFlags = [(String, Option<String>)];

/// The next snapshot: `raw` over `previous`.
pub fn parse(previous: &Flags, raw: &RawFlags) -> (Flags, Vec<FlagFault>) {
    let defaults = Flags::default();
    let mut next = previous.clone();
    let mut faults = Vec::new();
    for (key, value) in raw {
        // Tolerates the line end that `echo` adds.
        let value = value.as_deref().map(str::trim);
        let taken = match key.as_str() {
            "stage" => parse_stage(&mut next, value),
            "read_percent" => set(
                &mut next.read_percent,
                value,
                defaults.read_percent,
                Share::parse_percent,
            ),
            "compare_percent" => set(&mut next.compare_percent, value, None, |text| {
                Share::parse_percent(text).map(Some)
            }),
            "kill_switch" => set(&mut next.kill_switch, value, false, parse_switch),
            "jwks_union" => set(&mut next.jwks_union, value, false, parse_switch),
            "salt" => set(&mut next.salt, value, String::new(), |text| {
                (text.len() <= 256).then(|| text.to_owned())
            }),
            "guard" => set(&mut next.guard, value, None, parse_guard),
            _ => next
                .read_percent_by_operation
                .iter_mut()
                .find(|(operation, _)| operation_key(*operation) == *key)
                .map_or(Ok(()), |(_, share)| {
                    set(share, value, None, |text| {
                        Share::parse_percent(text).map(Some)
                    })
                }),
        };
        if let Err(code) = taken {
            faults.push(FlagFault {
                key: key.clone(),
                code,
            });
        }
    }
    (next, faults)
}

fn set<T>(
    field: &mut T,
    value: Option<&str>,
    absent: T,
    parse: impl Fn(&str) -> Option<T>,
) -> Result<(), &'static str> {
    match value {
        None => *field = absent,
        Some(text) => *field = parse(text).ok_or("unreadable")?,
    }
    Ok(())
}

fn parse_stage(flags: &mut Flags, value: Option<&str>) -> Result<(), &'static str> {
    let stage = match value {
        None => Stage::Off,
        Some(text) => Stage::parse(text).ok_or("unreadable")?,
    };
    if !stage.is_built() {
        flags.refused_stage = Some(stage);
        return Err("stage_refused");
    }
    flags.refused_stage = None;
    flags.stage = stage;
    flags.is_stage_known = true;
    Ok(())
}

fn parse_switch(text: &str) -> Option<bool> {
    match text {
        "on" => Some(true),
        "off" | "" => Some(false),
        _ => None,
    }
}

/// `{"cap_percent": "0", "reason": "..."}`, as the guard writes it.
fn parse_guard(text: &str) -> Option<Option<Guard>> {
    let value: serde_json::Value = serde_json::from_str(text).ok()?;
    let cap = Share::parse_percent(value.get("cap_percent")?.as_str()?)?;
    let reason = value.get("reason")?.as_str()?.to_owned();
    Some(Some(Guard { cap, reason }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(pairs: &[(&str, Option<&str>)]) -> Vec<(String, Option<String>)> {
        pairs
            .iter()
            .map(|(key, value)| ((*key).to_owned(), value.map(str::to_owned)))
            .collect()
    }

    #[test]
    fn percentages_have_two_decimals_and_no_tricks() {
        for (text, basis_points) in [
            ("0", 0),
            ("100", 10_000),
            ("0.01", 1),
            ("12.5", 1_250),
            ("99.99", 9_999),
            ("007", 700),
        ] {
            assert_eq!(
                Share::parse_percent(text).map(Share::basis_points),
                Some(basis_points),
                "{text}"
            );
        }
        for text in [
            "", "-1", "+1", "100.01", "101", "1e1", "1.234", ".5", "1.", "٣", " 1", "NaN", "1,5",
        ] {
            assert_eq!(Share::parse_percent(text), None, "{text}");
        }
    }

    #[test]
    fn absent_keys_are_the_safe_defaults() {
        let nothing: Vec<_> = keys().into_iter().map(|key| (key, None)).collect();
        let (flags, faults) = parse(
            &Flags {
                stage: Stage::DualWrite,
                ..Flags::default()
            },
            &nothing,
        );
        assert_eq!((flags, faults.len()), (Flags::default(), 0));
    }

    #[test]
    fn a_bad_value_keeps_the_last_good_one_and_is_reported() {
        let (good, _) = parse(
            &Flags::default(),
            &raw(&[
                ("stage", Some("dual_write\n")),
                ("read_percent", Some("50")),
                ("kill_switch", Some("on")),
            ]),
        );
        let bad = raw(&[
            ("stage", Some("DUAL_WRITE")),
            ("read_percent", Some("fifty")),
            ("kill_switch", Some("yes")),
            ("guard", Some("{")),
        ]);
        let (kept, faults) = parse(&good, &bad);
        assert_eq!(kept, good);
        assert_eq!(
            faults
                .iter()
                .map(|fault| fault.key.as_str())
                .collect::<Vec<_>>(),
            ["stage", "read_percent", "kill_switch", "guard"]
        );
        let (fresh, _) = parse(&Flags::unknown(), &bad);
        assert_eq!(fresh, Flags::unknown());
        assert!(fresh.records_writes());
    }

    #[test]
    fn later_stages_parse_and_are_refused() {
        let (good, _) = parse(&Flags::default(), &raw(&[("stage", Some("shadow"))]));
        for (text, stage) in [("cutover", Stage::Cutover), ("cleanup", Stage::Cleanup)] {
            let (kept, faults) = parse(&good, &raw(&[("stage", Some(text))]));
            assert_eq!(
                (kept.stage, kept.refused_stage),
                (Stage::Shadow, Some(stage))
            );
            assert_eq!(
                faults,
                [FlagFault {
                    key: "stage".into(),
                    code: "stage_refused"
                }]
            );
        }
    }

    #[test]
    fn an_operation_may_have_its_own_percentage() {
        let (flags, faults) = parse(
            &Flags::default(),
            &raw(&[
                ("read_percent", Some("10")),
                ("read_percent.users.get", Some("2.5")),
            ]),
        );
        assert!(faults.is_empty());
        assert_eq!(flags.read_share(Operation::UsersGet).basis_points(), 250);
        assert!(keys().contains(&"read_percent.users.get".to_owned()));
    }

    #[test]
    fn comparing_is_on_at_one_percent_while_there_is_something_to_compare() {
        let mut flags = Flags::default();
        assert_eq!(flags.compare_share(), Share::NONE);
        flags.stage = Stage::Shadow;
        assert_eq!(flags.compare_share(), Share::ONE_PERCENT);
        flags.compare_percent = Some(Share::NONE);
        assert_eq!(flags.compare_share(), Share::NONE);
    }

    #[test]
    fn a_guard_caps_with_its_reason() {
        let (flags, faults) = parse(
            &Flags::default(),
            &raw(&[(
                "guard",
                Some(r#"{"cap_percent":"0","reason":"error_rate"}"#),
            )]),
        );
        assert!(faults.is_empty());
        assert_eq!(
            flags.guard,
            Some(Guard {
                cap: Share::NONE,
                reason: "error_rate".into()
            })
        );
    }
}

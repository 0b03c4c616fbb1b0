//! Variables and secrets, read once per isolate, all faults reported together.
//!
//! A deployment without a Logto origin cannot serve. Any other fault leaves the
//! proxy a transparent pipe: it behaves as stage `off`, and says so.

mod checks;

pub use self::checks::{CheckSettings, Probe, ProbeSettings};
use serde::Serialize;

use crate::inbound::request::Secret;
use crate::policy::guard::Tuning;
use crate::policy::token::Skew;

#[derive(Clone, Debug)]
pub struct Settings {
    /// Where requests go, without a trailing slash.
    pub logto_origin: String,
    /// The hand-over secret where there is one, else `ORIGIN_SECRET`.
    pub origin_secret: Option<Secret<String>>,
    pub handover: HandoverSettings,
    /// Absent when the settings below had faults.
    pub migration: Option<Migration>,
    pub faults: Vec<SettingFault>,
    /// Keys the hash by which events name a subject; without it they name none.
    pub subject_key: Option<Secret<String>>,
    pub admin_token: Option<Secret<String>>,
    /// Logto's signing key of the webhook; without it there is no receiver.
    pub webhook_secret: Option<Secret<String>>,
    /// mgPass's; without it there is no receiver of mgPass's.
    pub mgpass_webhook_secret: Option<Secret<String>>,
    /// Seals what the sign-in link leaves in browsers; without it nobody draws mgPass.
    pub pin_secret: Option<Secret<String>>,
    /// How long Logto may take to begin an answer to a request that a rule claims.
    pub logto_deadline_ms: u32,
}

/// How the authority changes hands. All times but the last are one sum, and the same in
/// every isolate: never change them while a hand-over is armed.
#[derive(Clone, Debug)]
pub struct HandoverSettings {
    /// A version that has it sends it to the origin instead of `ORIGIN_SECRET`, and
    /// forwards no user write without proof that Logto is the authority.
    pub secret: Option<Secret<String>>,
    /// `ORIGIN_SECRET`, which the origin must refuse by then.
    pub former_secret: Option<Secret<String>>,
    /// How long an answer of the database counts as such a proof.
    pub lease_ms: i64,
    /// How late Logto is known to commit, and the Queue to deliver.
    pub late_ms: i64,
    /// Before draining: leases run out, what was forwarded under them is answered, and
    /// what Logto commits late, or the Queue delivers late, has come.
    pub announcement_ms: i64,
    /// How long draining and returning may take.
    pub between_ms: i64,
    /// How long a user write waits for them.
    pub hold_ms: u32,
}

impl HandoverSettings {
    /// Whether this version of the proxy needs proof for what it forwards.
    pub fn needs_proof(&self) -> bool {
        self.secret.is_some()
    }

    /// Waits shorter than KV and Logto are known to take, for drills alone: by name.
    pub fn hasty(&self) -> Vec<&'static str> {
        let waits = [
            ("HANDOVER_LEASE_S", self.lease_ms < LEASE_MS),
            ("HANDOVER_LATE_S", self.late_ms < LATE_MS),
        ];
        let hasty = waits.into_iter().filter(|(_, is_hasty)| *is_hasty);
        hasty.map(|(name, _)| name).collect()
    }
}

const LEASE_MS: i64 = 60_000;
const LATE_MS: i64 = 900_000;

/// All that mirroring and reading from mgPass need.
#[derive(Clone, Debug)]
pub struct Migration {
    pub logto_origin: String,
    /// As in [`Settings`].
    pub origin_secret: Option<Secret<String>>,
    pub handover: HandoverSettings,
    pub logto_issuer: String,
    pub logto_api_audience: String,
    pub logto_client: Client,
    /// What changes Logto's users while mgPass is the authority, so that at Logto it is told
    /// from what goes around the proxy; without it the other client does.
    pub reverse_client: Option<Client>,
    /// Who knows which passwords have leaked, as Logto asks.
    pub leaks_origin: String,
    pub mgpass_origin: String,
    pub mgpass_issuer: String,
    pub mgpass_audiences: Vec<String>,
    pub mgpass_credential: MgpassCredential,
    pub mapping: MappingSettings,
    /// The brake: at most so many mirrored deletions within an hour.
    pub deletions_per_hour: i64,
    /// Whether cron walks the whole population; the catch-up and the sweep go on without.
    pub walk: bool,
    /// Whom tokens shown to `/_proxy/verify` must be for; without any that route is closed.
    pub verify_audiences: Vec<String>,
    /// The longest `exp - iat` believed of any token; `None` believes whatever an issuer grants.
    pub max_token_lifetime_s: Option<i64>,
    /// How far issuers' clocks may be ahead of the edge's; it lengthens no token's life.
    pub clock_skew: Skew,
    /// How long mgPass may take to answer a read.
    pub mgpass_deadline_ms: u32,
    /// How long the outbox may take before the Queue is used instead.
    pub outbox_deadline_ms: u32,
    /// How long fence and mirror row may take to be looked up; Logto answers then.
    pub eligibility_deadline_ms: u32,
    /// How many comparisons an isolate may begin: a sampled share stays a share of its
    /// work, however many reads come at once.
    pub comparisons_per_second: u32,
    /// How long counts stay in an isolate before they are written down.
    pub metrics_flush_ms: u32,
    pub guard: Tuning,
    pub checks: CheckSettings,
    pub passwords: PasswordSettings,
    pub cleanup: CleanupSettings,
}

/// Whether passwords that Logto has just found right are carried to mgPass.
#[derive(Clone, Copy, Debug)]
pub struct PasswordSettings {
    /// `DB` must have a decision and a passed check besides.
    pub is_carrying: bool,
    pub carries_per_minute: i64,
}

/// What must hold before Logto is not asked any more.
#[derive(Clone, Copy, Debug)]
pub struct CleanupSettings {
    pub least: Least,
}

/// The least of what stage `cleanup` waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Least {
    /// Days since the hand-over, without a return.
    pub days: u32,
    /// Hours in which nobody needed Logto.
    pub quiet_hours: u32,
}

impl Default for CleanupSettings {
    fn default() -> Self {
        Self {
            least: Least {
                days: 7,
                quiet_hours: 72,
            },
        }
    }
}

#[derive(Clone, Debug)]
pub struct Client {
    pub id: String,
    pub secret: Secret<String>,
}

/// ASSUMPTION (contracts, mgPass 19.25): a client may hold `mgpass:admin` by client
/// credentials. Else the operator gives a token.
#[derive(Clone, Debug)]
pub enum MgpassCredential {
    Client(Client),
    Token(Secret<String>),
}

/// What the mapping of a user depends on.
#[derive(Clone, Debug)]
pub struct MappingSettings {
    /// Logto's identity target -> mgPass's provider.
    pub providers: Vec<(String, String)>,
    /// Whether a mirrored address counts as verified. Logto's own tokens call
    /// every existing address verified, so `on` keeps what applications see.
    pub email_verified: bool,
    pub phone_verified: bool,
}

impl MappingSettings {
    pub fn provider(&self, target: &str) -> Option<&str> {
        self.providers
            .iter()
            .find(|(logto, _)| logto == target)
            .map(|(_, provider)| provider.as_str())
    }

    pub fn target(&self, provider: &str) -> Option<&str> {
        self.providers
            .iter()
            .find(|(_, mgpass)| mgpass == provider)
            .map(|(target, _)| target.as_str())
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettingFault {
    pub name: &'static str,
    pub code: &'static str,
}

impl Settings {
    /// Without a key for hashes nobody could tell later whose password is at mgPass.
    pub fn carries_passwords(&self) -> bool {
        let is_on = |settings: &Migration| settings.passwords.is_carrying;
        self.migration.as_ref().is_some_and(is_on) && self.subject_key.is_some()
    }

    pub fn read(lookup: impl Fn(&str) -> Option<String>) -> Self {
        let mut reader = Reader {
            lookup,
            faults: Vec::new(),
        };
        let logto_origin = reader.origin("LOGTO_ORIGIN");
        let logto_deadline_ms = reader.number("LOGTO_DEADLINE_MS", 125_000);
        let handover = reader.handover(logto_deadline_ms);
        let origin_secret = handover.secret.clone().or(handover.former_secret.clone());
        let migration = reader.migration(&logto_origin, &handover, origin_secret.clone());
        let subject_key = reader.optional("SUBJECT_KEY").map(Secret);
        let admin_token = reader.optional("ADMIN_TOKEN").map(Secret);
        let webhook_secret = reader.optional("LOGTO_WEBHOOK_SECRET").map(Secret);
        let mgpass_webhook_secret = reader.optional("MGPASS_WEBHOOK_SECRET").map(Secret);
        let pin_secret = reader.optional("PIN_SECRET").map(Secret);
        Self {
            logto_origin,
            origin_secret,
            handover,
            migration: reader.faults.is_empty().then_some(migration),
            faults: reader.faults,
            subject_key,
            admin_token,
            webhook_secret,
            mgpass_webhook_secret,
            pin_secret,
            logto_deadline_ms,
        }
    }
}

struct Reader<F> {
    lookup: F,
    faults: Vec<SettingFault>,
}

impl<F: Fn(&str) -> Option<String>> Reader<F> {
    fn handover(&mut self, logto_deadline_ms: u32) -> HandoverSettings {
        let secret = self.optional("HANDOVER_SECRET");
        let former_secret = self.optional("ORIGIN_SECRET");
        if secret.is_some() && secret == former_secret {
            self.fault("HANDOVER_SECRET", "same_as_origin_secret");
        }
        let [lease_s, late_s] = [LEASE_MS, LATE_MS].map(|ms| (ms / 1_000) as u32);
        let lease_ms = i64::from(self.number("HANDOVER_LEASE_S", lease_s)) * 1_000;
        let late_ms = i64::from(self.number("HANDOVER_LATE_S", late_s)) * 1_000;
        HandoverSettings {
            secret: secret.map(Secret),
            former_secret: former_secret.map(Secret),
            lease_ms,
            late_ms,
            announcement_ms: lease_ms + i64::from(logto_deadline_ms) + late_ms,
            between_ms: i64::from(self.number("HANDOVER_DEADLINE_S", 120)) * 1_000,
            hold_ms: self.number("HANDOVER_HOLD_MS", 10_000),
        }
    }

    fn migration(
        &mut self,
        logto_origin: &str,
        handover: &HandoverSettings,
        origin_secret: Option<Secret<String>>,
    ) -> Migration {
        Migration {
            logto_origin: logto_origin.to_owned(),
            origin_secret,
            handover: handover.clone(),
            logto_issuer: self.required("LOGTO_ISSUER"),
            logto_api_audience: self
                .optional("LOGTO_API_AUDIENCE")
                .unwrap_or_else(|| "https://default.logto.app/api".to_owned()),
            logto_client: Client {
                id: self.required("LOGTO_CLIENT_ID"),
                secret: Secret(self.required("LOGTO_CLIENT_SECRET")),
            },
            leaks_origin: self
                .origin_or("LEAKED_PASSWORDS_ORIGIN", "https://api.pwnedpasswords.com"),
            reverse_client: self.reverse_client(),
            mgpass_origin: self.origin("MGPASS_ORIGIN"),
            mgpass_issuer: self.required("MGPASS_ISSUER"),
            mgpass_audiences: self.list("MGPASS_AUDIENCES"),
            mgpass_credential: match self.optional("MGPASS_ADMIN_TOKEN") {
                Some(token) => MgpassCredential::Token(Secret(token)),
                None => MgpassCredential::Client(Client {
                    id: self.required("MGPASS_CLIENT_ID"),
                    secret: Secret(self.required("MGPASS_CLIENT_SECRET")),
                }),
            },
            mapping: MappingSettings {
                providers: self.providers("SOCIAL_PROVIDERS"),
                email_verified: self.switch("EMAIL_VERIFIED", true),
                phone_verified: self.switch("PHONE_VERIFIED", true),
            },
            deletions_per_hour: i64::from(self.number("DELETIONS_PER_HOUR", 100)),
            walk: self.switch("WALK", true),
            verify_audiences: self.items("VERIFY_AUDIENCES"),
            max_token_lifetime_s: match self.number("MAX_TOKEN_LIFETIME_S", 0) {
                0 => None,
                seconds => Some(i64::from(seconds)),
            },
            clock_skew: self.skew("CLOCK_SKEW_S"),
            mgpass_deadline_ms: self.number("MGPASS_DEADLINE_MS", 1_500),
            outbox_deadline_ms: self.number("OUTBOX_DEADLINE_MS", 300),
            eligibility_deadline_ms: self.number("ELIGIBILITY_DEADLINE_MS", 500),
            comparisons_per_second: self.number("COMPARISONS_PER_SECOND", 20),
            metrics_flush_ms: self.number("METRICS_FLUSH_MS", 5_000),
            guard: Tuning {
                window_ms: i64::from(self.number("GUARD_WINDOW_S", 300)) * 1_000,
                min_reads: i64::from(self.number("GUARD_MIN_READS", 50)),
                min_compared: i64::from(self.number("GUARD_MIN_COMPARED", 20)),
                max_failure_bps: i64::from(self.number("GUARD_MAX_FAILURE_BPS", 100)),
                max_mismatch_bps: i64::from(self.number("GUARD_MAX_MISMATCH_BPS", 50)),
                max_p95_ms: i64::from(self.number("GUARD_MAX_P95_MS", 1_000)),
                max_p95_percent: i64::from(self.number("GUARD_MAX_P95_PERCENT", 300)),
            },
            checks: self.checks(),
            passwords: PasswordSettings {
                is_carrying: self.switch("PASSWORD_CARRY", false),
                carries_per_minute: i64::from(self.number("PASSWORD_CARRY_PER_MINUTE", 20)),
            },
            cleanup: self.cleanup(),
        }
    }

    fn cleanup(&mut self) -> CleanupSettings {
        let least = CleanupSettings::default().least;
        CleanupSettings {
            least: Least {
                days: self.number("CLEANUP_AFTER_DAYS", least.days),
                quiet_hours: self.number("CLEANUP_QUIET_HOURS", least.quiet_hours),
            },
        }
    }

    /// Both or neither, and no other client's.
    fn reverse_client(&mut self) -> Option<Client> {
        let secret = self.optional("REVERSE_CLIENT_SECRET");
        let Some(id) = self.optional("REVERSE_CLIENT_ID") else {
            if secret.is_some() {
                self.fault("REVERSE_CLIENT_ID", "missing");
            }
            return None;
        };
        if self.optional("LOGTO_CLIENT_ID").as_ref() == Some(&id) {
            self.fault("REVERSE_CLIENT_ID", "same_as_logto_client");
        }
        let Some(secret) = secret else {
            self.fault("REVERSE_CLIENT_SECRET", "missing");
            return None;
        };
        Some(Client {
            id,
            secret: Secret(secret),
        })
    }

    fn fault(&mut self, name: &'static str, code: &'static str) {
        self.faults.push(SettingFault { name, code });
    }

    fn optional(&mut self, name: &'static str) -> Option<String> {
        (self.lookup)(name)
            .map(|value| value.trim().to_owned())
            .filter(|value| !value.is_empty())
    }

    fn required(&mut self, name: &'static str) -> String {
        self.optional(name).unwrap_or_else(|| {
            self.fault(name, "missing");
            String::new()
        })
    }

    fn origin(&mut self, name: &'static str) -> String {
        let value = self.required(name);
        self.as_origin(name, &value)
    }

    fn origin_or(&mut self, name: &'static str, absent: &str) -> String {
        let value = self.optional(name).unwrap_or_else(|| absent.to_owned());
        self.as_origin(name, &value)
    }

    /// Scheme, host and port alone: paths are appended to it byte for byte.
    fn as_origin(&mut self, name: &'static str, value: &str) -> String {
        let value = value.trim_end_matches('/');
        let host = value
            .strip_prefix("https://")
            .or_else(|| value.strip_prefix("http://"));
        if !value.is_empty()
            && host.is_none_or(|host| host.is_empty() || host.contains(['/', '?', '#']))
        {
            self.fault(name, "not_an_origin");
        }
        value.to_owned()
    }

    fn list(&mut self, name: &'static str) -> Vec<String> {
        self.required(name);
        self.items(name)
    }

    /// Comma separated, and possibly none.
    fn items(&mut self, name: &'static str) -> Vec<String> {
        let text = self.optional(name).unwrap_or_default();
        text.split(',')
            .map(|item| item.trim().to_owned())
            .filter(|item| !item.is_empty())
            .collect()
    }

    fn skew(&mut self, name: &'static str) -> Skew {
        let seconds = self.number(name, Skew::DEFAULT_SECONDS);
        Skew::from_seconds(seconds).unwrap_or_else(|| {
            self.fault(name, "above_a_minute");
            Skew::default()
        })
    }

    fn number(&mut self, name: &'static str, absent: u32) -> u32 {
        match self.optional(name).map(|text| text.parse()) {
            None => absent,
            Some(Ok(number)) => number,
            Some(Err(_)) => {
                self.fault(name, "not_a_number");
                absent
            }
        }
    }

    fn switch(&mut self, name: &'static str, absent: bool) -> bool {
        match self.optional(name).as_deref() {
            None => absent,
            Some("on") => true,
            Some("off") => false,
            Some(_) => {
                self.fault(name, "neither_on_nor_off");
                absent
            }
        }
    }

    /// `logto-target=provider`, comma separated.
    fn providers(&mut self, name: &'static str) -> Vec<(String, String)> {
        let text = self
            .optional(name)
            .unwrap_or_else(|| "google=google,apple=apple,facebook=facebook".to_owned());
        let pairs: Option<Vec<_>> = text
            .split(',')
            .map(|pair| {
                let (target, provider) = pair.trim().split_once('=')?;
                Some((target.trim().to_owned(), provider.trim().to_owned()))
            })
            .collect();
        pairs.unwrap_or_else(|| {
            self.fault(name, "not_pairs");
            Vec::new()
        })
    }
}

#[cfg(test)]
mod tests;

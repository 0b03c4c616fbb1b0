//! Settings of the checklist, and of the account that signs in for it.

use super::Reader;
use crate::inbound::request::{Secret, UserId};

/// What the checklist goes by beside what it finds.
#[derive(Clone, Debug)]
pub struct CheckSettings {
    /// So many people may be without a way to sign in at mgPass.
    pub max_without_road: i64,
    /// Whether mgPass is asked about a Logto token.
    pub introspection: bool,
    /// How often cron makes each check anew; 0: never.
    pub every_s: u32,
    /// Whether webhooks of that side are received.
    pub receives_logto: bool,
    pub receives_mgpass: bool,
    pub probe: ProbeSettings,
}

/// An account that signs in at mgPass for the checklist, and whose user at Logto tells of
/// a change for a test of the webhooks.
#[derive(Clone, Debug)]
pub enum ProbeSettings {
    Absent,
    /// Some of its settings are there and this one is not. No fault: nothing but the
    /// checklist needs it.
    Lacks(&'static str),
    There(Probe),
}

#[derive(Clone, Debug)]
pub struct Probe {
    /// The same id at both sides.
    pub user: UserId,
    pub email: Secret<String>,
    pub password: Secret<String>,
    /// An application of mgPass's; without a secret it is a public one.
    pub client_id: String,
    pub client_secret: Option<Secret<String>>,
    /// Registered for it; nobody is asked there.
    pub redirect_uri: String,
}

impl<F: Fn(&str) -> Option<String>> Reader<F> {
    pub(super) fn checks(&mut self) -> CheckSettings {
        CheckSettings {
            max_without_road: i64::from(self.number("CHECK_MAX_WITHOUT_ROAD", 0)),
            introspection: self.switch("CHECK_INTROSPECTION", true),
            every_s: self.number("CHECK_EVERY_S", 3_600),
            receives_logto: self.optional("LOGTO_WEBHOOK_SECRET").is_some(),
            receives_mgpass: self.optional("MGPASS_WEBHOOK_SECRET").is_some(),
            probe: self.probe(),
        }
    }

    fn probe(&mut self) -> ProbeSettings {
        const NEEDED: [&str; 5] = [
            "PROBE_USER",
            "PROBE_EMAIL",
            "PROBE_PASSWORD",
            "PROBE_CLIENT_ID",
            "PROBE_REDIRECT_URI",
        ];
        let client_secret = self.optional("PROBE_CLIENT_SECRET").map(Secret);
        let given = NEEDED.map(|name| self.optional(name));
        if given.iter().all(Option::is_none) {
            return ProbeSettings::Absent;
        }
        let missing = NEEDED.iter().zip(&given).find(|(_, value)| value.is_none());
        let missing = missing.map(|(name, _)| *name);
        let [user, email, password, client_id, redirect_uri] = given.map(Option::unwrap_or_default);
        match (missing, UserId::parse(&user)) {
            (Some(name), _) => ProbeSettings::Lacks(name),
            (None, None) => ProbeSettings::Lacks("PROBE_USER"),
            (None, Some(user)) => ProbeSettings::There(Probe {
                user,
                email: Secret(email),
                password: Secret(password),
                client_id,
                client_secret,
                redirect_uri,
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::read;
    use super::*;

    #[test]
    fn half_a_probe_is_named_and_stops_nothing() {
        let given = [
            ("PROBE_USER", "probe1"),
            ("PROBE_EMAIL", "probe@example.test"),
            ("PROBE_PASSWORD", "hunter2"),
            ("PROBE_CLIENT_ID", "app_probe"),
            ("PROBE_REDIRECT_URI", "https://app.example.test/cb"),
        ];
        let probe = |changes: &[(&str, &str)]| {
            let settings = read(changes);
            assert_eq!(settings.faults, []);
            settings.migration.unwrap().checks.probe
        };
        assert!(matches!(probe(&[]), ProbeSettings::Absent));
        let ProbeSettings::There(whole) = probe(&given) else {
            panic!("it is whole");
        };
        assert!(!format!("{whole:?}").contains("hunter2"));
        assert!(!format!("{whole:?}").contains("probe@"));
        for (index, (name, _)) in given.iter().enumerate() {
            let mut some = given.to_vec();
            some.remove(index);
            let lacks = probe(&some);
            assert!(matches!(lacks, ProbeSettings::Lacks(missing) if missing == *name));
        }
    }
}

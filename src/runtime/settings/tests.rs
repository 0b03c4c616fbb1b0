//! What is read, and what is refused.

use super::*;

const GOOD: &[(&str, &str)] = &[
    ("LOGTO_ORIGIN", "http://127.0.0.1:9001/"),
    ("LOGTO_ISSUER", "https://auth.example.com/oidc"),
    ("LOGTO_CLIENT_ID", "m2m"),
    ("LOGTO_CLIENT_SECRET", "s"),
    ("MGPASS_ORIGIN", "https://auth.mgpass.net"),
    ("MGPASS_ISSUER", "https://auth.mgpass.net"),
    ("MGPASS_AUDIENCES", "app_a, app_b"),
    ("MGPASS_CLIENT_ID", "app_proxy"),
    ("MGPASS_CLIENT_SECRET", "s"),
];

pub fn read(changes: &[(&str, &str)]) -> Settings {
    Settings::read(|name| {
        let found = |list: &[(&str, &str)]| {
            list.iter()
                .find(|(key, _)| *key == name)
                .map(|(_, value)| (*value).to_owned())
        };
        found(changes).or_else(|| found(GOOD))
    })
}

#[test]
fn good_settings_have_no_fault() {
    let settings = read(&[]);
    assert_eq!(settings.faults, []);
    let migration = settings.migration.unwrap();
    assert_eq!(migration.logto_origin, "http://127.0.0.1:9001");
    assert_eq!(migration.mgpass_audiences, ["app_a", "app_b"]);
    assert_eq!(migration.mapping.providers.len(), 3);
}

#[test]
fn all_faults_are_reported_together_and_leave_a_pipe() {
    let settings = read(&[
        ("MGPASS_ORIGIN", "auth.mgpass.net/path"),
        ("LOGTO_CLIENT_ID", ""),
        ("DELETIONS_PER_HOUR", "many"),
        ("EMAIL_VERIFIED", "yes"),
        ("SOCIAL_PROVIDERS", "google"),
    ]);
    let names: Vec<_> = settings.faults.iter().map(|fault| fault.name).collect();
    assert_eq!(
        names,
        [
            "LOGTO_CLIENT_ID",
            "MGPASS_ORIGIN",
            "SOCIAL_PROVIDERS",
            "EMAIL_VERIFIED",
            "DELETIONS_PER_HOUR"
        ]
    );
    assert!(settings.migration.is_none());
    assert_eq!(settings.logto_origin, "http://127.0.0.1:9001");
}

#[test]
fn an_announcement_outlasts_what_began_before_it() {
    let settings = read(&[]);
    let handover = &settings.handover;
    assert_eq!(handover.announcement_ms, 60_000 + 125_000 + 900_000);
    assert!(!handover.needs_proof());
    assert!(handover.hasty().is_empty());
    let drill = read(&[
        ("HANDOVER_LEASE_S", "2"),
        ("HANDOVER_LATE_S", "3"),
        ("LOGTO_DEADLINE_MS", "1000"),
    ]);
    assert_eq!(drill.handover.announcement_ms, 2_000 + 1_000 + 3_000);
    assert_eq!(
        drill.handover.hasty(),
        ["HANDOVER_LEASE_S", "HANDOVER_LATE_S"]
    );
}

#[test]
fn the_hand_over_secret_goes_to_the_origin_in_place_of_the_old_one() {
    let settings = read(&[("ORIGIN_SECRET", "old"), ("HANDOVER_SECRET", "new")]);
    let secret = |secret: &Option<Secret<String>>| secret.as_ref().map(|s| s.0.clone());
    assert_eq!(secret(&settings.origin_secret).as_deref(), Some("new"));
    let migration = settings.migration.as_ref().unwrap();
    assert_eq!(secret(&migration.origin_secret).as_deref(), Some("new"));
    assert!(settings.handover.needs_proof());
    let same = read(&[("ORIGIN_SECRET", "s"), ("HANDOVER_SECRET", "s")]);
    assert_eq!(same.faults.first().map(|f| f.name), Some("HANDOVER_SECRET"));
}

#[test]
fn the_reverse_mirror_has_a_client_of_its_own_or_none() {
    assert!(read(&[]).migration.unwrap().reverse_client.is_none());
    let given = read(&[
        ("REVERSE_CLIENT_ID", "back"),
        ("REVERSE_CLIENT_SECRET", "s"),
    ]);
    let client = given.migration.unwrap().reverse_client.unwrap();
    assert_eq!(client.id, "back");
    for (id, fault) in [
        ("back", "REVERSE_CLIENT_SECRET"),
        ("m2m", "REVERSE_CLIENT_ID"),
    ] {
        let faults = read(&[("REVERSE_CLIENT_ID", id)]).faults;
        assert!(faults.iter().any(|found| found.name == fault), "{faults:?}");
    }
}

#[test]
fn secrets_do_not_print() {
    assert!(!format!("{:?}", read(&[("LOGTO_CLIENT_SECRET", "hunter2")])).contains("hunter2"));
}

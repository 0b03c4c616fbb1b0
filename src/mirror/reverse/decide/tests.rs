//! Each rule of the three ways, by cases.

use super::*;
use crate::mirror::mapping::tests::ALICE;

fn user(change: impl Fn(&str) -> String) -> LogtoUser {
    LogtoUser::parse(&change(ALICE)).unwrap()
}

fn named(name: &str) -> LogtoUser {
    user(|json| json.replace("Alice B", name))
}

fn decided(here: Here<'_>, logto: Option<&LogtoUser>, base: Option<&Base>, word: Word) -> Decision {
    decide(&Inputs {
        here,
        logto,
        base,
        sent: &[],
        word,
        is_deletion_witnessed: true,
        n_deletions: 0,
        deletions_per_hour: 5,
    })
}

fn carriage(here: &LogtoUser, logto: &LogtoUser, base: Option<&Base>, word: Word) -> Carriage {
    match decided(Here::Present(here), Some(logto), base, word) {
        Decision::Carry(carriage) => carriage,
        other => panic!("{other:?}"),
    }
}

#[test]
fn who_changed_a_field_since_the_base_decides() {
    for (left, here, logto, word, sends, strays) in [
        // Nobody; mgPass alone; Logto alone; both to the same; both.
        ("a", "a", "a", Word::None, false, false),
        ("a", "b", "a", Word::None, true, false),
        ("a", "a", "x", Word::None, false, true),
        ("a", "b", "b", Word::None, false, false),
        ("a", "b", "x", Word::None, false, true),
        // A person has decided for mgPass.
        ("a", "b", "x", Word::TowardsMgpass, true, false),
        ("a", "a", "x", Word::TowardsMgpass, true, false),
    ] {
        let case = format!("{left} {here} {logto} {word:?}");
        let base = Base::of_logto(&named(left));
        let carriage = carriage(&named(here), &named(logto), Some(&base), word);
        assert_eq!(!carriage.strays.is_empty(), strays, "{case}");
        assert_eq!(!carriage.carries.is_empty(), sends, "{case}");
        for carry in &carriage.carries {
            let text = format!("\"{here}\"");
            let what = What::Member { name: "name", text };
            assert_eq!(carry.what, what, "{case}");
        }
        // A stray stays one; all else is as Logto shows it.
        let marked = if strays { left } else { logto };
        assert_eq!(carriage.base, Base::of_logto(&named(marked)), "{case}");
    }
}

#[test]
fn fields_are_judged_one_by_one() {
    let base = Base::of_logto(&named("a"));
    let logto = user(|json| {
        let json = json.replace("Alice B", "a");
        json.replace("\"isSuspended\":true", "\"isSuspended\":false")
    });
    let here = user(|json| {
        let json = json.replace("Alice B", "b");
        json.replace("google-1ae441", "google-2")
    });
    let carriage = carriage(&here, &logto, Some(&base), Word::None);
    assert_eq!(carriage.strays, ["isSuspended"]);
    let keys: Vec<_> = carriage
        .carries
        .iter()
        .map(|one| one.key.as_str())
        .collect();
    assert_eq!(keys, ["name", "identities.google"]);
}

#[test]
fn what_a_sending_of_ours_left_there_is_no_stray() {
    let base = Base::of_logto(&named("a"));
    let late = Base::of_logto(&named("late"));
    let sent = Sent(BTreeMap::from([(
        "name".to_owned(),
        late.get("name").map(str::to_owned),
    )]));
    let (here, logto) = (named("b"), named("late"));
    let inputs = Inputs {
        here: Here::Present(&here),
        logto: Some(&logto),
        base: Some(&base),
        sent: &[sent],
        word: Word::None,
        is_deletion_witnessed: false,
        n_deletions: 0,
        deletions_per_hour: 5,
    };
    let Decision::Carry(carriage) = decide(&inputs) else {
        panic!("not carried");
    };
    assert_eq!((carriage.strays.len(), carriage.carries.len()), (0, 1));
}

#[test]
fn without_a_base_all_that_differs_is_a_stray_but_for_a_reserved_user() {
    let carriage_of = |logto: &LogtoUser| carriage(&named("b"), logto, None, Word::None);
    let strange = carriage_of(&named("a"));
    assert_eq!(
        (strange.strays.as_slice(), strange.carries.len()),
        (&["name".to_owned()][..], 0)
    );
    let nonce = "0123456789abcdef0123456789abcdef";
    let reserved = format!(
        r#"{{"id":"ohr0n387iy4o","username":null,"primaryEmail":null,"primaryPhone":null,"name":null,"avatar":null,"customData":{{"_dwp":"{nonce}"}},"identities":{{}},"lastSignInAt":null,"createdAt":1795376188089,"updatedAt":1795376188089,"profile":{{}},"applicationId":null,"isSuspended":false,"hasPassword":false}}"#
    );
    let filled = carriage_of(&LogtoUser::parse(&reserved).unwrap());
    assert_eq!((filled.strays.len(), filled.carries.len()), (0, 9));
    assert_eq!(filled.carries[0].what, What::Suspension(true));
}

#[test]
fn a_deletion_needs_two_witnesses_an_unchanged_user_and_room_under_the_brake() {
    let (alice, changed) = (named("a"), named("x"));
    let base = Base::of_logto(&alice);
    let mut inputs = Inputs {
        here: Here::Gone,
        logto: Some(&alice),
        base: Some(&base),
        sent: &[],
        word: Word::None,
        is_deletion_witnessed: true,
        n_deletions: 4,
        deletions_per_hour: 5,
    };
    assert_eq!(decide(&inputs), Decision::Delete);
    inputs.n_deletions = 5;
    assert_eq!(decide(&inputs), Decision::Owed(Owed::DeletionBrake));
    inputs.n_deletions = 0;
    inputs.logto = Some(&changed);
    let strays = Owed::ChangedAtLogto(vec!["name".to_owned()]);
    assert_eq!(decide(&inputs), Decision::Owed(strays));
    inputs.word = Word::TowardsMgpass;
    assert_eq!(decide(&inputs), Decision::Delete);
    inputs.is_deletion_witnessed = false;
    assert_eq!(decide(&inputs), Decision::Owed(Owed::DeletionUnconfirmed));
    inputs.logto = None;
    assert_eq!(decide(&inputs), Decision::Absent);
    inputs.here = Here::Present(&alice);
    assert_eq!(decide(&inputs), Decision::GoneAtLogto);
}

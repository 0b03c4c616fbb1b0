//! Over all the ways in which Logto keeps a password: what mgPass takes afterwards is what
//! Logto takes, and nothing else.

use super::*;
use crate::support::logto::hashes::{METHODS, Stored};

/// Longer than bcrypt looks at; its first 72 bytes end within the word.
fn long() -> String {
    "correct horse battery staple ".repeat(4)
}

/// Each with others that are nearly it.
fn corpus() -> Vec<(String, Vec<String>)> {
    let near = |password: &str, others: &[&str]| {
        let mut all: Vec<String> = others.iter().map(|text| (*text).to_owned()).collect();
        all.extend([
            String::new(),
            format!("{password} "),
            format!(" {password}"),
            password.to_uppercase(),
            password.chars().skip(1).collect(),
            format!("{password}\0"),
        ]);
        (password.to_owned(), all)
    };
    let long = long();
    let cut: String = long.chars().take(72).collect();
    let other = format!("{cut} and another end");
    let wide = "密码安全很重要".repeat(5);
    vec![
        near("plain-password-1", &["plain-password-2"]),
        near("8letters", &["8lettersx"]),
        near("short", &[]),
        near("", &[]),
        // Composed and decomposed: two passwords, as both sides take bytes.
        near(
            "Caf\u{e9}-Stra\u{df}e-9",
            &["Cafe\u{301}-Stra\u{df}e-9", "Café-Strasse-9"],
        ),
        near(
            "\u{1f511}\u{1f512}\u{1f513} keys",
            &["\u{1f511}\u{1f512} keys"],
        ),
        near("quote\"back\\slash'\u{2028}\t$1", &[]),
        near("' OR 1=1 --", &[]),
        near("line\nbreak and more", &["line\r\nbreak and more"]),
        near("  spaces around  ", &["spaces around"]),
        near(&long, &[&cut, &other]),
        near(&wide, &[]),
        near(&"x".repeat(256), &[&"x".repeat(255), &"x".repeat(72)]),
    ]
}

#[test]
fn mgpass_takes_what_logto_takes_and_nothing_else() {
    let (mut n_pairs, mut n_carried, mut n_weak) = (0, 0, 0);
    let (mut false_accepts, mut false_rejects) = (Vec::new(), Vec::new());
    for method in METHODS {
        for (password, others) in corpus() {
            let world = world();
            let stored = Stored::of(method, &password);
            world
                .logto
                .hashes
                .borrow_mut()
                .insert(ALICE.to_owned(), stored);
            // A wrong one carries nothing, whatever it looks like; unless to Logto it is right.
            for other in &others {
                begun(&world);
                let before = world.logto.hashes.borrow()[ALICE].clone();
                let status = world.ask(check(("email", MAIL), other)).status;
                world.idle();
                if status != 200 {
                    assert_eq!(at_mgpass(&world), None, "{method:?} {other:?}");
                    continue;
                }
                // Forgotten again, so that the right one has its turn.
                world
                    .logto
                    .hashes
                    .borrow_mut()
                    .insert(ALICE.to_owned(), before);
                world.mgpass.passwords.borrow_mut().clear();
                world
                    .databases
                    .execute(Store::Proxy, "DELETE FROM passwords");
                world
                    .databases
                    .execute(Store::Mgpass, "UPDATE users SET password_hash = NULL");
            }
            begun(&world);
            let answer = world.ask(check(("email", MAIL), &password));
            assert_eq!(answer.status, 200, "{method:?} {password:?}");
            world.idle();
            let there = at_mgpass(&world);
            let is_weak = password.len() < 8;
            n_carried += u64::from(there.is_some());
            n_weak += u64::from(is_weak);
            for candidate in others.iter().chain([&password]) {
                n_pairs += 1;
                let logto = world.logto.hashes.borrow()[ALICE].clone().check(candidate);
                let mgpass = there.as_deref() == Some(candidate.as_str());
                let pair = || format!("{method:?}: {candidate:?} for {password:?}");
                if mgpass && !logto {
                    false_accepts.push(pair());
                }
                if logto && !mgpass && !is_weak {
                    false_rejects.push(pair());
                }
            }
        }
    }
    println!(
        "{n_pairs} pairs over {} methods: {n_carried} carried, {n_weak} too weak for mgPass, false accepts {}, false rejects {}",
        METHODS.len(),
        false_accepts.len(),
        false_rejects.len(),
    );
    assert_eq!((false_accepts, false_rejects), (vec![], vec![]));
    assert_eq!(n_carried + n_weak, (METHODS.len() * corpus().len()) as u64);
}

//! The series: one long run, printed, and each broken variant, which must be caught by the
//! count that is named for it.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use super::{BROKEN, Setup, run};

/// Of each broken variant; and of those that only somebody shows who is at mgPass while Logto
/// is the authority, whom few people have among them.
const VARIANT_PEOPLE: u64 = 600;
const VARIANT_MANY: u64 = 3_000;
const DAYS: i64 = 45;

/// Nobody is signed out by the proxy: 45 days of many people; and each broken variant is
/// caught by the count that is named for it.
pub fn series(seed: u64, n_people: u64, n_days: u64, shows_broken: bool) -> bool {
    let began = Instant::now();
    let setup = Setup {
        seed,
        n_people: n_people as usize,
        n_days: n_days as i64,
        broken: None,
    };
    let verdict = run(&setup);
    println!(
        "sign-in: seed {seed}, {:.0} s",
        began.elapsed().as_secs_f64()
    );
    for line in &verdict.told {
        println!("  {line}");
    }
    let reasons = verdict.reasons.iter();
    let reasons: Vec<_> = reasons.map(|(code, n)| format!("{code} {n}")).collect();
    println!(
        "  people with a new sign-in, or one more step, by reason: {}",
        reasons.join(", ")
    );
    for (name, count) in &verdict.zero {
        println!("  {:52} {}", name, count.n);
        for example in &count.examples {
            println!("    {example}");
        }
    }
    let mut is_good = verdict.is_good();
    if !is_good {
        println!(
            "  sign-in failed (replay: npm run faults -- --sign-in --seed {seed} --people {n_people} --days {n_days})"
        );
    }
    if shows_broken {
        is_good &= broken(seed);
    }
    is_good
}

fn broken(seed: u64) -> bool {
    let next = AtomicU64::new(0);
    let caught = Mutex::new(vec![None; BROKEN.len()]);
    let n_threads = std::thread::available_parallelism().map_or(2, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..n_threads {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed) as usize;
                    let Some(variant) = BROKEN.get(index) else {
                        return;
                    };
                    let n_people = match variant.is_rare() {
                        true => VARIANT_MANY,
                        false => VARIANT_PEOPLE,
                    };
                    let verdict = run(&Setup {
                        seed,
                        n_people: n_people as usize,
                        n_days: DAYS,
                        broken: Some(*variant),
                    });
                    let count = verdict.count(variant.shows()).filter(|count| count.n > 0);
                    caught.lock().unwrap()[index] = count.map(|count| count.n);
                }
            });
        }
    });
    let caught = caught.into_inner().unwrap();
    for (variant, n) in BROKEN.iter().zip(&caught) {
        let said = match n {
            Some(n) => format!("caught ({}: {n})", variant.shows()),
            None => format!("NOT CAUGHT by {}", variant.shows()),
        };
        println!("  {:52} {said}", variant.name());
    }
    caught.iter().all(Option::is_some)
}

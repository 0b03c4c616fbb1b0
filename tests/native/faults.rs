//! The mirror under faults: the real core over fakes, on virtual time, by seed.
//!
//! First exhaustively: one write (alone, and followed by another half a minute
//! later), every fault at every call of its whole course. Then at random: three
//! writers on users who share and swap identifiers. In both, nothing but the mirror
//! itself and cron's sweep is on: that is how a lost write is judged. A second random
//! series has walk, catch-up, webhooks and an import on, writes past the proxy, and
//! changes in mgPass's own rows. In a calm series nothing fails: nobody may wait for a
//! sweep, and hardly a turn of the relay may have nothing to cover.
//! In a third random series clients read as well: nothing older than what was
//! acknowledged, and nothing from mgPass while a brake is pulled.
//! In a fourth an operator moves the authority to and fro, by the rules or without mgPass,
//! while clients write and read: nothing older than what was acknowledged is ever shown, or
//! is left in the end, on whichever side has the say.
//! In a fifth people's passwords are carried, changed and reset: no old one stays alive at mgPass.
//! In a sixth many people sign in for 45 days while sign-ins move, there and back: the proxy
//! signs nobody out.
//! Then broken variants of mirror and hand-over, each against the series that shows it: each must
//! be caught.
//!
//! `--runs N` random runs (and a quarter more with help, and with readers) from seed 0 on, or
//! `--from S`, `--seed S` one run alone with its events, `--helped`, `--reading`, `--calm`, `--passwords` or
//! `--handovers` of that series only, `--variants` the broken ones (with `--handovers` its own).
//! `--sign-in` the sixth alone, with its 10,000 people (`--people N`, `--days D`, `--seed S`, and with
//! `--variants` its broken ones).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on fails"
)]

mod simulation;
#[allow(dead_code, unused_imports, reason = "shared with the other tests")]
mod support;

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use simulation::actions::ROUTES;
use simulation::chaos::{Chaos, FAULTS, GLITCHES};
use simulation::oracle::Verdict;
use simulation::totals::Totals;
use simulation::variants::{VARIANTS, Variant};
use simulation::wakes::FATES;
use simulation::{Course, Setup, passwords, run, sign_in};

/// Calls of one course that are faulted; what comes later is idle sweeps.
const MAX_POINTS: u64 = 70;
/// Messages of one course that have a fate of their own.
const MAX_MESSAGES: u64 = 12;
/// A broken variant that so many runs do not show is not caught.
const VARIANT_RUNS: u64 = 2_000;
const DIFFERING_RUNS: u64 = 30;
const HANDOVER_VARIANT_RUNS: u64 = 200;
const PASSWORD_VARIANT_RUNS: u64 = 1_000;
/// Calls of a sign-in and a change, cron's besides.
const MAX_PASSWORD_POINTS: u64 = 150;
const CALM_RUNS: u64 = 200;
/// Of the long run of sign-ins, and of a short one.
const LONG_PEOPLE: u64 = 10_000;
const SHORT_PEOPLE: u64 = 150;
const SIGN_IN_DAYS: u64 = 45;
/// Turns with nothing to cover, of a hundred.
const MAX_IDLE_PERCENT: u64 = 5;

fn main() {
    // Without `--full` (as `cargo test` runs it): a few random runs.
    let mut is_full = false;
    let mut n_runs = None;
    let mut arguments = std::env::args().skip(1);
    let mut only_variants = false;
    let (mut seed, mut first) = (None, 0);
    let (mut is_helped, mut is_reading, mut is_calm) = (false, false, false);
    let mut is_handing_over = false;
    let mut is_carrying = false;
    let mut is_signing_in = false;
    let (mut n_people, mut n_days) = (None, SIGN_IN_DAYS);
    while let Some(argument) = arguments.next() {
        let number = |text: Option<String>| text.and_then(|text| text.parse::<u64>().ok());
        match argument.as_str() {
            "--full" => is_full = true,
            "--runs" => n_runs = Some(number(arguments.next()).expect("--runs takes a number")),
            "--seed" => seed = Some(number(arguments.next()).expect("--seed takes a number")),
            "--from" => first = number(arguments.next()).expect("--from takes a number"),
            "--helped" => is_helped = true,
            "--reading" => is_reading = true,
            "--calm" => is_calm = true,
            "--handovers" => is_handing_over = true,
            "--passwords" => is_carrying = true,
            "--sign-in" => is_signing_in = true,
            "--people" => {
                n_people = Some(number(arguments.next()).expect("--people takes a number"));
            }
            "--days" => n_days = number(arguments.next()).expect("--days takes a number"),
            "--variants" => only_variants = true,
            // Cargo's own.
            _ => {}
        }
    }
    if is_signing_in {
        // Asked for by name it is the long run.
        let n_people = n_people.unwrap_or(LONG_PEOPLE);
        let shows_broken = is_full || only_variants;
        finish(sign_in::series(
            seed.unwrap_or(1),
            n_people,
            n_days,
            shows_broken,
        ));
    }
    if is_carrying {
        let n_runs = n_runs.unwrap_or(if is_full { 5_000 } else { 100 });
        let shows_broken = is_full || only_variants;
        finish(carried_passwords(n_runs, seed, is_full, shows_broken));
    }
    if let Some(seed) = seed {
        let series = match (is_helped, is_reading, is_calm) {
            _ if is_handing_over => Setup::handing_over,
            (true, ..) => Setup::helped,
            (_, true, _) => Setup::reading,
            (.., true) => Setup::calm,
            _ => Setup::random,
        };
        return replay(series(seed));
    }
    let mut is_good = true;
    let is_one_series = is_helped || is_reading || is_calm || is_handing_over;
    let is_all = !only_variants && !is_one_series;
    let is_given = n_runs.is_some();
    let n_runs = n_runs.unwrap_or(if is_full { 100_000 } else { 200 });
    if is_full && is_all {
        is_good &= exhaustive();
    }
    if is_calm || is_all {
        is_good &= calm();
    }
    if is_all {
        is_good &= random("random", first, n_runs, Setup::random);
    }
    let n_more = if is_all { n_runs.div_ceil(4) } else { n_runs };
    if is_helped || is_all {
        is_good &= random("helped", first, n_more, Setup::helped);
    }
    if is_reading || is_all {
        is_good &= random("reading", first, n_more, Setup::reading);
    }
    if is_handing_over && !only_variants || is_all {
        // Each takes as long as dozens of the others.
        let n_runs = match is_given && !is_all {
            true => n_runs,
            // A thousand writes each.
            false => (n_runs / 400).max(4),
        };
        is_good &= random("handovers", first, n_runs, Setup::handing_over);
    }
    if is_all {
        is_good &= carried_passwords(n_runs.div_ceil(20), None, is_full, is_full);
    }
    if is_all && !is_full {
        is_good &= variants_differ();
    }
    if is_all {
        let n_people = if is_full { LONG_PEOPLE } else { SHORT_PEOPLE };
        is_good &= sign_in::series(1, n_people, SIGN_IN_DAYS, is_full);
    }
    if is_full && is_all || only_variants {
        let is_asked = |variant: &&Variant| !is_handing_over || variant.series()(0).is_handing_over;
        for variant in VARIANTS.iter().filter(is_asked) {
            let caught = catch(*variant);
            println!(
                "  {:52} {}",
                variant.name(),
                caught.as_deref().unwrap_or("NOT CAUGHT")
            );
            is_good &= caught.is_some();
        }
    }
    finish(is_good);
}

fn finish(is_good: bool) -> ! {
    println!("faults: {}", if is_good { "passed" } else { "failed" });
    std::process::exit(i32::from(!is_good));
}

/// No old password stays alive at mgPass: by seed; with a fault at each call of a sign-in
/// and a change; and each broken variant leaves one.
fn carried_passwords(n_runs: u64, seed: Option<u64>, is_full: bool, shows_broken: bool) -> bool {
    let began = Instant::now();
    let mut is_good = true;
    let (mut n_alive, mut n_stuck) = (0, 0);
    let mut judge = |what: &dyn Fn() -> String, verdict: &passwords::Verdict| {
        n_alive += verdict.alive.len();
        n_stuck += usize::from(!verdict.stuck.is_empty());
        if !verdict.is_good() {
            println!("  {} failed: {verdict:#?}", what());
            is_good = false;
        }
    };
    let seeds = match seed {
        Some(seed) => seed..seed + 1,
        None => 0..n_runs,
    };
    let (mut n_carried, mut n_voided) = (0, 0);
    for seed in seeds {
        let verdict = passwords::run(&passwords::Setup::random(seed));
        n_carried += verdict.n_carried;
        n_voided += verdict.n_voided;
        let what = || format!("seed {seed} (replay: npm run faults -- --seed {seed} --passwords)");
        judge(&what, &verdict);
    }
    let mut n_points = 0;
    // A few points only, unless asked for all.
    let every = if is_full { 1 } else { 29 };
    for change in passwords::CHANGES {
        let quiet = passwords::run(&passwords::Setup::of(change, passwords::Storm::None));
        judge(&|| format!("{change:?}, nothing wrong"), &quiet);
        if quiet.n_carried == 0 {
            println!("  {change:?}: nothing was carried");
            return false;
        }
        let points = (0..quiet.n_calls.min(MAX_PASSWORD_POINTS)).step_by(every);
        for point in points.filter(|_| seed.is_none()) {
            for fault in FAULTS {
                n_points += 1;
                let storm = passwords::Storm::At(point, *fault);
                let verdict = passwords::run(&passwords::Setup::of(change, storm));
                judge(
                    &|| format!("{change:?}, {fault:?} at call {point}"),
                    &verdict,
                );
            }
        }
    }
    println!(
        "passwords: {n_runs} runs, and {n_points} faults at calls of a sign-in and a change, {:.0} s\n  carried {n_carried}, voided {n_voided}, old ones alive {n_alive}, runs with something stuck {n_stuck}",
        began.elapsed().as_secs_f64(),
    );
    if shows_broken {
        for broken in passwords::BROKEN {
            let caught = (0..PASSWORD_VARIANT_RUNS).find_map(|seed| {
                let verdict = passwords::run(&passwords::Setup {
                    broken: Some(broken),
                    ..passwords::Setup::random(seed)
                });
                (!verdict.alive.is_empty()).then(|| format!("caught by seed {seed}: old one alive"))
            });
            let said = caught.as_deref().unwrap_or("NOT CAUGHT");
            println!("  {:52} {said}", broken.name());
            is_good &= caught.is_some();
        }
    }
    is_good
}

fn replay(setup: Setup) {
    let seed = setup.seed;
    let setup = Setup {
        is_loud: true,
        ..setup
    };
    let verdict = run(&setup);
    println!("{verdict:#?}");
    println!(
        "faults: seed {seed} {}",
        if verdict.is_good() {
            "passed"
        } else {
            "failed"
        }
    );
    std::process::exit(i32::from(!verdict.is_good()));
}

/// Every course, with the number of calls that it makes when nothing fails.
fn courses() -> Vec<(Course, u64)> {
    let mut courses = Vec::new();
    for (route, (name, _)) in ROUTES.iter().enumerate() {
        for is_followed in [false, true] {
            let course = Course::One { route, is_followed };
            let verdict = run(&Setup::of(course, Chaos::None));
            assert!(verdict.is_good(), "{name}: {verdict:#?}");
            courses.push((course, verdict.n_calls.min(MAX_POINTS)));
        }
    }
    courses
}

fn setups(courses: &[(Course, u64)]) -> Vec<Setup> {
    let mut setups = Vec::new();
    for (course, n_calls) in courses {
        for point in 0..*n_calls {
            for fault in FAULTS {
                setups.push(Setup::of(*course, Chaos::At(point, *fault)));
            }
            for glitch in GLITCHES {
                setups.push(Setup::of(*course, Chaos::Glitch(point, *glitch)));
            }
        }
        for number in 0..MAX_MESSAGES {
            for fate in FATES {
                setups.push(Setup::of(*course, Chaos::Message(number, *fate)));
            }
        }
    }
    setups
}

fn exhaustive() -> bool {
    let began = Instant::now();
    let courses = courses();
    let n_points: u64 = courses.iter().map(|(_, n_calls)| n_calls).sum();
    let setups = setups(&courses);
    println!(
        "one write: {} fault points x {} faults over {} routes, each alone and followed by another",
        n_points,
        FAULTS.len() + GLITCHES.len(),
        ROUTES.len(),
    );
    let (totals, bad) = run_all(
        setups.len() as u64,
        |index| setups[index as usize].clone(),
        5,
    );
    totals.print("exhaustive", began.elapsed().as_secs_f64());
    for (index, verdict) in &bad {
        let setup = &setups[*index as usize];
        println!("  {} {:?}: {verdict:#?}", setup.name(), setup.chaos);
    }
    bad.is_empty()
}

fn calm() -> bool {
    let began = Instant::now();
    let (totals, bad) = run_all(CALM_RUNS, Setup::calm, 5);
    println!("seeds 0 to {}", CALM_RUNS - 1);
    totals.print("calm", began.elapsed().as_secs_f64());
    for (seed, verdict) in &bad {
        println!(
            "  seed {seed} failed (replay: npm run faults -- --seed {seed} --calm): {verdict:#?}"
        );
    }
    bad.is_empty() && totals.idle_percent() < MAX_IDLE_PERCENT
}

fn random(name: &str, first: u64, n_runs: u64, setup: fn(u64) -> Setup) -> bool {
    let began = Instant::now();
    let (totals, bad) = run_all(n_runs, |index| setup(first + index), 5);
    println!("seeds {first} to {}", (first + n_runs).saturating_sub(1));
    totals.print(name, began.elapsed().as_secs_f64());
    let series = match (setup(0).is_helped, setup(0).is_reading) {
        _ if setup(0).is_handing_over => " --handovers",
        (true, _) => " --helped",
        (_, true) => " --reading",
        _ => "",
    };
    for (index, verdict) in &bad {
        let seed = first + index;
        println!(
            "  seed {seed} failed (replay: npm run faults -- --seed {seed}{series}): {verdict:#?}"
        );
    }
    bad.is_empty()
}

/// All runs over all cores; ends early after so many bad ones.
fn run_all(
    n_runs: u64,
    setup: impl Fn(u64) -> Setup + Sync,
    max_bad: usize,
) -> (Totals, Vec<(u64, Verdict)>) {
    let next = AtomicU64::new(0);
    let stops = AtomicBool::new(false);
    let shared = Mutex::new((Totals::default(), Vec::new()));
    let n_threads = std::thread::available_parallelism().map_or(2, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..n_threads {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    if index >= n_runs || stops.load(Ordering::Relaxed) {
                        return;
                    }
                    let verdict = run(&setup(index));
                    let mut shared = shared.lock().unwrap();
                    shared.0.add(&verdict);
                    if !verdict.is_good() {
                        shared.1.push((index, verdict));
                        if shared.1.len() >= max_bad {
                            stops.store(true, Ordering::Relaxed);
                        }
                    }
                }
            });
        }
    });
    let (totals, mut bad) = shared.into_inner().unwrap();
    bad.sort_by_key(|(index, _)| *index);
    (totals, bad)
}

/// Each broken variant changes what the core says or hears, within a few runs: a text of
/// the core's that it replaces may be another by now.
fn variants_differ() -> bool {
    // Across hand-overs a run takes as long as hundreds.
    let short = VARIANTS
        .iter()
        .filter(|variant| !variant.series()(0).is_handing_over);
    let idle: Vec<_> = short
        .filter(|variant| {
            let series = variant.series();
            let differs = |seed| {
                let variant = Some(**variant);
                let setup = Setup {
                    variant,
                    ..series(seed)
                };
                simulation::run(&setup).n_broken > 0
            };
            !(0..DIFFERING_RUNS).any(differs)
        })
        .map(|variant| variant.name())
        .collect();
    for name in &idle {
        println!("  changes nothing: {name}");
    }
    idle.is_empty()
}

/// Where a broken variant showed first.
fn catch(variant: Variant) -> Option<String> {
    let broken = |setup: Setup| Setup {
        variant: Some(variant),
        ..setup
    };
    let series = variant.series();
    let n_runs = match series(0).is_handing_over {
        true => HANDOVER_VARIANT_RUNS,
        false => VARIANT_RUNS,
    };
    let (totals, bad) = run_all(n_runs, |seed| broken(series(seed)), 1);
    let idle_percent = totals.idle_percent();
    match bad.first() {
        Some((seed, verdict)) => Some(format!(
            "caught ({} at seed {seed}, {} runs): {:.100}",
            verdict.kinds(),
            totals.n_runs,
            verdict.first().unwrap_or_default(),
        )),
        None if matches!(series(0).chaos, Chaos::None) && idle_percent >= MAX_IDLE_PERCENT => Some(
            format!("caught ({idle_percent} % of the turns had nothing to cover)"),
        ),
        None if totals.n_broken == 0 => {
            println!("  changes nothing: {}", variant.name());
            None
        }
        None => None,
    }
}

//! What the runs of a series came to, added up and printed.

use super::oracle::Verdict;

#[derive(Default)]
pub struct Totals {
    pub n_runs: u64,
    n_acknowledged: u64,
    n_lost: u64,
    n_doubled: u64,
    n_missing: u64,
    n_wrong: u64,
    n_vanished: u64,
    n_stuck: u64,
    n_late: u64,
    n_wasted: u64,
    n_turns: u64,
    n_idle: u64,
    n_parked: u64,
    n_waiting: u64,
    n_behind: u64,
    n_imports: u64,
    n_needless: u64,
    n_too_large: u64,
    n_reads: u64,
    n_from_mgpass: u64,
    n_stale: u64,
    n_unbraked: u64,
    n_hand_overs: u64,
    n_left: u64,
    n_disproved: u64,
    pub n_broken: u64,
}

impl Totals {
    pub fn add(&mut self, verdict: &Verdict) {
        self.n_runs += 1;
        self.n_acknowledged += verdict.n_acknowledged;
        self.n_lost += verdict.lost.len() as u64;
        self.n_doubled += verdict.doubled.len() as u64;
        self.n_missing += verdict.missing.len() as u64;
        self.n_wrong += verdict.wrong.len() as u64;
        self.n_vanished += verdict.vanished.len() as u64;
        self.n_stuck += verdict.stuck.len() as u64;
        self.n_late += verdict.late.len() as u64;
        self.n_wasted += verdict.wasted.len() as u64;
        self.n_turns += verdict.n_turns;
        self.n_idle += verdict.n_idle;
        self.n_parked += verdict.n_parked;
        self.n_waiting += verdict.n_waiting;
        self.n_behind += verdict.n_behind;
        self.n_imports += verdict.n_imports;
        self.n_needless += verdict.needless.len() as u64;
        self.n_too_large += verdict.n_too_large;
        self.n_reads += verdict.n_reads;
        self.n_from_mgpass += verdict.n_from_mgpass;
        self.n_stale += verdict.stale.len() as u64;
        self.n_unbraked += verdict.unbraked.len() as u64;
        self.n_hand_overs += verdict.n_hand_overs;
        self.n_left += verdict.n_left;
        self.n_disproved += verdict.disproved.len() as u64;
        self.n_broken += verdict.n_broken;
    }

    pub fn print(&self, name: &str, seconds: f64) {
        println!(
            "{name}: {} runs, {} writes acknowledged, {seconds:.0} s\n  lost {}  doubled {}  missing effects {}  wrongly deleted or resurrected {}  edits vanished {}  stuck {}  late {}  wasted {}  needless gaps {}\n  parked with a reason {}, as too large for good {}  registrations waiting for the catch-up {}  users behind a gap {}  imports {}  turns {}, with nothing to cover {} ({} %)",
            self.n_runs,
            self.n_acknowledged,
            self.n_lost,
            self.n_doubled,
            self.n_missing,
            self.n_wrong,
            self.n_vanished,
            self.n_stuck,
            self.n_late,
            self.n_wasted,
            self.n_needless,
            self.n_parked,
            self.n_too_large,
            self.n_waiting,
            self.n_behind,
            self.n_imports,
            self.n_turns,
            self.n_idle,
            self.idle_percent(),
        );
        if self.n_hand_overs > 0 {
            println!(
                "  hand-overs {}, Logto left alone {}: claims disproved {}",
                self.n_hand_overs, self.n_left, self.n_disproved
            );
        }
        if self.n_reads > 0 {
            println!(
                "  reads {}, from mgPass {}: stale {}, with a brake pulled {}",
                self.n_reads, self.n_from_mgpass, self.n_stale, self.n_unbraked
            );
        }
    }

    pub fn idle_percent(&self) -> u64 {
        self.n_idle * 100 / (self.n_turns + self.n_idle).max(1)
    }
}

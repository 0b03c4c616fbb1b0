//! A read compared after its answer: the other backend is asked too, and what
//! differs is kept. None of it can change the answer or delay it: it begins when the
//! client has the answer, and an isolate makes few comparisons at a time, since its
//! clients share one thread with them.
//!
//! The fence holds around both reads: an intent of the user that was alive at any
//! moment from before the first to after the last makes the pair worthless. A
//! difference counts only when a second pair of reads shows it again, so that a
//! change on its way is no finding. A small share also reads Logto twice (A/A):
//! fields that differ there are noise, not drift.

pub mod difference;
pub mod rules;

use self::difference::{ReadDifference, Seen, differences};
use self::rules::{Sorted, sort};
use crate::inbound::classify::Operation;
use crate::inbound::request::UserId;
use crate::mirror::eligibility;
use crate::mirror::target::MirrorRow;
use crate::operate::findings::{self, Finding};
use crate::policy::plan::Eligibility;
use crate::runtime::backend::logto;
use crate::runtime::backend::mgpass::Caller;
use crate::runtime::context::Context;
use crate::runtime::isolate::Volatile;
use crate::runtime::metrics::Metric;
use crate::runtime::observe::{self, Event};
use crate::runtime::ports::{AnswerCopy, Platform, Store};
use crate::serve::read::{self, Wanted};
use crate::serve::translate::Shown;

/// Logto's JSON API takes 1 MB; its answers are not much larger.
const MAX_COPY_BYTES: usize = 2 * 1024 * 1024;
/// One comparison in so many reads Logto twice.
const A_A_ONE_IN: u64 = 8;
/// In it the client gets the rest of the answer: whatever runs before would hold it up.
const QUIET_MS: u32 = 100;

/// A read that was answered and is to be compared.
pub struct Comparison<C> {
    pub operation: Operation,
    pub user: UserId,
    pub item: Option<String>,
    /// As the client wrote it: Logto is asked the same.
    pub path: String,
    pub began_ms: i64,
    pub served: Served<C>,
}

/// Whose answer the client got.
pub enum Served<C> {
    ByLogto { status: u16, copy: C },
    ByMgpass { shown: Shown },
}

/// How a comparison ended; the label under which it is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ComparisonOutcome {
    Match,
    Mismatch,
    /// A difference that the second pair of reads did not show again.
    Transient,
    /// A write was on its way.
    Fenced,
    NotReconciled,
    /// A database or a backend could not say.
    Unavailable,
}

impl ComparisonOutcome {
    fn name(self) -> &'static str {
        match self {
            Self::Match => "match",
            Self::Mismatch => "mismatch",
            Self::Transient => "transient",
            Self::Fenced => "fenced",
            Self::NotReconciled => "not_reconciled",
            Self::Unavailable => "unavailable",
        }
    }
}

/// Both answers, read within one fence.
struct Pair {
    control: Seen,
    candidate: Seen,
}

pub async fn carry_out<P: Platform, C: AnswerCopy>(
    platform: &P,
    context: &Context<'_>,
    comparison: Comparison<C>,
) {
    let operation = comparison.operation;
    platform.sleep(QUIET_MS).await;
    let outcome = match compare(platform, context, comparison).await {
        Ok(outcome) | Err(outcome) => outcome,
    };
    let mut metrics = context.isolate.metrics.borrow_mut();
    metrics.count(Metric::Compared, operation.name(), "", outcome.name(), 1);
}

async fn compare<P: Platform, C: AnswerCopy>(
    platform: &P,
    context: &Context<'_>,
    comparison: Comparison<C>,
) -> Result<ComparisonOutcome, ComparisonOutcome> {
    let Comparison {
        operation,
        user,
        item,
        path,
        began_ms,
        served,
    } = comparison;
    let asked = Asked {
        wanted: Wanted {
            operation,
            user: &user,
            item: item.as_deref(),
        },
        path: &path,
    };
    let volatile = volatile_fields(platform, context).await;
    let first = asked
        .first_pair(platform, context, began_ms, served)
        .await?;
    if platform.random_u64().is_multiple_of(A_A_ONE_IN) {
        asked
            .learn(platform, context, began_ms, &first.control)
            .await;
    }
    let sorted = sort_pair(operation, &first, &volatile);
    count_ignored(context, operation, &sorted);
    if sorted.mismatches.is_empty() {
        return Ok(ComparisonOutcome::Match);
    }
    let second = asked.pair(platform, context).await?;
    let again = sort_pair(operation, &second, &volatile).mismatches;
    let confirmed: Vec<_> = sorted
        .mismatches
        .into_iter()
        .filter(|one| again.iter().any(|other| other.is_same_place(one)))
        .collect();
    if confirmed.is_empty() {
        return Ok(ComparisonOutcome::Transient);
    }
    report(platform, context, operation, &user, &confirmed).await;
    Ok(ComparisonOutcome::Mismatch)
}

struct Asked<'a> {
    wanted: Wanted<'a>,
    path: &'a str,
}

impl Asked<'_> {
    /// The answer that the client got, beside the other backend's.
    async fn first_pair<P: Platform, C: AnswerCopy>(
        &self,
        platform: &P,
        context: &Context<'_>,
        began_ms: i64,
        served: Served<C>,
    ) -> Result<Pair, ComparisonOutcome> {
        match served {
            Served::ByLogto { status, copy } => {
                let body = copy
                    .text(MAX_COPY_BYTES)
                    .await
                    .ok_or(ComparisonOutcome::Unavailable)?;
                let row = self.eligibility(platform, context, began_ms).await?;
                let candidate = self.mgpass(platform, context, &row).await?;
                self.still_stands(platform, context, began_ms, &row).await?;
                Ok(Pair {
                    control: Seen { status, body },
                    candidate,
                })
            }
            Served::ByMgpass { shown } => {
                let control = self.logto(platform, context).await?;
                self.eligibility(platform, context, began_ms).await?;
                Ok(Pair {
                    control,
                    candidate: seen(shown),
                })
            }
        }
    }

    /// A pair of the proxy's own reads.
    async fn pair<P: Platform>(
        &self,
        platform: &P,
        context: &Context<'_>,
    ) -> Result<Pair, ComparisonOutcome> {
        let began_ms = platform.now_ms();
        let row = self.eligibility(platform, context, began_ms).await?;
        let pair = Pair {
            control: self.logto(platform, context).await?,
            candidate: self.mgpass(platform, context, &row).await?,
        };
        self.still_stands(platform, context, began_ms, &row).await?;
        Ok(pair)
    }

    async fn eligibility<P: Platform>(
        &self,
        platform: &P,
        context: &Context<'_>,
        began_ms: i64,
    ) -> Result<MirrorRow, ComparisonOutcome> {
        judged(eligibility::of(platform, context, self.wanted.user, began_ms).await)
    }

    /// The fence again, after the reads. The mirror row is not read twice: a write
    /// changes it under an intent, which the fence tells of, and what a reconcile
    /// without one has changed, a second pair of reads does not confirm.
    async fn still_stands<P: Platform>(
        &self,
        platform: &P,
        context: &Context<'_>,
        began_ms: i64,
        row: &MirrorRow,
    ) -> Result<(), ComparisonOutcome> {
        let eligibility =
            eligibility::of_row(platform, context, self.wanted.user, began_ms, row.clone()).await;
        judged(eligibility).map(|_| ())
    }

    async fn mgpass<P: Platform>(
        &self,
        platform: &P,
        context: &Context<'_>,
        row: &MirrorRow,
    ) -> Result<Seen, ComparisonOutcome> {
        read::shown(platform, context, &Caller::Proxy, self.wanted, Some(row))
            .await
            .map(seen)
            .map_err(|_| ComparisonOutcome::Unavailable)
    }

    async fn logto<P: Platform>(
        &self,
        platform: &P,
        context: &Context<'_>,
    ) -> Result<Seen, ComparisonOutcome> {
        let answer = logto::read(platform, context, self.path)
            .await
            .map_err(|_| ComparisonOutcome::Unavailable)?;
        match answer.status {
            200 | 404 => Ok(Seen {
                status: answer.status,
                body: answer.body,
            }),
            _ => Err(ComparisonOutcome::Unavailable),
        }
    }

    /// A second read of Logto: what differs from the first differs by itself.
    async fn learn<P: Platform>(
        &self,
        platform: &P,
        context: &Context<'_>,
        began_ms: i64,
        control: &Seen,
    ) {
        let Ok(again) = self.logto(platform, context).await else {
            return;
        };
        let differences = differences(control, &again);
        if differences.is_empty() || self.eligibility(platform, context, began_ms).await.is_err() {
            return;
        }
        let operation = self.wanted.operation;
        let notes = differences
            .iter()
            .map(|difference| {
                let (path, class) = (&difference.path, difference.class.name());
                findings::note_volatile(self.wanted.user, operation, path, class)
            })
            .collect();
        // Lost: learned from the next one.
        let _ = platform.batch(Store::Proxy, notes).await;
    }
}

fn judged(eligibility: (Eligibility, Option<MirrorRow>)) -> Result<MirrorRow, ComparisonOutcome> {
    match eligibility {
        (Eligibility::Equal, Some(row)) => Ok(row),
        (Eligibility::Equal | Eligibility::NotReconciled, _) => {
            Err(ComparisonOutcome::NotReconciled)
        }
        (Eligibility::Fenced, _) => Err(ComparisonOutcome::Fenced),
        (Eligibility::Unknown, _) => Err(ComparisonOutcome::Unavailable),
    }
}

fn seen(shown: Shown) -> Seen {
    match shown {
        Shown::Body(body) => Seen { status: 200, body },
        Shown::Refusal(refusal) => Seen {
            status: refusal.status(),
            body: refusal.body(),
        },
    }
}

fn sort_pair(operation: Operation, pair: &Pair, volatile: &[Volatile]) -> Sorted {
    let found = differences(&pair.control, &pair.candidate);
    sort(operation, pair.control.status, found, volatile)
}

fn count_ignored(context: &Context<'_>, operation: Operation, sorted: &Sorted) {
    let mut metrics = context.isolate.metrics.borrow_mut();
    for (rule, count) in &sorted.ignored {
        metrics.count(Metric::Ignored, operation.name(), "", rule, *count);
    }
}

async fn report<P: Platform>(
    platform: &P,
    context: &Context<'_>,
    operation: Operation,
    user: &UserId,
    mismatches: &[ReadDifference],
) {
    let hash = |text: &Option<String>| {
        let text = text.as_deref()?;
        observe::keyed_hash(text, context.subject_key)
    };
    let notes = mismatches
        .iter()
        .map(|difference| {
            let finding = Finding {
                path: &difference.path,
                class: difference.class.name(),
                control_hash: hash(&difference.control),
                candidate_hash: hash(&difference.candidate),
            };
            findings::note(user, operation, finding)
        })
        .collect();
    if let Err(failure) = platform.batch(Store::Proxy, notes).await {
        platform.emit(&Event::MetricsDelayed {
            step: "findings",
            code: failure.code(),
        });
    }
    let subject = context.subject_hash(user);
    for difference in mismatches {
        platform.emit(&Event::CompareMismatch {
            subject: subject.as_deref(),
            operation: operation.name(),
            path: &difference.path,
            class: difference.class.name(),
        });
        let mut metrics = context.isolate.metrics.borrow_mut();
        let class = difference.class.name();
        metrics.count(Metric::Mismatches, operation.name(), "", class, 1);
    }
}

/// Read from the database about once a minute and isolate.
async fn volatile_fields<P: Platform>(platform: &P, context: &Context<'_>) -> Vec<Volatile> {
    let now_ms = platform.now_ms();
    if let Some(known) = context.isolate.volatile_fields(now_ms) {
        return known;
    }
    match platform
        .batch(Store::Proxy, findings::read_volatile())
        .await
    {
        Ok(results) => {
            let fields = findings::parse_volatile(&results);
            context.isolate.set_volatile_fields(fields.clone(), now_ms);
            fields
        }
        Err(_) => Vec::new(),
    }
}

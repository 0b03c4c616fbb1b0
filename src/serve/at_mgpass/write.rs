//! A translated write, carried out at mgPass: what Logto would have done is computed
//! (`translate_write`), and mgPass's rows are changed by it.
//!
//! The intent is opened only while mgPass is the authority, and the client hears of
//! success only once it was settled in the same generation. Between the two the rows are
//! read, the write is decided and carried out by one guarded batch (`batch`); where
//! something else changed meanwhile, it is read and decided anew.
//!
//! What stands in no row goes by API: a password at mgPass and then at Logto, a new user's
//! id at Logto. Whatever may have been done and is not known to be leaves the intent
//! open, so that the user is looked at when it expires; the client is then told that
//! nobody knows (504), never that nothing happened.

mod behind;
mod facts;
mod passwords;
mod send;

use std::pin::pin;

use futures_util::future::{Either, join, select};

use super::batch;
use super::caller::{Account, of_failure};
use super::person::{self, Person};
use crate::handover::authority::View;
use crate::handover::target::{generation, parse_generation};
use crate::handover::translated::{
    self, AtLogto, Opened, TranslatedIntent, note_password, parse_opened, parse_settled,
    parse_ticket,
};
use crate::inbound::request::UserId;
use crate::mirror::findings::Finding;
use crate::mirror::mapping::Obstacle;
use crate::runtime::backend::BackendFailure;
use crate::runtime::backend::logto;
use crate::runtime::context::Context;
use crate::runtime::error::ProxyError;
use crate::runtime::observe::Event;
use crate::runtime::ports::{DatabaseFailure, Platform, Row, Statement, Store};
use crate::serve::translate_write::{
    AccountCaller, After, Applied, Body, Facts, PathUser, Refusal, Reply, Route, Settings, Step,
    Tenant, Unique, UsersRoute, Write, apply,
};

/// Of one query. A write waits for several, and for a backend.
const DATABASE_DEADLINE_MS: u32 = 4_000;
/// How often a write is decided anew because others changed the user meanwhile.
const MAX_TRIES: u32 = 3;

/// One write, once its caller is known.
pub struct Job<'a> {
    pub intent: TranslatedIntent,
    pub route: &'a Route,
    pub by: By<'a>,
    pub body: Body<'a>,
    pub tenant: &'a Tenant,
    /// What this isolate believes.
    pub view: View,
}

pub enum By<'a> {
    /// With the token's `sub`.
    Management(&'a str),
    Account(&'a Account),
}

/// What the client is told.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    Answer(Reply),
    Refuse(Refusal),
    Fail(ProxyError),
    /// mgPass is not the authority: nothing was done.
    Moved(View),
}

/// What is left to be done behind the answer.
#[derive(Clone, Debug)]
pub struct Left {
    pub intent: TranslatedIntent,
    pub fate: Fate,
    /// Sessions that end, by the ticket that owes it.
    pub owes: Option<i64>,
    /// A user at Logto of whom nothing came.
    pub orphan: Option<UserId>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// There is none.
    Nothing,
    /// Nothing was changed: taken back.
    Withdrawn,
    /// To be looked at when it expires.
    LeftOpen,
    Settled,
}

pub async fn carry_out<P: Platform>(
    platform: &P,
    context: &Context<'_>,
    job: Job<'_>,
) -> (Outcome, Left) {
    let mut run = Run {
        platform,
        context,
        job,
        known: Known::default(),
        fate: Fate::Nothing,
        owes: None,
        orphan: None,
        has_set_password: false,
    };
    let outcome = match run.write().await {
        Ok(outcome) | Err(outcome) => outcome,
    };
    let left = Left {
        intent: run.job.intent,
        fate: run.fate,
        owes: run.owes,
        orphan: run.orphan,
    };
    (outcome, left)
}

/// Answers to what `apply` asked.
#[derive(Default)]
struct Known {
    held: Option<Vec<Unique>>,
    is_address: Option<bool>,
    password_is_leaked: Option<bool>,
    password_is_right: Option<bool>,
    n_sso_identities: Option<usize>,
    reserved: Option<String>,
}

impl Known {
    fn facts(&self) -> Facts<'_> {
        Facts {
            held_by_others: self.held.as_deref(),
            is_address: self.is_address,
            password_is_leaked: self.password_is_leaked,
            password_is_right: self.password_is_right,
            n_sso_identities: self.n_sso_identities,
            reserved: self.reserved.as_deref(),
        }
    }
}

struct Run<'a, P> {
    platform: &'a P,
    context: &'a Context<'a>,
    job: Job<'a>,
    known: Known,
    fate: Fate,
    owes: Option<i64>,
    orphan: Option<UserId>,
    has_set_password: bool,
}

/// The way on, or what the client is told instead.
type Way<T> = Result<T, Outcome>;

impl<P: Platform> Run<'_, P> {
    async fn write(&mut self) -> Way<Outcome> {
        if *self.job.route == Route::Users(UsersRoute::VerifyPassword) {
            return self.check_password().await;
        }
        let (opened, person) = join(self.open(), self.read()).await;
        let opened = opened?;
        self.fate = Fate::Withdrawn;
        let mut person = person?;
        let mut ticket = opened.ticket;
        for _ in 0..MAX_TRIES {
            if person.generation != opened.view.generation {
                return Err(Outcome::Fail(ProxyError::AuthorityMoved));
            }
            let applied = match self.decide(&person).await? {
                Decided::Apply(applied) => applied,
                Decided::Tell(outcome) => return Ok(outcome),
            };
            if person.seen() >= ticket {
                ticket = self.next_ticket().await?;
            }
            let is_new = matches!(applied.after, After::Created(_));
            if !is_new {
                self.set_password_first(&applied).await?;
            }
            let generation = opened.view.generation;
            match self.apply(&person, &applied, ticket, generation).await? {
                batch::Outcome::Applied => {
                    if is_new {
                        self.set_password_of_new(&applied, generation).await?;
                    }
                    return self.finish(applied, ticket, generation).await;
                }
                batch::Outcome::Moved => return Err(Outcome::Fail(ProxyError::AuthorityMoved)),
                batch::Outcome::Missed => {
                    person = self.read().await?;
                    // Somebody may hold by now what was free.
                    self.known.held = None;
                }
            }
        }
        Err(Outcome::Fail(ProxyError::Busy))
    }

    /// Nothing is written: no intent, but the proof that mgPass still has the say.
    async fn check_password(&mut self) -> Way<Outcome> {
        let person = self.read().await?;
        if person.generation != self.job.view.generation {
            return Err(Outcome::Fail(ProxyError::AuthorityMoved));
        }
        match self.decide(&person).await? {
            Decided::Tell(outcome) => Ok(outcome),
            Decided::Apply(_) => Err(Outcome::Fail(ProxyError::Defect)),
        }
    }

    async fn open(&self) -> Way<Opened> {
        let asked_at_ms = self.platform.now_ms();
        let answer = self.ask(Store::Proxy, self.job.intent.open()).await;
        let opened = answer.ok().and_then(|results| parse_opened(&results));
        // An insert that comes late leaves an intent that expires, and a user looked at.
        let opened = opened.ok_or(Outcome::Fail(ProxyError::NotRecorded))?;
        let lease_ms = self.context.settings.handover.lease_ms;
        self.context
            .isolate
            .note_authority(opened.view, asked_at_ms, lease_ms);
        match opened.is_open {
            true => Ok(opened),
            false if opened.view.holder.takes_translated() => {
                // mgPass's database does not know the generation yet.
                Err(Outcome::Fail(ProxyError::AuthorityMoved))
            }
            false => Err(Outcome::Moved(opened.view)),
        }
    }

    /// Of a user who is being created there is nothing but the generation.
    pub(super) async fn read(&self) -> Way<Person> {
        let unavailable = Outcome::Fail(ProxyError::MgpassUnavailable);
        let statements = match &self.job.intent.subject {
            Some(id) if self.known.reserved.is_none() => person::read(id),
            Some(_) | None => vec![generation()],
        };
        let is_of_one = statements.len() > 1;
        let results = self.ask(Store::Mgpass, statements).await;
        let results = results.map_err(|_| unavailable.clone())?;
        let person = if is_of_one {
            Person::parse(&results)
        } else {
            parse_generation(&results).map(Person::nobody)
        };
        person.ok_or(unavailable)
    }

    async fn decide(&mut self, person: &Person) -> Way<Decided> {
        let mapping = &self.context.settings.mapping;
        loop {
            let view = match &self.job.intent.subject {
                Some(id) if self.known.reserved.is_none() => person.view(id, mapping),
                Some(_) | None => None,
            };
            let settings = Settings {
                tenant: self.job.tenant,
                mapping,
                now_ms: self.platform.now_ms(),
            };
            let Some(write) = self.as_write(view.as_deref()) else {
                // The account's user is not at mgPass: Logto would not know them either.
                return Err(Outcome::Fail(ProxyError::MgpassUnavailable));
            };
            let step = apply(&settings, write, self.job.body, &self.known.facts());
            match step {
                Step::Ask(question) => self.learn(question).await?,
                Step::Answer(reply) => return Ok(Decided::Tell(Outcome::Answer(reply))),
                Step::Refuse(refusal) => return Ok(Decided::Tell(Outcome::Refuse(refusal))),
                Step::Apply(applied) if has_no_place(person, &applied) => {
                    return Ok(Decided::Tell(Outcome::Refuse(Refusal::BornAtMgpass)));
                }
                Step::Apply(applied) => return Ok(Decided::Apply(*applied)),
            }
        }
    }

    fn as_write<'w>(&'w self, view: Option<&'w str>) -> Option<Write<'w>> {
        Some(match (self.job.route, &self.job.by) {
            (Route::Users(route), By::Management(caller)) => Write::Users {
                route,
                user: match (self.path_user(), view) {
                    (None, _) => PathUser::Nobody,
                    (Some(id), Some(view)) => PathUser::Known { id, view },
                    (Some(id), None) => PathUser::Missing { id },
                },
                caller,
            },
            (Route::Account(route), By::Account(account)) => Write::Account {
                route,
                user: view?,
                caller: AccountCaller {
                    shown: &account.shown,
                    proof: account.proof,
                },
            },
            (Route::Users(_), By::Account(_)) | (Route::Account(_), By::Management(_)) => {
                return None;
            }
        })
    }

    /// Nobody asks Logto any more: mgPass alone has what is written.
    pub(super) fn is_alone(&self) -> bool {
        self.context.isolate.authority.get().is_alone()
    }

    fn path_user(&self) -> Option<&str> {
        let is_create = *self.job.route == Route::Users(UsersRoute::Create);
        let subject = self.job.intent.subject.as_ref();
        subject.filter(|_| !is_create).map(UserId::as_str)
    }

    pub(super) async fn next_ticket(&self) -> Way<i64> {
        let results = self.ask(Store::Proxy, translated::next_ticket()).await;
        results
            .ok()
            .and_then(|results| parse_ticket(&results))
            .ok_or(Outcome::Fail(ProxyError::NotRecorded))
    }

    /// Logto has the password, too; then it is settled, and only then acknowledged.
    async fn finish(&mut self, applied: Applied, ticket: i64, generation: i64) -> Way<Outcome> {
        let id = self.subject()?;
        let mut statements = self.job.intent.settle(applied.reply.status, generation);
        if let Some(password) = &applied.owed.password
            && !self.is_alone()
        {
            let set = logto::set_password(self.platform, self.context, &id, password).await;
            let at_logto = match set {
                Ok(()) => AtLogto::Set,
                Err(unsure) => {
                    self.platform.emit(&Event::TranslatedDelayed {
                        step: "password_at_logto",
                        code: unsure.failure().code(),
                    });
                    AtLogto::Owed
                }
            };
            statements.push(note_password(&id, at_logto));
        }
        let results = match self.ask(Store::Proxy, statements.clone()).await {
            Ok(results) => Ok(results),
            // Harmless twice.
            Err(_) => self.ask(Store::Proxy, statements).await,
        };
        match results.map(|results| parse_settled(&results)) {
            Ok(true) => {
                self.fate = Fate::Settled;
                Ok(Outcome::Answer(applied.reply))
            }
            Ok(false) => {
                self.report_moved(&id, ticket).await;
                Err(Outcome::Fail(ProxyError::AuthorityMoved))
            }
            Err(_) => Err(Outcome::Fail(ProxyError::NotRecorded)),
        }
    }

    /// Done at mgPass, while the authority went elsewhere: nobody was told so.
    async fn report_moved(&self, id: &UserId, ticket: i64) {
        let subject = self.context.subject_hash(id);
        self.platform.emit(&Event::TranslatedUnacknowledged {
            subject: subject.as_deref(),
            operation: self.job.intent.operation,
            ticket,
        });
        let finding = Finding::TranslatedButMoved.note_of(id, &[]);
        // The event stands, whatever becomes of the finding.
        let _ = self.ask(Store::Proxy, vec![finding]).await;
    }

    pub(super) async fn ask(
        &self,
        store: Store,
        statements: Vec<Statement>,
    ) -> Result<Vec<Vec<Row>>, DatabaseFailure> {
        let batch = pin!(self.platform.batch(store, statements));
        let deadline = pin!(self.platform.sleep(DATABASE_DEADLINE_MS));
        match select(batch, deadline).await {
            Either::Left((results, _)) => results,
            Either::Right(_) => Err(DatabaseFailure::Unavailable),
        }
    }
}

enum Decided {
    Apply(Applied),
    /// Nothing is changed.
    Tell(Outcome),
}

/// Of a user of mgPass's own: no row would hold it.
fn has_no_place(person: &Person, applied: &Applied) -> bool {
    let changes = &applied.changes;
    let is_changed = |name: &str| changes.residue_members.iter().any(|member| member == name);
    let is_lost = |obstacle: &Obstacle| match obstacle {
        Obstacle::PhoneNotE164 => is_changed("primaryPhone"),
        Obstacle::UnknownProvider(_) => is_changed("identities"),
    };
    person.is_born_at_mgpass()
        && matches!(applied.after, After::Changed(_))
        && (is_changed("username")
            || is_changed("profile")
            || changes.obstacles.iter().any(is_lost))
}

fn of_logto(failure: BackendFailure) -> Outcome {
    Outcome::Fail(of_failure(failure))
}

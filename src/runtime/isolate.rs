//! What one isolate remembers between requests. All of it may vanish at any
//! moment, and nothing is shared with another isolate; it saves round trips only.

mod documents;

use std::cell::{Cell, RefCell};
use std::sync::Arc;

pub use self::documents::{MgpassEndpoints, OldIssuer};
use crate::inbound::request::Secret;
use crate::policy::allowance::Allowance;
use crate::policy::authority::{Lease, View};
use crate::policy::breaker::Breaker;
use crate::policy::flags::Flags;
use crate::policy::left_behind::LeftBehind;
use crate::policy::tenant::Tenant;
use crate::policy::token::{
    Fingerprint, ImportedKeys, Issuer, KeyId, KeySet, LiveKeySet, OnUnknownKeyId, UnixSeconds, Use,
    VerifiedTokens,
};
use crate::runtime::dependencies::Dependencies;
use crate::runtime::metrics::Metrics;
use crate::runtime::ports::Entropy;
use crate::runtime::trial::Trials;

/// Flags are read again after so long.
pub const FLAGS_FRESH_MS: i64 = 5_000;
/// A refresh that has not come by then is begun anew: twice what a reading may take. The
/// platform may drop one with the request it ran behind.
const REFRESH_LEASE_MS: i64 = 2_000;
/// After an outage of the outbox the Queue has told it all within so long: a record is
/// tried again after 30 s.
const CATCHES_UP_WITHIN_MS: i64 = 45_000;
/// Imported keys change at an import only.
const IMPORTED_FRESH_S: i64 = 60;
const VOLATILE_FRESH_MS: i64 = 60_000;
const TENANT_FRESH_MS: i64 = 60_000;
const ADVANCED_EVERY_MS: i64 = 1_000;
/// Longer than a reconcile takes with every backend at its deadline.
const HEAVY_LEASE_MS: i64 = 60_000;

#[derive(Default)]
pub struct Isolate {
    flags: RefCell<Option<Snapshot>>,
    logto_token: RefCell<Option<OwnToken>>,
    reverse_token: RefCell<Option<OwnToken>>,
    mgpass_token: RefCell<Option<OwnToken>>,
    mgpass_endpoints: RefCell<Option<Arc<MgpassEndpoints>>>,
    logto_keys: RefCell<LiveKeySet>,
    mgpass_keys: RefCell<LiveKeySet>,
    imported: RefCell<Option<(UnixSeconds, Option<Arc<ImportedKeys>>)>>,
    verified: RefCell<VerifiedTokens>,
    /// Key sets to be fetched behind a request.
    owed_key_fetches: RefCell<Vec<Issuer>>,
    volatile: RefCell<Option<(i64, Vec<Volatile>)>>,
    last_comparison_ms: Cell<i64>,
    tenant: RefCell<Option<(i64, Arc<Tenant>)>>,
    old_issuer: RefCell<Option<Arc<OldIssuer>>>,
    pub mgpass_trials: Trials,
    /// Drawn at the first request.
    id: Cell<u64>,
    n_requests: Cell<u32>,
    pub breaker: Cell<Breaker>,
    /// Never borrowed across an await.
    pub allowance: RefCell<Allowance>,
    /// Never borrowed across an await.
    pub metrics: RefCell<Metrics>,
    /// Never borrowed across an await.
    pub dependencies: RefCell<Dependencies>,
    /// Never borrowed across an await.
    pub left_behind: RefCell<LeftBehind>,
    /// A gap that the database has not been told of yet.
    pub gap_is_pending: Cell<bool>,
    /// The shape of mgPass's database was looked at and is the one we rely on.
    pub preflight_passed: Cell<bool>,
    /// The same of the rewards tables on both sides.
    pub rewards_preflight_passed: Cell<bool>,
    /// After so long without an answer from the outbox, ask the Queue first.
    pub outbox_down_until_ms: Cell<i64>,
    /// Nobody's password is tried before: the last try was not let begin.
    pub carries_rest_until_ms: Cell<i64>,
    doubt: Cell<Doubt>,
    /// Since when mgPass's rows could not be read, if so.
    pub mgpass_failing_since_ms: Cell<Option<i64>>,
    /// What the database said of the authority.
    pub authority: Cell<Lease>,
    renewing_authority_ms: Cell<i64>,
    /// The operator wants Logto not to be asked any more, and nobody can say whether that
    /// is so already.
    pub doubts_logto: Cell<bool>,
    /// Until when one of the writes that wait here tries to move the authority on.
    advancing_until_ms: Cell<i64>,
    /// Until when a large user is worked on; over at once when that ends.
    heavy_until_ms: Cell<i64>,
}

/// Held while a large user is worked on: an isolate's memory is for one of them.
pub struct Heavy<'a>(&'a Isolate);

impl Drop for Heavy<'_> {
    fn drop(&mut self) {
        self.0.heavy_until_ms.set(0);
    }
}

/// Whether the outbox may lack writes that were answered: one that it did not settle
/// went to the Queue, and the Queue tells it later.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Doubt {
    #[default]
    None,
    /// It failed, and has not answered since.
    Down,
    BackSince(i64),
}

#[derive(Clone)]
struct Snapshot {
    flags: Arc<Flags>,
    /// When KV was asked for them.
    asked_at_ms: i64,
    read_at_ms: i64,
    refreshing_since_ms: Option<i64>,
}

impl Snapshot {
    fn is_due(&self, now_ms: i64) -> bool {
        // A clock set back must not freeze the flags.
        let within = |since_ms: i64, length_ms| (0..length_ms).contains(&(now_ms - since_ms));
        let is_refreshing = self
            .refreshing_since_ms
            .is_some_and(|since_ms| within(since_ms, REFRESH_LEASE_MS));
        !is_refreshing && !within(self.read_at_ms, FLAGS_FRESH_MS)
    }
}

/// A field that differs between two reads of Logto itself.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Volatile {
    pub operation: String,
    pub path: String,
    /// The name of the difference's class.
    pub class: String,
}

/// The proxy's own clients, each with a token of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OwnClient {
    Logto,
    /// At Logto, too: what changes its users while mgPass is the authority.
    Reverse,
    Mgpass,
}

#[derive(Clone)]
struct OwnToken {
    token: Secret<String>,
    use_until_ms: i64,
}

pub enum FlagsState {
    Fresh(Arc<Flags>),
    /// Use it; this caller refreshes it behind the request.
    Stale(Arc<Flags>),
    Unknown,
}

impl Isolate {
    /// Unique without a draw for each request: the isolate's own draw, and a count.
    pub fn next_request_id(&self, entropy: &impl Entropy) -> String {
        if self.id.get() == 0 {
            self.id.set(entropy.random_u64() | 1);
        }
        self.n_requests.set(self.n_requests.get().wrapping_add(1));
        let (isolate, request) = (self.id.get() >> 24, self.n_requests.get() & 0xff_ffff);
        format!("{isolate:010x}{request:06x}")
    }

    /// `None`: another one is held. Whoever was cut off holds it no longer than this.
    pub fn enter_heavy(&self, now_ms: i64) -> Option<Heavy<'_>> {
        let is_free = now_ms >= self.heavy_until_ms.get();
        is_free.then(|| {
            self.heavy_until_ms.set(now_ms + HEAVY_LEASE_MS);
            Heavy(self)
        })
    }

    pub fn flags(&self, now_ms: i64) -> FlagsState {
        let mut held = self.flags.borrow_mut();
        let Some(snapshot) = held.as_mut() else {
            return FlagsState::Unknown;
        };
        if !snapshot.is_due(now_ms) {
            return FlagsState::Fresh(Arc::clone(&snapshot.flags));
        }
        snapshot.refreshing_since_ms = Some(now_ms);
        FlagsState::Stale(Arc::clone(&snapshot.flags))
    }

    /// True while nobody has to read KV, now or behind a request.
    pub fn has_fresh_flags(&self, now_ms: i64) -> bool {
        let held = self.flags.borrow();
        held.as_ref()
            .is_some_and(|snapshot| !snapshot.is_due(now_ms))
    }

    /// KV was last asked so long ago.
    pub fn flags_age_ms(&self, now_ms: i64) -> Option<i64> {
        let held = self.flags.borrow();
        held.as_ref()
            .map(|snapshot| now_ms.saturating_sub(snapshot.asked_at_ms))
    }

    pub fn last_flags(&self) -> Arc<Flags> {
        self.flags.borrow().as_ref().map_or_else(
            || Arc::new(Flags::unknown()),
            |snapshot| Arc::clone(&snapshot.flags),
        )
    }

    /// A reading that began before the one at hand is older, whenever it comes.
    pub fn set_flags(&self, flags: Arc<Flags>, asked_at_ms: i64, now_ms: i64) {
        let mut held = self.flags.borrow_mut();
        let is_outrun = held
            .as_ref()
            .is_some_and(|held| (asked_at_ms + 1..=now_ms).contains(&held.asked_at_ms));
        if !is_outrun {
            *held = Some(Snapshot {
                flags,
                asked_at_ms,
                read_at_ms: now_ms,
                refreshing_since_ms: None,
            });
        }
    }

    /// They could not be read: what is known stays, and KV is not asked again at once.
    pub fn keep_flags(&self, now_ms: i64) {
        let flags = self.last_flags();
        let mut held = self.flags.borrow_mut();
        let asked_at_ms = held.as_ref().map_or(i64::MIN, |held| held.asked_at_ms);
        *held = Some(Snapshot {
            flags,
            asked_at_ms,
            read_at_ms: now_ms,
            refreshing_since_ms: None,
        });
    }

    /// A write that a client was told of is in the Queue only.
    pub fn begin_doubt(&self) {
        self.doubt.set(Doubt::Down);
    }

    /// The outbox is down: a doubt, where there is one, lasts on. Begins none, since
    /// writes of this isolate are not concerned.
    pub fn prolong_doubt(&self) {
        if self.doubt.get() != Doubt::None {
            self.doubt.set(Doubt::Down);
        }
    }

    /// The outbox has answered at `now_ms`; true while its answer may lack a write.
    pub fn doubts_outbox(&self, now_ms: i64) -> bool {
        if now_ms < self.outbox_down_until_ms.get() {
            return true;
        }
        let since = match self.doubt.get() {
            Doubt::None => return false,
            Doubt::Down => now_ms,
            Doubt::BackSince(since) => since,
        };
        let has_doubts = now_ms - since < CATCHES_UP_WITHIN_MS;
        self.doubt.set(if has_doubts {
            Doubt::BackSince(since)
        } else {
            Doubt::None
        });
        has_doubts
    }

    /// An answer of the database to a question that left at `asked_at_ms`.
    pub fn note_authority(&self, view: View, asked_at_ms: i64, lease_ms: i64) {
        let mut lease = self.authority.get();
        lease.renew(view, asked_at_ms, lease_ms);
        self.authority.set(lease);
    }

    /// As far as this isolate was told, or because nobody can tell it otherwise now.
    pub fn asks_no_logto(&self) -> bool {
        self.authority.get().is_alone() || self.doubts_logto.get()
    }

    /// Whether one more renewal may begin; if so, it has.
    pub fn may_renew_authority(&self, now_ms: i64) -> bool {
        let is_under_way =
            (0..REFRESH_LEASE_MS).contains(&(now_ms - self.renewing_authority_ms.get()));
        if !is_under_way {
            self.renewing_authority_ms.set(now_ms);
        }
        !is_under_way
    }

    /// Of all that wait in this isolate one tries to move the authority on, once a second.
    pub fn may_advance(&self, now_ms: i64) -> bool {
        // A clock set back must not end all trying.
        let is_taken = (0..ADVANCED_EVERY_MS).contains(&(self.advancing_until_ms.get() - now_ms));
        if !is_taken {
            self.advancing_until_ms.set(now_ms + ADVANCED_EVERY_MS - 1);
        }
        !is_taken
    }

    pub fn own_token(&self, client: OwnClient, now_ms: i64) -> Option<Secret<String>> {
        let held = self.token_cell(client).borrow();
        held.as_ref()
            .filter(|held| now_ms < held.use_until_ms)
            .map(|held| held.token.clone())
    }

    /// Used for four fifths of its life.
    pub fn set_own_token(
        &self,
        client: OwnClient,
        token: Secret<String>,
        lifetime_s: i64,
        now_ms: i64,
    ) {
        let use_until_ms = now_ms + lifetime_s.clamp(0, 86_400) * 800;
        *self.token_cell(client).borrow_mut() = Some(OwnToken {
            token,
            use_until_ms,
        });
    }

    pub fn forget_own_token(&self, client: OwnClient) {
        *self.token_cell(client).borrow_mut() = None;
    }

    fn token_cell(&self, client: OwnClient) -> &RefCell<Option<OwnToken>> {
        match client {
            OwnClient::Logto => &self.logto_token,
            OwnClient::Reverse => &self.reverse_token,
            OwnClient::Mgpass => &self.mgpass_token,
        }
    }

    pub fn mgpass_endpoints(&self) -> Option<Arc<MgpassEndpoints>> {
        self.mgpass_endpoints.borrow().clone()
    }

    pub fn set_mgpass_endpoints(&self, endpoints: Arc<MgpassEndpoints>) {
        *self.mgpass_endpoints.borrow_mut() = Some(endpoints);
    }

    /// They did not answer as expected: discovery is asked again next time.
    pub fn forget_mgpass_endpoints(&self) {
        *self.mgpass_endpoints.borrow_mut() = None;
    }

    pub fn keys(&self, issuer: Issuer, now: UnixSeconds) -> Use {
        self.keys_cell(issuer).borrow().decide(now)
    }

    pub fn key_fetch_started(&self, issuer: Issuer, now: UnixSeconds) {
        self.keys_cell(issuer).borrow_mut().attempt_started(now);
    }

    pub fn keys_fetched(
        &self,
        issuer: Issuer,
        set: Arc<KeySet>,
        max_age_s: Option<i64>,
        now: UnixSeconds,
    ) {
        let mut live = self.keys_cell(issuer).borrow_mut();
        if live.held().is_none_or(|(held, _)| held != set) {
            self.verified.borrow_mut().forget_all();
        }
        live.fetched(set, max_age_s, now);
    }

    pub fn key_fetch_failed(&self, issuer: Issuer, now: UnixSeconds) {
        self.keys_cell(issuer).borrow_mut().failed(now);
    }

    /// The latest attempt to fetch the issuer's keys failed.
    pub fn keys_are_failing(&self, issuer: Issuer) -> bool {
        self.keys_cell(issuer).borrow().is_failing()
    }

    pub fn held_keys(&self, issuer: Issuer) -> Option<(Arc<KeySet>, UnixSeconds)> {
        self.keys_cell(issuer).borrow().held()
    }

    /// Counts as the start of that fetch; whichever request ends next carries it out.
    pub fn owe_key_fetch(&self, issuer: Issuer, now: UnixSeconds) {
        self.key_fetch_started(issuer, now);
        self.owed_key_fetches.borrow_mut().push(issuer);
    }

    pub fn take_owed_key_fetches(&self) -> Vec<Issuer> {
        self.owed_key_fetches.take()
    }

    pub fn is_verified(&self, fingerprint: &Fingerprint, now: UnixSeconds) -> bool {
        self.verified.borrow().holds(fingerprint, now)
    }

    pub fn remember_verified(&self, fingerprint: Fingerprint, until: UnixSeconds) {
        self.verified.borrow_mut().remember(fingerprint, until);
    }

    pub fn unknown_key(&self, issuer: Issuer, key_id: &KeyId, now: UnixSeconds) -> OnUnknownKeyId {
        self.keys_cell(issuer)
            .borrow_mut()
            .unknown_key_id(key_id, now)
    }

    pub fn key_still_unknown(&self, issuer: Issuer, key_id: &KeyId, now: UnixSeconds) {
        self.keys_cell(issuer)
            .borrow_mut()
            .still_unknown(key_id, now);
    }

    fn keys_cell(&self, issuer: Issuer) -> &RefCell<LiveKeySet> {
        match issuer {
            Issuer::Logto => &self.logto_keys,
            Issuer::Mgpass => &self.mgpass_keys,
        }
    }

    /// Whether one more comparison may begin; if so, it has.
    pub fn takes_comparison(&self, now_ms: i64, per_second: u32) -> bool {
        let every_ms = 1_000 / i64::from(per_second.max(1));
        let since_ms = now_ms - self.last_comparison_ms.get();
        // A clock set back must not end all comparing.
        let is_due = !(0..every_ms).contains(&since_ms);
        if is_due {
            self.last_comparison_ms.set(now_ms);
        }
        is_due
    }

    /// `None`: to be read (again).
    pub fn tenant(&self, now_ms: i64) -> Option<Arc<Tenant>> {
        let held = self.tenant.borrow();
        let (read_at_ms, tenant) = held.as_ref()?;
        (now_ms - read_at_ms < TENANT_FRESH_MS).then(|| Arc::clone(tenant))
    }

    pub fn set_tenant(&self, tenant: Arc<Tenant>, now_ms: i64) {
        *self.tenant.borrow_mut() = Some((now_ms, tenant));
    }

    pub fn old_issuer(&self) -> Option<Arc<OldIssuer>> {
        self.old_issuer.borrow().clone()
    }

    /// They are kept before anybody shows them, and do not change from then on.
    pub fn set_old_issuer(&self, kept: Arc<OldIssuer>) {
        *self.old_issuer.borrow_mut() = Some(kept);
    }

    /// `None`: to be read (again).
    pub fn volatile_fields(&self, now_ms: i64) -> Option<Vec<Volatile>> {
        let held = self.volatile.borrow();
        let (read_at_ms, fields) = held.as_ref()?;
        (now_ms - read_at_ms < VOLATILE_FRESH_MS).then(|| fields.clone())
    }

    pub fn set_volatile_fields(&self, fields: Vec<Volatile>, now_ms: i64) {
        *self.volatile.borrow_mut() = Some((now_ms, fields));
    }

    /// `None`: to be read (again); `Some(None)`: read, and there are none.
    pub fn imported(&self, now: UnixSeconds) -> Option<Option<Arc<ImportedKeys>>> {
        let held = self.imported.borrow();
        let (at, keys) = held.as_ref()?;
        (0..IMPORTED_FRESH_S)
            .contains(&now.since(*at))
            .then(|| keys.clone())
    }

    pub fn set_imported(&self, keys: Option<Arc<ImportedKeys>>, now: UnixSeconds) {
        let mut held = self.imported.borrow_mut();
        if held.as_ref().is_none_or(|(_, held)| *held != keys) {
            self.verified.borrow_mut().forget_all();
        }
        *held = Some((now, keys));
    }
}

//! What stands over all sessions: the policy version in force, the register's and store's health, and the acts of governing.
//!
//! One [`Guard`] per process. Acts of governing are authorised by the same Cedar policies as operations (resource `System`), and each is written
//! to the state store as an event. Whoever revokes writes it down first and then ends what lives; see [`live`](crate::live).

use std::{
    sync::{
        Arc, LazyLock, Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use identity::{AttemptLimits, Attempts, GatewayUrl, access::Signer, ssh::SshKeys};
use model::{Actor, Identity, IdentityId, IdentityName, Outcome, SessionId, SystemAction, Timestamp, TokenId, VersionHash, session::SessionRow};
use policy::{
    decide,
    masking::MaskKeys,
    version::{Files, Problem, Version},
};
use store::{Store, StoreError};
use tokio::{sync::Semaphore, time::Instant};

use crate::{
    approve::Approvals,
    catalogs::{CatalogSource, Catalogs},
    endings::Endings,
    events,
    grants::Grants,
    limits::Limits,
    live::{EndReason, Live, LiveSession, lost_grant},
    providers::Providers,
    register,
    trace::Traces,
    volume::Volumes,
    workloads::Issuers,
};

/// The guard of this process.
pub struct Guard {
    store: Store,
    version: Arc<ArcSwap<Version>>,
    limits: Limits,
    masks: MaskKeys,
    catalogs: Arc<dyn CatalogSource>,
    snapshots: Catalogs,
    volumes: Volumes,
    approvals: Approvals,
    live: Live,
    pub(crate) attempts: Attempts,
    /// Places for passwords being hashed.
    pub(crate) hashing: Arc<Semaphore>,
    health: Health,
    endings: Endings,
    traces: OnceLock<Traces>,
    providers: OnceLock<Providers>,
    issuers: OnceLock<Issuers>,
    grants: Grants,
    /// One act on a request comes after the other.
    requesting: tokio::sync::Mutex<()>,
    url: OnceLock<GatewayUrl>,
    signer: Option<Signer>,
    pub(crate) ssh_keys: Option<SshKeys>,
    /// One version is applied after the other.
    applying: tokio::sync::Mutex<()>,
    /// Sessions are decided anew one time after the other: what was read earlier must not be put in place of what was read later.
    deciding: tokio::sync::Mutex<()>,
}

/// Why an act of governing was not done. The text is for whoever asked.
#[derive(Debug, thiserror::Error)]
pub enum GovernError {
    /// They may not.
    #[error("{0}")]
    NotPermitted(String),
    /// There is nothing of that name or id that they may see.
    #[error("{0}")]
    NotFound(String),
    /// It cannot be done as asked.
    #[error("{0}")]
    Invalid(String),
    /// The state store failed; what ends access may have been done all the same.
    #[error("the state store cannot be reached")]
    State(#[from] StoreError),
}

/// Why a policy version was not applied. The one before stays in force.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// They may not.
    #[error("{0}")]
    NotPermitted(String),
    /// It would lock everybody out.
    #[error("under this version nobody who can sign in may `administer` Countersign: nobody could apply another one, so the version in force stays")]
    LockedOut,
    /// It is not valid.
    #[error("the policy directory has {} problem(s); the version in force stays", .0.len())]
    Invalid(Vec<Problem>),
    /// It could not be written down.
    #[error("the state store cannot be reached; the version in force stays")]
    State(#[from] StoreError),
    /// The check itself failed.
    #[error("the policy directory could not be checked; the version in force stays")]
    Failed,
}

/// What becomes of a version under which nobody could administer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LockOut {
    /// It is not applied.
    Refused,
    /// It is, and that is recorded.
    OnPurpose,
}

impl std::fmt::Debug for Guard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Guard").field("version", &self.version.load().hash).field("live", &self.live.count()).finish_non_exhaustive()
    }
}

impl Guard {
    /// A guard over `store` under `version`. Run [`watch`](Self::watch) beside it.
    #[must_use]
    pub fn new(store: Store, version: Version, limits: Limits, catalogs: Arc<dyn CatalogSource>) -> Arc<Self> {
        let version = Arc::new(ArcSwap::from_pointee(version));
        Arc::new(Self {
            approvals: Approvals::new(store.clone(), version.clone(), limits.holds.clone()),
            live: Live::new(limits.max_sessions, limits.max_sessions_per_identity),
            attempts: Attempts::new(AttemptLimits::default()),
            hashing: Arc::new(Semaphore::new(limits.max_password_checks.max(1))),
            health: Health::new(),
            endings: Endings::default(),
            traces: OnceLock::new(),
            providers: OnceLock::new(),
            issuers: OnceLock::new(),
            grants: Grants::default(),
            requesting: tokio::sync::Mutex::new(()),
            url: OnceLock::new(),
            signer: Signer::from_seed(store.signing().as_slice()).ok(),
            ssh_keys: store.ssh().and_then(|secret| SshKeys::from_secret(secret).ok()),
            applying: tokio::sync::Mutex::new(()),
            deciding: tokio::sync::Mutex::new(()),
            masks: MaskKeys::new(store.masking().cloned()),
            store,
            version,
            limits,
            catalogs,
            snapshots: Catalogs::default(),
            volumes: Volumes::default(),
        })
    }

    /// What everybody changed lately.
    pub(crate) const fn volumes(&self) -> &Volumes {
        &self.volumes
    }

    /// The store.
    #[must_use]
    pub const fn store(&self) -> &Store {
        &self.store
    }

    /// The policy version in force.
    #[must_use]
    pub fn version(&self) -> Arc<Version> {
        self.version.load_full()
    }

    /// The limits it was started with.
    #[must_use]
    pub const fn limits(&self) -> &Limits {
        &self.limits
    }

    /// What masks are keyed with.
    #[must_use]
    pub(crate) const fn masks(&self) -> &MaskKeys {
        &self.masks
    }

    /// What the gateway itself asks targets.
    #[must_use]
    pub fn catalogs(&self) -> &Arc<dyn CatalogSource> {
        &self.catalogs
    }

    /// The catalog snapshots sessions share.
    #[must_use]
    pub const fn snapshots(&self) -> &Catalogs {
        &self.snapshots
    }

    /// Where spans of sessions go.
    #[must_use]
    pub fn traces(&self) -> &Traces {
        static OFF: Traces = Traces::off();
        self.traces.get().unwrap_or(&OFF)
    }

    /// Passes spans on from now on. The first one counts.
    pub fn trace_to(&self, traces: Traces) {
        let _ = self.traces.set(traces);
    }

    /// What is granted now.
    pub(crate) const fn grants(&self) -> &Grants {
        &self.grants
    }

    /// One act on a request comes after the other.
    pub(crate) const fn requesting(&self) -> &tokio::sync::Mutex<()> {
        &self.requesting
    }

    /// Where people sign in.
    #[must_use]
    pub fn providers(&self) -> &Providers {
        static NONE: LazyLock<Providers> = LazyLock::new(Providers::default);
        self.providers.get().unwrap_or(&NONE)
    }

    /// Lets people of these sign in from now on. The first ones count.
    pub fn sign_in_at(&self, providers: Providers) {
        let _ = self.providers.set(providers);
    }

    /// Where jobs run whose tokens are taken.
    pub(crate) fn issuers(&self) -> &Issuers {
        static NONE: LazyLock<Issuers> = LazyLock::new(Issuers::default);
        self.issuers.get().unwrap_or(&NONE)
    }

    /// Takes tokens of these from now on. The first ones count.
    pub fn trust_issuers(&self, issuers: Issuers) {
        let _ = self.issuers.set(issuers);
    }

    /// What this gateway is called in tokens, if it is.
    #[must_use]
    pub fn url(&self) -> Option<&GatewayUrl> {
        self.url.get()
    }

    /// Calls it so from now on. The first name counts.
    pub fn call_it(&self, url: GatewayUrl) {
        let _ = self.url.set(url);
    }

    /// What access tokens are signed with.
    #[must_use]
    pub const fn signer(&self) -> Option<&Signer> {
        self.signer.as_ref()
    }

    /// The held operations.
    #[must_use]
    pub const fn approvals(&self) -> &Approvals {
        &self.approvals
    }

    /// The live sessions.
    #[must_use]
    pub const fn live(&self) -> &Live {
        &self.live
    }

    /// Ends of sessions that the state store did not take yet.
    pub(crate) const fn endings(&self) -> &Endings {
        &self.endings
    }

    /// Whether the state store answers: it may be slow for [`HESITATION`]. While it does not, no session is opened and nothing held is released.
    #[must_use]
    pub fn state_is_there(&self) -> bool {
        self.health.is_there()
    }

    /// Whether `actor` may do `action` to Countersign itself.
    #[must_use]
    pub fn may(&self, actor: &Actor, action: SystemAction, now: Timestamp) -> bool {
        decide::may(&self.version.load(), actor, action, now)
    }

    /// Makes a policy directory's files the version in force: checks them, writes them down, and decides every live session anew for `connect`.
    /// Files that are in force already change nothing.
    ///
    /// # Errors
    /// `by` may not administer, the files are not valid, nobody could administer under them and that is not `lock_out`ed on purpose, or the store cannot be reached; the
    /// version in force stays.
    pub async fn apply(&self, files: &Files, by: &Actor, lock_out: LockOut, now: Timestamp) -> Result<VersionHash, ApplyError> {
        if !self.may(by, SystemAction::Administer, now) {
            return Err(ApplyError::NotPermitted(format!("policy does not permit {} to administer Countersign", by.name)));
        }
        self.make_current(files, &by.name, Some(by), lock_out, now).await
    }

    /// [`apply`](Self::apply) on the authority of whoever can write this machine's files: for `serve` watching its own directory. Whoever can write them is locked out by none
    /// of them.
    ///
    /// # Errors
    /// As for `apply`, permission aside.
    pub async fn apply_as(&self, files: &Files, by: &IdentityName, now: Timestamp) -> Result<VersionHash, ApplyError> {
        self.make_current(files, by, None, LockOut::OnPurpose, now).await
    }

    async fn make_current(
        &self,
        files: &Files,
        by: &IdentityName,
        signed_in: Option<&Actor>,
        lock_out: LockOut,
        now: Timestamp,
    ) -> Result<VersionHash, ApplyError> {
        let _turn = self.applying.lock().await;
        let checked = files.clone();
        let version = tokio::task::spawn_blocking(move || Version::load(&checked)).await.map_err(|_| ApplyError::Failed)?;
        let version = version.map_err(ApplyError::Invalid)?;
        let (hash, before) = (version.hash, self.version.load().hash);
        if hash == before {
            return Ok(hash);
        }
        let locked_out = !self.somebody_administers(&version, signed_in, now).await?;
        if locked_out && lock_out == LockOut::Refused {
            return Err(ApplyError::LockedOut);
        }
        self.store.state().add_version(hash, files, by, now).await?;
        self.version.store(Arc::new(version));
        self.decide_anew(now).await;
        if locked_out {
            tracing::warn!(version = %hash.short(), %by, "nobody may administer under the version in force: only whoever can write this machine's files can change that");
        }
        events::note(&self.store, events::policy_applied(hash, before, locked_out, by, now)).await;
        Ok(hash)
    }

    /// Whether somebody who is signed in, or has a way in, may administer under a version, with the groups they have now.
    async fn somebody_administers(&self, version: &Version, signed_in: Option<&Actor>, now: Timestamp) -> Result<bool, StoreError> {
        let may = |actor: &Actor| decide::may(version, actor, SystemAction::Administer, now);
        if signed_in.is_some_and(may) {
            return Ok(true);
        }
        Ok(self.store.state().people_with_a_way_in(now).await?.iter().any(|person| may(&register::actor(person))))
    }

    /// Decides every live session anew for `connect`, with its chain as the register has it now: ends those no longer permitted, wakes the others.
    pub async fn decide_anew(&self, now: Timestamp) {
        let _turn = self.deciding.lock().await;
        let identities = match self.store.state().identities().await {
            Ok(identities) => Some(identities.into_iter().map(|identity| (identity.id, identity)).collect()),
            Err(error) => {
                tracing::error!(%error, "live sessions are decided anew with the groups they began with: the state store cannot be reached");
                None
            }
        };
        let version = self.version.load_full();
        for session in self.live.snapshot() {
            match standing(&version, &self.grants, &session, identities.as_ref(), now) {
                Ok(chain) => self.live.refresh(session.session, chain),
                Err(reason) => {
                    self.live.end(session.session, &reason);
                }
            }
        }
    }

    /// Ends a session: its subject may, the owner of a workload or agent in it, and whoever may `revoke`.
    ///
    /// # Errors
    /// It does not live here, or `by` may not.
    pub async fn kill(&self, session: SessionId, by: &Actor, why: Option<String>, now: Timestamp) -> Result<(), GovernError> {
        let found = self.live.get(session).filter(|found| self.may_end(found, by, now));
        let found = found.ok_or_else(|| GovernError::NotFound(format!("no live session {session} that you may end")))?;
        self.live.end(found.session, &EndReason::Killed { by: by.name.clone(), why: why.clone() });
        Ok(events::append(&self.store, events::session_killed(session, why.as_deref(), by, now)).await?)
    }

    /// Whether `viewer` may see that a session exists: its subject, the owner of the subject, and auditors.
    #[must_use]
    pub fn may_see_session(&self, row: &SessionRow, owner: Option<&IdentityName>, viewer: &Actor, now: Timestamp) -> bool {
        row.subject == viewer.name || owner == Some(&viewer.name) || self.may(viewer, SystemAction::Audit, now)
    }

    /// Records that `viewer` is about to read a recording (`how`: show, replay, tail, search), and permits it: to its subject and to auditors.
    ///
    /// # Errors
    /// They may not, or it could not be written down; then nothing may be shown.
    pub async fn read_recording(&self, row: &SessionRow, how: &str, viewer: &Actor, now: Timestamp) -> Result<(), GovernError> {
        if row.subject != viewer.name && !self.may(viewer, SystemAction::Audit, now) {
            return Err(GovernError::NotFound(format!("no session {} that you may read", row.id)));
        }
        Ok(events::append(&self.store, events::recording_read(row.id, how, viewer, now)).await?)
    }

    /// Looks after the live sessions until it is dropped: ends those whose window has closed, lists ends that could not be listed, and ends all of them when the state store has not answered
    /// or could not be written for [`revocation_grace_ms`](Limits::revocation_grace_ms), or as soon as a recording cannot be written. Where policies look at the clock,
    /// `connect` is decided anew every minute.
    pub async fn watch(self: Arc<Self>) {
        tokio::join!(
            self.watch_sessions(),
            self.watch_recordings(),
            self.watch_state(),
            self.watch_catalogs(),
            self.watch_sign_ins(),
            self.watch_owners()
        );
    }

    /// Tries to write a state store that could not be written, until that succeeds. As long as it does not, the store counts as lost.
    async fn watch_state(&self) {
        let mut ticks = self.ticks();
        loop {
            ticks.tick().await;
            if !self.store.state().is_writable() {
                // What it finds out is where it was asked about.
                let _ = self.store.state().probe().await;
            }
        }
    }

    /// Ends every session at the first write of a recording that fails, and then tries to write until that succeeds.
    async fn watch_recordings(&self) {
        let mut standing = self.store.recordings().watch_standing();
        let mut tries = self.ticks();
        let mut known = true;
        loop {
            let writable = standing.borrow_and_update().writable;
            // Again at every failure: it may be that of a session that began meanwhile.
            let ended = if writable { 0 } else { self.live.end_all(&EndReason::RecordingLost) };
            match (std::mem::replace(&mut known, writable), writable) {
                (true, false) => tracing::error!(ended, "a recording cannot be written: live sessions were ended, new ones are refused"),
                (false, true) => tracing::info!("recordings can be written again: sessions may begin"),
                (true, true) | (false, false) => {}
            }
            tokio::select! {
                changed = standing.changed() => if changed.is_err() { return },
                _ = tries.tick(), if !writable => self.probe_recordings().await,
            }
        }
    }

    async fn probe_recordings(&self) {
        let recordings = self.store.recordings().clone();
        // What it finds out is where it was asked about; that it failed again is no news.
        let _ = tokio::task::spawn_blocking(move || recordings.probe(Timestamp::now())).await;
    }

    fn ticks(&self) -> tokio::time::Interval {
        let mut ticks = tokio::time::interval(Duration::from_millis(self.limits.watch_interval_ms.max(1)));
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        ticks
    }

    /// What was changed in the targets past this gateway is seen within [`CATALOG_INTERVAL`].
    async fn watch_catalogs(&self) {
        let mut ticks = tokio::time::interval(CATALOG_INTERVAL);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.snapshots.look_again(&self.catalogs, &self.version().connections).await;
        }
    }

    async fn watch_sessions(&self) {
        let mut ticks = self.ticks();
        let mut minutes = tokio::time::interval(CLOCK_POLICIES_INTERVAL);
        loop {
            tokio::select! {
                _ = ticks.tick() => self.look_after(Timestamp::now()).await,
                _ = minutes.tick() => self.look_after_each_minute(Timestamp::now()).await,
            }
        }
    }

    async fn look_after_each_minute(&self, now: Timestamp) {
        if self.version().looks_at_the_clock() {
            self.decide_anew(now).await;
        }
        if let Err(error) = self.expire_requests(now).await {
            tracing::warn!(%error, "requests that nobody signed in time could not be written down as expired");
        }
    }

    /// One round of [`watch`](Self::watch).
    pub async fn look_after(&self, now: Timestamp) {
        self.live.end_closed_windows(now);
        self.look_after_requests(now).await;
        let patience = Duration::from_millis(self.limits.watch_interval_ms.max(1)).max(Duration::from_millis(250));
        let answer = match tokio::time::timeout(patience, self.ask_state(now)).await {
            _ if !self.store.state().is_writable() => Answer::Failed,
            Ok(Ok(())) => Answer::Came,
            Ok(Err(_)) => Answer::Failed,
            Err(_) => Answer::Late,
        };
        let lost_for = self.health.note(answer, Instant::now());
        if answer == Answer::Came {
            self.endings.list(self.store.state()).await;
        }
        if lost_for > Duration::from_millis(self.limits.revocation_grace_ms) {
            let ended = self.live.end_all(&EndReason::StateLost);
            if ended > 0 {
                tracing::error!(ended, "live sessions were ended: the state store has not answered for longer than the grace");
            }
        }
    }

    /// The cheapest question that goes all the way to the database.
    async fn ask_state(&self, now: Timestamp) -> Result<(), StoreError> {
        self.store.state().token_is_live(TokenId::from_random(0), now).await.map(drop)
    }

    fn may_end(&self, session: &LiveSession, by: &Actor, now: Timestamp) -> bool {
        let own = session.chain.members().any(|member| member.id == by.id || member.owner.as_ref() == Some(&by.name));
        own || self.may(by, SystemAction::Revoke, now)
    }
}

/// How often the catalogs of databases with sessions are read again.
const CATALOG_INTERVAL: Duration = Duration::from_secs(30);

/// How often live sessions are decided anew under policies that look at the clock.
const CLOCK_POLICIES_INTERVAL: Duration = Duration::from_secs(60);

type Identities = std::collections::HashMap<IdentityId, Identity>;

/// The chain of a live session as it stands now, if `connect` is still permitted to it.
fn standing(
    version: &Version,
    grants: &Grants,
    session: &LiveSession,
    identities: Option<&Identities>,
    now: Timestamp,
) -> Result<model::ActorChain, EndReason> {
    let mut chain = model::ActorChain::clone(&session.chain);
    if let Some(identities) = identities {
        for member in chain.members_mut() {
            let identity = identities.get(&member.id).filter(|identity| identity.is_active(now));
            *member = identity.map(|identity| register::renewed(member, identity)).ok_or_else(|| EndReason::IdentityRevoked(member.name.clone()))?;
        }
    }
    let connection = version.connections.get(&session.connection).ok_or(EndReason::ConnectionRemoved)?;
    grants.apply(&mut chain, connection, session.request, now);
    let decision = decide::decide_connect(version, &chain, connection, &session.database, now);
    match decision.outcome {
        Outcome::Allow => Ok(chain),
        Outcome::Hold(_) | Outcome::Deny => {
            let changed = || EndReason::PolicyChanged(decision.reasons.join("; "));
            Err(lost_grant(&session.chain, &chain).map_or_else(changed, EndReason::GrantOver))
        }
    }
}

/// What became of a question to the state store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    Came,
    /// The store said that it cannot, or cannot be written.
    Failed,
    /// None yet. A busy machine is as slow at times: who signs in meanwhile waits for answers of their own.
    Late,
}

/// How long answers may stay out before the state store counts as gone.
const HESITATION: Duration = Duration::from_secs(5);

/// Whether the state store answers, and since when it does not.
#[derive(Debug)]
struct Health {
    there: AtomicBool,
    lost_at: Mutex<Option<Instant>>,
}

impl Health {
    const fn new() -> Self {
        Self { there: AtomicBool::new(true), lost_at: Mutex::new(None) }
    }

    fn is_there(&self) -> bool {
        self.there.load(Ordering::Acquire)
    }

    /// Notes an answer or its absence; returns for how long there was none.
    fn note(&self, answer: Answer, now: Instant) -> Duration {
        let mut lost_at = self.lost_at.lock().unwrap_or_else(PoisonError::into_inner);
        let lost_for = match answer {
            Answer::Came => {
                *lost_at = None;
                Duration::ZERO
            }
            Answer::Failed | Answer::Late => now.saturating_duration_since(*lost_at.get_or_insert(now)),
        };
        match answer {
            Answer::Came => self.there.store(true, Ordering::Release),
            Answer::Failed => self.there.store(false, Ordering::Release),
            Answer::Late if lost_for > HESITATION => self.there.store(false, Ordering::Release),
            Answer::Late => {}
        }
        lost_for
    }
}

#[cfg(test)]
mod tests;

//! The registry of held operations: who may see and sign which, in what turn, under which limits.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use model::{
    Actor, HoldId, IdentityKind, IdentityName, Requirement, SystemAction, Timestamp,
    hold::{HoldRow, HoldState},
};
use policy::{decide, version::Version};
use store::{Store, StoreError};
use tokio::{sync::watch, time::Instant};

use super::{
    Attached, Draft, MAX_NAMED_SIGNERS, Signers, Waiting, Watch,
    machine::{Eligibility, Machine, Progress, VoteRefused},
    watched::Watched,
};
use crate::{events, ids, limits::HoldLimits, register};

/// Why an operation cannot be held; it is refused instead. The text is for the caller.
#[derive(Debug, thiserror::Error)]
pub enum HoldRefused {
    /// Too many of this identity wait already.
    #[error("{0} operations of {1} wait for signatures already; wait until some are settled")]
    OfIdentity(usize, IdentityName),
    /// Too many wait in all.
    #[error("{0} operations wait for signatures already; try again when some are settled")]
    InAll(usize),
    /// Nobody could sign it.
    #[error("it needs a second signature, and nobody who could give it exists: {0}")]
    NobodyCanSign(String),
    /// It could not be written down.
    #[error("it needs a second signature, and the gateway cannot reach its state store to ask for one")]
    State(#[source] StoreError),
}

/// Why a signature or a denial was not taken.
#[derive(Debug, thiserror::Error)]
pub enum VoteError {
    /// There is none of that id that the signer may see.
    #[error("no held operation {0}")]
    NotFound(HoldId),
    /// It does not count.
    #[error(transparent)]
    Refused(#[from] VoteRefused),
    /// It could not be written down, and so does not count.
    #[error("the state store cannot be reached; nothing was signed")]
    State(#[from] StoreError),
}

/// Which held operations a listing is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum HoldsWanted {
    /// Those that wait now, oldest first.
    #[default]
    Waiting,
    /// Those and the ones that have ended, newest first, at most this many.
    All(u32),
}

/// The held operations of this gateway.
#[derive(Debug, Clone)]
pub struct Approvals {
    desk: Arc<Desk>,
}

#[derive(Debug)]
pub(super) struct Desk {
    store: Store,
    version: Arc<ArcSwap<Version>>,
    limits: HoldLimits,
    held: Mutex<HashMap<HoldId, Arc<Held>>>,
    /// Those that have to be watched, from when they are held until they are over. INVARIANT: each has a [`Watch`], which takes it out.
    watched: Mutex<HashMap<HoldId, Arc<Held>>>,
}

/// One held operation, shared by the session that waits and the people who vote.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) draft: HoldRow,
    requester: Draft,
    /// One change at a time; held while the change is written down.
    turn: tokio::sync::Mutex<Machine>,
    /// Set when the session let go of it, before that is written down.
    gone: AtomicBool,
    standing: watch::Sender<Standing>,
    shown_to: Mutex<HashSet<IdentityName>>,
    /// Who watches it, if it has to be watched.
    pub(super) watched: Option<Watched>,
}

/// What the session that waits needs to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Standing {
    pub(super) complete: bool,
    pub(super) row: HoldRow,
}

impl Approvals {
    /// Nobody waits yet.
    #[must_use]
    pub fn new(store: Store, version: Arc<ArcSwap<Version>>, limits: HoldLimits) -> Self {
        Self { desk: Arc::new(Desk { store, version, limits, held: Mutex::default(), watched: Mutex::default() }) }
    }

    /// Holds an operation. It is written down when this returns, and waits as long as the answer is kept.
    ///
    /// # Errors
    /// It cannot be held: a limit, nobody could sign it, or the state store cannot be reached.
    pub async fn open(&self, draft: Draft, now: Timestamp) -> Result<Waiting, HoldRefused> {
        let signers = self.desk.who_could_sign(&draft, now).await?;
        let expire_after = self.desk.limits.expire_after();
        let expires_at = now.checked_add(expire_after).unwrap_or(Timestamp::MAX);
        let row = draft.row(ids::hold(), now, expires_at);
        let (waiting, held) = self.desk.admit(draft, row, signers, Instant::now() + expire_after)?;
        held.write_down(&self.desk.store).await.map_err(HoldRefused::State)?;
        Ok(waiting)
    }

    /// Counts a signature of `signer`, who was shown the operation with this digest.
    ///
    /// If it is the last one, the answer comes when the session has checked the operation again and released or voided it: the row's state says
    /// which. That wait is bounded; when it is over the signatures are voided.
    ///
    /// # Errors
    /// Why it does not count.
    pub async fn sign(&self, id: HoldId, signer: &Actor, digest: &str, now: Timestamp) -> Result<HoldRow, VoteError> {
        let held = self.desk.seen_by(id, signer, now).await?;
        let version = self.desk.version.load_full();
        let policy = Policy { version: &version, draft: &held.requester, now };
        let sign = |machine: &mut Machine| {
            let progress = machine.sign(signer, digest, &policy, now)?;
            match &held.watched {
                Some(watched) if !watched.is_here(&signer.name, Instant::now()) => Err(VoteRefused::Unwatched(id)),
                Some(_) | None => Ok(progress),
            }
        };
        let progress = held.change(&self.desk.store, sign).await?;
        events::note(&self.desk.store, events::hold_signed(&held.draft, signer, digest, now)).await;
        match progress {
            Progress::Waiting { .. } => Ok(held.row()),
            Progress::Complete => Ok(held.outcome(&self.desk.store, self.desk.limits.recheck()).await),
        }
    }

    /// Ends a held operation with a no; one eligible signer suffices.
    ///
    /// # Errors
    /// Why it does not count.
    pub async fn deny(&self, id: HoldId, signer: &Actor, reason: Option<String>, now: Timestamp) -> Result<HoldRow, VoteError> {
        let held = self.desk.seen_by(id, signer, now).await?;
        let version = self.desk.version.load_full();
        let policy = Policy { version: &version, draft: &held.requester, now };
        held.change(&self.desk.store, |machine| machine.deny(signer, reason.clone(), &policy, now)).await?;
        events::note(&self.desk.store, events::hold_denied(&held.draft, signer, reason.as_deref(), now)).await;
        Ok(held.row())
    }

    /// Begins to watch an operation that runs only while somebody does: to sign it, or because one did. That it is watched is recorded first.
    ///
    /// # Errors
    /// There is none of that id that they may watch, or that could not be written down.
    pub async fn attach(&self, id: HoldId, watcher: &Actor, now: Timestamp) -> Result<Attached, VoteError> {
        let Some(held) = self.desk.watched(id).filter(|held| self.desk.may_see(held, watcher, now)) else {
            let held = self.desk.seen_by(id, watcher, now).await?;
            let refused = if held.watched.is_some() { VoteRefused::Unwatched(id) } else { VoteRefused::NeedsNoWatcher(id) };
            return Err(refused.into());
        };
        self.desk.may_watch(&held, watcher, now)?;
        events::append(&self.desk.store, events::recording_read(held.draft.session, "watch", watcher, now)).await?;
        Ok(Attached::new(held, watcher.name.clone()))
    }

    /// Whether one who watches still may: the policy in force, or who they are, may be another by now.
    ///
    /// # Errors
    /// Why not.
    pub fn may_still_watch(&self, attached: &Attached, watcher: &Actor, now: Timestamp) -> Result<(), VoteRefused> {
        self.desk.may_watch(&attached.held, watcher, now)
    }

    /// Hears of one who watches; with `end`, they end what they watch.
    ///
    /// # Errors
    /// They do not watch it, or may not any more.
    pub async fn hear(&self, id: HoldId, watcher: &Actor, end: bool, now: Timestamp) -> Result<(), VoteError> {
        let held = self.desk.watched(id).filter(|held| self.desk.may_see(held, watcher, now)).ok_or(VoteError::NotFound(id))?;
        self.desk.may_watch(&held, watcher, now)?;
        let watched = held.watched.as_ref().filter(|watched| watched.hears(&watcher.name, Instant::now()));
        let watched = watched.ok_or(VoteRefused::Unwatched(id))?;
        // What waits is denied, which says why: there is nothing to end.
        if end && !watched.has_begun() {
            return Err(VoteRefused::Unwatched(id).into());
        }
        if end {
            watched.end(&watcher.name);
            events::note(&self.desk.store, events::hold_ended(&held.draft, watcher, now)).await;
        }
        Ok(())
    }

    /// The held operations `viewer` may see: their own, those they could sign, and all of them for auditors.
    ///
    /// That somebody other than the requester is shown an operation that waits is recorded, once for each of them.
    ///
    /// # Errors
    /// The state store cannot be reached.
    pub async fn list(&self, viewer: &Actor, wanted: HoldsWanted, now: Timestamp) -> Result<Vec<HoldRow>, StoreError> {
        let mut rows = Vec::new();
        for held in self.desk.all() {
            if self.desk.may_see(&held, viewer, now) {
                held.note_shown(&self.desk.store, viewer, now).await?;
                rows.push(held.row());
            }
        }
        rows.sort_by_key(|row| row.created_at);
        let HoldsWanted::All(limit) = wanted else {
            rows.retain(|row| row.state == HoldState::Waiting);
            return Ok(rows);
        };
        let audits = decide::may(&self.desk.version.load(), viewer, SystemAction::Audit, now);
        let live: HashSet<HoldId> = rows.iter().map(|row| row.id).collect();
        let ended = self.desk.store.state().holds(if audits { limit } else { MAX_SEARCHED }).await?;
        rows.extend(ended.into_iter().filter(|row| !live.contains(&row.id) && row.state != HoldState::Waiting && (audits || took_part(row, viewer))));
        rows.sort_by_key(|row| std::cmp::Reverse(row.created_at));
        rows.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
        Ok(rows)
    }

    /// One held operation, if `viewer` may see it. Recorded like [`list`](Self::list).
    ///
    /// # Errors
    /// The state store cannot be reached.
    pub async fn view(&self, id: HoldId, viewer: &Actor, now: Timestamp) -> Result<Option<HoldRow>, StoreError> {
        if let Some(held) = self.desk.find(id) {
            if !self.desk.may_see(&held, viewer, now) {
                return Ok(None);
            }
            held.note_shown(&self.desk.store, viewer, now).await?;
            return Ok(Some(held.row()));
        }
        let audits = decide::may(&self.desk.version.load(), viewer, SystemAction::Audit, now);
        Ok(self.desk.store.state().hold(id).await?.filter(|row| audits || took_part(row, viewer)))
    }

    /// How many wait in all: for metrics, never for listings.
    #[must_use]
    pub fn count(&self) -> usize {
        lock(&self.desk.held).len()
    }
}

/// Whether the viewer asked, signed or denied an operation that has ended.
fn took_part(row: &HoldRow, viewer: &Actor) -> bool {
    row.requester == viewer.name
        || row.signatures.iter().any(|signature| signature.signer == viewer.name)
        || matches!(&row.state, HoldState::Denied { by, .. } if *by == viewer.name)
}

/// The policy version in force, asked about one held operation.
struct Policy<'a> {
    version: &'a Version,
    draft: &'a Draft,
    now: Timestamp,
}

impl Eligibility for Policy<'_> {
    fn may_sign(&self, requirement: &Requirement, signer: &Actor) -> Result<(), String> {
        decide::eligible(self.version, requirement, &self.draft.chain, signer, self.now).map_err(|why| why.to_string())
    }
}

impl Desk {
    /// The names of people who could sign, if all of them together could meet every requirement.
    async fn who_could_sign(&self, draft: &Draft, now: Timestamp) -> Result<Signers, HoldRefused> {
        let identities = self.store.state().identities().await.map_err(HoldRefused::State)?;
        let people: Vec<Actor> = identities
            .iter()
            .filter(|identity| identity.kind == IdentityKind::User && identity.is_active(now))
            .filter(|identity| draft.requirements.iter().any(|requirement| requirement.approvers.iter().any(|group| identity.groups.contains(group))))
            .map(register::actor)
            .collect();
        let version = self.version.load_full();
        let policy = Policy { version: &version, draft, now };
        let machine = Machine::new(draft.chain.clone(), draft.requirements.clone(), String::new(), Timestamp::MAX);
        if !machine.can_be_met(&people, &policy) {
            return Err(HoldRefused::NobodyCanSign(wanted_in_words(&draft.requirements)));
        }
        let able = people.iter().filter(|person| machine.eligible(person, &policy).is_ok());
        Ok(able.map(|person| person.name.clone()).take(MAX_NAMED_SIGNERS).collect())
    }

    /// Takes a place under the limits.
    fn admit(self: &Arc<Self>, draft: Draft, row: HoldRow, signers: Signers, expires: Instant) -> Result<(Waiting, Arc<Held>), HoldRefused> {
        let machine = Machine::new(draft.chain.clone(), draft.requirements.clone(), row.digest.clone(), row.expires_at);
        let (standing, seen) = watch::channel(Standing { complete: false, row: row.clone() });
        let mut all = lock(&self.held);
        if all.len() >= self.limits.max_total {
            return Err(HoldRefused::InAll(all.len()));
        }
        let subject = &draft.chain.subject;
        let own = all.values().filter(|held| held.requester.chain.subject.id == subject.id).count();
        if own >= self.limits.max_per_identity {
            return Err(HoldRefused::OfIdentity(own, subject.name.clone()));
        }
        let watched = Watched::of(&draft.requirements);
        let held = Arc::new(Held {
            draft: row,
            requester: draft,
            turn: tokio::sync::Mutex::new(machine),
            gone: AtomicBool::new(false),
            standing,
            shown_to: Mutex::default(),
            watched,
        });
        all.insert(held.draft.id, held.clone());
        drop(all);
        let watch = Watch::over(self, &held);
        if watch.is_some() {
            lock(&self.watched).insert(held.draft.id, held.clone());
        }
        Ok((Waiting::new(self.clone(), held.clone(), seen, signers, expires, watch), held))
    }

    fn all(&self) -> Vec<Arc<Held>> {
        lock(&self.held).values().cloned().collect()
    }

    fn find(&self, id: HoldId) -> Option<Arc<Held>> {
        lock(&self.held).get(&id).cloned()
    }

    fn watched(&self, id: HoldId) -> Option<Arc<Held>> {
        lock(&self.watched).get(&id).cloned()
    }

    /// Nothing of it is left to be watched.
    pub(super) fn is_over(&self, id: HoldId) {
        lock(&self.watched).remove(&id);
    }

    fn may_watch(&self, held: &Held, watcher: &Actor, now: Timestamp) -> Result<(), VoteRefused> {
        let version = self.version.load_full();
        let draft = &held.requester;
        let policy = Policy { version: &version, draft, now };
        Machine::new(draft.chain.clone(), draft.requirements.clone(), String::new(), Timestamp::MAX).eligible(watcher, &policy)?;
        let counts = held.watched.as_ref().is_some_and(|watched| watched.counts(&watcher.name));
        if counts { Ok(()) } else { Err(VoteRefused::NotSigned) }
    }

    /// The operation, if the voter may see it; how it ended, if they may know that.
    async fn seen_by(&self, id: HoldId, voter: &Actor, now: Timestamp) -> Result<Arc<Held>, VoteError> {
        if let Some(held) = self.find(id).filter(|held| self.may_see(held, voter, now)) {
            return Ok(held);
        }
        let audits = decide::may(&self.version.load(), voter, SystemAction::Audit, now);
        match self.store.state().hold(id).await? {
            Some(row) if row.state != HoldState::Waiting && (audits || took_part(&row, voter)) => Err(VoteRefused::Ended(row.state).into()),
            _ => Err(VoteError::NotFound(id)),
        }
    }

    fn may_see(&self, held: &Held, viewer: &Actor, now: Timestamp) -> bool {
        let version = self.version.load_full();
        let draft = &held.requester;
        let policy = Policy { version: &version, draft, now };
        let machine = Machine::new(draft.chain.clone(), draft.requirements.clone(), String::new(), Timestamp::MAX);
        draft.chain.members().any(|member| member.id == viewer.id)
            || machine.eligible(viewer, &policy).is_ok()
            || decide::may(&version, viewer, SystemAction::Audit, now)
    }

    /// Looks at requester, chain and signers once more and releases the operation.
    pub(super) async fn release(&self, held: &Held, now: Timestamp) -> Result<HoldRow, StoreError> {
        let mut standing = Vec::new();
        let signers: Vec<_> = held.turn.lock().await.signers().map(|(id, _)| id).collect();
        for id in signers {
            standing.extend(self.store.state().identity_by_id(id).await?.filter(|identity| identity.is_active(now)).map(|row| register::actor(&row)));
        }
        let differs = self.chain_differs(held, now).await?;
        let version = self.version.load_full();
        let policy = Policy { version: &version, draft: &held.requester, now };
        held.change(&self.store, |machine| {
            match differs {
                Some(why) => {
                    machine.void(&why);
                }
                // Voided by the machine itself if they may not: its state says so.
                None => drop(machine.release(&standing, &policy)),
            }
            Ok::<_, VoteRefused>(())
        })
        .await
        .or_else(|error| match error {
            VoteError::State(error) => Err(error),
            VoteError::NotFound(_) | VoteError::Refused(_) => Ok(()),
        })?;
        Ok(held.row())
    }

    /// What the register says of the chain that is no longer what was shown.
    async fn chain_differs(&self, held: &Held, now: Timestamp) -> Result<Option<String>, StoreError> {
        for member in held.requester.chain.members() {
            let standing = self.store.state().identity_by_id(member.id).await?.filter(|identity| identity.is_active(now));
            match standing.map(|identity| register::renewed(member, &identity)) {
                None => return Ok(Some(format!("{} is no longer an active identity", member.name))),
                Some(actor) if actor != *member => return Ok(Some(format!("the groups or the owner of {} have changed", member.name))),
                Some(_) => {}
            }
        }
        Ok(None)
    }

    /// Ends it whatever the store says: what has ended in memory is never released, and a restart withdraws what was not written down.
    pub(super) async fn end(&self, held: &Held, end: impl FnOnce(&mut Machine)) -> HoldRow {
        let mut machine = held.turn.lock().await;
        end(&mut machine);
        held.announce(&machine);
        let row = held.row();
        if let Err(error) = self.store.state().save_hold(&row).await {
            tracing::error!(hold = %row.id, %error, "the end of a held operation could not be written down");
        }
        row
    }

    /// Lets go of it: it is seen no more, no vote counts, and that it was withdrawn is written down by and by.
    pub(super) fn let_go(self: &Arc<Self>, held: &Arc<Held>, why: &'static str) {
        held.gone.store(true, Ordering::Release);
        lock(&self.held).remove(&held.draft.id);
        let over = held.standing.borrow().row.state != HoldState::Waiting;
        let (Ok(runtime), false) = (tokio::runtime::Handle::try_current(), over) else { return };
        let (desk, held) = (self.clone(), held.clone());
        runtime.spawn(async move {
            desk.end(&held, |machine| {
                machine.withdraw(why);
            })
            .await
        });
    }
}

impl Held {
    /// How it stands, as last written down.
    pub(super) fn row(&self) -> HoldRow {
        self.standing.borrow().row.clone()
    }

    async fn write_down(&self, store: &Store) -> Result<(), StoreError> {
        let machine = self.turn.lock().await;
        store.state().save_hold(&self.draft).await?;
        drop(machine);
        Ok(())
    }

    /// One change: made on a copy, written down, then made true and announced. If it cannot be written down it did not happen.
    async fn change<T>(&self, store: &Store, change: impl FnOnce(&mut Machine) -> Result<T, VoteRefused>) -> Result<T, VoteError> {
        let mut machine = self.turn.lock().await;
        let mut next = machine.clone();
        if self.gone.load(Ordering::Acquire) {
            next.withdraw(CALLER_LEFT);
        }
        let answer = change(&mut next)?;
        if !store.state().save_hold(&self.row_of(&next)).await? {
            // Somebody else settled it in the store; what it says there stands.
            machine.withdraw("it was settled elsewhere");
            self.announce(&machine);
            return Err(VoteRefused::Ended(machine.state()).into());
        }
        *machine = next;
        self.announce(&machine);
        Ok(answer)
    }

    fn row_of(&self, machine: &Machine) -> HoldRow {
        HoldRow { signatures: machine.signatures(), state: machine.state(), ..self.draft.clone() }
    }

    fn announce(&self, machine: &Machine) {
        self.standing.send_replace(Standing { complete: machine.is_complete(), row: self.row_of(machine) });
    }

    /// Waits until the session has released or voided it, at most `limit`; then it is voided.
    async fn outcome(&self, store: &Store, limit: Duration) -> HoldRow {
        let mut seen = self.standing.subscribe();
        let ended = async { seen.wait_for(|standing| standing.row.state != HoldState::Waiting).await.ok().map(|standing| standing.row.clone()) };
        if let Ok(Some(row)) = tokio::time::timeout(limit, ended).await {
            return row;
        }
        let mut machine = self.turn.lock().await;
        machine.void("it could not be checked again in time");
        self.announce(&machine);
        let row = self.row();
        if let Err(error) = store.state().save_hold(&row).await {
            tracing::error!(hold = %row.id, %error, "the end of a held operation could not be written down");
        }
        row
    }

    async fn note_shown(&self, store: &Store, viewer: &Actor, now: Timestamp) -> Result<(), StoreError> {
        let own = self.requester.chain.members().any(|member| member.id == viewer.id);
        if own || lock(&self.shown_to).contains(&viewer.name) {
            return Ok(());
        }
        events::append(store, events::hold_shown(&self.draft, viewer, now)).await?;
        lock(&self.shown_to).insert(viewer.name.clone());
        Ok(())
    }
}

/// How many of the newest holds are looked through for those somebody took part in.
const MAX_SEARCHED: u32 = 10_000;

/// Why an operation is withdrawn whose session let go of it without saying why.
pub(super) const CALLER_LEFT: &str = "the caller left or cancelled it";

/// `2 of dba or security (prod-destroy), 1 of …`.
fn wanted_in_words(requirements: &[Requirement]) -> String {
    let words = requirements.iter().map(|requirement| {
        let groups: Vec<&str> = requirement.approvers.iter().map(model::GroupName::as_str).collect();
        format!("{} of {} for {}", requirement.count.max(1), groups.join(" or "), requirement.policy)
    });
    words.collect::<Vec<_>>().join(", ")
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

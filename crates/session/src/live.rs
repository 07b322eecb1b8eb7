//! The sessions that live now, and how one of them is ended from outside.
//!
//! A session registers here *before* its token and identity are looked at for the last time. Whoever revokes writes the revocation down first
//! and then ends what is registered; so either the session's last look finds the revocation, or the revocation finds the session.
//!
//! What a session asks on its hot path is one atomic load ([`LiveHandle::check`]); what it waits on while idle is [`LiveHandle::woken`].

use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
};

use arc_swap::ArcSwap;
use model::{ActorChain, ConnectionName, IdentityId, IdentityName, ProviderName, RequestId, SessionId, Timestamp, TokenId};
use tokio::sync::Notify;

/// The end of a session that does not end by itself.
const NEVER: i64 = i64::MAX;

/// Why a session was ended from outside. The text is for the caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EndReason {
    /// Somebody ended it.
    Killed {
        /// Who.
        by: IdentityName,
        /// What they said of it.
        why: Option<String>,
    },
    /// The token it was opened with was revoked.
    TokenRevoked(TokenId),
    /// The sign-in at a provider that its token was minted in is over.
    SignedOut {
        /// The provider.
        provider: ProviderName,
        /// Why.
        why: String,
    },
    /// A member of its chain was revoked.
    IdentityRevoked(IdentityName),
    /// The window of its token, or of an identity in its chain, has closed.
    WindowClosed(Timestamp),
    /// Somebody took back what was granted, and it counted in the session.
    GrantRevoked {
        /// The request.
        request: RequestId,
        /// Who.
        by: IdentityName,
    },
    /// What was granted is over, and the session, or what ran in it, needed it.
    GrantOver(RequestId),
    /// Policy no longer permits `connect`.
    PolicyChanged(String),
    /// The connection is gone from the policy directory.
    ConnectionRemoved,
    /// The state store has not answered for longer than the grace.
    StateLost,
    /// Recordings cannot be written, this one or another's.
    RecordingLost,
    /// The gateway is going down.
    Stopping,
}

impl fmt::Display for EndReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Killed { by, why: None } => write!(f, "{by} ended this session"),
            Self::Killed { by, why: Some(why) } => write!(f, "{by} ended this session: {}", model::name::printable(why)),
            Self::TokenRevoked(token) => write!(f, "token {token}, which opened this session, was revoked"),
            Self::SignedOut { provider, why } => {
                write!(f, "the sign-in at {provider} that opened this session is over: {}", model::name::printable(why))
            }
            Self::IdentityRevoked(name) => write!(f, "identity {name} was revoked"),
            Self::WindowClosed(at) => write!(f, "the access that opened this session ended at {at:.0}"),
            Self::GrantRevoked { request, by } => write!(f, "{by} took back the access that {request} had granted this session"),
            Self::GrantOver(request) => write!(f, "the access that {request} had granted is over, and this session needed it"),
            Self::PolicyChanged(why) => write!(f, "policy no longer permits this session: {why}"),
            Self::ConnectionRemoved => f.write_str("this connection no longer exists"),
            Self::RecordingLost => f.write_str("the gateway cannot write its recordings any more, and nothing may happen unrecorded"),
            Self::StateLost => f.write_str("the gateway lost its state store and cannot tell whether access was revoked"),
            Self::Stopping => f.write_str("the gateway is stopping"),
        }
    }
}

/// A new session would pass a limit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TooMany {
    /// Of all sessions.
    #[error("the gateway has as many sessions as it may have ({0}); try again when some have ended")]
    InAll(usize),
    /// Of one identity's.
    #[error("{0} has as many sessions as one identity may have ({1}); end some of them first")]
    OfIdentity(IdentityName, usize),
}

/// What a session says of itself when it registers.
#[derive(Debug, Clone)]
pub struct Registration {
    /// Its id.
    pub session: SessionId,
    /// Who acts in it.
    pub chain: ActorChain,
    /// The token it was opened with.
    pub token: Option<TokenId>,
    /// The request for one statement that the token was minted for.
    pub request: Option<RequestId>,
    /// The connection it is for.
    pub connection: ConnectionName,
    /// The database behind it.
    pub database: String,
    /// When its access ends: the earliest end among token and chain.
    pub ends_at: Option<Timestamp>,
}

/// A grant that counted in one chain and does not in another.
pub(crate) fn lost_grant(before: &ActorChain, after: &ActorChain) -> Option<RequestId> {
    let has = |request: RequestId| after.members().any(|member| member.granted.iter().any(|granted| granted.request == request));
    before.members().flat_map(|member| &member.granted).map(|granted| granted.request).find(|request| !has(*request))
}

/// Every live session of this process.
#[derive(Debug)]
pub struct Live {
    entries: Arc<Mutex<HashMap<SessionId, Arc<Entry>>>>,
    max_total: usize,
    max_per_identity: usize,
}

#[derive(Debug)]
struct Entry {
    session: SessionId,
    subject: IdentityId,
    chain: ArcSwap<ActorChain>,
    token: Option<TokenId>,
    request: Option<RequestId>,
    connection: ConnectionName,
    database: String,
    /// In microseconds; [`NEVER`] if it does not end by itself.
    ends_at: AtomicI64,
    ended: AtomicBool,
    reason: OnceLock<EndReason>,
    changed: AtomicBool,
    /// A grant that counted before the change and does not any more.
    lost: Mutex<Option<RequestId>>,
    wake: Notify,
}

/// A session as [`Live::snapshot`] shows it.
#[derive(Debug, Clone)]
pub struct LiveSession {
    /// Its id.
    pub session: SessionId,
    /// Who acts in it, as last decided.
    pub chain: Arc<ActorChain>,
    /// The connection.
    pub connection: ConnectionName,
    /// The database behind it.
    pub database: String,
    /// The request for one statement that its token was minted for.
    pub request: Option<RequestId>,
}

impl Live {
    /// Nobody yet; at most `max_total` sessions, `max_per_identity` for one subject.
    #[must_use]
    pub fn new(max_total: usize, max_per_identity: usize) -> Self {
        Self { entries: Arc::default(), max_total, max_per_identity }
    }

    /// Adds a session. Look at its token and identities again after this, not before.
    ///
    /// # Errors
    /// A limit would be passed.
    pub fn register(&self, new: Registration) -> Result<LiveHandle, TooMany> {
        let subject = new.chain.subject.id;
        let mut entries = lock(&self.entries);
        if entries.len() >= self.max_total {
            return Err(TooMany::InAll(self.max_total));
        }
        if entries.values().filter(|entry| entry.subject == subject).count() >= self.max_per_identity {
            return Err(TooMany::OfIdentity(new.chain.subject.name, self.max_per_identity));
        }
        let entry = Arc::new(Entry {
            session: new.session,
            subject,
            chain: ArcSwap::from_pointee(new.chain),
            token: new.token,
            request: new.request,
            connection: new.connection,
            database: new.database,
            ends_at: AtomicI64::new(new.ends_at.map_or(NEVER, Timestamp::as_microsecond)),
            ended: AtomicBool::new(false),
            reason: OnceLock::new(),
            changed: AtomicBool::new(false),
            lost: Mutex::new(None),
            wake: Notify::new(),
        });
        entries.insert(new.session, entry.clone());
        Ok(LiveHandle { entry, entries: self.entries.clone() })
    }

    /// Ends one session. `false` if it does not live here.
    pub fn end(&self, session: SessionId, reason: &EndReason) -> bool {
        let entry = lock(&self.entries).get(&session).cloned();
        entry.is_some_and(|entry| entry.end(reason))
    }

    /// Ends what a token opened; returns how many sessions that were.
    pub fn end_by_token(&self, token: TokenId, reason: &EndReason) -> usize {
        self.end_where(reason, |entry| entry.token == Some(token))
    }

    /// Ends every session with the identity anywhere in its chain; returns how many that were.
    pub fn end_by_identity(&self, id: IdentityId, name: &IdentityName) -> usize {
        self.end_by_member(id, &EndReason::IdentityRevoked(name.clone()))
    }

    /// As [`end_by_identity`](Self::end_by_identity), for another reason than a revocation.
    pub fn end_by_member(&self, id: IdentityId, reason: &EndReason) -> usize {
        self.end_where(reason, |entry| entry.chain.load().members().any(|member| member.id == id))
    }

    /// Ends every session in which a grant counts; returns how many that were.
    pub fn end_by_grant(&self, request: RequestId, reason: &EndReason) -> usize {
        let counts = |entry: &Entry| entry.chain.load().members().any(|member| member.granted.iter().any(|granted| granted.request == request));
        self.end_where(reason, counts)
    }

    /// Ends what is open on a connection; returns how many sessions that were.
    pub fn end_by_connection(&self, connection: &ConnectionName, reason: &EndReason) -> usize {
        self.end_where(reason, |entry| entry.connection == *connection)
    }

    /// Ends every session whose window has closed at `now`; returns how many that were.
    pub fn end_closed_windows(&self, now: Timestamp) -> usize {
        let due: Vec<Arc<Entry>> = lock(&self.entries).values().filter(|entry| entry.ends_at().is_some_and(|end| now >= end)).cloned().collect();
        due.iter().filter(|entry| entry.end(&EndReason::WindowClosed(entry.ends_at().unwrap_or(now)))).count()
    }

    /// Ends every session; returns how many that were.
    pub fn end_all(&self, reason: &EndReason) -> usize {
        self.end_where(reason, |_| true)
    }

    /// Gives a session its chain as it stands now, and wakes it. Later operations are decided with that chain.
    pub fn refresh(&self, session: SessionId, chain: ActorChain) {
        if let Some(entry) = lock(&self.entries).get(&session).cloned() {
            let chain = Arc::new(chain);
            let before = entry.chain.swap(chain.clone());
            entry.change(&before, &chain);
        }
    }

    /// All of them, in no order.
    #[must_use]
    pub fn snapshot(&self) -> Vec<LiveSession> {
        lock(&self.entries).values().map(|entry| entry.shown()).collect()
    }

    /// One of them.
    #[must_use]
    pub fn get(&self, session: SessionId) -> Option<LiveSession> {
        lock(&self.entries).get(&session).map(|entry| entry.shown())
    }

    /// How many live.
    #[must_use]
    pub fn count(&self) -> usize {
        lock(&self.entries).len()
    }

    fn end_where(&self, reason: &EndReason, which: impl Fn(&Entry) -> bool) -> usize {
        let those: Vec<Arc<Entry>> = lock(&self.entries).values().filter(|entry| which(entry)).cloned().collect();
        those.iter().filter(|entry| entry.end(reason)).count()
    }
}

impl Entry {
    fn end(&self, reason: &EndReason) -> bool {
        let first = self.reason.set(reason.clone()).is_ok();
        self.ended.store(true, Ordering::Release);
        self.wake.notify_waiters();
        first
    }

    /// Wakes the session: its chain was `before`.
    fn change(&self, before: &ActorChain, after: &ActorChain) {
        if let Some(request) = lost_grant(before, after) {
            *self.lost.lock().unwrap_or_else(PoisonError::into_inner) = Some(request);
        }
        self.changed.store(true, Ordering::Release);
        self.wake.notify_waiters();
    }

    fn ends_at(&self) -> Option<Timestamp> {
        let micros = self.ends_at.load(Ordering::Acquire);
        (micros != NEVER).then(|| Timestamp::from_microsecond(micros).ok()).flatten()
    }

    fn shown(&self) -> LiveSession {
        LiveSession {
            session: self.session,
            chain: self.chain.load_full(),
            connection: self.connection.clone(),
            database: self.database.clone(),
            request: self.request,
        }
    }
}

/// What woke a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Woken {
    /// It was ended.
    Ended(EndReason),
    /// Policy or its chain changed and `connect` was decided anew, in its favour: what it remembers of decisions is stale.
    Changed {
        /// A grant that counted until then: what runs may have needed it.
        lost: Option<RequestId>,
    },
}

/// A session's own end of the registry. Dropping it removes the session.
#[derive(Debug)]
pub struct LiveHandle {
    entry: Arc<Entry>,
    entries: Arc<Mutex<HashMap<SessionId, Arc<Entry>>>>,
}

impl LiveHandle {
    /// The session's id.
    #[must_use]
    pub fn session(&self) -> SessionId {
        self.entry.session
    }

    /// Who acts in it, as last decided.
    #[must_use]
    pub fn chain(&self) -> Arc<ActorChain> {
        self.entry.chain.load_full()
    }

    /// Who acts in it at `now`: what was granted until then is taken out, whoever else notices.
    pub(crate) fn chain_at(&self, now: Timestamp) -> Arc<ActorChain> {
        let chain = self.entry.chain.load_full();
        if !chain.has_lapsed(now) {
            return chain;
        }
        let before = self.entry.chain.rcu(|chain| {
            let mut chain = ActorChain::clone(chain);
            chain.members_mut().for_each(|member| member.granted.retain(|granted| now < granted.until));
            chain
        });
        let after = self.entry.chain.load_full();
        self.entry.change(&before, &after);
        after
    }

    /// When its access ends, if it does by itself.
    #[must_use]
    pub fn ends_at(&self) -> Option<Timestamp> {
        self.entry.ends_at()
    }

    /// Its access ends at this moment at the latest.
    pub fn end_by(&self, at: Timestamp) {
        self.entry.ends_at.fetch_min(at.as_microsecond(), Ordering::AcqRel);
    }

    /// Why the session must end, if it must: one atomic load when it need not.
    #[must_use]
    pub fn check(&self) -> Option<&EndReason> {
        if self.entry.ended.load(Ordering::Acquire) { self.entry.reason.get() } else { None }
    }

    /// Waits until the session must end. Cancel-safe; answers at once when it must already.
    pub async fn ended(&self) -> EndReason {
        loop {
            let wake = self.entry.wake.notified();
            if let Some(reason) = self.check() {
                return reason.clone();
            }
            wake.await;
        }
    }

    /// Waits until the session must end or must forget what it remembers of decisions. Cancel-safe.
    pub async fn woken(&self) -> Woken {
        loop {
            let wake = self.entry.wake.notified();
            if let Some(reason) = self.check() {
                return Woken::Ended(reason.clone());
            }
            if self.entry.changed.swap(false, Ordering::AcqRel) {
                return Woken::Changed { lost: self.entry.lost.lock().unwrap_or_else(PoisonError::into_inner).take() };
            }
            wake.await;
        }
    }
}

impl Drop for LiveHandle {
    fn drop(&mut self) {
        lock(&self.entries).remove(&self.entry.session);
    }
}

fn lock(entries: &Mutex<HashMap<SessionId, Arc<Entry>>>) -> MutexGuard<'_, HashMap<SessionId, Arc<Entry>>> {
    entries.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use model::{Actor, IdentityKind};

    use super::*;

    fn chain(name: &str, id: u64) -> ActorChain {
        ActorChain::alone(Actor {
            id: IdentityId::from_random(id),
            name: name.parse().unwrap(),
            kind: IdentityKind::User,
            groups: Vec::new(),
            owner: None,
            run: None,
            granted: Vec::new(),
        })
    }

    fn new(session: u64, chain: ActorChain, token: Option<u64>) -> Registration {
        Registration {
            session: SessionId::from_random(session),
            chain,
            token: token.map(TokenId::from_random),
            request: None,
            connection: "prod-pg".parse().unwrap(),
            database: "shop".to_owned(),
            ends_at: None,
        }
    }

    #[tokio::test]
    async fn revoking_a_token_ends_what_it_opened_and_nothing_else() {
        let live = Live::new(10, 10);
        let first = live.register(new(1, chain("alice", 1), Some(7))).unwrap();
        let other = live.register(new(2, chain("alice", 1), Some(8))).unwrap();
        let reason = EndReason::TokenRevoked(TokenId::from_random(7));
        assert_eq!(live.end_by_token(TokenId::from_random(7), &reason), 1);
        assert_eq!(first.check(), Some(&reason));
        assert_eq!(first.ended().await, reason);
        assert_eq!(other.check(), None);
    }

    #[tokio::test]
    async fn an_identity_anywhere_in_the_chain_counts_when_it_is_revoked() {
        let live = Live::new(10, 10);
        let bot = chain("bot", 2).subject;
        let via = live.register(new(1, ActorChain { actors: vec![bot.clone()], ..chain("alice", 1) }, None)).unwrap();
        assert_eq!(live.end_by_identity(bot.id, &bot.name), 1);
        assert_eq!(via.woken().await, Woken::Ended(EndReason::IdentityRevoked(bot.name.clone())));
        // The first reason stands.
        assert!(!live.end(via.session(), &EndReason::Stopping));
        assert_eq!(via.ended().await, EndReason::IdentityRevoked(bot.name));
    }

    #[tokio::test]
    async fn a_waiting_session_is_woken_by_its_end_and_by_a_change() {
        let live = Live::new(10, 10);
        let handle = live.register(new(1, chain("alice", 1), None)).unwrap();
        let (woken, ()) = tokio::join!(handle.woken(), async { live.refresh(handle.session(), chain("alice2", 1)) });
        assert_eq!(woken, Woken::Changed { lost: None });
        assert_eq!(handle.chain().subject.name.as_str(), "alice2");
        let (reason, _) = tokio::join!(handle.ended(), async { live.end_all(&EndReason::Stopping) });
        assert_eq!(reason, EndReason::Stopping);
    }

    #[test]
    fn limits_hold_in_all_and_for_each_identity_and_places_come_free() {
        let live = Live::new(3, 2);
        let first = live.register(new(1, chain("alice", 1), None)).unwrap();
        let _second = live.register(new(2, chain("alice", 1), None)).unwrap();
        assert!(matches!(live.register(new(3, chain("alice", 1), None)), Err(TooMany::OfIdentity(_, 2))));
        let _bob = live.register(new(4, chain("bob", 2), None)).unwrap();
        assert!(matches!(live.register(new(5, chain("carol", 3), None)), Err(TooMany::InAll(3))));
        drop(first);
        assert_eq!(live.count(), 2);
        assert!(live.register(new(6, chain("alice", 1), None)).is_ok());
    }

    /// NEAR-04: access ends when the window closes, whenever the session began.
    #[test]
    fn near_04_a_session_ends_when_its_window_closes() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let live = Live::new(10, 10);
        let late = live.register(Registration { ends_at: Some(at(100)), ..new(1, chain("alice", 1), None) }).unwrap();
        let endless = live.register(new(2, chain("bob", 2), None)).unwrap();
        assert_eq!(live.end_closed_windows(at(99)), 0);
        assert_eq!(live.end_closed_windows(at(100)), 1);
        assert_eq!(live.end_closed_windows(at(101)), 0);
        assert_eq!(late.check(), Some(&EndReason::WindowClosed(at(100))));
        assert_eq!(endless.check(), None);
        endless.end_by(at(200));
        endless.end_by(at(300));
        assert_eq!((endless.ends_at(), live.end_closed_windows(at(199)), live.end_closed_windows(at(200))), (Some(at(200)), 0, 1));
    }
}

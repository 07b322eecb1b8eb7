//! Who watches a held operation that may run only while somebody does.
//!
//! A watcher is one who reads what the operation shows ([`Attached`], as long as that is kept) and is heard of besides: a connection that is
//! lost without a word, or a program that was stopped, is no watcher for longer than [`SILENT_AFTER`]. All of it is in the memory of the
//! gateway that has the session, and over with it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, OnceLock},
    time::Duration,
};

use model::{IdentityName, Requirement, hold::Signature};
use tokio::{sync::watch, time::Instant};

use super::desk::{Desk, Held};

/// A watcher who is not heard of for so long counts as gone.
pub const SILENT_AFTER: Duration = Duration::from_secs(10);

/// Who watches one operation.
#[derive(Debug)]
pub(super) struct Watched {
    /// Those that ask for it.
    requirements: Vec<Requirement>,
    /// Who signed it, once it was released: from then on nobody else counts.
    signed: OnceLock<Vec<Signature>>,
    present: watch::Sender<Present>,
}

#[derive(Debug, Clone, Default)]
struct Present {
    watchers: BTreeMap<IdentityName, Watcher>,
    ended_by: Option<IdentityName>,
}

#[derive(Debug, Clone, Copy)]
struct Watcher {
    /// How often they watch it at once.
    streams: usize,
    heard: Instant,
}

impl Watcher {
    fn until(&self) -> Instant {
        self.heard + SILENT_AFTER
    }
}

impl Present {
    /// Until when somebody is there who signed for each requirement, unless they are heard of again; none if it is not so now.
    fn meets(&self, requirements: &[Requirement], signed: &[Signature], now: Instant) -> Option<Instant> {
        let until = |requirement: &Requirement| {
            let signers = signed.iter().filter(|signature| signature.policies.contains(&requirement.policy));
            signers.filter_map(|signature| self.watchers.get(&signature.signer)).map(Watcher::until).max()
        };
        requirements.iter().map(until).min().flatten().filter(|until| *until > now)
    }
}

impl Watched {
    /// Nobody yet; none if no requirement asks for it.
    pub(super) fn of(requirements: &[Requirement]) -> Option<Self> {
        let requirements: Vec<Requirement> = requirements.iter().filter(|requirement| requirement.watched).cloned().collect();
        (!requirements.is_empty()).then(|| Self { requirements, signed: OnceLock::new(), present: watch::Sender::default() })
    }

    pub(super) fn is_here(&self, name: &IdentityName, now: Instant) -> bool {
        self.present.borrow().watchers.get(name).is_some_and(|watcher| watcher.until() > now)
    }

    /// Whether their watching counts: anybody's who may sign until it is released, then that of those who did.
    pub(super) fn counts(&self, name: &IdentityName) -> bool {
        self.signed.get().is_none_or(|signed| signed.iter().any(|signature| signature.signer == *name))
    }

    /// Whether it was released.
    pub(super) fn has_begun(&self) -> bool {
        self.signed.get().is_some()
    }

    fn comes(&self, name: &IdentityName, now: Instant) {
        self.present.send_modify(|present| {
            let watcher = present.watchers.entry(name.clone()).or_insert(Watcher { streams: 0, heard: now });
            watcher.streams = watcher.streams.saturating_add(1);
            watcher.heard = now;
        });
    }

    fn goes(&self, name: &IdentityName) {
        self.present.send_modify(|present| {
            if let Some(watcher) = present.watchers.get_mut(name) {
                watcher.streams = watcher.streams.saturating_sub(1);
            }
            present.watchers.retain(|_, watcher| watcher.streams > 0);
        });
    }

    /// They were heard of. Whether they watch.
    pub(super) fn hears(&self, name: &IdentityName, now: Instant) -> bool {
        let mut watches = false;
        self.present.send_modify(|present| {
            if let Some(watcher) = present.watchers.get_mut(name) {
                watcher.heard = now;
                watches = true;
            }
        });
        watches
    }

    /// Has it ended by one who watches.
    pub(super) fn end(&self, by: &IdentityName) {
        self.present.send_modify(|present| {
            present.ended_by.get_or_insert_with(|| by.clone());
        });
    }
}

/// One who watches, for as long as this is kept.
#[derive(Debug)]
pub struct Attached {
    pub(super) held: Arc<Held>,
    name: IdentityName,
}

impl Attached {
    pub(super) fn new(held: Arc<Held>, name: IdentityName) -> Self {
        if let Some(watched) = &held.watched {
            watched.comes(&name, Instant::now());
        }
        Self { held, name }
    }

    /// The session the operation is in.
    #[must_use]
    pub fn session(&self) -> model::SessionId {
        self.held.draft.session
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        if let Some(watched) = &self.held.watched {
            watched.goes(&self.name);
        }
    }
}

/// The session's end: an operation that may go on only while somebody watches it. Nobody watches it any more once this is dropped.
#[derive(Debug)]
pub struct Watch {
    desk: Arc<Desk>,
    held: Arc<Held>,
    seen: watch::Receiver<Present>,
    noted: BTreeSet<IdentityName>,
}

impl Watch {
    /// Of an operation that has to be watched.
    pub(super) fn over(desk: &Arc<Desk>, held: &Arc<Held>) -> Option<Self> {
        let seen = held.watched.as_ref()?.present.subscribe();
        Some(Self { desk: desk.clone(), held: held.clone(), seen, noted: BTreeSet::new() })
    }

    /// The held operation, as it was shown to who signed.
    #[must_use]
    pub fn hold(&self) -> model::HoldId {
        self.held.draft.id
    }

    /// Whether somebody of these watches it for each policy that asks for it.
    pub(crate) fn is_met_by(&self, signed: &[Signature]) -> bool {
        let Some(watched) = &self.held.watched else { return false };
        watched.present.borrow().meets(&watched.requirements, signed, Instant::now()).is_some()
    }

    /// It was released: those who signed count, and nobody else any more.
    pub(crate) fn begins(&self, signed: &[Signature]) {
        if let Some(watched) = &self.held.watched {
            let _ = watched.signed.set(signed.to_vec());
        }
    }

    /// Until when it is watched if nobody is heard of again; none if it is not watched now.
    pub(crate) fn until(&self, now: Instant) -> Option<Instant> {
        let watched = self.held.watched.as_ref()?;
        watched.present.borrow().meets(&watched.requirements, watched.signed.get()?, now)
    }

    /// Who signed and so may watch.
    pub(crate) fn may_watch(&self) -> Vec<IdentityName> {
        let signed = self.held.watched.as_ref().and_then(|watched| watched.signed.get());
        signed.into_iter().flatten().map(|signature| signature.signer.clone()).collect()
    }

    /// Who came and who went since this was asked before.
    pub(crate) fn changes(&mut self, now: Instant) -> (Vec<IdentityName>, Vec<IdentityName>) {
        let here: BTreeSet<IdentityName> =
            self.seen.borrow_and_update().watchers.iter().filter(|(_, watcher)| watcher.until() > now).map(|(name, _)| name.clone()).collect();
        let came = here.difference(&self.noted).cloned().collect();
        let went = self.noted.difference(&here).cloned().collect();
        self.noted = here;
        (came, went)
    }

    /// Who watched it when that was asked last.
    pub(crate) const fn noted(&self) -> &BTreeSet<IdentityName> {
        &self.noted
    }

    /// When somebody who watches now is gone, unless they are heard of again.
    pub(crate) fn next_silence(&self, now: Instant) -> Option<Instant> {
        self.seen.borrow().watchers.values().map(Watcher::until).filter(|until| *until > now).min()
    }

    /// Who ended it, of those who watched.
    pub(crate) fn ended_by(&self) -> Option<IdentityName> {
        self.seen.borrow().ended_by.clone()
    }

    /// Waits until something of this may be otherwise. Cancel-safe.
    pub(crate) async fn changed(&mut self) {
        // Whoever sends is kept in `held`.
        if self.seen.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.desk.is_over(self.held.draft.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::{name, needs, now as today};

    fn signature(signer: &str, policy: &str) -> Signature {
        Signature { signer: name(signer), at: today(), policies: vec![policy.parse().unwrap()] }
    }

    fn watched(groups: &[&str]) -> Watched {
        let requirements: Vec<Requirement> = groups.iter().map(|group| Requirement { watched: true, ..needs(group, 1) }).collect();
        Watched::of(&requirements).unwrap()
    }

    fn met(watched: &Watched, signed: &[Signature], now: Instant) -> bool {
        watched.present.borrow().meets(&watched.requirements, signed, now).is_some()
    }

    #[test]
    fn somebody_who_signed_is_there_as_long_as_they_read_and_are_heard_of() {
        let watched = watched(&["dba"]);
        let (bob, eve, signed) = (name("bob"), name("eve"), [signature("bob", "needs-dba")]);
        let begin = Instant::now();
        assert!(!met(&watched, &signed, begin));
        watched.comes(&eve, begin);
        assert!(!met(&watched, &signed, begin), "eve did not sign");
        watched.comes(&bob, begin);
        watched.comes(&bob, begin);
        watched.goes(&bob);
        assert!(met(&watched, &signed, begin), "they watch it at one more place");
        assert!(!met(&watched, &signed, begin + SILENT_AFTER) && !watched.is_here(&bob, begin + SILENT_AFTER));
        assert!(watched.hears(&bob, begin + SILENT_AFTER) && met(&watched, &signed, begin + SILENT_AFTER));
        watched.goes(&bob);
        assert!(!met(&watched, &signed, begin) && !watched.hears(&bob, begin), "to be heard of is not enough");
        assert!(watched.present.borrow().watchers.contains_key(&eve));
    }

    #[test]
    fn each_policy_that_asks_for_it_has_somebody_who_signed_for_it() {
        let watched = watched(&["dba", "security"]);
        let signed = [signature("bob", "needs-dba"), signature("carol", "needs-security")];
        let begin = Instant::now();
        watched.comes(&name("bob"), begin);
        assert!(!met(&watched, &signed, begin));
        watched.comes(&name("carol"), begin);
        assert!(met(&watched, &signed, begin));
        assert!(watched.counts(&name("dave")));
        watched.signed.set(signed.to_vec()).unwrap();
        assert!(watched.counts(&name("bob")) && !watched.counts(&name("dave")));
    }

    #[test]
    fn what_nobody_has_to_watch_has_no_watchers() {
        assert!(Watched::of(&[needs("dba", 1)]).is_none());
    }
}

//! What is granted at this moment: kept in memory, so that a chain gets its memberships without asking the store.
//!
//! A grant is put here after it was written down, and taken out before anybody hears that it is over. Nothing that lapsed ever counts, whether it was taken
//! out already or not: decisions look at the end of each membership.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use model::{ActorChain, Connection, ConnectionName, Granted, IdentityId, Outcome, RequestId, Timestamp, request::RequestRow};
use policy::{decide, version::Version};
use store::StoreError;

use crate::guard::Guard;

/// The grants in force, by whose they are and where they count.
#[derive(Debug, Default)]
pub(crate) struct Grants(Mutex<HashMap<(IdentityId, ConnectionName), Vec<InForce>>>);

#[derive(Debug, Clone)]
struct InForce {
    granted: Granted,
    /// It counts only where a token for its one statement is used.
    one_statement: bool,
}

impl Grants {
    /// Lets a granted request count.
    pub(crate) fn add(&self, row: &RequestRow) {
        let Some(grant) = row.grant.as_ref().filter(|grant| grant.ended.is_none()) else { return };
        let granted = Granted { request: row.id, role: row.role.clone(), group: row.group.clone(), until: grant.until };
        let place = (row.chain.subject.id, row.connection.clone());
        let mut all = lock(&self.0);
        let there = all.entry(place).or_default();
        there.retain(|other| other.granted.request != row.id);
        there.push(InForce { granted, one_statement: row.statement.is_some() });
        there.sort_by_key(|one| one.granted.request);
    }

    /// Lets it count no more.
    pub(crate) fn remove(&self, request: RequestId) {
        self.retain(|one| one.granted.request != request);
    }

    /// Takes out what is over at `now`; whether there was any.
    pub(crate) fn take_lapsed(&self, now: Timestamp) -> bool {
        self.retain(|one| now < one.granted.until)
    }

    fn retain(&self, keep: impl Fn(&InForce) -> bool) -> bool {
        let mut all = lock(&self.0);
        let before: usize = all.values().map(Vec::len).sum();
        all.values_mut().for_each(|there| there.retain(&keep));
        all.retain(|_, there| !there.is_empty());
        before != all.values().map(Vec::len).sum::<usize>()
    }

    /// What counts for somebody on a connection, whose roles it must still name; `by` is the request a session's token was minted for.
    fn of(&self, identity: IdentityId, connection: &Connection, by: Option<RequestId>, now: Timestamp) -> Vec<Granted> {
        let all = lock(&self.0);
        let Some(there) = all.get(&(identity, connection.name.clone())) else { return Vec::new() };
        let counts = |one: &&InForce| {
            now < one.granted.until
                && (!one.one_statement || by == Some(one.granted.request))
                && connection.roles.get(&one.granted.role) == Some(&one.granted.group)
        };
        there.iter().filter(counts).map(|one| one.granted.clone()).collect()
    }

    /// Gives every member of a chain what counts for it on a connection, and nothing else.
    pub(crate) fn apply(&self, chain: &mut ActorChain, connection: &Connection, by: Option<RequestId>, now: Timestamp) {
        chain.members_mut().for_each(|member| member.granted = self.of(member.id, connection, by, now));
    }
}

impl Guard {
    /// Reads what is granted from the store. Call it before anybody is let in: until then nothing granted counts.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn load_grants(&self, now: Timestamp) -> Result<(), StoreError> {
        self.store().state().granted_requests(now).await?.iter().for_each(|row| self.grants().add(row));
        Ok(())
    }

    /// A chain as it stands on one connection, with what was granted there.
    #[must_use]
    pub fn chain_on(&self, chain: &ActorChain, connection: &Connection, now: Timestamp) -> ActorChain {
        let mut chain = chain.clone();
        self.grants().apply(&mut chain, connection, None, now);
        chain
    }

    /// The connections on which `connect` is not denied to a chain, sorted.
    #[must_use]
    pub fn open_connections(&self, chain: &ActorChain, now: Timestamp) -> Vec<ConnectionName> {
        self.open_under(&self.version(), chain, now)
    }

    fn open_under(&self, version: &Version, chain: &ActorChain, now: Timestamp) -> Vec<ConnectionName> {
        let opens = |connection: &Connection| {
            let chain = self.chain_on(chain, connection, now);
            decide::decide_connect(version, &chain, connection, &connection.database, now).outcome != Outcome::Deny
        };
        version.connections.iter().filter(|(_, connection)| opens(connection)).map(|(name, _)| name.clone()).collect()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

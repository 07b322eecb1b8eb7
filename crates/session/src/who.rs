//! Who can do something to an object, and who did: the questions an owner of data asks.
//!
//! The first is asked of the policies in force, of every identity by itself; the second of the records. Both tell a viewer of nobody they may not see. What the first
//! costs grows with the number of identities, one decision each.

use model::{Action, Actor, ActorChain, ConnectionName, IdentityKind, IdentityName, Object, Outcome, PolicyId, Timestamp};
use policy::decide::{self, Case};
use store::Use;

use crate::{
    guard::{GovernError, Guard},
    reach::{facts_of, stand_in},
    register,
    tokens::unknown_connection,
};

/// Somebody who can do what was asked about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Can {
    /// Who.
    pub identity: IdentityName,
    /// A person, workload or agent.
    pub kind: IdentityKind,
    /// Who answers for it.
    pub owner: Option<IdentityName>,
    /// Whether it waits for signatures.
    pub held: bool,
    /// The policies that permit or hold it.
    pub policies: Vec<PolicyId>,
    /// When it was last there at all.
    pub last_used: Option<Timestamp>,
}

/// What somebody could do to what.
#[derive(Debug, Clone, Copy)]
pub struct Deed<'a> {
    /// The action.
    pub action: Action,
    /// Where.
    pub connection: &'a ConnectionName,
    /// The schema and table; the whole database if none is named.
    pub relation: Option<(&'a str, &'a str)>,
}

impl Guard {
    /// Everybody who can do something, as far as `viewer` may see them: by name.
    ///
    /// # Errors
    /// There is no such connection, or none `viewer` may ask about; the action is none that is done to an object of it.
    pub async fn who_can(&self, deed: Deed<'_>, viewer: &Actor, now: Timestamp) -> Result<Vec<Can>, GovernError> {
        let version = self.version();
        let (may_ask, open) = self.may_ask_about(viewer, now);
        let known = version.connections.get(deed.connection).filter(|connection| may_ask || open.contains(&connection.name));
        let connection = known.ok_or_else(|| GovernError::NotFound(unknown_connection(deed.connection, &viewer.name, &open)))?;
        if matches!(deed.action, Action::Filter | Action::Reveal | Action::Request) {
            return Err(GovernError::Invalid(format!("{} is asked of data classes or roles, not of what is on a connection", deed.action)));
        }
        let database: std::sync::Arc<str> = connection.database.as_str().into();
        let object = match deed.relation {
            Some((schema, table)) => Object::Table { database: database.clone(), schema: schema.into(), table: table.into() },
            None => stand_in(deed.action, &database, connection),
        };
        let facts = facts_of(deed.action, object);
        let mut can = Vec::new();
        for identity in self.identities(viewer, now).await?.into_iter().filter(|identity| identity.is_active(now)) {
            let chain = self.chain_on(&ActorChain::alone(register::actor(&identity)), connection, now);
            if decide::decide_connect(&version, &chain, connection, &database, now).outcome != Outcome::Allow {
                continue;
            }
            let case = Case { chain: &chain, connection, database: &database, facts: &facts, recent: decide::Recent::default(), now };
            let decision = decide::decide_at_best(&version, &case);
            let held = match decision.outcome {
                Outcome::Allow => false,
                Outcome::Hold(_) => true,
                Outcome::Deny => continue,
            };
            let (owner, last_used) = (identity.owner, identity.last_used);
            can.push(Can { identity: identity.name, kind: identity.kind, owner, held, policies: decision.policies, last_used });
        }
        Ok(can)
    }

    /// Whether somebody may ask about all connections, and else about which: those they may open.
    fn may_ask_about(&self, viewer: &Actor, now: Timestamp) -> (bool, Vec<ConnectionName>) {
        let all = self.may(viewer, model::SystemAction::Audit, now) || self.may(viewer, model::SystemAction::Administer, now);
        (all, self.open_connections(&ActorChain::alone(viewer.clone()), now))
    }

    /// Who did what to a relation, `schema.table`, since a time, as far as `viewer` may see them; on one connection if one is named. As fresh as the index.
    ///
    /// # Errors
    /// The index cannot be read.
    pub async fn who_touched(
        &self,
        relation: &str,
        connection: Option<&ConnectionName>,
        since: Timestamp,
        viewer: &Actor,
        now: Timestamp,
    ) -> Result<Vec<Use>, GovernError> {
        let visible: std::collections::HashSet<IdentityName> =
            self.identities(viewer, now).await?.into_iter().map(|identity| identity.name).collect();
        let (may_ask, open) = self.may_ask_about(viewer, now);
        let mut uses = self.store().state().uses_on(relation, since).await?;
        uses.retain(|one| {
            let there = connection.is_none_or(|connection| one.connection == *connection) && (may_ask || open.contains(&one.connection));
            there && visible.contains(&one.identity)
        });
        Ok(uses)
    }
}

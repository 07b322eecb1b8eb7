//! What an identity can reach and what it used: the facts a review of its access begins with.
//!
//! Reach is asked of the policies themselves, one question for each action on each connection, with stand-ins for the operation: the whole database,
//! and every relation the identity has used. A policy about a single table it never touched is therefore not seen; `explain-statement` sees it.

use std::collections::BTreeSet;

use model::{
    Action, ActorChain, Connection, ConnectionName, Effects, EnvironmentName, Facts, Identity, IdentityName, Object, Outcome, Pair, PolicyId, Risk,
    RowScope, Timestamp, Understanding,
    facts::{Outputs, RelationRef},
    token::TokenRow,
};
use policy::{
    decide::{self, Case},
    version::Version,
};
use store::{
    Use,
    state::{EventRow, TrustRule},
};

use crate::{
    guard::{GovernError, Guard},
    register,
    through::{Credentials, Through},
};

/// What the register, the policies and the records know of an identity.
#[derive(Debug, Clone)]
pub struct IdentityFacts {
    /// Who made it, who owns it, what it is for, until when.
    pub identity: Identity,
    /// Its tokens, never their secret part, newest first.
    pub tokens: Vec<TokenRow>,
    /// What policy lets it do, by connection. Empty once it is revoked or expired.
    pub reach: Vec<Reach>,
    /// What it did, from the records.
    pub used: Vec<Use>,
    /// The workloads and agents it owns.
    pub owns: Vec<IdentityName>,
    /// The change by which it was entered. The first administrator's is none.
    pub entered: Option<EventRow>,
    /// Who can act through it.
    pub through: Vec<Through>,
    /// Which tokens of platforms are its own.
    pub trust: Vec<TrustRule>,
}

/// What policy lets an identity do on one connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reach {
    /// The connection.
    pub connection: ConnectionName,
    /// Its environment.
    pub environment: EnvironmentName,
    /// The actions that are not denied, in the order of the documentation.
    pub actions: Vec<ReachedAction>,
}

/// An action within reach.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReachedAction {
    /// The action.
    pub action: Action,
    /// Whether it waits for signatures.
    pub held: bool,
    /// The relations it is within reach on, `schema.table`, if not the whole database.
    pub only: Vec<String>,
    /// The policies that permit or hold it.
    pub policies: Vec<PolicyId>,
}

impl Guard {
    /// Everything known of one identity, for itself, its owner, auditors and administrators.
    ///
    /// # Errors
    /// There is none of that name that `viewer` may see.
    pub async fn identity_facts(&self, name: &IdentityName, viewer: &model::Actor, now: Timestamp) -> Result<IdentityFacts, GovernError> {
        let identity = self.identity_for(name, viewer, now).await?;
        let tokens = self.store().state().tokens(Some(name)).await?;
        let used = self.store().index().uses_of(name).await?;
        let all = self.store().state().identities().await?;
        let owns = all.iter().filter(|other| other.owner.as_ref() == Some(name)).map(|other| other.name.clone()).collect();
        let entered = self.store().state().first_event(name.as_str(), "identity.added").await?;
        let trust = self.store().state().trust_of(name).await?;
        let keys = self.store().state().keys_of(name).await?;
        let through = self.through(&identity, &all, Credentials { tokens: &tokens, rules: &trust, keys: &keys }, viewer, now);
        let reach = if identity.is_active(now) { self.reach(&self.version(), &identity, &used, now) } else { Vec::new() };
        Ok(IdentityFacts { identity, tokens, reach, used, owns, entered, through, trust })
    }

    /// What policy lets an identity do by itself, on every connection it may open, with what is granted to it there.
    fn reach(&self, version: &Version, identity: &Identity, used: &[Use], now: Timestamp) -> Vec<Reach> {
        let alone = ActorChain::alone(register::actor(identity));
        let open = self.open_connections(&alone, now);
        let on = |connection: &Connection| {
            let chain = self.chain_on(&alone, connection, now);
            Reach {
                connection: connection.name.clone(),
                environment: connection.environment.clone(),
                actions: Action::ALL.iter().filter_map(|action| reached(version, &chain, connection, *action, used, now)).collect(),
            }
        };
        open.iter().filter_map(|name| version.connections.get(name)).map(|connection| on(connection)).collect()
    }
}

fn reached(version: &Version, chain: &ActorChain, connection: &Connection, action: Action, used: &[Use], now: Timestamp) -> Option<ReachedAction> {
    // These are asked of data classes and roles, never of a connection.
    if matches!(action, Action::Filter | Action::Reveal | Action::Request) {
        return None;
    }
    let database: std::sync::Arc<str> = connection.database.as_str().into();
    let whole = stand_in(action, &database, connection);
    let ask = |object: Object| {
        let facts = facts_of(action, object);
        let decision =
            decide::decide_at_best(version, &Case { chain, connection, database: &database, facts: &facts, recent: decide::Recent::default(), now });
        match decision.outcome {
            Outcome::Allow => Some((false, decision.policies)),
            Outcome::Hold(_) => Some((true, decision.policies)),
            Outcome::Deny => None,
        }
    };
    if let Some((held, policies)) = ask(whole) {
        return Some(ReachedAction { action, held, only: Vec::new(), policies });
    }
    let mut partly = ReachedAction { action, held: false, only: Vec::new(), policies: Vec::new() };
    let mut policies = BTreeSet::new();
    for relation in relations(used, &connection.name) {
        let Some((schema, table)) = relation.split_once('.') else { continue };
        let object = Object::Table { database: database.clone(), schema: schema.into(), table: table.into() };
        if let Some((held, deciding)) = ask(object) {
            partly.held |= held;
            partly.only.push(relation.to_owned());
            policies.extend(deciding);
        }
    }
    partly.policies = policies.into_iter().collect();
    (!partly.only.is_empty()).then_some(partly)
}

fn relations<'a>(used: &'a [Use], connection: &ConnectionName) -> BTreeSet<&'a str> {
    used.iter().filter(|one| one.connection == *connection && !one.object.ends_with("()")).map(|one| one.object.as_str()).collect()
}

/// The widest object an action is done to on a connection.
pub(crate) fn stand_in(action: Action, database: &std::sync::Arc<str>, connection: &Connection) -> Object {
    match action {
        Action::Connect => Object::Connection,
        Action::Escape => Object::Host { host: connection.name.as_str().into() },
        Action::Read
        | Action::Write
        | Action::Destroy
        | Action::Define
        | Action::Privilege
        | Action::Execute
        | Action::Export
        | Action::Configure
        | Action::Filter
        | Action::Reveal
        | Action::Unreadable
        | Action::Request => Object::Database { database: database.clone() },
    }
}

/// An operation that does nothing but `action` on `object`, as harmless as such a thing can be.
pub(crate) fn facts_of(action: Action, object: Object) -> Facts {
    let relation = match &object {
        Object::Table { schema, table, .. } => vec![RelationRef { schema: schema.clone(), name: table.clone(), oid: 0 }],
        _ => Vec::new(),
    };
    let writes = matches!(action, Action::Write | Action::Destroy);
    let understanding =
        if action == Action::Unreadable { Understanding::Unreadable("asked about for a listing".to_owned()) } else { Understanding::Full };
    Facts {
        understanding,
        pairs: vec![Pair { action, object }],
        kinds: Vec::new(),
        statements: 1,
        reads: if writes { Vec::new() } else { relation.clone() },
        writes: if writes { relation } else { Vec::new() },
        functions: Vec::new(),
        row_scope: match action {
            Action::Write => RowScope::Selective,
            Action::Destroy => RowScope::Unbounded,
            _ => RowScope::None,
        },
        risk: Risk::new(if writes { 3 } else { 1 }),
        effects: Effects::default(),
        outputs: Outputs::default(),
        filters: model::facts::Filters::default(),
        secret_spans: Vec::new(),
    }
}

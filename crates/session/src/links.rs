//! Chains of agents: who acts for whom, and by what they were given.
//!
//! A person gives an agent what it acts with; that agent may pass it on to another one that it names, and so on, [`MAX_ACTORS`] long. Each link opens no more than the one
//! before it and is there no longer; it is revoked with it, and with what it was itself asked for by. Nobody is in a chain twice, and nothing is passed on to
//! somebody it does not name (RFC 8693, `may_act`).

use std::collections::BTreeMap;

use model::{
    Actor, ActorChain, Identity, IdentityKind, IdentityName, Run, Secret, Timestamp,
    token::{MAX_ACTORS, TokenRow, TokenUse},
};
use store::StoreError;

use crate::{
    guard::{GovernError, Guard},
    ids, introspect, register,
    workloads::{Exchange, NotExchanged, Proven, Shape},
};

/// Who acts for whom, and what they were given for it.
#[derive(Debug)]
pub(crate) struct Link {
    /// The chain that acts.
    pub(crate) chain: ActorChain,
    /// The link before it.
    before: Option<TokenRow>,
    /// The run that says itself that they may.
    subject: Option<Proven>,
    /// When the first of those in the chain ends, but for whoever asks.
    ends_at: Option<Timestamp>,
    /// Whom it is passed on to.
    next: Option<Identity>,
}

impl Link {
    /// A link of somebody who acts for themselves.
    const fn alone(actor: Actor) -> Self {
        Self { chain: ActorChain::alone(actor), before: None, subject: None, ends_at: None, next: None }
    }

    /// What it opens at most: nothing where nobody was given anything.
    pub(crate) const fn before(&self) -> Option<&TokenRow> {
        self.before.as_ref()
    }

    /// Everybody who will have to be allowed what it opens.
    pub(crate) fn asked(&self, shape: Shape) -> ActorChain {
        let mut chain = self.chain.clone();
        // What opens connections itself is not yet in the next one's hands.
        chain.actors.extend(self.next.iter().filter(|_| shape == Shape::Delegation).map(register::actor));
        chain
    }

    /// The token of whoever showed who they are: it ends with them, with what they showed, with everybody in the chain, and with the link before.
    pub(crate) fn minted(self, wanted: &Exchange<'_>, proven: Proven, expires_at: Timestamp, now: Timestamp) -> TokenRow {
        let Self { chain, before, subject, ends_at, next } = self;
        let ends = [proven.identity.expires_at, proven.ends_at, before.as_ref().map(|row| row.expires_at), ends_at];
        let expires_at = ends.into_iter().flatten().fold(expires_at, Timestamp::min);
        let next = next.map(|next| next.name);
        let (purpose, given_to, may_act) = match wanted.shape {
            Shape::Delegation => (TokenUse::Delegate, next, None),
            Shape::Opaque | Shape::Jwt => (TokenUse::Connect, None, next),
        };
        // A run that says itself who may act for it is the row's own.
        let earlier_runs = if subject.is_some() { BTreeMap::new() } else { runs_before(&chain) };
        TokenRow {
            id: ids::token(),
            subject: chain.subject.name,
            purpose,
            connections: wanted.connections.to_vec(),
            statement: wanted.statement.map(str::to_owned),
            minted_by: proven.identity.name,
            created_at: now,
            not_before: now,
            expires_at,
            last_used: None,
            spent_at: None,
            revoked_at: None,
            revoked_by: None,
            sign_in: before.as_ref().and_then(|row| row.sign_in),
            trust: subject.as_ref().map_or(proven.trust, |subject| subject.trust),
            run: subject.map_or(proven.run, |subject| subject.run),
            key: proven.key,
            bound_to: None,
            actors: chain.actors.into_iter().map(|actor| actor.name).chain(given_to).collect(),
            earlier_runs,
            may_act,
            parent: before.map(|row| row.id),
            request: None,
        }
    }
}

/// The runs of all but whoever acts in the end.
fn runs_before(chain: &ActorChain) -> BTreeMap<IdentityName, Run> {
    let before = chain.members().take(chain.actors.len());
    before.filter_map(|member| Some((member.name.clone(), member.run.clone()?))).collect()
}

impl Guard {
    /// Who acts for whom, by what they were given or what a run says, and whom it is passed on to.
    pub(crate) async fn link(&self, wanted: &Exchange<'_>, proven: &Proven, now: Timestamp) -> Result<Link, NotExchanged> {
        let actor = Actor { run: proven.run.clone(), ..register::actor(&proven.identity) };
        let link = match (wanted.delegation, wanted.run) {
            (Some(given), _) => self.link_given(given, actor, now).await?,
            (None, Some(run)) => self.link_to_run(run, proven, actor, now).await?,
            (None, None) => Link::alone(actor),
        };
        let next = match wanted.next {
            Some(name) => Some(self.next_in(&link.chain, name, wanted, now).await?),
            None if wanted.shape == Shape::Delegation => return Err(invalid("say to which agent it is passed on: `may_act`")),
            None => None,
        };
        Ok(Link { next, ..link })
    }

    /// By what the link before was given to this actor, if it works now.
    async fn link_given(&self, given: &Secret, actor: Actor, now: Timestamp) -> Result<Link, NotExchanged> {
        let ungiven = || NotExchanged::Undelegated(actor.name.clone());
        let digest = introspect::digest(given).ok_or_else(ungiven)?;
        let row = self.store().state().live_token(&digest, now).await?.filter(|row| may_pass(row, &actor.name)).ok_or_else(ungiven)?;
        let mut members = Vec::new();
        let mut ends_at = None;
        for name in std::iter::once(&row.subject).chain(row.acting()) {
            let member = self.working(name, now).await?.ok_or_else(ungiven)?;
            ends_at = ends_at.into_iter().chain(member.expires_at).min();
            members.push(Actor { run: row.run_of(name).cloned(), ..register::actor(&member) });
        }
        self.store().state().touch_token(row.id, now).await?;
        let mut members = members.into_iter();
        let subject = members.next().ok_or_else(ungiven)?;
        let chain = ActorChain { actors: members.chain([actor]).collect(), ..ActorChain::alone(subject) };
        Ok(Link { chain, before: Some(row), subject: None, ends_at, next: None })
    }

    /// For a run whose own token says that this actor may.
    async fn link_to_run(&self, run: &str, proven: &Proven, actor: Actor, now: Timestamp) -> Result<Link, NotExchanged> {
        let (subject, may_act) = self.prove_run(run, now).await?;
        // Its own run and rule, and the actor's key: each ends the token.
        let by_key = proven.key.is_some() && proven.identity.kind == IdentityKind::Agent;
        let named = may_act.is_some_and(|who| who.names(&proven.identity.name, self.url()));
        if !by_key || !named {
            return Err(NotExchanged::MayNotAct(proven.identity.name.clone()));
        }
        let behind = Actor { run: subject.run.clone(), ..register::actor(&subject.identity) };
        let chain = ActorChain { actors: vec![actor], ..ActorChain::alone(behind) };
        Ok(Link { chain, before: None, ends_at: subject.identity.expires_at, subject: Some(subject), next: None })
    }

    /// Whom a chain is passed on to: an agent that works and is not in it.
    async fn next_in(&self, chain: &ActorChain, name: &IdentityName, wanted: &Exchange<'_>, now: Timestamp) -> Result<Identity, NotExchanged> {
        if chain.actors.is_empty() {
            return Err(invalid("an agent passes on what it was given to act for somebody; what it may do itself it passes on to nobody"));
        }
        if wanted.statement.is_some() || wanted.possession.is_some() {
            return Err(invalid("what is for one statement, or bound to a key, is passed on to nobody: ask for one of its own"));
        }
        if chain.actors.len() >= MAX_ACTORS {
            return Err(invalid(format!("at most {MAX_ACTORS} agents act for somebody in a row")));
        }
        if chain.members().any(|member| member.name == *name) {
            return Err(invalid(format!("{name} acts in it already")));
        }
        let agent = self.working(name, now).await?.filter(|agent| agent.kind == IdentityKind::Agent);
        agent.ok_or_else(|| invalid(format!("there is no agent {name} that works")))
    }

    async fn working(&self, name: &IdentityName, now: Timestamp) -> Result<Option<Identity>, StoreError> {
        Ok(self.store().state().identity(name).await?.filter(|identity| identity.is_active(now)))
    }
}

/// Whether a token may be exchanged by this actor: it names them, and is no more restricted than what comes of it would be.
fn may_pass(row: &TokenRow, actor: &IdentityName) -> bool {
    let named = row.next() == Some(actor) && !row.actors.is_empty();
    let acting = || std::iter::once(&row.subject).chain(row.acting());
    // INVARIANT: whoever minted any link is in the chain, so that the rules of who never signs reach all of them.
    let within = acting().any(|name| *name == row.minted_by) && acting().all(|name| name != actor) && row.acting().len() < MAX_ACTORS;
    named && within && row.statement.is_none() && row.request.is_none() && row.bound_to.is_none()
}

fn invalid(why: impl Into<String>) -> NotExchanged {
    GovernError::Invalid(why.into()).into()
}

#[cfg(test)]
mod tests;

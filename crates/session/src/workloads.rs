//! Workloads without secrets: the token their platform gave a run, or what they signed with a key of their own, is exchanged for one that opens connections.
//!
//! Administrators say which claims of which issuer are a workload's; a workload has owner, purpose and expiry before anybody can. The run it was given to goes
//! with the token into every session and record.

use std::{
    collections::{BTreeMap, HashSet},
    net::IpAddr,
    sync::Arc,
    time::Duration,
};

use identity::{
    TokenDigest,
    access::MAX_ACCESS_BYTES,
    client_key::{self, AssertionError},
    token,
    workload::{Assertion, Issuer, MayAct, WorkloadError},
};
use model::{
    Actor, ActorChain, ConnectionName, Identity, IdentityKeyId, IdentityName, ProviderName, Run, Secret, Timestamp, TrustId, token::TokenRow,
};
use serde_json::json;
use store::{
    StoreError,
    state::{TrustError, TrustRule},
};

use crate::{
    events,
    guard::{GovernError, Guard},
    ids, introspect,
    live::EndReason,
    possession::{self, NotPossessed},
    providers::Begun,
    tokens::{MAX_TOKEN_STATEMENT_BYTES, unknown_connection},
};

/// How long such a token works at most, and how long if nobody says, in seconds.
pub const MAX_EXCHANGED_S: u64 = 3_600;
const DEFAULT_EXCHANGED_S: u64 = 900;
/// Connections one token opens at most.
const MAX_CONNECTIONS: usize = 64;
/// Exchanges within a minute, from one address and in all. Runners share addresses.
const MAX_PER_ADDRESS: u32 = 1_200;
const MAX_IN_ALL: u32 = 7_200;

/// Where jobs run whose tokens are taken.
#[derive(Debug, Default)]
pub struct Issuers {
    known: BTreeMap<ProviderName, Arc<Issuer>>,
    begun: Begun,
}

impl Issuers {
    /// Those that are configured.
    #[must_use]
    pub fn new(issuers: impl IntoIterator<Item = Arc<Issuer>>) -> Self {
        Self { known: issuers.into_iter().map(|issuer| (issuer.name().clone(), issuer)).collect(), begun: Begun::default() }
    }

    /// What they are called.
    pub(crate) fn names(&self) -> impl Iterator<Item = &ProviderName> {
        self.known.keys()
    }
}

/// What shows who asks for a token, and acts with it.
#[derive(Debug, Clone, Copy)]
pub enum Proof<'a> {
    /// The token that a platform gave a run, or an assertion: whichever it says it is.
    Either(&'a str),
    /// What a workload or agent signed with a key of its own.
    Assertion(&'a str),
}

/// What a token is to be. All are rows of one table, and end alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// Random characters.
    Opaque,
    /// A JWT that others can read: RFC 9068.
    Jwt,
    /// Random characters that open nothing: what the next agent exchanges, with a proof of its own.
    Delegation,
}

/// A token asked for.
#[derive(Debug)]
pub struct Exchange<'a> {
    /// Who acts.
    pub proof: Proof<'a>,
    /// What somebody gave an agent so that it may act for them, or an agent passed on to it.
    pub delegation: Option<&'a Secret>,
    /// The agent that it is passed on to.
    pub next: Option<&'a IdentityName>,
    /// The token of a run that says itself who may act for it.
    pub run: Option<&'a str>,
    /// The connections to open.
    pub connections: &'a [ConnectionName],
    /// The one statement to run there, once, if it is for a single operation.
    pub statement: Option<&'a str>,
    /// Which workload, where the token could be several's.
    pub workload: Option<&'a IdentityName>,
    /// How long, in seconds.
    pub expires_in_s: Option<u64>,
    /// What it is to look like.
    pub shape: Shape,
    /// The key it is to be bound to, if there is one.
    pub possession: Option<possession::Proven<'a>>,
    /// Where it comes from.
    pub peer: IpAddr,
}

/// Why a token is not exchanged. `Display` is for the caller.
#[derive(Debug, thiserror::Error)]
pub enum NotExchanged {
    /// Too many come from there, or at all.
    #[error("too many tokens are being exchanged; try again in a minute")]
    TooMany,
    /// Nobody here takes tokens of its issuer.
    #[error("no issuer of this gateway issued the token: an administrator names it in [issuers]")]
    UnknownIssuer,
    /// It is not believed, or cannot be checked.
    #[error(transparent)]
    Token(#[from] WorkloadError),
    /// Nobody comes from there at the moment.
    #[error("{0} is revoked here: no token of it is taken until an administrator allows it again")]
    Revoked(ProviderName),
    /// It is nobody's.
    #[error("the token of {0} is no workload's here: an administrator says with `countersign identity trust` which claims are")]
    Nobody(ProviderName),
    /// It is several's.
    #[error("the token is good for {}: say which one is meant", .0.iter().map(IdentityName::as_str).collect::<Vec<_>>().join(" and "))]
    Several(Vec<IdentityName>),
    /// What it signed is not believed.
    #[error(transparent)]
    Assertion(AssertionError),
    /// Somebody came with it before.
    #[error("the assertion was used before: each works once, so sign another")]
    UsedBefore,
    /// Nothing can be for this gateway.
    #[error("this gateway has no name that an assertion could be for: an administrator sets `issuer` in [tokens] of countersign.toml")]
    Unnamed,
    /// The workload is over.
    #[error("workload {0} was revoked or has expired: its owner can ask an administrator to renew it")]
    Inactive(IdentityName),
    /// What somebody gave the agent is none, or not this agent's.
    #[error("the delegation is none of {0}'s that works: ask whoever gave it for a new one, which names {0}")]
    Undelegated(IdentityName),
    /// The token of a run does not say that whoever acts may act for it.
    #[error("the subject's token does not say that {0} may act for it (`may_act`), or {0} is no agent with a key of its own")]
    MayNotAct(IdentityName),
    /// A connection is not the workload's to open, or not there.
    #[error("{0}")]
    Target(String),
    /// The key it is to be bound to is not theirs.
    #[error(transparent)]
    Possession(#[from] NotPossessed),
    /// The one statement it is to run is none.
    #[error("the statement is empty or has more than {MAX_TOKEN_STATEMENT_BYTES} bytes")]
    Statement,
    /// What is asked for makes no sense.
    #[error(transparent)]
    Govern(#[from] GovernError),
}

impl From<StoreError> for NotExchanged {
    fn from(error: StoreError) -> Self {
        Self::Govern(GovernError::State(error))
    }
}

/// Somebody who showed who they are.
#[derive(Debug)]
pub(crate) struct Proven {
    /// Who.
    pub(crate) identity: Identity,
    /// The run that they are.
    pub(crate) run: Option<Run>,
    /// The rule by which a platform's token is theirs.
    pub(crate) trust: Option<TrustId>,
    /// The key that they signed with.
    pub(crate) key: Option<IdentityKeyId>,
    /// When what they showed it by ends.
    pub(crate) ends_at: Option<Timestamp>,
}

impl Guard {
    /// Gives whoever shows who they are a token that opens connections: RFC 8693, RFC 7523.
    ///
    /// # Errors
    /// Why not.
    pub async fn exchange_token(&self, wanted: &Exchange<'_>, now: Timestamp) -> Result<(Secret, TokenRow), NotExchanged> {
        if !self.may_ask(wanted.peer, now) {
            return Err(NotExchanged::TooMany);
        }
        let seconds = wanted.expires_in_s.unwrap_or(DEFAULT_EXCHANGED_S);
        if seconds == 0 || seconds > MAX_EXCHANGED_S {
            return Err(GovernError::Invalid(format!("such a token works for 1 to {MAX_EXCHANGED_S} seconds")).into());
        }
        if wanted.connections.is_empty() || wanted.connections.len() > MAX_CONNECTIONS {
            return Err(GovernError::Invalid(format!("say which connections the token is to open, at most {MAX_CONNECTIONS}: `audience`")).into());
        }
        if wanted.statement.is_some_and(|text| text.trim().is_empty() || text.len() > MAX_TOKEN_STATEMENT_BYTES) {
            return Err(NotExchanged::Statement);
        }
        let possession = wanted.possession.map(|proven| self.check_possession(&proven, None, now)).transpose()?;
        let proven = self.prove(wanted, now).await?;
        if let Some(possession) = &possession {
            self.use_possession(possession, &proven.identity.name, now).await?;
        }
        let link = self.link(wanted, &proven, now).await?;
        self.check_opens(wanted.connections, &link.asked(wanted.shape), link.before(), now)?;
        let expires_at = now.checked_add(Duration::from_secs(seconds)).unwrap_or(now);
        let row = TokenRow { bound_to: possession.map(|key| key.thumbprint), ..link.minted(wanted, proven, expires_at, now) };
        let (secret, digest) = match wanted.shape {
            Shape::Opaque | Shape::Delegation => token::mint_fresh(row.purpose).map_err(|error| GovernError::Invalid(error.to_string()))?,
            Shape::Jwt => self.readable(&row)?,
        };
        self.store().state().add_token(&row, &digest).await.map_err(GovernError::from)?;
        if let Some(rule) = row.trust {
            self.store().state().touch_trust(rule, now).await?;
        }
        if let Some(key) = row.key {
            self.store().state().touch_key(key, now).await?;
        }
        events::append(self.store(), events::token_minted(&row, now)).await?;
        Ok((secret, row))
    }

    /// Whether there are not too many yet who come from there, or in all.
    pub(crate) fn may_ask(&self, peer: IpAddr, now: Timestamp) -> bool {
        self.issuers().begun.count(peer, MAX_PER_ADDRESS, MAX_IN_ALL, now)
    }

    /// Who asks, by what they show.
    async fn prove(&self, wanted: &Exchange<'_>, now: Timestamp) -> Result<Proven, NotExchanged> {
        let proven = match wanted.proof {
            Proof::Assertion(assertion) => self.prove_by_key(assertion, now).await?,
            Proof::Either(token) => match self.issuers().known.values().find(|issuer| issuer.issued(token)) {
                Some(issuer) => self.prove_by_run(issuer, token, wanted.workload, now).await?.0,
                None if client_key::claimed(token).is_some() => self.prove_by_key(token, now).await?,
                None => return Err(NotExchanged::UnknownIssuer),
            },
        };
        match wanted.workload {
            Some(meant) if *meant != proven.identity.name => {
                Err(GovernError::Invalid(format!("what was shown is {}'s, not {meant}'s", proven.identity.name)).into())
            }
            Some(_) | None => Ok(proven),
        }
    }

    /// The run with this token, and who it says may act for it.
    pub(crate) async fn prove_run(&self, token: &str, now: Timestamp) -> Result<(Proven, Option<MayAct>), NotExchanged> {
        let issuer = self.issuers().known.values().find(|issuer| issuer.issued(token)).ok_or(NotExchanged::UnknownIssuer)?;
        self.prove_by_run(issuer, token, None, now).await
    }

    async fn prove_by_run(
        &self,
        issuer: &Issuer,
        token: &str,
        meant: Option<&IdentityName>,
        now: Timestamp,
    ) -> Result<(Proven, Option<MayAct>), NotExchanged> {
        if self.store().state().is_provider_revoked(issuer.name()).await? {
            return Err(NotExchanged::Revoked(issuer.name().clone()));
        }
        let assertion = issuer.verify(token, now).await?;
        let rule = self.rule_for(issuer, &assertion, meant).await?;
        let identity = self.store().state().identity(&rule.identity).await?.filter(|identity| identity.is_active(now));
        let identity = identity.ok_or_else(|| NotExchanged::Inactive(rule.identity.clone()))?;
        let may_act = assertion.may_act();
        Ok((Proven { identity, run: Some(assertion.run), trust: Some(rule.id), key: None, ends_at: None }, may_act))
    }

    /// A token as a JWT, signed with the gateway's own key.
    fn readable(&self, row: &TokenRow) -> Result<(Secret, TokenDigest), NotExchanged> {
        let (Some(signer), Some(url)) = (self.signer(), self.url()) else { return Err(NotExchanged::Unnamed) };
        let mut claims = json!({
            "iss": url.as_str(), "sub": row.subject, "client_id": row.actors.last().unwrap_or(&row.subject), "aud": self.audience(&row.connections),
            "iat": row.created_at.as_second(), "exp": row.expires_at.as_second(), "jti": row.id,
        });
        if let Some(members) = claims.as_object_mut() {
            let more = [
                ("act", introspect::act(row.acting())),
                ("may_act", introspect::may_act(row)),
                ("authorization_details", introspect::authorization_details(row)),
                ("cnf", introspect::confirmation(row)),
            ];
            members.extend(more.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))));
        }
        let secret = signer.sign(&claims).map_err(|error| GovernError::Invalid(error.to_string()))?;
        if secret.reveal().len() > MAX_ACCESS_BYTES {
            let long = format!("the token would have more than {MAX_ACCESS_BYTES} bytes: ask for one that is no JWT, or for less");
            return Err(GovernError::Invalid(long).into());
        }
        let digest = token::sha256(secret.reveal());
        Ok((secret, digest))
    }

    /// What whoever acts may open, and whoever they act for gave them.
    fn check_opens(
        &self,
        connections: &[ConnectionName],
        chain: &ActorChain,
        delegation: Option<&TokenRow>,
        now: Timestamp,
    ) -> Result<(), NotExchanged> {
        let mut open = self.open_connections(chain, now);
        open.retain(|name| delegation.is_none_or(|row| row.connections.contains(name)));
        match connections.iter().find(|name| !open.contains(name)) {
            Some(name) => Err(NotExchanged::Target(unknown_connection(name, &chain.subject.name, &open))),
            None => Ok(()),
        }
    }

    /// The one rule a token fits, of the workload that is meant.
    async fn rule_for(&self, issuer: &Issuer, assertion: &Assertion, meant: Option<&IdentityName>) -> Result<TrustRule, NotExchanged> {
        let mut rules = self.store().state().trust_in(issuer.name()).await?;
        // A rule is for the issuer that had the name when it was made.
        rules.retain(|rule| rule.anchor == issuer.anchor() && meant.is_none_or(|meant| rule.identity == *meant) && assertion.has(&rule.claims));
        let workloads: HashSet<&IdentityName> = rules.iter().map(|rule| &rule.identity).collect();
        if workloads.len() > 1 {
            let mut names: Vec<IdentityName> = workloads.into_iter().cloned().collect();
            names.sort();
            return Err(NotExchanged::Several(names));
        }
        rules.into_iter().next().ok_or_else(|| NotExchanged::Nobody(issuer.name().clone()))
    }

    /// Says that tokens of an issuer with these claims are a workload's. Administrators may.
    ///
    /// # Errors
    /// `by` may not, there is no such issuer or workload, or the claims could be somebody else's tomorrow.
    pub async fn add_trust(
        &self,
        identity: &IdentityName,
        issuer: &ProviderName,
        claims: BTreeMap<String, String>,
        by: &Actor,
        now: Timestamp,
    ) -> Result<TrustRule, GovernError> {
        self.must_administer(by, now)?;
        let known = self.issuers().known.get(issuer).ok_or_else(|| {
            let names = self.issuers().known.keys().map(ProviderName::as_str).collect::<Vec<_>>().join(", ");
            let names = if names.is_empty() { "none".to_owned() } else { names };
            GovernError::NotFound(format!("there is no issuer {issuer} in countersign.toml; there are: {names}"))
        })?;
        known.check_rule(&claims).map_err(|error| GovernError::Invalid(error.to_string()))?;
        let rule = TrustRule {
            id: ids::trust(),
            identity: identity.clone(),
            issuer: issuer.clone(),
            anchor: known.anchor(),
            claims,
            created_by: by.name.clone(),
            created_at: now,
            last_used: None,
            revoked_at: None,
            revoked_by: None,
        };
        match self.store().state().add_trust(&rule).await {
            Ok(()) => {}
            Err(TrustError::Store(error)) => return Err(error.into()),
            Err(error) => return Err(GovernError::Invalid(error.to_string())),
        }
        let detail = json!({ "rule": rule.id, "issuer": issuer, "claims": rule.claims });
        events::append(self.store(), events::identity_changed("identity.trusted", identity, detail, by, now)).await?;
        Ok(rule)
    }

    /// Revokes a rule, the tokens that were given out by it and what they opened. Administrators may, whoever may `revoke`, and the workload's owner. Returns how many sessions
    /// ended.
    ///
    /// # Errors
    /// `by` may not, or there is no such rule.
    pub async fn revoke_trust(&self, identity: &IdentityName, id: TrustId, by: &Actor, now: Timestamp) -> Result<usize, GovernError> {
        let found = self.identity_for(identity, by, now).await?;
        if found.owner.as_ref() != Some(&by.name) {
            self.must_revoke(by, now)?;
        }
        let tokens = self.store().state().revoke_trust(identity, id, &by.name, now).await?;
        let tokens = tokens.ok_or_else(|| GovernError::NotFound(format!("{identity} has no rule {id} in force")))?;
        let ended = tokens.iter().map(|token| self.live().end_by_token(*token, &EndReason::TokenRevoked(*token))).sum();
        let detail = json!({ "rule": id, "tokens_revoked": tokens.len(), "sessions_ended": ended });
        events::note(self.store(), events::identity_changed("identity.distrusted", identity, detail, by, now)).await;
        Ok(ended)
    }

    /// The rules of a workload that `viewer` may see.
    ///
    /// # Errors
    /// There is no such identity, or none they may see.
    pub async fn trust_of(&self, name: &IdentityName, viewer: &Actor, now: Timestamp) -> Result<Vec<TrustRule>, GovernError> {
        self.identity_for(name, viewer, now).await?;
        Ok(self.store().state().trust_of(name).await?)
    }
}

//! The register of identities.

use std::sync::Arc;

use axum::extract::State;
use identity::register::{Machine, MachineKind, NewIdentity};
use model::{Identity, IdentityKind, IdentityName, Timestamp};
use session::reach::{IdentityFacts, Reach};
use store::{
    index::Use,
    state::{AccountRow, IdentityKey},
};

use super::after;
use crate::{
    Api,
    caller::Caller,
    json::{Answer, Answered, Body, Path},
    refused::Refused,
    types::{
        EndedAnswer, ExpiryRequest, GroupsRequest, IdentitiesAnswer, IdentityDetails, IdentityRequest, IdentityView, OwnerRequest, PasswordRequest,
        ReachView, ReachedActionView, Refusal, UseView,
    },
};

/// Identities the caller may see: itself and what it owns; administrators and auditors see all.
#[utoipa::path(get, path = "/v1/identities", responses((status = 200, description = "Identities", body = IdentitiesAnswer), (status = 401, description = "Nobody is signed in", body = Refusal)))]
pub(crate) async fn list(caller: Caller, State(api): State<Arc<Api>>) -> Answered<IdentitiesAnswer> {
    let identities = api.guard.identities(&caller.actor, caller.now).await?;
    Ok(Answer(IdentitiesAnswer { identities: identities.into_iter().map(Into::into).collect() }))
}

/// Enter an identity.
#[utoipa::path(post, path = "/v1/identities", request_body = IdentityRequest,
    responses((status = 200, description = "Entered", body = IdentityView), (status = 403, description = "Not permitted", body = Refusal)))]
pub(crate) async fn add(caller: Caller, State(api): State<Arc<Api>>, Body(mut request): Body<IdentityRequest>) -> Answered<IdentityView> {
    caller.must(&api, model::SystemAction::Administer)?;
    let password = request.password.take().map(|password| password.0);
    let new = entry(request, &caller.actor.name, caller.now)?;
    let identity = api.guard.add_identity(&new, password, &caller.actor, caller.now).await?;
    Ok(Answer(identity.into()))
}

fn entry(request: IdentityRequest, by: &IdentityName, now: Timestamp) -> Result<NewIdentity, Refused> {
    let wrong = |error: identity::RegisterError| Refused::invalid(error.to_string());
    let kind = match request.kind {
        IdentityKind::User if request.owner.is_some() || request.purpose.is_some() || request.expires_in_s.is_some() => {
            return Err(Refused::invalid("owner, purpose and expiry are for workloads and agents; a user answers for themselves"));
        }
        IdentityKind::User => return NewIdentity::user(request.name, request.groups).map_err(wrong),
        IdentityKind::Workload => MachineKind::Workload,
        IdentityKind::Agent => MachineKind::Agent,
    };
    let purpose = request.purpose.ok_or_else(|| Refused::invalid("say what it is for: --purpose"))?.parse().map_err(wrong)?;
    let seconds = request.expires_in_s.ok_or_else(|| Refused::invalid("say when it stops working: --expires-in, such as 90d"))?;
    let owner = request.owner.unwrap_or_else(|| by.clone());
    let machine = Machine::new(kind, request.name, owner, purpose, after(now, seconds)?, now).map_err(wrong)?;
    Ok(NewIdentity::machine(machine, request.groups))
}

/// All that is known of one identity: who made it, what it can reach, what it used.
#[utoipa::path(get, path = "/v1/identities/{name}", params(("name" = String, Path, description = "The identity")),
    responses((status = 200, description = "The identity", body = IdentityDetails), (status = 404, description = "No such identity", body = Refusal)))]
pub(crate) async fn show(caller: Caller, State(api): State<Arc<Api>>, Path(name): Path<IdentityName>) -> Answered<IdentityDetails> {
    api.catch_up().await?;
    let facts = api.guard.identity_facts(&name, &caller.actor, caller.now).await?;
    let accounts = api.guard.accounts(&name, &caller.actor, caller.now).await?;
    let keys = api.guard.keys_of(&name, &caller.actor, caller.now).await?;
    Ok(Answer(details(facts, accounts, keys)))
}

fn details(facts: IdentityFacts, accounts: Vec<AccountRow>, keys: Vec<IdentityKey>) -> IdentityDetails {
    IdentityDetails {
        identity: facts.identity.into(),
        accounts: accounts.into_iter().map(Into::into).collect(),
        trust: facts.trust.into_iter().map(Into::into).collect(),
        keys: keys.into_iter().map(Into::into).collect(),
        tokens: facts.tokens.into_iter().map(Into::into).collect(),
        reach: facts.reach.into_iter().map(reached).collect(),
        used: facts.used.into_iter().map(used).collect(),
        owns: facts.owns,
        entered: facts.entered.map(Into::into),
        through: facts.through.into_iter().map(Into::into).collect(),
    }
}

fn reached(reach: Reach) -> ReachView {
    let actions = reach.actions.into_iter().map(|reached| ReachedActionView {
        action: reached.action,
        held: reached.held,
        only: reached.only,
        policies: reached.policies,
    });
    ReachView { connection: reach.connection, environment: reach.environment, actions: actions.collect() }
}

pub(super) fn used(one: Use) -> UseView {
    UseView { connection: one.connection, database: one.database, action: one.action, object: one.object, count: one.count, last: one.last_at }
}

/// Give a workload or agent another owner.
#[utoipa::path(put, path = "/v1/identities/{name}/owner", request_body = OwnerRequest, params(("name" = String, Path, description = "The workload or agent")),
    responses((status = 200, description = "As it is now", body = IdentityView), (status = 403, description = "Not permitted", body = Refusal)))]
pub(crate) async fn own(
    caller: Caller,
    State(api): State<Arc<Api>>,
    Path(name): Path<IdentityName>,
    Body(request): Body<OwnerRequest>,
) -> Answered<IdentityView> {
    api.guard.set_owner(&name, &request.owner, &caller.actor, caller.now).await?;
    as_it_is(&api, &name).await
}

/// Say until when a workload or agent works from now on.
#[utoipa::path(put, path = "/v1/identities/{name}/expiry", request_body = ExpiryRequest, params(("name" = String, Path, description = "The workload or agent")),
    responses((status = 200, description = "As it is now", body = IdentityView), (status = 403, description = "Not permitted", body = Refusal)))]
pub(crate) async fn renew(
    caller: Caller,
    State(api): State<Arc<Api>>,
    Path(name): Path<IdentityName>,
    Body(request): Body<ExpiryRequest>,
) -> Answered<IdentityView> {
    let expires_at = after(caller.now, request.expires_in_s)?;
    api.guard.set_expiry(&name, expires_at, &caller.actor, caller.now).await?;
    as_it_is(&api, &name).await
}

/// Set the groups of an identity.
#[utoipa::path(put, path = "/v1/identities/{name}/groups", request_body = GroupsRequest, params(("name" = String, Path, description = "The identity")),
    responses((status = 200, description = "As it is now", body = IdentityView), (status = 403, description = "Not permitted", body = Refusal)))]
pub(crate) async fn groups(
    caller: Caller,
    State(api): State<Arc<Api>>,
    Path(name): Path<IdentityName>,
    Body(request): Body<GroupsRequest>,
) -> Answered<IdentityView> {
    api.guard.set_groups(&name, request.groups, &caller.actor, caller.now).await?;
    as_it_is(&api, &name).await
}

async fn as_it_is(api: &Api, name: &IdentityName) -> Answered<IdentityView> {
    let identity: Option<Identity> = api.guard.store().state().identity(name).await?;
    identity.map(|identity| Answer(identity.into())).ok_or_else(|| Refused::not_found(format!("no identity {name}")))
}

/// Set a user's password: administrators, and users their own.
#[utoipa::path(put, path = "/v1/identities/{name}/password", request_body = PasswordRequest, params(("name" = String, Path, description = "The user")),
    responses((status = 200, description = "Set"), (status = 403, description = "Not permitted", body = Refusal), (status = 404, description = "No such identity", body = Refusal)))]
pub(crate) async fn password(
    caller: Caller,
    State(api): State<Arc<Api>>,
    Path(name): Path<IdentityName>,
    Body(request): Body<PasswordRequest>,
) -> Answered<()> {
    let current = request.current.map(|current| current.0);
    api.guard.set_password(&name, current.as_ref(), request.password.0, &caller.actor, caller.now).await?;
    Ok(Answer(()))
}

/// Revoke an identity for good; its live sessions end.
#[utoipa::path(post, path = "/v1/identities/{name}/revoke", params(("name" = String, Path, description = "The identity")),
    responses((status = 200, description = "Revoked", body = EndedAnswer), (status = 403, description = "Not permitted", body = Refusal), (status = 404, description = "No such identity", body = Refusal)))]
pub(crate) async fn revoke(caller: Caller, State(api): State<Arc<Api>>, Path(name): Path<IdentityName>) -> Answered<EndedAnswer> {
    let ended = api.guard.revoke_identity(&name, &caller.actor, caller.now).await?;
    Ok(Answer(EndedAnswer { sessions: ended as u64 }))
}

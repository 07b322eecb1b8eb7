//! Workloads without secrets: which tokens of platforms are whose, and the keys of those that have no platform.

use std::sync::Arc;

use axum::extract::State;
use model::{IdentityKeyId, IdentityName, TrustId};

use super::after;
use crate::{
    Api,
    caller::Caller,
    json::{Answer, Answered, Body, Path},
    types::{EndedAnswer, KeyRequest, KeyView, KeysAnswer, Refusal, TrustRequest, TrustView},
};

/// Say that tokens of an issuer are a workload's.
#[utoipa::path(post, path = "/v1/identities/{name}/trust", request_body = TrustRequest, params(("name" = String, Path, description = "The workload")),
    responses((status = 200, description = "Said", body = TrustView), (status = 403, description = "Not permitted", body = Refusal)))]
pub(crate) async fn trust(
    caller: Caller,
    State(api): State<Arc<Api>>,
    Path(name): Path<IdentityName>,
    Body(request): Body<TrustRequest>,
) -> Answered<TrustView> {
    let rule = api.guard.add_trust(&name, &request.issuer, request.claims, &caller.actor, caller.now).await?;
    Ok(Answer(rule.into()))
}

/// Revoke such a rule; what was given out by it ends.
#[utoipa::path(delete, path = "/v1/identities/{name}/trust/{id}",
    params(("name" = String, Path, description = "The workload"), ("id" = String, Path, description = "The rule, r_…")),
    responses((status = 200, description = "Revoked", body = EndedAnswer), (status = 403, description = "Not permitted", body = Refusal), (status = 404, description = "No such rule", body = Refusal)))]
pub(crate) async fn distrust(caller: Caller, State(api): State<Arc<Api>>, Path((name, id)): Path<(IdentityName, TrustId)>) -> Answered<EndedAnswer> {
    let ended = api.guard.revoke_trust(&name, id, &caller.actor, caller.now).await?;
    Ok(Answer(EndedAnswer { sessions: ended as u64 }))
}

/// The keys of a workload or agent.
#[utoipa::path(get, path = "/v1/identities/{name}/keys", params(("name" = String, Path, description = "The workload or agent")),
    responses((status = 200, description = "Its keys, those that are over too", body = KeysAnswer), (status = 404, description = "No such identity", body = Refusal)))]
pub(crate) async fn keys(caller: Caller, State(api): State<Arc<Api>>, Path(name): Path<IdentityName>) -> Answered<KeysAnswer> {
    let keys = api.guard.keys_of(&name, &caller.actor, caller.now).await?;
    Ok(Answer(KeysAnswer { keys: keys.into_iter().map(Into::into).collect() }))
}

/// Give a workload or agent that has no platform a public key.
#[utoipa::path(post, path = "/v1/identities/{name}/keys", request_body = KeyRequest, params(("name" = String, Path, description = "The workload or agent")),
    responses((status = 200, description = "Given", body = KeyView), (status = 400, description = "No key of use, or one too many", body = Refusal), (status = 403, description = "Not permitted", body = Refusal)))]
pub(crate) async fn add_key(
    caller: Caller,
    State(api): State<Arc<Api>>,
    Path(name): Path<IdentityName>,
    Body(request): Body<KeyRequest>,
) -> Answered<KeyView> {
    let expires_at = after(caller.now, request.expires_in_s)?;
    let key = api.guard.add_key(&name, &request.public_key, expires_at, &caller.actor, caller.now).await?;
    Ok(Answer(key.into()))
}

/// Revoke such a key; what was asked for with it ends.
#[utoipa::path(delete, path = "/v1/identities/{name}/keys/{id}",
    params(("name" = String, Path, description = "The workload or agent"), ("id" = String, Path, description = "The key, k_…")),
    responses((status = 200, description = "Revoked", body = EndedAnswer), (status = 403, description = "Not permitted", body = Refusal), (status = 404, description = "No such key", body = Refusal)))]
pub(crate) async fn revoke_key(
    caller: Caller,
    State(api): State<Arc<Api>>,
    Path((name, id)): Path<(IdentityName, IdentityKeyId)>,
) -> Answered<EndedAnswer> {
    let ended = api.guard.revoke_key(&name, id, &caller.actor, caller.now).await?;
    Ok(Answer(EndedAnswer { sessions: ended as u64 }))
}

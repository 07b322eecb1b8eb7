//! Policy versions.

use std::sync::Arc;

use axum::extract::State;
use model::SystemAction;
use session::guard::LockOut;

use crate::{
    Api,
    caller::Caller,
    json::{Answer, Answered, Body},
    refused::Refused,
    types::{AppliedView, ApplyRequest, Refusal, VersionFiles, VersionView, VersionsAnswer},
};

/// How many applications a listing gives.
const LISTED: u32 = 500;

/// Make policy files the version in force.
#[utoipa::path(post, path = "/v1/versions", request_body = ApplyRequest,
    responses((status = 200, description = "In force", body = VersionView), (status = 400, description = "The files are not valid; the version before stays", body = Refusal),
        (status = 403, description = "Not permitted", body = Refusal)))]
pub(crate) async fn apply(caller: Caller, State(api): State<Arc<Api>>, Body(request): Body<ApplyRequest>) -> Answered<VersionView> {
    caller.must(&api, SystemAction::Administer)?;
    let lock_out = if request.lock_everybody_out { LockOut::OnPurpose } else { LockOut::Refused };
    api.guard.apply(&request.files, &caller.actor, lock_out, caller.now).await?;
    Ok(Answer(in_force(&api).await?))
}

/// Every application of a version, newest first.
#[utoipa::path(get, path = "/v1/versions", responses((status = 200, description = "Versions", body = VersionsAnswer), (status = 403, description = "Not permitted", body = Refusal)))]
pub(crate) async fn list(caller: Caller, State(api): State<Arc<Api>>) -> Answered<VersionsAnswer> {
    caller.must_any(&api, &[SystemAction::Administer, SystemAction::Audit])?;
    let applied = api.guard.store().state().applications(LISTED).await?;
    let versions = applied.into_iter().map(|one| AppliedView { number: one.number, hash: one.hash, by: one.by, at: one.at });
    Ok(Answer(VersionsAnswer { versions: versions.collect() }))
}

/// The version in force, with its files.
#[utoipa::path(get, path = "/v1/versions/current", responses((status = 200, description = "The version", body = VersionFiles), (status = 403, description = "Not permitted", body = Refusal)))]
pub(crate) async fn current(caller: Caller, State(api): State<Arc<Api>>) -> Answered<VersionFiles> {
    caller.must_any(&api, &[SystemAction::Administer, SystemAction::Audit])?;
    let stored = api.guard.store().state().current_version().await?;
    let files = stored.map(|stored| stored.files).unwrap_or_default();
    Ok(Answer(VersionFiles { version: in_force(&api).await?, files }))
}

/// The version in force as everybody may know it.
pub(crate) async fn in_force(api: &Api) -> Result<VersionView, Refused> {
    let version = api.guard.version();
    let applied = api.guard.store().state().applications(1).await?.into_iter().next().filter(|applied| applied.hash == version.hash);
    Ok(VersionView {
        hash: version.hash,
        applied_by: applied.as_ref().map(|applied| applied.by.clone()),
        applied_at: applied.map(|applied| applied.at),
        connections: version.connections.len() as u64,
    })
}

//! How the gateway stands, and rebuilding the index.

use std::sync::Arc;

use axum::extract::State;
use model::SystemAction;
use session::approve::HoldsWanted;

use super::{sessions, versions};
use crate::{
    Api,
    caller::Caller,
    json::{Answer, Answered},
    metrics,
    refused::Refused,
    types::{Refusal, ReindexAnswer, StatusAnswer},
};

/// How the gateway stands. Counts hold what the caller may see.
#[utoipa::path(get, path = "/v1/status", responses((status = 200, description = "Status", body = StatusAnswer), (status = 401, description = "Nobody is signed in", body = Refusal)))]
pub(crate) async fn status(caller: Caller, State(api): State<Arc<Api>>) -> Answered<StatusAnswer> {
    let live = sessions::visible_live(&api, &caller).await?.len();
    let holds = api.guard.approvals().list(&caller.actor, HoldsWanted::Waiting, caller.now).await?.len();
    let ending = api.guard.ending(&caller.actor, caller.now).await?;
    let ending_keys = api.guard.keys_ending(&caller.actor, caller.now).await?;
    Ok(Answer(StatusAnswer {
        program: env!("CARGO_PKG_VERSION").to_owned(),
        since: api.since,
        version: versions::in_force(&api).await?,
        live_sessions: live as u64,
        waiting_holds: holds as u64,
        gateway: api.gateway.clone(),
        troubles: metrics::troubles(&api.guard),
        ending: ending.into_iter().map(Into::into).collect(),
        ending_keys: ending_keys.into_iter().map(Into::into).collect(),
        left_roles: left_roles(&api, &caller).await?,
    }))
}

async fn left_roles(api: &Api, caller: &Caller) -> Result<Vec<String>, Refused> {
    if !api.guard.may(&caller.actor, SystemAction::Administer, caller.now) {
        return Ok(Vec::new());
    }
    let roles = api.guard.store().state().target_roles().await?;
    Ok(roles.iter().filter_map(|role| Some(format!("{} at {} ({}): {}", role.name, role.connection, role.session, role.failure.as_ref()?))).collect())
}

/// Forget the search index and read every recording again.
#[utoipa::path(post, path = "/v1/reindex", responses((status = 200, description = "Done", body = ReindexAnswer), (status = 403, description = "Not permitted", body = Refusal)))]
pub(crate) async fn reindex(caller: Caller, State(api): State<Arc<Api>>) -> Answered<ReindexAnswer> {
    caller.must(&api, SystemAction::Administer)?;
    let caught = api.indexer.lock().await.reindex().await?;
    let faults = caught.faults.iter().map(ToString::to_string).collect();
    Ok(Answer(ReindexAnswer { recordings: caught.recordings, records: caught.records, faults }))
}

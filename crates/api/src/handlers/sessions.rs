//! Sessions, live and ended.

use std::{collections::HashMap, sync::Arc};

use axum::extract::State;
use model::{ConnectionName, IdentityName, SessionId, SystemAction, session::SessionRow};
use serde::Deserialize;
use store::state::SessionFilter;

use super::before;
use crate::{
    Api,
    caller::Caller,
    json::{Answer, Answered, Body, Path, Query},
    refused::Refused,
    types::{EndedAnswer, KillRequest, Refusal, SessionView, SessionsAnswer},
};

/// Most sessions one listing gives.
const MAX_LISTED: u32 = 1_000;
/// How many it gives if nothing is said.
const LISTED: u32 = 100;

/// Which sessions.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Wanted {
    live: Option<bool>,
    identity: Option<IdentityName>,
    connection: Option<ConnectionName>,
    since_s: Option<u64>,
    limit: Option<u32>,
}

/// Sessions the caller may see, newest first: its own, those of what it owns; auditors see all.
#[utoipa::path(get, path = "/v1/sessions",
    params(("live" = Option<bool>, Query, description = "Only live ones, or only ended ones"), ("identity" = Option<String>, Query, description = "Only with this identity in the chain"),
        ("connection" = Option<String>, Query, description = "Only on this connection"), ("since_s" = Option<u64>, Query, description = "Only begun within so many seconds"),
        ("limit" = Option<u32>, Query, description = "How many at most")),
    responses((status = 200, description = "Sessions", body = SessionsAnswer), (status = 401, description = "Nobody is signed in", body = Refusal)))]
pub(crate) async fn list(caller: Caller, State(api): State<Arc<Api>>, Query(wanted): Query<Wanted>) -> Answered<SessionsAnswer> {
    let filter = SessionFilter {
        identity: wanted.identity,
        connection: wanted.connection,
        live: wanted.live,
        since: wanted.since_s.map(|seconds| before(caller.now, seconds)).transpose()?,
        limit: wanted.limit.unwrap_or(LISTED).min(MAX_LISTED),
    };
    let rows = visible(&api, &caller, filter).await?;
    Ok(Answer(SessionsAnswer { sessions: rows.into_iter().map(Into::into).collect() }))
}

/// One session.
#[utoipa::path(get, path = "/v1/sessions/{id}", params(("id" = String, Path, description = "The session, s_…")),
    responses((status = 200, description = "The session", body = SessionView), (status = 404, description = "No such session", body = Refusal)))]
pub(crate) async fn show(caller: Caller, State(api): State<Arc<Api>>, Path(id): Path<SessionId>) -> Answered<SessionView> {
    Ok(Answer(one(&api, &caller, id).await?.into()))
}

/// End a live session and what it is running.
#[utoipa::path(post, path = "/v1/sessions/{id}/kill", request_body = KillRequest, params(("id" = String, Path, description = "The session, s_…")),
    responses((status = 200, description = "Ended", body = EndedAnswer), (status = 404, description = "No such live session", body = Refusal)))]
pub(crate) async fn kill(
    caller: Caller,
    State(api): State<Arc<Api>>,
    Path(id): Path<SessionId>,
    Body(request): Body<KillRequest>,
) -> Answered<EndedAnswer> {
    api.guard.kill(id, &caller.actor, request.reason, caller.now).await?;
    Ok(Answer(EndedAnswer { sessions: 1 }))
}

/// A session the caller may see; one it may not see is as unknown as one that never was.
pub(crate) async fn one(api: &Api, caller: &Caller, id: SessionId) -> Result<SessionRow, Refused> {
    let unknown = || Refused::not_found(format!("no session {id} that you may see")).hint("`countersign sessions` lists them.");
    let row = api.guard.store().state().session(id).await?.ok_or_else(unknown)?;
    let owners = owners(api).await?;
    let owner = owners.get(&row.subject).and_then(Option::as_ref);
    if api.guard.may_see_session(&row, owner, &caller.actor, caller.now) { Ok(row) } else { Err(unknown()) }
}

/// The live sessions the caller may see.
pub(crate) async fn visible_live(api: &Api, caller: &Caller) -> Result<Vec<SessionRow>, Refused> {
    visible(api, caller, SessionFilter { live: Some(true), limit: u32::MAX >> 1, ..SessionFilter::default() }).await
}

/// The sessions of a filter that the caller may see. Those of others are left out before they are counted.
pub(crate) async fn visible(api: &Api, caller: &Caller, filter: SessionFilter) -> Result<Vec<SessionRow>, Refused> {
    let state = api.guard.store().state();
    if api.guard.may(&caller.actor, SystemAction::Audit, caller.now) {
        return Ok(state.sessions(&filter).await?);
    }
    let owners = owners(api).await?;
    let theirs = |name: &IdentityName| *name == caller.actor.name || owners.get(name).is_some_and(|owner| owner.as_ref() == Some(&caller.actor.name));
    let mut rows = Vec::new();
    for name in owners.keys().filter(|name| theirs(name)) {
        rows.append(&mut state.sessions(&SessionFilter { identity: Some(name.clone()), ..filter.clone() }).await?);
    }
    rows.retain(|row| {
        let asked_for = filter.identity.as_ref().is_none_or(|wanted| row.members().any(|member| member == wanted.as_str()));
        asked_for && api.guard.may_see_session(row, owners.get(&row.subject).and_then(Option::as_ref), &caller.actor, caller.now)
    });
    rows.sort_by_key(|row| std::cmp::Reverse((row.started_at, row.id)));
    rows.dedup_by_key(|row| row.id);
    rows.truncate(usize::try_from(filter.limit).unwrap_or(usize::MAX));
    Ok(rows)
}

/// The owner of every identity.
async fn owners(api: &Api) -> Result<HashMap<IdentityName, Option<IdentityName>>, Refused> {
    let identities = api.guard.store().state().identities().await?;
    Ok(identities.into_iter().map(|identity| (identity.name, identity.owner)).collect())
}

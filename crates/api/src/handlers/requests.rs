//! Requests for access.

use std::sync::Arc;

use axum::extract::State;
use model::{RequestId, hold::HoldState, request::RequestRow};
use serde::Deserialize;
use session::requests::NewRequest;

use crate::{
    Api,
    caller::Caller,
    json::{Answer, Answered, Body, Path, Query},
    types::{AccessRequest, ApproveRequest, CommentRequest, DenyRequest, Refusal, RequestEndedAnswer, RequestView, RequestsAnswer, RolesAnswer},
};

/// How many requests a listing of all gives.
const LISTED: u32 = 500;

/// Which requests.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Wanted {
    #[serde(default)]
    all: bool,
}

/// The roles the caller could ask for.
#[utoipa::path(get, path = "/v1/roles", responses((status = 200, description = "Roles", body = RolesAnswer), (status = 401, description = "Nobody is signed in", body = Refusal)))]
pub(crate) async fn roles(caller: Caller, State(api): State<Arc<Api>>) -> Answered<RolesAnswer> {
    let roles = api.guard.requestable(&caller.chain, caller.now);
    Ok(Answer(RolesAnswer { roles: roles.into_iter().map(Into::into).collect() }))
}

/// Ask for a role of a connection for a while.
#[utoipa::path(post, path = "/v1/requests", request_body = AccessRequest,
    responses((status = 200, description = "Granted, or waiting for signatures", body = RequestView), (status = 403, description = "Policy does not permit it", body = Refusal), (status = 404, description = "No such connection or role", body = Refusal)))]
pub(crate) async fn ask(caller: Caller, State(api): State<Arc<Api>>, Body(request): Body<AccessRequest>) -> Answered<RequestView> {
    let AccessRequest { connection, role, window_s, reason, statement } = request;
    let wanted = NewRequest { connection, role, window_s, reason, statement };
    let row = api.guard.request_access(wanted, &caller.chain, caller.now).await?;
    Ok(Answer(view(&api, &caller, row)))
}

/// Requests the caller may see: its own, and those it may sign or audit.
#[utoipa::path(get, path = "/v1/requests", params(("all" = Option<bool>, Query, description = "Also those that no longer wait")),
    responses((status = 200, description = "Requests", body = RequestsAnswer), (status = 401, description = "Nobody is signed in", body = Refusal)))]
pub(crate) async fn list(caller: Caller, State(api): State<Arc<Api>>, Query(wanted): Query<Wanted>) -> Answered<RequestsAnswer> {
    let rows = api.guard.requests(&caller.actor, wanted.all.then_some(LISTED), caller.now).await?;
    Ok(Answer(RequestsAnswer { requests: rows.into_iter().map(|row| view(&api, &caller, row)).collect() }))
}

/// One request with everything a signer must know.
#[utoipa::path(get, path = "/v1/requests/{id}", params(("id" = String, Path, description = "The request, q_…")),
    responses((status = 200, description = "The request", body = RequestView), (status = 404, description = "No such request", body = Refusal)))]
pub(crate) async fn show(caller: Caller, State(api): State<Arc<Api>>, Path(id): Path<RequestId>) -> Answered<RequestView> {
    let row = api.guard.access_request(id, &caller.actor, caller.now).await?;
    Ok(Answer(view(&api, &caller, row)))
}

/// Sign what was shown, named by its digest.
#[utoipa::path(post, path = "/v1/requests/{id}/approve", request_body = ApproveRequest, params(("id" = String, Path, description = "The request, q_…")),
    responses((status = 200, description = "Signed", body = RequestView), (status = 403, description = "Not yours to sign", body = Refusal), (status = 404, description = "No such request", body = Refusal)))]
pub(crate) async fn approve(
    caller: Caller,
    State(api): State<Arc<Api>>,
    Path(id): Path<RequestId>,
    Body(request): Body<ApproveRequest>,
) -> Answered<RequestView> {
    let row = api.guard.sign_request(id, &caller.actor, &request.digest, caller.now).await?;
    Ok(Answer(view(&api, &caller, row)))
}

/// Refuse a request.
#[utoipa::path(post, path = "/v1/requests/{id}/deny", request_body = DenyRequest, params(("id" = String, Path, description = "The request, q_…")),
    responses((status = 200, description = "Refused", body = RequestView), (status = 403, description = "Not yours to refuse", body = Refusal), (status = 404, description = "No such request", body = Refusal)))]
pub(crate) async fn deny(
    caller: Caller,
    State(api): State<Arc<Api>>,
    Path(id): Path<RequestId>,
    Body(request): Body<DenyRequest>,
) -> Answered<RequestView> {
    let row = api.guard.deny_request(id, &caller.actor, request.reason, caller.now).await?;
    Ok(Answer(view(&api, &caller, row)))
}

/// Say something about a request, for all who may see it.
#[utoipa::path(post, path = "/v1/requests/{id}/comment", request_body = CommentRequest, params(("id" = String, Path, description = "The request, q_…")),
    responses((status = 200, description = "Said", body = RequestView), (status = 404, description = "No such request", body = Refusal)))]
pub(crate) async fn comment(
    caller: Caller,
    State(api): State<Arc<Api>>,
    Path(id): Path<RequestId>,
    Body(request): Body<CommentRequest>,
) -> Answered<RequestView> {
    let row = api.guard.comment_on_request(id, &caller.actor, request.text, caller.now).await?;
    Ok(Answer(view(&api, &caller, row)))
}

/// Take a request back, give back what was granted, or take it from whoever has it.
#[utoipa::path(post, path = "/v1/requests/{id}/end", request_body = DenyRequest, params(("id" = String, Path, description = "The request, q_…")),
    responses((status = 200, description = "Ended", body = RequestEndedAnswer), (status = 403, description = "Not yours to end", body = Refusal), (status = 404, description = "No such request", body = Refusal)))]
pub(crate) async fn end(
    caller: Caller,
    State(api): State<Arc<Api>>,
    Path(id): Path<RequestId>,
    Body(request): Body<DenyRequest>,
) -> Answered<RequestEndedAnswer> {
    let (row, ended) = api.guard.end_request(id, &caller.actor, request.reason, caller.now).await?;
    Ok(Answer(RequestEndedAnswer { request: view(&api, &caller, row), sessions: u64::try_from(ended).unwrap_or(u64::MAX) }))
}

fn view(api: &Api, caller: &Caller, row: RequestRow) -> RequestView {
    let not_yours = if row.state == HoldState::Waiting { api.guard.why_not_sign(&row, &caller.actor, caller.now) } else { None };
    RequestView::new(row, not_yours, caller.now)
}

//! Held operations.

use std::sync::Arc;

use axum::extract::State;
use model::{
    HoldId, SystemAction,
    hold::{HoldRow, HoldState},
};
use policy::decide;
use serde::Deserialize;
use session::approve::HoldsWanted;

use crate::{
    Api,
    caller::Caller,
    json::{Answer, Answered, Body, Path, Query},
    refused::Refused,
    types::{ApproveRequest, DenyRequest, HoldView, HoldsAnswer, Refusal},
};

/// How many holds a listing of all gives.
const LISTED: u32 = 500;

/// Which holds.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Wanted {
    #[serde(default)]
    all: bool,
}

/// Held operations the caller may see: its own, and those it may sign or audit.
#[utoipa::path(get, path = "/v1/holds", params(("all" = Option<bool>, Query, description = "Also those that no longer wait")),
    responses((status = 200, description = "Holds", body = HoldsAnswer), (status = 401, description = "Nobody is signed in", body = Refusal)))]
pub(crate) async fn list(caller: Caller, State(api): State<Arc<Api>>, Query(wanted): Query<Wanted>) -> Answered<HoldsAnswer> {
    let which = if wanted.all { HoldsWanted::All(LISTED) } else { HoldsWanted::Waiting };
    let rows = api.guard.approvals().list(&caller.actor, which, caller.now).await?;
    Ok(Answer(HoldsAnswer { holds: rows.into_iter().map(|row| view(&api, &caller, row)).collect() }))
}

/// One held operation with everything a signer must know.
#[utoipa::path(get, path = "/v1/holds/{id}", params(("id" = String, Path, description = "The held operation, h_…")),
    responses((status = 200, description = "The operation", body = HoldView), (status = 404, description = "No such operation", body = Refusal)))]
pub(crate) async fn show(caller: Caller, State(api): State<Arc<Api>>, Path(id): Path<HoldId>) -> Answered<HoldView> {
    let row = api.guard.approvals().view(id, &caller.actor, caller.now).await?;
    let row = row.ok_or_else(|| Refused::not_found(format!("no held operation {id} that you may see")))?;
    Ok(Answer(view(&api, &caller, row)))
}

/// Sign what was shown, named by its digest.
#[utoipa::path(post, path = "/v1/holds/{id}/approve", request_body = ApproveRequest, params(("id" = String, Path, description = "The held operation, h_…")),
    responses((status = 200, description = "Signed", body = HoldView), (status = 403, description = "Not yours to sign", body = Refusal), (status = 404, description = "No such operation", body = Refusal)))]
pub(crate) async fn approve(
    caller: Caller,
    State(api): State<Arc<Api>>,
    Path(id): Path<HoldId>,
    Body(request): Body<ApproveRequest>,
) -> Answered<HoldView> {
    let row = api.guard.approvals().sign(id, &caller.actor, &request.digest, caller.now).await?;
    Ok(Answer(view(&api, &caller, row)))
}

/// Refuse a held operation.
#[utoipa::path(post, path = "/v1/holds/{id}/deny", request_body = DenyRequest, params(("id" = String, Path, description = "The held operation, h_…")),
    responses((status = 200, description = "Refused", body = HoldView), (status = 403, description = "Not yours to refuse", body = Refusal), (status = 404, description = "No such operation", body = Refusal)))]
pub(crate) async fn deny(
    caller: Caller,
    State(api): State<Arc<Api>>,
    Path(id): Path<HoldId>,
    Body(request): Body<DenyRequest>,
) -> Answered<HoldView> {
    let row = api.guard.approvals().deny(id, &caller.actor, request.reason, caller.now).await?;
    Ok(Answer(view(&api, &caller, row)))
}

fn view(api: &Api, caller: &Caller, row: HoldRow) -> HoldView {
    let not_yours = if row.state == HoldState::Waiting { why_not(api, caller, &row) } else { None };
    HoldView::new(row, not_yours)
}

/// Why the caller's signature would count for nothing, as far as can be told before it is given.
fn why_not(api: &Api, caller: &Caller, row: &HoldRow) -> Option<String> {
    let version = api.guard.version();
    if !api.guard.may(&caller.actor, SystemAction::Approve, caller.now) {
        return Some(format!("policy does not permit {} to approve", caller.actor.name));
    }
    let Some(live) = api.guard.live().get(row.session) else { return Some("its session has ended".to_owned()) };
    let mut why = None;
    for requirement in &row.requirements {
        match decide::eligible(&version, requirement, &live.chain, &caller.actor, caller.now) {
            Ok(()) => return None,
            Err(error) => why = Some(error.to_string()),
        }
    }
    why
}

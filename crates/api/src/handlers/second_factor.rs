//! The second factor of built-in users.

use std::sync::Arc;

use axum::extract::State;
use model::IdentityName;

use crate::{
    Api,
    caller::Caller,
    json::{Answer, Answered, Body, Path},
    types::{Refusal, SecondFactorCode, SecondFactorOffer, SecondFactorRequest, SecretText},
};

/// Offer the caller, a built-in user, a secret for their authenticator app.
#[utoipa::path(post, path = "/v1/identities/{name}/second-factor", request_body = SecondFactorRequest, params(("name" = String, Path, description = "The caller")),
    responses((status = 200, description = "Offered", body = SecondFactorOffer), (status = 403, description = "Not permitted", body = Refusal)))]
pub(crate) async fn offer(
    caller: Caller,
    State(api): State<Arc<Api>>,
    Path(name): Path<IdentityName>,
    Body(request): Body<SecondFactorRequest>,
) -> Answered<SecondFactorOffer> {
    let offer = api.guard.offer_second_factor(&name, &request.current.0, &caller.actor, caller.now).await?;
    Ok(Answer(SecondFactorOffer { secret: SecretText(offer.typed), uri: SecretText(offer.uri) }))
}

/// Ask for a code with the caller's password from now on: they show one first.
#[utoipa::path(put, path = "/v1/identities/{name}/second-factor", request_body = SecondFactorCode, params(("name" = String, Path, description = "The caller")),
    responses((status = 200, description = "Asked for from now on"), (status = 400, description = "The code is not right", body = Refusal), (status = 403, description = "Not permitted", body = Refusal)))]
pub(crate) async fn accept(
    caller: Caller,
    State(api): State<Arc<Api>>,
    Path(name): Path<IdentityName>,
    Body(request): Body<SecondFactorCode>,
) -> Answered<()> {
    api.guard.accept_second_factor(&name, &request.code.0, &caller.actor, caller.now).await?;
    Ok(Answer(()))
}

/// Take a user's second factor away.
#[utoipa::path(delete, path = "/v1/identities/{name}/second-factor", params(("name" = String, Path, description = "The user")),
    responses((status = 200, description = "Taken away"), (status = 403, description = "Not permitted", body = Refusal), (status = 404, description = "None", body = Refusal)))]
pub(crate) async fn remove(caller: Caller, State(api): State<Arc<Api>>, Path(name): Path<IdentityName>) -> Answered<()> {
    api.guard.remove_second_factor(&name, &caller.actor, caller.now).await?;
    Ok(Answer(()))
}

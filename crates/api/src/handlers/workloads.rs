//! Workloads without secrets: exchanging the token of a run, and saying which tokens are whose.

use std::sync::Arc;

use axum::{
    Form,
    extract::{State, rejection::FormRejection},
};
use model::{ConnectionName, IdentityName, Timestamp, TrustId};
use serde::Deserialize;
use session::workloads::Exchange;

use crate::{
    Api,
    caller::Caller,
    json::{Answer, Answered, Body, Path},
    refused::Refused,
    types::{EndedAnswer, ExchangeAnswer, Refusal, SecretText, TrustRequest, TrustView},
};

const EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";
/// What a platform's token may be called: RFC 8693 section 3.
const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";
const ID_TOKEN: &str = "urn:ietf:params:oauth:token-type:id_token";

/// An exchange: RFC 8693 section 2.1.
#[derive(Deserialize, utoipa::ToSchema)]
pub(crate) struct ExchangeForm {
    /// `urn:ietf:params:oauth:grant-type:token-exchange`.
    grant_type: String,
    /// The token of the run.
    subject_token: String,
    /// `urn:ietf:params:oauth:token-type:jwt` or `…:id_token`.
    subject_token_type: String,
    /// The connections to open, with spaces between.
    audience: String,
    /// `urn:ietf:params:oauth:token-type:access_token`, if anything.
    requested_token_type: Option<String>,
    /// Not of the RFC: how long the token is to work, in seconds.
    expires_in: Option<u64>,
    /// Not of the RFC: which workload is meant, where the token could be several's.
    #[schema(value_type = Option<String>)]
    workload: Option<IdentityName>,
}

/// Exchange the token that a platform gave a run for one that opens connections.
#[utoipa::path(post, path = "/v1/token", security(()), request_body(content = ExchangeForm, content_type = "application/x-www-form-urlencoded"),
    responses((status = 200, description = "Exchanged", body = ExchangeAnswer), (status = 400, description = "No exchange", body = Refusal), (status = 401, description = "The token is not believed, or nobody's", body = Refusal)))]
pub(crate) async fn exchange(State(api): State<Arc<Api>>, form: Result<Form<ExchangeForm>, FormRejection>) -> Answered<ExchangeAnswer> {
    let Form(form) = form.map_err(|error| Refused::invalid(format!("this takes the form of RFC 8693: {}", error.body_text())))?;
    if form.grant_type != EXCHANGE {
        return Err(Refused::invalid(format!("the only grant_type here is {EXCHANGE}")));
    }
    if ![JWT, ID_TOKEN].contains(&form.subject_token_type.as_str()) || form.requested_token_type.as_ref().is_some_and(|wanted| wanted != ACCESS_TOKEN)
    {
        return Err(Refused::invalid(format!("subject_token_type is {} or {}, and what is given out an access token", JWT, ID_TOKEN)));
    }
    let connections: Result<Vec<ConnectionName>, _> = form.audience.split_whitespace().map(str::parse).collect();
    let connections = connections.map_err(|error| Refused::invalid(error.to_string()))?;
    let wanted = Exchange { token: &form.subject_token, connections: &connections, workload: form.workload.as_ref(), expires_in_s: form.expires_in };
    let now = Timestamp::now();
    let (secret, row) = api.guard.exchange_token(&wanted, now).await?;
    Ok(Answer(ExchangeAnswer {
        access_token: SecretText(secret),
        issued_token_type: ACCESS_TOKEN.to_owned(),
        token_type: "N_A".to_owned(),
        expires_in: row.expires_at.as_second().saturating_sub(now.as_second()),
        identity: row.subject,
    }))
}

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

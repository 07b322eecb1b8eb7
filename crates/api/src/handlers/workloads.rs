//! Workloads without secrets: exchanging the token of a run, and saying which tokens are whose.

use std::sync::Arc;

use axum::{
    Form,
    extract::{State, rejection::FormRejection},
};
use model::{ConnectionName, IdentityName, Secret, Timestamp, TrustId};
use serde::Deserialize;
use session::workloads::Exchange;

use crate::{
    Api,
    caller::{Caller, Peer},
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
    /// The token of the run; or, for an agent that acts for somebody, what they gave it.
    subject_token: String,
    /// `urn:ietf:params:oauth:token-type:jwt` or `…:id_token`; `…:access_token` for what somebody gave an agent.
    subject_token_type: String,
    /// The token of the agent's run, if it acts for somebody.
    actor_token: Option<String>,
    /// As for the subject's.
    actor_token_type: Option<String>,
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
pub(crate) async fn exchange(
    State(api): State<Arc<Api>>,
    Peer(peer): Peer,
    form: Result<Form<ExchangeForm>, FormRejection>,
) -> Answered<ExchangeAnswer> {
    let Form(form) = form.map_err(|error| Refused::invalid(format!("this takes the form of RFC 8693: {}", error.body_text())))?;
    if form.grant_type != EXCHANGE {
        return Err(Refused::invalid(format!("the only grant_type here is {EXCHANGE}")));
    }
    if form.requested_token_type.as_ref().is_some_and(|wanted| wanted != ACCESS_TOKEN) {
        return Err(Refused::invalid(format!("what is given out is {ACCESS_TOKEN}")));
    }
    let platforms = |kind: &str| [JWT, ID_TOKEN].contains(&kind);
    let delegation = match (&form.actor_token, &form.actor_token_type) {
        (None, None) if platforms(&form.subject_token_type) => None,
        (Some(_), Some(kind)) if platforms(kind) && form.subject_token_type == ACCESS_TOKEN => Some(Secret::from(form.subject_token.clone())),
        _ => {
            return Err(Refused::invalid(format!(
                "a run's token is {JWT} or {ID_TOKEN}, and the subject's; an agent that acts for somebody gives it as actor_token, and as subject_token what \
                 they gave it, which is {ACCESS_TOKEN}"
            )));
        }
    };
    let token = form.actor_token.as_ref().unwrap_or(&form.subject_token);
    let connections: Result<Vec<ConnectionName>, _> = form.audience.split_whitespace().map(str::parse).collect();
    let connections = connections.map_err(|error| Refused::invalid(error.to_string()))?;
    let wanted = Exchange {
        token,
        delegation: delegation.as_ref(),
        connections: &connections,
        workload: form.workload.as_ref(),
        expires_in_s: form.expires_in,
        peer,
    };
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

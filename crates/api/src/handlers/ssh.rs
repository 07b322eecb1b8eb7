//! Keys that people and jobs sign in with over SSH.

use std::sync::Arc;

use axum::extract::State;
use session::ssh::NewKey;

use super::after;
use crate::{
    Api,
    caller::Caller,
    json::{Answer, Answered, Body},
    types::{Refusal, SshCertificateAnswer, SshCertificateRequest, SshKeyRequest, TokenView},
};

/// How long a key works that nobody gave a time for, in seconds: ninety days.
const DEFAULT_S: u64 = 90 * 86_400;

/// Register a key for signing in over SSH; it is listed and revoked among the tokens.
#[utoipa::path(post, path = "/v1/ssh/keys", request_body = SshKeyRequest,
    responses((status = 200, description = "Registered", body = TokenView), (status = 400, description = "No key of use, or one that was registered before", body = Refusal), (status = 403, description = "Not permitted", body = Refusal)))]
pub(crate) async fn register(caller: Caller, State(api): State<Arc<Api>>, Body(request): Body<SshKeyRequest>) -> Answered<TokenView> {
    let new = NewKey {
        subject: request.subject.unwrap_or_else(|| caller.actor.name.clone()),
        public_key: request.public_key,
        connections: request.connections,
        expires_at: after(caller.now, request.expires_in_s.unwrap_or(DEFAULT_S))?,
    };
    Ok(Answer(api.guard.register_ssh_key(new, &caller.actor, caller.now).await?.into()))
}

/// Have a key vouched for until this sign-in ends: the certificate opens over SSH what the caller may open.
#[utoipa::path(post, path = "/v1/ssh/certificates", request_body = SshCertificateRequest,
    responses((status = 200, description = "Vouched for", body = SshCertificateAnswer), (status = 400, description = "No key of use, or SSH is not served", body = Refusal)))]
pub(crate) async fn certify(
    caller: Caller,
    State(api): State<Arc<Api>>,
    Body(request): Body<SshCertificateRequest>,
) -> Answered<SshCertificateAnswer> {
    let (certificate, token) = api.guard.certify_ssh_key(&request.public_key, &caller.token, &caller.actor, caller.now).await?;
    Ok(Answer(SshCertificateAnswer { certificate, token: token.into() }))
}

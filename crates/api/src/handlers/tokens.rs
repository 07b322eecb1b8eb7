//! Tokens for connections.

use std::sync::Arc;

use axum::extract::State;
use model::{TokenId, token::TokenUse};
use serde::Deserialize;
use session::tokens;

use super::after;
use crate::{
    Api,
    caller::Caller,
    json::{Answer, Answered, Body, Path, Query},
    refused::Refused,
    types::{EndedAnswer, Refusal, SecretText, TokenMinted, TokenRequest, TokensAnswer},
};

/// How long a token works that nobody gave a time for, in seconds: long enough to connect and read on, short enough to be no standing credential.
const DEFAULT_S: u64 = 3_600;

/// Which tokens.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Wanted {
    #[serde(default)]
    all: bool,
}

/// Tokens the caller may see: its own, or with `all` also those of what it owns or governs.
#[utoipa::path(get, path = "/v1/tokens", params(("all" = Option<bool>, Query, description = "Also those of others")),
    responses((status = 200, description = "Tokens", body = TokensAnswer), (status = 401, description = "Nobody is signed in", body = Refusal)))]
pub(crate) async fn list(caller: Caller, State(api): State<Arc<Api>>, Query(wanted): Query<Wanted>) -> Answered<TokensAnswer> {
    let mut tokens = api.guard.tokens(&caller.actor, caller.now).await?;
    tokens.retain(|token| wanted.all || token.subject == caller.actor.name || token.minted_by == caller.actor.name);
    Ok(Answer(TokensAnswer { tokens: tokens.into_iter().map(Into::into).collect() }))
}

/// Mint a token that opens connections.
#[utoipa::path(post, path = "/v1/tokens", request_body = TokenRequest,
    responses((status = 200, description = "Minted", body = TokenMinted), (status = 403, description = "Not permitted", body = Refusal), (status = 404, description = "No such connection or identity", body = Refusal)))]
pub(crate) async fn mint(caller: Caller, State(api): State<Arc<Api>>, Body(request): Body<TokenRequest>) -> Answered<TokenMinted> {
    let not_before = request.not_before_in_s.map(|seconds| after(caller.now, seconds)).transpose()?;
    let subject = request.subject.unwrap_or_else(|| caller.actor.name.clone());
    // What somebody mints for a workload of theirs does not end with their day.
    let sign_in = caller.token.sign_in.filter(|_| subject == caller.actor.name);
    let mut expires_at = after(not_before.unwrap_or(caller.now), request.expires_in_s.unwrap_or(DEFAULT_S))?;
    if sign_in.is_some() && expires_at > caller.token.expires_at {
        let end = caller.token.expires_at;
        if request.expires_in_s.is_some() {
            return Err(Refused::invalid(format!("your sign-in ends at {end:.0}, and what you mint for yourself with it")));
        }
        expires_at = end;
    }
    let wanted = tokens::TokenRequest {
        sign_in,
        subject,
        purpose: if request.agent.is_some() { TokenUse::Delegate } else { TokenUse::Connect },
        agent: request.agent,
        request: request.request,
        bound_to: None,
        connections: request.connections,
        statement: request.statement,
        expires_at,
        not_before,
    };
    let (secret, row) = api.guard.mint_token(wanted, &caller.actor, caller.now).await?;
    Ok(Answer(TokenMinted { secret: SecretText(secret), token: row.into() }))
}

/// Revoke a token; live sessions it opened end.
#[utoipa::path(delete, path = "/v1/tokens/{id}", params(("id" = String, Path, description = "The token, t_…")),
    responses((status = 200, description = "Revoked", body = EndedAnswer), (status = 404, description = "No such token", body = Refusal)))]
pub(crate) async fn revoke(caller: Caller, State(api): State<Arc<Api>>, Path(id): Path<TokenId>) -> Answered<EndedAnswer> {
    let ended = api.guard.revoke_token(id, &caller.actor, caller.now).await?;
    Ok(Answer(EndedAnswer { sessions: ended as u64 }))
}

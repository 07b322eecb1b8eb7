//! Signing in at identity providers, and what providers say afterwards.

use std::sync::Arc;

use axum::{
    Form,
    extract::{State, rejection::FormRejection},
};
use identity::{jwt::TokenError, oidc::OidcError};
use model::{IdentityName, ProviderName, Timestamp};
use serde::Deserialize;
use session::providers::NotEntered;

use crate::{
    Api,
    caller::{Caller, DpopProof, Peer},
    json::{Answer, Answered, Body, Path, Query},
    refused::Refused,
    types::{
        AccountRequest, BrowserSignIn, BrowserSignInRequest, DevicePollRequest, DeviceSignIn, DeviceSignInRequest, EndedAnswer, EndedThereAnswer,
        FinishSignInRequest, KillRequest, LoginAnswer, PolledAnswer, ProviderView, ProvidersAnswer, Refusal, SecretText, StandingsAnswer,
    },
};

/// Where people can sign in.
#[utoipa::path(get, path = "/v1/providers", security(()), responses((status = 200, description = "Providers", body = ProvidersAnswer)))]
pub(crate) async fn list(State(api): State<Arc<Api>>) -> Answered<ProvidersAnswer> {
    let providers = api
        .guard
        .providers()
        .all()
        .map(|provider| ProviderView { name: provider.name().clone(), loopback: provider.settings().loopback().to_owned() });
    Ok(Answer(ProvidersAnswer { providers: providers.collect() }))
}

/// Begin a sign-in in a browser on the caller's machine.
#[utoipa::path(post, path = "/v1/sign-in/browser", security(()), request_body = BrowserSignInRequest,
    responses((status = 200, description = "Begun", body = BrowserSignIn), (status = 404, description = "No such provider", body = Refusal), (status = 503, description = "The provider cannot be reached", body = Refusal)))]
pub(crate) async fn begin(State(api): State<Arc<Api>>, Peer(peer): Peer, Body(request): Body<BrowserSignInRequest>) -> Answered<BrowserSignIn> {
    let (flow, url) = api.guard.begin_sign_in(&request.provider, &request.redirect_uri, peer, Timestamp::now()).await?;
    Ok(Answer(BrowserSignIn { flow: SecretText(flow), url: url.into() }))
}

/// Finish it with what the provider sent the browser back with.
#[utoipa::path(post, path = "/v1/sign-in/finish", security(()), request_body = FinishSignInRequest,
    responses((status = 200, description = "Signed in", body = LoginAnswer), (status = 401, description = "Not signed in", body = Refusal)))]
pub(crate) async fn finish(
    State(api): State<Arc<Api>>,
    DpopProof(proof): DpopProof,
    Body(request): Body<FinishSignInRequest>,
) -> Answered<LoginAnswer> {
    let now = Timestamp::now();
    let possession = proof.map(|proof| api.guard.check_possession(&proof.of("POST", "/v1/sign-in/finish"), None, now)).transpose()?;
    let code = request.code.0.reveal_str().unwrap_or_default();
    let entered = api.guard.finish_sign_in(&request.flow.0, &request.state, code, request.iss.as_deref(), possession.as_ref(), now).await?;
    Ok(Answer(entered.into()))
}

/// Begin a sign-in on a device without a browser.
#[utoipa::path(post, path = "/v1/sign-in/device", security(()), request_body = DeviceSignInRequest,
    responses((status = 200, description = "Begun", body = DeviceSignIn), (status = 404, description = "No such provider", body = Refusal), (status = 503, description = "The provider cannot be reached", body = Refusal)))]
pub(crate) async fn begin_device(State(api): State<Arc<Api>>, Peer(peer): Peer, Body(request): Body<DeviceSignInRequest>) -> Answered<DeviceSignIn> {
    let begun = api.guard.begin_device_sign_in(&request.provider, peer, Timestamp::now()).await?;
    Ok(Answer(DeviceSignIn {
        flow: SecretText(begun.flow),
        user_code: begun.user_code,
        verification_uri: begun.verification_uri,
        verification_uri_complete: begun.verification_uri_complete,
        expires_in_s: begun.expires_in_s,
        interval_s: begun.interval_s,
    }))
}

/// Ask whether somebody signed in on the device by now.
#[utoipa::path(post, path = "/v1/sign-in/poll", security(()), request_body = DevicePollRequest,
    responses((status = 200, description = "Signed in, or not yet", body = PolledAnswer), (status = 401, description = "Nobody will", body = Refusal)))]
pub(crate) async fn poll(State(api): State<Arc<Api>>, DpopProof(proof): DpopProof, Body(request): Body<DevicePollRequest>) -> Answered<PolledAnswer> {
    let now = Timestamp::now();
    let possession = proof.map(|proof| api.guard.check_possession(&proof.of("POST", "/v1/sign-in/poll"), None, now)).transpose()?;
    Ok(Answer(match api.guard.poll_device_sign_in(&request.flow.0, possession.as_ref(), now).await? {
        Ok(entered) => PolledAnswer { wait_s: None, signed_in: Some(entered.into()) },
        Err(wait_s) => PolledAnswer { wait_s: Some(wait_s), signed_in: None },
    }))
}

/// What a provider posts: OpenID Connect Back-Channel Logout 1.0, section 2.5.
#[derive(Deserialize, utoipa::ToSchema)]
pub(crate) struct LogoutForm {
    /// The logout token.
    logout_token: String,
}

/// A provider ends sign-ins: what was minted in them ends.
#[utoipa::path(post, path = "/v1/back-channel-logout", security(()), request_body(content = LogoutForm, content_type = "application/x-www-form-urlencoded"),
    responses((status = 200, description = "Ended"), (status = 400, description = "No logout token of a provider here", body = Refusal)))]
pub(crate) async fn back_channel_logout(State(api): State<Arc<Api>>, form: Result<Form<LogoutForm>, FormRejection>) -> Answered<()> {
    let Form(form) = form.map_err(|_| Refused::invalid("this takes a form with `logout_token`"))?;
    // Section 2.8: whatever is wrong with it, the answer is 400, unless it may be right and we cannot tell.
    match api.guard.back_channel_logout(&form.logout_token, Timestamp::now()).await {
        Ok(_) => Ok(Answer(())),
        // A key that is not known yet may be one that was made just now.
        Err(NotEntered::Provider(OidcError::Odd(..) | OidcError::Token(_, TokenError::UnknownKey))) => {
            Err(Refused::unavailable("the provider's keys cannot be had at this moment; try again"))
        }
        Err(error) => Err(Refused::from(error).not_believed()),
    }
}

/// Link an account at a provider to a user.
#[utoipa::path(put, path = "/v1/identities/{name}/accounts", request_body = AccountRequest, params(("name" = String, Path, description = "The user")),
    responses((status = 200, description = "Linked"), (status = 403, description = "Not permitted", body = Refusal)))]
pub(crate) async fn link(
    caller: Caller,
    State(api): State<Arc<Api>>,
    Path(name): Path<IdentityName>,
    Body(request): Body<AccountRequest>,
) -> Answered<()> {
    api.guard.link_account(&name, &request.provider, &request.subject, &caller.actor, caller.now).await?;
    Ok(Answer(()))
}

/// Take an account away from a user; what was begun with it ends.
#[utoipa::path(delete, path = "/v1/identities/{name}/accounts",
    params(("name" = String, Path, description = "The user"), ("provider" = String, Query, description = "The provider"), ("subject" = String, Query, description = "Whom it means")),
    responses((status = 200, description = "Taken away", body = EndedAnswer), (status = 403, description = "Not permitted", body = Refusal), (status = 404, description = "No such account", body = Refusal)))]
pub(crate) async fn unlink(
    caller: Caller,
    State(api): State<Arc<Api>>,
    Path(name): Path<IdentityName>,
    Query(request): Query<AccountRequest>,
) -> Answered<EndedAnswer> {
    let ended = api.guard.unlink_account(&name, &request.provider, &request.subject, &caller.actor, caller.now).await?;
    Ok(Answer(EndedAnswer { sessions: ended as u64 }))
}

/// Where people and jobs come from, and what of that is revoked.
#[utoipa::path(get, path = "/v1/providers/standing",
    responses((status = 200, description = "Providers of people and issuers of jobs' tokens", body = StandingsAnswer), (status = 403, description = "Not permitted", body = Refusal)))]
pub(crate) async fn standing(caller: Caller, State(api): State<Arc<Api>>) -> Answered<StandingsAnswer> {
    let standings = api.guard.standings(&caller.actor, caller.now).await?;
    Ok(Answer(StandingsAnswer { providers: standings.into_iter().map(Into::into).collect() }))
}

/// Revoke a provider of people or an issuer of jobs' tokens: whoever came from there is out, and nobody comes until it is allowed again.
#[utoipa::path(post, path = "/v1/providers/{provider}/revoke", request_body = KillRequest, params(("provider" = String, Path, description = "What the configuration calls it")),
    responses((status = 200, description = "Revoked", body = EndedThereAnswer), (status = 403, description = "Not permitted", body = Refusal), (status = 404, description = "No such provider", body = Refusal)))]
pub(crate) async fn revoke(
    caller: Caller,
    State(api): State<Arc<Api>>,
    Path(provider): Path<ProviderName>,
    Body(request): Body<KillRequest>,
) -> Answered<EndedThereAnswer> {
    let ended = api.guard.revoke_provider(&provider, request.reason.as_deref(), &caller.actor, caller.now).await?;
    Ok(Answer(ended.into()))
}

/// Let people and jobs come from a revoked provider again. What ended stays ended.
#[utoipa::path(post, path = "/v1/providers/{provider}/allow", params(("provider" = String, Path, description = "What the configuration calls it")),
    responses((status = 200, description = "Allowed"), (status = 403, description = "Not permitted", body = Refusal), (status = 404, description = "It is not revoked", body = Refusal)))]
pub(crate) async fn readmit(caller: Caller, State(api): State<Arc<Api>>, Path(provider): Path<ProviderName>) -> Answered<()> {
    api.guard.allow_provider(&provider, &caller.actor, caller.now).await?;
    Ok(Answer(()))
}

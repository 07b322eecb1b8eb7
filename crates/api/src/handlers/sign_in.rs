//! Signing in, signing out, and who is signed in.

use std::sync::Arc;

use axum::extract::State;
use model::{Identity, SystemAction, Timestamp, token::TokenUse};
use session::{
    sign_in::{Shown, SignInFor, SignInRefused},
    tokens::TokenRequest,
};

use super::after;
use crate::{
    Api,
    caller::{Caller, DpopProof, Peer},
    json::{Answer, Answered, Body},
    refused::Refused,
    types::{LoginAnswer, LoginRequest, Refusal, SecretText, WhoamiAnswer},
};

/// How long a token of a sign-in works, in seconds: a working day.
const SIGN_IN_S: u64 = 12 * 3_600;

/// Sign in: name, password and the code of an authenticator, if there is one, for a token. With a proof in the header `DPoP` it is bound to the key of that.
#[utoipa::path(post, path = "/v1/login", security(()), request_body = LoginRequest,
    responses((status = 200, description = "Signed in", body = LoginAnswer), (status = 401, description = "Not signed in", body = Refusal)))]
pub(crate) async fn login(
    State(api): State<Arc<Api>>,
    Peer(peer): Peer,
    DpopProof(proof): DpopProof,
    Body(request): Body<LoginRequest>,
) -> Answered<LoginAnswer> {
    let now = Timestamp::now();
    let possession = proof.map(|proof| api.guard.check_possession(&proof.of("POST", "/v1/login"), None, now)).transpose()?;
    let shown = Shown { secret: &request.password.0, code: request.code.as_ref().map(|code| &code.0) };
    let signed_in = api.guard.sign_in_with_code(request.name.as_str(), shown, SignInFor::Api, peer, now).await.map_err(refused)?;
    if signed_in.token.is_some() {
        return Err(Refused::invalid("this is a token already: use it as it is").hint("`countersign login` takes a password."));
    }
    let latest = after(now, SIGN_IN_S)?;
    let expires_at = signed_in.ends_at.map_or(latest, |end| end.min(latest));
    let subject = &signed_in.chain.subject;
    if let Some(possession) = &possession {
        api.guard.use_possession(possession, &subject.name, now).await?;
    }
    let wanted = TokenRequest {
        subject: subject.name.clone(),
        purpose: TokenUse::Api,
        connections: Vec::new(),
        statement: None,
        not_before: None,
        expires_at,
        sign_in: None,
        agent: None,
        request: None,
        bound_to: possession.map(|key| key.thumbprint),
    };
    let (secret, row) = api.guard.mint_token(wanted, subject, now).await?;
    let identity = api.guard.store().state().identity_by_id(subject.id).await?.ok_or_else(|| Refused::nobody("sign-in failed"))?;
    Ok(Answer(LoginAnswer { token: SecretText(secret), expires_at: row.expires_at, identity: identity.into() }))
}

/// Whoever gave no code is told of it, whether they have a second factor or not.
fn refused(refused: SignInRefused) -> Refused {
    let about_code = matches!(refused, SignInRefused::Wrong(_) | SignInRefused::TooManyAttempts);
    let refused = Refused::from(refused);
    if about_code { refused.hint("If you have an authenticator, give its code too: `countersign login NAME --code`.") } else { refused }
}

/// Sign out: revoke the token this request was made with.
#[utoipa::path(post, path = "/v1/logout", responses((status = 200, description = "Signed out"), (status = 401, description = "Nobody is signed in", body = Refusal)))]
pub(crate) async fn logout(caller: Caller, State(api): State<Arc<Api>>) -> Answered<()> {
    api.guard.revoke_token(caller.token.id, &caller.actor, caller.now).await?;
    Ok(Answer(()))
}

/// Who is signed in.
#[utoipa::path(get, path = "/v1/whoami", responses((status = 200, description = "Who", body = WhoamiAnswer), (status = 401, description = "Nobody is signed in", body = Refusal)))]
pub(crate) async fn whoami(caller: Caller, State(api): State<Arc<Api>>) -> Answered<WhoamiAnswer> {
    let identity = api.guard.store().state().identity_by_id(caller.actor.id).await?.ok_or_else(|| Refused::nobody("sign in first"))?;
    let may = SystemAction::ALL.iter().copied().filter(|action| api.guard.may(&caller.actor, *action, caller.now)).collect();
    let mut ending = api.guard.ending(&caller.actor, caller.now).await?;
    let theirs = |of: &Identity| of.id == caller.actor.id || of.owner.as_ref() == Some(&caller.actor.name);
    ending.retain(theirs);
    let mut keys = api.guard.keys_ending(&caller.actor, caller.now).await?;
    keys.retain(|(identity, _)| theirs(identity));
    let (ending, ending_keys) = (ending.into_iter().map(Into::into).collect(), keys.into_iter().map(Into::into).collect());
    Ok(Answer(WhoamiAnswer { identity: identity.into(), expires_at: Some(caller.token.expires_at), may, ending, ending_keys }))
}

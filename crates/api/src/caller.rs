//! Who is calling. Authentication comes before routing: without a token that works, a path that does not exist and one that does look alike.

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
    time::Duration,
};

use axum::{
    body::{Body, HttpBody},
    extract::{FromRequestParts, Request, State},
    http::{HeaderMap, Method, header, request::Parts},
    middleware::Next,
    response::{IntoResponse, Response},
};
use http_body_util::{BodyExt, Limited};
use identity::token;
use model::{Actor, ActorChain, Secret, SystemAction, Timestamp, token::TokenRow};
use session::sign_in::{SignInFor, SignedIn};

use crate::{
    Api,
    refused::Refused,
    routes::{MAX_BODY_BYTES, MAX_FILES_BYTES, PUBLIC},
};

/// How long the body of a request may take.
const BODY_PATIENCE: Duration = Duration::from_secs(30);
/// Longest body of a request that anybody may make, in bytes: a token of a platform fits.
const MAX_PUBLIC_BYTES: usize = 256 * 1024;

/// Where a request came from. The local socket counts as this machine.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer(pub(crate) IpAddr);

impl Peer {
    pub(crate) const LOCAL: Self = Self(IpAddr::V4(Ipv4Addr::LOCALHOST));
}

/// Somebody who showed a token for this API that works now.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    /// Who acts, with the groups they are in now.
    pub(crate) actor: Actor,
    /// The whole chain.
    pub(crate) chain: ActorChain,
    /// The token they showed.
    pub(crate) token: TokenRow,
    /// How they signed in, to look again while an answer goes on for long.
    pub(crate) signed_in: SignedIn,
    /// When they asked.
    pub(crate) now: Timestamp,
}

impl Caller {
    /// Refuses a caller who may not do this to Countersign itself.
    pub(crate) fn must(&self, api: &Api, action: SystemAction) -> Result<(), Refused> {
        self.must_any(api, &[action])
    }

    /// Refuses a caller who may do none of these.
    pub(crate) fn must_any(&self, api: &Api, actions: &[SystemAction]) -> Result<(), Refused> {
        if actions.iter().any(|action| api.guard.may(&self.actor, *action, self.now)) {
            return Ok(());
        }
        let wanted = actions.iter().map(ToString::to_string).collect::<Vec<_>>().join(" or ");
        let refused = Refused::forbidden(format!("policy does not permit {} to {wanted} on this gateway", self.actor.name));
        Err(refused.hint("Ask an administrator, or see `countersign whoami` for what you may do."))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Refused> {
        parts.extensions.get::<Self>().cloned().ok_or_else(|| Refused::nobody("sign in first"))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Peer {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Refused> {
        parts.extensions.get::<Self>().copied().ok_or_else(|| Refused::failed(&"a request has no peer"))
    }
}

/// Lets nobody pass without a token, except to what is [`PUBLIC`].
pub(crate) async fn authenticate(State(api): State<Arc<Api>>, request: Request, next: Next) -> Response {
    let public = PUBLIC.iter().any(|(method, path)| request.method().as_str() == *method && request.uri().path() == *path);
    let answered = if public { with_body(request, MAX_PUBLIC_BYTES).await } else { with_caller(&api, request).await };
    let response = match answered {
        Ok(request) => run(&api, next, request).await,
        Err(refused) => refused.into_response(),
    };
    api.metrics.answered(response.status().as_u16());
    response
}

/// To its end, whether the caller waits for it or not: an act must not be left half done. No more of them at once than there are places.
async fn run(api: &Api, next: Next, request: Request) -> Response {
    let Ok(place) = api.places.clone().try_acquire_owned() else {
        return Refused::unavailable("too many requests are being answered at this moment; try again").into_response();
    };
    let whole = async move {
        let response = next.run(request).await;
        drop(place);
        response
    };
    match tokio::spawn(whole).await {
        Ok(response) => response,
        Err(error) => Refused::failed(&error).into_response(),
    }
}

/// A request whose body is there, with who the caller is then: nobody signs in, waits until their access has ended, and goes on with what they were.
async fn with_caller(api: &Api, request: Request) -> Result<Request, Refused> {
    let peer = request.extensions().get::<Peer>().copied().unwrap_or(Peer::LOCAL);
    let mut caller = known(api, request.headers(), peer).await?;
    let files = (request.method(), request.uri().path()) == (&Method::POST, "/v1/versions");
    let most = if files && api.guard.may(&caller.actor, SystemAction::Administer, caller.now) { MAX_FILES_BYTES } else { MAX_BODY_BYTES };
    let waits = !request.body().is_end_stream();
    let mut request = with_body(request, most).await?;
    if waits {
        caller = known(api, request.headers(), peer).await?;
    }
    request.extensions_mut().insert(caller);
    Ok(request)
}

/// A request whose body is there.
async fn with_body(request: Request, most: usize) -> Result<Request, Refused> {
    let (parts, body) = request.into_parts();
    if body.is_end_stream() {
        return Ok(Request::from_parts(parts, body));
    }
    let read = tokio::time::timeout(BODY_PATIENCE, Limited::new(body, most).collect()).await;
    let read = read.map_err(|_| Refused::invalid("the request did not come to its end in time"))?;
    let whole = read.map_err(|_| Refused::too_large("the request is longer than this call takes, or broke off"))?.to_bytes();
    Ok(Request::from_parts(parts, Body::from(whole)))
}

async fn known(api: &Api, headers: &HeaderMap, Peer(peer): Peer) -> Result<Caller, Refused> {
    let secret = bearer(headers)?;
    let now = Timestamp::now();
    let presented = token::parse(&secret).map_err(|error| Refused::nobody(format!("the token is not one of Countersign's: {error}")))?;
    let row = api.guard.store().state().token_by_digest(&presented.digest).await?;
    // An unknown token is put before the guard all the same: it counts attempts and answers alike for all that is wrong.
    let name = row.as_ref().map_or("", |row| row.subject.as_str());
    let signed_in = api.guard.sign_in(name, &secret, SignInFor::Api, peer, now).await?;
    let chain = signed_in.chain.clone();
    let token = signed_in.token.clone().ok_or_else(|| Refused::nobody("sign in first"))?;
    Ok(Caller { actor: chain.subject.clone(), chain, token, signed_in, now })
}

fn bearer(headers: &HeaderMap) -> Result<Secret, Refused> {
    let mut given = headers.get_all(header::AUTHORIZATION).iter();
    let (Some(value), None) = (given.next(), given.next()) else { return Err(Refused::nobody("sign in first")) };
    let token = value.as_bytes().strip_prefix(b"Bearer ").ok_or_else(|| Refused::nobody("sign in first"))?;
    Ok(Secret::new(token.to_vec()))
}

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
use session::{
    possession::{NotPossessed, Proven},
    sign_in::{SignInFor, SignedIn},
};

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

/// A proof of possession that came with a request, if one did.
#[derive(Debug, Clone)]
pub(crate) struct DpopProof(pub(crate) Option<ProofText>);

/// Its text.
#[derive(Debug, Clone)]
pub(crate) struct ProofText(String);

impl ProofText {
    /// With the request that it came with.
    pub(crate) fn of<'a>(&'a self, method: &'a str, path: &'a str) -> Proven<'a> {
        Proven { proof: &self.0, method, path }
    }

    /// RFC 9449 section 4.3: one header of that name at most.
    fn find(headers: &HeaderMap) -> Result<Option<Self>, Refused> {
        let mut given = headers.get_all("dpop").iter();
        match (given.next(), given.next()) {
            (None, _) => Ok(None),
            (Some(value), None) => match value.to_str() {
                Ok(text) => Ok(Some(Self(text.to_owned()))),
                Err(_) => Err(Refused::invalid("the DPoP proof is no text").in_oauth("invalid_dpop_proof")),
            },
            (Some(_), Some(_)) => Err(Refused::invalid("there are several DPoP proofs").in_oauth("invalid_dpop_proof")),
        }
    }
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

impl<S: Send + Sync> FromRequestParts<S> for DpopProof {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Refused> {
        ProofText::find(&parts.headers).map(Self)
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
    must_possess(api, &caller, request.headers(), request.method(), request.uri().path()).await?;
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
    let (_, secret) = shown(headers)?;
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

/// Refuses who shows a token that is bound to a key, and not that they have the key; or the other way round.
async fn must_possess(api: &Api, caller: &Caller, headers: &HeaderMap, method: &Method, path: &str) -> Result<(), Refused> {
    let (scheme, token) = shown(headers)?;
    let Some(bound_to) = &caller.token.bound_to else {
        return match scheme {
            Scheme::Bearer => Ok(()),
            Scheme::Dpop => Err(Refused::nobody("the token is bound to no key: show it as `Authorization: Bearer …`")),
        };
    };
    let proof = ProofText::find(headers)?.filter(|_| scheme == Scheme::Dpop).ok_or(NotPossessed::Missing)?;
    let proven = proof.of(method.as_str(), path);
    let possession = api.guard.check_possession(&proven, Some(&token), caller.now)?;
    if possession.thumbprint != *bound_to {
        return Err(NotPossessed::OtherKey.into());
    }
    Ok(api.guard.use_possession(&possession, &caller.actor.name, caller.now).await?)
}

/// How a token is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scheme {
    /// RFC 6750: whoever bears it uses it.
    Bearer,
    /// RFC 9449: with a proof.
    Dpop,
}

fn shown(headers: &HeaderMap) -> Result<(Scheme, Secret), Refused> {
    let mut given = headers.get_all(header::AUTHORIZATION).iter();
    let (Some(value), None) = (given.next(), given.next()) else { return Err(Refused::nobody("sign in first")) };
    let after = |scheme: Scheme, prefix: &[u8]| Some((scheme, Secret::new(value.as_bytes().strip_prefix(prefix)?.to_vec())));
    after(Scheme::Bearer, b"Bearer ").or_else(|| after(Scheme::Dpop, b"DPoP ")).ok_or_else(|| Refused::nobody("sign in first"))
}

//! People of identity providers: from a sign-in there to a token of ours, and to its end.
//!
//! A sign-in is begun, goes on in the person's browser, and is finished by whoever began it: they hold the flow's secret, and the provider's answer carries
//! the flow's state. What is minted in a sign-in ends with it ([`ending`]). A provider that is revoked signs nobody in until it is allowed again ([`standing`]).

mod accounts;
mod ending;
mod standing;

use std::{
    collections::{BTreeMap, HashMap},
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use aws_lc_rs::digest;
use identity::{
    attempts::network,
    dpop::Possession,
    oidc::{Device, OidcError, Pending, Person, Polled, Provider, SignedIn, random_text},
};
use model::{
    Identity, IdentityName, ProviderName, Secret, Timestamp,
    token::{TokenRow, TokenUse},
};
use store::{
    StoreError,
    state::{Account, NewSignIn, SignInError, Which},
};
use url::{Host, Url};

use self::ending::Logouts;
pub use self::standing::{EndedThere, Standing};
use crate::{
    events,
    guard::{GovernError, Guard},
    ids,
    possession::NotPossessed,
    register,
    tokens::TokenRequest,
};

/// How long somebody has to sign in, in seconds.
const FLOW_S: u64 = 600;
/// Sign-ins that may be under way at once, in all and from one address.
const MAX_FLOWS: usize = 10_000;
const MAX_FLOWS_PER_ADDRESS: usize = 300;
/// Sign-ins begun within a minute that came to nothing yet, in all and from one address: each asks something of a provider.
const MAX_BEGUN: u32 = 3_000;
const MAX_BEGUN_PER_ADDRESS: u32 = 300;
const MINUTE_S: u64 = 60;

/// The providers people sign in at, and the sign-ins under way.
#[derive(Debug, Default)]
pub struct Providers {
    known: BTreeMap<ProviderName, Arc<Provider>>,
    flows: Mutex<HashMap<FlowDigest, Flow>>,
    logouts: Logouts,
    begun: Begun,
}

/// What was begun within the last minute or so, by where from: how many since when.
#[derive(Debug, Default)]
pub(crate) struct Begun(Mutex<HashMap<IpAddr, (Timestamp, u32)>>);

impl Begun {
    /// Counts one more; whether there are not too many, from there or in all.
    pub(crate) fn count(&self, peer: IpAddr, from_one: u32, in_all: u32, now: Timestamp) -> bool {
        let mut begun = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        begun.retain(|_, (since, _)| now.as_second().abs_diff(since.as_second()) < MINUTE_S);
        let sum: u32 = begun.values().map(|(_, count)| *count).sum();
        let (_, count) = begun.entry(network(peer)).or_insert((now, 0));
        if *count >= from_one || sum >= in_all {
            return false;
        }
        *count += 1;
        true
    }

    /// Takes one back that came to something.
    fn forgive(&self, peer: IpAddr) {
        let mut begun = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, count)) = begun.get_mut(&network(peer)) {
            *count = count.saturating_sub(1);
        }
    }
}

type FlowDigest = [u8; 32];

#[derive(Debug)]
struct Flow {
    provider: Arc<Provider>,
    peer: IpAddr,
    expires_at: Timestamp,
    way: Way,
}

#[derive(Debug)]
enum Way {
    Browser(Box<Pending>),
    Device { device: Device, interval_s: u64, next_at: Timestamp },
}

/// A sign-in on a device that was begun.
#[derive(Debug)]
pub struct DeviceFlow {
    /// What to ask with.
    pub flow: Secret,
    /// What the person types.
    pub user_code: String,
    /// Where.
    pub verification_uri: String,
    /// The same with the code in it.
    pub verification_uri_complete: Option<String>,
    /// How long there is, in seconds.
    pub expires_in_s: u64,
    /// How often to ask, in seconds.
    pub interval_s: u64,
}

/// Somebody who signed in, and their token for the API.
#[derive(Debug)]
pub struct Entered {
    /// The token's text, shown this once.
    pub secret: Secret,
    /// The token.
    pub token: TokenRow,
    /// Who.
    pub identity: Identity,
}

/// Why nobody signed in. `Display` is for the caller.
#[derive(Debug, thiserror::Error)]
pub enum NotEntered {
    /// No provider of that name.
    #[error("there is no provider {wanted}{}", listed(.known))]
    UnknownProvider {
        /// What was asked for.
        wanted: ProviderName,
        /// Which there are.
        known: Vec<ProviderName>,
    },
    /// The answer would go to somebody else's machine.
    #[error("the answer of a sign-in goes to the machine it was begun on: http://127.0.0.1:PORT/callback")]
    Redirect,
    /// Nobody comes from there at the moment.
    #[error("{0} is revoked here: nobody signs in there until an administrator allows it again")]
    Revoked(ProviderName),
    /// Too many are under way.
    #[error("too many sign-ins are under way; try again in a few minutes")]
    TooMany,
    /// It is over, or never was.
    #[error("this sign-in took too long, or was finished before: begin again with `countersign login`")]
    UnknownFlow,
    /// What proves this gateway to the provider is not there. Where it should be is in the log.
    #[error("this gateway has no secret for provider {0}: an administrator can find more in its log")]
    NoSecret(ProviderName),
    /// The key that their token is to be bound to is not theirs.
    #[error(transparent)]
    Possession(#[from] NotPossessed),
    /// The provider's part failed.
    #[error(transparent)]
    Provider(#[from] OidcError),
    /// The account is linked to nobody.
    #[error(
        "{provider} knows you as `{subject}`, which is nobody here: an administrator can link it with `countersign identity link NAME --provider {provider} --subject {subject}`"
    )]
    Unlinked {
        /// The provider.
        provider: ProviderName,
        /// Whom it means.
        subject: String,
    },
    /// A newcomer's name is no name.
    #[error(
        "{provider} calls you `{name}`, which cannot be a name here: an administrator sets `name_claim`, or links your account with `countersign identity link NAME --provider {provider} --subject {subject}`"
    )]
    NoName {
        /// The provider.
        provider: ProviderName,
        /// What it calls them.
        name: String,
        /// Whom it means.
        subject: String,
    },
    /// A newcomer's name is somebody else's.
    #[error(
        "the name {name} is somebody else's here: if that is you, an administrator links your account with `countersign identity link {name} --provider {provider} --subject {subject}`"
    )]
    Taken {
        /// The provider.
        provider: ProviderName,
        /// The name.
        name: IdentityName,
        /// Whom it means.
        subject: String,
    },
    /// The identity may not act any more.
    #[error("sign-in failed: identity {0} was revoked or has expired; ask an administrator")]
    Inactive(IdentityName),
    /// The state store cannot be reached, or what follows was refused.
    #[error(transparent)]
    Govern(#[from] GovernError),
}

fn listed(names: &[ProviderName]) -> String {
    match names {
        [] => "; this gateway has none: sign in with `countersign login NAME`".to_owned(),
        names => format!("; there are: {}", names.iter().map(ProviderName::as_str).collect::<Vec<_>>().join(", ")),
    }
}

impl From<StoreError> for NotEntered {
    fn from(error: StoreError) -> Self {
        Self::Govern(GovernError::State(error))
    }
}

impl Providers {
    /// Those that are configured.
    #[must_use]
    pub fn new(providers: impl IntoIterator<Item = Arc<Provider>>) -> Self {
        let known = providers.into_iter().map(|provider| (provider.name().clone(), provider)).collect();
        Self { known, ..Self::default() }
    }

    /// Those that are configured, by name.
    pub fn all(&self) -> impl Iterator<Item = &Arc<Provider>> {
        self.known.values()
    }

    fn get(&self, name: &ProviderName) -> Result<&Arc<Provider>, NotEntered> {
        let unknown = || NotEntered::UnknownProvider { wanted: name.clone(), known: self.known.keys().cloned().collect() };
        self.known.get(name).ok_or_else(unknown)
    }

    fn flows(&self) -> MutexGuard<'_, HashMap<FlowDigest, Flow>> {
        self.flows.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a sign-in that is to begin, before anything is asked of a provider for it.
    fn count(&self, peer: IpAddr, now: Timestamp) -> Result<(), NotEntered> {
        self.begun.count(peer, MAX_BEGUN_PER_ADDRESS, MAX_BEGUN, now).then_some(()).ok_or(NotEntered::TooMany)
    }

    /// Keeps a flow; returns the secret it is finished with.
    fn keep(&self, flow: Flow, now: Timestamp) -> Result<Secret, NotEntered> {
        let secret = random_text()?;
        let mut flows = self.flows();
        flows.retain(|_, flow| now < flow.expires_at);
        let peer = network(flow.peer);
        if flows.len() >= MAX_FLOWS || flows.values().filter(|other| network(other.peer) == peer).count() >= MAX_FLOWS_PER_ADDRESS {
            return Err(NotEntered::TooMany);
        }
        flows.insert(digest_of(&secret), flow);
        Ok(secret)
    }
}

fn digest_of(secret: &Secret) -> FlowDigest {
    let mut out = [0; 32];
    out.iter_mut().zip(digest::digest(&digest::SHA256, secret.reveal()).as_ref()).for_each(|(to, from)| *to = *from);
    out
}

/// WEB-07: a provider's answer goes nowhere but to the machine of whoever began (RFC 8252 section 7.3).
fn is_loopback(redirect_uri: &str) -> bool {
    let Ok(url) = redirect_uri.parse::<Url>() else { return false };
    let here = match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    };
    let plain = url.username().is_empty() && url.password().is_none() && url.query().is_none() && url.fragment().is_none();
    here && plain && url.scheme() == "http" && url.port().is_some() && url.path() == "/callback" && url.as_str() == redirect_uri
}

fn after(now: Timestamp, seconds: u64) -> Timestamp {
    now.checked_add(Duration::from_secs(seconds)).unwrap_or(Timestamp::MAX)
}

impl Guard {
    /// Begins a sign-in in a browser. Returns the secret to finish it with, and where the browser is to go.
    ///
    /// # Errors
    /// There is no such provider, it cannot be reached, or too many are under way.
    pub async fn begin_sign_in(
        &self,
        provider: &ProviderName,
        redirect_uri: &str,
        peer: IpAddr,
        now: Timestamp,
    ) -> Result<(Secret, Url), NotEntered> {
        let provider = self.providers().get(provider)?.clone();
        if !is_loopback(redirect_uri) {
            return Err(NotEntered::Redirect);
        }
        self.providers().count(peer, now)?;
        self.must_stand(provider.name()).await?;
        self.prepare(&provider).await?;
        let begun = provider.begin(redirect_uri, now).await?;
        let flow = Flow { provider, peer, expires_at: after(now, FLOW_S), way: Way::Browser(Box::new(begun.pending)) };
        Ok((self.providers().keep(flow, now)?, begun.url))
    }

    /// Finishes it with what the provider answered. A flow works once, whatever comes of it.
    ///
    /// # Errors
    /// Why nobody is signed in.
    pub async fn finish_sign_in(
        &self,
        flow: &Secret,
        state: &str,
        code: &str,
        issuer: Option<&str>,
        possession: Option<&Possession>,
        now: Timestamp,
    ) -> Result<Entered, NotEntered> {
        let found = self.providers().flows().remove(&digest_of(flow)).filter(|flow| now < flow.expires_at);
        let Some(Flow { provider, peer, way: Way::Browser(pending), .. }) = found else { return Err(NotEntered::UnknownFlow) };
        self.prepare(&provider).await?;
        let signed_in = provider.finish(&pending, state, code, issuer, now).await?;
        let entered = self.enter_person(&provider, signed_in, possession, now).await?;
        self.providers().begun.forgive(peer);
        Ok(entered)
    }

    /// Begins a sign-in on a device without a browser.
    ///
    /// # Errors
    /// As for [`begin_sign_in`](Self::begin_sign_in); also when the provider does not offer it.
    pub async fn begin_device_sign_in(&self, provider: &ProviderName, peer: IpAddr, now: Timestamp) -> Result<DeviceFlow, NotEntered> {
        let provider = self.providers().get(provider)?.clone();
        self.providers().count(peer, now)?;
        self.must_stand(provider.name()).await?;
        self.prepare(&provider).await?;
        let begun = provider.begin_device(now).await?;
        let way = Way::Device { device: begun.device, interval_s: begun.interval_s, next_at: after(now, begun.interval_s) };
        let flow = self.providers().keep(Flow { provider, peer, expires_at: after(now, begun.expires_in_s), way }, now)?;
        Ok(DeviceFlow {
            flow,
            user_code: begun.user_code,
            verification_uri: begun.verification_uri,
            verification_uri_complete: begun.verification_uri_complete,
            expires_in_s: begun.expires_in_s,
            interval_s: begun.interval_s,
        })
    }

    /// Asks whether somebody signed in on the device by now; nothing, with how long to wait in seconds, if not. Who asks too soon is not passed on.
    ///
    /// # Errors
    /// Why nobody will be.
    pub async fn poll_device_sign_in(
        &self,
        flow: &Secret,
        possession: Option<&Possession>,
        now: Timestamp,
    ) -> Result<Result<Entered, u64>, NotEntered> {
        let digest = digest_of(flow);
        let (provider, device) = {
            let mut flows = self.providers().flows();
            let found = flows.get_mut(&digest).filter(|flow| now < flow.expires_at);
            let Some(Flow { provider, way: Way::Device { device, interval_s, next_at }, .. }) = found else { return Err(NotEntered::UnknownFlow) };
            if now < *next_at {
                return Ok(Err(*interval_s));
            }
            *next_at = after(now, *interval_s);
            (provider.clone(), device.clone())
        };
        self.prepare(&provider).await?;
        match provider.poll_device(&device, now).await {
            Ok(Polled::Waiting { slower_s }) => {
                let mut flows = self.providers().flows();
                let Some(Flow { way: Way::Device { interval_s, .. }, .. }) = flows.get_mut(&digest) else { return Err(NotEntered::UnknownFlow) };
                *interval_s += slower_s;
                Ok(Err(*interval_s))
            }
            Ok(Polled::Done(signed_in)) => {
                let flow = self.providers().flows().remove(&digest);
                let entered = self.enter_person(&provider, *signed_in, possession, now).await?;
                flow.into_iter().for_each(|flow| self.providers().begun.forgive(flow.peer));
                Ok(Ok(entered))
            }
            // That it cannot be reached says nothing of the person.
            Err(error @ OidcError::Unreachable(..)) => Err(error.into()),
            Err(error) => {
                self.providers().flows().remove(&digest);
                Err(error.into())
            }
        }
    }

    /// Gives a provider the secret it knows this gateway by, as it is now.
    async fn prepare(&self, provider: &Provider) -> Result<(), NotEntered> {
        let Some(source) = &provider.settings().client_secret else { return Ok(()) };
        match self.store().secrets().of(source).await {
            Ok(secret) => provider.set_secret(secret),
            Err(error) => {
                tracing::error!(%error, provider = %provider.name(), "nobody can sign in at a provider: its secret is not there");
                return Err(NotEntered::NoSecret(provider.name().clone()));
            }
        }
        Ok(())
    }

    /// Enters somebody whom a provider vouches for, and mints their token.
    async fn enter_person(
        &self,
        provider: &Provider,
        signed_in: SignedIn,
        possession: Option<&Possession>,
        now: Timestamp,
    ) -> Result<Entered, NotEntered> {
        let (person, settings) = (signed_in.person, provider.settings());
        let id = ids::sign_in();
        let name = person.name.as_deref().and_then(|name| name.parse::<IdentityName>().ok());
        let new = NewSignIn {
            id,
            provider: provider.name().clone(),
            account: Account { issuer: person.issuer.clone(), subject: person.subject.clone() },
            email: person.email.clone(),
            groups: person.groups.clone(),
            session: person.session.clone(),
            checkable: signed_in.refresh.is_some(),
            newcomer: name
                .clone()
                .filter(|_| settings.provision)
                .filter(|name| !self.providers().known.contains_key(name.as_str()))
                .map(|name| (ids::identity(), name)),
        };
        if let Some(refresh) = &signed_in.refresh {
            self.store().secrets().keep_refresh(id, refresh, now).await?;
        }
        let entered = match self.store().state().begin_sign_in(&new, now).await {
            Ok(entered) => entered,
            Err(error) => {
                self.store().secrets().forget_refresh(id).await?;
                return Err(not_entered(error, provider, person, name));
            }
        };
        // First of all: the sessions they have must not keep what they lost.
        if entered.before != entered.identity.groups {
            self.decide_anew(now).await;
        }
        if self.providers().logouts.are_over(&person) {
            self.end_sign_ins(provider.name(), &Which::One(id), "it was ended there", now).await?;
            return Err(NotEntered::UnknownFlow);
        }
        if entered.is_new {
            events::append(self.store(), events::identity_added(&entered.identity, now)).await?;
        }
        events::append(self.store(), events::sign_in_began(&new, &entered.identity, now)).await?;
        if let Some(possession) = possession
            && let Err(error) = self.use_possession(possession, &entered.identity.name, now).await
        {
            self.end_sign_ins(provider.name(), &Which::One(id), "its proof of a key was used before", now).await?;
            return Err(error.into());
        }
        let latest = after(now, settings.sign_in_s);
        let wanted = TokenRequest {
            subject: entered.identity.name.clone(),
            purpose: TokenUse::Api,
            connections: Vec::new(),
            statement: None,
            not_before: None,
            expires_at: entered.identity.expires_at.map_or(latest, |end| end.min(latest)),
            sign_in: Some(id),
            agent: None,
            request: None,
            bound_to: possession.map(|key| key.thumbprint.clone()),
        };
        let (secret, token) = self.mint_token(wanted, &register::actor(&entered.identity), now).await?;
        Ok(Entered { secret, token, identity: entered.identity })
    }
}

fn not_entered(error: SignInError, provider: &Provider, person: Person, name: Option<IdentityName>) -> NotEntered {
    let (provider, provision, subject) = (provider.name().clone(), provider.settings().provision, model::name::printable(&person.subject));
    match error {
        SignInError::Revoked(provider) => NotEntered::Revoked(provider),
        SignInError::Unlinked if provision && name.is_none() => {
            NotEntered::NoName { provider, name: model::name::printable(&person.name.unwrap_or_default()), subject }
        }
        SignInError::Unlinked => NotEntered::Unlinked { provider, subject },
        SignInError::Taken(name) => NotEntered::Taken { provider, name, subject },
        SignInError::Inactive(name) => NotEntered::Inactive(name),
        SignInError::Store(error) => error.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_begun_is_counted_by_network_within_a_minute() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let (one, other): (IpAddr, IpAddr) = ("192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap());
        let mapped: IpAddr = "::ffff:192.0.2.1".parse().unwrap();
        let begun = Begun::default();
        assert!(begun.count(one, 2, 3, at(0)) && begun.count(mapped, 2, 3, at(1)) && !begun.count(one, 2, 3, at(2)));
        assert!(begun.count(other, 2, 3, at(2)) && !begun.count(other, 2, 3, at(3)), "three in all");
        begun.forgive(one);
        assert!(begun.count(one, 2, 3, at(4)), "what came to something is no burden");
        assert!(begun.count(other, 2, 3, at(63)), "a minute later");
    }

    #[test]
    fn web_07_an_answer_goes_to_the_machine_of_whoever_began() {
        for good in ["http://127.0.0.1:1234/callback", "http://[::1]:1234/callback", "http://localhost:1234/callback"] {
            assert!(is_loopback(good), "{good}");
        }
        for wrong in [
            "http://127.0.0.1:1234/callback/",
            "HTTP://127.0.0.1:1234/callback",
            "http://127.1:1234/callback",
            "https://127.0.0.1:1234/callback",
            "http://0.0.0.0:1/callback",
        ] {
            assert!(!is_loopback(wrong), "{wrong}");
        }
    }
}

//! People of identity providers: from a sign-in there to a token of ours, and to its end.
//!
//! A sign-in is begun, goes on in the person's browser, and is finished by whoever began it: they hold the flow's secret, and the provider's answer carries
//! the flow's state. What is minted in a sign-in ends with it: when the provider says so by back-channel logout, or when it no longer
//! refreshes it, which it is asked every [`check_every_s`](identity::oidc::Settings::check_every_s).

use std::{
    collections::{BTreeMap, HashMap},
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use aws_lc_rs::digest;
use futures_util::{StreamExt, future::join_all, stream};
use identity::{
    attempts::network,
    dpop::Possession,
    oidc::{Device, Logout, MAX_LOGOUT_AGE_S, OidcError, Pending, Person, Polled, Provider, Refreshed, SignedIn, random_text},
};
use model::{
    Actor, Identity, IdentityName, ProviderName, Secret, Timestamp,
    token::{TokenRow, TokenUse},
};
use serde_json::json;
use store::{
    StoreError,
    state::{Account, AccountRow, EndedSignIn, LinkError, NewSignIn, SignInError, SignInRow, Which},
};
use url::{Host, Url};

use crate::{
    events,
    guard::{GovernError, Guard},
    ids,
    live::EndReason,
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
/// How often it is looked which sign-ins are to be checked.
const LOOK: Duration = Duration::from_secs(1);
/// How long a provider that does not answer is left alone.
const PAUSE: Duration = Duration::from_secs(5);
/// Sign-ins looked at in one round, and checked at once.
const ROUND: u32 = 256;
const AT_ONCE: usize = 8;
/// A sign-in that a provider answers about so many intervals long without saying that it stands is over.
const MAX_UNCONFIRMED: u32 = 12;
/// Logout tokens remembered, so that none works twice.
const MAX_LOGOUTS: usize = 100_000;

/// The providers people sign in at, and the sign-ins under way.
#[derive(Debug, Default)]
pub struct Providers {
    known: BTreeMap<ProviderName, Arc<Provider>>,
    flows: Mutex<HashMap<FlowDigest, Flow>>,
    /// Logout tokens that came, by issuer and id.
    logouts: Mutex<HashMap<(String, String), Heard>>,
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

/// A logout token that came, and until when it is remembered.
#[derive(Debug)]
struct Heard {
    logout: Logout,
    until: Timestamp,
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

    fn heard(&self) -> MutexGuard<'_, HashMap<(String, String), Heard>> {
        self.logouts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a logout token came before.
    fn was_heard(&self, logout: &Logout) -> bool {
        self.heard().contains_key(&(logout.issuer.clone(), logout.id.clone()))
    }

    /// Remembers a logout token for as long as it could come again, or a sign-in that it speaks of could still be under way.
    fn remember(&self, logout: Logout, now: Timestamp) {
        let mut heard = self.heard();
        heard.retain(|_, heard| now < heard.until);
        // When there is no room to remember, it would count as new: ending what is over already does no harm.
        if heard.len() < MAX_LOGOUTS {
            let until = after(now, FLOW_S.max(2 * MAX_LOGOUT_AGE_S.unsigned_abs()));
            heard.insert((logout.issuer.clone(), logout.id.clone()), Heard { logout, until });
        }
    }

    /// Whether a logout came for what a provider said of somebody a moment before.
    fn is_over(&self, person: &Person) -> bool {
        self.heard().values().any(|Heard { logout, .. }| {
            let about = match (&logout.session, &logout.subject) {
                (Some(session), subject) => {
                    let theirs = subject.as_ref().is_none_or(|subject| *subject == person.subject);
                    theirs && person.session.as_ref().map_or(subject.is_some(), |own| own == session)
                }
                (None, subject) => subject.as_ref() == Some(&person.subject),
            };
            about && logout.issuer == person.issuer && person.said_at.is_none_or(|said| logout.at >= said)
        })
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
        if self.providers().is_over(&person) {
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

    /// Takes a logout token of a provider: what was minted in the sign-ins it speaks of ends. Returns how many sessions ended.
    ///
    /// # Errors
    /// It is no logout token of a provider here, or the state store cannot be reached.
    pub async fn back_channel_logout(&self, token: &str, now: Timestamp) -> Result<usize, NotEntered> {
        let mut refused = NotEntered::UnknownFlow;
        // Several clients of one provider have one issuer: the token is for one of them.
        for provider in self.providers().all().filter(|provider| provider.issued(token)) {
            match provider.logout(token, now).await {
                Ok(logout) => return self.log_out(provider, logout, now).await,
                Err(error) => refused = error.into(),
            }
        }
        Err(refused)
    }

    async fn log_out(&self, provider: &Provider, logout: Logout, now: Timestamp) -> Result<usize, NotEntered> {
        if self.providers().was_heard(&logout) {
            return Err(NotEntered::UnknownFlow);
        }
        let issuer = logout.issuer.clone();
        let which = match (logout.session.clone(), logout.subject.clone()) {
            (Some(session), subject) => Which::Session { issuer, session, subject },
            (None, Some(subject)) => Which::Of(Account { issuer, subject }),
            (None, None) => return Err(NotEntered::UnknownFlow),
        };
        let (mut ended, again) = (self.end_sign_ins(provider.name(), &which, "it was ended there", now).await?, which);
        // Remembered only now: what could not be ended is tried again with the same token. And again for who came in between.
        self.providers().remember(logout, now);
        ended += self.end_sign_ins(provider.name(), &again, "it was ended there", now).await?;
        Ok(ended)
    }

    /// Ends sign-ins: their tokens are revoked, and then what those opened is ended. Returns how many sessions that were.
    async fn end_sign_ins(&self, provider: &ProviderName, which: &Which, why: &str, now: Timestamp) -> Result<usize, StoreError> {
        let by: IdentityName = provider.as_str().parse().map_err(|_| StoreError::Lost)?;
        let ended = self.store().state().end_sign_ins(which, why, &by, now).await?;
        Ok(self.cut(provider, ended, &by, why, now).await)
    }

    /// Ends what was opened in sign-ins that are over: all of it at once, before anything is waited for.
    async fn cut(&self, provider: &ProviderName, ended: Vec<EndedSignIn>, by: &IdentityName, why: &str, now: Timestamp) -> usize {
        let reason = EndReason::SignedOut { provider: provider.clone(), why: why.to_owned() };
        let cut = |sign_in: EndedSignIn| {
            let count: usize = sign_in.tokens.iter().map(|token| self.live().end_by_token(*token, &reason)).sum();
            (sign_in, count)
        };
        let ended: Vec<(EndedSignIn, usize)> = ended.into_iter().map(cut).collect();
        if ended.iter().any(|(sign_in, _)| !sign_in.again) {
            // Groups that only this provider told of are gone.
            self.decide_anew(now).await;
        }
        let sessions = ended.iter().map(|(_, count)| count).sum();
        for (sign_in, count) in ended.into_iter().filter(|(sign_in, count)| !sign_in.again || *count > 0) {
            events::note(self.store(), events::sign_in_ended(&sign_in, by, why, count, now)).await;
            if let Err(error) = self.store().secrets().forget_refresh(sign_in.id).await {
                tracing::error!(%error, "what a provider could be asked with about a sign-in that is over could not be deleted");
            }
        }
        sessions
    }

    /// Asks the providers whether those who signed in still may, for ever.
    pub(crate) async fn watch_sign_ins(&self) {
        while let Err(error) = self.end_strangers(Timestamp::now()).await {
            tracing::error!(%error, "sign-ins at providers that are gone could not be ended");
            tokio::time::sleep(PAUSE).await;
        }
        join_all(self.providers().all().map(|provider| self.watch_provider(provider))).await;
    }

    /// Ends sign-ins at providers that the configuration does not name any more, or names with another issuer: nobody can be asked about them.
    async fn end_strangers(&self, now: Timestamp) -> Result<(), StoreError> {
        for (provider, issuer) in self.store().state().providers_with_sign_ins().await? {
            let name: ProviderName = provider.parse().map_err(|_| StoreError::Lost)?;
            if self.providers().known.get(&name).is_some_and(|known| known.settings().issuer.as_str() == issuer) {
                continue;
            }
            let ended = self.end_sign_ins(&name, &Which::At { provider, issuer }, "the provider is not among the gateway's any more", now).await?;
            tracing::warn!(provider = %name, ended, "sign-ins at a provider that is gone were ended");
        }
        Ok(())
    }

    async fn watch_provider(&self, provider: &Provider) {
        let mut looks = tokio::time::interval(LOOK);
        looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            looks.tick().await;
            if !self.check_sign_ins(provider, Timestamp::now()).await {
                tokio::time::sleep(PAUSE).await;
            }
        }
    }

    /// One round; whether all went well. One sign-in that cannot be checked keeps no other from it.
    async fn check_sign_ins(&self, provider: &Provider, now: Timestamp) -> bool {
        let well = |done: Result<bool, StoreError>| {
            done.unwrap_or_else(|error| {
                tracing::error!(%error, provider = %provider.name(), "a sign-in could not be checked");
                false
            })
        };
        let every = Duration::from_secs(provider.settings().check_every_s);
        let before = now.checked_sub(every).unwrap_or(Timestamp::MIN);
        let due = match self.store().state().sign_ins_to_check(provider.name(), before, ROUND, now).await {
            Ok(due) => due,
            Err(error) => return well(Err(error)),
        };
        let checks = stream::iter(due).map(|row| self.check_sign_in(provider, row, now)).buffer_unordered(AT_ONCE);
        let mut all = checks.fold(true, async |all, checked| well(checked) && all).await;
        match self.store().state().sign_ins_run_out(ROUND, now).await {
            Ok(over) => {
                for id in over {
                    all &= well(self.end_sign_ins(provider.name(), &Which::One(id), "its tokens have expired", now).await.map(|_| true));
                }
            }
            Err(error) => all = well(Err(error)),
        }
        all
    }

    async fn check_sign_in(&self, provider: &Provider, row: SignInRow, now: Timestamp) -> Result<bool, StoreError> {
        let secrets = self.store().secrets();
        self.store().state().note_tried(row.id, now).await?;
        if self.prepare(provider).await.is_err() {
            return Ok(false);
        }
        let Some(refresh) = secrets.refresh(row.id).await? else { return Ok(true) };
        let error = match provider.refresh(&refresh, &row.account.subject, now).await {
            Ok(Refreshed::Over(why)) => return self.not_renewed(provider, &row, &why, now).await,
            Ok(Refreshed::Still { next, told }) => {
                if let Some(next) = next {
                    secrets.keep_refresh(row.id, &next, now).await?;
                }
                match told {
                    Ok(person) => return self.note_checked(&row, person, now).await,
                    Err(error) => error,
                }
            }
            Err(error) => error,
        };
        tracing::warn!(%error, provider = %provider.name(), "a sign-in could not be checked");
        if matches!(error, OidcError::Unreachable(..)) {
            return Ok(false);
        }
        let patience = Duration::from_secs(provider.settings().check_every_s).saturating_mul(MAX_UNCONFIRMED);
        if row.checked_at.checked_add(patience).is_ok_and(|end| end < now) {
            self.not_renewed(provider, &row, "the provider answers, and has not said for long that it stands", now).await?;
        }
        Ok(false)
    }

    async fn note_checked(&self, row: &SignInRow, person: Option<Person>, now: Timestamp) -> Result<bool, StoreError> {
        let told = person.as_ref().map(|person| (person.email.as_deref(), person.groups.as_slice()));
        match self.store().state().note_checked(row.id, told, now).await? {
            Some((before, after)) if before != after => self.decide_anew(now).await,
            Some(_) => {}
            // It ended meanwhile.
            None => drop(self.store().secrets().forget_refresh(row.id).await?),
        }
        Ok(true)
    }

    async fn not_renewed(&self, provider: &Provider, row: &SignInRow, why: &str, now: Timestamp) -> Result<bool, StoreError> {
        let ended = self.end_sign_ins(provider.name(), &Which::One(row.id), &format!("it was not renewed: {why}"), now).await?;
        tracing::info!(identity = %row.identity, provider = %provider.name(), ended, "a provider ended a sign-in");
        Ok(true)
    }

    /// Links an account to a person, or takes it away again. Administrators may.
    ///
    /// # Errors
    /// `by` may not, there is no such provider or person, or the account is somebody's.
    pub async fn link_account(
        &self,
        name: &IdentityName,
        provider: &ProviderName,
        subject: &str,
        by: &Actor,
        now: Timestamp,
    ) -> Result<(), GovernError> {
        self.must_administer(by, now)?;
        if *name == by.name {
            // Their password goes with it: the last administrator must not be lost by mistake.
            return Err(GovernError::NotPermitted("nobody links an account to themselves: ask somebody else who may".to_owned()));
        }
        let account = self.account(provider, subject)?;
        match self.store().state().link_account(&account, provider, name, &by.name, now).await {
            Ok(()) => {}
            Err(LinkError::Store(error)) => return Err(error.into()),
            Err(error) => return Err(GovernError::Invalid(error.to_string())),
        }
        // What they opened with the password they had.
        if let Some(identity) = self.store().state().identity(name).await? {
            self.live().end_by_identity(identity.id, name);
        }
        let detail = json!({ "provider": provider, "subject": subject });
        Ok(events::append(self.store(), events::identity_changed("identity.linked", name, detail, by, now)).await?)
    }

    /// Takes an account away from the person it is linked to, and ends its sign-ins. Administrators may. Returns how many sessions ended.
    ///
    /// # Errors
    /// `by` may not, or it is linked to nobody.
    pub async fn unlink_account(
        &self,
        name: &IdentityName,
        provider: &ProviderName,
        subject: &str,
        by: &Actor,
        now: Timestamp,
    ) -> Result<usize, GovernError> {
        self.must_administer(by, now)?;
        let account = self.account(provider, subject)?;
        let theirs = self.store().state().accounts(Some(name)).await?.into_iter().any(|row| row.account == account);
        if !theirs {
            return Err(GovernError::NotFound(format!("{name} has no account `{}` at {provider}", model::name::printable(subject))));
        }
        let why = "the account was taken away";
        let over = self.store().state().unlink_account(&account, why, &by.name, now).await?.unwrap_or_default();
        let ended = self.cut(provider, over, &by.name, why, now).await;
        self.decide_anew(now).await;
        let detail = json!({ "provider": provider, "subject": subject, "sessions_ended": ended });
        events::append(self.store(), events::identity_changed("identity.unlinked", name, detail, by, now)).await?;
        Ok(ended)
    }

    /// The accounts of an identity that `viewer` may see.
    ///
    /// # Errors
    /// There is no such identity, or none they may see.
    pub async fn accounts(&self, name: &IdentityName, viewer: &Actor, now: Timestamp) -> Result<Vec<AccountRow>, GovernError> {
        self.identity_for(name, viewer, now).await?;
        Ok(self.store().state().accounts(Some(name)).await?)
    }

    fn account(&self, provider: &ProviderName, subject: &str) -> Result<Account, GovernError> {
        let found = self.providers().get(provider).map_err(|error| GovernError::NotFound(error.to_string()))?;
        Ok(Account { issuer: found.settings().issuer.as_str().to_owned(), subject: subject.to_owned() })
    }
}

fn not_entered(error: SignInError, provider: &Provider, person: Person, name: Option<IdentityName>) -> NotEntered {
    let (provider, provision, subject) = (provider.name().clone(), provider.settings().provision, model::name::printable(&person.subject));
    match error {
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

    fn person(session: Option<&str>) -> Person {
        Person {
            issuer: "https://idp.example".to_owned(),
            subject: "alice".to_owned(),
            name: None,
            email: None,
            groups: Vec::new(),
            session: session.map(str::to_owned),
            said_at: Timestamp::from_second(100).ok(),
        }
    }

    /// A logout that comes while a sign-in is under way is not forgotten.
    #[test]
    fn a_logout_counts_for_what_was_said_before_it() {
        let heard = |session: Option<&str>, subject: Option<&str>, second| {
            let providers = Providers::default();
            let at = Timestamp::from_second(second).unwrap();
            let owned = |text: Option<&str>| text.map(str::to_owned);
            let issuer = "https://idp.example".to_owned();
            providers.remember(Logout { issuer, subject: owned(subject), session: owned(session), id: "j".to_owned(), at }, at);
            providers
        };
        assert!(heard(None, Some("alice"), 101).is_over(&person(None)));
        assert!(heard(Some("s"), None, 101).is_over(&person(Some("s"))));
        assert!(heard(Some("s"), Some("alice"), 101).is_over(&person(None)), "its session was not named");
        assert!(!heard(None, Some("alice"), 99).is_over(&person(None)), "said after it");
        assert!(!heard(None, Some("bob"), 101).is_over(&person(None)));
        assert!(!heard(Some("other"), Some("alice"), 101).is_over(&person(Some("s"))));
        assert!(!heard(Some("s"), Some("bob"), 101).is_over(&person(Some("s"))));
    }
}

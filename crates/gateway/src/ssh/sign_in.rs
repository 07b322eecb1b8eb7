//! Who is calling over SSH: a key, a certificate of the gateway's, a token, a password, or a sign-in at a provider on another device.
//!
//! Callers sign in as `identity+connection`, or as the connection alone where what they show says who they are. A key that is merely offered proves nothing and
//! changes nothing; what a caller was asked belongs to the name that it gave then, and to no other.

use std::{borrow::Cow, sync::Arc, time::Duration};

use identity::{ssh, token};
use model::{ConnectionName, ProviderName, Secret, Timestamp, name::printable};
use russh::{
    MethodSet,
    keys::{Certificate, PublicKey},
    server::{Auth, PublicKeyOffer},
};
use session::{
    Guard,
    sign_in::{Shown, SignInFor, SignInRefused, SignedIn},
    ssh::ProvenKey,
};
use tokio::{sync::watch, time::Instant};

use super::{
    caller::METHODS,
    conversation::{Caller, Conversation},
};

/// Between the name of an identity and that of a connection in what callers sign in as.
const SEPARATOR: char = '+';
/// How long a refused secret takes, whatever was wrong with it.
const REFUSAL: Duration = Duration::from_millis(500);
/// How long somebody has for signing in on another device.
const DEVICE_PATIENCE: Duration = Duration::from_secs(300);

/// One caller on its way in.
pub(super) struct SigningIn {
    conversation: Arc<Conversation>,
    /// Whoever it is known to be: it came through a connection of theirs.
    known: Option<Caller>,
    /// When it is sent away, if it is not in by then.
    until: watch::Sender<Instant>,
    /// What it was asked last, and as whom it wanted to sign in then.
    asked: Option<(String, Asked)>,
}

/// Something that a caller was asked.
enum Asked {
    Secret,
    Code(Secret),
    Provider,
    Device {
        flow: Secret,
        until: Instant,
    },
    /// Nothing: it was told why it is not let in.
    Nothing,
}

/// As whom somebody signs in: an identity, if they say one, and a connection.
fn parts(user: &str) -> (Option<&str>, &str) {
    match user.rsplit_once(SEPARATOR) {
        Some((identity, connection)) => (Some(identity), connection),
        None => (None, user),
    }
}

/// Anything may be tried again.
fn again() -> Auth {
    Auth::Reject { proceed_with_methods: Some(MethodSet::from(METHODS)), partial_success: false }
}

/// A question, with what is said before it. Without a prompt it only says something.
fn question(instructions: String, prompt: &str, echo: bool) -> Auth {
    let prompts = if prompt.is_empty() { Vec::new() } else { vec![(Cow::Owned(prompt.to_owned()), echo)] };
    Auth::Partial { name: Cow::Borrowed("Countersign"), instructions: Cow::Owned(instructions), prompts: Cow::Owned(prompts) }
}

impl SigningIn {
    pub(super) const fn new(conversation: Arc<Conversation>, known: Option<Caller>, until: watch::Sender<Instant>) -> Self {
        Self { conversation, known, until, asked: None }
    }

    fn guard(&self) -> &Arc<Guard> {
        &self.conversation.shared().guard
    }

    /// Lets in who is known already. They may say any name but another identity's, and no other connection.
    pub(super) fn known(&mut self, user: &str) -> Auth {
        let Some(caller) = &self.known else { return Auth::reject() };
        let (name, connection) = parts(user);
        let same = name.is_none_or(|name| name == caller.name.as_str() && caller.wanted.as_ref().is_some_and(|(_, wanted)| wanted == connection));
        if !same {
            return Auth::reject();
        }
        self.conversation.enter(caller.clone());
        Auth::Accept
    }

    /// Says whether a key is worth a signature. SSH-02: this is no sign-in.
    pub(super) async fn offered(&mut self, user: &str, offer: &PublicKeyOffer<'_>) -> Auth {
        let Ok(digest) = ssh::key_digest(offer.public_key) else { return Auth::reject() };
        let (name, _) = parts(user);
        if !ssh::is_broken(offer.algorithm) && self.guard().knows_ssh_key(&digest, name).await { Auth::Accept } else { Auth::reject() }
    }

    /// With a key that was registered: its signature is right.
    pub(super) async fn with_key(&mut self, user: &str, key: &PublicKey) -> Auth {
        match ssh::key_digest(key) {
            Ok(digest) => self.with_proven(user, ProvenKey { digest, certified: false }).await,
            Err(_) => Auth::reject(),
        }
    }

    /// With a certificate over a key whose signature is right.
    pub(super) async fn with_certificate(&mut self, user: &str, certificate: &Certificate) -> Auth {
        let Some(keys) = self.guard().ssh() else { return Auth::reject() };
        let vouched = keys.caller(certificate, Timestamp::now());
        let key = PublicKey::new(certificate.public_key().clone(), "");
        match (vouched, ssh::key_digest(&key)) {
            (Ok(name), Ok(digest)) => {
                let key = ProvenKey { digest, certified: true };
                // Whom the row of the key is for is whom the authority vouched for.
                match self.guard().whose_ssh_key(key, self.conversation.peer().ip(), Timestamp::now()).await {
                    Ok(whose) if whose == name => self.with_proven(user, key).await,
                    Ok(_) => Auth::reject(),
                    Err(refused) => {
                        self.tell_log(user, &refused);
                        Auth::reject()
                    }
                }
            }
            (Err(refused), _) => {
                tracing::info!(user = %printable(user), peer = %self.conversation.peer(), %refused, "a certificate is not believed");
                Auth::reject()
            }
            (_, Err(_)) => Auth::reject(),
        }
    }

    async fn with_proven(&mut self, user: &str, key: ProvenKey) -> Auth {
        let (name, connection) = parts(user);
        let (peer, now) = (self.conversation.peer().ip(), Timestamp::now());
        // `alice` alone, whose key it is: she jumps from here.
        if name.is_none()
            && let Ok(whose) = self.guard().whose_ssh_key(key, peer, now).await
            && whose.as_str() == connection
        {
            self.conversation.enter(Caller { name: whose, wanted: None, key: Some(key) });
            return Auth::Accept;
        }
        let Ok(wanted) = connection.parse::<ConnectionName>() else { return Auth::reject() };
        match self.guard().sign_in_with_ssh_key(key, name, &wanted, peer, now).await {
            Ok(signed_in) => self.let_in(signed_in, connection, Some(key)),
            Err(refused) => {
                self.tell_log(user, &refused);
                Auth::reject()
            }
        }
    }

    fn let_in(&self, signed_in: SignedIn, connection: &str, key: Option<ProvenKey>) -> Auth {
        let name = signed_in.chain.subject.name.clone();
        self.conversation.enter(Caller { name, wanted: Some((signed_in, connection.to_owned())), key });
        Auth::Accept
    }

    fn tell_log(&self, user: &str, refused: &SignInRefused) {
        tracing::info!(user = %printable(user), peer = %self.conversation.peer(), ?refused, "a sign-in was refused");
    }

    /// With a token or a password.
    pub(super) async fn with_password(&mut self, user: &str, password: &str) -> Auth {
        let secret = Secret::new(password.as_bytes().to_vec());
        match self.by_secret(user, &secret, None).await {
            Ok(accepted) => accepted,
            Err(_) => again(),
        }
    }

    async fn by_secret(&self, user: &str, secret: &Secret, code: Option<&Secret>) -> Result<Auth, SignInRefused> {
        let begun = Instant::now();
        let (name, connection) = parts(user);
        // A name no connection can have opens nothing; signing in for it costs and tells the same as for any other.
        let wanted: ConnectionName = match connection.parse().or_else(|_| "unknown".parse()) {
            Ok(name) => name,
            Err(_) => return Err(SignInRefused::TooManyAttempts),
        };
        let subject = match name {
            Some(name) => name.to_owned(),
            None => self.guard().speaks_for(secret).await.map(|name| name.to_string()).unwrap_or_default(),
        };
        let shown = Shown { secret, code };
        let peer = self.conversation.peer().ip();
        match self.guard().sign_in_with_code(&subject, shown, SignInFor::Connection(&wanted), peer, Timestamp::now()).await {
            Ok(signed_in) => Ok(self.let_in(signed_in, connection, None)),
            Err(refused) => {
                self.tell_log(user, &refused);
                tokio::time::sleep_until(begun + REFUSAL).await;
                Err(refused)
            }
        }
    }

    /// Step by step: a token or a password with its code, or a sign-in on another device.
    pub(super) async fn interactively(&mut self, user: &str, answers: Option<Vec<Secret>>) -> Auth {
        // SSH-03: what somebody was asked under another name is forgotten.
        let asked = self.asked.take().filter(|(whose, _)| whose == user).map(|(_, asked)| asked);
        let Some(answers) = answers else { return self.ask_for_secret(user) };
        let answer = answers.into_iter().next();
        match (asked, answer) {
            (Some(Asked::Secret), Some(secret)) if secret.reveal().is_empty() => self.ask_where(user).await,
            (Some(Asked::Secret), Some(secret)) => self.take_secret(user, secret).await,
            (Some(Asked::Code(secret)), Some(code)) => match self.by_secret(user, &secret, Some(&code)).await {
                Ok(accepted) => accepted,
                Err(_) => again(),
            },
            (Some(Asked::Provider), Some(name)) => match name.reveal_str().and_then(|name| name.trim().parse().ok()) {
                Some(provider) => self.ask_to_sign_in(user, &provider).await,
                None => again(),
            },
            (Some(Asked::Device { flow, until }), _) => self.wait_for_device(user, &flow, until).await,
            (Some(Asked::Secret | Asked::Code(_) | Asked::Provider), None) | (Some(Asked::Nothing) | None, _) => again(),
        }
    }

    fn ask(&mut self, user: &str, asked: Asked, question: Auth) -> Auth {
        self.asked = Some((user.to_owned(), asked));
        question
    }

    fn ask_for_secret(&mut self, user: &str) -> Auth {
        let providers: Vec<String> = self.guard().providers().all().map(|provider| provider.name().to_string()).collect();
        let prompt = match providers.as_slice() {
            [] => "Token or password: ".to_owned(),
            [one] => format!("Token or password, or Enter to sign in at {one}: "),
            _ => "Token or password, or Enter to sign in at a provider: ".to_owned(),
        };
        self.ask(user, Asked::Secret, question(String::new(), &prompt, false))
    }

    async fn take_secret(&mut self, user: &str, secret: Secret) -> Auth {
        let may_need_code = matches!(token::parse(&secret), Err(identity::MalformedToken::Prefix));
        match self.by_secret(user, &secret, None).await {
            Ok(accepted) => accepted,
            // Nobody hears that the password was right.
            Err(SignInRefused::Wrong(_)) if may_need_code => {
                let prompt = "That was not enough. Code of your authenticator, if you have one: ";
                self.ask(user, Asked::Code(secret), question(String::new(), prompt, false))
            }
            Err(SignInRefused::Wrong(_) | SignInRefused::TooManyAttempts) => again(),
            Err(refused) => self.ask(user, Asked::Nothing, question(refused.to_string(), "", false)),
        }
    }

    async fn ask_where(&mut self, user: &str) -> Auth {
        let providers: Vec<ProviderName> = self.guard().providers().all().map(|provider| provider.name().clone()).collect();
        match providers.as_slice() {
            [] => again(),
            [one] => self.ask_to_sign_in(user, one).await,
            several => {
                let names = several.iter().map(ProviderName::as_str).collect::<Vec<_>>().join(", ");
                self.ask(user, Asked::Provider, question(String::new(), &format!("Sign in at which of {names}: "), true))
            }
        }
    }

    async fn ask_to_sign_in(&mut self, user: &str, provider: &ProviderName) -> Auth {
        match self.guard().begin_device_sign_in(provider, self.conversation.peer().ip(), Timestamp::now()).await {
            Ok(begun) => {
                let patience = DEVICE_PATIENCE.min(Duration::from_secs(begun.expires_in_s));
                let until = Instant::now() + patience;
                self.until.send_replace(until);
                let place = printable(begun.verification_uri_complete.as_deref().unwrap_or(&begun.verification_uri));
                let instructions = format!("On any device, go to {place}\nand see that it shows the code {}", printable(&begun.user_code));
                self.ask(user, Asked::Device { flow: begun.flow, until }, question(instructions, "Then press Enter here: ", true))
            }
            Err(error) => {
                tracing::info!(user = %printable(user), %error, "a sign-in on a device could not begin");
                self.ask(user, Asked::Nothing, question(error.to_string(), "", false))
            }
        }
    }

    async fn wait_for_device(&mut self, user: &str, flow: &Secret, until: Instant) -> Auth {
        let (name, connection) = parts(user);
        let Ok(wanted) = connection.parse::<ConnectionName>() else { return again() };
        let told = loop {
            let now = Timestamp::now();
            match self.guard().poll_device_sign_in(flow, None, now).await {
                Ok(Ok(entered)) => match self.guard().sign_in_entered(entered, name, &wanted, now).await {
                    Ok(signed_in) => return self.let_in(signed_in, connection, None),
                    Err(error) => break error.to_string(),
                },
                Ok(Err(wait_s)) => {
                    let next = Instant::now() + Duration::from_secs(wait_s.max(1));
                    if next >= until {
                        break "nobody signed in in time".to_owned();
                    }
                    tokio::time::sleep_until(next).await;
                }
                Err(error) => break error.to_string(),
            }
        };
        tracing::info!(user = %printable(user), %told, "a sign-in on a device was refused");
        self.ask(user, Asked::Nothing, question(told, "", false))
    }
}

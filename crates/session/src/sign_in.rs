//! Who is calling: a name and a secret in, an actor chain out, or one and the same refusal.
//!
//! An unknown name, a name without a password and a wrong password cost one argon2 computation each and answer alike; an unknown token costs one
//! look-up by digest and answers like them. Only who holds a real token hears more about it: that it expired, was revoked, or is for something
//! else. Argon2 runs on blocking threads, few at once, so that a flood of sign-ins neither starves sessions nor eats the memory.
//!
//! A missing or wrong code of a second factor is answered like a wrong password, in the same time: whoever guesses passwords learns of none that it is right. Where
//! nobody can give a code, as at a database's prompt, those who have a second factor come with a token.

use std::{net::IpAddr, time::Duration};

use identity::{MalformedToken, access, jwt::TokenError, password, token};
use model::{
    Actor, ActorChain, ConnectionName, Identity, IdentityName, Secret, SessionId, Timestamp,
    token::{TokenRow, TokenUse},
};
use store::StoreError;

use crate::{
    events,
    guard::Guard,
    live::{LiveHandle, Registration, TooMany},
    register,
    second_factor::SecondFactor,
};

/// What the caller wants to do once signed in.
#[derive(Debug, Clone, Copy)]
pub enum SignInFor<'a> {
    /// Open a session on this connection.
    Connection(&'a ConnectionName),
    /// Call the HTTP API.
    Api,
}

/// What somebody shows.
#[derive(Debug, Clone, Copy)]
pub struct Shown<'a> {
    /// A token or a password.
    pub secret: &'a Secret,
    /// The code of their authenticator.
    pub code: Option<&'a Secret>,
}

impl SignInFor<'_> {
    const fn class(self) -> TokenUse {
        match self {
            Self::Connection(_) => TokenUse::Connect,
            Self::Api => TokenUse::Api,
        }
    }
}

/// Somebody who proved who they are. What they may do is not decided yet.
#[derive(Debug, Clone)]
pub struct SignedIn {
    /// Who acts.
    pub chain: ActorChain,
    /// The token they used, with the one statement it may run, if it is for one; none for a password.
    pub token: Option<TokenRow>,
    /// When this access ends: the earliest end among token and chain.
    pub ends_at: Option<Timestamp>,
}

/// Why somebody was not signed in. `Display` is for the caller; what differs only inside is told apart by `Debug`, for the log.
#[derive(Debug, thiserror::Error)]
pub enum SignInRefused {
    /// The secret is not theirs, or nobody has that name. Which of these is not said.
    #[error("sign-in failed: the name or the secret is not right")]
    Wrong(WrongSecret),
    /// Too many failures of that name or from that address.
    #[error("sign-in failed: the name or the secret is not right")]
    TooManyAttempts,
    /// The text was cut or mistyped: it is a token only by its first letters.
    #[error("sign-in failed: {0}; mint a new one with `countersign token`")]
    MalformedToken(MalformedToken),
    /// A real token, which does not open this.
    #[error("sign-in failed: {0}")]
    Token(#[from] TokenRefused),
    /// The identity may not act any more. Told only to who knows its secret.
    #[error("sign-in failed: identity {0} was revoked or has expired; ask an administrator")]
    Inactive(IdentityName),
    /// Too many others sign in at this moment.
    #[error("sign-in failed: too many people sign in at this moment; try again")]
    Busy,
    /// The state store cannot be reached: no new sessions.
    #[error("sign-in failed: the gateway cannot reach its state store; try again later")]
    StateLost,
    /// A limit on sessions.
    #[error(transparent)]
    TooManySessions(#[from] TooMany),
}

/// What was wrong, for logs and tests; the caller hears the same for all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WrongSecret {
    /// Not the password of that name, or the name is unknown or has none.
    Password,
    /// The password is right, and the code of the second factor is missing, wrong, or was used.
    Code,
    /// No token of that digest.
    UnknownToken,
}

/// Why a real token does not open what it was used for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenRefused {
    /// Its window has closed.
    #[error("the token expired at {0:.0}; mint a new one with `countersign token`")]
    Expired(Timestamp),
    /// Its window is not open yet.
    #[error("the token works from {0:.0} on, not earlier")]
    NotYet(Timestamp),
    /// Its one statement has run.
    #[error("the token is used up: its statement ran at {0:.0}; mint a new one with `countersign token`")]
    Spent(Timestamp),
    /// It was revoked.
    #[error("the token was revoked; mint a new one with `countersign token`")]
    Revoked,
    /// It is for connections and was used for the API, or the other way round.
    #[error("the token is for {}, not for {}", class_in_words(*.0), class_in_words(*.1))]
    OtherUse(TokenUse, TokenUse),
    /// It does not open this connection.
    #[error("the token does not open {0}; mint one for it with `countersign token {0}`")]
    OtherConnection(ConnectionName),
    /// The name given is not the one it speaks for.
    #[error("the token speaks for another identity than the name given; sign in with the name it was minted for")]
    OtherName,
}

const fn class_in_words(class: TokenUse) -> &'static str {
    match class {
        TokenUse::Connect => "opening connections",
        TokenUse::Api => "the API",
        TokenUse::Delegate => "an agent to act with",
        TokenUse::SshKey | TokenUse::SshCertificate => "whoever has its key",
    }
}

impl Guard {
    /// Signs somebody in with a token or a password, whichever `secret` looks like. `name` is taken as the caller gave it, unparsed.
    ///
    /// # Errors
    /// Why not. Unknown names and wrong secrets are told nothing apart, in the same time.
    pub async fn sign_in(&self, name: &str, secret: &Secret, wanted: SignInFor<'_>, peer: IpAddr, now: Timestamp) -> Result<SignedIn, SignInRefused> {
        self.sign_in_with_code(name, Shown { secret, code: None }, wanted, peer, now).await
    }

    /// As [`sign_in`](Self::sign_in), with the code of an authenticator beside the password if somebody gave one.
    ///
    /// # Errors
    /// As for `sign_in`.
    pub async fn sign_in_with_code(
        &self,
        name: &str,
        shown: Shown<'_>,
        wanted: SignInFor<'_>,
        peer: IpAddr,
        now: Timestamp,
    ) -> Result<SignedIn, SignInRefused> {
        self.may_begin(wanted)?;
        let secret = shown.secret;
        let signed_in = match token::parse(secret) {
            Ok(presented) => self.sign_in_with_token(name, presented.digest, wanted, peer, now).await?,
            Err(MalformedToken::Prefix) => match access::claimed(secret) {
                Some(text) => self.sign_in_with_access_token(name, text, wanted, peer, now).await?,
                None => self.sign_in_with_password(name, shown, wanted, peer, now).await?,
            },
            Err(malformed) => return Err(SignInRefused::MalformedToken(malformed)),
        };
        self.note_use(&signed_in, now).await;
        Ok(signed_in)
    }

    /// Whom a token speaks for, where its caller does not say: nothing is proven by that.
    pub async fn speaks_for(&self, secret: &Secret) -> Option<IdentityName> {
        let digest = match token::parse(secret) {
            Ok(presented) => presented.digest,
            Err(_) => token::sha256(access::claimed(secret)?.as_bytes()),
        };
        self.store().state().token_by_digest(&digest).await.ok().flatten().map(|row| row.subject)
    }

    /// Registers the session of somebody who signed in and only then looks at their token and identity for the last time, so that no revocation
    /// slips in between. Decide `connect` after this, with the handle's chain.
    ///
    /// # Errors
    /// What has changed since they signed in, or a limit.
    pub async fn enter(
        &self,
        session: SessionId,
        signed_in: &SignedIn,
        connection: &ConnectionName,
        database: &str,
        now: Timestamp,
    ) -> Result<LiveHandle, SignInRefused> {
        let handle = self.live().register(Registration {
            session,
            chain: signed_in.chain.clone(),
            token: signed_in.token.as_ref().map(|token| token.id),
            request: signed_in.token.as_ref().and_then(|token| token.request),
            connection: connection.clone(),
            database: database.to_owned(),
            ends_at: signed_in.ends_at,
        })?;
        let chain = self.still_stands(signed_in, SignInFor::Connection(connection), now).await?;
        if chain != signed_in.chain {
            self.live().refresh(session, chain.clone());
        }
        // What was granted may have been taken back before the chain was put there: from here on, whoever takes it finds it.
        let mut granted = chain.clone();
        self.grant(&mut granted, connection, signed_in.token.as_ref(), now);
        if granted != chain {
            self.live().refresh(session, granted);
        }
        Ok(handle)
    }

    /// The chain of somebody who signed in earlier, as it stands now: for an API caller's next request.
    ///
    /// # Errors
    /// The token or a member of the chain no longer works.
    pub async fn still_stands(&self, signed_in: &SignedIn, wanted: SignInFor<'_>, now: Timestamp) -> Result<ActorChain, SignInRefused> {
        self.may_begin(wanted)?;
        if let Some(token) = &signed_in.token {
            let row = self.store().state().token(token.id).await.map_err(lost)?;
            let row = row.ok_or(TokenRefused::Revoked)?;
            usable(&row, wanted, now)?;
            self.must_not_have_moved(&row).await?;
        } else if !self.store().state().accounts(Some(&signed_in.chain.subject.name)).await.map_err(lost)?.is_empty() {
            // An account was linked since: they have no password any more.
            return Err(SignInRefused::Wrong(WrongSecret::Password));
        }
        let mut chain = signed_in.chain.clone();
        for member in chain.members_mut() {
            let row = self.store().state().identity_by_id(member.id).await.map_err(lost)?;
            let row = row.filter(|row| row.is_active(now)).ok_or_else(|| SignInRefused::Inactive(member.name.clone()))?;
            *member = register::renewed(member, &row);
        }
        if let SignInFor::Connection(name) = wanted {
            self.grant(&mut chain, name, signed_in.token.as_ref(), now);
        }
        Ok(chain)
    }

    /// Gives a chain what was granted on a connection.
    fn grant(&self, chain: &mut ActorChain, connection: &ConnectionName, token: Option<&TokenRow>, now: Timestamp) {
        if let Some(connection) = self.version().connections.get(connection) {
            self.grants().apply(chain, connection, token.and_then(|token| token.request), now);
        }
    }

    /// No session begins while the state store is gone. The API goes by the answers it gets: what can be read is shown while nothing can be written.
    pub(crate) fn may_begin(&self, wanted: SignInFor<'_>) -> Result<(), SignInRefused> {
        match wanted {
            SignInFor::Connection(_) if !self.state_is_there() => Err(SignInRefused::StateLost),
            SignInFor::Connection(_) | SignInFor::Api => Ok(()),
        }
    }

    /// With a token of ours that others can read: what it says must be right, and then its row counts, as for any other.
    async fn sign_in_with_access_token(
        &self,
        name: &str,
        text: &str,
        wanted: SignInFor<'_>,
        peer: IpAddr,
        now: Timestamp,
    ) -> Result<SignedIn, SignInRefused> {
        let checked = match (self.signer(), self.url(), wanted) {
            (Some(signer), Some(url), SignInFor::Connection(connection)) => signer.check(text, url, &url.connection(connection), now),
            (_, _, SignInFor::Connection(_) | SignInFor::Api) => Err(TokenError::Kind),
        };
        let id = match (checked, wanted) {
            (Ok(id), _) => id,
            // Its signature is right: who holds it hears more.
            (Err(TokenError::Expired(at)), _) => return Err(TokenRefused::Expired(at).into()),
            (Err(TokenError::Audience), SignInFor::Connection(connection)) => return Err(TokenRefused::OtherConnection(connection.clone()).into()),
            (Err(error), _) => {
                tracing::debug!(%error, "an access token is not believed");
                return Err(self.unknown_token(name, peer, now));
            }
        };
        let signed_in = self.sign_in_with_token(name, token::sha256(text.as_bytes()), wanted, peer, now).await?;
        if signed_in.token.as_ref().is_none_or(|row| row.id != id) {
            return Err(self.unknown_token(name, peer, now));
        }
        Ok(signed_in)
    }

    /// Who holds 160 random bits is not guessing: only an unknown token counts as a failure, and failures of others never lock a real one out.
    pub(crate) fn unknown_token(&self, name: &str, peer: IpAddr, now: Timestamp) -> SignInRefused {
        let counted = self.attempts.begin(name, peer, now).map(drop);
        counted.map_or(SignInRefused::TooManyAttempts, |()| SignInRefused::Wrong(WrongSecret::UnknownToken))
    }

    async fn sign_in_with_token(
        &self,
        name: &str,
        digest: token::TokenDigest,
        wanted: SignInFor<'_>,
        peer: IpAddr,
        now: Timestamp,
    ) -> Result<SignedIn, SignInRefused> {
        let row = self.store().state().token_by_digest(&digest).await.map_err(lost)?;
        let Some(row) = row else { return Err(self.unknown_token(name, peer, now)) };
        if row.purpose.is_of_ssh() {
            return Err(self.unknown_token(name, peer, now));
        }
        self.signed_in_by(row, Some(name), wanted, now).await
    }

    /// What a token that somebody proved to have makes of them. Without a name they are whom it speaks for.
    pub(crate) async fn signed_in_by(
        &self,
        row: TokenRow,
        name: Option<&str>,
        wanted: SignInFor<'_>,
        now: Timestamp,
    ) -> Result<SignedIn, SignInRefused> {
        if name.is_some_and(|name| row.subject.as_str() != name) {
            return Err(TokenRefused::OtherName.into());
        }
        usable(&row, wanted, now)?;
        let mut ends_at = row.expires_at;
        let mut members = Vec::new();
        for name in std::iter::once(&row.subject).chain(&row.actors) {
            let identity = self.store().state().identity(name).await.map_err(lost)?;
            let identity = identity.filter(|identity| identity.is_active(now)).ok_or_else(|| SignInRefused::Inactive(name.clone()))?;
            ends_at = identity.expires_at.map_or(ends_at, |end| end.min(ends_at));
            members.push(Actor { run: row.run_of(name).cloned(), ..register::actor(&identity) });
        }
        let mut members = members.into_iter();
        let subject = members.next().ok_or_else(|| SignInRefused::Inactive(row.subject.clone()))?;
        let minted_by = Some(row.minted_by.clone()).filter(|minter| *minter != row.subject);
        let chain = ActorChain { subject, actors: members.collect(), minted_by };
        let ends_at = Some(ends_at);
        Ok(SignedIn { chain, token: Some(row), ends_at })
    }

    async fn sign_in_with_password(
        &self,
        name: &str,
        shown: Shown<'_>,
        wanted: SignInFor<'_>,
        peer: IpAddr,
        now: Timestamp,
    ) -> Result<SignedIn, SignInRefused> {
        let attempt = self.attempts.begin(name, peer, now).map_err(|_| SignInRefused::TooManyAttempts)?;
        let known = match name.parse::<IdentityName>() {
            Ok(name) => self.store().state().identity_and_password(&name).await.map_err(lost)?,
            Err(_) => None,
        };
        let (identity, stored) = known.map_or((None, None), |(identity, stored): (Identity, Option<String>)| (Some(identity), stored));
        let second = self.look_at_code(identity.as_ref(), shown.code, now).await.map_err(lost)?;
        let right = self.verify(shown.secret, stored).await?;
        let identity = identity.filter(|_| right).ok_or(SignInRefused::Wrong(WrongSecret::Password))?;
        let fits = match second {
            SecondFactor::NotAsked => true,
            SecondFactor::Missing => false,
            SecondFactor::Right(step) => self.store().state().spend_code(&identity.name, step).await.map_err(lost)?,
        };
        if !fits {
            return Err(SignInRefused::Wrong(WrongSecret::Code));
        }
        self.attempts.succeeded(&attempt);
        if !identity.is_active(now) {
            return Err(SignInRefused::Inactive(identity.name));
        }
        self.note_break_glass(&identity, wanted, second != SecondFactor::NotAsked, peer, now).await?;
        let ends_at = identity.expires_at;
        Ok(SignedIn { chain: ActorChain::alone(register::actor(&identity)), token: None, ends_at })
    }

    /// Where people sign in at a provider, a password goes past it: that is for emergencies, and each time somebody is to know.
    async fn note_break_glass(
        &self,
        identity: &Identity,
        wanted: SignInFor<'_>,
        second_factor: bool,
        peer: IpAddr,
        now: Timestamp,
    ) -> Result<(), SignInRefused> {
        if self.providers().all().next().is_none() {
            return Ok(());
        }
        let wanted = match wanted {
            SignInFor::Connection(name) => name.as_str(),
            SignInFor::Api => "api",
        };
        tracing::warn!(identity = %identity.name, %peer, wanted, second_factor, "a built-in user signed in with a password, past the identity providers");
        // Not written down is not let in.
        events::append(self.store(), events::sign_in_broke_glass(identity, peer, wanted, second_factor, now)).await.map_err(lost)
    }

    /// Compares a password on a blocking thread when it is its turn. No stored hash costs the same.
    pub(crate) async fn verify(&self, secret: &Secret, stored: Option<String>) -> Result<bool, SignInRefused> {
        let patience = Duration::from_millis(self.limits().password_wait_ms);
        let place = tokio::time::timeout(patience, self.hashing.clone().acquire_owned()).await;
        let Ok(Ok(place)) = place else { return Err(SignInRefused::Busy) };
        let secret = secret.clone();
        let verified = tokio::task::spawn_blocking(move || {
            let right = password::verify(&secret, stored.as_deref());
            drop(place);
            right
        });
        verified.await.map_err(|_| SignInRefused::Busy)
    }

    /// Whoever signs in at a provider does so there, each day: a key that they registered before they had an account is not taken any more.
    pub(crate) async fn must_not_have_moved(&self, row: &TokenRow) -> Result<(), SignInRefused> {
        if row.purpose == TokenUse::SshKey && !self.store().state().accounts(Some(&row.subject)).await.map_err(lost)?.is_empty() {
            return Err(TokenRefused::Revoked.into());
        }
        Ok(())
    }

    /// When somebody was last there is for listings; that it cannot be noted refuses nobody.
    pub(crate) async fn note_use(&self, signed_in: &SignedIn, now: Timestamp) {
        let state = self.store().state();
        for member in signed_in.chain.members() {
            if let Err(error) = state.touch_identity(&member.name, now).await {
                tracing::warn!(%error, "the last use of an identity could not be noted");
            }
        }
        if let Some(token) = &signed_in.token
            && let Err(error) = state.touch_token(token.id, now).await
        {
            tracing::warn!(%error, "the last use of a token could not be noted");
        }
    }
}

/// Whether a token opens what is wanted at `now`.
fn usable(row: &TokenRow, wanted: SignInFor<'_>, now: Timestamp) -> Result<(), TokenRefused> {
    if row.revoked_at.is_some() {
        return Err(TokenRefused::Revoked);
    }
    let by_key = row.purpose.is_of_ssh() && matches!(wanted, SignInFor::Connection(_));
    if row.purpose != wanted.class() && !by_key {
        return Err(TokenRefused::OtherUse(row.purpose, wanted.class()));
    }
    if let Some(at) = row.spent_at {
        return Err(TokenRefused::Spent(at));
    }
    if now < row.not_before {
        return Err(TokenRefused::NotYet(row.not_before));
    }
    if now >= row.expires_at {
        return Err(TokenRefused::Expired(row.expires_at));
    }
    match wanted {
        SignInFor::Connection(_) if by_key && row.connections.is_empty() => Ok(()),
        SignInFor::Connection(name) if !row.connections.contains(name) => Err(TokenRefused::OtherConnection(name.clone())),
        SignInFor::Connection(_) | SignInFor::Api => Ok(()),
    }
}

pub(crate) fn lost(error: StoreError) -> SignInRefused {
    tracing::error!(%error, "nobody can be signed in: the state store cannot be reached");
    SignInRefused::StateLost
}

#[cfg(test)]
mod tests;

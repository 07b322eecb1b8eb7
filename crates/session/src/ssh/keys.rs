//! Keys that callers sign in with over SSH: registered ones, and those that the gateway's own authority vouches for.
//!
//! Both are rows among the tokens, found by the key itself: they are listed, expire, are revoked and end what they opened as every other token. A certificate
//! ends with the sign-in that it was made in. It is never enough that the authority signed it: its row is looked at, too.

use std::{net::IpAddr, time::Duration};

use identity::{
    TokenDigest,
    ssh::{self, SshKeyError, SshKeys},
};
use model::{
    Actor, ConnectionName, IdentityName, Timestamp,
    token::{TokenRow, TokenUse},
};

use crate::{
    guard::{GovernError, Guard},
    providers::Entered,
    sign_in::{SignInFor, SignInRefused, SignedIn, TokenRefused, lost},
    tokens::TokenRequest,
};

/// How long a certificate works at most, in seconds: a long day.
pub const CERTIFICATE_S: u64 = 16 * 3_600;

/// A key that somebody proved to have.
#[derive(Debug, Clone, Copy)]
pub struct ProvenKey {
    /// What it is found by.
    pub digest: TokenDigest,
    /// A certificate of this gateway's authority came with it.
    pub certified: bool,
}

/// A key that is to be registered.
#[derive(Debug, Clone)]
pub struct NewKey {
    /// Who signs in with it.
    pub subject: IdentityName,
    /// It, as `ssh-keygen` writes it.
    pub public_key: String,
    /// The connections it opens; none for all that policy lets them open.
    pub connections: Vec<ConnectionName>,
    /// Until when.
    pub expires_at: Timestamp,
}

impl Guard {
    /// The gateway's keys for SSH; none if what they are made of is lost.
    #[must_use]
    pub fn ssh(&self) -> Option<&SshKeys> {
        self.ssh_keys.as_ref()
    }

    /// Registers a key. People do so for themselves, the owner of a workload or agent and administrators for it.
    ///
    /// # Errors
    /// `by` may not, the key is weak, or is or was somebody's, or its end is past or too far ahead.
    pub async fn register_ssh_key(&self, new: NewKey, by: &Actor, now: Timestamp) -> Result<TokenRow, GovernError> {
        let key = ssh::callers_key(&new.public_key)?;
        if !self.store().state().accounts(Some(&new.subject)).await?.is_empty() {
            let why = format!(
                "{} signs in at a provider: `countersign login` gives a certificate for the day, and a key that outlasts it is not registered",
                new.subject
            );
            return Err(GovernError::Invalid(why));
        }
        let wanted = wanted(new.subject, TokenUse::SshKey, new.expires_at, ssh::fingerprint(&key));
        self.let_key_in(TokenRequest { connections: new.connections, ..wanted }, &ssh::key_digest(&key)?, None, by, now).await
    }

    /// Vouches for a key of somebody who is signed in, until that ends and a day at most. Returns the certificate in OpenSSH's form.
    ///
    /// # Errors
    /// The key is weak, or is or was somebody's, or SSH is not served.
    pub async fn certify_ssh_key(
        &self,
        public_key: &str,
        signed_in: &TokenRow,
        by: &Actor,
        now: Timestamp,
    ) -> Result<(String, TokenRow), GovernError> {
        let keys = self.ssh().ok_or_else(|| GovernError::Invalid("this gateway does not speak SSH".to_owned()))?;
        let key = ssh::callers_key(public_key)?;
        let longest = CERTIFICATE_S.min(self.limits().max_token_window_s);
        let latest = now.checked_add(Duration::from_secs(longest)).unwrap_or(now);
        let wanted = wanted(by.name.clone(), TokenUse::SshCertificate, signed_in.expires_at.min(latest), ssh::fingerprint(&key));
        let wanted = TokenRequest { sign_in: signed_in.sign_in, ..wanted };
        let row = self.let_key_in(wanted, &ssh::key_digest(&key)?, Some(signed_in.id), by, now).await?;
        let certificate = keys.certify_caller(&key, &row.subject, &format!("{} {}", row.subject, row.id), now, row.expires_at)?;
        Ok((certificate, row))
    }

    /// Whether it is worth the while to prove that one has this key: it is somebody's, who may be called `name`. This is no sign-in, and nothing follows from it.
    pub async fn knows_ssh_key(&self, digest: &TokenDigest, name: Option<&str>) -> bool {
        match self.store().state().token_by_digest(digest).await {
            Ok(row) => row.is_some_and(|row| row.purpose.is_of_ssh() && name.is_none_or(|name| row.subject.as_str() == name)),
            Err(error) => {
                tracing::error!(%error, "no key can be looked up: the state store cannot be reached");
                false
            }
        }
    }

    /// Signs in whoever proved to have a key. Without a name they are whose key it is.
    ///
    /// # Errors
    /// Why not.
    pub async fn sign_in_with_ssh_key(
        &self,
        key: ProvenKey,
        name: Option<&str>,
        connection: &ConnectionName,
        peer: IpAddr,
        now: Timestamp,
    ) -> Result<SignedIn, SignInRefused> {
        self.may_begin(SignInFor::Connection(connection))?;
        let row = self.row_of_ssh_key(key, name, peer, now).await?;
        self.must_not_have_moved(&row).await?;
        let signed_in = self.signed_in_by(row, name, SignInFor::Connection(connection), now).await?;
        self.note_use(&signed_in, now).await;
        Ok(signed_in)
    }

    /// Whose key it is, for somebody who names the connection only later. They are signed in then.
    ///
    /// # Errors
    /// It is nobody's, or does not work any more.
    pub async fn whose_ssh_key(&self, key: ProvenKey, peer: IpAddr, now: Timestamp) -> Result<IdentityName, SignInRefused> {
        let row = self.row_of_ssh_key(key, None, peer, now).await?;
        self.must_not_have_moved(&row).await?;
        if !self.store().state().token_is_live(row.id, now).await.map_err(lost)? {
            return Err(TokenRefused::Revoked.into());
        }
        Ok(row.subject)
    }

    async fn row_of_ssh_key(&self, key: ProvenKey, name: Option<&str>, peer: IpAddr, now: Timestamp) -> Result<TokenRow, SignInRefused> {
        let row = self.store().state().token_by_digest(&key.digest).await.map_err(lost)?;
        let purpose = if key.certified { TokenUse::SshCertificate } else { TokenUse::SshKey };
        // A key that is vouched for is nothing without the certificate.
        let row = row.filter(|row| row.purpose == purpose);
        row.ok_or_else(|| self.unknown_token(name.unwrap_or_default(), peer, now))
    }

    /// Signs in somebody who has just signed in at a provider, for this connection. What they could call the API with is not needed, and is revoked.
    ///
    /// # Errors
    /// They are somebody else than `name`, or the connection is not theirs to open.
    pub async fn sign_in_entered(
        &self,
        entered: Entered,
        name: Option<&str>,
        connection: &ConnectionName,
        now: Timestamp,
    ) -> Result<SignedIn, GovernError> {
        let by = crate::register::actor(&entered.identity);
        let minted = match name {
            Some(name) if entered.identity.name.as_str() != name => {
                Err(GovernError::NotPermitted(format!("{} signed in, and not {}", entered.identity.name, model::name::printable(name))))
            }
            _ => {
                let latest = now.checked_add(Duration::from_secs(self.limits().max_token_window_s)).unwrap_or(now);
                let wanted = wanted(entered.identity.name.clone(), TokenUse::Connect, entered.token.expires_at.min(latest), String::new());
                let wanted = TokenRequest { connections: vec![connection.clone()], sign_in: entered.token.sign_in, bound_to: None, ..wanted };
                self.mint_token(wanted, &by, now).await
            }
        };
        self.revoke_token(entered.token.id, &by, now).await?;
        let (_, row) = minted?;
        let signed_in = self.signed_in_by(row, None, SignInFor::Connection(connection), now).await;
        signed_in.map_err(|refused| GovernError::NotPermitted(refused.to_string()))
    }
}

fn wanted(subject: IdentityName, purpose: TokenUse, expires_at: Timestamp, fingerprint: String) -> TokenRequest {
    TokenRequest {
        subject,
        purpose,
        connections: Vec::new(),
        statement: None,
        not_before: None,
        expires_at,
        sign_in: None,
        agent: None,
        request: None,
        bound_to: Some(fingerprint),
    }
}

impl From<SshKeyError> for GovernError {
    fn from(error: SshKeyError) -> Self {
        Self::Invalid(error.to_string())
    }
}

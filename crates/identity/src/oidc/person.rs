//! Who somebody is, by what their provider claims.

use model::{GroupName, Timestamp};
use serde_json::Value;

use super::{OidcError, Preset, Provider};
use crate::jwt::{Claims, Header, TokenError, is_plain};

/// Longest subject (OpenID Connect Core, section 2), in bytes.
const MAX_SUBJECT_BYTES: usize = 255;
/// Longest id of a session at the provider, in bytes.
const MAX_SESSION_BYTES: usize = 255;
/// Longest address, in bytes.
const MAX_EMAIL_BYTES: usize = 254;

/// Somebody who signed in at a provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Person {
    /// Who says so.
    pub issuer: String,
    /// Whom the issuer means: with it, who they are. Everything else may change or belong to somebody else tomorrow.
    pub subject: String,
    /// What they may be called here when they are new: not always a name that can be one.
    pub name: Option<String>,
    /// Their address, for people to read.
    pub email: Option<String>,
    /// Their groups, sorted.
    pub groups: Vec<GroupName>,
    /// Their session at the provider, which back-channel logout may name.
    pub session: Option<String>,
    /// When the provider said so.
    pub said_at: Option<Timestamp>,
}

impl Provider {
    /// Checks an ID token by the book: OpenID Connect Core, section 3.1.3.7.
    pub(super) async fn id_token(&self, token: &str, nonce: Option<&str>, now: Timestamp) -> Result<Claims, OidcError> {
        let metadata = self.metadata(now).await?;
        let verified = self.keys.verify(token, &self.fetcher, &metadata.jwks_uri, now).await;
        let (header, claims) = verified.map_err(|error| self.disbelieved(error))?;
        self.check(&header, &claims, nonce, now).map_err(|error| self.token(error))?;
        Ok(claims)
    }

    fn check(&self, header: &Header, claims: &Claims, nonce: Option<&str>, now: Timestamp) -> Result<(), TokenError> {
        if !is_plain(header.kind.as_deref()) || claims.get("events").is_some() {
            return Err(TokenError::Kind);
        }
        claims.must_be_from(self.settings.issuer.as_str())?;
        claims.must_be_for(&self.settings.client_id)?;
        let authorized = claims.text("azp");
        if (claims.texts("aud").len() > 1 && authorized.is_none()) || authorized.is_some_and(|party| party != self.settings.client_id) {
            return Err(TokenError::Audience);
        }
        claims.must_be_current(now)?;
        claims.time("iat").ok_or(TokenError::Missing("iat"))?;
        let subject = claims.must("sub")?;
        if subject.len() > MAX_SUBJECT_BYTES || subject.chars().any(char::is_control) {
            return Err(TokenError::Malformed);
        }
        match nonce {
            Some(nonce) if claims.must("nonce")? != nonce => Err(TokenError::Nonce),
            _ => Ok(()),
        }
    }

    /// The person that checked claims are about, with what their provider tells of them beside the token.
    pub(super) async fn person(&self, claims: &Claims, access_token: Option<&str>, now: Timestamp) -> Result<Person, OidcError> {
        let subject = claims.must("sub").map_err(|error| self.token(error))?.to_owned();
        let wanted = self.settings.groups_claim();
        let lacks = |claim: &str| claims.get(claim).is_none();
        let more = match access_token {
            Some(token) if self.settings.asks_userinfo() && (wanted.is_some_and(lacks) || lacks(self.settings.name_claim())) => {
                self.userinfo(token, &subject, now).await?
            }
            _ => None,
        };
        let claim = |name: &str| claims.get(name).or_else(|| more.as_ref().and_then(|more| more.get(name)));
        self.must_be_of_the_domain(claim("hd"))?;
        let groups = match self.too_many_groups(claims) {
            true => self.groups_of_graph(access_token).await?,
            false => self.settings.groups_of(wanted.and_then(claim)),
        };
        // What has control characters is no name, and a database may not take it.
        let fits = |text: &&str, longest: usize| text.len() <= longest && !text.chars().any(char::is_control);
        let text = |name: &str, longest: usize| claim(name).and_then(Value::as_str).filter(|text| fits(text, longest)).map(str::to_owned);
        Ok(Person {
            issuer: self.settings.issuer.as_str().to_owned(),
            name: text(self.settings.name_claim(), MAX_EMAIL_BYTES),
            email: text("email", MAX_EMAIL_BYTES),
            groups: groups.map_err(|why| OidcError::NotHere(self.name.clone(), why))?,
            session: text("sid", MAX_SESSION_BYTES),
            said_at: claims.time("iat"),
            subject,
        })
    }

    fn must_be_of_the_domain(&self, domain: Option<&Value>) -> Result<(), OidcError> {
        match &self.settings.hosted_domain {
            Some(wanted) if domain.and_then(Value::as_str) != Some(wanted) => {
                Err(OidcError::NotHere(self.name.clone(), format!("only people of {wanted} sign in here")))
            }
            _ => Ok(()),
        }
    }

    /// What the provider tells of the person beside the token (section 5.3); of nobody else.
    pub(super) async fn userinfo(&self, access_token: &str, subject: &str, now: Timestamp) -> Result<Option<Claims>, OidcError> {
        let metadata = self.metadata(now).await?;
        let Some(url) = &metadata.userinfo_endpoint else { return Ok(None) };
        let answer = self.fetcher.get(url, Some(access_token)).await.map_err(|error| self.unreachable(error))?;
        if answer.status != 200 {
            return Err(self.odd(format!("userinfo: status {}", answer.status)));
        }
        let claims = Claims::read(&answer.body).ok_or_else(|| self.odd("userinfo: no JSON object"))?;
        if claims.text("sub") != Some(subject) {
            return Err(self.odd("userinfo: of somebody else"));
        }
        Ok(Some(claims))
    }

    /// Entra leaves groups out of a token that has more than some two hundred, and says so:
    /// <https://learn.microsoft.com/en-us/entra/identity-platform/access-token-claims-reference#groups-overage-claim>
    fn too_many_groups(&self, claims: &Claims) -> bool {
        self.settings.preset == Preset::Entra && (claims.get("_claim_names.groups").is_some() || claims.get("hasgroups").is_some())
    }
}

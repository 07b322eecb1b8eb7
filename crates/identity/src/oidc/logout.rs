//! OpenID Connect Back-Channel Logout 1.0: the provider says that somebody's sessions are over.

use model::Timestamp;

use super::{OidcError, Provider};
use crate::jwt::{Claims, Header, MAX_PRESENTED_BYTES, TokenError, is_plain};

/// Longest id of a logout token, in bytes.
const MAX_ID_BYTES: usize = 255;
/// How old a logout token may be, in seconds. Its id is remembered for as long, so that none works twice.
pub const MAX_AGE_S: i64 = 300;

/// Whose sessions are over: somebody's, one of somebody's, or one whosever it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Logout {
    /// The provider's issuer.
    pub issuer: String,
    /// Whose.
    pub subject: Option<String>,
    /// Which session at the provider; all of the subject's if none is named.
    pub session: Option<String>,
    /// The token's own id.
    pub id: String,
    /// When it was made.
    pub at: Timestamp,
}

impl Provider {
    /// Whether a token says that it is this provider's. Nothing of it is checked.
    #[must_use]
    pub fn issued(&self, token: &str) -> bool {
        Claims::unchecked(token).is_some_and(|claims| claims.text("iss") == Some(self.settings.issuer.as_str()))
    }

    /// Reads a logout token: section 2.6.
    ///
    /// # Errors
    /// It is none of this provider's, or the provider's keys cannot be had.
    pub async fn logout(&self, token: &str, now: Timestamp) -> Result<Logout, OidcError> {
        if token.len() > MAX_PRESENTED_BYTES {
            return Err(self.token(TokenError::TooLong));
        }
        let metadata = self.metadata(now).await?;
        let verified = self.keys.verify(token, &self.fetcher, &metadata.jwks_uri, now).await;
        let (header, claims) = verified.map_err(|error| self.disbelieved(error))?;
        read(self.settings.issuer.as_str(), &self.settings.client_id, &header, &claims, now).map_err(|error| self.token(error))
    }
}

fn read(issuer: &str, client_id: &str, header: &Header, claims: &Claims, now: Timestamp) -> Result<Logout, TokenError> {
    const EVENT: &str = "http://schemas.openid.net/event/backchannel-logout";
    let kind = header.kind.as_deref();
    if !is_plain(kind) && !kind.is_some_and(|kind| kind.eq_ignore_ascii_case("logout+jwt")) {
        return Err(TokenError::Kind);
    }
    // With a nonce it would be an ID token, whatever else it says.
    let event = claims.get("events").and_then(|events| events.get(EVENT)).is_some_and(serde_json::Value::is_object);
    if !event || claims.get("nonce").is_some() {
        return Err(TokenError::Kind);
    }
    claims.must_be_from(issuer)?;
    claims.must_be_for(client_id)?;
    claims.must_have_begun(now)?;
    // Some providers leave `exp` out; then its age says whether it is current.
    if claims.get("exp").is_some() {
        claims.must_be_current(now)?;
    }
    let at = claims.time("iat").ok_or(TokenError::Missing("iat"))?;
    if at.as_second().saturating_add(MAX_AGE_S) <= now.as_second() {
        return Err(TokenError::Expired(at));
    }
    let owned = |name: &str| claims.text(name).filter(|text| !text.is_empty()).map(str::to_owned);
    let (subject, session) = (owned("sub"), owned("sid"));
    if subject.is_none() && session.is_none() {
        return Err(TokenError::Missing("sub"));
    }
    let id = claims.must("jti")?;
    if id.len() > MAX_ID_BYTES {
        return Err(TokenError::Malformed);
    }
    Ok(Logout { issuer: issuer.to_owned(), subject, session, id: id.to_owned(), at })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn said(kind: Option<&str>, change: impl FnOnce(&mut Value)) -> Result<Logout, TokenError> {
        let mut claims = json!({
            "iss": "https://idp.example", "aud": "us", "iat": 1_000_000, "jti": "j1", "sub": "alice-at-idp",
            "events": { "http://schemas.openid.net/event/backchannel-logout": {} },
        });
        change(&mut claims);
        let header = Header { algorithm: jsonwebtoken::Algorithm::RS256, key: None, kind: kind.map(str::to_owned) };
        read("https://idp.example", "us", &header, &Claims::of(claims), Timestamp::from_second(1_000_010).unwrap())
    }

    #[test]
    fn a_logout_token_says_whose_session_is_over() {
        let logout = said(Some("logout+jwt"), |_| {}).unwrap();
        assert_eq!((logout.subject.as_deref(), logout.session), (Some("alice-at-idp"), None));
        let logout = said(None, |claims| claims["sid"] = json!("s1")).unwrap();
        assert_eq!(logout.session.as_deref(), Some("s1"));
    }

    #[test]
    fn what_is_no_logout_token_ends_nothing() {
        let set = |name: &'static str, value: Value| move |claims: &mut Value| claims[name] = value;
        let without = |name: &'static str| move |claims: &mut Value| drop(claims.as_object_mut().unwrap().remove(name));
        for (wrong, expected) in [
            (said(Some("at+jwt"), |_| {}), TokenError::Kind),
            (said(None, set("nonce", json!("n"))), TokenError::Kind),
            (said(None, without("events")), TokenError::Kind),
            (said(None, set("events", json!({ "other": {} }))), TokenError::Kind),
            (said(None, set("iss", json!("https://other.example"))), TokenError::Issuer),
            (said(None, set("aud", json!("them"))), TokenError::Audience),
            (said(None, without("jti")), TokenError::Missing("jti")),
            (said(None, without("sub")), TokenError::Missing("sub")),
            (said(None, without("iat")), TokenError::Missing("iat")),
            (said(None, set("iat", json!(1_000_071))), TokenError::NotYet(Timestamp::from_second(1_000_071).unwrap())),
            (said(None, set("iat", json!(999_710))), TokenError::Expired(Timestamp::from_second(999_710).unwrap())),
            (said(None, set("exp", json!(999_940))), TokenError::Expired(Timestamp::from_second(999_940).unwrap())),
        ] {
            assert_eq!(wrong, Err(expected));
        }
    }
}

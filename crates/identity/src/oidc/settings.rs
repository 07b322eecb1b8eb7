//! `[providers.NAME]` of `countersign.toml`.

use std::{collections::BTreeMap, path::PathBuf, str::FromStr};

use model::{GroupName, connection::SecretSource};
use serde::{Deserialize, Deserializer, de};
use url::Url;

/// One provider.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Its issuer, exactly as its tokens name it. Everything else of it is found from there.
    pub issuer: IssuerUrl,
    /// What it knows this gateway as.
    pub client_id: String,
    /// Where the secret is that proves it; a public client has none.
    #[serde(default, deserialize_with = "place")]
    pub client_secret: Option<SecretSource>,
    /// What is different about products that many have.
    #[serde(default)]
    pub preset: Preset,
    /// Scopes to ask for, in place of the preset's.
    #[serde(default)]
    pub scopes: Option<Vec<String>>,
    /// The claim that a new person's name comes from, in place of the preset's.
    #[serde(default)]
    pub name_claim: Option<String>,
    /// The claim that holds the groups, or the names on the way to it joined by `.`, in place of the preset's.
    #[serde(default)]
    pub groups_claim: Option<String>,
    /// Which of its groups count, and as which of ours. Without it all do whose names can be ours.
    #[serde(default)]
    pub groups: Option<BTreeMap<String, GroupName>>,
    /// Only people of this Google Workspace domain sign in.
    #[serde(default)]
    pub hosted_domain: Option<String>,
    /// Whether somebody who signs in for the first time is entered in the register. Otherwise an administrator links accounts first.
    #[serde(default = "yes")]
    pub provision: bool,
    /// PEM file of the root its certificate chains to; the system's if none is named.
    #[serde(default)]
    pub ca: Option<PathBuf>,
    /// Whether it is in an internal network, or on this machine.
    #[serde(default)]
    pub internal: bool,
    /// How often it is asked whether those who signed in still may, in seconds.
    #[serde(default = "five_minutes")]
    pub check_every_s: u64,
    /// How long a sign-in lasts, in seconds.
    #[serde(default = "twelve_hours")]
    pub sign_in_s: u64,
    /// Where groups are asked for that are too many for a token: Microsoft's Graph.
    #[serde(default)]
    pub graph: Option<Url>,
}

/// What is known of a product.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Preset {
    /// Nothing in particular.
    #[default]
    Standard,
    /// Okta.
    Okta,
    /// Microsoft Entra ID.
    Entra,
    /// Google, with Workspace.
    Google,
    /// Keycloak.
    Keycloak,
}

/// An issuer: a URL, compared as text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IssuerUrl {
    text: String,
    url: Url,
}

impl IssuerUrl {
    /// As tokens name it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Where its metadata is (OpenID Connect Discovery, section 4).
    pub(super) fn metadata(&self) -> Url {
        let mut url = self.url.clone();
        let path = format!("{}/.well-known/openid-configuration", url.path().trim_end_matches('/'));
        url.set_path(&path);
        url
    }
}

impl FromStr for IssuerUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is no issuer: write its URL, such as \"https://login.example.com/realms/staff\"");
        let url: Url = text.parse().map_err(|_| wrong())?;
        if !matches!(url.scheme(), "https" | "http") || url.host().is_none() || url.query().is_some() || url.fragment().is_some() {
            return Err(wrong());
        }
        if url.scheme() == "http" && !matches!(url.host_str(), Some("localhost" | "127.0.0.1" | "[::1]")) {
            return Err(format!("`{text}` would send tokens in clear: use https://"));
        }
        Ok(Self { text: text.to_owned(), url })
    }
}

impl<'de> Deserialize<'de> for IssuerUrl {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// `{ store = "…" }`, `{ env = "…" }` or `{ file = "…" }`. A secret itself is refused, and not repeated in the message.
fn place<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<SecretSource>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Written {
        Place(BTreeMap<String, String>),
        Other(de::IgnoredAny),
    }
    const HELP: &str = "secrets are never written here: { store = \"NAME\" } (see `countersign secret set`), { env = \"NAME\" } or { file = \"/path\" } says where one is";
    let Written::Place(place) = Written::deserialize(deserializer)? else { return Err(de::Error::custom(HELP)) };
    let mut parts = place.into_iter();
    match (parts.next(), parts.next()) {
        (Some((kind, name)), None) if kind == "store" => Ok(Some(SecretSource::Store(name))),
        (Some((kind, name)), None) if kind == "env" => Ok(Some(SecretSource::Env(name))),
        (Some((kind, name)), None) if kind == "file" => Ok(Some(SecretSource::File(name.into()))),
        (Some((kind, name)), None) if kind == "vault" => Ok(Some(SecretSource::Vault(name.parse().map_err(de::Error::custom)?))),
        _ => Err(de::Error::custom(HELP)),
    }
}

const fn yes() -> bool {
    true
}

const fn five_minutes() -> u64 {
    300
}

const fn twelve_hours() -> u64 {
    12 * 3_600
}

impl Settings {
    /// The scopes to ask for.
    #[must_use]
    pub fn scopes(&self) -> Vec<&str> {
        match (&self.scopes, self.preset) {
            (Some(scopes), _) => {
                let openid = (!scopes.iter().any(|scope| scope == "openid")).then_some("openid");
                openid.into_iter().chain(scopes.iter().map(String::as_str)).collect()
            }
            (None, Preset::Okta) => vec!["openid", "profile", "email", "groups", "offline_access"],
            // Groups that are too many for a token are asked for at Graph.
            (None, Preset::Entra) => vec!["openid", "profile", "email", "offline_access", "GroupMember.Read.All"],
            (None, Preset::Standard | Preset::Google | Preset::Keycloak) => vec!["openid", "profile", "email"],
        }
    }

    /// The claim a new person's name comes from.
    #[must_use]
    pub fn name_claim(&self) -> &str {
        match (&self.name_claim, self.preset) {
            (Some(claim), _) => claim,
            (None, Preset::Google) => "email",
            (None, _) => "preferred_username",
        }
    }

    /// The claim that holds the groups; Google has none.
    #[must_use]
    pub fn groups_claim(&self) -> Option<&str> {
        match (&self.groups_claim, self.preset) {
            (Some(claim), _) => Some(claim),
            (None, Preset::Google) => None,
            (None, _) => Some("groups"),
        }
    }

    /// The name of one's own machine that it sends browsers back to on any port (RFC 8252 section 7.3). Entra does for `localhost` alone:
    /// <https://learn.microsoft.com/en-us/entra/identity-platform/reply-url#localhost-exceptions>
    #[must_use]
    pub const fn loopback(&self) -> &'static str {
        match self.preset {
            Preset::Entra => "localhost",
            Preset::Standard | Preset::Okta | Preset::Google | Preset::Keycloak => "127.0.0.1",
        }
    }

    /// Whether what it says of people can be looked up beside the token.
    pub(super) const fn asks_userinfo(&self) -> bool {
        !matches!(self.preset, Preset::Entra)
    }

    /// Parameters of the authorization request that its product wants besides.
    pub(super) fn extra_parameters(&self) -> Vec<(&'static str, &str)> {
        match (self.preset, &self.hosted_domain) {
            // Without both Google gives no refresh token: <https://developers.google.com/identity/protocols/oauth2/web-server#offline>
            (Preset::Google, Some(domain)) => vec![("access_type", "offline"), ("prompt", "consent"), ("hd", domain)],
            (Preset::Google, None) => vec![("access_type", "offline"), ("prompt", "consent")],
            _ => Vec::new(),
        }
    }

    /// What is wrong with them, if something is.
    #[must_use]
    pub fn problem(&self) -> Option<&'static str> {
        if self.client_id.is_empty() {
            return Some("`client_id` is empty");
        }
        if self.check_every_s == 0 || self.sign_in_s == 0 {
            return Some("0 would end every sign-in at once: give a number above 0");
        }
        let google = self.preset == Preset::Google || self.issuer.url.host_str() == Some("accounts.google.com");
        if google && self.hosted_domain.is_none() {
            return Some("everybody with a Google account could sign in: set `hosted_domain` to your Workspace domain");
        }
        let http = self.issuer.url.scheme() == "http";
        (http && !self.internal).then_some("an issuer on this machine needs `internal = true`")
    }
}

//! Workloads without secrets: tokens that a platform gives its own jobs, and what they say of the run.
//!
//! A token is a workload's if an administrator said which claims of which issuer are its own: all of them, exactly, and among them one that names it for good.
//! A repository's or project's name can be somebody else's tomorrow; its number cannot.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use model::{IdentityName, ProviderName, Run, Timestamp};
use serde::Deserialize;
use url::Url;

use crate::{
    fetch::{FetchError, Fetcher, Reach},
    gateway_url::GatewayUrl,
    jwt::{Claims, MAX_PRESENTED_BYTES, TokenError},
    keys::{Disbelieved, Keys},
    oidc::{Cached, IssuerUrl},
};

/// Longest id of a run, in characters.
const MAX_RUN_CHARACTERS: usize = 64;
/// Longest of what is kept of a claim, in characters.
const MAX_DETAIL_CHARACTERS: usize = 200;
/// Most claims of one rule, and the longest of their names and values in bytes.
const MAX_CLAIMS: usize = 16;
const MAX_CLAIM_BYTES: usize = 512;

/// `[issuers.NAME]` of `countersign.toml`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// What is known of the platform.
    #[serde(default)]
    pub platform: Platform,
    /// Its issuer, exactly as its tokens name it; GitHub's and GitLab's own are known.
    #[serde(default)]
    pub issuer: Option<IssuerUrl>,
    /// Whom its tokens for this gateway are for.
    #[serde(default = "countersign")]
    pub audience: String,
    /// Where its keys are, if its metadata does not say.
    #[serde(default)]
    pub jwks: Option<Url>,
    /// The trust domain of SPIFFE ids, for that platform.
    #[serde(default)]
    pub trust_domain: Option<String>,
    /// PEM file of the root its certificate chains to; the system's if none is named.
    #[serde(default)]
    pub ca: Option<std::path::PathBuf>,
    /// Whether it is in an internal network, or on this machine.
    #[serde(default)]
    pub internal: bool,
}

/// Where jobs run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Platform {
    /// Any OpenID Connect issuer.
    #[default]
    Oidc,
    /// GitHub Actions: <https://docs.github.com/en/actions/reference/security/oidc>
    GitHub,
    /// GitLab CI: <https://docs.gitlab.com/ci/secrets/id_token_authentication/>
    GitLab,
    /// Projected tokens of service accounts: <https://kubernetes.io/docs/reference/access-authn-authz/service-accounts-admin/>
    Kubernetes,
    /// JWT-SVIDs: <https://github.com/spiffe/spiffe/blob/main/standards/JWT-SVID.md>
    Spiffe,
}

fn countersign() -> String {
    "countersign".to_owned()
}

impl Platform {
    const fn known_issuer(self) -> Option<&'static str> {
        match self {
            Self::GitHub => Some("https://token.actions.githubusercontent.com"),
            Self::GitLab => Some("https://gitlab.com"),
            Self::Oidc | Self::Kubernetes | Self::Spiffe => None,
        }
    }

    /// Claims that name something for good: a rule has at least one of them.
    #[must_use]
    pub const fn lasting(self) -> &'static [&'static str] {
        match self {
            Self::Oidc | Self::Spiffe => &["sub"],
            Self::GitHub => &["repository_id", "repository_owner_id"],
            Self::GitLab => &["project_id", "namespace_id"],
            Self::Kubernetes => &["kubernetes.io.serviceaccount.uid"],
        }
    }

    /// The claim that names the run, and those that are kept of it.
    const fn told(self) -> (&'static [&'static str], &'static [&'static str]) {
        match self {
            Self::Oidc => (&["jti", "sub"], &["sub", "jti"]),
            Self::GitHub => (
                &["run_id"],
                &[
                    "repository_id",
                    "repository",
                    "workflow",
                    "job_workflow_ref",
                    "run_id",
                    "run_number",
                    "run_attempt",
                    "sha",
                    "ref",
                    "event_name",
                    "environment",
                    "actor",
                    "actor_id",
                ],
            ),
            Self::GitLab => (
                &["job_id"],
                &[
                    "project_id",
                    "project_path",
                    "pipeline_id",
                    "pipeline_source",
                    "job_id",
                    "ref",
                    "sha",
                    "environment",
                    "user_id",
                    "user_login",
                    "ci_config_ref_uri",
                ],
            ),
            Self::Kubernetes => (
                &["kubernetes.io.pod.name", "kubernetes.io.serviceaccount.name"],
                &[
                    "kubernetes.io.namespace",
                    "kubernetes.io.pod.name",
                    "kubernetes.io.pod.uid",
                    "kubernetes.io.serviceaccount.name",
                    "kubernetes.io.serviceaccount.uid",
                    "kubernetes.io.node.name",
                ],
            ),
            Self::Spiffe => (&["sub"], &["sub"]),
        }
    }
}

impl Settings {
    /// What is wrong with them, if something is.
    #[must_use]
    pub fn problem(&self) -> Option<&'static str> {
        match self.platform {
            _ if self.audience.is_empty() => Some("`audience` is empty: tokens for anybody would be taken"),
            Platform::Spiffe if self.trust_domain.is_none() || self.jwks.is_none() => {
                Some("SPIFFE needs `trust_domain`, such as \"example.org\", and `jwks`, where its bundle of keys is")
            }
            Platform::Oidc | Platform::Kubernetes if self.issuer.is_none() => {
                Some("`issuer` is missing: write its URL, exactly as its tokens name it")
            }
            _ => None,
        }
    }
}

/// Somewhere jobs run whose tokens are taken.
#[derive(Debug)]
pub struct Issuer {
    name: ProviderName,
    settings: Settings,
    /// As its tokens name it; SPIFFE's need not.
    url: Option<IssuerUrl>,
    fetcher: Fetcher,
    metadata: Cached,
    keys: Keys,
}

/// A token that is believed.
#[derive(Debug, Clone)]
pub struct Assertion {
    /// What it says.
    claims: Claims,
    /// Which run it was given to.
    pub run: Run,
}

impl Assertion {
    /// Whether it has all these claims, exactly.
    #[must_use]
    pub fn has(&self, claims: &BTreeMap<String, String>) -> bool {
        !claims.is_empty() && claims.iter().all(|(name, value)| self.claims.plain(name).as_deref() == Some(value))
    }

    /// Who it says may act for whom it speaks for, if it says so in a way that can be understood whole.
    #[must_use]
    pub fn may_act(&self) -> Option<MayAct> {
        let members = self.claims.get("may_act")?.as_object()?;
        let text = |name: &str| members.get(name).map(|value| value.as_str().map(str::to_owned));
        let known = members.keys().all(|name| name == "sub" || name == "iss");
        // A member that says more would narrow it.
        Some(MayAct { issuer: text("iss").map_or(Some(None), |issuer| issuer.map(Some))?, subject: text("sub")?? }).filter(|_| known)
    }
}

/// Who may act for whom a token speaks for: RFC 8693 section 4.4.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MayAct {
    issuer: Option<String>,
    subject: String,
}

impl MayAct {
    /// Whether that is an identity of this gateway.
    #[must_use]
    pub fn names(&self, who: &IdentityName, url: Option<&GatewayUrl>) -> bool {
        let here = self.issuer.as_deref().is_none_or(|issuer| url.is_some_and(|url| url.as_str() == issuer));
        here && self.subject == who.as_str()
    }
}

/// Why a rule is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RuleError {
    /// It says nothing that lasts.
    #[error("names can be given to somebody else: the rule needs one of {}", .0.join(", "))]
    Fleeting(&'static [&'static str]),
    /// It is too long.
    #[error("a rule has 1 to {MAX_CLAIMS} claims of at most {MAX_CLAIM_BYTES} bytes")]
    Length,
}

/// Why a token is not taken.
#[derive(Debug, thiserror::Error)]
pub enum WorkloadError {
    /// It is wrong.
    #[error("the token of {0} is not believed: {1}")]
    Token(ProviderName, TokenError),
    /// Its issuer's keys cannot be had.
    #[error("issuer {0} cannot be reached at this moment; try again later")]
    Unreachable(ProviderName, #[source] FetchError),
}

impl Issuer {
    /// An issuer as it is configured. Relative paths begin at `folder`.
    ///
    /// # Errors
    /// The root to trust cannot be read.
    pub fn new(name: ProviderName, settings: Settings, folder: &Path) -> Result<Arc<Self>, FetchError> {
        let reach = if settings.internal { Reach::Internal } else { Reach::Public };
        let fetcher = Fetcher::from_file(settings.ca.as_deref(), folder, reach)?;
        let known = settings.platform.known_issuer().and_then(|known| known.parse().ok());
        let url = settings.issuer.clone().or(known);
        Ok(Arc::new(Self { name, settings, url, fetcher, metadata: Cached::default(), keys: Keys::default() }))
    }

    /// What the configuration calls it.
    #[must_use]
    pub const fn name(&self) -> &ProviderName {
        &self.name
    }

    /// What it is, whatever the configuration calls it: a rule is for this, not for the name.
    #[must_use]
    pub fn anchor(&self) -> String {
        let place = match (&self.settings.trust_domain, &self.url) {
            (Some(domain), _) if self.settings.platform == Platform::Spiffe => format!("spiffe://{domain}"),
            (_, url) => url.as_ref().map_or_else(String::new, |url| url.as_str().to_owned()),
        };
        format!("{:?} {place}", self.settings.platform)
    }

    /// Whether a token says that it is this issuer's. Nothing of it is checked.
    #[must_use]
    pub fn issued(&self, token: &str) -> bool {
        let Some(claims) = Claims::unchecked(token) else { return false };
        match (&self.settings.trust_domain, &self.url) {
            (Some(domain), _) if self.settings.platform == Platform::Spiffe => is_of(claims.text("sub"), domain),
            (_, Some(url)) => claims.text("iss") == Some(url.as_str()),
            (_, None) => false,
        }
    }

    /// Checks a rule before it is kept.
    ///
    /// # Errors
    /// It could be somebody else's tomorrow, or is too long.
    pub fn check_rule(&self, claims: &BTreeMap<String, String>) -> Result<(), RuleError> {
        let long = claims.iter().any(|(name, value)| name.len() > MAX_CLAIM_BYTES || value.len() > MAX_CLAIM_BYTES || value.is_empty());
        if claims.is_empty() || claims.len() > MAX_CLAIMS || long {
            return Err(RuleError::Length);
        }
        let lasting = self.settings.platform.lasting();
        if lasting.iter().any(|name| claims.contains_key(*name)) { Ok(()) } else { Err(RuleError::Fleeting(lasting)) }
    }

    /// Checks a token that somebody presents.
    ///
    /// # Errors
    /// It is not what it should be, or the issuer's keys cannot be had.
    pub async fn verify(&self, token: &str, now: Timestamp) -> Result<Assertion, WorkloadError> {
        if token.len() > MAX_PRESENTED_BYTES {
            return Err(self.wrong(TokenError::TooLong));
        }
        let jwks = match (&self.settings.jwks, &self.url) {
            (Some(jwks), _) => jwks.clone(),
            (None, Some(url)) => self.metadata.keys_of(&self.fetcher, url, now).await.map_err(|error| self.unreachable(error))?,
            (None, None) => return Err(self.wrong(TokenError::Issuer)),
        };
        let verified = self.keys.verify(token, &self.fetcher, &jwks, now).await;
        let (header, claims) = verified.map_err(|error| match error {
            Disbelieved::Token(error) => self.wrong(error),
            Disbelieved::Keys(error) => self.unreachable(error),
        })?;
        self.check(header.kind(), &claims, now).map_err(|error| self.wrong(error))?;
        let run = self.run(&claims);
        Ok(Assertion { claims, run })
    }

    fn check(&self, kind: Option<&str>, claims: &Claims, now: Timestamp) -> Result<(), TokenError> {
        // SPIFFE's say `JOSE` too (JWT-SVID section 2.3).
        let jose = self.settings.platform == Platform::Spiffe && kind.is_some_and(|kind| kind == "JOSE");
        if !(crate::jwt::is_plain(kind) || jose) || claims.get("events").is_some() || claims.get("nonce").is_some() {
            return Err(TokenError::Kind);
        }
        match (&self.settings.trust_domain, &self.url) {
            (Some(domain), _) if self.settings.platform == Platform::Spiffe => {
                if !is_of(claims.text("sub"), domain) {
                    return Err(TokenError::Issuer);
                }
            }
            (_, Some(url)) => claims.must_be_from(url.as_str())?,
            (_, None) => return Err(TokenError::Issuer),
        }
        claims.must_be_for(&self.settings.audience)?;
        claims.must("sub")?;
        claims.must_be_current(now)
    }

    /// What the platform says of the run.
    fn run(&self, claims: &Claims) -> Run {
        let (named_by, kept) = self.settings.platform.told();
        let printable = |text: String, most| model::name::printable(&text).chars().take(most).collect::<String>();
        let id = named_by.iter().find_map(|name| claims.plain(name)).unwrap_or_default();
        let ascii = |c: char| if c.is_ascii_graphic() { c } else { '?' };
        let details = kept.iter().filter_map(|name| Some(((*name).to_owned(), printable(claims.plain(name)?, MAX_DETAIL_CHARACTERS))));
        Run { id: id.chars().map(ascii).take(MAX_RUN_CHARACTERS).collect(), issuer: self.name.to_string(), details: details.collect() }
    }

    fn wrong(&self, error: TokenError) -> WorkloadError {
        tracing::warn!(issuer = %self.name, %error, "a workload's token is not believed");
        WorkloadError::Token(self.name.clone(), error)
    }

    fn unreachable(&self, error: FetchError) -> WorkloadError {
        tracing::warn!(issuer = %self.name, %error, "an issuer of workloads' tokens cannot be reached");
        WorkloadError::Unreachable(self.name.clone(), error)
    }
}

/// Whether a subject is a SPIFFE id of this trust domain.
fn is_of(subject: Option<&str>, domain: &str) -> bool {
    subject
        .and_then(|subject| subject.strip_prefix("spiffe://"))
        .and_then(|rest| rest.split_once('/'))
        .is_some_and(|(of, path)| of == domain && !path.is_empty())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn issuer(settings: &str) -> Arc<Issuer> {
        let settings: Settings = toml::from_str(settings).unwrap();
        assert_eq!(settings.problem(), None);
        Issuer::new(
            "here".parse().unwrap(),
            Settings { ca: Some("root.pem".into()), ..settings },
            Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests")),
        )
        .unwrap()
    }

    fn rule(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    fn github(change: impl FnOnce(&mut Value)) -> Claims {
        let mut claims = json!({
            "iss": "https://token.actions.githubusercontent.com", "aud": "countersign", "sub": "repo:shop/jobs:ref:refs/heads/main", "iat": 1_000, "nbf": 900,
            "exp": 1_300, "repository_id": "74", "repository": "shop/jobs", "run_id": "812", "sha": "ab\u{202e}cd", "workflow": "nightly", "ref_protected": true,
        });
        change(&mut claims);
        Claims::of(claims)
    }

    #[test]
    fn a_rule_names_something_that_lasts() {
        let issuer = issuer("platform = \"github\"");
        assert_eq!(issuer.check_rule(&rule(&[("repository", "shop/jobs")])), Err(RuleError::Fleeting(&["repository_id", "repository_owner_id"])));
        assert_eq!(issuer.check_rule(&rule(&[("repository_id", "74"), ("ref", "refs/heads/main")])), Ok(()));
        assert_eq!(issuer.check_rule(&rule(&[])), Err(RuleError::Length));
        assert_eq!(issuer.check_rule(&rule(&[("repository_id", "")])), Err(RuleError::Length));
    }

    #[test]
    fn a_token_is_a_workloads_by_all_its_claims_exactly() {
        let issuer = issuer("platform = \"github\"");
        let claims = github(|_| {});
        let assertion = Assertion { run: issuer.run(&claims), claims };
        assert!(assertion.has(&rule(&[("repository_id", "74")])) && assertion.has(&rule(&[("repository_id", "74"), ("ref_protected", "true")])));
        for wrong in [
            rule(&[]),
            rule(&[("repository_id", "7")]),
            rule(&[("repository_id", "74"), ("environment", "production")]),
            rule(&[("repository", "Shop/Jobs")]),
        ] {
            assert!(!assertion.has(&wrong), "{wrong:?}");
        }
    }

    #[test]
    fn who_may_act_is_named_whole_and_here() {
        let issuer = issuer("platform = \"github\"");
        let url: GatewayUrl = "https://gw.example".parse().unwrap();
        let names = |may_act: Value| {
            let claims = github(|claims| claims["may_act"] = may_act);
            let may_act = Assertion { run: issuer.run(&claims), claims }.may_act();
            may_act.is_some_and(|who| who.names(&"support-bot".parse().unwrap(), Some(&url)))
        };
        assert!(names(json!({ "sub": "support-bot" })) && names(json!({ "sub": "support-bot", "iss": "https://gw.example" })));
        for wrong in [
            json!(null),
            json!("support-bot"),
            json!({}),
            json!({ "sub": "other-bot" }),
            json!({ "sub": ["support-bot"] }),
            json!({ "sub": "support-bot", "iss": "https://other.example" }),
            json!({ "sub": "support-bot", "iss": 7 }),
            json!({ "sub": "support-bot", "scope": "read" }),
        ] {
            assert!(!names(wrong.clone()), "{wrong}");
        }
    }

    #[test]
    fn what_is_kept_of_a_run_deceives_nobody() {
        let run = issuer("platform = \"github\"").run(&github(|claims| claims["run_id"] = json!("8\u{1b}12 é")));
        assert_eq!((run.id.as_str(), run.details["sha"].as_str()), ("8?12??", "ab\\u{202e}cd"));
    }

    #[test]
    fn a_token_is_of_its_issuer_for_us_and_of_now() {
        let issuer = issuer("platform = \"github\"");
        let now = |second| Timestamp::from_second(second).unwrap();
        let check = |kind, claims: &Claims, at| issuer.check(kind, claims, now(at));
        assert_eq!(check(Some("JWT"), &github(|_| {}), 1_000), Ok(()));
        assert_eq!(check(Some("at+jwt"), &github(|_| {}), 1_000), Err(TokenError::Kind));
        assert_eq!(check(None, &github(|claims| claims["nonce"] = json!("n")), 1_000), Err(TokenError::Kind));
        assert_eq!(check(None, &github(|claims| claims["aud"] = json!("https://github.com/shop")), 1_000), Err(TokenError::Audience));
        assert_eq!(check(None, &github(|claims| claims["iss"] = json!("https://evil.example")), 1_000), Err(TokenError::Issuer));
        assert_eq!(check(None, &github(|_| {}), 1_360), Err(TokenError::Expired(now(1_300))));
        assert_eq!(check(None, &github(|_| {}), 839), Err(TokenError::NotYet(now(900))));
    }

    #[test]
    fn spiffe_ids_are_of_their_trust_domain() {
        let issuer = issuer("platform = \"spiffe\"\ntrust_domain = \"example.org\"\njwks = \"https://spire.example/keys\"");
        let claims = |sub: &str| Claims::of(json!({ "sub": sub, "aud": ["countersign"], "exp": 1_300 }));
        let now = Timestamp::from_second(1_000).unwrap();
        assert_eq!(issuer.check(Some("JOSE"), &claims("spiffe://example.org/job/nightly"), now), Ok(()));
        for wrong in
            ["spiffe://example.org.evil/job", "spiffe://evil/example.org", "spiffe://example.org/", "example.org/job", "https://example.org/job"]
        {
            assert_eq!(issuer.check(None, &claims(wrong), now), Err(TokenError::Issuer), "{wrong}");
        }
    }

    #[test]
    fn settings_that_would_let_anybody_in_are_refused() {
        let problem = |text: &str| toml::from_str::<Settings>(text).unwrap().problem();
        assert!(problem("").unwrap().contains("`issuer` is missing"));
        assert!(problem("platform = \"kubernetes\"").unwrap().contains("`issuer` is missing"));
        assert!(problem("platform = \"spiffe\"").unwrap().contains("trust_domain"));
        assert!(problem("platform = \"github\"\naudience = \"\"").unwrap().contains("`audience` is empty"));
        assert_eq!(problem("platform = \"gitlab\""), None);
    }
}

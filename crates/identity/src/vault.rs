//! OpenBao, or a HashiCorp Vault that speaks as it does: secrets that are kept there, and credentials it makes for a while.
//!
//! Nothing of what it tells is kept but the token it gave and, for readings of the gateway's own, what a secret was last. Whether the answer is a refusal, a seal
//! or silence, the error says what an operator does about it.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use model::{Secret, connection::VaultField, name::printable};
use serde::{Deserialize, Deserializer, de};
use url::{Url, form_urlencoded};
use zeroize::{Zeroize, Zeroizing};

use crate::fetch::{Answer, FetchError, Fetcher, Reach};

/// Longest token, id or JWT that is read from a file, in bytes.
const MAX_CREDENTIAL_BYTES: u64 = 64 << 10;
/// Longest of what its errors say that is passed on, in characters.
const MAX_ERROR_CHARACTERS: usize = 200;
/// How much of its time a token is used for that was given for signing in.
const USED: f64 = 0.8;
/// Secrets of which it is remembered what they were last.
const MAX_REMEMBERED: usize = 1_000;

/// `[vault]` of `countersign.toml`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Where it is: `https://bao.example:8200`.
    pub address: Url,
    /// PEM file of the root its certificate chains to; the system's if none is named.
    #[serde(default)]
    pub ca: Option<PathBuf>,
    /// The namespace, if it has several.
    #[serde(default)]
    pub namespace: Option<String>,
    /// Whether it is in an internal network, or on this machine.
    #[serde(default)]
    pub internal: bool,
    /// A file with a token that somebody else renews: an agent of it.
    #[serde(default)]
    pub token_file: Option<PathBuf>,
    /// Signing in as an AppRole.
    #[serde(default)]
    pub approle: Option<AppRole>,
    /// Signing in with the token of a Kubernetes service account.
    #[serde(default)]
    pub kubernetes: Option<Kubernetes>,
}

/// `[vault.approle]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AppRole {
    /// Its id. No secret.
    pub role_id: String,
    /// The file with its secret id.
    pub secret_id_file: PathBuf,
    /// Where the method is mounted.
    #[serde(default = "approle")]
    pub mount: String,
}

/// `[vault.kubernetes]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kubernetes {
    /// The role to sign in as.
    pub role: String,
    /// The file with the service account's token.
    #[serde(default = "service_account")]
    pub jwt_file: PathBuf,
    /// Where the method is mounted.
    #[serde(default = "kubernetes")]
    pub mount: String,
}

fn approle() -> String {
    "approle".to_owned()
}

fn kubernetes() -> String {
    "kubernetes".to_owned()
}

fn service_account() -> PathBuf {
    PathBuf::from("/var/run/secrets/kubernetes.io/serviceaccount/token")
}

impl Settings {
    /// What is wrong with them that their shape does not show.
    #[must_use]
    pub fn problem(&self) -> Option<&'static str> {
        let ways = [self.token_file.is_some(), self.approle.is_some(), self.kubernetes.is_some()];
        if ways.iter().filter(|way| **way).count() != 1 {
            return Some("say how to sign in: exactly one of `token_file`, [vault.approle] and [vault.kubernetes]");
        }
        if !matches!(self.address.scheme(), "http" | "https") || self.address.query().is_some() || self.address.fragment().is_some() {
            return Some("`address` is no address: write its URL, such as \"https://bao.example:8200\"");
        }
        let mounts = [self.approle.as_ref().map(|it| &it.mount), self.kubernetes.as_ref().map(|it| &it.mount), self.namespace.as_ref()];
        if mounts.into_iter().flatten().any(|path| !model::connection::is_vault_path(path)) {
            return Some("`namespace` and `mount` are paths: letters, digits, `-`, `_`, `.` and `/` between them");
        }
        None
    }
}

/// Why there is no secret. For operators; it names none.
#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    /// It cannot be asked.
    #[error("the vault: {0}")]
    Fetch(#[from] FetchError),
    /// What it is to be signed in at with cannot be read.
    #[error("the credential for the vault cannot be read: {}: {error}", path.display())]
    Credential {
        /// The file.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// The same, and what is in it is none.
    #[error("{}: it holds no credential for the vault", .0.display())]
    NoCredential(PathBuf),
    /// It is sealed.
    #[error("the vault is sealed: somebody with its keys unseals it")]
    Sealed,
    /// It cannot serve now.
    #[error("the vault answers {status} to {path}: it is not ready{said}")]
    NotReady {
        /// What was asked for.
        path: String,
        /// The status.
        status: u16,
        /// What it says, behind a colon.
        said: String,
    },
    /// It does not let the gateway in, or not to that.
    #[error("the vault does not permit {path}: look at the policies of the gateway's token or role there{said}")]
    Forbidden {
        /// What was asked for.
        path: String,
        /// What it says, behind a colon.
        said: String,
    },
    /// There is nothing there.
    #[error("the vault has nothing at {0}: for a KV store of version 2 the path has `data` behind the mount, as in \"secret/data/prod#password\"")]
    Nothing(String),
    /// There is no such field.
    #[error("what the vault has at {} has no text called {}", printable(&.0.path), printable(&.0.field))]
    NoField(VaultField),
    /// It answers something else.
    #[error("the vault answers {status} to {path}{said}")]
    Odd {
        /// What was asked for.
        path: String,
        /// The status.
        status: u16,
        /// What it says, behind a colon.
        said: String,
    },
    /// What it answers cannot be read.
    #[error("what the vault answers to {0} cannot be read")]
    Unreadable(String),
}

/// The client.
#[derive(Clone)]
pub struct Vault {
    fetcher: Fetcher,
    address: Url,
    namespace: Option<String>,
    way: Arc<Way>,
    token: Arc<Mutex<Option<Token>>>,
    last: Arc<Mutex<HashMap<VaultField, Secret>>>,
}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vault").field("address", &self.address.as_str()).finish_non_exhaustive()
    }
}

/// How to sign in.
#[derive(Debug)]
enum Way {
    Token(PathBuf),
    AppRole(AppRole),
    Kubernetes(Kubernetes),
}

/// What requests are sent with.
#[derive(Clone)]
struct Token {
    text: Zeroizing<String>,
    /// When it is used no more, and when it ends.
    until: Option<(Instant, Instant)>,
}

/// A credential that was made for a while.
#[derive(Debug)]
pub struct Leased {
    /// The role's name.
    pub user: String,
    /// Its password.
    pub password: Secret,
    /// What ends it early.
    pub lease: String,
    /// How long it stands, in seconds: no longer than the token it was made with.
    pub valid_s: u64,
}

#[derive(Deserialize)]
struct SignedIn {
    auth: Auth,
}

#[derive(Deserialize)]
struct Auth {
    client_token: Zeroizing<String>,
    #[serde(default)]
    lease_duration: u64,
}

#[derive(Deserialize)]
struct Credential {
    lease_id: String,
    #[serde(default)]
    lease_duration: u64,
    data: Made,
}

#[derive(Deserialize)]
struct Made {
    username: String,
    password: Zeroizing<String>,
}

/// Both versions of a KV store: of the second, what is in it stands one deeper, beside `metadata`.
#[derive(Deserialize)]
struct Kept {
    data: Option<BTreeMap<String, Value>>,
}

impl Kept {
    /// None where the store keeps nothing but that something was deleted.
    fn fields(self) -> Option<BTreeMap<String, Value>> {
        let mut fields = self.data?;
        if !fields.contains_key("metadata") {
            return Some(fields);
        }
        match fields.remove("data") {
            Some(Value::Texts(deeper)) => Some(deeper),
            Some(other) => {
                fields.insert("data".to_owned(), other);
                Some(fields)
            }
            None => Some(fields),
        }
    }
}

/// A value: its text, the texts in it, or something else.
enum Value {
    Text(Zeroizing<String>),
    Texts(BTreeMap<String, Value>),
    Other,
}

#[derive(Deserialize)]
struct Errors {
    #[serde(default)]
    errors: Vec<String>,
}

impl Vault {
    /// A client; relative paths begin at `folder`.
    ///
    /// # Errors
    /// The root its certificate chains to cannot be read.
    pub fn new(settings: Settings, folder: &Path) -> Result<Self, FetchError> {
        let reach = if settings.internal { Reach::Internal } else { Reach::Public };
        let fetcher = Fetcher::from_file(settings.ca.as_deref(), folder, reach)?;
        let way = match (settings.token_file, settings.approle, settings.kubernetes) {
            (Some(file), _, _) => Way::Token(folder.join(file)),
            (_, Some(role), _) => Way::AppRole(AppRole { secret_id_file: folder.join(&role.secret_id_file), ..role }),
            (_, _, Some(role)) => Way::Kubernetes(Kubernetes { jwt_file: folder.join(&role.jwt_file), ..role }),
            // Without one `problem` finds fault with them; a file that is not there refuses all the same.
            (None, None, None) => Way::Token(folder.to_owned()),
        };
        Ok(Self {
            fetcher,
            address: settings.address,
            namespace: settings.namespace,
            way: Arc::new(way),
            token: Arc::default(),
            last: Arc::default(),
        })
    }

    /// A field of what is kept at a path, as it is now.
    ///
    /// # Errors
    /// The vault does not give it.
    pub async fn read(&self, of: &VaultField) -> Result<Secret, VaultError> {
        let answer = self.ask(&of.path, None).await?;
        let kept: Kept = serde_json::from_slice(&answer.body).map_err(|_| VaultError::Unreadable(of.path.clone()))?;
        let mut fields = kept.fields().ok_or_else(|| VaultError::Nothing(of.path.clone()))?;
        let Some(Value::Text(text)) = fields.remove(&of.field) else { return Err(VaultError::NoField(of.clone())) };
        let secret = Secret::new(text.as_bytes().to_vec());
        let mut last = lock(&self.last);
        if last.len() < MAX_REMEMBERED || last.contains_key(of) {
            last.insert(of.clone(), secret.clone());
        }
        Ok(secret)
    }

    /// The same, or what it was when it was read last, where the vault cannot be asked: for readings of the gateway's own, which live sessions need.
    ///
    /// # Errors
    /// The vault does not give it, and never did.
    pub async fn read_or_last(&self, of: &VaultField) -> Result<Secret, VaultError> {
        match self.read(of).await {
            Ok(secret) => Ok(secret),
            Err(error @ (VaultError::Fetch(_) | VaultError::Sealed | VaultError::NotReady { .. })) => {
                let last = lock(&self.last).get(of).cloned();
                if last.is_some() {
                    tracing::warn!(%error, path = of.path, "a secret is used as it was last");
                }
                last.ok_or(error)
            }
            Err(error) => Err(error),
        }
    }

    /// Has a credential made by a database secrets engine: `path` is `database/creds/ROLE`.
    ///
    /// # Errors
    /// The vault does not make it.
    pub async fn lease(&self, path: &str) -> Result<Leased, VaultError> {
        // With a token of its own, for it ends with the token.
        let token = self.sign_in().await?;
        let answer = self.ask_with(&token, path, None).await?;
        let made: Credential = serde_json::from_slice(&answer.body).map_err(|_| VaultError::Unreadable(path.to_owned()))?;
        let token_s = token.until.map_or(u64::MAX, |(_, ends)| ends.saturating_duration_since(Instant::now()).as_secs());
        let password = Secret::new(made.data.password.as_bytes().to_vec());
        Ok(Leased { user: made.data.username, password, lease: made.lease_id, valid_s: made.lease_duration.min(token_s) })
    }

    /// Ends a credential early. One that has ended already is no error.
    ///
    /// # Errors
    /// The vault does not end it.
    pub async fn revoke(&self, lease: &str) -> Result<(), VaultError> {
        let form = form(&[("lease_id", lease), ("sync", "true")]);
        match self.ask("sys/leases/revoke", Some(form)).await {
            Err(VaultError::Odd { status: 400, said, .. }) if said.contains("invalid lease") || said.contains("lease not found") => Ok(()),
            answered => answered.map(drop),
        }
    }

    /// With the token that is there; with a new one, if that is none any more.
    async fn ask(&self, path: &str, form: Option<Zeroizing<String>>) -> Result<Answer, VaultError> {
        let known = lock(&self.token).clone().filter(|token| token.until.is_none_or(|(until, _)| Instant::now() < until));
        if let Some(token) = known {
            match self.ask_with(&token, path, form.clone()).await {
                Err(VaultError::Forbidden { .. }) => *lock(&self.token) = None,
                answered => return answered,
            }
        }
        let token = self.sign_in().await?;
        if !matches!(*self.way, Way::Token(_)) {
            *lock(&self.token) = Some(token.clone());
        }
        self.ask_with(&token, path, form).await
    }

    async fn ask_with(&self, token: &Token, path: &str, form: Option<Zeroizing<String>>) -> Result<Answer, VaultError> {
        let url = self.url(path);
        let answer = match form {
            Some(form) => self.fetcher.post(&url, Some(Zeroizing::new(format!("Bearer {}", token.text.as_str()))), form).await?,
            None => self.fetcher.get(&url, Some(&token.text)).await?,
        };
        checked(path, answer)
    }

    async fn sign_in(&self) -> Result<Token, VaultError> {
        let (path, form) = match &*self.way {
            Way::Token(file) => return Ok(Token { text: credential(file).await?, until: None }),
            Way::AppRole(role) => {
                let secret = credential(&role.secret_id_file).await?;
                (format!("auth/{}/login", role.mount), form(&[("role_id", &role.role_id), ("secret_id", &secret)]))
            }
            Way::Kubernetes(role) => {
                let jwt = credential(&role.jwt_file).await?;
                (format!("auth/{}/login", role.mount), form(&[("role", &role.role), ("jwt", &jwt)]))
            }
        };
        let asked = Instant::now();
        let answer = checked(&path, self.fetcher.post(&self.url(&path), None, form).await?)?;
        let SignedIn { auth } = serde_json::from_slice(&answer.body).map_err(|_| VaultError::Unreadable(path))?;
        let lasts = Duration::from_secs(auth.lease_duration);
        let until = (auth.lease_duration > 0).then(|| Some((asked.checked_add(lasts.mul_f64(USED))?, asked.checked_add(lasts)?))).flatten();
        Ok(Token { text: auth.client_token, until })
    }

    fn url(&self, path: &str) -> Url {
        let mut url = self.address.clone();
        let namespace = self.namespace.as_ref().map(|name| format!("{name}/")).unwrap_or_default();
        url.set_path(&format!("{}/v1/{namespace}{path}", self.address.path().trim_end_matches('/')));
        url
    }
}

/// What is wrong with an answer that is none. <https://openbao.org/api-docs/#http-status-codes>
fn checked(path: &str, answer: Answer) -> Result<Answer, VaultError> {
    let status = answer.status;
    if (200..300).contains(&status) {
        return Ok(answer);
    }
    let said = serde_json::from_slice::<Errors>(&answer.body).map(|said| said.errors.join("; ")).unwrap_or_default();
    let said = printable(said.trim()).chars().take(MAX_ERROR_CHARACTERS).collect::<String>();
    let sealed = said.contains("sealed");
    let said = if said.is_empty() { said } else { format!(": {said}") };
    let path = path.to_owned();
    Err(match status {
        503 if sealed => VaultError::Sealed,
        429 | 472 | 473 | 500..=599 => VaultError::NotReady { path, status, said },
        401 | 403 => VaultError::Forbidden { path, said },
        404 => VaultError::Nothing(path),
        _ => VaultError::Odd { path, status, said },
    })
}

async fn credential(file: &Path) -> Result<Zeroizing<String>, VaultError> {
    let failed = |error| VaultError::Credential { path: file.to_owned(), error };
    if tokio::fs::metadata(file).await.map_err(failed)?.len() > MAX_CREDENTIAL_BYTES {
        return Err(VaultError::NoCredential(file.to_owned()));
    }
    let mut bytes = tokio::fs::read(file).await.map_err(failed)?;
    let text = std::str::from_utf8(&bytes).ok().map(str::trim).filter(|text| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic()));
    let text = text.map(|text| Zeroizing::new(text.to_owned()));
    bytes.zeroize();
    text.ok_or_else(|| VaultError::NoCredential(file.to_owned()))
}

fn form(fields: &[(&str, &str)]) -> Zeroizing<String> {
    Zeroizing::new(form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish())
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyValue)
    }
}

/// Takes texts to where they are wiped, and passes over all else.
struct AnyValue;

impl<'de> de::Visitor<'de> for AnyValue {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Value, E> {
        Ok(Value::Text(Zeroizing::new(text.to_owned())))
    }

    fn visit_string<E: de::Error>(self, text: String) -> Result<Value, E> {
        Ok(Value::Text(Zeroizing::new(text)))
    }

    fn visit_bool<E: de::Error>(self, _: bool) -> Result<Value, E> {
        Ok(Value::Other)
    }

    fn visit_i64<E: de::Error>(self, _: i64) -> Result<Value, E> {
        Ok(Value::Other)
    }

    fn visit_u64<E: de::Error>(self, _: u64) -> Result<Value, E> {
        Ok(Value::Other)
    }

    fn visit_f64<E: de::Error>(self, _: f64) -> Result<Value, E> {
        Ok(Value::Other)
    }

    fn visit_unit<E: de::Error>(self) -> Result<Value, E> {
        Ok(Value::Other)
    }

    fn visit_seq<A: de::SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        while items.next_element::<de::IgnoredAny>()?.is_some() {}
        Ok(Value::Other)
    }

    fn visit_map<A: de::MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut texts = BTreeMap::new();
        while let Some((name, value)) = entries.next_entry()? {
            texts.insert(name, value);
        }
        Ok(Value::Texts(texts))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(more: &str) -> Result<Settings, String> {
        let settings: Settings =
            toml::from_str(&format!("address = \"https://bao.example:8200\"\n{more}")).map_err(|error| error.message().to_owned())?;
        settings.problem().map_or(Ok(settings), |problem| Err(problem.to_owned()))
    }

    #[test]
    fn there_is_one_way_to_sign_in() {
        const APPROLE: &str = "[approle]\nrole_id = \"r\"\nsecret_id_file = \"s\"\n";
        assert_eq!(settings(APPROLE).unwrap().approle.unwrap().mount, "approle");
        assert_eq!(settings("[kubernetes]\nrole = \"r\"\n").unwrap().kubernetes.unwrap().jwt_file, service_account());
        assert!(settings("token_file = \"t\"\nnamespace = \"team/a\"\n").is_ok());
        for wrong in ["", &format!("token_file = \"t\"\n{APPROLE}"), "token_file = \"t\"\nnamespace = \"a/../b\"\n", "token = \"hvs.x\"\n"] {
            assert!(settings(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_it_answers_becomes_what_to_do() {
        let said = |status, body: &str| {
            let answer = Answer { status, body: Zeroizing::new(body.as_bytes().to_vec()) };
            checked("secret/data/prod", answer).unwrap_err().to_string()
        };
        assert!(said(503, "{\"errors\":[\"Vault is sealed\"]}").contains("unseals it"));
        assert!(said(503, "").contains("503 to secret/data/prod: it is not ready"));
        assert!(said(403, "{\"errors\":[\"permission denied\"]}").contains("policies of the gateway's token or role there: permission denied"));
        assert!(said(404, "{\"errors\":[]}").contains("nothing at secret/data/prod"));
        let long = said(400, &format!("{{\"errors\":[\"\\u001b[31m{}\"]}}", "x".repeat(5_000)));
        assert!(long.len() < 400 && !long.contains('\u{1b}'), "{long}");
    }

    #[test]
    fn both_versions_of_a_store_are_read() {
        let of = |json: &str| match serde_json::from_str::<Kept>(json).unwrap().fields()?.remove("password")? {
            Value::Text(text) => Some(text.to_string()),
            Value::Texts(_) | Value::Other => None,
        };
        assert_eq!(of(r#"{"data":{"data":{"password":"p"},"metadata":{"version":3,"destroyed":false,"x":null,"y":[1]}}}"#).as_deref(), Some("p"));
        assert_eq!(of(r#"{"data":{"password":"p","data":"d"}}"#).as_deref(), Some("p"));
        assert_eq!(of(r#"{"data":null}"#), None);
        assert_eq!(of(r#"{"data":{"password":7}}"#), None);
    }
}

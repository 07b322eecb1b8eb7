//! An identity provider that says what a test wants, true or not: for what no real one would answer.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
};

use anyhow::{Context, Result, ensure};
use aws_lc_rs::digest;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD, Engine};
use jsonwebtoken::{Algorithm, EncodingKey, Header, jwk::Jwk};
use rcgen::KeyPair;
use serde_json::{Map, Value, json};
use url::{Url, form_urlencoded};

use crate::postgres::PATIENCE;

/// What the gateway is known as.
pub const CLIENT_ID: &str = "countersign";
/// And its secret.
pub const CLIENT_SECRET: &str = "a secret & more";

/// What it says. Tests change it at any time.
#[derive(Debug, Clone)]
pub struct Script {
    /// Claims of ID tokens, in place of those that are right; `null` leaves one out.
    pub claims: Map<String, Value>,
    /// Members of their header, likewise.
    pub header: Map<String, Value>,
    /// What userinfo says.
    pub userinfo: Value,
    /// The key ids it publishes; the last signs.
    pub keys: Vec<String>,
    /// Signs with a key it does not publish, under the id of one that it does.
    pub foreign_key: bool,
    /// Whether the person at the device has signed in.
    pub device_done: bool,
    /// Whether refreshing goes on.
    pub refreshes: bool,
    /// Answers nothing.
    pub down: bool,
    /// What `iss` it sends the browser back with.
    pub answers_as: Option<String>,
}

/// The provider. It ends with the test.
#[derive(Debug)]
pub struct Issuer {
    /// Its issuer.
    pub url: String,
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    url: String,
    own: Key,
    foreign: Key,
    script: Mutex<Script>,
    flows: Mutex<Flows>,
    asked: Mutex<BTreeMap<String, usize>>,
    changed: Condvar,
}

#[derive(Debug)]
struct Key {
    signs: Vec<u8>,
}

#[derive(Debug, Default)]
struct Flows {
    codes: BTreeMap<String, BTreeMap<String, String>>,
    refresh: BTreeMap<String, ()>,
    count: usize,
}

impl Key {
    fn new() -> Result<Self> {
        Ok(Self { signs: KeyPair::generate()?.serialize_der() })
    }

    fn encoding(&self) -> EncodingKey {
        EncodingKey::from_ec_der(&self.signs)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Issuer {
    /// Starts one on a port of this machine that vouches for `alice-at-idp`, called `alice`, of the group `engineers`.
    ///
    /// # Errors
    /// There is no port, or no key.
    pub fn start() -> Result<Self> {
        let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0)))?;
        let url = format!("http://{}", listener.local_addr()?);
        let claims = json!({ "sub": "alice-at-idp", "preferred_username": "alice", "email": "alice@example.com", "groups": ["engineers"] });
        let script = Script {
            claims: claims.as_object().cloned().unwrap_or_default(),
            header: Map::new(),
            userinfo: json!({}),
            keys: vec!["k1".to_owned()],
            foreign_key: false,
            device_done: false,
            refreshes: true,
            down: false,
            answers_as: None,
        };
        let inner = Arc::new(Inner {
            url: url.clone(),
            own: Key::new()?,
            foreign: Key::new()?,
            script: Mutex::new(script),
            flows: Mutex::default(),
            asked: Mutex::default(),
            changed: Condvar::new(),
        });
        let serving = inner.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let serving = serving.clone();
                thread::spawn(move || serving.answer(stream));
            }
        });
        Ok(Self { url, inner })
    }

    /// `[providers.idp]` of a gateway that people of it sign in at. `more`: further lines.
    #[must_use]
    pub fn settings(&self, more: &str) -> String {
        format!(
            "[providers.idp]\nissuer = \"{}\"\nclient_id = \"{CLIENT_ID}\"\nclient_secret = {{ store = \"idp\" }}\ninternal = true\n{more}\n",
            self.url
        )
    }

    /// Changes what it says.
    pub fn say(&self, change: impl FnOnce(&mut Script)) {
        change(&mut lock(&self.inner.script));
    }

    /// How often a path was asked for.
    #[must_use]
    pub fn asked(&self, path: &str) -> usize {
        lock(&self.inner.asked).get(path).copied().unwrap_or(0)
    }

    /// Waits until a path was asked for so often.
    ///
    /// # Errors
    /// It was not, in time.
    pub fn wait_until_asked(&self, path: &str, times: usize, limit: std::time::Duration) -> Result<()> {
        let asked = lock(&self.inner.asked);
        let (asked, late) = self
            .inner
            .changed
            .wait_timeout_while(asked, limit, |asked| asked.get(path).copied().unwrap_or(0) < times)
            .unwrap_or_else(PoisonError::into_inner);
        ensure!(!late.timed_out(), "{path} was not asked for {times} times: {asked:?}");
        Ok(())
    }

    /// What a browser does that is sent to `url` by somebody who signs in at once: returns where it is sent back to.
    ///
    /// # Errors
    /// It is sent nowhere.
    pub fn browse(&self, url: &str) -> Result<Url> {
        let url: Url = url.parse()?;
        let answer = get(&url)?;
        let location = answer.lines().find_map(|line| line.strip_prefix("Location: ")).with_context(|| format!("no redirect: {answer}"))?;
        Ok(location.trim().parse()?)
    }

    /// A token that its key signs, with these claims beside `iss`, `aud`, `iat`, `exp`; `null` leaves one out.
    ///
    /// # Errors
    /// It cannot be signed.
    pub fn token(&self, kind: Option<&str>, claims: &Value) -> Result<String> {
        let header = kind.map_or_else(Map::new, |kind| Map::from_iter([("typ".to_owned(), json!(kind))]));
        self.inner.sign(claims.as_object().context("claims are an object")?, &header)
    }
}

/// One GET by hand: head and body.
///
/// # Errors
/// Nobody answers.
pub fn get(url: &Url) -> Result<String> {
    ask("GET", url, &[], "")
}

/// One request by hand, with these headers: head and body of the answer, which ends with the connection.
///
/// # Errors
/// Nobody answers.
pub fn ask(method: &str, url: &Url, headers: &[(&str, &str)], body: &str) -> Result<String> {
    let address = url.socket_addrs(|| None)?;
    let mut stream = TcpStream::connect(address.first().context("no address")?)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let path = url.query().map_or_else(|| url.path().to_owned(), |query| format!("{}?{query}", url.path()));
    let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let length = body.len();
    let head = format!("{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n", url.authority());
    stream.write_all((head + body).as_bytes())?;
    let mut reader = BufReader::new(stream);
    let (mut head, mut length, mut chunked) = (String::new(), None, false);
    while !head.ends_with("\r\n\r\n") {
        let before = head.len();
        ensure!(reader.read_line(&mut head)? > 0, "{method} {url}: no answer: {head:?}");
        let line = head.get(before..).unwrap_or_default().to_lowercase();
        chunked |= line.starts_with("transfer-encoding: chunked");
        if let Some(value) = line.strip_prefix("content-length:") {
            length = Some(value.trim().parse::<u64>()?);
        }
    }
    // Not everybody closes the connection who is asked to.
    let mut body = Vec::new();
    match length {
        Some(length) => reader.take(length).read_to_end(&mut body)?,
        None if head.split(' ').nth(1) == Some("204") => 0,
        None => reader.read_to_end(&mut body)?,
    };
    let body = String::from_utf8_lossy(&body).into_owned();
    Ok(head + &if chunked { joined(&body)? } else { body })
}

/// The chunks of a body (RFC 9112 section 7.1) as one text.
fn joined(mut chunks: &str) -> Result<String> {
    let mut whole = String::new();
    loop {
        let (length, rest) = chunks.split_once("\r\n").context("a chunk has no length")?;
        let length = usize::from_str_radix(length.trim(), 16)?;
        if length == 0 {
            return Ok(whole);
        }
        whole += rest.get(..length).context("a chunk is cut")?;
        chunks = rest.get(length..).and_then(|rest| rest.strip_prefix("\r\n")).context("a chunk has no end")?;
    }
}

/// The body of an answer that says yes, as JSON; nothing if it has none.
///
/// # Errors
/// It says no, or something else.
pub fn json_of(answer: &str) -> Result<Value> {
    let (head, body) = answer.split_once("\r\n\r\n").context("no answer")?;
    ensure!(head.split(' ').nth(1).is_some_and(|status| status.starts_with('2')), "{answer}");
    if body.trim().is_empty() { Ok(Value::Null) } else { Ok(serde_json::from_str(body)?) }
}

/// Status, content type or location, body.
struct Reply(u16, Option<String>, Value);

impl Inner {
    fn answer(&self, stream: TcpStream) -> Result<()> {
        let mut reader = BufReader::new(stream);
        let (mut head, mut length, mut authorization) = (String::new(), 0, None);
        while !head.ends_with("\r\n\r\n") {
            let before = head.len();
            ensure!(reader.read_line(&mut head)? > 0, "it ended early");
            let line = head.get(before..).unwrap_or_default().trim();
            if let Some((name, value)) = line.split_once(':') {
                match name.to_lowercase().as_str() {
                    "content-length" => length = value.trim().parse()?,
                    "authorization" => authorization = Some(value.trim().to_owned()),
                    _ => {}
                }
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        let target = head.split(' ').nth(1).context("no target")?.to_owned();
        let (path, query) = target.split_once('?').unwrap_or((&target, ""));
        let pairs = |text: &[u8]| form_urlencoded::parse(text).into_owned().collect::<BTreeMap<String, String>>();
        *lock(&self.asked).entry(path.to_owned()).or_default() += 1;
        self.changed.notify_all();
        if lock(&self.script).down {
            return Ok(());
        }
        let Reply(status, location, value) = self.reply(path, &pairs(query.as_bytes()), &pairs(&body), authorization.as_deref())?;
        let body = value.to_string();
        let location = location.map_or_else(String::new, |location| format!("Location: {location}\r\n"));
        let head =
            format!("HTTP/1.1 {status} X\r\n{location}Content-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
        let mut stream = reader.into_inner();
        stream.write_all((head + &body).as_bytes())?;
        Ok(())
    }

    fn reply(&self, path: &str, query: &BTreeMap<String, String>, form: &BTreeMap<String, String>, authorization: Option<&str>) -> Result<Reply> {
        let url = &self.url;
        let ok = |value| Ok(Reply(200, None, value));
        let refuse = |error: &str| Ok(Reply(400, None, json!({ "error": error })));
        match path {
            "/.well-known/openid-configuration" => ok(json!({
                "issuer": url, "authorization_endpoint": format!("{url}/authorize"), "token_endpoint": format!("{url}/token"),
                "jwks_uri": format!("{url}/keys"), "userinfo_endpoint": format!("{url}/userinfo"),
                "device_authorization_endpoint": format!("{url}/device"), "authorization_response_iss_parameter_supported": true,
            })),
            "/keys" => {
                let mut key = Jwk::from_encoding_key(&self.own.encoding(), Algorithm::ES256)?;
                let keys: Vec<Jwk> = lock(&self.script)
                    .keys
                    .iter()
                    .map(|id| {
                        key.common.key_id = Some(id.clone());
                        key.clone()
                    })
                    .collect();
                ok(json!({ "keys": keys }))
            }
            "/authorize" => {
                let mut flows = lock(&self.flows);
                flows.count += 1;
                let code = format!("code-{}", flows.count);
                let mut back: Url = query.get("redirect_uri").context("no redirect_uri")?.parse()?;
                let issuer = lock(&self.script).answers_as.clone().unwrap_or_else(|| url.clone());
                back.query_pairs_mut()
                    .append_pair("code", &code)
                    .append_pair("state", query.get("state").context("no state")?)
                    .append_pair("iss", &issuer);
                flows.codes.insert(code, query.clone());
                Ok(Reply(302, Some(back.into()), json!({})))
            }
            "/device" | "/token" if authorization != Some(&expected_authorization()) => Ok(Reply(401, None, json!({ "error": "invalid_client" }))),
            "/device" => ok(json!({
                "device_code": "the device", "user_code": "ABCD-EFGH", "verification_uri": format!("{url}/activate"), "expires_in": 600, "interval": 1,
            })),
            "/userinfo" => ok(lock(&self.script).userinfo.clone()),
            "/token" => match form.get("grant_type").map(String::as_str) {
                Some("authorization_code") => {
                    let asked = form.get("code").and_then(|code| lock(&self.flows).codes.remove(code));
                    let Some(asked) = asked else { return refuse("invalid_grant") };
                    let verifier = form.get("code_verifier").context("no verifier")?;
                    let challenge = BASE64_URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, verifier.as_bytes()));
                    if asked.get("code_challenge") != Some(&challenge) || asked.get("redirect_uri") != form.get("redirect_uri") {
                        return refuse("invalid_grant");
                    }
                    self.tokens(asked.get("nonce").map(String::as_str))
                }
                Some("urn:ietf:params:oauth:grant-type:device_code") if !lock(&self.script).device_done => refuse("authorization_pending"),
                Some("urn:ietf:params:oauth:grant-type:device_code") => self.tokens(None),
                Some("refresh_token") => {
                    let known = form.get("refresh_token").is_some_and(|token| lock(&self.flows).refresh.remove(token).is_some());
                    if known && lock(&self.script).refreshes {
                        return self.tokens(None);
                    }
                    // Not all answer 400, as RFC 6749 says.
                    Ok(Reply(403, None, json!({ "error": "invalid_grant" })))
                }
                _ => refuse("unsupported_grant_type"),
            },
            _ => Ok(Reply(404, None, json!({}))),
        }
    }

    fn tokens(&self, nonce: Option<&str>) -> Result<Reply> {
        let script = lock(&self.script).clone();
        let mut claims = script.claims.clone();
        if let Some(nonce) = nonce {
            claims.entry("nonce".to_owned()).or_insert(json!(nonce));
        }
        let id_token = self.sign(&claims, &script.header)?;
        let refresh = {
            let mut flows = lock(&self.flows);
            flows.count += 1;
            let refresh = format!("refresh-{}", flows.count);
            flows.refresh.insert(refresh.clone(), ());
            refresh
        };
        let tokens = json!({ "access_token": "access", "token_type": "Bearer", "expires_in": 60, "id_token": id_token, "refresh_token": refresh });
        Ok(Reply(200, None, tokens))
    }

    fn sign(&self, claims: &Map<String, Value>, header: &Map<String, Value>) -> Result<String> {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_secs();
        let mut all = json!({ "iss": self.url, "aud": CLIENT_ID, "iat": now, "exp": now + 300 });
        let whole = all.as_object_mut().context("an object")?;
        whole.extend(claims.clone());
        whole.retain(|_, value| !value.is_null());
        let (key, id) = {
            let script = lock(&self.script);
            let key = if script.foreign_key { &self.foreign } else { &self.own };
            (key.encoding(), script.keys.last().cloned())
        };
        let mut signed = Header::new(Algorithm::ES256);
        signed.kid = id;
        if header.is_empty() {
            return Ok(jsonwebtoken::encode(&signed, &all, &key)?);
        }
        // A header of the test's own, with a signature that is right for it.
        let mut written = serde_json::to_value(&signed)?;
        let members = written.as_object_mut().context("an object")?;
        members.extend(header.clone());
        members.retain(|_, value| !value.is_null());
        let part = |value: &Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
        let message = format!("{}.{}", part(&written), part(&all));
        let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &key, Algorithm::ES256)?;
        Ok(format!("{message}.{signature}"))
    }
}

/// RFC 6749 section 2.3.1: both parts are encoded as forms are.
fn expected_authorization() -> String {
    let encoded = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
    format!("Basic {}", BASE64_STANDARD.encode(format!("{}:{}", encoded(CLIENT_ID), encoded(CLIENT_SECRET))))
}

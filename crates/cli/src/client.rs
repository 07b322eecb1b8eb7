//! The command line's end of the HTTP API: one connection per command, over the local socket or TLS.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context, bail};
use api::types::Refusal;
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{Method, Request, Response, body::Incoming, header};
use hyper_util::rt::TokioIo;
use model::Secret;
use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject};
use serde::{Serialize, de::DeserializeOwned};
use tokio::net::{TcpStream, UnixStream};

use crate::{credentials, output::Output};

/// Largest answer that is read whole, in bytes.
const MAX_ANSWER_BYTES: usize = 256 << 20;
/// Roots of the system, where Debian keeps them; used when no `--ca` is given.
const SYSTEM_ROOTS: &str = "/etc/ssl/certs/ca-certificates.crt";

/// Options every command takes.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Global {
    /// The server: the path of its socket, or https://HOST:PORT. Default: ./data/api.sock, then where you last signed in
    #[arg(long, global = true, env = "COUNTERSIGN_SERVER", value_name = "SERVER")]
    pub(crate) server: Option<String>,
    /// PEM file of the root that the server's certificate chains to
    #[arg(long, global = true, env = "COUNTERSIGN_CA", value_name = "FILE")]
    pub(crate) ca: Option<PathBuf>,
    /// Print JSON
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

impl Global {
    /// How to print.
    pub(crate) fn output(&self) -> Output {
        Output::detect(self.json)
    }

    /// A client that is signed in.
    ///
    /// # Errors
    /// No server is known, or nobody signed in there.
    pub(crate) fn client(&self) -> anyhow::Result<Client> {
        let saved = credentials::load()?;
        let mut client = self.stranger(saved.as_ref())?;
        client.token = match std::env::var("COUNTERSIGN_TOKEN").ok().filter(|token| !token.is_empty()) {
            Some(token) => Some(Secret::from(token)),
            None => saved.filter(|saved| saved.server == client.server.to_string()).map(|saved| saved.token.0),
        };
        if client.token.is_none() {
            bail!("nobody is signed in at {}. Sign in with `countersign login NAME`.", client.server);
        }
        Ok(client)
    }

    /// A client that is nobody yet, for `login`.
    ///
    /// # Errors
    /// No server is known.
    pub(crate) fn stranger(&self, saved: Option<&credentials::Credentials>) -> anyhow::Result<Client> {
        let here = Path::new("data/api.sock");
        let named = match (&self.server, saved) {
            (Some(named), _) => named.clone(),
            (None, _) if here.exists() => here.to_string_lossy().into_owned(),
            (None, Some(saved)) => saved.server.clone(),
            (None, None) => bail!(
                "no server is known: give --server with the path of its socket (DIR/data/api.sock) or https://HOST:PORT, or set COUNTERSIGN_SERVER"
            ),
        };
        let server: Server = named.parse()?;
        let ca = match &self.ca {
            Some(path) => Some(std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?),
            None => saved.filter(|saved| saved.server == server.to_string()).and_then(|saved| saved.ca.clone()),
        };
        Ok(Client { server, ca, token: None })
    }
}

/// Where a server listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Server {
    /// A local socket, by its absolute path.
    Socket(PathBuf),
    /// A host and port, always over TLS.
    Https { host: String, port: u16 },
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket(path) => write!(f, "{}", path.display()),
            Self::Https { host, port } if host.contains(':') => write!(f, "https://[{host}]:{port}"),
            Self::Https { host, port } => write!(f, "https://{host}:{port}"),
        }
    }
}

impl std::str::FromStr for Server {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        if text.starts_with("http://") {
            bail!("`{text}` would send secrets in clear: use https:// or the path of the local socket");
        }
        let Some(rest) = text.strip_prefix("https://") else {
            let path = std::path::absolute(text).with_context(|| format!("`{text}` is no path"))?;
            return Ok(Self::Socket(std::fs::canonicalize(&path).unwrap_or(path)));
        };
        let rest = rest.trim_end_matches('/');
        let (host, port) = match rest.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, port.parse().with_context(|| format!("`{port}` is no port"))?),
            _ => (rest, 443),
        };
        let host = host.trim_start_matches('[').trim_end_matches(']');
        if host.is_empty() || host.contains(['/', '@', '?', '#']) {
            bail!("`{text}` is no server: write https://HOST:PORT");
        }
        Ok(Self::Https { host: host.to_owned(), port })
    }
}

/// One signed-in caller of one server.
pub(crate) struct Client {
    /// The server.
    pub(crate) server: Server,
    /// PEM of its root, if one was given.
    pub(crate) ca: Option<String>,
    token: Option<Secret>,
}

/// The server refused a request, in its own words.
#[derive(Debug)]
struct Refused(Refusal);

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)?;
        self.0.problems.iter().try_for_each(|problem| write!(f, "\n  {problem}"))?;
        self.0.hint.iter().try_for_each(|hint| write!(f, "\n{hint}"))
    }
}

impl std::error::Error for Refused {}

/// Whether the server refused because nobody is signed in, or what was shown is not right.
pub(crate) fn is_stranger(error: &anyhow::Error) -> bool {
    error.downcast_ref::<Refused>().is_some_and(|refused| refused.0.code == "unauthenticated")
}

/// Members of a URL's path and query that hold text people typed are escaped by these two.
pub(crate) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => escaped.push(char::from(byte)),
            other => escaped.push_str(&format!("%{other:02X}")),
        }
    }
    escaped
}

/// A query string of the parts that are there, with its `?`.
pub(crate) fn query(parts: &[(&str, Option<String>)]) -> String {
    let given = parts.iter().filter_map(|(name, value)| value.as_ref().map(|value| format!("{name}={}", escape(value))));
    let joined = given.collect::<Vec<_>>().join("&");
    if joined.is_empty() { joined } else { format!("?{joined}") }
}

impl Client {
    /// GET.
    pub(crate) async fn get<A: DeserializeOwned>(&self, path: &str) -> anyhow::Result<A> {
        self.call(Method::GET, path, None::<&()>).await
    }

    /// POST with a JSON body.
    pub(crate) async fn post<A: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> anyhow::Result<A> {
        self.call(Method::POST, path, Some(body)).await
    }

    /// PUT with a JSON body.
    pub(crate) async fn put<A: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> anyhow::Result<A> {
        self.call(Method::PUT, path, Some(body)).await
    }

    /// DELETE.
    pub(crate) async fn delete<A: DeserializeOwned>(&self, path: &str) -> anyhow::Result<A> {
        self.call(Method::DELETE, path, None::<&()>).await
    }

    /// POST of a form.
    pub(crate) async fn post_form<A: DeserializeOwned>(&self, path: &str, form: &str) -> anyhow::Result<A> {
        read(self.send_as(Method::POST, path, "application/x-www-form-urlencoded", form.as_bytes().to_vec()).await?).await
    }

    async fn call<A: DeserializeOwned>(&self, method: Method, path: &str, body: Option<&impl Serialize>) -> anyhow::Result<A> {
        read(self.send(method, path, body).await?).await
    }

    /// GET of a stream of JSON values, one a line. `each` is given every value in order and may end the reading.
    pub(crate) async fn stream<A: DeserializeOwned>(&self, path: &str, each: impl FnMut(A) -> anyhow::Result<Reading>) -> anyhow::Result<()> {
        self.open(path).await?.read(each).await
    }

    /// As [`stream`](Self::stream), to be read later.
    pub(crate) async fn open(&self, path: &str) -> anyhow::Result<Lines> {
        Ok(Lines(self.send(Method::GET, path, None::<&()>).await?.into_body()))
    }

    /// Sends one request; anything but success becomes an error in the server's words.
    async fn send(&self, method: Method, path: &str, body: Option<&impl Serialize>) -> anyhow::Result<Response<Incoming>> {
        let bytes = body.map(serde_json::to_vec).transpose()?.unwrap_or_default();
        self.send_as(method, path, "application/json", bytes).await
    }

    async fn send_as(&self, method: Method, path: &str, kind: &str, body: Vec<u8>) -> anyhow::Result<Response<Incoming>> {
        let host = match &self.server {
            Server::Socket(_) => "localhost".to_owned(),
            Server::Https { host, port } => format!("{host}:{port}"),
        };
        let mut request = Request::builder().method(method).uri(path).header(header::HOST, host);
        if let Some(token) = &self.token {
            let mut value =
                header::HeaderValue::from_bytes(&[b"Bearer ", token.reveal()].concat()).context("the token holds characters no token has")?;
            value.set_sensitive(true);
            request = request.header(header::AUTHORIZATION, value);
        }
        if !body.is_empty() {
            request = request.header(header::CONTENT_TYPE, kind);
        }
        let response = self.exchange(request.body(Full::new(Bytes::from(body)))?).await?;
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status().as_u16();
        let bytes = Limited::new(response.into_body(), MAX_ANSWER_BYTES).collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
        let refusal = serde_json::from_slice(&bytes).unwrap_or_else(|_| Refusal {
            code: "failed".to_owned(),
            message: format!("{} answered with status {status}", self.server),
            hint: Some("Is there a Countersign server at this address?".to_owned()),
            problems: Vec::new(),
            error: None,
            error_description: None,
        });
        Err(Refused(refusal).into())
    }

    async fn exchange(&self, request: Request<Full<Bytes>>) -> anyhow::Result<Response<Incoming>> {
        match &self.server {
            Server::Socket(path) => {
                let stream = UnixStream::connect(path).await.map_err(|error| unreachable_socket(path, &error))?;
                converse(stream, request).await
            }
            Server::Https { host, port } => {
                let stream =
                    TcpStream::connect((host.as_str(), *port)).await.with_context(|| format!("cannot reach {}. Is it running?", self.server))?;
                let name = ServerName::try_from(host.clone()).with_context(|| format!("`{host}` is no host name"))?;
                let connector = tokio_rustls::TlsConnector::from(tls(self.ca.as_deref())?);
                let stream = connector
                    .connect(name, stream)
                    .await
                    .with_context(|| format!("{} is not trusted; give its root with --ca FILE (on the server: DIR/data/tls/ca.pem)", self.server))?;
                converse(stream, request).await
            }
        }
    }
}

/// An answer read whole.
async fn read<A: DeserializeOwned>(response: Response<Incoming>) -> anyhow::Result<A> {
    let bytes =
        Limited::new(response.into_body(), MAX_ANSWER_BYTES).collect().await.map_err(|error| anyhow::anyhow!("the answer broke off: {error}"))?;
    let bytes = bytes.to_bytes();
    let text: &[u8] = if bytes.is_empty() { b"null" } else { &bytes };
    serde_json::from_slice(text).context("the server's answer is not what this program expects: are both of the same version?")
}

/// TLS towards a server whose certificate chains to a root of this PEM text, or of the system.
pub(crate) fn tls(ca: Option<&str>) -> anyhow::Result<Arc<rustls::ClientConfig>> {
    let mut roots = rustls::RootCertStore::empty();
    let pem = match ca {
        Some(pem) => pem.to_owned(),
        None => std::fs::read_to_string(SYSTEM_ROOTS).with_context(|| format!("{SYSTEM_ROOTS} cannot be read: name the server's root as `ca`"))?,
    };
    for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        roots.add(certificate.context("the file of the `ca` is no PEM certificate")?)?;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?.with_root_certificates(roots);
    Ok(Arc::new(config.with_no_client_auth()))
}

/// Whether a stream is read further.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Reading {
    More,
    Enough,
}

fn unreachable_socket(path: &Path, error: &std::io::Error) -> anyhow::Error {
    use std::io::ErrorKind::{ConnectionRefused, NotFound, PermissionDenied};
    let shown = path.display();
    match error.kind() {
        NotFound => anyhow::anyhow!("there is no socket at {shown}. Is `countersign serve` running there? Name another server with --server."),
        ConnectionRefused => anyhow::anyhow!("nobody answers at {shown}: the server has ended. Start it with `countersign serve`."),
        PermissionDenied => {
            anyhow::anyhow!(
                "{shown} belongs to another user. Sign in over TLS instead: --server https://HOST:PORT ([listen] api in countersign.toml)."
            )
        }
        _ => anyhow::anyhow!("cannot reach {shown}: {error}"),
    }
}

pub(crate) async fn converse<S>(stream: S, request: Request<Full<Bytes>>) -> anyhow::Result<Response<Incoming>>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.context("the server does not speak HTTP")?;
    tokio::spawn(connection);
    sender.send_request(request).await.context("the server closed the connection without an answer")
}

/// A stream that has begun.
#[derive(Debug)]
pub(crate) struct Lines(Incoming);

impl Lines {
    /// Gives every value to `each`, in order, which may end the reading.
    pub(crate) async fn read<A: DeserializeOwned>(mut self, mut each: impl FnMut(A) -> anyhow::Result<Reading>) -> anyhow::Result<()> {
        let mut kept = Vec::new();
        while let Some(frame) = self.0.frame().await {
            let Ok(data) = frame.context("the stream broke off")?.into_data() else { continue };
            kept.extend_from_slice(&data);
            while let Some(end) = kept.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = kept.drain(..=end).collect();
                if line.trim_ascii().is_empty() {
                    continue;
                }
                if each(serde_json::from_slice(&line).context("the server's answer is not what this program expects")?)? == Reading::Enough {
                    return Ok(());
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_a_path_or_https() {
        let https = |host: &str, port| Server::Https { host: host.to_owned(), port };
        assert_eq!("https://gw.example.com".parse::<Server>().unwrap(), https("gw.example.com", 443));
        assert_eq!("https://gw:7443/".parse::<Server>().unwrap(), https("gw", 7443));
        assert_eq!("https://[::1]:7443".parse::<Server>().unwrap(), https("::1", 7443));
        assert_eq!(https("::1", 7443).to_string(), "https://[::1]:7443");
        assert_eq!("/run/c/api.sock".parse::<Server>().unwrap(), Server::Socket(PathBuf::from("/run/c/api.sock")));
        for text in ["http://gw:1", "https://", "https://a@b:1", "https://gw:x"] {
            assert!(text.parse::<Server>().is_err(), "{text}");
        }
    }

    #[test]
    fn what_people_typed_cannot_leave_its_place_in_a_url() {
        assert_eq!(escape("a b/../c?d=é"), "a%20b%2F..%2Fc%3Fd%3D%C3%A9");
        assert_eq!(query(&[("a", Some("x&y".to_owned())), ("b", None)]), "?a=x%26y");
        assert_eq!(query(&[("b", None)]), "");
    }
}

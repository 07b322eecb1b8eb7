//! The one client for what Countersign fetches by itself: providers' metadata, keys and tokens.
//!
//! A name is resolved once, every address it has is looked at, and the one that was looked at is dialled: a name that answers differently the second
//! time gains nothing. Addresses of internal networks are refused unless the configuration names the provider as internal, no redirect is
//! followed, and no answer is read beyond [`MAX_ANSWER_BYTES`].

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::Path,
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{Method, Request, header};
use hyper_util::rt::TokioIo;
use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::timeout,
};
use url::{Host, Url};
use zeroize::Zeroizing;

/// Largest answer that is read, in bytes.
pub const MAX_ANSWER_BYTES: usize = 1 << 20;
/// How long one request may take, from the name to the last byte.
const PATIENCE: Duration = Duration::from_secs(10);

/// Which addresses may be dialled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// Those of the public Internet, over TLS.
    Public,
    /// Internal ones too, and this machine without TLS.
    Internal,
}

/// Why nothing was fetched. The text is for the log and for administrators: it names no secret.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The URL is none that is fetched.
    #[error("`{0}` is not fetched: {1}")]
    Url(String, &'static str),
    /// The roots cannot be read.
    #[error("the certificates to trust cannot be read: {0}")]
    Roots(String),
    /// The name has no address.
    #[error("{0} cannot be resolved: {1}")]
    Unresolved(String, std::io::Error),
    /// An address is not to be dialled.
    #[error("{host} is at {address}, an address of an internal network: set `internal = true` if that is right")]
    Internal {
        /// The name.
        host: String,
        /// The address that it has.
        address: IpAddr,
    },
    /// Nobody answers there, or not with a certificate that is trusted.
    #[error("{0} cannot be reached: {1}")]
    Unreachable(String, String),
    /// It does not speak HTTP, or says too much.
    #[error("{0} does not answer as it should: {1}")]
    Answer(String, String),
    /// It takes too long.
    #[error("{0} does not answer within {PATIENCE:?}")]
    Late(String),
}

/// An answer, whatever its status.
pub struct Answer {
    /// The status, such as 200.
    pub status: u16,
    /// The body; it may hold tokens.
    pub body: Zeroizing<Vec<u8>>,
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answer").field("status", &self.status).finish_non_exhaustive()
    }
}

/// The client.
#[derive(Debug, Clone)]
pub struct Fetcher {
    tls: Arc<rustls::ClientConfig>,
    reach: Reach,
}

impl Fetcher {
    /// A client that trusts the roots in this PEM text, or those of the system.
    ///
    /// # Errors
    /// There is no root that can be read.
    pub fn new(ca: Option<&str>, reach: Reach) -> Result<Self, FetchError> {
        let mut roots = rustls::RootCertStore::empty();
        match ca {
            Some(pem) => {
                for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
                    let certificate = certificate.map_err(|error| FetchError::Roots(error.to_string()))?;
                    roots.add(certificate).map_err(|error| FetchError::Roots(error.to_string()))?;
                }
            }
            None => drop(roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs)),
        }
        if roots.is_empty() {
            return Err(FetchError::Roots("there is none".to_owned()));
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| FetchError::Roots(error.to_string()))?
            .with_root_certificates(roots);
        Ok(Self { tls: Arc::new(config.with_no_client_auth()), reach })
    }

    /// A client that trusts the roots in this PEM file, which begins at `folder` if it is relative, or those of the system.
    ///
    /// # Errors
    /// It cannot be read, or has no root.
    pub fn from_file(ca: Option<&Path>, folder: &Path, reach: Reach) -> Result<Self, FetchError> {
        let Some(ca) = ca else { return Self::new(None, reach) };
        let path = folder.join(ca);
        let pem = std::fs::read_to_string(&path).map_err(|error| FetchError::Roots(format!("{}: {error}", path.display())))?;
        Self::new(Some(&pem), reach)
    }

    /// GET. `bearer` is sent as `Authorization`, if there is one.
    ///
    /// # Errors
    /// When there is no answer; one that says no is an answer.
    pub async fn get(&self, url: &Url, bearer: Option<&str>) -> Result<Answer, FetchError> {
        let authorization = bearer.map(|token| Zeroizing::new(format!("Bearer {token}")));
        self.request(url, Method::GET, authorization, None).await
    }

    /// POST of a form. `authorization` is sent as it is, if there is one.
    ///
    /// # Errors
    /// As for [`get`](Self::get).
    pub async fn post(&self, url: &Url, authorization: Option<Zeroizing<String>>, form: Zeroizing<String>) -> Result<Answer, FetchError> {
        self.request(url, Method::POST, authorization, Some(form)).await
    }

    async fn request(
        &self,
        url: &Url,
        method: Method,
        authorization: Option<Zeroizing<String>>,
        form: Option<Zeroizing<String>>,
    ) -> Result<Answer, FetchError> {
        let place = Place::of(url, self.reach)?;
        let whole = async {
            let address = place.resolve(self.reach).await?;
            let stream = TcpStream::connect(address).await.map_err(|error| place.unreachable(&error))?;
            let request = place.request(method, authorization, form)?;
            match &place.tls {
                None => place.converse(stream, request).await,
                Some(name) => {
                    let connector = tokio_rustls::TlsConnector::from(self.tls.clone());
                    let stream = connector.connect(name.clone(), stream).await.map_err(|error| place.unreachable(&error))?;
                    place.converse(stream, request).await
                }
            }
        };
        timeout(PATIENCE, whole).await.map_err(|_| FetchError::Late(place.authority.clone()))?
    }
}

/// Where a URL leads.
struct Place {
    host: Host<String>,
    port: u16,
    /// Host and port as the `Host` header has them.
    authority: String,
    /// Path and query.
    path: String,
    /// The name the certificate must have; none in clear.
    tls: Option<ServerName<'static>>,
}

impl Place {
    fn of(url: &Url, reach: Reach) -> Result<Self, FetchError> {
        let wrong = |why| FetchError::Url(model::name::printable(url.as_str()).chars().take(200).collect(), why);
        if !url.username().is_empty() || url.password().is_some() {
            return Err(wrong("it names a user"));
        }
        let host = url.host().ok_or_else(|| wrong("it names no host"))?.to_owned();
        let port = url.port_or_known_default().ok_or_else(|| wrong("it names no port"))?;
        let tls = match url.scheme() {
            "https" => {
                Some(ServerName::try_from(host.to_string().trim_matches(['[', ']']).to_owned()).map_err(|_| wrong("its host is no host name"))?)
            }
            "http" if reach == Reach::Internal && is_this_machine(&host) => None,
            _ => return Err(wrong("only https:// is, and http:// of this machine where `internal = true`")),
        };
        let authority = if url.port().is_some() { format!("{host}:{port}") } else { host.to_string() };
        let path = url.query().map_or_else(|| url.path().to_owned(), |query| format!("{}?{query}", url.path()));
        Ok(Self { host, port, authority, path, tls })
    }

    /// The first of its addresses, if all of them may be dialled.
    async fn resolve(&self, reach: Reach) -> Result<SocketAddr, FetchError> {
        let addresses: Vec<SocketAddr> = match &self.host {
            Host::Ipv4(address) => vec![(*address, self.port).into()],
            Host::Ipv6(address) => vec![(*address, self.port).into()],
            Host::Domain(name) => tokio::net::lookup_host((name.as_str(), self.port))
                .await
                .map_err(|error| FetchError::Unresolved(self.authority.clone(), error))?
                .collect(),
        };
        if let (Reach::Public, Some(inside)) = (reach, addresses.iter().find(|address| is_internal(address.ip()))) {
            return Err(FetchError::Internal { host: self.authority.clone(), address: inside.ip() });
        }
        // In clear only to this machine, whatever its name resolves to.
        if let (None, Some(outside)) = (&self.tls, addresses.iter().find(|address| !address.ip().is_loopback())) {
            return Err(self.unreachable(&format!("{} is not this machine", outside.ip())));
        }
        addresses.first().copied().ok_or_else(|| self.unreachable(&"its name has no address"))
    }

    fn request(
        &self,
        method: Method,
        authorization: Option<Zeroizing<String>>,
        form: Option<Zeroizing<String>>,
    ) -> Result<Request<Full<Bytes>>, FetchError> {
        let mut request = Request::builder()
            .method(method)
            .uri(&self.path)
            .header(header::HOST, &self.authority)
            .header(header::ACCEPT, "application/json")
            .header(header::USER_AGENT, concat!("countersign/", env!("CARGO_PKG_VERSION")))
            .header(header::CONNECTION, "close");
        if let Some(authorization) = authorization {
            let value = header::HeaderValue::from_str(&authorization).map(|mut value| {
                value.set_sensitive(true);
                value
            });
            request = request.header(header::AUTHORIZATION, value.map_err(|_| self.unreachable(&"a credential for it has a line break"))?);
        }
        let body = form.map_or_else(Bytes::new, |form| Bytes::from(form.as_bytes().to_vec()));
        if !body.is_empty() {
            request = request.header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
        }
        request.body(Full::new(body)).map_err(|error| self.unreachable(&error))
    }

    async fn converse<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
        &self,
        stream: S,
        request: Request<Full<Bytes>>,
    ) -> Result<Answer, FetchError> {
        let odd = |error: &dyn std::fmt::Display| FetchError::Answer(self.authority.clone(), model::name::printable(&error.to_string()));
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|error| odd(&error))?;
        let exchange = async {
            let response = sender.send_request(request).await.map_err(|error| odd(&error))?;
            let status = response.status().as_u16();
            let body = Limited::new(response.into_body(), MAX_ANSWER_BYTES).collect().await.map_err(|error| odd(&error))?;
            Ok(Answer { status, body: Zeroizing::new(body.to_bytes().to_vec()) })
        };
        // Both in this task: when the answer is there or nobody waits any more, nothing of the connection is left.
        tokio::pin!(exchange, connection);
        let mut over = false;
        loop {
            tokio::select! {
                answer = &mut exchange => return answer,
                _ = &mut connection, if !over => over = true,
            }
        }
    }

    fn unreachable(&self, why: &dyn std::fmt::Display) -> FetchError {
        FetchError::Unreachable(self.authority.clone(), model::name::printable(&why.to_string()))
    }
}

fn is_this_machine(host: &Host<String>) -> bool {
    match host {
        Host::Domain(name) => name == "localhost",
        Host::Ipv4(address) => address.is_loopback(),
        Host::Ipv6(address) => address.is_loopback(),
    }
}

/// Whether an address belongs to no public network: IANA's special-purpose registries,
/// <https://www.iana.org/assignments/iana-ipv4-special-registry> and <https://www.iana.org/assignments/iana-ipv6-special-registry>.
#[must_use]
pub fn is_internal(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_internal_v4(address),
        IpAddr::V6(address) => is_internal_v6(address),
    }
}

fn is_internal_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_documentation()
        || matches!((a, b, c), (0, _, _) | (100, 64..=127, _) | (192, 0, 0) | (192, 88, 99) | (198, 18 | 19, _) | (224..=255, _, _))
}

fn is_internal_v6(address: Ipv6Addr) -> bool {
    // Addresses that lead to an IPv4 one count as that one: mapped and compatible ones, NAT64, 6to4.
    let embedded = |high: u16, low: u16| is_internal_v4(Ipv4Addr::from(u32::from(high) << 16 | u32::from(low)));
    match address.segments() {
        [0, 0, 0, 0, 0, 0 | 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] | [0x2002, high, low, ..] => embedded(high, low),
        // 2000::/3 is all that is given out; of it Teredo, benchmarks, ORCHID and documentation are not.
        [first, ..] if first & 0xe000 != 0x2000 => true,
        [0x2001, 0..=0x1ff, ..] | [0x2001, 0xdb8, ..] | [0x3fff, 0..=0xfff, ..] => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// WEB-17: no address of an internal network is dialled, however it is written.
    #[test]
    fn web_17_internal_addresses_are_known_in_every_spelling() {
        for text in [
            "127.0.0.1",
            "10.1.2.3",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "169.254.169.254",
            "0.0.0.0",
            "100.64.0.1",
            "192.0.0.8",
            "198.18.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "240.0.0.1",
            "::1",
            "::",
            "::ffff:10.0.0.1",
            "::ffff:127.0.0.1",
            "::127.0.0.1",
            "fe80::1",
            "fc00::1",
            "fd12::1",
            "fec0::1",
            "ff02::1",
            "64:ff9b::a9fe:a9fe",
            "64:ff9b:1::1",
            "2002:7f00:1::",
            "2002:a00:1::",
            "2001::1",
            "2001:db8::1",
            "100::1",
        ] {
            assert!(is_internal(text.parse().unwrap()), "{text}");
        }
        for text in
            ["1.1.1.1", "172.32.0.1", "100.128.0.1", "2606:4700:4700::1111", "64:ff9b::101:101", "::ffff:1.1.1.1", "2a00:1450::1", "2002:101:101::"]
        {
            assert!(!is_internal(text.parse().unwrap()), "{text}");
        }
    }

    #[test]
    fn only_https_is_fetched_and_http_of_this_machine_where_that_is_said() {
        let place = |text: &str, reach| {
            Place::of(&text.parse().unwrap(), reach).map(|place| (place.authority, place.path)).map_err(|error| error.to_string())
        };
        assert_eq!(place("https://idp.example/a?b=c#d", Reach::Public), Ok(("idp.example".to_owned(), "/a?b=c".to_owned())));
        assert_eq!(place("https://[2606:4700::1]:8443/", Reach::Public), Ok(("[2606:4700::1]:8443".to_owned(), "/".to_owned())));
        assert_eq!(place("http://127.0.0.1:8080/x", Reach::Internal), Ok(("127.0.0.1:8080".to_owned(), "/x".to_owned())));
        for (text, reach) in [
            ("http://127.0.0.1:8080/x", Reach::Public),
            ("http://idp.example/", Reach::Internal),
            ("https://user@idp.example/", Reach::Public),
            ("file:///etc/passwd", Reach::Internal),
            ("ftp://idp.example/", Reach::Internal),
        ] {
            assert!(place(text, reach).unwrap_err().contains("is not fetched"), "{text}");
        }
    }

    #[tokio::test]
    async fn web_17_a_name_of_this_machine_is_not_dialled_unless_that_is_said() {
        let fetcher = Fetcher { reach: Reach::Public, ..Fetcher::new(Some(TEST_ROOT), Reach::Public).unwrap() };
        for url in
            ["https://localhost:1/", "https://127.0.0.1:1/", "https://[::1]:1/", "https://169.254.169.254/latest/meta-data", "https://2130706433/"]
        {
            let error = fetcher.get(&url.parse().unwrap(), None).await.unwrap_err();
            assert!(matches!(error, FetchError::Internal { .. }), "{url}: {error}");
        }
    }

    /// What the gateway's own `init` makes of such a root; its key is gone.
    const TEST_ROOT: &str = include_str!("../tests/root.pem");
}

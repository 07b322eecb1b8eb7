//! The local socket, TLS and the listener for measurements, spoken to over real sockets.

use std::{os::unix::fs::PermissionsExt, sync::Arc};

use http_body_util::{BodyExt, Empty};
use hyper::{Request, body::Bytes};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream, UnixStream},
    sync::oneshot,
};
use tokio_rustls::{
    TlsAcceptor, TlsConnector,
    rustls::{ClientConfig, RootCertStore, ServerConfig, crypto::aws_lc_rs, pki_types::PrivateKeyDer},
};

use super::House;
use crate::listen::{bind_local, serve_local, serve_plain, serve_tls};

async fn get(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, path: &str) -> (u16, String) {
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let request = Request::get(path).header("host", "localhost").body(Empty::<Bytes>::new()).unwrap();
    let response = sender.send_request(request).await.unwrap();
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

fn stopping() -> (oneshot::Sender<()>, impl Future<Output = ()>) {
    let (stop, stopped) = oneshot::channel::<()>();
    (stop, async move { drop(stopped.await) })
}

#[tokio::test]
async fn the_local_socket_is_its_owners_alone_and_replaces_a_dead_one() {
    let house = House::new().await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("api.sock");
    drop(bind_local(&path).unwrap());
    let listener = bind_local(&path).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let (stop, stopped) = stopping();
    let server = tokio::spawn(serve_local(listener, house.router.clone(), stopped));
    let (status, body) = get(UnixStream::connect(&path).await.unwrap(), "/v1/status").await;
    assert_eq!(status, 401);
    assert!(body.contains("unauthenticated"), "{body}");
    drop(stop);
    server.await.unwrap();
}

#[test]
fn a_path_too_long_for_a_socket_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let error = bind_local(&folder.path().join("x".repeat(100)).join("api.sock")).unwrap_err().to_string();
    assert!(error.contains("shorter path"), "{error}");
}

#[tokio::test]
async fn the_api_is_served_over_tls_and_not_in_clear() {
    let house = House::new().await;
    let certified = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let provider = Arc::new(aws_lc_rs::default_provider());
    let key = PrivateKeyDer::try_from(certified.signing_key.serialize_der()).unwrap();
    let config = ServerConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions().unwrap();
    let config = config.with_no_client_auth().with_single_cert(vec![certified.cert.der().clone()], key).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = stopping();
    let server = tokio::spawn(serve_tls(listener, TlsAcceptor::from(Arc::new(config)), house.router.clone(), stopped));

    let mut roots = RootCertStore::empty();
    roots.add(certified.cert.der().clone()).unwrap();
    let client = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let connector = TlsConnector::from(Arc::new(client.with_root_certificates(roots).with_no_client_auth()));
    let stream = TcpStream::connect(address).await.unwrap();
    let stream = connector.connect("localhost".try_into().unwrap(), stream).await.unwrap();
    assert_eq!(get(stream, "/v1/openapi.json").await.0, 200);

    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(TcpStream::connect(address).await.unwrap())).await.unwrap();
    tokio::spawn(connection);
    let request = Request::get("/v1/openapi.json").header("host", "localhost").body(Empty::<Bytes>::new()).unwrap();
    assert!(sender.send_request(request).await.is_err());
    drop(stop);
    server.await.unwrap();
}

/// WEB-08: what is measured names nobody, and the API is not served beside it.
#[tokio::test]
async fn web_08_measurements_name_nobody() {
    let house = House::new().await;
    let alice = house.login("alice").await;
    house.ask("GET", "/v1/whoami", Some(&alice), None).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = stopping();
    let server = tokio::spawn(serve_plain(listener, crate::watch_router(house.api.clone()), stopped));
    let (status, metrics) = get(TcpStream::connect(address).await.unwrap(), "/metrics").await;
    assert_eq!(status, 200);
    for line in ["countersign_live_sessions 0", "countersign_state_up 1", "countersign_api_requests_total{status=\"200\"} 2"] {
        assert!(metrics.contains(line), "{line} is missing from\n{metrics}");
    }
    assert!(!metrics.contains("alice") && !metrics.contains("prod-pg"), "{metrics}");
    assert_eq!(get(TcpStream::connect(address).await.unwrap(), "/healthz").await, (200, "ok\n".to_owned()));
    assert_eq!(get(TcpStream::connect(address).await.unwrap(), "/v1/openapi.json").await.0, 404);
    drop(stop);
    server.await.unwrap();
}

//! Serving the router: over the local socket, over TLS, and over plain loopback for measurements.
//!
//! Every connection has a limit on what it may cost before a request is understood: the time to its headers, their size, and how many there are at once.

use std::{future::Future, io, net::SocketAddr, os::unix::fs::PermissionsExt, path::Path, sync::Arc, time::Duration};

use axum::{Router, body::Body};
use hyper::{Request, body::Incoming, server::conn::http1};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use identity::{Crowd, InCrowd};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream, UnixListener},
    sync::{OwnedSemaphorePermit, Semaphore},
};
use tokio_rustls::TlsAcceptor;

use crate::caller::Peer;

/// Connections at once on each listener, and on the one for TLS from one address.
const MAX_CONNECTIONS: usize = 256;
const MAX_CONNECTIONS_PER_ADDRESS: usize = 64;
/// How long a caller has for a TLS handshake, and for the headers of each request.
const PATIENCE: Duration = Duration::from_secs(10);
/// Most that the headers of a request may hold, in bytes.
const MAX_HEADER_BYTES: usize = 64 << 10;
/// Longest path of a socket the system takes, in bytes: `sun_path` of unix(7) with its final zero.
const MAX_SOCKET_PATH_BYTES: usize = 107;

/// Opens the local socket for its owner alone (0600), in place of one that a killed process left.
///
/// # Errors
/// The path is too long for a socket, or the folder cannot be written.
pub fn bind_local(path: &Path) -> io::Result<UnixListener> {
    let beside = path.with_extension("new");
    if beside.as_os_str().len() > MAX_SOCKET_PATH_BYTES {
        return Err(io::Error::other(format!(
            "{} is longer than the {MAX_SOCKET_PATH_BYTES} bytes a socket's path may have: choose a data directory with a shorter path",
            path.display()
        )));
    }
    match std::fs::remove_file(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    // Renamed into place once it is private: nobody can connect in between.
    let listener = UnixListener::bind(&beside)?;
    std::fs::set_permissions(&beside, std::fs::Permissions::from_mode(0o600))?;
    std::fs::rename(&beside, path)?;
    Ok(listener)
}

/// Serves the local socket until `stop` is ready.
pub async fn serve_local(listener: UnixListener, router: Router, stop: impl Future<Output = ()>) {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    tokio::pin!(stop);
    loop {
        let Some(place) = place(&places, &mut stop).await else { return };
        tokio::select! {
            () = &mut stop => return,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => drop(tokio::spawn(converse(stream, Peer::LOCAL, router.clone(), place))),
                Err(error) => cannot_accept(&error).await,
            },
        }
    }
}

/// Serves TLS until `stop` is ready.
pub async fn serve_tls(listener: TcpListener, acceptor: TlsAcceptor, router: Router, stop: impl Future<Output = ()>) {
    let (places, crowd) = (Arc::new(Semaphore::new(MAX_CONNECTIONS)), Crowd::new(MAX_CONNECTIONS_PER_ADDRESS));
    tokio::pin!(stop);
    loop {
        let Some(place) = place(&places, &mut stop).await else { return };
        tokio::select! {
            () = &mut stop => return,
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => match crowd.enter(peer.ip()) {
                    Some(of_address) => drop(tokio::spawn(shake_hands(stream, peer, acceptor.clone(), router.clone(), (place, of_address)))),
                    None => tracing::debug!(%peer, "a connection to the API was closed: its address has too many"),
                },
                Err(error) => cannot_accept(&error).await,
            },
        }
    }
}

/// Serves plain HTTP until `stop` is ready: on loopback, what holds nothing of anybody's.
pub async fn serve_plain(listener: TcpListener, router: Router, stop: impl Future<Output = ()>) {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    tokio::pin!(stop);
    loop {
        let Some(place) = place(&places, &mut stop).await else { return };
        tokio::select! {
            () = &mut stop => return,
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => drop(tokio::spawn(converse(stream, Peer(peer.ip()), router.clone(), place))),
                Err(error) => cannot_accept(&error).await,
            },
        }
    }
}

/// A place for one more connection; none when it is time to stop.
async fn place(places: &Arc<Semaphore>, stop: &mut (impl Future<Output = ()> + Unpin)) -> Option<OwnedSemaphorePermit> {
    tokio::select! {
        () = stop => None,
        place = places.clone().acquire_owned() => place.ok(),
    }
}

/// Out of file descriptors, most likely: others must end before the next can come in.
async fn cannot_accept(error: &io::Error) {
    tracing::warn!(%error, "a connection to the API could not be accepted");
    tokio::time::sleep(Duration::from_millis(100)).await;
}

async fn shake_hands(stream: TcpStream, peer: SocketAddr, acceptor: TlsAcceptor, router: Router, places: (OwnedSemaphorePermit, InCrowd)) {
    match tokio::time::timeout(PATIENCE, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => converse(stream, Peer(peer.ip()), router, places).await,
        Ok(Err(error)) => tracing::debug!(%peer, %error, "a TLS handshake with the API failed"),
        Err(_) => tracing::debug!(%peer, "a TLS handshake with the API took too long"),
    }
}

async fn converse(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, peer: Peer, router: Router, place: impl Send) {
    let service = tower_service(router, peer);
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(PATIENCE)
        .max_buf_size(MAX_HEADER_BYTES)
        .serve_connection(TokioIo::new(stream), service);
    if let Err(error) = connection.await {
        tracing::debug!(%error, "a connection to the API broke off");
    }
    drop(place);
}

fn tower_service(
    router: Router,
    peer: Peer,
) -> impl hyper::service::Service<Request<Incoming>, Response = axum::response::Response, Error = std::convert::Infallible, Future: Send> {
    hyper::service::service_fn(move |request: Request<Incoming>| {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(peer);
        hyper::service::Service::call(&TowerToHyperService::new(router.clone()), request)
    })
}

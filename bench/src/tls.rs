//! TLS as PostgreSQL's protocol begins it, on either side.

use std::{io, path::Path, sync::Arc};

use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::{TlsAcceptor, TlsConnector, client, server};

/// SSLRequest: <https://www.postgresql.org/docs/current/protocol-message-formats.html>.
const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];

/// Both sides of TLS, with one certificate and the authority it comes from.
#[derive(Clone)]
pub(crate) struct Tls {
    acceptor: TlsAcceptor,
    connector: TlsConnector,
}

impl Tls {
    /// From `ca.pem`, `server.pem` and `server.key` in a folder.
    pub(crate) fn read(folder: &Path) -> io::Result<Self> {
        let certificates =
            |name| CertificateDer::pem_file_iter(folder.join(name)).and_then(Iterator::collect::<Result<Vec<_>, _>>).map_err(io::Error::other);
        let key = PrivateKeyDer::from_pem_file(folder.join("server.key")).map_err(io::Error::other)?;
        let server = ServerConfig::builder().with_no_client_auth().with_single_cert(certificates("server.pem")?, key).map_err(io::Error::other)?;
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(certificates("ca.pem")?);
        let client = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        Ok(Self { acceptor: Arc::new(server).into(), connector: Arc::new(client).into() })
    }

    /// Answers a caller that asks for TLS.
    pub(crate) async fn accept(&self, mut caller: TcpStream) -> io::Result<server::TlsStream<TcpStream>> {
        let mut asked = [0; SSL_REQUEST.len()];
        caller.read_exact(&mut asked).await?;
        if asked != SSL_REQUEST {
            return Err(io::Error::other("a caller that does not ask for TLS"));
        }
        caller.write_all(b"S").await?;
        self.acceptor.accept(caller).await
    }

    /// Asks a target for TLS.
    pub(crate) async fn connect(&self, mut target: TcpStream) -> io::Result<client::TlsStream<TcpStream>> {
        target.write_all(&SSL_REQUEST).await?;
        if target.read_u8().await? != b'S' {
            return Err(io::Error::other("the target does not speak TLS"));
        }
        let name = ServerName::try_from("localhost").map_err(io::Error::other)?;
        self.connector.connect(name, target).await
    }
}

//! A local port of `countersign connect --listen`: for clients that cannot be given a token. Whoever can reach the port acts as the person who opened
//! it, so it is on loopback only, and ends with the command.
//!
//! Only the beginning of each conversation is touched: the startup packet gets the identity and the connection, the gateway's question for a
//! password gets a fresh token; all else passes as it is.

use std::{net::SocketAddr, sync::Arc};

use anyhow::{Context, bail};
use model::{ConnectionName, Secret};
use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::{
    client::Client,
    commands::connect::{Destination, mint},
    output::Output,
};

/// Codes of <https://www.postgresql.org/docs/current/protocol-message-formats.html>.
const SSL_REQUEST: u32 = 80_877_103;
const GSSENC_REQUEST: u32 = 80_877_104;
const CANCEL_REQUEST: u32 = 80_877_102;
/// Longest startup packet the server takes, in bytes: `MAX_STARTUP_PACKET_LENGTH` of PostgreSQL.
const MAX_STARTUP_BYTES: usize = 10_000;
const AUTHENTICATION_CLEARTEXT: [u8; 4] = 3u32.to_be_bytes();

/// Serves the port until Ctrl-C.
pub(crate) async fn serve(output: Output, client: &Client, connection: &ConnectionName, to: Destination, at: SocketAddr) -> anyhow::Result<()> {
    if !at.ip().is_loopback() {
        bail!("{at} is not a loopback address: whoever reached it would act as you");
    }
    let listener = TcpListener::bind(at).await.with_context(|| format!("cannot listen on {at}"))?;
    let at = listener.local_addr()?;
    let connector = connector(&to)?;
    let shown = serde_json::json!({ "address": at, "connection": to.database });
    output.show_line(&shown, |_| format!("{} is at {at} until Ctrl-C: psql \"host={} port={} sslmode=disable\"", to.database, at.ip(), at.port()))?;
    let to = Arc::new(to);
    loop {
        let stream = tokio::select! {
            accepted = listener.accept() => accepted.context("cannot accept connections")?.0,
            _ = tokio::signal::ctrl_c() => return Ok(()),
        };
        let token = match mint(client, connection).await {
            Ok(token) => token,
            Err(error) => {
                eprintln!("countersign: {}", model::name::printable(&format!("{error:#}")));
                continue;
            }
        };
        let (to, connector) = (to.clone(), connector.clone());
        tokio::spawn(async move {
            if let Err(error) = relay(stream, &to, &connector, &token).await {
                eprintln!("countersign: {}", model::name::printable(&format!("{error:#}")));
            }
        });
    }
}

fn connector(to: &Destination) -> anyhow::Result<TlsConnector> {
    let mut roots = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(to.ca.as_bytes()) {
        roots.add(certificate.context("the gateway's root is no PEM certificate")?)?;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?.with_root_certificates(roots);
    Ok(TlsConnector::from(Arc::new(config.with_no_client_auth())))
}

async fn relay(mut client: TcpStream, to: &Destination, connector: &TlsConnector, token: &Secret) -> anyhow::Result<()> {
    let Some((code, packet)) = startup(&mut client).await? else { return Ok(()) };
    let mut gateway = dial(to, connector).await?;
    if code == CANCEL_REQUEST {
        gateway.write_all(&framed(code, &packet)?).await?;
        return Ok(gateway.shutdown().await?);
    }
    gateway.write_all(&framed(code, &rewritten(&packet, to))?).await?;
    answer_password(&mut client, &mut gateway, token).await?;
    tokio::io::copy_bidirectional(&mut client, &mut gateway).await?;
    Ok(())
}

/// The first packet that means something: encryption is declined, it never leaves this machine. None if the client left.
async fn startup(client: &mut TcpStream) -> anyhow::Result<Option<(u32, Vec<u8>)>> {
    loop {
        let mut head = [0u8; 8];
        if client.read_exact(&mut head).await.is_err() {
            return Ok(None);
        }
        let [a, b, c, d, e, f, g, h] = head;
        let (length, code) = (u32::from_be_bytes([a, b, c, d]), u32::from_be_bytes([e, f, g, h]));
        if matches!(code, SSL_REQUEST | GSSENC_REQUEST) {
            client.write_all(b"N").await?;
            continue;
        }
        let rest = usize::try_from(length).unwrap_or(usize::MAX).saturating_sub(8);
        if rest > MAX_STARTUP_BYTES {
            bail!("a client sent something that is not PostgreSQL");
        }
        let mut packet = vec![0; rest];
        client.read_exact(&mut packet).await?;
        return Ok(Some((code, packet)));
    }
}

async fn dial(to: &Destination, connector: &TlsConnector) -> anyhow::Result<TlsStream<TcpStream>> {
    let mut stream = TcpStream::connect(to.address).await.with_context(|| format!("cannot reach the gateway at {}", to.address))?;
    stream.set_nodelay(true)?;
    stream.write_all(&framed(SSL_REQUEST, &[])?).await?;
    if stream.read_u8().await? != b'S' {
        bail!("the gateway at {} offers no TLS", to.address);
    }
    let name = ServerName::try_from(to.host.clone()).with_context(|| format!("`{}` is no host name", to.host))?;
    connector.connect(name, stream).await.context("the gateway did not show the certificate it should have")
}

fn framed(code: u32, packet: &[u8]) -> anyhow::Result<Vec<u8>> {
    let length = u32::try_from(packet.len() + 8).context("the packet is too long")?;
    Ok([&length.to_be_bytes()[..], &code.to_be_bytes(), packet].concat())
}

/// The startup packet's parameters with our user and database in place of the client's.
fn rewritten(packet: &[u8], to: &Destination) -> Vec<u8> {
    let mut parts = packet.split(|byte| *byte == 0);
    let mut rewritten = Vec::new();
    let mut put = |name: &[u8], value: &[u8]| {
        for part in [name, value] {
            rewritten.extend_from_slice(part);
            rewritten.push(0);
        }
    };
    while let (Some(name), Some(value)) = (parts.next(), parts.next()) {
        if name.is_empty() {
            break;
        }
        if name != b"user" && name != b"database" {
            put(name, value);
        }
    }
    put(b"user", to.user.as_str().as_bytes());
    put(b"database", to.database.as_bytes());
    rewritten.push(0);
    rewritten
}

/// Passes the gateway's first messages on until it asks for the password, and answers that one.
async fn answer_password(client: &mut TcpStream, gateway: &mut TlsStream<TcpStream>, token: &Secret) -> anyhow::Result<()> {
    loop {
        let kind = gateway.read_u8().await.context("the gateway closed the connection")?;
        let length = gateway.read_u32().await?;
        let rest = usize::try_from(length).unwrap_or(usize::MAX).saturating_sub(4);
        if rest > MAX_STARTUP_BYTES {
            bail!("the gateway sent something that is not PostgreSQL");
        }
        let mut body = vec![0; rest];
        gateway.read_exact(&mut body).await?;
        if kind == b'R' && body == AUTHENTICATION_CLEARTEXT {
            let mut answer = zeroize::Zeroizing::new(vec![b'p']);
            answer.extend_from_slice(&u32::try_from(token.reveal().len() + 5)?.to_be_bytes());
            answer.extend_from_slice(token.reveal());
            answer.push(0);
            return Ok(gateway.write_all(&answer).await?);
        }
        client.write_u8(kind).await?;
        client.write_u32(length).await?;
        client.write_all(&body).await?;
        if kind == b'E' {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_startup_packet_speaks_for_the_person_whatever_the_client_said() {
        let to = Destination {
            address: "127.0.0.1:1".parse().unwrap(),
            host: "localhost".to_owned(),
            ca: String::new(),
            ca_file: "x".into(),
            user: "alice".parse().unwrap(),
            database: "prod-pg/shop".to_owned(),
        };
        let sent = b"user\0root\0application_name\0tool\0database\0other\0options\0\0\0";
        let expected = b"application_name\0tool\0options\0\0user\0alice\0database\0prod-pg/shop\0\0";
        assert_eq!(rewritten(sent, &to), expected);
        assert_eq!(framed(SSL_REQUEST, &[]).unwrap(), [0, 0, 0, 8, 4, 210, 22, 47]);
    }
}

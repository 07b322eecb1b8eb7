//! `countersign connect NAME`: the client of a connection, signed in: psql with a fresh token, ssh with a certificate; or a local port for clients that know nothing
//! of tokens.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, bail};
use api::types::{ConnectionsAnswer, GatewayView, TokenMinted, TokenRequest, WhoamiAnswer};
use model::{ConnectionName, IdentityName, Secret};

use crate::{
    client::{Client, Global, Server},
    credentials, local_port,
    ssh::{self, Files, Gate},
};

/// How long the token works, in seconds: it is needed for signing in only.
const TOKEN_S: u64 = 300;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The connection, or connection/database
    name: String,
    /// Open a local port instead of a client; port 0 lets the system choose
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
    /// Arguments for psql; for a machine those of ssh, such as a command
    #[arg(last = true)]
    arguments: Vec<String>,
}

/// Where to connect, as whom.
pub(crate) struct Destination {
    /// The gateway.
    pub(crate) address: SocketAddr,
    /// The name its certificate must carry.
    pub(crate) host: String,
    /// PEM of its root, and a file that holds it.
    pub(crate) ca: String,
    pub(crate) ca_file: PathBuf,
    /// The identity.
    pub(crate) user: IdentityName,
    /// `connection[/database]`.
    pub(crate) database: String,
}

pub(crate) async fn run(global: &Global, args: Args) -> anyhow::Result<()> {
    let client = global.client()?;
    let connection: ConnectionName = args.name.split('/').next().unwrap_or_default().parse()?;
    let user = client.get::<WhoamiAnswer>("/v1/whoami").await?.identity.name;
    let answer: ConnectionsAnswer = client.get("/v1/connections").await?;
    if answer.connections.iter().any(|known| known.name == connection && known.protocol == "ssh") {
        if args.listen.is_some() {
            bail!("{connection} is a machine: ssh opens ports by itself, with -L");
        }
        let (files, gate) = (Files::find()?, Gate::of(&client.server, answer.gateway)?);
        ssh::certified(&client, &files, &gate, &user).await?;
        return start_ssh(&files, &gate, &format!("{user}+{connection}"), &args.arguments);
    }
    let token = mint(&client, &connection).await?;
    let destination = destination(&client.server, answer.gateway, user, args.name)?;
    match args.listen {
        Some(address) => local_port::serve(global.output(), &client, &connection, destination, address).await,
        None => start_psql(&destination, &token, &args.arguments),
    }
}

/// A token for one connection. An unknown name is answered with the near ones.
pub(crate) async fn mint(client: &Client, connection: &ConnectionName) -> anyhow::Result<Secret> {
    let request = TokenRequest {
        connections: vec![connection.clone()],
        subject: None,
        expires_in_s: Some(TOKEN_S),
        not_before_in_s: None,
        statement: None,
        agent: None,
        request: None,
    };
    Ok(client.post::<TokenMinted>("/v1/tokens", &request).await?.secret.0)
}

fn destination(server: &Server, gateway: GatewayView, user: IdentityName, database: String) -> anyhow::Result<Destination> {
    let Some(text) = gateway.postgres.first() else { bail!("the gateway listens for no PostgreSQL clients") };
    let mut address: SocketAddr = text.parse().context("the gateway's address makes no sense")?;
    let host = match (server, address.ip()) {
        // It listens everywhere, or on its own loopback while we came from elsewhere: it is reached by the name we know.
        (Server::Https { host, .. }, ip) if ip.is_unspecified() || (ip.is_loopback() && host != "localhost") => host.clone(),
        (_, ip) if ip.is_unspecified() || ip.is_loopback() => "localhost".to_owned(),
        (_, ip) => ip.to_string(),
    };
    if address.ip().is_unspecified() {
        address.set_ip(resolve(&host, address.port())?);
    }
    let Some(ca) = gateway.ca else { bail!("the gateway does not say which root signed its certificate: set [tls] ca in its countersign.toml") };
    let ca_file = credentials::folder()?.join("gateway-ca.pem");
    credentials::write_private(&ca_file, ca.as_bytes())?;
    Ok(Destination { address, host, ca, ca_file, user, database })
}

fn resolve(host: &str, port: u16) -> anyhow::Result<IpAddr> {
    use std::net::ToSocketAddrs;
    if host == "localhost" {
        return Ok(IpAddr::V4(Ipv4Addr::LOCALHOST));
    }
    let mut found = (host, port).to_socket_addrs().with_context(|| format!("cannot find {host}"))?;
    found.next().map(|address| address.ip()).with_context(|| format!("{host} has no address"))
}

/// Becomes psql. The token is in its environment only: an argument could be read by everybody on the machine.
fn start_psql(destination: &Destination, token: &Secret, arguments: &[String]) -> anyhow::Result<()> {
    let Some(token) = token.reveal_str() else { bail!("the server sent a token that is no text") };
    let error = Command::new("psql").arg(conninfo(destination, &destination.ca_file)).args(arguments).env("PGPASSWORD", token).exec();
    if error.kind() == std::io::ErrorKind::NotFound {
        bail!(
            "psql is not installed: install it (Debian: apt install postgresql-client), or open a port for another client with --listen 127.0.0.1:5432"
        );
    }
    Err(error).context("cannot start psql")
}

/// Becomes ssh, with the key and certificate of this sign-in. What else ssh is configured to do for everybody, it does.
fn start_ssh(files: &Files, gate: &Gate, user: &str, arguments: &[String]) -> anyhow::Result<()> {
    let option = |name: &str, path: &Path| format!("{name}=\"{}\"", path.display().to_string().replace('%', "%%"));
    let mut command = Command::new("ssh");
    command.args(["-o", "IdentitiesOnly=yes", "-o", "StrictHostKeyChecking=yes", "-p", &gate.port.to_string(), "-l", user]);
    for option in
        [option("IdentityFile", &files.key), option("CertificateFile", &files.certificate), option("UserKnownHostsFile", &files.known_hosts)]
    {
        command.arg("-o").arg(option);
    }
    let error = command.arg(&gate.host).args(arguments).exec();
    if error.kind() == std::io::ErrorKind::NotFound {
        bail!("ssh is not installed: install it (Debian: apt install openssh-client)");
    }
    Err(error).context("cannot start ssh")
}

/// <https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-CONNSTRING-KEYWORD-VALUE>
fn conninfo(destination: &Destination, ca_file: &Path) -> String {
    let parts = [
        ("host", destination.host.clone()),
        ("hostaddr", destination.address.ip().to_string()),
        ("port", destination.address.port().to_string()),
        ("user", destination.user.to_string()),
        ("dbname", destination.database.clone()),
        ("sslmode", "verify-full".to_owned()),
        ("sslrootcert", ca_file.display().to_string()),
    ];
    parts.iter().map(|(name, value)| format!("{name}={}", quoted(value))).collect::<Vec<_>>().join(" ")
}

fn quoted(value: &str) -> String {
    let plain = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_./:@+".contains(&byte));
    if plain { value.to_owned() } else { format!("'{}'", value.replace('\\', "\\\\").replace('\'', "\\'")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_cannot_leave_its_place_in_the_conninfo() {
        assert_eq!(quoted("prod-pg/shop"), "prod-pg/shop");
        assert_eq!(quoted("a b' sslmode=disable"), "'a b\\' sslmode=disable'");
        assert_eq!(quoted("\\"), "'\\\\'");
        assert_eq!(quoted(""), "''");
    }
}

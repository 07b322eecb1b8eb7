//! What a sign-in leaves for `ssh`: a key with a certificate that ends with the sign-in, and the gateway's host key. All in a folder of the caller's own.

use std::{
    net::SocketAddr,
    path::PathBuf,
    process::{Command, Stdio},
};

use anyhow::{Context, bail};
use api::types::{GatewayView, SshCertificateAnswer, SshCertificateRequest, SshKeysView};
use model::{IdentityName, Timestamp};

use crate::{
    client::{Client, Server},
    credentials,
};

/// A certificate that is about to end is made anew, in seconds before its end.
const ALMOST_OVER_S: i64 = 60;

/// Files for `ssh`.
pub(crate) struct Files {
    pub(crate) key: PathBuf,
    pub(crate) certificate: PathBuf,
    pub(crate) known_hosts: PathBuf,
    pub(crate) config: PathBuf,
}

impl Files {
    pub(crate) fn find() -> anyhow::Result<Self> {
        let folder = credentials::folder()?.join("ssh");
        let file = |name: &str| folder.join(name);
        Ok(Self { key: file("key"), certificate: file("key-cert.pub"), known_hosts: file("known_hosts"), config: file("config") })
    }
}

/// Where the gateway listens for SSH, and what it is known by there.
pub(crate) struct Gate {
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) keys: SshKeysView,
}

impl Gate {
    /// # Errors
    /// The gateway does not speak SSH.
    pub(crate) fn of(server: &Server, gateway: GatewayView) -> anyhow::Result<Self> {
        let (Some(text), Some(keys)) = (gateway.ssh.first(), gateway.ssh_keys) else {
            bail!("the gateway listens for no SSH clients: an administrator sets `ssh` in [listen] of its countersign.toml")
        };
        let address: SocketAddr = text.parse().context("the gateway's address makes no sense")?;
        let host = match (server, address.ip()) {
            (Server::Https { host, .. }, ip) if ip.is_unspecified() || (ip.is_loopback() && host != "localhost") => host.clone(),
            (_, ip) if ip.is_unspecified() => "127.0.0.1".to_owned(),
            (_, ip) => ip.to_string(),
        };
        Ok(Self { host, port: address.port(), keys })
    }
}

/// Has a fresh key vouched for and keeps it; until when it works. The key never leaves this machine.
pub(crate) async fn certify(client: &Client, files: &Files, gate: &Gate) -> anyhow::Result<Timestamp> {
    let key = identity::ssh::fresh_key()?;
    let request = SshCertificateRequest { public_key: key.public_key().to_openssh().context("the key cannot be written out")? };
    let answer: SshCertificateAnswer = client.post("/v1/ssh/certificates", &request).await?;
    forget(files);
    credentials::write_private(&files.key, identity::ssh::private_text(&key)?.as_bytes())?;
    credentials::write_private(&files.certificate, format!("{}\n", answer.certificate).as_bytes())?;
    // Whatever is reached through the gateway shows this key and no other.
    credentials::write_private(&files.known_hosts, format!("* {}\n", gate.keys.host_key).as_bytes())?;
    Ok(answer.token.expires_at)
}

/// As [`certify`], unless there is a certificate that this sign-in and this name have already.
pub(crate) async fn certified(client: &Client, files: &Files, gate: &Gate, name: &IdentityName) -> anyhow::Result<()> {
    let text = std::fs::read_to_string(&files.certificate).unwrap_or_default();
    let still = identity::ssh::names_and_end(&text).is_some_and(|(names, end)| {
        names.iter().any(|known| known == name.as_str()) && end.as_second() > Timestamp::now().as_second() + ALMOST_OVER_S
    });
    let known = std::fs::read_to_string(&files.known_hosts).is_ok_and(|known| known.contains(&gate.keys.host_key));
    if !(still && known && files.key.exists()) {
        certify(client, files, gate).await?;
    }
    Ok(())
}

/// Gives the key to the agent, if there is one, until it ends. Whether it took it.
pub(crate) fn add_to_agent(files: &Files, until: Timestamp) -> bool {
    if std::env::var_os("SSH_AUTH_SOCK").is_none_or(|socket| socket.is_empty()) {
        return false;
    }
    let lasts_s = until.as_second().saturating_sub(Timestamp::now().as_second()).max(1).to_string();
    let mut command = Command::new("ssh-add");
    command.args(["-q", "-t", &lasts_s]).arg(&files.key);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}

/// Takes the key of the last sign-in from the agent and from here. The gateway does not take it any more in any case.
pub(crate) fn forget(files: &Files) {
    if files.key.exists() && std::env::var_os("SSH_AUTH_SOCK").is_some_and(|socket| !socket.is_empty()) {
        let mut command = Command::new("ssh-add");
        let _ = command.arg("-qd").arg(&files.key).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    }
    for file in [&files.key, &files.certificate] {
        let _ = std::fs::remove_file(file);
    }
}

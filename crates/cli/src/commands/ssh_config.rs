//! `countersign ssh-config`: what `ssh` needs to know for reaching machines by name.

use std::{fmt::Write as _, path::Path};

use api::types::{ConnectionsAnswer, WhoamiAnswer};
use model::IdentityName;

use crate::{
    client::Global,
    credentials,
    ssh::{self, Files, Gate},
};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// What names of machines end with for ssh: web1.countersign
    #[arg(long, default_value = "countersign", value_parser = suffix)]
    suffix: String,
    /// Write it into a file of its own instead of printing it, and say how ssh finds that
    #[arg(long)]
    write: bool,
}

fn suffix(text: &str) -> Result<String, String> {
    let plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-".contains(&byte));
    if plain { Ok(text.trim_start_matches('.').to_owned()) } else { Err("write letters, digits, dots and dashes".to_owned()) }
}

pub(crate) async fn run(global: &Global, args: Args) -> anyhow::Result<()> {
    let client = global.client()?;
    let files = Files::find()?;
    let answer: ConnectionsAnswer = client.get("/v1/connections").await?;
    let name = client.get::<WhoamiAnswer>("/v1/whoami").await?.identity.name;
    let machines: Vec<String> =
        answer.connections.iter().filter(|connection| connection.protocol == "ssh").map(|connection| connection.name.to_string()).collect();
    let gate = Gate::of(&client.server, answer.gateway)?;
    ssh::certified(&client, &files, &gate, &name).await?;
    let text = text(&gate, &files, &name, &machines, &args.suffix);
    let shown = serde_json::json!({ "config": text, "file": args.write.then(|| files.config.display().to_string()) });
    if !args.write {
        return global.output().show(&shown, |_| text.trim_end().to_owned());
    }
    credentials::write_private(&files.config, text.as_bytes())?;
    global
        .output()
        .show(&shown, |_| format!("Written. ssh finds it once the first line of ~/.ssh/config is:\n\n  Include {}\n", quoted(&files.config)))
}

/// <https://man.openbsd.org/ssh_config>
fn text(gate: &Gate, files: &Files, name: &IdentityName, machines: &[String], suffix: &str) -> String {
    let mut text =
        "# Written by `countersign ssh-config`. The key and its certificate are those of your sign-in: `countersign login` renews them.\n".to_owned();
    for machine in machines {
        let _ = write!(text, "\nHost {machine}.{suffix}\n    HostName {}\n    Port {}\n    User {name}+{machine}\n", gate.host, gate.port);
        let _ = write!(text, "    IdentityFile {}\n    CertificateFile {}\n", quoted(&files.key), quoted(&files.certificate));
        let _ = write!(text, "    IdentitiesOnly yes\n    UserKnownHostsFile {}\n    StrictHostKeyChecking yes\n", quoted(&files.known_hosts));
    }
    if machines.is_empty() {
        text.push_str("# Policy lets you open no machine.\n");
    }
    text
}

/// A path that ssh reads whole; `%` would begin a token.
fn quoted(path: &Path) -> String {
    format!("\"{}\"", path.display().to_string().replace('%', "%%"))
}

//! `connections/NAME.toml` of a machine: `protocol = "ssh"`.

use model::{
    Connection, ConnectionName,
    connection::{Machine, MachineProof, Protocol, TargetLogin, TargetTls},
    name::printable,
};

use super::{
    connections::{Labels, check_host, read_labels, read_secret},
    reading::{Page, Placed, Section},
};

/// SSH's registered port. <https://www.iana.org/assignments/service-names-port-numbers>
const SSH_PORT: u16 = 22;
/// Kinds of host keys that are taken: OpenSSH's own without DSA, and without SHA-1 signatures.
const KEY_KINDS: [&str; 5] = ["ssh-ed25519", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521", "ssh-rsa"];
const HOW_TO_PROVE: &str = "write key = { store = \"name\" }, password = { store = \"name\" }, or principals = [\"deploy\"] for a certificate that the gateway makes for each session";

/// Reads one machine, from behind its protocol.
pub(super) fn read(page: &mut Page<'_>, top: &mut Section<'_, '_>, name: ConnectionName) -> Option<Connection> {
    let host = top.needed_text(page, "host", "write the machine's host name or address").filter(|host| check_host(page, *host));
    if let Some(host) = host.filter(|host| host.value.starts_with('/')) {
        page.wrong(host.at, "SSH goes over TCP: write a host name or an address");
    }
    let port = top.port(page, "port").map_or(SSH_PORT, |port| port.value);
    let user = top.needed_text(page, "user", "write the user the gateway signs in as at the machine");
    let login = user.map(|user| TargetLogin { user: user.value.to_owned(), password: read_secret(page, top, "password"), certificate: None });
    let proof = read_proof(page, top);
    let host_keys = read_host_keys(page, top);
    let commands = top.texts(page, "commands").into_iter().map(|command| command.value.to_owned()).collect();
    let strict = top.word(page, "masks", &[("quick", false), ("strict", true)]).is_some_and(|masks| masks.value);
    let files = top.word(page, "files", &[("pass", false), ("refuse", true)]);
    let files_refused = files.as_ref().is_some_and(|files| files.value);
    let Labels { environment, tags, description, record, detect, roles } = read_labels(page, top);
    Some(Connection {
        name,
        protocol: Protocol::Ssh,
        host: host?.value.to_owned(),
        port,
        database: String::new(),
        databases: Vec::new(),
        environment: environment?,
        tags,
        description,
        login: login?,
        jit: None,
        machine: Some(Machine { host_keys, proof: proof?, commands, strict, files_refused }),
        catalog_login: None,
        tls: TargetTls::VerifyFull { ca: None, server_name: None },
        record,
        detect,
        roles,
    })
}

/// Exactly one of `key`, `password` and `principals`.
fn read_proof(page: &mut Page<'_>, top: &mut Section<'_, '_>) -> Option<MachineProof> {
    let key = top.has("key").then(|| read_secret(page, top, "key").map(MachineProof::Key));
    let password = top.has("password").then_some(Some(MachineProof::Password));
    let principals = top.has("principals").then(|| read_principals(page, top));
    let mut given: Vec<Option<MachineProof>> = [key, password, principals].into_iter().flatten().collect();
    match (given.pop(), given.is_empty()) {
        (Some(proof), true) => proof,
        (Some(_), false) => {
            page.wrong_with_help(top.at, "the gateway proves itself to a machine in one way only", HOW_TO_PROVE);
            None
        }
        (None, _) => {
            top.missing(page, "key", HOW_TO_PROVE);
            None
        }
    }
}

fn read_principals(page: &mut Page<'_>, top: &mut Section<'_, '_>) -> Option<MachineProof> {
    let at = top.place("principals").unwrap_or(top.at);
    let principals: Vec<String> = top.texts(page, "principals").into_iter().map(|principal| principal.value.to_owned()).collect();
    if principals.is_empty() || principals.iter().any(String::is_empty) {
        // A certificate for nobody in particular is one for everybody.
        page.wrong(at, "`principals` names nobody: write the machine's users that the certificate is for");
        return None;
    }
    Some(MachineProof::Certificate(principals))
}

fn read_host_keys(page: &mut Page<'_>, top: &mut Section<'_, '_>) -> Vec<String> {
    if !top.has("host_keys") {
        let help = "a machine is known by its keys: write host_keys = [\"ssh-ed25519 AAAA…\"], from its /etc/ssh/ssh_host_ed25519_key.pub; what `ssh-keyscan HOST` \
                    prints is only what answers there now, so compare it with that file";
        top.missing(page, "host_keys", help);
    }
    let keys = top.texts(page, "host_keys");
    if let Some(at) = top.place("host_keys").filter(|_| keys.is_empty()) {
        page.wrong(at, "`host_keys` names no key: no machine could be recognised");
    }
    keys.into_iter().filter_map(|key| read_host_key(page, key)).collect()
}

/// `ssh-ed25519 AAAA…`, with or without a comment behind it. That it is a key is found out when it is compared: no other key is like it.
fn read_host_key(page: &mut Page<'_>, key: Placed<&str>) -> Option<String> {
    let mut words = key.value.split_ascii_whitespace();
    let (kind, text) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    if !KEY_KINDS.contains(&kind) {
        let help = "write the kind and the key, as in the machine's /etc/ssh/ssh_host_ed25519_key.pub: \"ssh-ed25519 AAAA…\"";
        page.wrong_with_help(key.at, format!("`{}` is no kind of host key that is taken", printable(kind)), help);
        return None;
    }
    let base64 = text.len() >= 40 && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+/=".contains(&byte));
    if !base64 {
        page.wrong(key.at, format!("this is not a whole {kind} key"));
        return None;
    }
    Some(format!("{kind} {text}"))
}

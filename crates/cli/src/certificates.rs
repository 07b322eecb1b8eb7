//! The CA and the server certificate that `init` makes, so that TLS works from the first minute without anything bought or borrowed.

use std::{net::IpAddr, path::Path};

use anyhow::Context;
use model::Timestamp;
use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose};

use crate::credentials::write_private;

/// How long what `init` makes works, in years. A shorter time would end in an outage: nothing renews these by itself.
const YEARS: i16 = 10;

/// Writes `ca.pem`, `ca.key`, `server.pem` and `server.key` (0600) into `folder`. The server's certificate names `hosts` beside this machine's loopback.
///
/// # Errors
/// A host name is none, or the folder cannot be written.
pub(crate) fn make(folder: &Path, hosts: &[String], now: Timestamp) -> anyhow::Result<()> {
    let ca_key = KeyPair::generate()?;
    let mut ca = lasting(CertificateParams::new(Vec::new())?, now);
    ca.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    ca.distinguished_name.push(DnType::CommonName, "Countersign CA");
    let ca_pem = ca.self_signed(&ca_key)?.pem();

    let key = KeyPair::generate()?;
    let mut names = vec!["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()];
    names.extend(hosts.iter().filter(|host| !names.contains(host)).cloned().collect::<Vec<_>>());
    for name in &names {
        check_host(name)?;
    }
    let mut server = lasting(CertificateParams::new(names)?, now);
    server.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    server.use_authority_key_identifier_extension = true;
    server.distinguished_name.push(DnType::CommonName, "Countersign gateway");
    let ca_key_pem = ca_key.serialize_pem();
    let server_pem = server.signed_by(&key, &Issuer::new(ca, ca_key))?.pem();

    write_private(&folder.join("ca.key"), ca_key_pem.as_bytes())?;
    write_private(&folder.join("server.key"), key.serialize_pem().as_bytes())?;
    write_private(&folder.join("server.pem"), server_pem.as_bytes())?;
    write_private(&folder.join("ca.pem"), ca_pem.as_bytes())
}

fn lasting(mut params: CertificateParams, now: Timestamp) -> CertificateParams {
    let today = now.to_zoned(jiff::tz::TimeZone::UTC).date();
    let (month, day) = (today.month().unsigned_abs(), today.day().unsigned_abs().min(28));
    params.not_before = rcgen::date_time_ymd(i32::from(today.year()) - 1, month, day);
    params.not_after = rcgen::date_time_ymd(i32::from(today.year() + YEARS), month, day);
    params.distinguished_name = rcgen::DistinguishedName::new();
    params
}

fn check_host(name: &str) -> anyhow::Result<()> {
    if name.parse::<IpAddr>().is_ok() {
        return Ok(());
    }
    rustls::pki_types::DnsName::try_from(name).map(drop).with_context(|| format!("`{name}` is neither a host name nor an address"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject};

    use super::*;

    #[test]
    fn the_server_certificate_chains_to_the_ca_and_names_the_hosts() {
        let folder = tempfile::tempdir().unwrap();
        let now = Timestamp::now();
        make(folder.path(), &["gw.example.com".to_owned(), "10.1.2.3".to_owned()], now).unwrap();
        let read = |name: &str| CertificateDer::from_pem_file(folder.path().join(name)).unwrap();
        let mut roots = rustls::RootCertStore::empty();
        roots.add(read("ca.pem")).unwrap();
        let provider = std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let verifier = rustls::client::WebPkiServerVerifier::builder_with_provider(roots.into(), provider).build().unwrap();
        let server = read("server.pem");
        for name in ["localhost", "127.0.0.1", "::1", "gw.example.com", "10.1.2.3"] {
            use rustls::client::danger::ServerCertVerifier;
            let at = UnixTime::since_unix_epoch(std::time::Duration::from_secs(now.as_second().unsigned_abs()));
            verifier.verify_server_cert(&server, &[], &ServerName::try_from(name).unwrap(), &[], at).unwrap();
        }
        for key in ["ca.key", "server.key"] {
            let path = folder.path().join(key);
            assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
            PrivateKeyDer::from_pem_file(path).unwrap();
        }
    }

    #[test]
    fn a_name_that_is_none_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let error = make(folder.path(), &["not a host".to_owned()], Timestamp::now()).unwrap_err().to_string();
        assert!(error.contains("neither a host name nor an address"), "{error}");
    }
}

//! TLS towards callers and targets. One provider (aws-lc-rs), TLS 1.2 and 1.3, and no mode that encrypts without checking.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use model::{
    Connection,
    connection::{ClientCertificate, TargetTls},
};
use protocol::postgres::login::{caller::ALPN, scram::EndPointHash};
use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
};
use x509_parser::{oid_registry::Oid, prelude::FromDer, x509::AlgorithmIdentifier};

/// Why TLS cannot be set up. The texts name files, never what is in them.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file is missing or not PEM.
    #[error("{}: {why}", .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// The system has no trusted roots.
    #[error("this system has no trusted root certificates: install ca-certificates, or name a file with tls.ca")]
    NoRoots,
    /// The host is neither a DNS name nor an address.
    #[error("`{0}` is not a name a certificate can carry: set tls.server_name")]
    Name(String),
    /// rustls does not accept what it was given.
    #[error(transparent)]
    Rustls(#[from] rustls::Error),
}

/// The provider everything uses.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

/// The gateway's certificate, shown to callers.
#[derive(Debug, Clone)]
pub struct CallerTls(pub(crate) Arc<ServerConfig>);

impl CallerTls {
    /// Reads certificate chain and key from PEM files.
    ///
    /// # Errors
    /// A file cannot be read, or key and certificate do not belong together.
    pub fn load(certificate: &Path, key: &Path) -> Result<Self, TlsError> {
        let chain = certificates(certificate)?;
        let key = PrivateKeyDer::from_pem_file(key).map_err(|error| file(key, &error))?;
        let config = ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions()?;
        let mut config = config.with_no_client_auth().with_single_cert(chain, key)?;
        config.alpn_protocols = vec![ALPN.to_vec()];
        Ok(Self(Arc::new(config)))
    }
}

/// How a target's link is checked.
pub(crate) struct TargetChecks {
    pub(crate) config: Arc<ClientConfig>,
    pub(crate) name: ServerName<'static>,
}

/// What a connection's `tls` asks for; none for loopback without TLS. `key` is the client certificate's private key in PEM, if there is one.
pub(crate) fn for_target(connection: &Connection, client: Option<(&ClientCertificate, &[u8])>) -> Result<Option<TargetChecks>, TlsError> {
    let TargetTls::VerifyFull { ca, server_name } = &connection.tls else { return Ok(None) };
    let roots = match ca {
        Some(path) => {
            let mut roots = RootCertStore::empty();
            for certificate in certificates(path)? {
                roots.add(certificate)?;
            }
            roots
        }
        None => system_roots()?,
    };
    let config = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions()?.with_root_certificates(roots);
    let mut config = match client {
        Some((files, key)) => {
            let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| file(&files.certificate, &error))?;
            config.with_client_auth_cert(certificates(&files.certificate)?, key)?
        }
        None => config.with_no_client_auth(),
    };
    config.alpn_protocols = vec![ALPN.to_vec()];
    let name = server_name.as_deref().unwrap_or(&connection.host);
    let name = ServerName::try_from(name.to_owned()).map_err(|_| TlsError::Name(model::name::printable(name)))?;
    Ok(Some(TargetChecks { config: Arc::new(config), name }))
}

fn system_roots() -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() { Err(TlsError::NoRoots) } else { Ok(roots) }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path).map_err(|error| file(path, &error))?.collect();
    let read = read.map_err(|error| file(path, &error))?;
    if read.is_empty() { Err(TlsError::File { path: path.to_owned(), why: "holds no certificate".to_owned() }) } else { Ok(read) }
}

fn file(path: &Path, error: &dyn std::fmt::Display) -> TlsError {
    TlsError::File { path: path.to_owned(), why: error.to_string() }
}

/// The `tls-server-end-point` channel binding of a server's certificate (RFC 5929); none if its signature has no single hash.
pub(crate) fn end_point(certificate: &CertificateDer<'_>) -> Option<Vec<u8>> {
    let (_, parsed) = x509_parser::certificate::X509Certificate::from_der(certificate).ok()?;
    let algorithm = signature_hash(&parsed.signature_algorithm)?;
    Some(EndPointHash::of_signature(&algorithm)?.end_point(certificate))
}

/// The signature's OID; for RSASSA-PSS, the OID of the hash in its parameters (RFC 4055 section 3.1: `[0] hashAlgorithm`, SHA-1 when absent).
fn signature_hash(algorithm: &AlgorithmIdentifier<'_>) -> Option<String> {
    const RSASSA_PSS: &str = "1.2.840.113549.1.1.10";
    const SHA_1: &str = "1.3.14.3.2.26";
    let oid = algorithm.algorithm.to_id_string();
    if oid != RSASSA_PSS {
        return Some(oid);
    }
    let parameters = algorithm.parameters.as_ref()?;
    let parameters = x509_parser::signature_algorithm::RsaSsaPssParams::try_from(parameters).ok()?;
    Some(parameters.hash_algorithm().map_or_else(|| SHA_1.to_owned(), |hash| Oid::to_id_string(&hash.algorithm)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_binds_the_channel_by_its_own_hash_and_one_without_a_hash_binds_none() {
        let binding = |algorithm: &'static rcgen::SignatureAlgorithm| {
            let key = rcgen::KeyPair::generate_for(algorithm).unwrap();
            let certificate = rcgen::CertificateParams::new(vec!["db.internal".to_owned()]).unwrap().self_signed(&key).unwrap();
            end_point(certificate.der()).map(|hash| hash.len())
        };
        assert_eq!(binding(&rcgen::PKCS_ECDSA_P256_SHA256), Some(32));
        assert_eq!(binding(&rcgen::PKCS_ECDSA_P384_SHA384), Some(48));
        assert_eq!(binding(&rcgen::PKCS_ED25519), None);
    }

    #[test]
    fn files_that_are_not_there_or_not_pem_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let empty = folder.path().join("empty.pem");
        std::fs::write(&empty, "no certificate").unwrap();
        let missing = folder.path().join("missing.pem");
        for path in [&empty, &missing] {
            let error = CallerTls::load(path, path).unwrap_err().to_string();
            assert!(error.starts_with(&path.display().to_string()), "{error}");
        }
    }
}

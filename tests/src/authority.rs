//! A certificate authority for one test run.

use std::net::{IpAddr, Ipv4Addr};

use anyhow::Result;
use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, SanType};

/// An authority that signs certificates for servers on this machine and for their clients.
#[derive(Debug)]
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// Its own certificate, PEM.
    pub certificate: String,
}

/// A certificate and its private key, PEM.
#[derive(Debug, Clone)]
pub struct Signed {
    /// The certificate.
    pub certificate: String,
    /// The private key.
    pub key: String,
}

impl Authority {
    /// Makes an authority of this name.
    ///
    /// # Errors
    /// The cryptographic library failed.
    pub fn new(name: &str) -> Result<Self> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key)?.pem();
        Ok(Self { issuer: Issuer::new(params, key), certificate })
    }

    /// A server's certificate for `localhost` and 127.0.0.1.
    ///
    /// # Errors
    /// The cryptographic library failed.
    pub fn server(&self) -> Result<Signed> {
        self.named("localhost", &[SanType::IpAddress(IpAddr::V4(Ipv4Addr::LOCALHOST))])
    }

    /// A server's certificate for this name and no other.
    ///
    /// # Errors
    /// The cryptographic library failed.
    pub fn server_elsewhere(&self, name: &str) -> Result<Signed> {
        self.named(name, &[])
    }

    fn named(&self, name: &str, more: &[SanType]) -> Result<Signed> {
        let mut params = CertificateParams::new(vec![name.to_owned()])?;
        params.subject_alt_names.extend(more.iter().cloned());
        params.distinguished_name.push(DnType::CommonName, name);
        params.extended_key_usages.push(ExtendedKeyUsagePurpose::ServerAuth);
        self.sign(params)
    }

    /// A client's certificate whose common name is that of a role.
    ///
    /// # Errors
    /// The cryptographic library failed.
    pub fn client(&self, role: &str) -> Result<Signed> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, role);
        params.extended_key_usages.push(ExtendedKeyUsagePurpose::ClientAuth);
        self.sign(params)
    }

    fn sign(&self, mut params: CertificateParams) -> Result<Signed> {
        let key = KeyPair::generate()?;
        params.use_authority_key_identifier_extension = true;
        let certificate = params.signed_by(&key, &self.issuer)?.pem();
        Ok(Signed { certificate, key: key.serialize_pem() })
    }
}

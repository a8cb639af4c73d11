//! A certificate authority for one server on this machine.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};

/// An address that speaks TLS with a certificate which no system trusts.
#[derive(Debug, Clone)]
pub struct TlsEndpoint {
    /// `https://127.0.0.1:port`; `localhost` is in the certificate too.
    pub endpoint: String,
    /// The authority that a client must be told to trust (PEM).
    pub ca_certificate: PathBuf,
}

/// The files of a server certificate and the authority that signed it.
#[derive(Debug)]
pub(super) struct TlsFiles {
    pub(super) ca_certificate: PathBuf,
    pub(super) certificate: PathBuf,
    pub(super) key: PathBuf,
}

/// Makes a new authority and a certificate for `127.0.0.1` and `localhost`, as PEM files in `dir`.
/// The authority's key is not kept: it signs once.
pub(super) fn write_certificate(dir: &Path) -> Result<TlsFiles> {
    let ca_key = KeyPair::generate().context("make a key for the certificate authority")?;
    let mut ca = CertificateParams::default();
    ca.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    ca.distinguished_name.push(DnType::CommonName, "Test certificate authority");
    let ca_certificate = ca.self_signed(&ca_key)?;
    let issuer = Issuer::new(ca, ca_key);

    let key = KeyPair::generate().context("make a key for the server")?;
    let mut server = CertificateParams::new(["localhost".to_owned(), "127.0.0.1".to_owned()])?;
    server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    server.distinguished_name.push(DnType::CommonName, "localhost");
    let certificate = server.signed_by(&key, &issuer)?;

    let files = TlsFiles {
        ca_certificate: dir.join("ca.pem"),
        certificate: dir.join("server.pem"),
        key: dir.join("server.key"),
    };
    fs::write(&files.ca_certificate, ca_certificate.pem())?;
    fs::write(&files.certificate, certificate.pem())?;
    fs::write(&files.key, key.serialize_pem())?;
    Ok(files)
}

//! Certificates, and servers that show them.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![allow(unreachable_pub, reason = "a module of tests")]

use super::server::{Server, free_port};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd,
};
use std::path::Path;
use tempfile::TempDir;

/// Who signs.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "authority");
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub fn pem(&self) -> String {
        self.0.pem()
    }

    /// A certificate for these hosts, and its key.
    pub fn sign(&self, hosts: &[&str], until: i32) -> (String, String) {
        let hosts: Vec<_> = hosts.iter().map(|&host| host.to_owned()).collect();
        let mut params = CertificateParams::new(hosts).unwrap();
        (params.not_before, params.not_after) =
            (date_time_ymd(2000, 1, 1), date_time_ymd(until, 1, 1));
        params.distinguished_name.push(DnType::CommonName, "signed");
        let key = KeyPair::generate().unwrap();
        (params.signed_by(&key, &self.0).unwrap().pem(), key.serialize_pem())
    }
}

/// Answers in the clear at one port, and over TLS at another.
pub struct TlsServer {
    pub server: Server,
    pub port: u16,
    _files: TempDir,
}

impl TlsServer {
    pub fn start(authority: &Authority, hosts: &[&str], options: &[&str]) -> Self {
        Self::start_with(authority, authority.sign(hosts, 4_000), options)
    }

    pub fn start_with(
        authority: &Authority,
        (certificate, key): (String, String),
        options: &[&str],
    ) -> Self {
        let files = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            std::fs::write(files.path().join(name), text).unwrap();
            path(&files.path().join(name))
        };
        let port = free_port();
        let (port_option, certificate) = (port.to_string(), file("certificate.pem", &certificate));
        let (key, root) = (file("key.pem", &key), file("root.pem", &authority.pem()));
        let mut all = vec!["--tls-port", port_option.as_str(), "--tls-cert-file", &certificate];
        all.extend(["--tls-key-file", &key, "--tls-ca-cert-file", &root]);
        all.extend(options);
        Self { server: Server::start(&all), port, _files: files }
    }

    pub fn url(&self) -> String {
        format!("rediss://127.0.0.1:{}", self.port)
    }
}

fn path(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}

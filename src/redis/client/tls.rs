//! TLS: which certificates to trust, and how to tell a failed handshake.

use crate::redis::error::RedisError;
use ::redis::{Client, ClientTlsConfig, ConnectionAddr, ConnectionInfo, TlsCertificates};
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

/// The certificates to trust, and the one that this client shows; in PEM.
#[derive(Clone, Default)]
pub(crate) struct Trust {
    pub(crate) roots: Option<Vec<u8>>,
    /// A certificate, with those up to its root, and its private key.
    pub(crate) identity: Option<(Vec<u8>, Vec<u8>)>,
}

impl Trust {
    pub(super) fn is_given(&self) -> bool {
        self.roots.is_some() || self.identity.is_some()
    }

    /// Makes a client of a server over TLS.
    pub(super) fn client(&self, info: ConnectionInfo) -> Result<Client, RedisError> {
        // Rustls panics where two cryptographic libraries are built in and none is chosen.
        if CryptoProvider::get_default().is_none() {
            // Another thread may have chosen one meanwhile, which will do.
            let _ = ring::default_provider().install_default();
        }
        if let Some(roots) = &self.roots
            && CertificateDer::pem_slice_iter(roots).next().is_none_or(|first| first.is_err())
        {
            return Err(RedisError::Configuration(NO_ROOTS.to_string()));
        }
        let client_tls = self.identity.clone();
        let certificates = TlsCertificates {
            root_cert: self.roots.clone(),
            client_tls: client_tls
                .map(|(client_cert, client_key)| ClientTlsConfig { client_cert, client_key }),
        };
        Client::build_with_tls(info, certificates)
            // The library's text may have parts of a key.
            .map_err(|_| RedisError::Configuration(BAD_PEM.to_string()))
    }
}

const NO_ROOTS: &str = "there is no root certificate: it must be in PEM, from BEGIN CERTIFICATE on";

const BAD_PEM: &str = "the root certificates, or the client's certificate or its key, cannot be \
                       read: they must be in PEM";

/// Writes only what is given, since the key is a secret and the certificates are long.
impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trust")
            .field("roots", &self.roots.is_some())
            .field("identity", &self.identity.is_some())
            .finish()
    }
}

pub(super) fn is_tls(address: &ConnectionAddr) -> bool {
    matches!(address, ConnectionAddr::TcpTls { .. })
}

/// Tells what is wrong, if a TLS handshake failed with these words.
pub(super) fn fault(said: &str, server: &str) -> Option<String> {
    if let Some((_, why)) = said.split_once("invalid peer certificate: ") {
        return Some(match why {
            // A bad signature is that of a signer with the name of a trusted one and another key.
            "UnknownIssuer" | "BadSignature" => alloc::format!(
                "{server} has a certificate that no trusted authority signed: give the signer's \
                 to `root_certificates`"
            ),
            _ => alloc::format!("{server} has an invalid certificate: {why}"),
        });
    }
    if let Some((_, alert)) = said.split_once("received fatal alert: ") {
        return Some(alloc::format!(
            "{server} ends the TLS handshake ({alert}): does it want a certificate of this client \
             (`client_certificate`)?"
        ));
    }
    said.contains("received corrupt message").then(|| {
        alloc::format!(
            "{server} does not speak TLS: is it a port in the clear (redis://), or another \
             service?"
        )
    })
}

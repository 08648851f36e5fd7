//! TLS: whom to trust, and what to say when it fails.

use crate::redis::error::RedisError;
use ::redis::{Client, ClientTlsConfig, ConnectionAddr, ConnectionInfo, TlsCertificates};
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

/// Whose signature on a server's certificate is good, and what proves who we are; in PEM.
#[derive(Clone, Default)]
pub(in crate::redis) struct Trust {
    pub(in crate::redis) roots: Option<Vec<u8>>,
    /// A certificate, with those up to its root, and its key.
    pub(in crate::redis) identity: Option<(Vec<u8>, Vec<u8>)>,
}

impl Trust {
    pub(in crate::redis) fn is_given(&self) -> bool {
        self.roots.is_some() || self.identity.is_some()
    }

    /// A client of a server that is asked over TLS.
    pub(in crate::redis) fn client(&self, info: ConnectionInfo) -> Result<Client, RedisError> {
        // Rustls panics where two libraries are built in and neither is chosen.
        if CryptoProvider::get_default().is_none() {
            // Somebody else may have chosen since, which will do.
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
            // What it says may have parts of a key.
            .map_err(|_| RedisError::Configuration(BAD_PEM.to_string()))
    }
}

const NO_ROOTS: &str =
    "the root certificates have none in them: they must be in PEM, from BEGIN CERTIFICATE on";

const BAD_PEM: &str = "the root certificates, or the client's certificate or its key, cannot be read: they must be in PEM";

/// Of a whole chain the key is a secret, and the rest is long.
impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trust")
            .field("roots", &self.roots.is_some())
            .field("identity", &self.identity.is_some())
            .finish()
    }
}

pub(in crate::redis) fn is_tls(address: &ConnectionAddr) -> bool {
    matches!(address, ConnectionAddr::TcpTls { .. })
}

/// What is wrong with a handshake that failed with these words.
pub(in crate::redis) fn fault(said: &str, server: &str) -> Option<String> {
    if let Some((_, why)) = said.split_once("invalid peer certificate: ") {
        return Some(match why {
            // The latter is that of a signer who has a trusted one's name and another key.
            "UnknownIssuer" | "BadSignature" => alloc::format!(
                "{server} has a certificate that nobody signed who is trusted: give the signer's to `root_certificates`"
            ),
            _ => alloc::format!("{server} has a certificate that is not good: {why}"),
        });
    }
    if let Some((_, alert)) = said.split_once("received fatal alert: ") {
        return Some(alloc::format!(
            "{server} ends the handshake of TLS ({alert}): does it want a certificate of ours (`client_certificate`)?"
        ));
    }
    said.contains("received corrupt message").then(|| {
        alloc::format!(
            "{server} does not speak TLS: is it a port in the clear (redis://), or another service?"
        )
    })
}

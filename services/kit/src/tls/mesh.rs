//! TLS between the processes of the mesh: the own certificate and the trusted authorities, both renewable in place.

use std::{fmt, sync::Arc};

use parking_lot::RwLock;
use tokio::time::sleep;
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig,
        crypto::ring,
        pki_types::CertificateDer,
        server::WebPkiClientVerifier,
        sign::{CertifiedKey, SingleCertAndKey},
    },
};

use super::{TlsConfig, Trust, Unfit, certificates, pair, trust::roots};
use crate::shutdown::Shutdown;

/// The TLS of one process of the mesh.
pub struct MeshTls {
    config: TlsConfig,
    trust: Trust,
    /// `None`: the ports of services do not use TLS.
    server: Option<RwLock<Server>>,
}

/// The TLS configuration of a port, and the files from which it was made.
struct Server {
    config: Arc<ServerConfig>,
    shown: Arc<CertifiedKey>,
    callers: Vec<CertificateDer<'static>>,
}

impl fmt::Debug for MeshTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MeshTls")
    }
}

impl MeshTls {
    /// Reads the files of the section `[tls]`. Errors name the key.
    pub fn read(config: &TlsConfig) -> Result<Self, String> {
        let server = read_server(config)?.map(RwLock::new);
        Ok(Self { config: config.clone(), trust: read_trust(config)?, server })
    }

    /// The authorities that verify peers. Renewals apply to clones too.
    pub fn trust(&self) -> &Trust {
        &self.trust
    }

    /// Accepts connections on the ports of services; `None`: they do not use TLS.
    pub fn acceptor(&self) -> Option<TlsAcceptor> {
        let server = self.server.as_ref()?.read();
        Some(TlsAcceptor::from(Arc::clone(&server.config)))
    }

    /// Reads the files again at an interval until the process ends. A file that cannot be read changes nothing.
    pub async fn keep_fresh(self: Arc<Self>, shutdown: Shutdown) {
        let reading = async {
            let mut problem = None;
            loop {
                sleep(self.config.refresh.0).await;
                let failed = self.refresh().err();
                if let Some(why) = &failed
                    && failed != problem
                {
                    tracing::error!(problem = why, "a TLS file cannot be read; its last good content stays in use");
                }
                problem = failed;
            }
        };
        tokio::select! {
            () = reading => {}
            () = shutdown.cut() => {}
        }
    }

    fn refresh(&self) -> Result<(), String> {
        let (trust, server) = (read_trust(&self.config)?, read_server(&self.config)?);
        if trust != self.trust {
            self.trust.replace_with(&trust);
            tracing::info!("renewed TLS files are in use for connections to peers");
        }
        if let (Some(current), Some(server)) = (&self.server, server) {
            let mut current = current.write();
            if current.shown.cert != server.shown.cert || current.callers != server.callers {
                *current = server;
                tracing::info!("a renewed certificate is in use on the ports of services");
            }
        }
        Ok(())
    }
}

fn read_trust(config: &TlsConfig) -> Result<Trust, String> {
    Trust::read(&config.ca, &config.certificate, &config.key).map_err(named)
}

fn read_server(config: &TlsConfig) -> Result<Option<Server>, String> {
    if config.certificate.is_empty() {
        if !config.client_ca.is_empty() {
            return Err("tls.client_ca has no effect without tls.certificate and tls.key".to_owned());
        }
        return Ok(None);
    }
    let shown = pair(&config.certificate, &config.key).map_err(named)?;
    let callers = match config.client_ca.as_str() {
        "" => Vec::new(),
        path => certificates("client_ca", path).map_err(named)?,
    };
    let config = server_config(&shown, &callers).map_err(|why| format!("tls.client_ca: {why}"))?;
    Ok(Some(Server { config: Arc::new(config), shown, callers }))
}

fn server_config(shown: &Arc<CertifiedKey>, callers: &[CertificateDer<'static>]) -> Result<ServerConfig, String> {
    let provider = Arc::new(ring::default_provider());
    let config = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|e| e.to_string())?;
    let config = if callers.is_empty() {
        config.with_no_client_auth()
    } else {
        let roots = Arc::new(roots(callers)?);
        let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider).build();
        config.with_client_cert_verifier(verifier.map_err(|e| e.to_string())?)
    };
    let mut config = config.with_cert_resolver(Arc::new(SingleCertAndKey::from((**shown).clone())));
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(config)
}

fn named(Unfit { key, why }: Unfit) -> String {
    format!("tls.{key}: {why}")
}

//! Where TLS ends in front of a scripted origin, and what was seen there: handshakes, names, certificates
//! of clients, headers before them.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{
    ALL_VERSIONS, HandshakeKind, ProtocolVersion, RootCertStore, ServerConfig,
    SupportedProtocolVersion,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsAcceptor;

use super::certs::{Authority, Bundle};

/// By another implementation than ours, on a thread of its own.
pub struct Door {
    addr: SocketAddr,
    seen: Arc<Mutex<Vec<Result<Entered, String>>>>,
}

/// A handshake that was done.
#[derive(Clone, Debug)]
pub struct Entered {
    pub is_resumed: bool,
    pub version: ProtocolVersion,
    pub alpn: Option<Vec<u8>>,
    pub server_name: Option<String>,
    /// What the client showed, leaf first.
    pub shown: Vec<CertificateDer<'static>>,
    /// What came before the handshake.
    pub header: String,
}

/// How to open one.
pub struct Plan {
    bundle: Bundle,
    versions: Vec<&'static SupportedProtocolVersion>,
    clients: Option<CertificateDer<'static>>,
    truncates: bool,
    reads_header: bool,
}

impl Door {
    pub fn with(bundle: &Bundle) -> Plan {
        Plan {
            bundle: bundle.clone(),
            versions: ALL_VERSIONS.to_vec(),
            clients: None,
            truncates: false,
            reads_header: false,
        }
    }

    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Those who came in, in order.
    pub fn entered(&self) -> Vec<Entered> {
        let seen = self.seen.lock().expect("no test thread panicked with it");
        seen.iter().filter_map(|s| s.clone().ok()).collect()
    }

    /// Whoever came in last.
    pub fn last(&self) -> Entered {
        self.entered().pop().expect("somebody came in")
    }

    /// Why others did not.
    pub fn turned_away(&self) -> Vec<String> {
        let seen = self.seen.lock().expect("no test thread panicked with it");
        seen.iter().filter_map(|s| s.clone().err()).collect()
    }
}

impl Plan {
    pub fn version(mut self, version: &'static SupportedProtocolVersion) -> Self {
        self.versions = vec![version];
        self
    }

    /// Asks for a certificate that `authority` signed, and takes nobody without.
    pub fn asking(mut self, authority: &Authority) -> Self {
        self.clients = Some(authority.der());
        self
    }

    /// Ends sessions without a word when the origin closes.
    pub fn truncating(mut self) -> Self {
        self.truncates = true;
        self
    }

    /// A line of the PROXY protocol comes first.
    pub fn announced(mut self) -> Self {
        self.reads_header = true;
        self
    }

    pub fn before(self, origin: SocketAddr) -> Door {
        let certs = CertificateDer::pem_slice_iter(self.bundle.pem().as_bytes())
            .collect::<Result<Vec<_>, _>>()
            .expect("certificates");
        let key = PrivateKeyDer::from_pem_slice(self.bundle.key.as_bytes()).expect("a key");
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&self.versions)
            .expect("versions");
        let builder = match self.clients {
            None => builder.with_no_client_auth(),
            Some(root) => {
                let mut roots = RootCertStore::empty();
                roots.add(root).expect("a root certificate");
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
                builder.with_client_cert_verifier(verifier.build().expect("a verifier"))
            }
        };
        let mut config = builder.with_single_cert(certs, key).expect("a certificate");
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("an address");
        listener.set_nonblocking(true).expect("a socket");
        let addr = listener.local_addr().expect("an address");
        let door = Door {
            addr,
            seen: Arc::default(),
        };
        let seen = door.seen.clone();
        let (truncates, reads_header) = (self.truncates, self.reads_header);
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime");
            runtime.block_on(async {
                let acceptor = TlsAcceptor::from(Arc::new(config));
                let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
                while let Ok((socket, _)) = listener.accept().await {
                    let (acceptor, seen) = (acceptor.clone(), seen.clone());
                    tokio::spawn(async move {
                        let entering = enter(socket, acceptor, reads_header).await;
                        let (result, entered) = match entering {
                            Ok((secured, entered)) => (Some(secured), Ok(entered)),
                            Err(error) => (None, Err(error.to_string())),
                        };
                        seen.lock()
                            .expect("no test thread panicked with it")
                            .push(entered);
                        if let Some(secured) = result {
                            let _ = carry(secured, origin, truncates).await;
                        }
                    });
                }
            });
        });
        door
    }
}

type Secured = tokio_rustls::server::TlsStream<tokio::net::TcpStream>;

async fn enter(
    mut socket: tokio::net::TcpStream,
    acceptor: TlsAcceptor,
    reads_header: bool,
) -> io::Result<(Secured, Entered)> {
    socket.set_nodelay(true)?;
    let mut header = Vec::new();
    while reads_header && !header.ends_with(b"\r\n") {
        header.push(socket.read_u8().await?);
    }
    let secured = acceptor.accept(socket).await?;
    let (_, session) = secured.get_ref();
    let entered = Entered {
        is_resumed: session.handshake_kind() == Some(HandshakeKind::Resumed),
        version: session.protocol_version().expect("a version"),
        alpn: session.alpn_protocol().map(<[u8]>::to_vec),
        server_name: session.server_name().map(str::to_owned),
        shown: session.peer_certificates().unwrap_or_default().to_vec(),
        header: String::from_utf8_lossy(&header).into_owned(),
    };
    Ok((secured, entered))
}

async fn carry(mut secured: Secured, origin: SocketAddr, truncates: bool) -> io::Result<()> {
    let mut origin = tokio::net::TcpStream::connect(origin).await?;
    origin.set_nodelay(true)?;
    if !truncates {
        tokio::io::copy_bidirectional(&mut secured, &mut origin).await?;
        return Ok(());
    }
    let (mut from_client, mut to_client) = tokio::io::split(secured);
    let (mut from_origin, mut to_origin) = origin.split();
    let down = async {
        let copied = tokio::io::copy(&mut from_origin, &mut to_client).await;
        // Out, but without the end that a session should have.
        let _ = to_client.flush().await;
        copied
    };
    tokio::select! {
        result = down => result.map(|_| ()),
        result = tokio::io::copy(&mut from_client, &mut to_origin) => result.map(|_| ()),
    }
}

//! A client that speaks TLS by another implementation than ours, and sends exactly the bytes it is
//! given inside.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, OnceLock, mpsc};
use std::time::Duration;

use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{
    ALL_VERSIONS, CipherSuite, ClientConfig, DigitallySignedStruct, HandshakeKind, ProtocolVersion,
    RootCertStore, ServerConfig, SignatureScheme, SupportedProtocolVersion,
};
use tokio::io::AsyncWriteExt;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::LIMIT;
use super::certs::{Bundle, town_hall};
use super::client::Client;

/// How to connect.
#[derive(Clone)]
pub struct Tls {
    /// `None`: whatever certificate comes is taken.
    roots: Option<RootCertStore>,
    versions: Vec<&'static SupportedProtocolVersion>,
    provider: CryptoProvider,
    alpn: Vec<Vec<u8>>,
    /// What is shown to who asks.
    shows: Option<Bundle>,
    /// Where one configuration, and the tickets in it, serves all connections.
    kept: Option<Arc<OnceLock<Arc<ClientConfig>>>>,
    /// What is sent before the handshake.
    announced: Vec<u8>,
}

/// What a handshake came to.
#[derive(Clone, Debug)]
pub struct Shaken {
    pub version: ProtocolVersion,
    pub suite: CipherSuite,
    pub alpn: Option<Vec<u8>>,
    /// The chain that was shown, leaf first.
    pub chain: Vec<CertificateDer<'static>>,
    pub is_resumed: bool,
}

impl Tls {
    pub fn trusting(roots: impl IntoIterator<Item = CertificateDer<'static>>) -> Self {
        let mut store = RootCertStore::empty();
        for root in roots {
            store.add(root).expect("a root certificate");
        }
        Self::with(Some(store))
    }

    /// Takes whatever certificate comes, whoever it is for.
    pub fn careless() -> Self {
        Self::with(None)
    }

    fn with(roots: Option<RootCertStore>) -> Self {
        Self {
            roots,
            versions: ALL_VERSIONS.to_vec(),
            provider: aws_lc_rs::default_provider(),
            alpn: Vec::new(),
            shows: None,
            kept: None,
            announced: Vec::new(),
        }
    }

    pub fn version(mut self, version: &'static SupportedProtocolVersion) -> Self {
        self.versions = vec![version];
        self
    }

    /// Offers only suites that `keep`.
    pub fn suites(mut self, keep: impl Fn(CipherSuite) -> bool) -> Self {
        self.provider.cipher_suites.retain(|s| keep(s.suite()));
        self
    }

    pub fn alpn(mut self, protocols: &[&str]) -> Self {
        self.alpn = protocols.iter().map(|p| p.as_bytes().to_vec()).collect();
        self
    }

    /// Shows this certificate to who asks for one.
    pub fn showing(mut self, bundle: &Bundle) -> Self {
        self.shows = Some(bundle.clone());
        self
    }

    /// Begins with these bytes, as proxies in front do.
    pub fn announced(mut self, bytes: impl AsRef<[u8]>) -> Self {
        self.announced = bytes.as_ref().to_vec();
        self
    }

    /// Tickets that one connection gets are offered by the next. Said last.
    pub fn resuming(mut self) -> Self {
        self.kept = Some(Arc::default());
        self
    }

    fn config(&self) -> Arc<ClientConfig> {
        match &self.kept {
            Some(kept) => kept.get_or_init(|| self.new_config()).clone(),
            None => self.new_config(),
        }
    }

    fn new_config(&self) -> Arc<ClientConfig> {
        let builder = ClientConfig::builder_with_provider(Arc::new(self.provider.clone()))
            .with_protocol_versions(&self.versions)
            .expect("versions");
        let builder = match &self.roots {
            Some(roots) => builder.with_root_certificates(roots.clone()),
            None => builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(Careless)),
        };
        let mut config = match &self.shows {
            None => builder.with_no_client_auth(),
            Some(bundle) => {
                let (chain, key) = chain_and_key(bundle);
                let config = builder.with_client_auth_cert(chain, key);
                config.expect("a certificate and its key")
            }
        };
        config.alpn_protocols = self.alpn.clone();
        config.resumption = match self.kept {
            Some(_) => Resumption::in_memory_sessions(8),
            None => Resumption::disabled(),
        };
        Arc::new(config)
    }

    /// Connects and shakes hands; panics when that fails.
    pub fn connect(&self, addr: SocketAddr, name: &str) -> Client {
        self.shake(addr, name).0
    }

    pub fn shake(&self, addr: SocketAddr, name: &str) -> (Client, Shaken) {
        self.try_connect(addr, name)
            .unwrap_or_else(|e| panic!("TLS to {addr} for {name}: {e}"))
    }

    /// The client talks to a relay in this process, which does the TLS. An end that was not announced
    /// reaches it as a reset.
    pub fn try_connect(&self, addr: SocketAddr, name: &str) -> io::Result<(Client, Shaken)> {
        let door = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let ours = TcpStream::connect(door.local_addr()?)?;
        let (theirs, _) = door.accept()?;
        theirs.set_nonblocking(true)?;
        theirs.set_nodelay(true)?;
        let name = ServerName::try_from(name.to_owned()).expect("a server name");
        let connector = TlsConnector::from(self.config());
        let (tell, told) = mpsc::channel();
        let announced = self.announced.clone();
        std::thread::spawn(move || {
            runtime().block_on(relay(addr, announced, name, connector, theirs, tell));
        });
        let shaken = told
            .recv_timeout(LIMIT)
            .map_err(|_| io::ErrorKind::TimedOut)??;
        Ok((Client::over(ours)?, shaken))
    }
}

async fn relay(
    addr: SocketAddr,
    announced: Vec<u8>,
    name: ServerName<'static>,
    connector: TlsConnector,
    ours: TcpStream,
    tell: mpsc::Sender<io::Result<Shaken>>,
) {
    let connected = async {
        let mut socket = tokio::net::TcpStream::connect(addr).await?;
        socket.set_nodelay(true)?;
        socket.write_all(&announced).await?;
        connector.connect(name, socket).await
    };
    let mut secured = match connected.await {
        Ok(secured) => secured,
        Err(error) => return drop(tell.send(Err(error))),
    };
    let (_, session) = secured.get_ref();
    let shaken = Shaken {
        version: session.protocol_version().expect("a version"),
        suite: session.negotiated_cipher_suite().expect("a suite").suite(),
        alpn: session.alpn_protocol().map(<[u8]>::to_vec),
        chain: session.peer_certificates().unwrap_or_default().to_vec(),
        is_resumed: session.handshake_kind() == Some(HandshakeKind::Resumed),
    };
    if tell.send(Ok(shaken)).is_err() {
        return;
    }
    let Ok(mut ours) = tokio::net::TcpStream::from_std(ours) else {
        return;
    };
    if tokio::io::copy_bidirectional(&mut ours, &mut secured)
        .await
        .is_err()
    {
        // Nothing polite: who reads must see that the end was none.
        let _ = socket2::SockRef::from(&ours).set_linger(Some(Duration::ZERO));
    }
}

/// An address where TLS ends, by `bundle`, in front of `origin`.
pub fn ended_before(origin: SocketAddr, bundle: &Bundle) -> SocketAddr {
    let (certs, key) = chain_and_key(bundle);
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(certs, key)
        .expect("a certificate");
    let door = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("an address");
    door.set_nonblocking(true).expect("a socket");
    let addr = door.local_addr().expect("an address");
    std::thread::spawn(move || runtime().block_on(end_tls(door, Arc::new(config), origin)));
    addr
}

fn chain_and_key(bundle: &Bundle) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
    let pem = bundle.pem();
    let chain = CertificateDer::pem_slice_iter(pem.as_bytes());
    let chain = chain.collect::<Result<_, _>>().expect("certificates");
    let key = PrivateKeyDer::from_pem_slice(bundle.key.as_bytes()).expect("a key");
    (chain, key)
}

async fn end_tls(door: TcpListener, config: Arc<ServerConfig>, origin: SocketAddr) {
    let door = tokio::net::TcpListener::from_std(door).expect("a listener");
    while let Ok((socket, _)) = door.accept().await {
        let acceptor = TlsAcceptor::from(config.clone());
        tokio::spawn(async move {
            let mut secured = acceptor.accept(socket).await?;
            let mut origin = tokio::net::TcpStream::connect(origin).await?;
            tokio::io::copy_bidirectional(&mut secured, &mut origin).await
        });
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime")
}

/// A client that trusts whom the town hall trusts.
pub fn town() -> Tls {
    Tls::trusting([town_hall().der()])
}

#[derive(Debug)]
struct Careless;

impl ServerCertVerifier for Careless {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let known = aws_lc_rs::default_provider().signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, cert, dss, &known)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let known = aws_lc_rs::default_provider().signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, cert, dss, &known)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        let known = aws_lc_rs::default_provider().signature_verification_algorithms;
        known.supported_schemes()
    }
}

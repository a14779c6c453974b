//! A session against the other implementation of the same library: `rustls` with its own buffers,
//! over a real socket.

use std::future::poll_fn;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener as StdListener, TcpStream as StdStream};
use std::sync::Arc;
use std::task::Poll;
use std::thread::JoinHandle;
use std::time::Duration;

use rustls::client::{ClientConnection, UnbufferedClientConnection};
use rustls::pki_types::{PrivateKeyDer, ServerName};
use rustls::server::{ServerConnection, UnbufferedServerConnection};
use rustls::{
    ClientConfig, RootCertStore, ServerConfig, StreamOwned, SupportedProtocolVersion, version,
};
use tokio::net::TcpStream;

use super::session::{Connection, HandshakeError, Session};
#[cfg(feature = "legacy-tls")]
use crate::plan::NamedCertificate;
use crate::proxy::buffers::Buffers;
use crate::proxy::stream::Stream;

/// What our side of a session is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Tls12,
    Tls13,
    #[cfg(feature = "legacy-tls")]
    Legacy,
}

/// What `rustls` has as client and as server.
const VERSIONS: [Kind; 2] = [Kind::Tls12, Kind::Tls13];

const SERVERS: &[Kind] = &[
    Kind::Tls12,
    Kind::Tls13,
    #[cfg(feature = "legacy-tls")]
    Kind::Legacy,
];

type Peer<C> = StreamOwned<C, StdStream>;

struct Server {
    config: Arc<ServerConfig>,
    #[cfg(feature = "legacy-tls")]
    legacy: Option<(super::legacy::Context, Vec<Arc<NamedCertificate>>)>,
}

fn configs(kind: Kind) -> (Server, Arc<ClientConfig>) {
    let version: &SupportedProtocolVersion = match kind {
        Kind::Tls13 => &version::TLS13,
        _ => &version::TLS12,
    };
    let made = rcgen::generate_simple_self_signed(["town.test".to_owned()]).unwrap();
    let key = PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let server = ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[version])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let client = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[version])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let server = Server {
        config: Arc::new(server),
        #[cfg(feature = "legacy-tls")]
        legacy: (kind == Kind::Legacy).then(|| {
            let pem = made.cert.pem() + &made.signing_key.serialize_pem();
            let certificate = NamedCertificate {
                unit: "certs/town".into(),
                name: "town".into(),
                certificate: Arc::new(crate::tls::Certificate::read(&pem).unwrap()),
                has_ended: false,
            };
            let suites = crate::tls::suites::Suites::that(|_| true);
            let context = super::legacy::Context::new(suites).unwrap();
            (context, vec![Arc::new(certificate)])
        }),
    };
    (server, Arc::new(client))
}

fn name() -> ServerName<'static> {
    ServerName::try_from("town.test").unwrap()
}

/// Runs `ours` on a runtime like a worker's, against `theirs` in a thread.
fn meet<T: Send + 'static>(
    theirs: impl FnOnce(StdStream) -> T + Send + 'static,
    ours: impl AsyncFnOnce(TcpStream),
) -> T {
    let listener = StdListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let theirs: JoinHandle<T> =
        std::thread::spawn(move || theirs(StdStream::connect(address).unwrap()));
    let runtime = tokio::runtime::LocalRuntime::new().unwrap();
    runtime.block_on(async {
        let (socket, _) = listener.accept().unwrap();
        socket.set_nonblocking(true).unwrap();
        ours(TcpStream::from_std(socket).unwrap()).await;
    });
    theirs.join().unwrap()
}

async fn shake(socket: TcpStream, connection: Connection) -> Result<Stream, HandshakeError> {
    let buffers = Buffers::default();
    let mut session = Session::new(connection, buffers.input(), &buffers);
    poll_fn(|cx| session.poll_handshake(&socket, cx)).await?;
    Ok(Stream::secured(socket, session))
}

fn server_side(server: &Server) -> Connection {
    #[cfg(feature = "legacy-tls")]
    if let Some((context, certificates)) = &server.legacy {
        let legacy = context.connection(certificates, false, &Buffers::default());
        return Connection::Legacy(Box::new(legacy.unwrap()));
    }
    Connection::Server(UnbufferedServerConnection::new(server.config.clone()).unwrap())
}

fn client_side(config: &Arc<ClientConfig>) -> Connection {
    Connection::Client(UnbufferedClientConnection::new(config.clone(), name()).unwrap())
}

fn their_client(config: &Arc<ClientConfig>, socket: StdStream) -> Peer<ClientConnection> {
    StreamOwned::new(
        ClientConnection::new(config.clone(), name()).unwrap(),
        socket,
    )
}

fn their_server(server: &Server, socket: StdStream) -> Peer<ServerConnection> {
    StreamOwned::new(
        ServerConnection::new(server.config.clone()).unwrap(),
        socket,
    )
}

async fn read_to_end(stream: &Stream) -> io::Result<Vec<u8>> {
    let mut all = Vec::new();
    let mut buf = [0; 1000];
    loop {
        match stream.read(&mut buf).await? {
            0 => return Ok(all),
            n => all.extend_from_slice(&buf[..n]),
        }
    }
}

fn many_bytes() -> Vec<u8> {
    (0..1_000_003u32).map(|n| (n % 251) as u8).collect()
}

#[test]
fn a_session_carries_both_directions_at_once_to_an_announced_end() {
    for kind in SERVERS {
        let (server, client) = configs(*kind);
        let theirs = move |socket: StdStream| {
            let mut peer = their_client(&client, socket);
            let mut head = [0u8; 5];
            peer.write_all(b"hello").unwrap();
            peer.read_exact(&mut head).unwrap();
            assert_eq!(&head, b"HELLO");
            // Writes everything before it reads anything: whoever waits for one direction with the
            // other would wait for ever.
            peer.write_all(&many_bytes()).unwrap();
            peer.conn.send_close_notify();
            peer.flush().unwrap();
            let mut all = Vec::new();
            peer.read_to_end(&mut all).unwrap();
            all
        };
        let received = meet(theirs, async |socket| {
            let stream = shake(socket, server_side(&server)).await.unwrap();
            let mut head = [0u8; 5];
            assert_eq!(stream.read(&mut head).await.unwrap(), 5);
            stream
                .write_all(&head.map(|b| b.to_ascii_uppercase()))
                .await
                .unwrap();
            let (sent, got) = (many_bytes(), read_to_end(&stream));
            let (got, ()) = tokio::join!(got, async {
                stream.write_both(b"in front of ", &sent).await.unwrap();
            });
            assert_eq!(got.unwrap(), sent);
            poll_fn(|cx| stream.poll_shutdown_write(cx)).await;
        });
        assert_eq!(received, [&b"in front of "[..], &many_bytes()].concat());
    }
}

#[test]
fn a_session_as_client_is_silent_though_tickets_come_and_until_something_is_said() {
    for kind in VERSIONS {
        let (server, client) = configs(kind);
        let (go, wait) = std::sync::mpsc::channel::<()>();
        let theirs = move |socket: StdStream| {
            let mut peer = their_server(&server, socket);
            let mut head = [0u8; 5];
            peer.read_exact(&mut head).unwrap();
            peer.write_all(&head).unwrap();
            wait.recv().unwrap();
            peer.write_all(b"unasked").unwrap();
            peer.sock.shutdown(Shutdown::Write).unwrap();
        };
        meet(theirs, async |socket| {
            let stream = shake(socket, client_side(&client)).await.unwrap();
            assert!(stream.is_silent() && stream.is_tls() && stream.plain().is_none());
            stream.write_all(b"hello").await.unwrap();
            let mut head = [0u8; 5];
            assert_eq!(stream.read(&mut head).await.unwrap(), 5);
            assert!(stream.is_silent());
            go.send(()).unwrap();
            while stream.is_silent() {
                tokio::task::yield_now().await;
            }
            let mut said = [0; 7];
            assert_eq!(stream.read(&mut said).await.unwrap(), 7);
        });
    }
}

#[test]
fn an_end_that_was_not_announced_is_an_error() {
    for kind in SERVERS {
        let (server, client) = configs(*kind);
        let theirs = move |socket: StdStream| {
            let mut peer = their_client(&client, socket);
            peer.write_all(b"half an ans").unwrap();
            peer.sock.shutdown(Shutdown::Write).unwrap();
            let _ = peer.read_to_end(&mut Vec::new());
        };
        meet(theirs, async |socket| {
            let stream = shake(socket, server_side(&server)).await.unwrap();
            let error = read_to_end(&stream).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
            let again = stream.read(&mut [0; 8]).await.unwrap_err();
            assert_eq!(again.kind(), io::ErrorKind::UnexpectedEof);
            assert!(!stream.is_silent());
        });
    }
}

#[test]
fn a_peer_that_does_not_speak_tls_is_told_so() {
    let (server, _) = configs(Kind::Tls13);
    let theirs = |mut socket: StdStream| {
        socket.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
        let mut answer = Vec::new();
        socket.read_to_end(&mut answer).unwrap();
        answer
    };
    let answer = meet(theirs, async |socket| {
        let refused = shake(socket, server_side(&server)).await;
        assert!(matches!(refused, Err(HandshakeError::Tls(_))));
    });
    assert_eq!(answer.first(), Some(&21), "an alert: {answer:?}");
}

#[test]
fn a_record_that_was_tampered_with_ends_the_session() {
    for kind in &SERVERS[1..] {
        let (server, client) = configs(*kind);
        let theirs = move |socket: StdStream| {
            let mut peer = their_client(&client, socket);
            peer.write_all(b"hello").unwrap();
            let mut forged = vec![23, 3, 3, 0, 32];
            forged.extend([7; 32]);
            peer.sock.write_all(&forged).unwrap();
            let mut rest = Vec::new();
            peer.read_to_end(&mut rest).unwrap_err()
        };
        let error = meet(theirs, async |socket| {
            let stream = shake(socket, server_side(&server)).await.unwrap();
            let mut head = [0u8; 5];
            assert_eq!(stream.read(&mut head).await.unwrap(), 5);
            let error = stream.read(&mut head).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData);
            let error = stream.write_all(b"more").await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        });
        assert!(error.to_string().contains("BadRecordMac"), "{error}");
    }
}

#[test]
fn new_keys_in_the_middle_change_nothing_for_anybody() {
    let (server, client) = configs(Kind::Tls13);
    let theirs = move |socket: StdStream| {
        let mut peer = their_client(&client, socket);
        let mut echoed = [0; 5];
        for _ in 0..20 {
            peer.write_all(b"hello").unwrap();
            peer.conn.refresh_traffic_keys().unwrap();
            peer.read_exact(&mut echoed).unwrap();
            assert_eq!(&echoed, b"hello");
        }
        peer.conn.send_close_notify();
        peer.flush().unwrap();
    };
    meet(theirs, async |socket| {
        let stream = shake(socket, server_side(&server)).await.unwrap();
        let mut buf = [0; 5];
        while stream.read(&mut buf).await.unwrap() == 5 {
            stream.write_all(&buf).await.unwrap();
        }
    });
}

/// More than sockets hold, so that reading has its turns.
fn more_bytes() -> Vec<u8> {
    many_bytes().repeat(16)
}

#[test]
fn new_keys_while_much_is_sent_change_nothing_either() {
    let (server, client) = configs(Kind::Tls13);
    let theirs = move |socket: StdStream| {
        let mut peer = their_client(&client, socket);
        let mut all = Vec::new();
        let (mut piece, most) = (vec![0; 20_000], more_bytes().len());
        peer.write_all(b"hello").unwrap();
        while all.len() < most {
            peer.conn.refresh_traffic_keys().unwrap();
            peer.write_all(b"x").unwrap();
            let n = peer.read(&mut piece).unwrap();
            all.extend_from_slice(&piece[..n]);
        }
        peer.conn.send_close_notify();
        peer.flush().unwrap();
        all
    };
    let received = meet(theirs, async |socket| {
        let stream = shake(socket, server_side(&server)).await.unwrap();
        let sent = more_bytes();
        let (read, written) = tokio::join!(read_to_end(&stream), stream.write_all(&sent));
        written.unwrap();
        assert!(read.unwrap().starts_with(b"hellox"));
    });
    assert!(received == more_bytes());
}

#[test]
fn the_end_is_told_however_full_the_socket_is() {
    for kind in &SERVERS[1..] {
        let (server, client) = configs(*kind);
        let (go, wait) = std::sync::mpsc::channel::<()>();
        let theirs = move |socket: StdStream| {
            let mut peer = their_client(&client, socket);
            peer.write_all(b"go").unwrap();
            wait.recv().unwrap();
            // By the socket alone: what fills it is no record.
            let mut all = Vec::new();
            peer.sock.read_to_end(&mut all).unwrap();
            all
        };
        let received = meet(theirs, async |socket| {
            let filler = TcpStream::from_std(socket.into_std().unwrap()).unwrap();
            let raw = socket2::SockRef::from(&filler).try_clone().unwrap();
            let stream = shake(filler, server_side(&server)).await.unwrap();
            assert_eq!(stream.read(&mut [0; 2]).await.unwrap(), 2);
            // The kernel may make room once more, by handing on what is there.
            while raw.send(&[0; 4096]).is_ok() {
                while raw.send(&[0; 4096]).is_ok() {}
                std::thread::sleep(Duration::from_millis(50));
            }
            let told = poll_fn(|cx| Poll::Ready(stream.poll_shutdown_write(cx))).await;
            assert!(told.is_pending());
            go.send(()).unwrap();
            poll_fn(|cx| stream.poll_shutdown_write(cx)).await;
            let error = stream.write_all(b"more").await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
        });
        let head: &[u8] = match kind {
            Kind::Tls13 => &[23, 3, 3, 0, 19],
            _ => &[21, 3, 3, 0, 26],
        };
        let alert = received.len() - 5 - usize::from(head[4]);
        assert_eq!(received[alert..alert + 5], *head);
        assert!(received[..alert].iter().rev().take(4096).all(|b| *b == 0));
    }
}

#[test]
fn who_does_not_wait_for_its_end_to_be_told_has_said_it_all_the_same() {
    for version in VERSIONS {
        let (server, client) = configs(version);
        let theirs = move |socket: StdStream| {
            let mut peer = their_server(&server, socket);
            peer.write_all(b"go").unwrap();
            let mut all = Vec::new();
            peer.read_to_end(&mut all).map(|_| all)
        };
        let received = meet(theirs, async |socket| {
            let stream = shake(socket, client_side(&client)).await.unwrap();
            // With what is unread, such as tickets, the close would be a reset.
            assert_eq!(stream.read(&mut [0; 2]).await.unwrap(), 2);
            stream.write_all(b"all there is").await.unwrap();
            stream.end_now();
            stream.end_now();
            assert!(stream.write_all(b"more").await.is_err());
        });
        assert_eq!(received.unwrap(), b"all there is");
    }
}

#[test]
fn what_the_peer_said_is_read_after_it_stopped_listening() {
    for version in VERSIONS {
        let (server, client) = configs(version);
        let theirs = move |socket: StdStream| {
            let mut peer = their_server(&server, socket);
            peer.write_all(b"that is enough").unwrap();
            peer.conn.send_close_notify();
            peer.flush().unwrap();
            let mut all = Vec::new();
            peer.read_to_end(&mut all).unwrap_err();
        };
        meet(theirs, async |socket| {
            let socket = TcpStream::from_std(socket.into_std().unwrap()).unwrap();
            let raw = socket2::SockRef::from(&socket).try_clone().unwrap();
            let stream = shake(socket, client_side(&client)).await.unwrap();
            raw.shutdown(Shutdown::Write).unwrap();
            for _ in 0..2 {
                let error = stream.write_all(b"more").await.unwrap_err();
                assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
            }
            assert_eq!(read_to_end(&stream).await.unwrap(), b"that is enough");
        });
    }
}

#[test]
fn what_was_left_in_the_middle_is_not_gone_on_with() {
    for kind in &SERVERS[1..] {
        let (server, client) = configs(*kind);
        let (go, wait) = std::sync::mpsc::channel::<()>();
        let theirs = move |socket: StdStream| {
            let mut peer = their_client(&client, socket);
            peer.write_all(b"go").unwrap();
            wait.recv().unwrap();
            let mut all = Vec::new();
            peer.read_to_end(&mut all).unwrap_err();
            assert!(all.iter().all(|b| *b == 7), "none of what came later");
        };
        meet(theirs, async |socket| {
            let stream = shake(socket, server_side(&server)).await.unwrap();
            assert_eq!(stream.read(&mut [0; 2]).await.unwrap(), 2);
            let much = vec![7; 64 << 20];
            let mut writing = Box::pin(stream.write_all(&much));
            let first = poll_fn(|cx| Poll::Ready(writing.as_mut().poll(cx))).await;
            assert!(first.is_pending());
            drop(writing);
            go.send(()).unwrap();
            let error = stream.write_all(b"something else").await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::Interrupted);
            // Nor is that an end that was announced.
            poll_fn(|cx| stream.poll_shutdown_write(cx)).await;
        });
    }
}

#[test]
fn a_peer_that_takes_nothing_keeps_a_writer_waiting_and_nothing_grows() {
    for kind in &SERVERS[1..] {
        let (server, client) = configs(*kind);
        let (go, wait) = std::sync::mpsc::channel::<()>();
        let theirs = move |socket: StdStream| {
            let mut peer = their_client(&client, socket);
            peer.write_all(b"go").unwrap();
            wait.recv().unwrap();
            let mut all = Vec::new();
            let _ = peer.read_to_end(&mut all);
            all.len()
        };
        let len = meet(theirs, async |socket| {
            let stream = shake(socket, server_side(&server)).await.unwrap();
            assert_eq!(stream.read(&mut [0; 2]).await.unwrap(), 2);
            let chunk = [7; 64 * 1024];
            let mut sent = 0;
            loop {
                let mut writing = std::pin::pin!(poll_fn(|cx| stream.poll_write(cx, &chunk)));
                let pending = poll_fn(|cx| match writing.as_mut().poll(cx) {
                    Poll::Ready(n) => Poll::Ready(Some(n.unwrap())),
                    Poll::Pending => Poll::Ready(None),
                });
                match pending.await {
                    Some(n) => sent += n,
                    None => break,
                }
                tokio::task::yield_now().await;
            }
            // Told to wait: the same bytes again, and they arrive once.
            go.send(()).unwrap();
            sent += poll_fn(|cx| stream.poll_write(cx, &chunk)).await.unwrap();
            poll_fn(|cx| stream.poll_end(cx)).await;
            drop(stream);
            SENT.store(sent, std::sync::atomic::Ordering::Relaxed);
        });
        assert_eq!(len, SENT.load(std::sync::atomic::Ordering::Relaxed));
    }
}

static SENT: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);

/// Whole records alone reach the library, so that nothing is idle and half read in it.
#[cfg(feature = "legacy-tls")]
#[test]
fn half_a_record_is_no_silence_and_waits_in_our_own_buffer() {
    let (server, client) = configs(Kind::Legacy);
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let theirs = move |socket: StdStream| {
        let mut peer = their_client(&client, socket);
        peer.write_all(b"go").unwrap();
        wait.recv().unwrap();
        let mut record = Vec::new();
        peer.conn.writer().write_all(b"hello").unwrap();
        peer.conn.write_tls(&mut record).unwrap();
        peer.sock.write_all(&record[..9]).unwrap();
        wait.recv().unwrap();
        peer.sock.write_all(&record[9..]).unwrap();
        peer.read_to_end(&mut Vec::new()).unwrap();
    };
    meet(theirs, async |socket| {
        let stream = shake(socket, server_side(&server)).await.unwrap();
        assert_eq!(stream.read(&mut [0; 2]).await.unwrap(), 2);
        assert!(stream.is_silent());
        go.send(()).unwrap();
        while stream.is_silent() {
            tokio::task::yield_now().await;
        }
        go.send(()).unwrap();
        let mut said = [0; 5];
        assert_eq!(stream.read(&mut said).await.unwrap(), 5);
        assert_eq!(&said, b"hello");
        assert!(stream.is_silent());
        poll_fn(|cx| stream.poll_shutdown_write(cx)).await;
    });
}

//! Places at the admin listener: who keeps his while others come in numbers.

mod support;

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt as _;

use socket2::{Domain, Socket, Type};
use support::LIMIT;
use support::client::{self, Client};
use support::pointsman::{Builder, Pointsman, Service};

const READ_TOKEN: &str = "a-token-for-those-who-read";

/// More than there are places.
const FLOOD: usize = 300;

/// As many as may listen at once.
const STREAMS: usize = 64;

/// Where who reads has to say who he is.
fn node(builder: Builder) -> (Pointsman, tempfile::TempDir) {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("read-token");
    fs::write(&file, READ_TOKEN).expect("write");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).expect("chmod");
    let file = file.display().to_string();
    let builder = builder.without_certificate();
    (builder.args(&["--api-read-token-file", &file]).start(), dir)
}

fn known(target: &str) -> String {
    format!(
        "GET {target} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {READ_TOKEN}\r\n\r\n"
    )
}

fn connect(to: SocketAddr, said: &str) -> TcpStream {
    let mut stream = TcpStream::connect(to).expect("connect");
    stream.set_read_timeout(Some(LIMIT)).expect("a limit");
    stream.write_all(said.as_bytes()).expect("send");
    stream
}

/// A stream of which the first overview has come.
fn listen(to: SocketAddr) -> Client {
    let mut stream = Client::connect(to);
    stream.send(known("/v1/stream"));
    assert_eq!(stream.head().status(), 200);
    overview(&mut stream);
    stream
}

fn overview(stream: &mut Client) {
    let chunk = stream.chunk();
    let text = String::from_utf8_lossy(&chunk);
    assert!(text.starts_with("event: overview"), "{text}");
}

fn assert_alive(node: &Pointsman) {
    let answer = client::get(node.stats(), "localhost", "/live");
    assert_eq!(answer.status(), 200);
}

#[test]
fn streams_stay_whoever_else_comes() {
    let (node, _dir) = node(Pointsman::builder());
    let mut streams: Vec<_> = (0..STREAMS).map(|_| listen(node.stats())).collect();
    let floods: [(&str, String); 4] = [
        ("silent", String::new()),
        ("in a head", "GET /live HT".to_owned()),
        (
            "answered before",
            "GET /live HTTP/1.1\r\nHost: localhost\r\n\r\n".to_owned(),
        ),
        (
            "without an answer taken",
            "GET /live HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(2_000),
        ),
    ];
    for (what, said) in floods {
        let others: Vec<_> = (0..FLOOD).map(|_| connect_or_gone(&node, &said)).collect();
        assert_alive(&node);
        for stream in &mut streams {
            overview(stream);
            overview(stream);
        }
        println!("{what}: all streams are there");
        drop(others);
    }
    assert_alive(&node);
}

/// Whoever is thrown out while he still writes is thrown out.
fn connect_or_gone(node: &Pointsman, said: &str) -> TcpStream {
    let mut stream = connect(node.stats(), "");
    let _ = stream.write_all(said.as_bytes());
    stream
}

#[test]
fn a_long_answer_is_taken_to_its_end_whoever_else_comes() {
    let mut builder = Pointsman::builder();
    for n in 0..80 {
        let mut service = Service::http(&format!("s{n:02}")).hosts(&format!("s{n}.test"));
        for m in 0..200 {
            service = service.key(&format!("upstreams/u{m}"), &format!("10.0.0.1:{}", m + 1));
        }
        builder = builder.service(&service);
    }
    let (node, _dir) = node(builder);
    // Little of it fits on its way.
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.set_recv_buffer_size(16 * 1024).expect("a buffer");
    socket.connect(&node.stats().into()).expect("connect");
    let mut slow = Client::over(socket.into()).expect("a client");
    slow.send(known("/metrics"));
    let head = slow.head();
    assert_eq!(head.status(), 200);
    let length: usize = head
        .header("content-length")
        .expect("its length")
        .parse()
        .expect("a number");
    let first = slow.exactly(1000).len();
    let silent: Vec<_> = (0..FLOOD).map(|_| connect(node.stats(), "")).collect();
    assert_alive(&node);
    assert_eq!(slow.exactly(length - first).len(), length - first);
    assert!(length > 8_000_000, "{length} bytes fit on their way");
    drop(silent);
}

#[test]
fn who_asked_for_nothing_goes_before_who_did_and_strangers_before_those_who_are_known() {
    let (node, _dir) = node(Pointsman::builder());
    let mut friend = Client::connect(node.stats());
    friend.send(known("/v1/overview"));
    assert_eq!(friend.response().status(), 200);
    let mut stranger = Client::connect(node.stats());
    assert_eq!(stranger.get("localhost", "/live").status(), 200);
    let silent: Vec<_> = (0..FLOOD).map(|_| connect(node.stats(), "")).collect();
    assert_eq!(stranger.get("localhost", "/live").status(), 200);
    let asked = "GET /live HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let strangers: Vec<_> = (0..FLOOD)
        .map(|_| {
            let mut stream = connect(node.stats(), asked);
            let mut start = [0; 12];
            stream.read_exact(&mut start).expect("an answer");
            assert_eq!(&start, b"HTTP/1.1 200");
            stream
        })
        .collect();
    friend.send(known("/v1/overview"));
    assert_eq!(friend.response().status(), 200);
    stranger.assert_closed();
    drop((silent, strangers));
}

//! Traffic while something else happens: keep-alive clients, flows that live long, and the origins
//! behind them, by the hundred. Unlike the rest of these helpers it is asynchronous, because a thread
//! for each flow would be most of what the machine does.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::time::{sleep, timeout};

use super::LIMIT;

/// Between two messages of a flow.
const FLOW_PACE: Duration = Duration::from_millis(100);

/// Failures are kept in words up to this many, and counted beyond.
const TOLD: usize = 20;

/// Runs until it is dropped or [`Load::finish`]ed.
pub struct Load {
    runtime: Runtime,
    tally: Arc<Tally>,
}

#[derive(Default)]
struct Tally {
    is_over: AtomicBool,
    requests: AtomicU64,
    echoes: AtomicU64,
    failures: AtomicU64,
    told: Mutex<Vec<String>>,
}

/// What passed, and what did not.
#[derive(Clone, Copy, Debug)]
pub struct Figures {
    pub requests: u64,
    pub echoes: u64,
}

impl Default for Load {
    fn default() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        Self {
            runtime,
            tally: Arc::default(),
        }
    }
}

impl Load {
    /// An HTTP origin that answers its name to everything, and speaks an echo after an upgrade.
    pub fn origin(&self, name: &str) -> SocketAddr {
        let name: Arc<str> = name.into();
        self.listen(move |stream| answer(stream, name.clone()))
    }

    /// Sends every byte back.
    pub fn echo(&self) -> SocketAddr {
        self.listen(|stream| echo(stream, Vec::new()))
    }

    /// `count` clients that ask for `/` at `host` over and over, `pace` apart, each on one connection.
    /// A failure is everything but a 200 from an origin whose name begins with `expected`.
    pub fn http(&self, count: usize, to: SocketAddr, host: &str, expected: &str, pace: Duration) {
        self.fleet(count, &[to], host, expected, pace);
    }

    /// The same with clients that know all nodes of a balancer: each begins at one, and goes to the next
    /// when that takes no connection, or closes a new one before it has answered anything.
    pub fn fleet(
        &self,
        count: usize,
        to: &[SocketAddr],
        host: &str,
        expected: &str,
        pace: Duration,
    ) {
        let request = format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n");
        self.requests(count, to, host, request, expected, pace);
    }

    /// The same with requests that nobody may send twice, to `target`.
    pub fn posts(
        &self,
        count: usize,
        to: SocketAddr,
        (host, target): (&str, &str),
        expected: &str,
        pace: Duration,
    ) {
        let request =
            format!("POST {target} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 2\r\n\r\nhi");
        self.requests(count, &[to], host, request, expected, pace);
    }

    fn requests(
        &self,
        count: usize,
        to: &[SocketAddr],
        host: &str,
        request: String,
        expected: &str,
        pace: Duration,
    ) {
        let request: Arc<str> = request.into();
        for number in 0..count {
            let mut to = to.to_vec();
            let first = number % to.len();
            to.rotate_left(first);
            let (host, expected) = (host.to_owned(), expected.to_owned());
            let (request, tally) = (request.clone(), self.tally.clone());
            self.runtime.spawn(async move {
                let mut refused = 0;
                while !tally.is_over.load(Relaxed) {
                    let ended = ask(&tally, to[0], &request, &expected, pace).await;
                    match ended {
                        Ended::Over => refused = 0,
                        Ended::Refused(_) if refused + 1 < to.len() => {
                            refused += 1;
                            to.rotate_left(1);
                        }
                        Ended::Refused(reason) | Ended::Failed(reason) => {
                            refused = 0;
                            tally.fail(format!("request to {host}: {reason}"));
                            sleep(Duration::from_millis(50)).await;
                        }
                    }
                }
            });
        }
    }

    /// `count` TCP flows; returns when all stand and have heard their first echo.
    pub fn flows(&self, count: usize, to: SocketAddr) {
        let stand = (0..count).map(|i| async move {
            let stream = TcpStream::connect(to).await.expect("connect a flow");
            (format!("flow {i} to {to}"), stream)
        });
        self.keep(stand);
    }

    /// `count` upgraded connections through `host`; returns when all have heard their first echo.
    pub fn websockets(&self, count: usize, to: SocketAddr, host: &str) {
        let stand = (0..count).map(|i| async move {
            let mut stream = TcpStream::connect(to).await.expect("connect a websocket");
            let request = format!(
                "GET /socket HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n"
            );
            stream.write_all(request.as_bytes()).await.expect("upgrade");
            let mut bytes = Vec::new();
            let head = read_head(&mut stream, &mut bytes).await.expect("a head");
            let head = head.expect("an answer to the upgrade");
            assert!(head.starts_with("http/1.1 101"), "{head}");
            (format!("websocket {i} to {host}"), stream)
        });
        self.keep(stand);
    }

    pub fn figures(&self) -> Figures {
        Figures {
            requests: self.tally.requests.load(Relaxed),
            echoes: self.tally.echoes.load(Relaxed),
        }
    }

    /// How many requests and flows failed, and the first of them in words.
    pub fn failures(&self) -> (u64, Vec<String>) {
        let told = self.tally.told.lock().expect("nobody panics with it");
        (self.tally.failures.load(Relaxed), told.clone())
    }

    /// Panics if anything failed until now. `when` says what was just done.
    pub fn assert_unharmed(&self, when: &str) {
        let failures = self.tally.failures.load(Relaxed);
        let told = self.tally.told.lock().expect("nobody panics with it");
        assert!(
            failures == 0,
            "{failures} failures after {:?} when {when}:\n{}",
            self.figures(),
            told.join("\n")
        );
    }

    /// Waits until `count` more requests and a round of echoes have passed, all well.
    pub fn assert_passes(&self, count: u64, when: &str) {
        let start = self.figures();
        super::wait_until(&format!("traffic passes when {when}"), || {
            self.assert_unharmed(when);
            let now = self.figures();
            let echoes = start.echoes == 0 || now.echoes > start.echoes;
            now.requests >= start.requests + count && echoes
        });
    }

    /// Ends all traffic; what failed on the way is a panic.
    pub fn finish(self, when: &str) -> Figures {
        self.assert_unharmed(when);
        self.figures()
    }

    fn listen<F>(&self, serve: impl Fn(TcpStream) -> F + Send + 'static) -> SocketAddr
    where
        F: Future<Output = std::io::Result<()>> + Send + 'static,
    {
        let listener = self.runtime.block_on(TcpListener::bind("127.0.0.1:0"));
        let listener = listener.expect("a port");
        let address = listener.local_addr().expect("an address");
        self.runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let _ = stream.set_nodelay(true);
                tokio::spawn(serve(stream));
            }
        });
        address
    }

    fn keep<F>(&self, flows: impl Iterator<Item = F>)
    where
        F: Future<Output = (String, TcpStream)> + Send,
    {
        self.runtime.block_on(async {
            for flow in flows {
                let stands = async {
                    let (name, mut stream) = flow.await;
                    beat(&mut stream, 0).await.map(|()| (name, stream))
                };
                let (name, stream) = timeout(LIMIT, stands)
                    .await
                    .expect("a flow stands in time")
                    .expect("a first echo");
                let tally = self.tally.clone();
                tally.echoes.fetch_add(1, Relaxed);
                tokio::spawn(async move {
                    if let Err(error) = keep_beating(stream, &tally).await
                        && !tally.is_over.load(Relaxed)
                    {
                        tally.fail(format!("{name}: {error}"));
                    }
                });
            }
        });
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.tally.is_over.store(true, Relaxed);
    }
}

impl Tally {
    fn fail(&self, reason: String) {
        self.failures.fetch_add(1, Relaxed);
        let mut told = self.told.lock().expect("nobody panics with it");
        if told.len() < TOLD {
            told.push(reason);
        }
    }
}

/// How a client's connection ended.
enum Ended {
    /// The load is over, or the other side said that it was the last answer.
    Over,
    /// It was not taken, or closed before the first answer.
    Refused(String),
    Failed(String),
}

/// One connection and its requests.
async fn ask(
    tally: &Tally,
    to: SocketAddr,
    request: &str,
    expected: &str,
    pace: Duration,
) -> Ended {
    let mut stream = match timeout(LIMIT, TcpStream::connect(to)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return Ended::Refused(format!("connect to {to}: {error}")),
        Err(_) => return Ended::Failed(format!("no connection to {to} in time")),
    };
    let _ = stream.set_nodelay(true);
    let mut bytes = Vec::new();
    let mut count = 0u64;
    while !tally.is_over.load(Relaxed) {
        count += 1;
        let exchange = async {
            stream.write_all(request.as_bytes()).await?;
            loop {
                if let Some(answer) = take_answer(&mut bytes) {
                    return Ok::<_, std::io::Error>(answer);
                }
                if stream.read_buf(&mut bytes).await? == 0 {
                    return Err(std::io::ErrorKind::UnexpectedEof.into());
                }
            }
        };
        let answer = match timeout(LIMIT, exchange).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => {
                let reason = format!("{error} (request {count} of its connection to {to})");
                return match count == 1 && bytes.is_empty() {
                    true => Ended::Refused(reason),
                    false => Ended::Failed(reason),
                };
            }
            Err(_) => return Ended::Failed(format!("no answer in time (request {count})")),
        };
        let (status, body, is_last) = answer;
        if status != 200 || !body.starts_with(expected) {
            return Ended::Failed(format!("{status} {body:?} instead of {expected}"));
        }
        tally.requests.fetch_add(1, Relaxed);
        sleep(pace).await;
        if is_last {
            break;
        }
    }
    Ended::Over
}

/// Takes a whole answer with a length out of `bytes`: status, body, and whether it is the connection's last.
pub fn take_answer(bytes: &mut Vec<u8>) -> Option<(u16, String, bool)> {
    let end = bytes.windows(4).position(|w| w == b"\r\n\r\n")? + 4;
    let head = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
    let status = head.get(9..12)?.parse().ok()?;
    let length = head
        .split("\r\n")
        .find_map(|line| line.strip_prefix("content-length:"));
    let length: usize = length.and_then(|n| n.trim().parse().ok()).unwrap_or(0);
    let body = String::from_utf8_lossy(bytes.get(end..end + length)?).into_owned();
    let is_last = head.contains("\r\nconnection: close");
    bytes.drain(..end + length);
    Some((status, body, is_last))
}

async fn keep_beating(mut stream: TcpStream, tally: &Tally) -> std::io::Result<()> {
    let mut number = 1;
    while !tally.is_over.load(Relaxed) {
        sleep(FLOW_PACE.mul_f64(0.5 + fastrand::f64())).await;
        timeout(LIMIT, beat(&mut stream, number)).await??;
        tally.echoes.fetch_add(1, Relaxed);
        number += 1;
    }
    Ok(())
}

/// One message, and its echo.
async fn beat(stream: &mut TcpStream, number: u64) -> std::io::Result<()> {
    let message = number.to_be_bytes();
    stream.write_all(&message).await?;
    let mut back = [0; 8];
    stream.read_exact(&mut back).await?;
    if back == message {
        return Ok(());
    }
    let got = u64::from_be_bytes(back);
    Err(std::io::Error::other(format!("{got} instead of {number}")))
}

async fn answer(mut stream: TcpStream, name: Arc<str>) -> std::io::Result<()> {
    let mut bytes = Vec::new();
    let text = format!(
        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{name}",
        name.len()
    );
    let mut out = Vec::new();
    while let Some(head) = read_head(&mut stream, &mut bytes).await? {
        if head.contains("\r\nupgrade:") {
            let switch =
                b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n";
            stream.write_all(switch).await?;
            return echo(stream, bytes).await;
        }
        if let Some(pause) = head.strip_prefix("get /slow/") {
            let millis = pause.split(' ').next().and_then(|n| n.parse().ok());
            sleep(Duration::from_millis(millis.unwrap_or(0))).await;
        }
        out.clear();
        out.extend_from_slice(text.as_bytes());
        stream.write_all(&out).await?;
    }
    Ok(())
}

async fn echo(mut stream: TcpStream, mut bytes: Vec<u8>) -> std::io::Result<()> {
    loop {
        stream.write_all(&bytes).await?;
        bytes.clear();
        if stream.read_buf(&mut bytes).await? == 0 {
            return Ok(());
        }
    }
}

/// The next head in lower case; what came behind it stays in `bytes`. `None` at the end.
async fn read_head(stream: &mut TcpStream, bytes: &mut Vec<u8>) -> std::io::Result<Option<String>> {
    loop {
        if let Some(end) = bytes.windows(4).position(|w| w == b"\r\n\r\n") {
            let head: Vec<u8> = bytes.drain(..end + 4).collect();
            return Ok(Some(String::from_utf8_lossy(&head).to_ascii_lowercase()));
        }
        if stream.read_buf(bytes).await? == 0 {
            return Ok(None);
        }
    }
}

//! The access log: one line for whatever came, in each format, to each target, and nobody is held up
//! by it.

mod support;

use std::fs;
use std::io::Read;
use std::net::{Shutdown, UdpSocket};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use support::client::Client;
use support::origin::{Gate, Origin, ok};
use support::pointsman::{Builder, Pointsman, Service};
use support::transport::{Ask, on_every_transport};
use support::{LIMIT, free_port, wait_until};
use tempfile::TempDir;

/// A balancer that writes to a file. One worker, so that lines come in the order of what they tell.
struct Logged {
    pointsman: Pointsman,
    dir: TempDir,
}

impl Logged {
    fn start(format: &str, change: impl FnOnce(Builder) -> Builder) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let builder = Pointsman::builder()
            .env("LB_WORKERS", "1")
            .args(&["--access-log-dir", dir.path().to_str().expect("UTF-8")])
            .setting("access_log", "file:access.log")
            .setting("access_log_format", format);
        Self {
            pointsman: change(builder).start(),
            dir,
        }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("access.log")
    }

    /// Waits for `count` lines and asserts that there are no more.
    fn lines(&self, count: usize) -> Vec<String> {
        wait_until(
            &format!("{count} lines in {:?}", read(&self.path())),
            || read(&self.path()).lines().count() >= count,
        );
        // Whatever came before it has its line by then.
        self.pointsman.get("sentinel.test", "/sentinel");
        let all = |text: &str| -> Vec<String> { text.lines().map(str::to_owned).collect() };
        wait_until("the sentinel's line", || {
            read(&self.path()).contains("/sentinel")
        });
        let text = read(&self.path());
        let mut lines = all(&text);
        assert!(
            lines.pop().is_some_and(|l| l.contains("/sentinel")),
            "{text}"
        );
        assert_eq!(lines.len(), count, "{text}");
        fs::write(self.path(), "").expect("empty the log");
        lines
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.lines(1)[0]).expect("a JSON line")
    }
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

/// Digits become `0`, so that what is left is the form.
fn masked(line: &str) -> String {
    let mut out = String::new();
    for c in line.chars() {
        match c {
            '0'..='9' if out.ends_with('0') => {}
            '0'..='9' => out.push('0'),
            c => out.push(c),
        }
    }
    out
}

/// A line of httplog or tcplog without what differs from run to run: the names of months, every time
/// that was reached and the bytes.
fn form(line: &str) -> String {
    let line = line.trim_end();
    let mut words: Vec<String> = line.split(' ').map(str::to_owned).collect();
    words[0] = masked(&words[0]);
    words[1] = "[date]".to_owned();
    let times = words[4].split('/').map(|time| match time {
        "-1" => "-1",
        _ => "T",
    });
    words[4] = times.collect::<Vec<_>>().join("/");
    let (bytes, state) = if line.ends_with('"') { (6, 9) } else { (5, 6) };
    words[bytes] = "B".to_owned();
    // Connections and who else is there; the retries stay.
    let counts = words[state + 1].rsplit_once('/').expect("counts");
    words[state + 1] = format!("N/{}", counts.1);
    words.join(" ")
}

fn web(origin: &Origin) -> Service {
    Service::http("web")
        .hosts("web.test")
        .upstream(origin.addr())
}

const ASK: &str = "GET /x?y=1 HTTP/1.1\r\nHost: web.test\r\n\r\n";

#[test]
fn each_format_tells_a_request_in_its_own_words() {
    let origin = Origin::saying("hello");
    let ask = Ask::get("web.test", "/a?b=c")
        .header("User-Agent", "tester/1")
        .header("Referer", "http://from.test/")
        .header("Authorization", "Basic Ym9iOnNlY3JldA==");

    let logged = Logged::start("common", |b| b.service(&web(&origin)));
    on_every_transport(&logged.pointsman, |transport| {
        assert_eq!(transport.ask(&ask).status(), 200);
        let version = match transport.name {
            "HTTP/1.0" => "1.0",
            _ => "1.1",
        };
        let line = logged.lines(1).remove(0);
        let (who, rest) = line.split_once(" [").expect("a date");
        assert_eq!(who, "127.0.0.1 - bob");
        let (date, rest) = rest.split_once("] ").expect("the end of the date");
        let letters = date.replace(|c: char| c.is_ascii_alphabetic(), "a");
        let form = masked(&letters).replace('-', "+");
        assert_eq!(form, "0/aaa/0:0:0:0 +0");
        let bytes = rest.rsplit_once(' ').expect("bytes").1;
        assert!(bytes.parse::<u32>().expect("a number") > 40, "{line}");
        assert_eq!(rest, format!("\"GET /a?b=c HTTP/{version}\" 200 {bytes}"));
    });

    put_and_wait(&logged.pointsman, "access_log_format", "combined");
    on_every_transport(&logged.pointsman, |transport| {
        transport.ask(&ask);
        let line = logged.lines(1).remove(0);
        assert!(
            line.ends_with(" \"http://from.test/\" \"tester/1\""),
            "{line}"
        );
    });

    put_and_wait(&logged.pointsman, "access_log_format", "json");
    on_every_transport(&logged.pointsman, |transport| {
        let response = transport.ask(&ask);
        let line = logged.json();
        for (field, value) in [
            ("type", "http"),
            ("service", "web"),
            ("upstream", "a"),
            ("method", "GET"),
            ("target", "/a?b=c"),
            ("host", "web.test"),
            ("user", "bob"),
            ("user_agent", "tester/1"),
            ("referer", "http://from.test/"),
            ("termination", "--"),
        ] {
            assert_eq!(line[field], value, "{line}");
        }
        assert_eq!(line["upstream_address"], origin.addr().to_string());
        let (listener, tls) = match transport.is_tls() {
            true => (logged.pointsman.https(), "TLSv1.3".into()),
            false => (logged.pointsman.http(), serde_json::Value::Null),
        };
        assert_eq!(line["listener"], listener.to_string());
        assert_eq!(line["tls"], tls);
        assert_eq!(line["status"], 200);
        assert_eq!(line["retries"], 0);
        assert_eq!(
            line["request_id"].as_str(),
            response.header("x-request-id"),
            "{line}"
        );
        assert_eq!(line["generation"], logged.pointsman.plan().generation);
        for time in [
            "request_ms",
            "queue_ms",
            "connect_ms",
            "response_ms",
            "total_ms",
        ] {
            assert!(line[time].as_f64().is_some_and(|ms| ms >= 0.0), "{line}");
        }
    });

    put_and_wait(&logged.pointsman, "access_log_format", "httplog");
    on_every_transport(&logged.pointsman, |transport| {
        transport.ask(&ask);
        let frontend = if transport.is_tls() { "http~" } else { "http" };
        let line = logged.lines(1).remove(0);
        assert!(
            form(&line).starts_with(&format!(
                "0.0.0.0:0 [date] {frontend} web/a T/T/T/T/T 200 B - - ---- N/0 0/0 \"GET /a?b=c HTTP/1."
            )),
            "{line}"
        );
    });
}

/// Sets a setting, and waits until it is in force.
fn put_and_wait(pointsman: &Pointsman, name: &str, value: &str) {
    let generation = pointsman.plan().generation;
    pointsman.put(&format!("settings/{name}"), value);
    wait_until(&format!("{name} {value}"), || {
        pointsman.plan().generation > generation
    });
}

/// A real HAProxy that logs to a socket of ours.
struct HaProxy {
    child: std::process::Child,
    _dir: TempDir,
    http: std::net::SocketAddr,
}

impl HaProxy {
    fn start(config: &str) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("haproxy.cfg");
        let http = support::pointsman::local(free_port());
        fs::write(&file, config.replace("HTTP", &http.to_string())).expect("write its config");
        let child = std::process::Command::new("haproxy")
            .args(["-db", "-f"])
            .arg(&file)
            .stderr(std::process::Stdio::null())
            .spawn()
            .expect("haproxy runs; scripts/needs test installs it");
        wait_until("haproxy listens", || Client::try_connect(http).is_ok());
        Self {
            child,
            _dir: dir,
            http,
        }
    }
}

impl Drop for HaProxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A syslog server that keeps what it gets.
fn syslog() -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("bind");
    socket.set_read_timeout(Some(LIMIT)).expect("a timeout");
    socket
}

fn received(socket: &UdpSocket) -> String {
    let mut buffer = vec![0; 65_536];
    let n = socket.recv(&mut buffer).expect("a datagram in time");
    String::from_utf8(buffer[..n].to_vec()).expect("UTF-8")
}

/// An origin that does to each path what its name says.
fn moody() -> Origin {
    Origin::scripted(|conn| {
        while let Some(request) = conn.request() {
            let target = request.head.target().to_owned();
            match target.trim_start_matches('/') {
                "closes" => return,
                "garbage" => return conn.send("nonsense\r\n\r\n"),
                "short" => {
                    conn.send_last("HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhello");
                    return;
                }
                "stuck" => {
                    conn.send("HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhello");
                    drop(conn.rest());
                    return;
                }
                "slow" => {
                    drop(conn.rest());
                    return;
                }
                "big" => {
                    conn.send("HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n");
                    while conn.try_send(vec![b'x'; 65_536]).is_ok() {}
                    return;
                }
                "denied" => conn.send("HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n"),
                _ => conn.send(ok("hello")),
            }
        }
    })
}

/// What a client does: to the balancer at an address, to the end.
type Deed = fn(std::net::SocketAddr);

fn sends(addr: std::net::SocketAddr, text: &str) {
    let mut client = Client::connect(addr);
    client.send(text);
    client.all_to_the_end();
}

fn asks(addr: std::net::SocketAddr, method: &str, host: &str, path: &str, more: &str) {
    sends(
        addr,
        &format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{more}\r\n"),
    );
}

/// Requests that end in one way or another, and what the two programs agree on about them.
const SHARED: &[(&str, Deed)] = &[
    ("an answer", |a| asks(a, "GET", "web.test", "/x?y=1", "")),
    ("an answer to HEAD", |a| {
        asks(a, "HEAD", "web.test", "/denied", "")
    }),
    ("an upload", |a| {
        asks(a, "POST", "web.test", "/up", "Content-Length: 0\r\n")
    }),
    ("HTTP/1.0", |a| {
        sends(a, "GET /old HTTP/1.0\r\nHost: web.test\r\n\r\n")
    }),
    ("absolute form", |a| {
        sends(
            a,
            "GET http://web.test/abs HTTP/1.1\r\nHost: web.test\r\nConnection: close\r\n\r\n",
        );
    }),
    ("quotes and percents", |a| {
        asks(a, "GET", "web.test", "/%0a%22'\\{a}|`^", "")
    }),
    ("a first visit", |a| asks(a, "GET", "sticky.test", "/", "")),
    ("a second visit", |a| {
        asks(a, "GET", "sticky.test", "/", "Cookie: SRV=a\r\n")
    }),
    ("a visit with a cookie of nobody", |a| {
        asks(a, "GET", "sticky.test", "/", "Cookie: SRV=zzz\r\n");
    }),
    ("an upstream that closes", |a| {
        asks(a, "POST", "web.test", "/closes", "Content-Length: 0\r\n");
    }),
    ("an upstream that answers nonsense", |a| {
        asks(a, "GET", "web.test", "/garbage", "")
    }),
    ("an upstream that stops", |a| {
        asks(a, "GET", "web.test", "/stuck", "")
    }),
    ("an upstream that ends early", |a| {
        asks(a, "GET", "web.test", "/short", "")
    }),
    ("an upstream that does not answer", |a| {
        asks(a, "GET", "web.test", "/slow", "")
    }),
    ("an upstream that refuses", |a| {
        asks(a, "GET", "dead.test", "/", "")
    }),
    ("no upstream at all", |a| {
        asks(a, "GET", "none.test", "/", "")
    }),
    ("a client that leaves in the answer", |a| {
        let mut client = Client::connect(a);
        client.send("GET /big HTTP/1.1\r\nHost: web.test\r\n\r\n");
        client.exactly(100_000);
    }),
    ("half a head and the end", |a| {
        let mut client = Client::connect(a);
        client.send("GET /half HTTP/1.1\r\nHo").half_close();
        client.all_to_the_end();
    }),
    ("half a head and nothing", |a| {
        sends(a, "GET /half HTTP/1.1\r\nHo")
    }),
    ("what is no request", |a| sends(a, "\x01\x02\r\n\r\n")),
];

#[test]
fn lines_are_those_of_haproxy_for_the_same_requests() {
    let (origin, theirs, ours) = (moody(), syslog(), syslog());
    let dead = free_port();
    let haproxy = HaProxy::start(&format!(
        "global\n  log {} local1 info\ndefaults\n  mode http\n  log global\n  option httplog\n  \
         option dontlognull\n  option http-ignore-probes\n  option http-keep-alive\n  \
         option accept-invalid-http-request\n  \
         retries 2\n  timeout connect 5s\n  timeout client 5s\n  timeout server 1s\n  \
         timeout http-request 1s\nfrontend http\n  bind HTTP\n  \
         use_backend %[req.hdr(host),field(1,.)]\n\
         backend web\n  server a {origin}\nbackend sticky\n  cookie SRV insert indirect nocache\n  \
         server a {origin} cookie a\n\
         backend dead\n  server a 127.0.0.1:{dead}\nbackend none\n",
        theirs.local_addr().expect("an address"),
        origin = origin.addr(),
    ));
    let pointsman = Pointsman::builder()
        .setting(
            "access_log",
            &format!(
                "{} tag haproxy local1 info",
                ours.local_addr().expect("an address")
            ),
        )
        .setting("access_log_format", "httplog")
        .setting("retries", "2")
        .setting("timeout_client", "5s")
        .setting("timeout_server", "1s")
        .setting("timeout_head", "1s")
        .service(&web(&origin))
        .service(
            &Service::http("sticky")
                .hosts("sticky.test")
                .key("cookie", "cookie SRV insert indirect nocache")
                .upstream(origin.addr()),
        )
        .service(
            &Service::http("dead")
                .hosts("dead.test")
                .upstream(support::pointsman::local(dead)),
        )
        .service(&Service::http("none").hosts("none.test"))
        .start();
    for (name, deed) in SHARED {
        println!("{name}");
        deed(haproxy.http);
        let theirs = received(&theirs);
        deed(pointsman.http());
        let ours = received(&ours);
        println!("  {theirs}  {ours}");
        // In front of the line: priority, date, tag and process.
        let split = |line: &str| -> (String, String) {
            let (header, line) = line.split_once("]: ").expect("a tag and a process");
            (masked(header), line.to_owned())
        };
        let ((their_header, theirs), (our_header, ours)) = (split(&theirs), split(&ours));
        assert_eq!(our_header, their_header, "{name}");
        assert_eq!(form(&ours), form(&theirs), "{name}");
        assert!(ours.ends_with('\n'), "{name}");
    }
}

#[test]
fn every_ending_of_a_request_gives_exactly_one_line() {
    let origin = moody();
    let logged = Logged::start("httplog", |b| {
        b.service(&web(&origin))
            .service(
                &Service::http("locked")
                    .hosts("locked.test")
                    .key("basic_auth_secrets", "user bob insecure-password secret")
                    .upstream(origin.addr()),
            )
            .service(
                &Service::http("closed")
                    .hosts("closed.test")
                    .key("deny", "127.0.0.0/8")
                    .upstream(origin.addr()),
            )
            .service(
                &Service::http("moved")
                    .hosts("moved.test")
                    .key("redirects", "http://moved.test,http://web.test")
                    .upstream(origin.addr()),
            )
            .service(
                &Service::http("ruled")
                    .hosts("ruled.test")
                    .key(
                        "custom_settings",
                        "http-request deny status 503 if { path /deny }\n\
                         http-request return status 503 string later if { path /return }",
                    )
                    .upstream(origin.addr()),
            )
            .setting("timeout_server", "1s")
            .setting("timeout_client", "1s")
            .setting("timeout_head", "1s")
            .setting("max_body_size", "10")
    });
    let addr = logged.pointsman.http();
    let check = |name: &str, deed: Deed, expected: &str| {
        println!("{name}");
        deed(addr);
        let line = logged.lines(1).remove(0);
        let form = form(&line);
        let told = form.strip_prefix("0.0.0.0:0 [date] http ");
        assert_eq!(told, Some(expected), "{name}: {line}");
    };
    check(
        "no route",
        |a| asks(a, "GET", "nobody.test", "/", ""),
        "http/<NOSRV> T/-1/-1/-1/T 404 B - - LR-- N/0 0/0 \"GET / HTTP/1.1\"",
    );
    check(
        "no password",
        |a| asks(a, "GET", "locked.test", "/", ""),
        "locked/<NOSRV> T/-1/-1/-1/T 401 B - - LR-- N/0 0/0 \"GET / HTTP/1.1\"",
    );
    check(
        "a client that may not come",
        |a| asks(a, "GET", "closed.test", "/", ""),
        "closed/<NOSRV> T/-1/-1/-1/T 403 B - - PR-- N/0 0/0 \"GET / HTTP/1.1\"",
    );
    check(
        "a rule that denies as if nobody was there",
        |a| asks(a, "GET", "ruled.test", "/deny", ""),
        "ruled/<NOSRV> T/-1/-1/-1/T 503 B - - PR-- N/0 0/0 \"GET /deny HTTP/1.1\"",
    );
    check(
        "a rule that answers so in its own words",
        |a| asks(a, "GET", "ruled.test", "/return", ""),
        "ruled/<NOSRV> T/-1/-1/-1/T 503 B - - PR-- N/0 0/0 \"GET /return HTTP/1.1\"",
    );
    check(
        "a redirect",
        |a| asks(a, "GET", "moved.test", "/", ""),
        "moved/<NOSRV> T/-1/-1/-1/T 302 B - - LR-- N/0 0/0 \"GET / HTTP/1.1\"",
    );
    check(
        "a body that says it is too large",
        |a| asks(a, "POST", "web.test", "/up", "Content-Length: 11\r\n"),
        "web/<NOSRV> T/-1/-1/-1/T 413 B - - PR-- N/0 0/0 \"POST /up HTTP/1.1\"",
    );
    check(
        "a head that is too large",
        |a| {
            let fill = "a".repeat(20_000);
            sends(
                a,
                &format!("GET / HTTP/1.1\r\nHost: web.test\r\nX: {fill}\r\n\r\n"),
            );
        },
        "http/<NOSRV> -1/-1/-1/-1/T 431 B - - PR-- N/0 0/0 \"<BADREQ>\"",
    );
    check(
        "a body that does not come",
        |a| asks(a, "POST", "web.test", "/slow", "Content-Length: 9\r\n"),
        "web/a T/T/T/-1/T 408 B - - cD-- N/0 0/0 \"POST /slow HTTP/1.1\"",
    );
    check(
        "a body that ends early",
        |a| {
            let mut client = Client::connect(a);
            client
                .send("POST /slow HTTP/1.1\r\nHost: web.test\r\nContent-Length: 9\r\n\r\nabc")
                .half_close();
            client.all_to_the_end();
        },
        "web/a T/T/T/-1/T 400 B - - CD-- N/0 0/0 \"POST /slow HTTP/1.1\"",
    );
    check(
        "a body with bad chunks",
        |a| {
            asks(
                a,
                "POST",
                "web.test",
                "/slow",
                "Transfer-Encoding: chunked\r\n\r\nzz",
            );
        },
        "web/a T/T/T/-1/T 400 B - - PH-- N/0 0/0 \"POST /slow HTTP/1.1\"",
    );
    // Held open until its line is there: the balancer gives up on it.
    let mut client = Client::connect(addr);
    client.send("GET /big HTTP/1.1\r\nHost: web.test\r\n\r\n");
    client.head();
    assert_eq!(
        form(&logged.lines(1)[0]),
        "0.0.0.0:0 [date] http web/a T/T/T/T/T 200 B - - cD-- N/0 0/0 \"GET /big HTTP/1.1\""
    );
    check(
        "an answer that is retried in vain",
        |a| asks(a, "GET", "web.test", "/closes", ""),
        "web/a T/T/T/-1/T 502 B - - SH-- N/3 0/0 \"GET /closes HTTP/1.1\"",
    );
}

#[test]
fn a_client_that_resets_while_it_waits_has_a_line_without_a_status() {
    let gate = Gate::default();
    let at_gate = gate.clone();
    let origin = Origin::scripted(move |conn| {
        while conn.request().is_some() {
            at_gate.pass();
            conn.send(ok("late"));
        }
    });
    let logged = Logged::start("httplog", |b| b.service(&web(&origin)));
    let mut client = Client::connect(logged.pointsman.http());
    client.send(ASK);
    origin.wait_for(1);
    socket2::SockRef::from(client.stream())
        .set_linger(Some(Duration::ZERO))
        .expect("a reset instead of an end");
    drop(client);
    wait_until("the line", || read(&logged.path()).lines().count() == 1);
    gate.open();
    let line = logged.lines(1).remove(0);
    assert_eq!(
        form(&line),
        "0.0.0.0:0 [date] http web/a T/T/T/-1/T -1 B - - CH-- N/0 0/0 \"GET /x?y=1 HTTP/1.1\""
    );
}

#[test]
fn pipelined_requests_have_a_line_each_in_their_order() {
    let origin = Origin::saying("hello");
    let logged = Logged::start("httplog", |b| b.service(&web(&origin)));
    let mut client = Client::connect(logged.pointsman.http());
    let ask = |n| format!("GET /{n} HTTP/1.1\r\nHost: web.test\r\n\r\n");
    client.send([ask(1), ask(2), ask(3)].concat());
    for _ in 0..3 {
        assert_eq!(client.response().status(), 200);
    }
    let lines = logged.lines(3);
    for (n, line) in (1..).zip(&lines) {
        assert!(line.ends_with(&format!("\"GET /{n} HTTP/1.1\"")), "{line}");
    }
}

#[test]
fn connections_that_never_ask_have_no_line() {
    let origin = Origin::saying("hello");
    let db = Origin::scripted(|conn| drop(conn.rest()));
    let port = free_port();
    let logged = Logged::start("httplog", |b| {
        b.service(&web(&origin))
            .service(&Service::tcp("db", port).upstream(db.addr()))
            .setting("timeout_head", "700ms")
            .setting("timeout_idle", "700ms")
    });
    let addr = logged.pointsman.http();
    drop(Client::connect(addr));
    Client::connect(addr).half_close().assert_closed();
    Client::connect(addr).assert_closed();
    Client::connect(addr).send("\r\n").assert_closed();
    let mut session = Client::connect(support::pointsman::local(port));
    session.half_close().assert_closed();
    // A request, and then silence on the connection that was kept.
    let mut kept = Client::connect(addr);
    assert_eq!(kept.get("web.test", "/only").status(), 200);
    kept.assert_closed();
    let lines = logged.lines(1);
    assert!(lines[0].contains("/only"), "{lines:?}");
    let status = logged.pointsman.status();
    assert_eq!(status["rejected"], 0, "{status}");
    let services = status["services"].as_array().expect("a list");
    assert!(services.iter().all(|s| s["failures"] == 0), "{status}");
    // What is counted for them is counted for others.
    Client::connect(addr).send("no request\r\n\r\n").rest();
    assert_eq!(logged.pointsman.status()["rejected"], 1);
}

#[test]
fn a_tcp_session_has_a_line_when_it_ends() {
    let echo = Origin::scripted(|conn| {
        let bytes = conn.some();
        conn.send(bytes);
        drop(conn.rest());
    });
    let ports = [(); 5].map(|()| free_port());
    let logged = Logged::start("httplog", |b| {
        b.service(&Service::tcp("echo", ports[0]).upstream(echo.addr()))
            .service(
                &Service::tcp("dead", ports[1])
                    .key("retries", "0")
                    .upstream(support::pointsman::local(free_port())),
            )
            .service(&Service::tcp("none", ports[2]))
            .service(
                &Service::tcp("shut", ports[3])
                    .key("deny", "127.0.0.0/8")
                    .upstream(echo.addr()),
            )
            .service(
                &Service::tcp("ruled", ports[4])
                    .key("custom_settings", "tcp-request connection reject")
                    .upstream(echo.addr()),
            )
            .setting("timeout_tunnel", "1s")
    });
    let session = |port: u16| {
        let mut client = Client::connect(support::pointsman::local(port));
        client.try_send("ping").expect("the socket takes it");
        client
    };
    let mut client = session(ports[0]);
    assert_eq!(client.exactly(4), b"ping");
    client.half_close().assert_closed();
    assert_eq!(
        form(&logged.lines(1)[0]),
        "0.0.0.0:0 [date] echo echo/a T/T/T B -- N/0 0/0"
    );
    let mut client = session(ports[0]);
    assert_eq!(client.exactly(4), b"ping");
    client.assert_closed();
    assert!(logged.lines(1)[0].contains(" 4 cD "));
    session(ports[1]).all_to_the_end();
    assert_eq!(
        form(&logged.lines(1)[0]),
        "0.0.0.0:0 [date] dead dead/a T/-1/T B SC N/0 0/0"
    );
    session(ports[2]).all_to_the_end();
    assert_eq!(
        form(&logged.lines(1)[0]),
        "0.0.0.0:0 [date] none none/<NOSRV> -1/-1/T B SC N/0 0/0"
    );
    session(ports[3]).all_to_the_end();
    assert_eq!(
        form(&logged.lines(1)[0]),
        "0.0.0.0:0 [date] shut shut/<NOSRV> -1/-1/T B PR N/0 0/0"
    );
    session(ports[4]).all_to_the_end();
    assert_eq!(
        form(&logged.lines(1)[0]),
        "0.0.0.0:0 [date] ruled ruled/<NOSRV> -1/-1/T B PR N/0 0/0"
    );
}

#[test]
fn an_upgraded_connection_has_one_line_at_its_end_with_all_its_bytes() {
    let origin = Origin::scripted(|conn| {
        if conn.request().is_some() {
            conn.send(
                "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n",
            );
            let bytes = conn.some();
            conn.send(bytes);
            drop(conn.rest());
        }
    });
    let logged = Logged::start("json", |b| b.service(&web(&origin)));
    let mut client = Client::connect(logged.pointsman.http());
    client
        .send("GET /ws HTTP/1.1\r\nHost: web.test\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n");
    assert_eq!(client.head().status(), 101);
    client.send(vec![b'x'; 5000]);
    client.exactly(5000);
    assert_eq!(read(&logged.path()), "", "not before its end");
    client.half_close().assert_closed();
    let line = logged.json();
    assert_eq!(line["status"], 101);
    assert_eq!(line["termination"], "--");
    assert!(line["bytes_up"].as_u64() > Some(5000), "{line}");
    assert!(line["bytes_down"].as_u64() > Some(5000), "{line}");
}

#[test]
fn waiting_for_a_place_is_told_as_queue_time_and_by_its_own_endings() {
    let gate = Gate::default();
    let at_gate = gate.clone();
    let origin = Origin::scripted(move |conn| {
        while conn.request().is_some() {
            at_gate.pass();
            conn.send(ok("done"));
        }
    });
    let logged = Logged::start("httplog", |b| {
        b.service(
            &web(&origin)
                .key("max_connections", "1")
                .key("max_queue", "1"),
        )
        .setting("timeout_queue", "300ms")
    });
    let mut first = Client::connect(logged.pointsman.http());
    first.send(ASK);
    origin.wait_for(1);
    asks(logged.pointsman.http(), "GET", "web.test", "/late", "");
    wait_until("the line of who waited in vain", || {
        read(&logged.path()).contains("/late")
    });
    gate.open();
    first.response();
    let lines = logged.lines(2);
    assert_eq!(
        form(&lines[0]),
        "0.0.0.0:0 [date] http web/<NOSRV> T/T/-1/-1/T 503 B - - sQ-- N/0 0/1 \"GET /late HTTP/1.1\""
    );
    assert!(lines[1].contains(" ---- "), "{lines:?}");
}

#[test]
fn hostile_bytes_make_no_second_line_and_no_second_field() {
    let origin = Origin::saying("hello");
    let logged = Logged::start("json", |b| b.service(&web(&origin)));
    let hostile = "a\"b\\c\tGET / HTTP/1.1\" 200 é";
    let ask = Ask::get("web.test", "/'%0d%0a<{}>")
        .header("User-Agent", hostile)
        .header("Referer", hostile);
    on_every_transport(&logged.pointsman, |transport| {
        assert_eq!(transport.ask(&ask).status(), 200);
        let line = logged.json();
        assert_eq!(line["user_agent"], hostile);
        assert_eq!(line["referer"], hostile);
    });
    put_and_wait(&logged.pointsman, "access_log_format", "combined");
    on_every_transport(&logged.pointsman, |transport| {
        transport.ask(&ask);
        let line = logged.lines(1).remove(0);
        let escaped = "a\\x22b\\x5Cc\\x09GET / HTTP/1.1\\x22 200 \\xC3\\xA9";
        assert!(
            line.ends_with(&format!("\"{escaped}\" \"{escaped}\"")),
            "{line}"
        );
    });
}

#[test]
fn a_file_that_is_moved_away_is_opened_anew_on_sighup_and_no_line_is_lost() {
    let origin = Origin::saying("hello");
    let logged = Logged::start("httplog", |b| b.service(&web(&origin)));
    let addr = logged.pointsman.http();
    let old = logged.dir.path().join("access.log.1");
    const EACH: usize = 300;
    let asker = std::thread::spawn(move || {
        let mut client = Client::connect(addr);
        for n in 0..2 * EACH {
            assert_eq!(client.get("web.test", &format!("/{n}")).status(), 200);
        }
    });
    wait_until("the first lines", || !read(&logged.path()).is_empty());
    fs::rename(logged.path(), &old).expect("move the log away");
    hang_up(&logged.pointsman);
    wait_until("the new file", || logged.path().exists());
    asker.join().expect("all were answered");
    // At least one more is in the new file.
    assert_eq!(logged.pointsman.get("web.test", "/last").status(), 200);
    wait_until("the last line", || read(&logged.path()).contains("/last"));
    let all = read(&old) + &read(&logged.path());
    for n in 0..2 * EACH {
        let count = all.matches(&format!("\"GET /{n} HTTP")).count();
        assert_eq!(count, 1, "line of /{n}");
    }
}

fn hang_up(pointsman: &Pointsman) {
    let pid = rustix::process::Pid::from_raw(pointsman.id() as i32).expect("a process");
    rustix::process::kill_process(pid, rustix::process::Signal::HUP).expect("signal a child");
}

#[test]
fn syslog_gets_a_datagram_for_each_line_over_udp_and_a_unix_socket() {
    let origin = Origin::saying("hello");
    let udp = syslog();
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("log");
    let unix = UnixDatagram::bind(&path).expect("bind");
    unix.set_read_timeout(Some(LIMIT)).expect("a timeout");
    let pointsman = Pointsman::builder()
        .service(&web(&origin))
        .args(&[
            "--access-log",
            &format!("unix:{} format rfc5424 tag lb daemon", path.display()),
        ])
        .start();
    pointsman.get("web.test", "/one");
    let mut buffer = vec![0; 65_536];
    let n = unix.recv(&mut buffer).expect("a datagram in time");
    let line = String::from_utf8(buffer[..n].to_vec()).expect("UTF-8");
    let (header, json) = line.split_at(line.find('{').expect("a line"));
    let words: Vec<_> = header.split(' ').collect();
    assert_eq!(words[0], "<30>1");
    assert_eq!(masked(words[1]), "0-0-0T0:0:0.0Z");
    assert_eq!(words[3], "lb");
    assert_eq!(words[4], pointsman.id().to_string());
    assert_eq!(&words[5..], ["-", "-", ""]);
    let json: Value = serde_json::from_str(json).expect("a JSON line");
    assert_eq!(json["target"], "/one");

    let port = udp.local_addr().expect("an address").port();
    put_and_wait(
        &pointsman,
        "access_log",
        &format!("127.0.0.1:{port} len 80 local3"),
    );
    pointsman.get("web.test", "/two");
    let line = received(&udp);
    assert!(line.starts_with("<158>"), "{line}");
    assert_eq!(line.len(), 80, "{line}");
    assert!(line.ends_with('\n'), "{line}");
}

#[test]
fn syslog_that_comes_back_on_its_socket_gets_lines_again() {
    let origin = Origin::saying("hello");
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("log");
    let bind = || {
        let socket = UnixDatagram::bind(&path).expect("bind");
        socket.set_read_timeout(Some(LIMIT)).expect("a timeout");
        socket
    };
    let first = bind();
    let pointsman = Pointsman::builder()
        .service(&web(&origin))
        .args(&["--access-log", &format!("unix:{}", path.display())])
        .start();
    let mut buffer = [0; 4096];
    pointsman.get("web.test", "/one");
    first.recv(&mut buffer).expect("a line");
    drop(first);
    fs::remove_file(&path).expect("remove the socket");
    pointsman.get("web.test", "/lost");
    wait_until("the loss is told and counted", || {
        pointsman.log().contains("access log cannot be written")
            && pointsman.status()["access_log_dropped"] == 1
    });
    let second = bind();
    second.set_nonblocking(true).expect("no waiting");
    wait_until("lines come again", || {
        assert_eq!(pointsman.get("web.test", "/two").status(), 200);
        second.recv(&mut buffer).is_ok()
    });
    assert_eq!(pointsman.log().matches("cannot be written").count(), 1);
}

#[test]
fn a_blocked_target_delays_nobody_and_its_lost_lines_are_counted_and_told() {
    let origin = Origin::saying("hello");
    let dir = tempfile::tempdir().expect("a directory");
    let fifo = dir.path().join("fifo");
    let made = std::process::Command::new("mkfifo").arg(&fifo).status();
    assert!(made.expect("mkfifo").success());
    let pointsman = Pointsman::builder()
        .service(&web(&origin))
        .args(&["--access-log", &format!("file:{}", fifo.display())])
        .start();
    // Nobody reads: every line is longer than 8 KiB, and 16 MiB may wait.
    let target = format!("/{}", "x".repeat(12_000));
    let mut client = pointsman.client();
    let mut asked = 0;
    while pointsman.status()["access_log_dropped"] == 0 {
        for _ in 0..100 {
            assert_eq!(client.get("web.test", &target).status(), 200);
            asked += 1;
        }
        assert!(asked < 20_000, "nothing was dropped");
    }
    wait_until("it is told", || {
        pointsman.log().contains("access log lines were dropped")
    });
    // Another target does not wait for this one.
    let ours = syslog();
    let port = ours.local_addr().expect("an address").port();
    put_and_wait(&pointsman, "access_log", &format!("udp:127.0.0.1:{port}"));
    pointsman.get("web.test", "/elsewhere");
    assert!(received(&ours).contains("/elsewhere"));
    // Who reads at last gets whole lines, as many as were not dropped.
    let mut pipe = fs::File::open(&fifo).expect("the pipe");
    let mut text = Vec::new();
    let read = std::thread::spawn(move || {
        let result = pipe.read_to_end(&mut text);
        (result.is_ok(), text)
    });
    wait_until("the writer is done and gone", || read.is_finished());
    let (is_ok, text) = read.join().expect("a reader");
    assert!(is_ok && text.ends_with(b"\n"));
    let lines = text.split_inclusive(|b| *b == b'\n');
    let mut count = 0;
    for line in lines {
        serde_json::from_slice::<Value>(line).expect("a whole line");
        count += 1;
    }
    let dropped = pointsman.status()["access_log_dropped"].as_u64();
    assert_eq!(Some(asked - count), dropped);
}

#[test]
fn a_file_that_cannot_be_opened_is_told_once_and_so_is_its_recovery() {
    let origin = Origin::saying("hello");
    let dir = tempfile::tempdir().expect("a directory");
    let place = dir.path().join("later");
    let pointsman = Pointsman::builder()
        .service(&web(&origin))
        .args(&["--access-log-dir", place.to_str().expect("UTF-8")])
        .setting("access_log", "file:access.log")
        .start();
    for _ in 0..3 {
        assert_eq!(pointsman.get("web.test", "/lost").status(), 200);
    }
    wait_until("the losses are counted", || {
        pointsman.status()["access_log_dropped"] == 3
    });
    fs::create_dir(&place).expect("the directory");
    wait_until("lines are written again", || {
        pointsman.get("web.test", "/again");
        read(&place.join("access.log")).contains("/again")
    });
    wait_until("the recovery is told", || {
        pointsman.log().contains("access log is written again")
    });
    assert_eq!(pointsman.log().matches("cannot be written").count(), 1);
}

#[test]
fn of_a_sample_of_nothing_only_failures_are_left() {
    let origin = moody();
    let logged = Logged::start("httplog", |b| {
        b.service(&web(&origin)).setting("access_log_sample", "0%")
    });
    for path in ["/x", "/denied", "/x", "/short", "/x"] {
        asks(logged.pointsman.http(), "GET", "web.test", path, "");
    }
    put_and_wait(&logged.pointsman, "access_log_sample", "1");
    let lines = logged.lines(1);
    assert!(lines[0].contains("/short"), "{lines:?}");
}

#[test]
fn a_key_switches_the_log_on_and_off_under_traffic() {
    let origin = Origin::saying("hello");
    let logged = Logged::start("httplog", |b| b.service(&web(&origin)));
    let mut client = logged.pointsman.client();
    client.get("web.test", "/on");
    logged.lines(1);
    put_and_wait(&logged.pointsman, "access_log", "off");
    client.get("web.test", "/off");
    put_and_wait(&logged.pointsman, "access_log", "file:access.log");
    client.get("web.test", "/on/again");
    let lines = logged.lines(1);
    assert!(lines[0].contains("/on/again"), "{lines:?}");
    logged.pointsman.remove("settings/access_log");
    wait_until("off by default", || {
        !logged.pointsman.plan().dump.contains("access_log:")
    });
}

#[test]
fn probes_of_the_balancer_have_no_line() {
    let origin = Origin::saying("hello");
    let logged = Logged::start("httplog", |b| {
        b.service(&web(&origin))
            .setting("health_uri", "/lb-health")
            .setting("ready_uri", "/lb-ready")
    });
    on_every_transport(&logged.pointsman, |transport| {
        assert_eq!(transport.get("any.test", "/lb-health").status(), 200);
        assert_eq!(transport.get("any.test", "/lb-ready").status(), 200);
        assert_eq!(transport.get("web.test", "/lb").status(), 200);
        let lines = logged.lines(1);
        assert!(lines[0].contains("\"GET /lb HTTP"), "{lines:?}");
    });
}

#[test]
fn an_upstream_that_stands_in_is_named() {
    let (origin, spare) = (Origin::saying("hello"), Origin::saying("back soon"));
    let maintained = web(&origin).key("maintenance", &spare.addr().to_string());
    let logged = Logged::start("json", |b| b.service(&maintained));
    on_every_transport(&logged.pointsman, |transport| {
        assert_eq!(transport.get("web.test", "/").text(), "back soon");
        let line = logged.json();
        assert_eq!(line["service"], "web");
        assert_eq!(line["upstream_address"], spare.addr().to_string());
    });
}

#[test]
fn a_service_can_stay_out_of_the_log() {
    let origin = Origin::saying("hello");
    let port = free_port();
    let logged = Logged::start("httplog", |b| {
        b.service(&web(&origin))
            .service(
                &Service::http("quiet")
                    .hosts("quiet.test")
                    .key("access_log", "off")
                    .upstream(origin.addr()),
            )
            .service(
                &Service::tcp("hush", port)
                    .key("access_log", "off")
                    .upstream(origin.addr()),
            )
    });
    on_every_transport(&logged.pointsman, |transport| {
        transport.get("quiet.test", "/quiet");
        transport.get("web.test", "/heard");
        let lines = logged.lines(1);
        assert!(lines[0].contains("/heard"), "{lines:?}");
    });
    let mut session = Client::connect(support::pointsman::local(port));
    session.get("any.test", "/");
    session
        .stream()
        .shutdown(Shutdown::Write)
        .expect("shutdown");
    session.assert_closed();
    logged.lines(0);
}

#[test]
fn what_ended_before_the_program_did_is_in_the_log_and_what_was_cut_too() {
    let origin = moody();
    let mut logged = Logged::start("httplog", |b| {
        b.service(&web(&origin)).setting("timeout_drain", "300ms")
    });
    let mut held = logged.pointsman.client();
    held.send("GET /slow HTTP/1.1\r\nHost: web.test\r\n\r\n");
    origin.wait_for(1);
    for n in 0..50 {
        assert_eq!(
            logged.pointsman.get("web.test", &format!("/{n}")).status(),
            200
        );
    }
    logged.pointsman.terminate();
    assert!(logged.pointsman.wait().success());
    let text = read(&logged.path());
    assert_eq!(text.lines().count(), 51, "{text}");
    let last = text.lines().last().unwrap_or_default();
    assert!(
        last.contains(" -1 0 - - KH-- ") && last.contains("/slow"),
        "{last}"
    );
}

#[test]
fn a_bad_setting_is_refused_and_the_log_goes_on_as_it_was() {
    let origin = Origin::saying("hello");
    let logged = Logged::start("httplog", |b| b.service(&web(&origin)));
    logged
        .pointsman
        .put("settings/access_log", "file:../access.log");
    logged
        .pointsman
        .wait_for_status_words(&["settings/access_log", "is not the name of a file"]);
    logged.pointsman.get("web.test", "/still");
    assert!(logged.lines(1)[0].contains("/still"));
}

#[test]
fn clients_are_told_what_info_headers_name() {
    const ALL: [&str; 5] = [
        "x-request-id",
        "x-proxy-id",
        "x-server-info",
        "x-upstream-addr",
        "x-upstream-response-time",
    ];
    let origin = Origin::saying("hello");
    let pointsman = Pointsman::builder()
        .node("lb-7")
        .service(&web(&origin))
        .start();
    let named = |response: &support::message::Response| -> Vec<&str> {
        ALL.into_iter()
            .filter(|name| response.head.has(name))
            .collect()
    };
    on_every_transport(&pointsman, |transport| {
        assert_eq!(named(&transport.get("web.test", "/")), ["x-request-id"]);
        assert_eq!(named(&transport.get("nobody.test", "/")), ["x-request-id"]);
    });
    put_and_wait(&pointsman, "info_headers", &ALL.join(", "));
    on_every_transport(&pointsman, |transport| {
        let response = transport.get("web.test", "/");
        assert_eq!(named(&response), ALL);
        assert_eq!(response.header("x-proxy-id"), Some("lb-7"));
        assert_eq!(
            response.header("x-upstream-addr"),
            Some(origin.addr().to_string().as_str())
        );
        let version = format!("pointsman/{}", env!("CARGO_PKG_VERSION"));
        assert_eq!(response.header("x-server-info"), Some(version.as_str()));
        let time = response
            .header("x-upstream-response-time")
            .unwrap_or("none");
        assert!(time.parse::<f64>().is_ok_and(|s| s >= 0.0), "{time}");
        let seen = origin.requests().pop().expect("it reached the origin");
        assert_eq!(
            seen.head.header("x-request-id"),
            response.header("x-request-id")
        );
        let own = transport.get("nobody.test", "/");
        assert_eq!(named(&own), &ALL[..3]);
    });
    put_and_wait(&pointsman, "info_headers", "none");
    on_every_transport(&pointsman, |transport| {
        assert_eq!(named(&transport.get("web.test", "/")), [""; 0]);
        assert_eq!(named(&transport.get("nobody.test", "/")), [""; 0]);
        let seen = origin.requests().pop().expect("it reached the origin");
        assert!(
            seen.head.has("x-request-id"),
            "the application has it still"
        );
    });
}

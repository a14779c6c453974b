//! Upstreams that leave while somebody waits for a connection to them: whoever waits goes to those of now.

mod support;

use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use socket2::{Domain, Socket, Type};

use support::client::Client;
use support::origin::{Gate, Origin};
use support::pointsman::{Pointsman, Service};
use support::{free_port, wait_until};

/// Takes no connection and refuses none, as the address of a container that is gone.
struct Void {
    _listener: Socket,
    _taken: Vec<Socket>,
    addr: SocketAddr,
}

impl Void {
    fn new() -> Self {
        let listener = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        let any: SocketAddr = "127.0.0.1:0".parse().expect("an address");
        listener.bind(&any.into()).expect("a port");
        listener.listen(0).expect("listen");
        let addr = listener.local_addr().expect("an address");
        // What the kernel has room for, and some that it has not.
        let take = |_| {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
            socket.set_nonblocking(true).expect("not to block");
            let _ = socket.connect(&addr);
            socket
        };
        let taken = (0..4).map(take).collect();
        let addr = addr.as_socket().expect("an address");
        let full = TcpStream::connect_timeout(&addr, Duration::from_millis(300));
        assert!(full.is_err(), "the void takes connections");
        Self {
            _listener: listener,
            _taken: taken,
            addr,
        }
    }
}

fn slow(service: Service) -> Service {
    // Nothing of this is what saves the request.
    service.key("timeout_connect", "1h")
}

fn wait_for_one_under_way(balancer: &Pointsman) {
    wait_until("it waits for the upstream", || {
        let status = balancer.status();
        let upstreams = &status["services"][0]["upstreams"];
        upstreams[0]["in_flight"].as_u64() == Some(1)
    });
}

#[test]
fn a_request_that_waits_for_an_upstream_that_leaves_is_served_by_those_of_now() {
    let (void, origin) = (Void::new(), Origin::saying("new"));
    let balancer = Pointsman::builder().start();
    let service = slow(Service::http("web").hosts("web.test").key("retries", "0"));
    balancer.put_service(&service.upstream(void.addr));
    wait_until("the service", || balancer.plan().dump.contains("web.test"));
    let mut client = balancer.client();
    client.send("POST / HTTP/1.1\r\nHost: web.test\r\nContent-Length: 2\r\n\r\nhi");
    wait_for_one_under_way(&balancer);
    balancer.put("services/web/upstreams/a", origin.addr().to_string());
    let answer = client.response();
    assert_eq!((answer.status(), answer.text()), (200, "new".into()));
}

#[test]
fn a_request_that_has_a_place_keeps_it_and_those_behind_it_keep_theirs() {
    let (void, origin) = (Void::new(), Origin::saying("new"));
    let balancer = Pointsman::builder().start();
    let service = slow(Service::http("web").hosts("web.test"))
        .key("max_connections", "1")
        .key("max_queue", "1");
    balancer.put_service(&service.upstream(void.addr));
    wait_until("the service", || balancer.plan().dump.contains("web.test"));
    let mut first = balancer.client();
    first.send("GET /1 HTTP/1.1\r\nHost: web.test\r\n\r\n");
    wait_for_one_under_way(&balancer);
    let mut second = balancer.client();
    second.send("GET /2 HTTP/1.1\r\nHost: web.test\r\n\r\n");
    wait_until("it waits in the queue", || {
        balancer.status()["services"][0]["queued"].as_u64() == Some(1)
    });
    assert_eq!(balancer.get("web.test", "/3").status(), 503);
    balancer.put("services/web/upstreams/a", origin.addr().to_string());
    assert_eq!(first.response().status(), 200);
    assert_eq!(second.response().status(), 200);
    let targets: Vec<_> = origin
        .wait_for(2)
        .iter()
        .map(|r| r.head.target().to_owned())
        .collect();
    assert_eq!(targets, ["/1", "/2"]);
}

#[test]
fn what_was_sent_is_not_sent_again_where_nobody_wants_tries() {
    let gate = Gate::default();
    let shut = gate.clone();
    let leaving = Origin::scripted(move |conn| {
        conn.request();
        shut.pass();
    });
    let new = Origin::saying("new");
    let balancer = Pointsman::builder().start();
    let service = Service::http("web").hosts("web.test").key("retries", "0");
    balancer.put_service(&service.upstream(leaving.addr()));
    wait_until("the service", || balancer.plan().dump.contains("web.test"));
    let mut client = balancer.client();
    client.send("DELETE /x HTTP/1.1\r\nHost: web.test\r\n\r\n");
    leaving.wait_for(1);
    balancer.put("services/web/upstreams/a", new.addr().to_string());
    wait_until("the new one", || {
        balancer.plan().dump.contains(&new.addr().to_string())
    });
    gate.open();
    assert_eq!(client.response().status(), 502);
    new.assert_saw_nothing();
}

#[test]
fn its_line_in_the_access_log_tells_it_once() {
    let (void, origin) = (Void::new(), Origin::saying("new"));
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("access.log");
    let target = format!("file:{}", path.display());
    let balancer = Pointsman::builder()
        .args(&["--access-log", &target])
        .start();
    let service = slow(Service::http("web").hosts("web.test"));
    balancer.put_service(&service.upstream(void.addr));
    wait_until("the service", || balancer.plan().dump.contains("web.test"));
    let mut client = balancer.client();
    client.send("GET /x?y=1 HTTP/1.1\r\nHost: web.test\r\nUser-Agent: me\r\n\r\n");
    wait_for_one_under_way(&balancer);
    std::thread::sleep(Duration::from_millis(300));
    balancer.put("services/web/upstreams/a", origin.addr().to_string());
    let id = client
        .response()
        .header("x-request-id")
        .expect("an id")
        .to_owned();
    let request = origin.only_request();
    assert_eq!(request.head.header("x-request-id"), Some(id.as_str()));
    let mut line = serde_json::Value::Null;
    wait_until("a line", || {
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        let told = text
            .lines()
            .next()
            .and_then(|line| serde_json::from_str(line).ok());
        line = told.unwrap_or_default();
        line.is_object()
    });
    let address = origin.addr().to_string();
    for (field, value) in [
        ("method", "GET"),
        ("target", "/x?y=1"),
        ("host", "web.test"),
        ("user_agent", "me"),
        ("request_id", id.as_str()),
        ("upstream_address", address.as_str()),
    ] {
        assert_eq!(line[field], value, "{line}");
    }
    assert_eq!(
        (&line["status"], &line["retries"]),
        (&200.into(), &1.into()),
        "{line}"
    );
    let came = line["request_ms"].as_f64().expect("a time");
    assert!(
        came < 250.0,
        "the wait for the upstream counts as the client's: {line}"
    );
}

#[test]
fn a_flow_is_led_by_all_that_its_service_says_now() {
    let void = Void::new();
    let origin = Origin::scripted(|conn| {
        conn.some();
        conn.send("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nnew");
    });
    let balancer = Pointsman::builder().start();
    for (change, value) in [("deny", "127.0.0.0/8"), ("send_proxy", "v1")] {
        let port = free_port();
        let name = change.replace('_', "");
        let service = slow(Service::tcp(&name, port)).key("retries", "0");
        balancer.put_service(&service.upstream(void.addr));
        balancer.wait_for_port(port);
        let mut client = Client::connect(support::pointsman::local(port));
        client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
        // It, and what looked whether the port is open.
        wait_until("it waits for the upstream", || {
            let status = balancer.status();
            let services = status["services"].as_array().cloned().unwrap_or_default();
            services
                .iter()
                .any(|s| s["upstreams"][0]["in_flight"].as_u64() >= Some(2))
        });
        balancer.put(&format!("tcp-services/{name}/{change}"), value);
        let origin_at = origin.addr().to_string();
        balancer.put(&format!("tcp-services/{name}/upstreams/a"), origin_at);
        match change {
            "deny" => {
                client.assert_closed();
                origin.assert_saw_nothing();
            }
            _ => {
                assert_eq!(client.response().text(), "new");
                let sent = String::from_utf8_lossy(&origin.raw()[0]).into_owned();
                assert!(sent.starts_with("PROXY TCP4 127.0.0.1 "), "{sent}");
            }
        }
    }
}

#[test]
fn without_its_service_it_is_told_so() {
    let void = Void::new();
    let balancer = Pointsman::builder().start();
    // A tree without any services would not be believed at once.
    balancer.put_service(&Service::http("zz").hosts("zz.test"));
    let service = slow(Service::http("web").hosts("web.test"));
    balancer.put_service(&service.upstream(void.addr));
    wait_until("the service", || balancer.plan().dump.contains("web.test"));
    let mut client = balancer.client();
    client.send("GET / HTTP/1.1\r\nHost: web.test\r\n\r\n");
    wait_for_one_under_way(&balancer);
    balancer.remove("services/web");
    assert_eq!(client.response().status(), 404);
}

#[test]
fn a_flow_goes_where_the_service_is_now() {
    let (void, origin) = (Void::new(), Origin::saying("new"));
    let balancer = Pointsman::builder().start();
    let port = free_port();
    let service = slow(Service::tcp("db", port));
    balancer.put_service(&service.upstream(void.addr));
    balancer.wait_for_port(port);
    let mut client = Client::connect(support::pointsman::local(port));
    client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    wait_until("it waits for the upstream", || {
        let status = balancer.status();
        status["services"][0]["upstreams"][0]["in_flight"].as_u64() >= Some(1)
    });
    balancer.put("tcp-services/db/upstreams/a", origin.addr().to_string());
    assert_eq!(client.response().text(), "new");
}

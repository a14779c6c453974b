//! Upstreams that leave while somebody waits for a connection to them: whoever waits goes to those of now.

mod support;

use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use socket2::{Domain, Socket, Type};

use support::client::Client;
use support::origin::Origin;
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

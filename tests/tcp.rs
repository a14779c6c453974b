//! TCP services: their own ports, bytes untouched, flows that outlive changes.

mod support;

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use support::client::Client;
use support::origin::{Conn, Gate, Origin};
use support::pointsman::{Pointsman, Service, local};
use support::{LIMIT, free_port, wait_until};

/// Sends everything back.
fn echo() -> Origin {
    Origin::scripted(echo_script)
}

fn echo_script(conn: &mut Conn) {
    loop {
        let some = conn.some();
        if some.is_empty() {
            return;
        }
        conn.send(&some);
    }
}

fn start(port: u16, origin: &Origin) -> Pointsman {
    let pointsman = Pointsman::builder()
        .service(&Service::tcp("db", port).upstream(origin.addr()))
        // Some tests remove the only service there is, and mean it.
        .args(&["--empty-grace", "0"])
        .start();
    pointsman.wait_for_port(port);
    pointsman
}

const LARGE: usize = 64 << 20;

/// Bytes that tell a lost, doubled or swapped block: a count in every eight.
fn numbered(from: usize, count: usize) -> Vec<u8> {
    (from / 8..(from + count) / 8)
        .flat_map(|i| (i as u64).to_le_bytes())
        .collect()
}

fn write_all(mut stream: TcpStream) {
    for at in (0..LARGE).step_by(1 << 18) {
        stream.write_all(&numbered(at, 1 << 18)).expect("write");
    }
    stream.shutdown(Shutdown::Write).expect("shutdown");
}

fn read_all(mut stream: TcpStream) {
    let mut block = vec![0; 1 << 18];
    for at in (0..LARGE).step_by(1 << 18) {
        stream
            .read_exact(&mut block)
            .unwrap_or_else(|e| panic!("read at {at}: {e}"));
        assert!(
            block == numbered(at, 1 << 18),
            "different bytes in the block at {at}"
        );
    }
    assert_eq!(
        stream.read(&mut block).expect("read the end"),
        0,
        "bytes after the end"
    );
}

#[test]
fn large_streams_arrive_whole_in_both_directions_at_once() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let addr = listener
        .local_addr()
        .expect("a bound socket has an address");
    let port = free_port();
    let pointsman = Pointsman::builder()
        .service(&Service::tcp("db", port).upstream(addr))
        .start();
    let client = TcpStream::connect(local(port)).expect("connect");
    let (server, _) = listener.accept().expect("accept");
    for stream in [&client, &server] {
        stream.set_read_timeout(Some(LIMIT)).expect("timeout");
        stream.set_write_timeout(Some(LIMIT)).expect("timeout");
    }
    std::thread::scope(|scope| {
        for stream in [&client, &server] {
            let (to, from) = (
                stream.try_clone().expect("clone"),
                stream.try_clone().expect("clone"),
            );
            scope.spawn(move || write_all(to));
            scope.spawn(move || read_all(from));
        }
    });
    drop(pointsman);
}

#[test]
fn small_pieces_pass_at_once_before_and_after_large_ones() {
    let origin = echo();
    let port = free_port();
    let _pointsman = start(port, &origin);
    let mut client = Client::connect(local(port));
    for _ in 0..3 {
        for _ in 0..100 {
            assert_eq!(client.send("ping").exactly(4), b"ping");
        }
        let block = numbered(0, 1 << 20);
        let mut writer = client.stream().try_clone().expect("clone");
        let of_thread = block.clone();
        let thread = std::thread::spawn(move || writer.write_all(&of_thread).expect("write"));
        assert!(client.exactly(1 << 20) == block);
        thread.join().expect("the writer");
    }
}

#[test]
fn an_upstream_that_speaks_first_is_heard() {
    let origin = Origin::scripted(|conn| {
        conn.send("220 ready\r\n");
        echo_script(conn);
    });
    let port = free_port();
    let _pointsman = start(port, &origin);
    let mut client = Client::connect(local(port));
    assert_eq!(client.line(), "220 ready");
    assert_eq!(client.send("x").exactly(1), b"x");
}

#[test]
fn each_half_closes_by_itself() {
    let origin = Origin::scripted(|conn| {
        let all = conn.rest();
        conn.send(format!("got {}", all.len()));
    });
    let port = free_port();
    let _pointsman = start(port, &origin);
    let mut client = Client::connect(local(port));
    assert_eq!(client.send("12345").half_close().rest(), b"got 5");
    // And the other way round: the upstream ends first, and still hears the client.
    let gate = Gate::default();
    let of_script = gate.clone();
    let origin = Origin::scripted(move |conn| {
        conn.send("bye");
        conn.half_close();
        if conn.rest() == b"still here" {
            of_script.open();
        }
    });
    let port = free_port();
    let _pointsman = start(port, &origin);
    let mut client = Client::connect(local(port));
    assert_eq!(client.rest(), b"bye");
    client.send("still here").half_close();
    let start = Instant::now();
    gate.pass();
    assert!(
        start.elapsed() < LIMIT,
        "the upstream did not hear the rest"
    );
}

#[test]
fn a_reset_of_one_side_reaches_the_other() {
    let origin = Origin::scripted(|conn| {
        conn.exactly(1);
        conn.reset();
    });
    let port = free_port();
    let _pointsman = start(port, &origin);
    let mut client = Client::connect(local(port));
    client.send("x").time_to_close();
}

#[test]
fn a_silent_flow_ends_after_the_tunnel_timeout() {
    let origin = echo();
    let port = free_port();
    let service = Service::tcp("db", port).upstream(origin.addr());
    let pointsman = Pointsman::builder()
        .setting("timeout_tunnel", "1s")
        .service(&service)
        .start();
    pointsman.wait_for_port(port);
    let mut client = Client::connect(local(port));
    // Traffic keeps it: this takes longer than the timeout in all.
    let mut last = Instant::now();
    for _ in 0..8 {
        last = Instant::now();
        assert_eq!(client.send("x").exactly(1), b"x");
        assert!(client.is_silent_for(Duration::from_millis(150)));
    }
    client.assert_closed();
    assert!(last.elapsed() >= Duration::from_secs(1));
}

#[test]
fn least_connections_is_the_default() {
    let (a, b) = (echo(), echo());
    let port = free_port();
    let service = Service::tcp("db", port)
        .upstream(a.addr())
        .upstream(b.addr());
    let pointsman = Pointsman::builder().service(&service).start();
    pointsman.wait_for_port(port);
    let mut flows: Vec<Client> = Vec::new();
    for i in 0..10u8 {
        let mut client = Client::connect(local(port));
        assert_eq!(client.send([i]).exactly(1), [i]);
        flows.push(client);
    }
    assert_eq!((a.connections(), b.connections()), (5, 5));
}

#[test]
fn a_service_that_loses_its_last_upstream_keeps_its_port_and_closes_at_once() {
    let origin = echo();
    let port = free_port();
    let pointsman = start(port, &origin);
    let mut flow = Client::connect(local(port));
    assert_eq!(flow.send("x").exactly(1), b"x");
    pointsman.remove("tcp-services/db/upstreams/a");
    wait_until("new flows to be closed at once", || {
        let mut client = Client::connect(local(port));
        let _ = client.try_send("y");
        let _ = client.stream().shutdown(Shutdown::Write);
        client.all_to_the_end().is_empty()
    });
    // Its established flow goes on.
    assert_eq!(flow.send("z").exactly(1), b"z");
    pointsman.put("tcp-services/db/upstreams/a", origin.addr().to_string());
    wait_until("new flows to be served again", || {
        let mut client = Client::connect(local(port));
        let _ = client.try_send("y");
        let _ = client.stream().shutdown(Shutdown::Write);
        client.all_to_the_end() == b"y"
    });
}

#[test]
fn a_removed_service_closes_its_port_and_its_flows_live_on() {
    let origin = echo();
    let port = free_port();
    let pointsman = start(port, &origin);
    let mut flow = Client::connect(local(port));
    assert_eq!(flow.send("x").exactly(1), b"x");
    pointsman.remove("tcp-services/db");
    pointsman.wait_for_no_port(port);
    assert_eq!(flow.send("still").exactly(5), b"still");
    assert_eq!(flow.send("end").half_close().rest(), b"end");
}

#[test]
fn flows_of_a_removed_service_end_at_the_drain_deadline() {
    let origin = echo();
    let port = free_port();
    let service = Service::tcp("db", port).upstream(origin.addr());
    let pointsman = Pointsman::builder()
        .setting("timeout_drain", "500ms")
        .service(&service)
        .args(&["--empty-grace", "0"])
        .start();
    pointsman.wait_for_port(port);
    let mut flow = Client::connect(local(port));
    assert_eq!(flow.send("x").exactly(1), b"x");
    pointsman.remove("tcp-services/db");
    assert!(flow.time_to_close() < LIMIT / 2);
}

/// An upstream that never stops sending: there is always something that has just moved.
fn torrent() -> Origin {
    Origin::scripted(|conn| {
        let start = Instant::now();
        while start.elapsed() < LIMIT && conn.try_send([b'x'; 64 * 1024]).is_ok() {}
    })
}

/// Reads as fast as it can; joins with how long it took until the end.
fn swallow(port: u16) -> std::thread::JoinHandle<Duration> {
    let mut flow = Client::connect(local(port));
    flow.exactly(1);
    std::thread::spawn(move || {
        let start = Instant::now();
        let mut stream = flow.stream();
        let mut buf = vec![0; 64 * 1024];
        while start.elapsed() < LIMIT && stream.read(&mut buf).is_ok_and(|n| n > 0) {}
        start.elapsed()
    })
}

#[test]
fn busy_flows_of_a_removed_service_end_at_the_drain_deadline_too() {
    let origin = torrent();
    let port = free_port();
    let service = Service::tcp("db", port).upstream(origin.addr());
    let pointsman = Pointsman::builder()
        .setting("timeout_drain", "500ms")
        .service(&service)
        .args(&["--empty-grace", "0"])
        .start();
    pointsman.wait_for_port(port);
    let flows: Vec<_> = (0..40).map(|_| swallow(port)).collect();
    pointsman.remove("tcp-services/db");
    for flow in flows {
        // One that is not cut reads to the limit.
        assert!(flow.join().unwrap() < LIMIT, "a busy flow was not cut");
    }
}

#[test]
fn requests_have_their_turn_beside_many_busy_flows() {
    let (bulk, web) = (torrent(), Origin::saying("ok"));
    let port = free_port();
    let pointsman = Pointsman::builder()
        .service(&Service::tcp("db", port).upstream(bulk.addr()))
        .service(&Service::http("web").hosts("h.test").upstream(web.addr()))
        .args(&["--workers", "1"])
        .start();
    pointsman.wait_for_port(port);
    let flows: Vec<_> = (0..40).map(|_| swallow(port)).collect();
    let mut client = pointsman.client();
    for _ in 0..20 {
        assert_eq!(client.get("h.test", "/").text(), "ok");
    }
    assert!(
        !flows.iter().any(|flow| flow.is_finished()),
        "requests were served when flows had ended"
    );
    drop(pointsman);
    for flow in flows {
        flow.join().unwrap();
    }
}

#[test]
fn a_port_moves_with_its_key_and_old_flows_stay() {
    let origin = echo();
    let (old, new) = (free_port(), free_port());
    let pointsman = start(old, &origin);
    let mut flow = Client::connect(local(old));
    assert_eq!(flow.send("x").exactly(1), b"x");
    pointsman.put("tcp-services/db/external_port", new.to_string());
    pointsman.wait_for_port(new);
    pointsman.wait_for_no_port(old);
    assert_eq!(flow.send("still").exactly(5), b"still");
    let mut client = Client::connect(local(new));
    assert_eq!(client.send("y").exactly(1), b"y");
}

#[test]
fn flows_live_through_changes_of_their_own_and_of_other_services() {
    let origin = echo();
    let port = free_port();
    let pointsman = start(port, &origin);
    let mut flows: Vec<Client> = (0..20).map(|_| Client::connect(local(port))).collect();
    for i in 0..20u8 {
        pointsman.put(
            "tcp-services/db/balance",
            if i % 2 == 0 {
                "roundrobin"
            } else {
                "leastconn"
            },
        );
        let host = format!("h-{i}.test");
        pointsman.put_service(&Service::http(&format!("web-{i}")).hosts(&host));
        wait_until("the change", || pointsman.get(&host, "/").status() == 503);
        for flow in &mut flows {
            assert_eq!(flow.send([i]).exactly(1), [i]);
        }
    }
}

#[test]
fn of_two_services_on_one_port_the_second_name_is_quarantined() {
    let say = |name: &'static str| Origin::scripted(move |conn| conn.send(name));
    let (first, second) = (say("first"), say("second"));
    let port = free_port();
    let pointsman = start_named(port, "beta", &first);
    let hear =
        || String::from_utf8_lossy(&Client::connect(local(port)).all_to_the_end()).into_owned();
    assert_eq!(hear(), "first");
    pointsman.put_service(&Service::tcp("zeta", port).upstream(second.addr()));
    pointsman.wait_for_status_words(&["zeta", &port.to_string()]);
    assert_eq!(hear(), "first");
    // It heals by itself once the port is free.
    pointsman.remove("tcp-services/beta");
    wait_until("the second on the port", || {
        Client::try_connect(local(port)).is_ok() && hear() == "second"
    });
}

fn start_named(port: u16, name: &str, origin: &Origin) -> Pointsman {
    let pointsman = Pointsman::builder()
        .service(&Service::tcp(name, port).upstream(origin.addr()))
        .start();
    pointsman.wait_for_port(port);
    pointsman
}

#[test]
fn a_port_that_something_else_holds_refuses_only_its_service() {
    let held = std::net::TcpListener::bind("0.0.0.0:0").expect("a free port");
    let port = held
        .local_addr()
        .expect("a bound socket has an address")
        .port();
    let (origin, web) = (echo(), Origin::saying("web"));
    let pointsman = Pointsman::builder()
        .service(&Service::http("web").hosts("h.test").upstream(web.addr()))
        .service(&Service::tcp("db", port).upstream(origin.addr()))
        .start();
    pointsman.wait_for_status_words(&["db", &port.to_string()]);
    assert_eq!(pointsman.get("h.test", "/").text(), "web");
    let other = free_port();
    pointsman.put("tcp-services/db/external_port", other.to_string());
    pointsman.wait_for_port(other);
    drop(held);
}

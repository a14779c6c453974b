//! Many upstreams that take their time with checks, beside one that does not.

mod support;

use std::collections::VecDeque;
use std::io::Write as _;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use support::client::get;
use support::origin::{Origin, ok};
use support::pointsman::{Pointsman, Service};
use support::wait_until;

/// So many that, at each one's time, a round of checks takes longer than anything here waits.
const SLOW: usize = 1500;
const TIME: Duration = Duration::from_millis(1500);

/// Answers whatever connects after [`TIME`]. A thread for each would be hundreds.
fn slow_origin() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    let address = listener.local_addr().expect("bound");
    listener.set_nonblocking(true).expect("a socket");
    thread::spawn(move || {
        let mut waiting: VecDeque<(Instant, TcpStream)> = VecDeque::new();
        loop {
            while let Ok((stream, _)) = listener.accept() {
                waiting.push_back((Instant::now() + TIME, stream));
            }
            while waiting.front().is_some_and(|(at, _)| *at <= Instant::now()) {
                let (_, mut stream) = waiting.pop_front().expect("looked at");
                // Whoever asked may have left.
                let _ = stream.write_all(&ok("slowly"));
            }
            thread::sleep(Duration::from_millis(2));
        }
    });
    address
}

fn checked(name: &str) -> Service {
    Service::http(name)
        .hosts(&format!("{name}.test"))
        .without("health_check")
        .key("health_check_uri", "/health")
        .key("health_check_interval", "500ms")
        .key("health_check_timeout", "3s")
        .key("health_check_rise", "2")
        .key("health_check_fall", "2")
}

fn late(balancer: &Pointsman) -> usize {
    let text = get(balancer.stats(), "localhost", "/metrics").text();
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("pointsman_checks_late "))
        .expect("the metric");
    line.parse().expect("a number")
}

fn overview(balancer: &Pointsman) -> serde_json::Value {
    let text = get(balancer.stats(), "localhost", "/v1/overview").text();
    serde_json::from_str(&text).expect("JSON")
}

#[test]
fn slow_upstreams_do_not_keep_quick_ones_from_being_checked() {
    let slow = slow_origin();
    let mut many = checked("many");
    for i in 0..SLOW {
        many = many.key(&format!("upstreams/u{i}"), &slow.to_string());
    }
    let (is_well, is_silent) = (
        Arc::new(AtomicBool::new(true)),
        Arc::new(AtomicBool::new(false)),
    );
    let (well, silent) = (is_well.clone(), is_silent.clone());
    let quick = Origin::scripted(move |conn| {
        while let Some(request) = conn.request() {
            let is_check = request.head.target() == "/health";
            if is_check && silent.load(Ordering::Relaxed) {
                // Until whoever asked gives up.
                while conn.request().is_some() {}
            } else if is_check && !well.load(Ordering::Relaxed) {
                conn.send(b"HTTP/1.1 500 Ill\r\nContent-Length: 0\r\n\r\n");
            } else {
                conn.send(ok("quick"));
            }
        }
    });
    // With as many places for slow checks as there are with the least descriptors.
    let began = Instant::now();
    let balancer = Pointsman::builder()
        .descriptors(512)
        .service(&checked("quick").upstream(quick.addr()))
        .service(&many)
        .start();
    balancer.wait_for_text("quick.test", "/", "quick");
    wait_until("checks to be late", || late(&balancer) > SLOW / 2);
    wait_until("that to be told", || balancer.log().contains("checks_late"));
    assert!(overview(&balancer)["checks_late"].as_u64() > Some(0));

    // A round of all others takes far longer than any of these waits.
    is_well.store(false, Ordering::Relaxed);
    balancer.wait_for_status("quick.test", "/", 503);
    is_well.store(true, Ordering::Relaxed);
    balancer.wait_for_text("quick.test", "/", "quick");
    is_silent.store(true, Ordering::Relaxed);
    balancer.wait_for_status("quick.test", "/", 503);
    is_silent.store(false, Ordering::Relaxed);
    balancer.wait_for_text("quick.test", "/", "quick");
    assert!(late(&balancer) > 0, "the others still are");
    let told = balancer.log().matches("checks_late").count() as u64;
    assert!(
        told <= 1 + began.elapsed().as_secs() / 60,
        "told {told} times"
    );
}

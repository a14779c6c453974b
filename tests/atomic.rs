//! A transaction that moves what is served is seen whole or not at all.
//!
//! Requests are pipelined over several connections while transactions move a host between two services,
//! by its key, by taking one service away as the other comes, and by swapping their upstreams. Whoever
//! answers is one of the two: never a third service that takes what nobody else takes, and never we.
//!
//! `POINTSMAN_ATOMIC_REQUESTS` says how many requests (10,000 without it; the long run has 100,000).

mod support;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Instant;

use support::LIMIT;
use support::etcd::Etcd;
use support::load::{Load, take_answer};
use support::pointsman::{Pointsman, Service};
use tokio::runtime::Runtime;

const ROOT: &str = "/pointsman/lb/";
const CONNECTIONS: usize = 6;

/// Requests that are under way on one connection at once.
const PIPELINED: usize = 16;

/// One side of a move: keys and values, or no value for a key that goes.
type Side = Vec<(String, Option<String>)>;

struct Field {
    runtime: Runtime,
    etcd: Etcd,
    pointsman: Pointsman,
    load: Load,
}

#[test]
fn a_host_that_moves_by_its_key_is_always_at_one_of_two_services() {
    let field = Field::new();
    let hosts = |name: &str, with: bool| {
        let hosts = if with { ", moving.test" } else { "" };
        (
            format!("services/{name}/virtual_hosts"),
            Some(format!("{name}.test{hosts}")),
        )
    };
    let side = |to_b: bool| vec![hosts("a", !to_b), hosts("b", to_b)];
    let begin = [
        field.service("a", "a.test, moving.test"),
        field.service("b", "b.test"),
    ];
    field.run("moving.test", &begin, [side(true), side(false)]);
}

#[test]
fn a_host_is_never_without_a_service_when_one_goes_as_the_other_comes() {
    let field = Field::new();
    let (a, b) = (
        field.service("a", "moving.test"),
        field.service("b", "moving.test"),
    );
    // The check runs as it does by default: a service that has just come has nobody who is up yet.
    let (a, b) = (a.without("health_check"), b.without("health_check"));
    let all = |service: &Service, is_there: bool| -> Side {
        let value = |value: &str| is_there.then(|| value.to_owned());
        service.keys().map(|(key, v)| (key, value(v))).collect()
    };
    let side = |to_b: bool| [all(&a, !to_b), all(&b, to_b)].concat();
    field.run(
        "moving.test",
        std::slice::from_ref(&a),
        [side(true), side(false)],
    );
}

#[test]
fn two_services_that_swap_their_upstreams_never_lack_one() {
    let field = Field::new();
    let begin = [
        field.service("a", "moving.test"),
        field.service("b", "b.test"),
    ];
    let upstreams: Vec<_> = begin.iter().flat_map(upstream).collect();
    let [a, b] = [&upstreams[0], &upstreams[1]];
    let swapped = vec![(a.0.clone(), b.1.clone()), (b.0.clone(), a.1.clone())];
    field.run("moving.test", &begin, [swapped, vec![a.clone(), b.clone()]]);
}

fn upstream(service: &Service) -> Option<(String, Option<String>)> {
    let found = service.keys().find(|(key, _)| key.contains("/upstreams/"));
    found.map(|(key, value)| (key, Some(value.to_owned())))
}

impl Field {
    fn new() -> Self {
        let runtime = Runtime::new().expect("a runtime");
        let etcd = runtime.block_on(Etcd::start());
        let pointsman = Pointsman::builder().store(&etcd.spec().to_string()).start();
        Self {
            runtime,
            etcd,
            pointsman,
            load: Load::default(),
        }
    }

    fn service(&self, name: &str, hosts: &str) -> Service {
        Service::http(name)
            .hosts(hosts)
            .upstream(self.load.origin(name))
    }

    /// Moves back and forth between the sides as long as requests are asked.
    fn run(&self, host: &str, begin: &[Service], sides: [Side; 2]) {
        let third = self.load.origin("a third service");
        let third = Service::http("zz").key("default", "true").upstream(third);
        let everything = begin.iter().chain([&third]).flat_map(Service::keys);
        let everything = everything.map(|(key, value)| (key, Some(value.to_owned())));
        let revision = self.transact(&everything.collect::<Side>());
        self.pointsman.wait_for_revision(revision);

        let wanted = std::env::var("POINTSMAN_ATOMIC_REQUESTS");
        let wanted: u64 = wanted.map_or(10_000, |text| text.parse().expect("a number"));
        let (asked, is_over) = (AtomicU64::new(0), AtomicBool::new(false));
        let started = Instant::now();
        let mut moves = 0u64;
        let answers = std::thread::scope(|scope| {
            let ask = || {
                let counts = ask(self.pointsman.http(), host, wanted, &asked);
                is_over.store(true, Relaxed);
                counts
            };
            let askers: Vec<_> = (0..CONNECTIONS).map(|_| scope.spawn(ask)).collect();
            while !is_over.load(Relaxed) {
                let revision = self.transact(&sides[(moves % 2) as usize]);
                self.pointsman.wait_for_revision(revision);
                moves += 1;
            }
            let counts = askers
                .into_iter()
                .map(|asker| asker.join().expect("every answer is good"));
            counts.fold([0, 0], |sum, counts| {
                [sum[0] + counts[0], sum[1] + counts[1]]
            })
        });
        println!(
            "{} requests in {:?} while the host moved {moves} times: a answered {}, b {}",
            answers[0] + answers[1],
            started.elapsed(),
            answers[0],
            answers[1]
        );
        assert!(moves > 10, "only {moves} moves: nothing was tried");
        assert!(
            answers.iter().all(|count| *count > 0),
            "both answered: {answers:?}"
        );
    }

    fn transact(&self, side: &Side) -> u64 {
        let keys: Vec<_> = side
            .iter()
            .map(|(key, value)| (format!("{ROOT}{key}"), value))
            .collect();
        let changes = keys
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_ref()));
        self.runtime.block_on(self.etcd.transact(changes))
    }
}

/// Asks until all askers together have `wanted` answers; counts who answered, a and b.
fn ask(to: SocketAddr, host: &str, wanted: u64, asked: &AtomicU64) -> [u64; 2] {
    let mut stream = TcpStream::connect(to).expect("connect");
    stream.set_read_timeout(Some(LIMIT)).expect("a limit");
    stream.set_nodelay(true).expect("no delay");
    let request = format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n");
    let requests = request.repeat(PIPELINED);
    let (mut bytes, mut block, mut counts) = (Vec::new(), vec![0; 16 * 1024], [0; 2]);
    while asked.fetch_add(PIPELINED as u64, Relaxed) < wanted {
        stream.write_all(requests.as_bytes()).expect("send");
        let mut left = PIPELINED;
        while left > 0 {
            let Some((status, body, _)) = take_answer(&mut bytes) else {
                let n = stream.read(&mut block).expect("an answer in time");
                assert!(
                    n > 0,
                    "closed with {left} answers to come: {:?}",
                    String::from_utf8_lossy(&bytes)
                );
                bytes.extend_from_slice(&block[..n]);
                continue;
            };
            match (status, body.as_str()) {
                (200, "a") => counts[0] += 1,
                (200, "b") => counts[1] += 1,
                other => panic!("answered {other:?}"),
            }
            left -= 1;
        }
    }
    counts
}

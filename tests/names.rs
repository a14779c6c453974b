//! Upstreams that are names: what DNS says of them, when it says it, and when it does not.

mod support;

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use support::client::{self, Client};
use support::dns::{A, AAAA, Dns, SRV, Say, addresses};
use support::load::Load;
use support::message::Response;
use support::origin::{Conn, Gate, Origin, ok};
use support::pointsman::{Builder, Pointsman, Service, local};
use support::{certs, free_port, tls, wait_until};

const HOST: &str = "h.test";
const APP: &str = "app.internal";

/// Names are asked for as often as can be said.
fn builder(dns: &Dns) -> Builder {
    Pointsman::builder()
        .setting("dns_servers", &dns.addr())
        .setting("dns_interval", "1s")
        .setting("dns_timeout", "300ms")
}

/// One service with one upstream.
fn web(upstream: &str) -> Service {
    Service::http("web")
        .hosts(HOST)
        .key("upstreams/web", upstream)
}

fn start(dns: &Dns, upstream: &str) -> Pointsman {
    builder(dns).service(&web(upstream)).start()
}

/// A port that is free on all of loopback, for origins that differ by their address alone.
fn at(last: u8, port: u16) -> SocketAddr {
    (IpAddr::from([127, 0, 0, last]), port).into()
}

fn origins<const N: usize>(port: u16, lasts: [u8; N]) -> [Origin; N] {
    lasts.map(|last| Origin::saying_at(at(last, port), &last.to_string()))
}

/// Names of the members that run.
fn members(pointsman: &Pointsman) -> Vec<String> {
    let dump = pointsman.plan().dump;
    let lines = dump.lines().map(str::trim);
    let of_names = lines.filter(|line| line.starts_with("web/"));
    of_names
        .map(|line| line.split(": ").next().unwrap_or(line).to_owned())
        .collect()
}

fn wait_for_members(pointsman: &Pointsman, expected: &[String]) {
    wait_until(&format!("members {expected:?}"), || {
        members(pointsman) == expected
    });
}

fn named(lasts: &[u8], port: u16) -> Vec<String> {
    lasts
        .iter()
        .map(|last| format!("web/127.0.0.{last}:{port}"))
        .collect()
}

/// Waits until the server was asked this often from now on, so that an answer has had its effect.
fn wait_for_questions(dns: &Dns, name: &str, more: usize) {
    let before = dns.asked(name, A);
    wait_until("more questions", || dns.asked(name, A) >= before + more);
}

fn warning(pointsman: &Pointsman) -> Option<String> {
    let status = pointsman.status();
    let first = status["warnings"].get(0)?;
    Some(format!(
        "{} {}",
        first["code"].as_str()?,
        first["message"].as_str()?
    ))
}

#[test]
fn it_starts_without_an_answer_and_an_address_joins_when_there_is_one() {
    let (dns, port) = (Dns::start(), free_port());
    let [one, two] = origins(port, [2, 3]);
    let pointsman = start(&dns, &format!("{APP}:{port}"));
    assert_eq!(pointsman.get(HOST, "/").status(), 503);
    pointsman.wait_for_status_words(&[
        "unresolved",
        "app.internal does not resolve: there is no such name",
        "upstreams.web",
    ]);
    dns.host(APP, &["127.0.0.2"]);
    pointsman.wait_for_text(HOST, "/", "2");
    dns.host(APP, &["127.0.0.3", "127.0.0.2"]);
    wait_for_members(&pointsman, &named(&[2, 3], port));
    wait_until("the warning to go", || warning(&pointsman).is_none());
    let answers: Vec<_> = (0..4).map(|_| pointsman.get(HOST, "/").text()).collect();
    assert!(answers.contains(&"2".to_owned()) && answers.contains(&"3".to_owned()));
    let log = pointsman.log();
    assert_eq!(log.matches("name does not resolve").count(), 1, "{log}");
    assert!(log.contains("name resolves again"), "{log}");
    drop((one, two));
}

#[test]
fn a_ttl_of_600_is_not_believed_and_an_answer_that_changes_nothing_is_no_swap() {
    let (dns, port) = (Dns::start(), free_port());
    let _origins = origins(port, [2, 3]);
    dns.host(APP, &["127.0.0.2", "127.0.0.3"]);
    let pointsman = start(&dns, &format!("{APP}:{port}"));
    wait_for_members(&pointsman, &named(&[2, 3], port));
    let before = pointsman.plan().generation;
    dns.host(APP, &["127.0.0.3", "127.0.0.2", "127.0.0.3"]);
    wait_for_questions(&dns, APP, 3);
    assert_eq!(pointsman.plan().generation, before);
    dns.host(APP, &["127.0.0.3"]);
    wait_for_members(&pointsman, &named(&[3], port));
    assert_eq!(pointsman.plan().generation, before + 1);
}

#[test]
fn no_failure_of_dns_takes_an_address_away() {
    let (dns, port) = (Dns::start(), free_port());
    let _origins = origins(port, [2]);
    dns.host(APP, &["127.0.0.2"]);
    let pointsman = start(&dns, &format!("{APP}:{port}"));
    pointsman.wait_for_text(HOST, "/", "2");
    let generation = pointsman.plan().generation;
    let mut garbage = vec![
        vec![],
        vec![0xff; 10],
        vec![0x81, 0x80, 0xff, 0xff, 0xff, 0xff],
    ];
    // A name that points at itself, and data that is longer than the message.
    garbage.push(
        [
            &[0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0][..],
            &[0xc0, 12, 0, 1, 0, 1],
        ]
        .concat(),
    );
    let garbage = garbage.into_iter().map(Say::Garbage);
    let failures = [
        Say::ServFail,
        Say::NxDomain,
        Say::Silence,
        Say::Records(Vec::new()),
    ];
    for failure in failures.into_iter().chain(garbage) {
        dns.say_to_all(Some(failure.clone()));
        wait_until(&format!("{failure:?} to be told"), || {
            warning(&pointsman).is_some_and(|w| w.starts_with("kept-answer app.internal"))
        });
        assert_eq!(pointsman.get(HOST, "/").text(), "2", "{failure:?}");
        dns.say_to_all(None);
        wait_until("the warning to go", || warning(&pointsman).is_none());
    }
    let unreachable = ["0.0.0.0", "224.0.0.1", "::", "ff02::1"];
    dns.host(APP, &unreachable);
    wait_until("unreachable addresses to be told", || {
        warning(&pointsman).is_some_and(|w| w.contains("no address that can be used"))
    });
    assert_eq!(pointsman.get(HOST, "/").text(), "2");
    assert_eq!(pointsman.plan().generation, generation);
    assert!(!pointsman.log().contains("panicked"));
}

#[test]
fn a_name_that_is_gone_for_a_while_takes_its_addresses_along_and_may_come_back() {
    let (dns, port) = (Dns::start(), free_port());
    let _origins = origins(port, [2]);
    for (number, gone) in [Say::NxDomain, Say::Records(Vec::new())]
        .into_iter()
        .enumerate()
    {
        dns.host(APP, &["127.0.0.2"]);
        let pointsman = start(&dns, &format!("{APP}:{port}"));
        pointsman.wait_for_text(HOST, "/", "2");
        dns.say_to_all(Some(gone));
        wait_until("it to be told", || {
            warning(&pointsman).is_some_and(|w| w.starts_with("kept-answer app.internal"))
        });
        assert_eq!(pointsman.get(HOST, "/").text(), "2");
        wait_for_members(&pointsman, &[]);
        pointsman.wait_for_status(HOST, "/", 503);
        let told = warning(&pointsman).expect("a warning");
        assert!(
            told.starts_with("unresolved app.internal"),
            "{number}: {told}"
        );
        dns.say_to_all(None);
        pointsman.wait_for_text(HOST, "/", "2");
    }
}

#[test]
fn a_family_that_fails_keeps_its_addresses_while_the_other_moves() {
    let (dns, port) = (Dns::start(), free_port());
    let _two = origins(port, [2, 3]);
    dns.host(APP, &["127.0.0.2", "::1"]);
    let pointsman = start(&dns, &format!("{APP}:{port}"));
    let v6 = format!("web/[::1]:{port}");
    wait_for_members(&pointsman, &[named(&[2], port), vec![v6.clone()]].concat());
    dns.say(APP, AAAA, Say::ServFail);
    dns.say(APP, A, Say::Records(addresses(&["127.0.0.3"], true)));
    wait_for_members(&pointsman, &[named(&[3], port), vec![v6]].concat());
    assert_eq!(warning(&pointsman), None);
    // An empty family is an answer.
    dns.say(APP, AAAA, Say::Records(Vec::new()));
    wait_for_members(&pointsman, &named(&[3], port));
    // One that never worked keeps nothing from following the other.
    dns.say("half.internal", AAAA, Say::Silence);
    dns.say(
        "half.internal",
        A,
        Say::Records(addresses(&["127.0.0.2"], true)),
    );
    pointsman.put(
        "services/web/upstreams/web",
        format!("half.internal:{port}"),
    );
    wait_for_members(&pointsman, &named(&[2], port));
    dns.say(
        "half.internal",
        A,
        Say::Records(addresses(&["127.0.0.3"], true)),
    );
    wait_for_members(&pointsman, &named(&[3], port));
}

#[test]
fn an_answer_too_long_for_udp_comes_by_tcp_and_too_many_addresses_are_cut() {
    let dns = Dns::start();
    let all: Vec<String> = (0..300)
        .map(|n| format!("127.1.{}.{}", n / 200, 1 + n % 200))
        .collect();
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    dns.say(APP, A, Say::Truncated(addresses(&all, true)));
    let pointsman = start(&dns, &format!("{APP}:80"));
    wait_until("256 members", || members(&pointsman).len() == 256);
    assert!(dns.asked_by_tcp(APP) > 0);
    pointsman.wait_for_status_words(&["too-many-addresses", "300 addresses, 256 are used"]);
}

/// Answers its last number, and holds requests for `/hold` until the gate opens.
fn holding(addr: SocketAddr, gate: &Gate) -> Origin {
    let gate = gate.clone();
    let name = addr.ip().to_string();
    Origin::at(addr, move |conn: &mut Conn| {
        while let Some(request) = conn.request() {
            if request.head.target() == "/hold" {
                gate.pass();
            }
            conn.send(ok(&name));
        }
    })
}

#[test]
fn what_stays_in_an_answer_keeps_its_state_and_what_leaves_finishes() {
    let (dns, port, gate) = (Dns::start(), free_port(), Gate::default());
    let _origins = [2, 3].map(|last| holding(at(last, port), &gate));
    dns.host(APP, &["127.0.0.2", "127.0.0.3"]);
    let pointsman = start(&dns, &format!("{APP}:{port}"));
    wait_for_members(&pointsman, &named(&[2, 3], port));
    let mut held: Vec<Client> = (0..2)
        .map(|_| {
            let mut client = pointsman.client();
            client.send(format!("GET /hold HTTP/1.1\r\nHost: {HOST}\r\n\r\n"));
            client
        })
        .collect();
    let view = |name: &str| {
        let status = pointsman.status();
        let upstreams = status["services"][0]["upstreams"]
            .as_array()
            .expect("a list")
            .clone();
        upstreams
            .into_iter()
            .find(|u| u["name"].as_str() == Some(name))
    };
    let [stays, leaves] = [2, 3].map(|last| named(&[last], port).remove(0));
    wait_until("one request at each", || {
        [&stays, &leaves]
            .iter()
            .all(|name| view(name).is_some_and(|u| u["in_flight"] == 1))
    });
    dns.host(APP, &["127.0.0.2"]);
    wait_until("it to leave", || view(&leaves).is_none());
    let kept = view(&stays).expect("a member");
    assert_eq!(
        (&kept["in_flight"], &kept["served"]),
        (&1.into(), &1.into())
    );
    gate.open();
    let mut texts: Vec<_> = held.iter_mut().map(|c| c.response().text()).collect();
    texts.sort();
    assert_eq!(texts, ["127.0.0.2", "127.0.0.3"]);
}

fn pin_of(response: &Response) -> String {
    let cookie = response.header("set-cookie").expect("a cookie");
    cookie.split(';').next().expect("a pair").to_owned()
}

#[test]
fn clients_stay_where_their_cookie_says_while_other_addresses_come_and_go() {
    let (dns, port) = (Dns::start(), free_port());
    let _origins = origins(port, [2, 3, 4, 5]);
    dns.host(APP, &["127.0.0.3", "127.0.0.4"]);
    let service = web(&format!("{APP}:{port}")).key("cookie", "LB insert indirect nocache");
    let pointsman = builder(&dns).service(&service).start();
    wait_for_members(&pointsman, &named(&[3, 4], port));
    let first = pointsman.get(HOST, "/");
    let (pin, home) = (pin_of(&first), first.text());
    assert!(!pin.contains("127.0.0"), "{pin}");
    let ask = || {
        let request =
            format!("GET / HTTP/1.1\r\nHost: {HOST}\r\nCookie: {pin}\r\nConnection: close\r\n\r\n");
        client::exchange(pointsman.http(), request).text()
    };
    let home_ip = format!("127.0.0.{home}");
    for others in [vec!["127.0.0.2", "127.0.0.5"], vec![], vec!["127.0.0.2"]] {
        let mut all = others.clone();
        all.push(&home_ip);
        dns.host(APP, &all);
        wait_until("the answer to be in force", || {
            members(&pointsman).len() == all.len()
        });
        for _ in 0..6 {
            assert_eq!(ask(), home, "{all:?}");
        }
    }
}

#[test]
fn health_is_known_by_address_and_kept_across_answers() {
    let (dns, port) = (Dns::start(), free_port());
    let _alive = origins(port, [2]);
    dns.host(APP, &["127.0.0.2", "127.0.0.3"]);
    let service = web(&format!("{APP}:{port}"))
        .without("health_check")
        .key("health_check_interval", "100ms")
        .key("retries", "0");
    let pointsman = builder(&dns).service(&service).start();
    let health = |last: u8| {
        let status = pointsman.status();
        let upstreams = status["services"][0]["upstreams"].as_array().cloned();
        let name = named(&[last], port).remove(0);
        let found = upstreams?
            .into_iter()
            .find(|u| u["name"].as_str() == Some(&name));
        Some(found?["health"].as_str()?.to_owned())
    };
    wait_until("both to be judged", || {
        health(2).as_deref() == Some("up") && health(3).as_deref() == Some("down")
    });
    dns.host(APP, &["127.0.0.2", "127.0.0.3", "127.0.0.4"]);
    wait_until("the new one", || health(4).is_some());
    assert_eq!(health(3).as_deref(), Some("down"));
    for _ in 0..10 {
        assert_eq!(pointsman.get(HOST, "/").text(), "2");
    }
}

#[test]
fn under_load_addresses_come_and_go_and_no_request_fails() {
    let (dns, port, load) = (Dns::start(), free_port(), Load::default());
    let _origins = [2, 3, 4].map(|last| Origin::saying_at(at(last, port), "app"));
    dns.host(APP, &["127.0.0.2"]);
    let pointsman = start(&dns, &format!("{APP}:{port}"));
    wait_for_members(&pointsman, &named(&[2], port));
    load.http(16, pointsman.http(), HOST, "app", Duration::from_millis(2));
    load.assert_passes(50, "one address serves");
    for lasts in [&[2, 3, 4][..], &[4], &[2, 3], &[3]] {
        let ips: Vec<_> = lasts.iter().map(|last| format!("127.0.0.{last}")).collect();
        dns.host(APP, &ips.iter().map(String::as_str).collect::<Vec<_>>());
        wait_for_members(&pointsman, &named(lasts, port));
        load.assert_passes(100, "addresses changed");
    }
    dns.say_to_all(Some(Say::ServFail));
    load.assert_passes(100, "DNS fails");
    load.finish("all is done");
}

#[test]
fn srv_records_say_hosts_ports_and_weights() {
    let (dns, [one, two]) = (Dns::start(), [free_port(), free_port()]);
    let _origins = [
        Origin::saying_at(at(2, one), "one"),
        Origin::saying_at(at(3, two), "two"),
    ];
    let name = "_http._tcp.app.internal";
    dns.host("a.internal", &["127.0.0.2"]);
    dns.host("b.internal", &["127.0.0.3"]);
    dns.service(
        name,
        &[
            (1, 30, one, "a.internal"),
            (1, 10, two, "b.internal"),
            (9, 50, two, "c.internal"),
        ],
    );
    let pointsman = start(&dns, &format!("srv:{name}"));
    wait_until("both", || members(&pointsman).len() == 2);
    let answers: Vec<_> = (0..40).map(|_| pointsman.get(HOST, "/").text()).collect();
    assert_eq!(answers.iter().filter(|text| *text == "one").count(), 30);
    // A host of it that cannot be told keeps what it had.
    dns.say("a.internal", A, Say::ServFail);
    dns.service(
        name,
        &[(1, 10, one, "a.internal"), (1, 10, two, "b.internal")],
    );
    let weight = |text: &str| pointsman.plan().dump.contains(text);
    wait_until("other weights", || {
        weight(&format!("127.0.0.2:{one} weight=10"))
    });
    // None at all is a failure, and a root for a host says that there is none.
    for gone in [
        Say::NxDomain,
        Say::Records(vec![vec![0, 1, 0, 1, 0, 80, 0]]),
    ] {
        dns.say(name, SRV, gone);
        pointsman.wait_for_status_words(&["kept-answer", "srv:_http._tcp.app.internal"]);
        assert_eq!(members(&pointsman).len(), 2);
    }
    dns.service(name, &[(1, 0, two, "b.internal")]);
    wait_until("one of them", || {
        members(&pointsman) == [format!("web/127.0.0.3:{two}")]
    });
}

#[test]
fn a_tcp_service_follows_names_too() {
    let (dns, port, own) = (Dns::start(), free_port(), free_port());
    let _origins = origins(port, [2, 3]);
    dns.host(APP, &["127.0.0.2"]);
    let service = Service::tcp("web", own).key("upstreams/web", &format!("{APP}:{port}"));
    let pointsman = builder(&dns).service(&service).start();
    pointsman.wait_for_port(own);
    let ask = || client::get(local(own), HOST, "/").text();
    wait_for_members(&pointsman, &named(&[2], port));
    assert_eq!(ask(), "2");
    dns.host(APP, &["127.0.0.3"]);
    wait_for_members(&pointsman, &named(&[3], port));
    assert_eq!(ask(), "3");
}

#[test]
fn tls_verifies_the_name_and_http_may_ask_for_it() {
    let dns = Dns::start();
    let origin = Origin::saying("hello");
    let door = tls::ended_before(
        origin.addr(),
        &certs::town_hall().sign(&certs::Leaf::of(&[APP])),
    );
    dns.host(APP, &["127.0.0.1"]);
    dns.host("other.internal", &["127.0.0.1"]);
    let service = web(&format!("{APP}:{}", door.port()))
        .key("upstream_tls", "true")
        .key("upstream_tls_ca", &certs::town_hall().pem())
        .key("pass_host_header", "false");
    let pointsman = builder(&dns).service(&service).start();
    pointsman.wait_for_status(HOST, "/", 200);
    let asked = origin.requests().remove(0);
    let host = format!("{APP}:{}", door.port());
    assert_eq!(asked.head.header("host"), Some(host.as_str()));
    pointsman.put(
        "services/web/upstreams/web",
        format!("other.internal:{}", door.port()),
    );
    pointsman.wait_for_status(HOST, "/", 502);
}

#[test]
fn a_start_without_dns_goes_on_with_what_was_answered_last() {
    let (dns, port) = (Dns::start(), free_port());
    let _origins = origins(port, [2, 3]);
    dns.host(APP, &["127.0.0.2"]);
    let mut pointsman = start(&dns, &format!("{APP}:{port}"));
    pointsman.wait_for_text(HOST, "/", "2");
    pointsman.terminate();
    pointsman.wait();
    dns.say_to_all(Some(Say::Silence));
    pointsman.start_again();
    pointsman.wait_until_ready();
    assert_eq!(pointsman.get(HOST, "/").text(), "2");
    pointsman.wait_for_status_words(&["kept-answer", "no answer in time"]);
    dns.host(APP, &["127.0.0.3"]);
    dns.say_to_all(None);
    pointsman.wait_for_text(HOST, "/", "3");
}

#[test]
fn names_are_asked_for_while_somebody_has_them_and_by_the_settings_of_now() {
    let (dns, other, port) = (Dns::start(), Dns::start(), free_port());
    let _origins = origins(port, [2, 3]);
    dns.host(APP, &["127.0.0.2"]);
    other.host(APP, &["127.0.0.3"]);
    let pointsman = start(&dns, &format!("{APP}:{port}"));
    pointsman.wait_for_text(HOST, "/", "2");
    pointsman.put("settings/dns_servers", other.addr());
    pointsman.wait_for_text(HOST, "/", "3");
    pointsman.put("services/web/upstreams/web", at(2, port).to_string());
    pointsman.wait_for_text(HOST, "/", "2");
    let asked = other.asked(APP, A);
    std::thread::sleep(Duration::from_millis(1500));
    assert!(other.asked(APP, A) <= asked + 1, "it is asked for still");
    pointsman.put("services/web/upstreams/web", format!("localhost:{port}"));
    wait_until("localhost by the system's file", || {
        members(&pointsman).contains(&format!("web/127.0.0.1:{port}"))
    });
    assert_eq!(other.asked("localhost", A), 0);
}

#[test]
fn check_and_plan_show_names_and_a_node_their_addresses() {
    let (dns, port) = (Dns::start(), free_port());
    dns.host(APP, &["127.0.0.2"]);
    let pointsman = start(&dns, &format!("{APP}:{port} weight=5"));
    wait_for_members(&pointsman, &named(&[2], port));
    let looked = pointsman.look("plan", &[]);
    let offline = String::from_utf8_lossy(&looked.stdout).into_owned();
    let line = format!("web: {APP}:{port} weight=5\n");
    assert!(
        offline.contains(&line) && !offline.contains("resolved"),
        "{offline}"
    );
    let running = pointsman.plan().dump;
    let resolved =
        format!("{line}    resolved:\n      web/127.0.0.2:{port}: 127.0.0.2:{port} weight=5\n");
    assert!(running.contains(&resolved), "{running}");
    assert!(pointsman.look("check", &[]).status.success());
}

//! What the operator's listener shows of the services as they run.

mod support;

use serde_json::Value;
use support::client::get;
use support::origin::Origin;
use support::pointsman::{Pointsman, Service};
use support::wait_until;

fn json(balancer: &Pointsman, path: &str) -> Value {
    let answer = get(balancer.stats(), "localhost", path);
    assert_eq!(answer.status(), 200, "{path}: {}", answer.text());
    serde_json::from_str(&answer.text()).expect("JSON")
}

fn units(page: &Value) -> Vec<&str> {
    let rows = page["rows"].as_array().expect("rows");
    rows.iter()
        .map(|row| row["unit"].as_str().expect("a unit"))
        .collect()
}

#[test]
fn a_service_is_shown_with_its_state_its_rates_and_how_long_answers_take() {
    let origin = Origin::saying("here");
    let balancer = Pointsman::builder().start();
    let gone = Origin::saying("gone").addr();
    balancer.put_service(
        &Service::http("web")
            .hosts("web.test")
            .upstream(origin.addr()),
    );
    balancer.put_service(
        &Service::http("down")
            .hosts("down.test")
            .key("health_check", "tcp")
            .upstream(gone),
    );
    balancer.put("services/empty/virtual_hosts", "empty.test");
    balancer.wait_for_text("web.test", "/", "here");
    for _ in 0..20 {
        balancer.get("web.test", "/");
    }
    wait_until("it is known to be down", || {
        let page = json(&balancer, "/v1/running/services?state=down");
        units(&page) == ["services/down"]
    });

    let overview = json(&balancer, "/v1/overview?history=1");
    assert_eq!(overview["services"]["total"], 3, "{overview}");
    assert_eq!(overview["services"]["down"], 1);
    assert_eq!(overview["services"]["empty"], 1);
    assert_eq!(overview["upstreams"]["total"], 2);
    assert_eq!(overview["may_change"], false);
    assert_eq!(overview["phase"], "running");
    assert_eq!(overview["history"]["step_s"], 10);
    assert_eq!(overview["stores"][0]["connected"], true);

    let down = json(&balancer, "/v1/running/services/http/down");
    let upstream = &down["upstreams"][0];
    assert_eq!(upstream["state"], "down");
    assert!(
        upstream["last_check"]
            .as_str()
            .is_some_and(|why| !why.is_empty())
    );
    assert!(upstream["since"].as_str() <= upstream["last_check_at"].as_str());

    // Figures of a time are there when the time is over.
    wait_until("latencies are known", || {
        json(&balancer, "/v1/running/services/http/web")["p99_ms"].is_number()
    });
    let web = json(&balancer, "/v1/running/services/http/web");
    assert!(web["requests_total"].as_u64() >= Some(20), "{web}");
    assert_eq!(web["errors_total"], 0);
    assert_eq!(web["answers"]["2xx"], web["requests_total"]);
    assert!(web["p50_ms"].as_f64() <= web["p99_ms"].as_f64());
    assert!(web["bytes_out_total"].as_u64() > Some(20 * 4));
    assert!(web["upstreams"][0]["p99_ms"].is_number(), "{web}");

    let state = json(&balancer, "/v1/running/services?sort=state");
    assert_eq!(
        units(&state),
        ["services/down", "services/empty", "services/web"]
    );
    let busy = json(
        &balancer,
        "/v1/running/services?sort=name&order=desc&size=2",
    );
    assert_eq!(units(&busy), ["services/web", "services/empty"]);
    assert_eq!((&busy["total"], &busy["matched"]), (&3.into(), &3.into()));
    let second = json(&balancer, "/v1/running/services?size=2&page=2");
    assert_eq!(units(&second), ["services/web"]);
    for (query, found) in [
        ("q=WEB.te", &["services/web"][..]),
        ("state=down", &["services/down"]),
        ("q=nothing", &[]),
        (&format!("q={}", origin.addr()), &["services/web"]),
    ] {
        let page = json(&balancer, &format!("/v1/running/services?{query}"));
        assert_eq!(units(&page), found, "{query}");
    }
    let upstreams = json(&balancer, "/v1/running/upstreams?state=down");
    assert_eq!(upstreams["rows"][0]["service"], "services/down");
    assert_eq!(upstreams["matched"], 1);
}

#[test]
fn a_question_that_is_not_understood_is_told() {
    let balancer = Pointsman::builder().start();
    for (path, status, words) in [
        ("/v1/running/services?sort=colour", 400, "colour"),
        ("/v1/running/services?colour=red", 400, "colour"),
        ("/v1/overview?histroy=1", 400, "histroy"),
        ("/v1/running/services?page=x", 400, "page"),
        ("/v1/running/services/udp/x", 400, "http/NAME"),
        ("/v1/running/services/http/x", 404, "no http service"),
        ("/v1/events?after=-1", 400, "after"),
    ] {
        let answer = get(balancer.stats(), "localhost", path);
        assert_eq!(answer.status(), status, "{path}");
        let why: Value = serde_json::from_str(&answer.text()).expect("JSON");
        let why = why["error"].as_str().expect("why");
        assert!(why.contains(words), "{path}: {why}");
    }
}

#[test]
fn a_service_that_never_had_a_good_form_is_listed_as_refused() {
    let balancer = Pointsman::builder().start();
    balancer.put("services/new/balance", "sideways");
    balancer.put("services/new/virtual_hosts", "new.test");
    wait_until("it is refused", || {
        let page = json(&balancer, "/v1/running/services?q=ne&state=refused");
        units(&page) == ["services/new"]
    });
    let page = json(&balancer, "/v1/running/services");
    assert_eq!(page["rows"][0]["state"], "refused", "{page}");
    assert_eq!(page["total"], 1);
    let one = get(
        balancer.stats(),
        "localhost",
        "/v1/running/services/http/new",
    );
    assert_eq!(one.status(), 404);
    assert!(one.text().contains("services/new is refused") && one.text().contains("sideways"));
}

#[test]
fn a_wrong_key_is_everywhere_and_gone_when_it_is_mended() {
    let origin = Origin::saying("here");
    let balancer = Pointsman::builder().start();
    balancer.put_service(
        &Service::http("web")
            .hosts("web.test")
            .upstream(origin.addr()),
    );
    balancer.wait_for_text("web.test", "/", "here");
    balancer.put("services/web/balance", "sideways");
    wait_until("it is refused", || {
        json(&balancer, "/v1/refused")["refused"] != Value::Array(Vec::new())
    });
    let refused = json(&balancer, "/v1/refused");
    let refusal = &refused["refused"][0];
    assert_eq!(refusal["unit"], "services/web");
    assert_eq!(refusal["serving"], "last-good");
    let problem = &refusal["diagnostics"][0];
    assert_eq!(problem["key"], "services/web/balance");
    assert!(
        problem["help"]
            .as_str()
            .is_some_and(|help| help.contains("leastconn"))
    );
    let page = json(&balancer, "/v1/running/services?state=refused");
    assert_eq!(units(&page), ["services/web"]);
    let detail = json(&balancer, "/v1/running/services/http/web");
    assert_eq!(&detail["refusal"], refusal);
    wait_until("the overview tells", || {
        json(&balancer, "/v1/overview")["refused"] == 1
    });
    let metrics = || {
        get(balancer.stats(), "localhost", "/metrics")
            .text()
            .to_owned()
    };
    let sample = "pointsman_unit_refused{unit=\"services/web\"} 1";
    assert!(metrics().contains(sample));
    assert!(balancer.log().contains("unit refused"));
    let events = json(&balancer, "/v1/events");
    let told = events["events"].as_array().expect("events").iter();
    let mut refusals = told.filter(|told| told["event"] == "unit_refused");
    let told = refusals.next().expect("an event");
    assert_eq!(told["fields"]["unit"], "services/web");
    assert!(
        told["fields"]["reason"]
            .as_str()
            .is_some_and(|why| why.contains("sideways"))
    );
    let last = events["last"].as_u64().expect("a number");

    balancer.put("services/web/balance", "leastconn");
    wait_until("it is gone", || {
        json(&balancer, "/v1/refused")["refused"] == Value::Array(Vec::new())
    });
    wait_until("the overview tells", || {
        json(&balancer, "/v1/overview")["refused"] == 0
    });
    assert!(!metrics().contains(sample));
    let newer = json(&balancer, &format!("/v1/events?after={last}"));
    let newer = newer["events"].as_array().expect("events").iter();
    let names: Vec<_> = newer
        .map(|told| told["event"].as_str().expect("a name"))
        .collect();
    assert!(names.contains(&"unit_accepted"), "{names:?}");
    let swaps = json(&balancer, "/v1/generations");
    let swap = &swaps[0];
    assert_eq!(swap["reason"], "keys", "{swap}");
    assert_eq!(swap["changed"][0], "services/web");
    assert_eq!(swap["refused"], 0);
    let own = json(&balancer, "/v1/overview");
    assert_eq!(swap["generation"], own["generation"]);
}

#[test]
fn listeners_certificates_and_nodes_are_listed() {
    let origin = Origin::saying("here");
    let balancer = Pointsman::builder().node("n1").start();
    let port = support::free_port();
    balancer.put_service(&Service::tcp("db", port).upstream(origin.addr()));
    let leaf = support::certs::Leaf::of(&["www.test"]).alone();
    balancer.put("certs/www", leaf.pem());
    balancer.wait_for_port(port);
    let listeners = json(&balancer, "/v1/running/listeners");
    let of = |protocol: &str| {
        let mut all = listeners.as_array().expect("a list").iter();
        all.find(|row| row["protocol"] == protocol)
            .expect(protocol)
            .clone()
    };
    assert_eq!(of("tcp")["service"], "tcp-services/db");
    assert_eq!(of("http")["address"], balancer.http().to_string());
    wait_until("the certificate is served", || {
        let all = json(&balancer, "/v1/running/certificates");
        let www = all
            .as_array()
            .and_then(|all| all.iter().find(|row| row["name"] == "www"));
        www.is_some_and(|row| row["names"][0] == "www.test" && row["days_left"].is_i64())
    });
    wait_until("the node is on the board", || {
        json(&balancer, "/v1/nodes")["nodes"][0]["node"] == "n1"
    });
    assert_eq!(json(&balancer, "/v1/nodes")["problem"], Value::Null);
}

#[test]
fn the_overview_comes_by_itself_every_second() {
    use std::io::{BufRead as _, BufReader, Write as _};
    let balancer = Pointsman::builder().node("n1").start();
    let mut stream = std::net::TcpStream::connect(balancer.stats()).expect("a connection");
    stream
        .set_read_timeout(Some(support::LIMIT))
        .expect("a limit");
    stream
        .write_all(b"GET /v1/stream HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .expect("sent");
    let lines = BufReader::new(stream).lines().map_while(Result::ok);
    let mut seen = 0;
    for line in lines {
        if let Some(data) = line.strip_prefix("data: ") {
            let overview: Value = serde_json::from_str(data).expect("JSON");
            assert_eq!(overview["node"], "n1");
            seen += 1;
            if seen == 3 {
                return;
            }
        }
    }
    panic!("the stream ended after {seen}");
}

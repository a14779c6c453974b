//! `/metrics`: what Prometheus is told.

mod support;

use std::collections::{BTreeMap, BTreeSet};

use support::certs::Leaf;
use support::client::get;
use support::origin::Origin;
use support::pointsman::{Pointsman, Service};
use support::wait_until;

/// Each sample by its name and labels. Checks the form on the way: every family has help and type once, and its
/// samples stand together.
fn scrape(balancer: &Pointsman) -> BTreeMap<String, f64> {
    let answer = get(balancer.stats(), "localhost", "/metrics");
    assert_eq!(answer.status(), 200);
    let kind = answer.header("content-type").expect("a type").to_owned();
    assert!(kind.starts_with("text/plain; version=0.0.4"), "{kind}");
    let (mut families, mut samples) = (BTreeSet::new(), BTreeMap::new());
    let mut family = String::new();
    for line in answer.text().lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').expect("a help");
            assert!(
                families.insert(name.to_owned()) && !help.is_empty(),
                "{line}"
            );
            family = name.to_owned();
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').expect("a kind");
            assert_eq!(name, family);
            assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
        } else {
            let (name, value) = line.rsplit_once(' ').expect("a value");
            let of = name.split('{').next().expect("a name");
            let of = ["_bucket", "_sum", "_count"]
                .iter()
                .find_map(|end| of.strip_suffix(end).filter(|of| *of == family))
                .unwrap_or(of);
            assert_eq!(of, family, "{line}");
            let value = value.parse().expect("a number");
            assert!(samples.insert(name.to_owned(), value).is_none(), "{line}");
        }
    }
    samples
}

#[test]
fn what_happens_is_counted_and_what_is_wrong_is_told_until_it_is_right() {
    let origin = Origin::saying("here");
    let balancer = Pointsman::builder().start();
    balancer.put_service(
        &Service::http("web")
            .hosts("web.test")
            .upstream(origin.addr()),
    );
    balancer.put("certs/www", Leaf::of(&["www.test"]).alone().pem());
    balancer.wait_for_text("web.test", "/", "here");
    for _ in 0..9 {
        balancer.get("web.test", "/");
    }
    let now = scrape(&balancer);
    assert_eq!(
        now["pointsman_service_responses_total{service=\"web\",mode=\"http\",code=\"2xx\"}"],
        10.0
    );
    let upstream = "{service=\"web\",mode=\"http\",upstream=\"a\"}";
    assert_eq!(now[&format!("pointsman_upstream_up{upstream}")], 1.0);
    assert_eq!(
        now[&format!("pointsman_upstream_served_total{upstream}")],
        10.0
    );
    let latency = |end: &str, more: &str| {
        let labels = format!("{{service=\"web\",mode=\"http\"{more}}}");
        now[&format!("pointsman_service_latency_seconds_{end}{labels}")]
    };
    assert_eq!(latency("count", ""), 10.0);
    assert_eq!(latency("bucket", ",le=\"+Inf\""), 10.0);
    assert!(latency("bucket", ",le=\"0.001\"") <= latency("bucket", ",le=\"10\""));
    let sum = latency("sum", "");
    assert!(sum > 0.0 && sum < 60.0, "{sum}");
    let bytes = |direction: &str| {
        let labels = format!("{{service=\"web\",mode=\"http\",direction=\"{direction}\"}}");
        now[&format!("pointsman_service_bytes_total{labels}")]
    };
    assert!(bytes("in") > 10.0 * 16.0 && bytes("out") > 10.0 * 16.0);
    assert!(now["pointsman_events_total{event=\"swapped\",level=\"info\"}"] >= 1.0);
    assert_eq!(now["pointsman_ready"], 1.0);
    assert_eq!(now["pointsman_units_refused"], 0.0);
    let ends = now["pointsman_certificate_not_after_seconds{certificate=\"www\"}"];
    assert!(ends > 1.7e9, "{ends}");
    let store = |name: &str| {
        let mut of_name = now.iter().filter(|(key, _)| key.starts_with(name));
        *of_name.next().expect("a store").1
    };
    assert_eq!(store("pointsman_store_connected"), 1.0);
    assert!(now["process_resident_memory_bytes"] > 1e6);

    balancer.put("services/web/balance", "sideways");
    wait_until("the refusal is counted", || {
        scrape(&balancer)["pointsman_units_refused"] == 1.0
    });
    balancer.put("services/web/balance", "leastconn");
    wait_until("it is over", || {
        scrape(&balancer)["pointsman_units_refused"] == 0.0
    });
    balancer.remove("certs/www");
    wait_until("the certificate is gone", || {
        !scrape(&balancer)
            .keys()
            .any(|key| key.contains("certificate=\"www\""))
    });
}

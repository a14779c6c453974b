//! What the HTTP listeners show at `stats_uri`: the page and the figures, to read alone.

mod support;

use support::client::get;
use support::haproxy::{figure, lines};
use support::origin::Origin;
use support::pointsman::{Pointsman, Service};
use support::transport::{Ask, on_every_transport};

const HOST: &str = "web.test";

#[test]
fn however_many_ask_for_figures_traffic_goes_on() {
    let origin = Origin::saying("web");
    let mut builder = Pointsman::builder().setting("stats_uri", "/lbstats");
    for n in 0..40 {
        let mut service = Service::http(&format!("s{n:02}")).hosts(&format!("s{n}.test"));
        for m in 0..100 {
            service = service.key(&format!("upstreams/u{m}"), &format!("10.0.0.1:{}", m + 1));
        }
        builder = builder.service(&service);
    }
    let pointsman = builder
        .service(&Service::http("web").hosts(HOST).upstream(origin.addr()))
        .setting("stats_auth", "none")
        .start();
    let lines = 2 + 40 * 101 + 2;
    std::thread::scope(|scope| {
        let asking: Vec<_> = (0..100)
            .map(|_| scope.spawn(|| pointsman.get(HOST, "/lbstats;csv")))
            .collect();
        for _ in 0..100 {
            assert_eq!(pointsman.get(HOST, "/").text(), "web");
        }
        let mut whole = 0;
        for asked in asking {
            let answer = asked.join().expect("an answer");
            match answer.status() {
                200 => {
                    whole += 1;
                    assert_eq!(answer.text().lines().count(), lines);
                }
                503 => assert_eq!(answer.header("retry-after"), Some("1")),
                other => panic!("{other}: {}", answer.text()),
            }
        }
        assert!(whole > 0, "somebody was answered");
    });
    assert_eq!(pointsman.get(HOST, "/lbstats;csv").status(), 200);
}

#[test]
fn the_page_is_shown_in_band_read_only_and_nothing_else_of_the_admin_listener() {
    let origin = Origin::saying("web");
    let service = Service::http("web").hosts(HOST).upstream(origin.addr());
    let pointsman = Pointsman::builder()
        .service(&service)
        .setting("stats_uri", "/lbstats")
        .setting("stats_auth", "none")
        .start();
    let page = get(pointsman.stats(), "localhost", "/").text();
    assert!(page.contains("pointsman"), "{page}");
    on_every_transport(&pointsman, |transport| {
        let moved = transport.get(HOST, "/lbstats");
        assert_eq!(
            (moved.status(), moved.header("location")),
            (307, Some("/lbstats/"))
        );
        let answer = transport.get("nobody.test", "/lbstats/");
        assert_eq!((answer.status(), answer.text()), (200, page.clone()));
        assert_eq!(
            answer.header("content-type"),
            Some("text/html; charset=utf-8")
        );
        for csv in ["/lbstats;csv", "/lbstats/;csv", "/lbstats?stats;csv"] {
            let all = lines(&transport.get(HOST, csv).text());
            assert_eq!(figure(&all, "web", "BACKEND", "status"), "UP");
        }
        for json in [
            "/lbstats/v1/overview?history=1",
            "/lbstats/v1/running/services?q=web&size=5",
            "/lbstats/v1/running/services/http/web",
            "/lbstats/v1/running/upstreams",
            "/lbstats/v1/running/listeners",
            "/lbstats/v1/running/certificates",
            "/lbstats/v1/generations",
            "/lbstats/v1/refused",
            "/lbstats/v1/events?after=0",
            "/lbstats/v1/nodes",
        ] {
            let answer = transport.get(HOST, json);
            assert_eq!(answer.status(), 200, "{json}: {}", answer.text());
            assert_eq!(answer.header("content-type"), Some("application/json"));
            serde_json::from_slice::<serde_json::Value>(&answer.body.bytes).expect("JSON");
        }
        // What is refused there is refused here, with the same words.
        let refused = transport.get(HOST, "/lbstats/v1/running/services?size=x");
        assert_eq!(refused.status(), 400);
        assert!(refused.text().contains("error"), "{}", refused.text());
        let head = transport.ask(&Ask::new("HEAD", HOST, "/lbstats/;csv"));
        assert_eq!((head.status(), head.text()), (200, String::new()));
        let post = transport.ask(&Ask::new("POST", HOST, "/lbstats/v1/overview"));
        assert_eq!(post.status(), 405);
        // Browsers send the password to all below it: nothing of that is a service's.
        for target in [
            "/lbstats/v1/services",
            "/lbstats/v1/services/web/upstreams/a/drain",
            "/lbstats/v1/plan",
            "/lbstats/v1/status",
            "/lbstats/v1/stream",
            "/lbstats/metrics",
            "/lbstats/live",
        ] {
            assert_eq!(transport.get(HOST, target).status(), 404, "{target}");
        }
        assert_eq!(transport.get(HOST, "/lbstats-of-ours").text(), "web");
    });
}

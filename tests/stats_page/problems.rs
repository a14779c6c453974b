//! What the page says needs somebody: all of it, once, worst first, and nothing well that was not looked at.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::support::certs::{Leaf, now, town_hall};
use super::*;

const DAY: i64 = 24 * 3600;
const HOUR: i64 = 3600;

/// Keys of the lines, from above.
fn lines(browser: &mut Browser) -> Vec<String> {
    let keys = browser
        .eval("[...document.querySelectorAll('li[data-problem]')].map(e => e.dataset.problem)");
    serde_json::from_value(keys).expect("texts")
}

fn line(key: &str) -> String {
    format!("document.querySelector('[data-problem^={}]')", json!(key))
}

/// That a line has these words, whatever spaces are between them.
fn says(key: &str, words: &str) -> String {
    format!(
        "{}.innerText.replace(/\\s+/g, ' ').includes({})",
        line(key),
        json!(words)
    )
}

const BADGE: &str = "document.querySelector('.nav-wrong').firstChild.data.replaceAll(',', '')";
const HEADING: &str = "document.querySelector('.problems h2').innerText.replaceAll(',', '')";

fn certificate(name: &str, from: i64, to: i64) -> String {
    let leaf = Leaf::of(&[name]).valid(from, to);
    town_hall().sign(&leaf).pem()
}

fn checked(service: Service) -> Service {
    service
        .key("health_check", "tcp")
        .key("health_check_interval", "500ms")
        .key("health_check_fall", "1")
}

#[test]
fn the_worst_stands_first_and_everything_once() {
    let origin = Origin::saying("here");
    let web = |name: &str| Service::http(name).hosts(&format!("{name}.test"));
    let node = Pointsman::builder()
        .service(&web("a-refused").upstream(origin.addr()))
        .service(&checked(
            web("b-degraded")
                .upstream(origin.addr())
                .upstream(local(free_port())),
        ))
        .service(&web("c-empty"))
        .service(&web("d-drained").upstream(origin.addr()).key("drain", "a"))
        .service(&checked(web("f-down").upstream(local(free_port()))))
        .key(
            "certs/ending",
            certificate("g.test", now() - 60 * DAY, now() + 47 * HOUR + 600),
        )
        .key(
            "certs/ended",
            certificate("h.test", now() - 9 * DAY, now() + 12),
        )
        .start();
    // One that has ended is refused; this one ends while it is looked at.
    for key in [
        "balance",
        "health_check",
        "health_check_interval",
        "health_check_fall",
        "timeout",
    ] {
        node.put(&format!("services/a-refused/{key}"), "sideways");
    }
    node.put("services/e-absent/hosts", "e.test");
    node.put("services/e-absent/balance", "sideways");
    node.put("services/b-degraded/no_such_key", "1");
    let mut browser = Browser::start(DESK);
    browser.open(&url(&node, "#overview?all=1"));
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let _over = Over(&is_over);
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                node.get("c-empty.test", "/");
                thread::sleep(Duration::from_millis(50));
            }
        });
        browser.wait_for(&says(
            "down services/c-empty",
            "has no upstreams, answers 100 % errors, ",
        ));
        browser.wait_for(&says("certificate ending", "ends in 47 h "));
        browser.wait_for(&says("certificate ended", "has ended"));
        for key in [
            "down services/f-down",
            "down services/b-degraded",
            "refused services/e-absent",
        ] {
            browser.wait_for(&line(key));
        }
        assert_eq!(
            lines(&mut browser),
            [
                "certificate ended",
                "down services/f-down",
                "refused services/e-absent",
                "down services/d-drained",
                "down services/c-empty",
                "down services/b-degraded",
                "refused services/a-refused",
                "certificate ending",
                "warnings services/b-degraded",
            ]
        );
    });
    browser.wait_for(&format!("{BADGE} == '9' && {HEADING} == '9 problems'"));
    // Each is an item with a heading, and leads to what runs.
    let nameless = browser.eval(
        "[...document.querySelectorAll('.problem-list > li')].filter(e => \
         !document.getElementById(e.getAttribute('aria-labelledby'))?.matches('h3')).length",
    );
    assert_eq!(nameless, 0);
    let refused = line("refused services/a-refused");
    assert_eq!(
        browser.eval(&format!("{refused}.querySelector('a').hash")),
        "#overview?q=a-refused&open=http%2Fa-refused"
    );
    // Two of its diagnostics, and how many there are beside.
    let told = format!("{refused}.querySelectorAll('.diagnostic').length");
    let all = browser.eval("fetch('./v1/refused').then(a => a.json()).then(a => a.refused.find(r => r.unit == 'services/a-refused').diagnostics.length)");
    let all = all.as_u64().expect("a number");
    assert!(all > 3, "{all}");
    assert_eq!(browser.eval(&told), 2);
    let more = "[data-problem='refused services/a-refused'] .diagnostics-more";
    assert_eq!(
        browser.eval(&format!("document.querySelector(\"{more}\").innerText")),
        format!("and {} more", all - 2)
    );
    browser.click(more);
    browser.wait_for(&format!("{told} == {all}"));
    // The next to end is told among the figures, those that ended are not.
    browser.wait_for("document.querySelector('.figures').innerText.includes('next ends in 47')");
    is_quiet(&mut browser, &node);
}

#[test]
fn what_fails_for_one_reason_is_one_line() {
    let (nowhere, origin) = (local(free_port()), Origin::saying("here"));
    let mut builder = Pointsman::builder().without_waiting().service(
        &Service::http("well")
            .hosts("well.test")
            .upstream(origin.addr()),
    );
    for i in 0..500 {
        builder = builder.service(
            &checked(Service::http(&format!("s{i:03}")).hosts(&format!("s{i:03}.test")))
                .key("health_check_interval", "2s")
                .upstream(nowhere)
                .upstream(nowhere),
        );
    }
    let mut node = builder.start();
    node.wait_until_ready();
    let mut browser = Browser::start(DESK);
    browser.open(&url(&node, ""));
    browser.wait_for(&says(
        "all down",
        &format!("500 services are down: {nowhere}, "),
    ));
    browser.wait_for(&says("all down", "refused"));
    browser.wait_for(&says("all down", "s000, s001, s002 and 497 more"));
    // A service and its upstreams are one problem.
    browser.wait_for(&format!("{BADGE} == '500' && {HEADING} == '500 problems'"));
    assert_eq!(lines(&mut browser).len(), 1);
    browser.click("[data-problem^='all down'] a");
    browser
        .wait_for("document.querySelector('.pager-words').innerText.endsWith('of 500 services')");
    // The number is there where the list is not.
    browser.eval("location.hash = 'listeners'");
    browser.wait_for("document.querySelector('[aria-current]').hash == '#listeners'");
    browser.reload();
    browser.wait_for(&format!("{BADGE} == '500'"));
    is_quiet(&mut browser, &node);
}

#[test]
fn kinds_with_many_lines_say_how_many_and_where_they_are() {
    let mut builder = Pointsman::builder().without_waiting();
    for i in 0..30 {
        // Each at an address of its own.
        let service = checked(Service::http(&format!("s{i:02}")).hosts(&format!("s{i:02}.test")));
        builder = builder.service(&service.upstream(local(free_port())));
    }
    let mut node = builder.start();
    node.wait_until_ready();
    let mut browser = Browser::start(DESK);
    browser.open(&url(&node, "#overview?all=1"));
    browser.wait_for(&says("rest", "20 of 30 down services"));
    browser.wait_for(&format!("{BADGE} == '30' && {HEADING} == '30 problems'"));
    assert_eq!(lines(&mut browser).len(), 21);
    assert_eq!(
        browser.eval(&format!("{}.querySelector('a').hash", line("rest"))),
        "#overview?state=down"
    );
}

#[test]
fn green_is_said_only_of_what_was_looked_at() {
    const GREEN: &str = "document.querySelector('.all-well:not(.in-doubt)')?.innerText.startsWith('Nothing needs you.')";
    let origin = Origin::scripted(|conn| {
        while let Some(request) = conn.request() {
            let bytes = match request.head.target() {
                "/bad" => "HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n",
                _ => "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
            };
            conn.send(bytes);
        }
    });
    let mut node = Pointsman::builder()
        .service(
            &Service::http("web")
                .hosts("web.test")
                .upstream(origin.addr()),
        )
        .service(&Service::http("empty").hosts("empty.test"))
        .start();
    let mut browser = Browser::start(DESK);
    browser.open(&url(&node, ""));
    browser.wait_for(GREEN);
    browser.wait_for(
        "document.querySelector('.all-well').innerText.includes('The next certificate ends in 89')",
    );
    browser.wait_for("document.querySelector('.figures').innerText.includes('next ends in 89')");
    // Few errors among many good answers are no line of their own, and not nothing either.
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let _over = Over(&is_over);
        scope.spawn(|| {
            for i in (0..100).cycle() {
                if is_over.load(Ordering::Relaxed) {
                    break;
                }
                node.get("web.test", if i == 50 { "/bad" } else { "/" });
                thread::sleep(Duration::from_millis(5));
            }
        });
        browser.wait_for(
            "document.querySelector('.in-doubt').innerText.includes('errors are answered')",
        );
    });
    browser.wait_for(GREEN);
    node.get("empty.test", "/");
    browser.wait_for(&format!("!{GREEN}"));
    browser.wait_for(GREEN);
    node.kill();
    browser.wait_for(
        "document.querySelector('.in-doubt').innerText.includes('The node does not answer.')",
    );
}

#[test]
fn nodes_that_run_other_keys_or_are_gone_are_told() {
    let three = Three::start();
    // What the node itself says, with another digest: as another node's file beside its own.
    let board = three.node.keys_dir();
    let board = board.with_file_name(format!(
        "{}.status/nodes",
        board.file_name().expect("a name").display()
    ));
    let own = || {
        let mut files = fs::read_dir(&board).ok()?.flatten().map(|file| file.path());
        files.find(|path| path.extension().is_some_and(|e| e == "json"))
    };
    support::wait_until("its own file", || own().is_some());
    let own = own().expect("a file");
    let mut status: Value = serde_json::from_slice(&fs::read(own).expect("read")).expect("JSON");
    status["node"] = json!("stale");
    status["digest"] = json!("0123456789abcdef");
    status["revision"] = json!(1);
    let file = board.join("stale.json");
    let ends = Arc::new(AtomicBool::new(false));
    let over = ends.clone();
    // It is alive for as long as it writes.
    let writer = std::thread::spawn(move || {
        while !over.load(Ordering::Relaxed) {
            let beside = file.with_extension("new");
            fs::write(&beside, status.to_string()).expect("write");
            fs::rename(&beside, &file).expect("rename");
            std::thread::sleep(Duration::from_millis(500));
        }
    });

    let mut browser = Browser::start(DESK);
    // The one that is gone is told so by the page's reading of `gone_since` alone.
    browser.always_run(
        "const asked = window.fetch; window.fetch = async (path, options) => { \
         const answer = await asked(path, options); if (path != './v1/nodes') return answer; \
         const body = await answer.json(); \
         body.nodes.push({ ...body.nodes[0], node: 'dead', gone_since: body.nodes[0].started }); \
         return new Response(JSON.stringify(body)); };",
    );
    browser.open(&url(&three.node, "#overview?all=1"));
    browser.wait_for(&says("node dead", "Node dead is gone"));
    browser.wait_for(&says("node stale", "is behind: it runs older keys"));
    browser.wait_for(
        "document.querySelector('.nav [href=\"#nodes\"] .nav-count').innerText == '2 of 3'",
    );
    browser.click("[data-problem='node dead'] a");
    browser.wait_for("document.querySelector('[data-node=dead] [data-state=gone]')");
    is_quiet(&mut browser, &three.node);
    ends.store(true, Ordering::Relaxed);
    writer.join().expect("it wrote");
}

#[test]
fn tcp_services_are_marked_wherever_they_are_named() {
    let three = Three::start();
    let mut browser = Browser::start(DESK);
    browser.open(&url(&three.node, ""));
    browser.wait_for(
        "document.querySelector('[data-problem=\"down tcp-services/db\"] h3 .tag').innerText == 'tcp'",
    );
    browser.eval("location.hash = 'upstreams?q=db'");
    browser.wait_for("document.querySelector('td.service .tag').innerText == 'tcp'");
    browser.eval("location.hash = 'listeners'");
    browser.wait_for("document.querySelector('.service-link .tag').innerText == 'tcp'");
}

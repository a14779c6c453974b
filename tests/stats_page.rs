//! The stats page, as a browser shows it: Chromium over the real program.

#[path = "stats_page/looks.rs"]
mod looks;
#[path = "stats_page/problems.rs"]
mod problems;
mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use support::browser::{Browser, DESK, PHONE, Screen};
use support::client::get;
use support::free_port;
use support::origin::Origin;
use support::pointsman::{Builder, Pointsman, Service, local};
use tempfile::TempDir;

const ADMIN: &str = "a-token-of-who-may-change";
const READER: &str = "a-token-of-who-may-read";
const MANY: usize = 10_000;

/// A node with three services: one is up, one lacks an upstream, one is down.
struct Three {
    node: Pointsman,
    _origins: [Origin; 3],
    _tokens: TempDir,
}

impl Three {
    /// Everybody who reaches it reads.
    fn start() -> Self {
        Self::with(|builder, _| builder)
    }

    /// Who has a token reads, or changes too.
    fn guarded() -> Self {
        Self::with(|builder, dir| {
            let admin = token_file(dir, "admin", ADMIN);
            let reader = token_file(dir, "reader", READER);
            builder.args(&["--api-token-file", &admin, "--api-read-token-file", &reader])
        })
    }

    fn with(more: impl FnOnce(Builder, &Path) -> Builder) -> Self {
        let origins = [(); 3].map(|()| Origin::saying("here"));
        let [a, b, c] = [0, 1, 2].map(|i| origins[i].addr());
        let checked = |service: Service| {
            service
                .key("health_check", "tcp")
                .key("health_check_interval", "200ms")
                .key("health_check_fall", "1")
        };
        let nobody = || local(free_port());
        let tokens = tempfile::tempdir().expect("a directory");
        let builder = Pointsman::builder()
            .service(
                &Service::http("web")
                    .hosts("web.test,www.web.test")
                    .upstream(a)
                    .upstream(b),
            )
            .service(&checked(
                Service::http("api")
                    .hosts("api.test")
                    .upstream(c)
                    .upstream(nobody()),
            ))
            .service(&checked(Service::tcp("db", free_port()).upstream(nobody())));
        Self {
            node: more(builder, tokens.path()).start(),
            _origins: origins,
            _tokens: tokens,
        }
    }
}

fn token_file(dir: &Path, name: &str, token: &str) -> String {
    let file = dir.join(name);
    fs::write(&file, token).expect("write");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).expect("chmod");
    file.to_str().expect("text").to_owned()
}

/// Ten thousand services of one upstream, a few of which are not well.
fn many() -> (Pointsman, Origin) {
    let origin = Origin::saying("here");
    let mut builder = Pointsman::builder().without_waiting();
    for i in 0..MANY {
        let service = Service::http(&format!("service-{i:05}"))
            .hosts(&format!("s{i:05}.test"))
            .upstream(origin.addr());
        let service = match i {
            // Nothing listens there.
            4711 => service
                .key("health_check", "tcp")
                .key("upstreams/a", "127.0.0.1:1"),
            _ => service,
        };
        builder = builder.service(&service);
    }
    let mut node = builder.start();
    node.wait_until_ready();
    node.put("services/service-00023/balance", "sideways");
    (node, origin)
}

fn url(node: &Pointsman, hash: &str) -> String {
    format!("http://{}/{hash}", node.stats())
}

fn with_token(screen: Screen, token: &str) -> Browser {
    let mut browser = Browser::start(screen);
    browser.always_send(json!({"Authorization": format!("Bearer {token}")}));
    browser
}

fn row(unit: &str, state: &str) -> String {
    format!("document.querySelector('[data-unit=\"{unit}\"] [data-state=\"{state}\"]')")
}

/// Nobody but the node was asked, and nothing was said to developers.
#[track_caller]
fn is_quiet(browser: &mut Browser, node: &Pointsman) {
    assert_eq!(browser.problems(), Vec::<String>::new());
    let own = url(node, "");
    let requests = browser.requests();
    let foreign: Vec<_> = requests
        .iter()
        .filter(|url| !url.starts_with(&own) && !url.starts_with("data:"))
        .collect();
    assert!(foreign.is_empty(), "{foreign:?}");
    assert!(requests.len() > 5, "{requests:?}");
}

fn names(browser: &mut Browser) -> Vec<String> {
    let names = browser
        .eval("[...document.querySelectorAll('tr.row .opener-name')].map(e => e.textContent)");
    serde_json::from_value(names).expect("texts")
}

#[test]
fn three_services_show_with_their_states_and_nobody_else_is_asked() {
    let three = Three::start();
    let mut browser = Browser::start(DESK);
    browser.open(&url(&three.node, ""));
    browser.wait_for(&row("services/web", "up"));
    browser.wait_for(&row("services/api", "degraded"));
    browser.wait_for(&row("tcp-services/db", "down"));
    assert_eq!(names(&mut browser), ["api", "db", "web"]);
    browser.wait_for("document.querySelector('.link-live')");
    // Why, without a click.
    browser.wait_for("document.querySelector('[data-problem=\"down tcp-services/db\"] .reason').textContent.includes('refused')");
    browser.wait_for("document.querySelector('[data-problem=\"down services/api\"]')");

    let start = three.node.get("web.test", "/");
    assert_eq!(start.status(), 200);
    browser.click("[data-row=\"http/web\"]");
    browser.wait_for("document.querySelectorAll('[data-upstream]').length == 2");
    browser.wait_for("document.querySelector('.answer').textContent.includes('2xx')");
    // The place is in the address: it is the same after a reload.
    let hash = browser.eval("location.hash");
    assert_eq!(hash, "#overview?open=http%2Fweb");
    browser.reload();
    browser.wait_for("document.querySelectorAll('[data-upstream]').length == 2");
    for view in [
        "upstreams",
        "listeners",
        "certificates",
        "generations",
        "nodes",
        "events",
    ] {
        browser.eval(&format!("location.hash = '{view}'"));
        browser.wait_for(&format!(
            "document.querySelector('[aria-current]').hash == '#{view}' && document.querySelector('tbody tr td')"
        ));
    }
    browser.eval("history.back()");
    browser.wait_for("document.querySelector('[aria-current]').hash == '#nodes'");
    is_quiet(&mut browser, &three.node);
}

#[test]
fn a_wrong_key_shows_with_its_diagnostic_and_goes_when_it_is_right() {
    let three = Three::start();
    let mut browser = Browser::start(DESK);
    browser.open(&url(&three.node, ""));
    browser.wait_for(&row("services/web", "up"));
    three.node.put("services/web/balance", "leastcom");
    let told = "document.querySelector('[data-problem=\"refused services/web\"]').innerText";
    for words in [
        "services/web is refused; its last good form serves",
        "balance \"leastcom\" is unknown",
        "did you mean \"leastconn\"?",
        "key services/web/balance",
        "services/web, line ",
    ] {
        browser.wait_for(&format!(
            "{told}.replace(/\\s+/g, ' ').includes({})",
            json!(words)
        ));
    }
    browser.wait_for(&row("services/web", "refused"));
    three.node.put("services/web/balance", "leastconn");
    browser.wait_for("!document.querySelector('[data-problem=\"refused services/web\"]')");
    browser.wait_for(&format!("!{}", row("services/web", "refused")));

    // A name is text, whatever is in it.
    three
        .node
        .put("services/web/<img src=x onerror=alert(1)>", "1");
    browser.wait_for("document.querySelector('.problems').innerText.includes('<img src=x')");
    assert_eq!(browser.eval("document.querySelectorAll('img').length"), 0);
    is_quiet(&mut browser, &three.node);
}

#[test]
fn ten_thousand_services_are_searched_sorted_and_paged() {
    let (node, _origin) = many();
    let mut browser = Browser::start(DESK);
    browser.open(&url(&node, ""));
    browser.wait_for("document.querySelectorAll('tr.row').length == 50");
    browser.wait_for("document.querySelector('.pager-at').innerText == 'page 1 of 200'");
    assert_eq!(names(&mut browser)[0], "service-00000");
    browser.press("]");
    browser.wait_for("document.querySelector('.pager-at').innerText == 'page 2 of 200'");
    assert_eq!(names(&mut browser)[0], "service-00050");

    browser.click("[data-sort=name]");
    browser.wait_for("document.querySelector('[aria-sort=descending] [data-sort=name]')");
    browser
        .wait_for("document.querySelector('tr.row .opener-name').textContent == 'service-09999'");
    browser.eval("history.back()");
    browser.wait_for("document.querySelector('.pager-at').innerText == 'page 2 of 200'");

    browser.press("/");
    browser.type_text("s04711");
    browser.wait_for("document.querySelectorAll('tr.row').length == 1");
    assert_eq!(names(&mut browser), ["service-04711"]);
    // What is typed stays while the figures go on.
    assert_eq!(browser.eval("document.activeElement.value"), "s04711");
    browser.press("Escape");
    browser.wait_for("document.querySelectorAll('tr.row').length == 50");

    browser.eval(
        "(() => { const s = document.querySelector('[data-choice=State]'); s.value = 'down'; \
         s.dispatchEvent(new Event('change')); })()",
    );
    browser.wait_for(&row("services/service-04711", "down"));
    assert_eq!(names(&mut browser), ["service-04711"]);
    browser.eval("location.hash = 'overview?state=refused'");
    browser.wait_for(&row("services/service-00023", "refused"));
    assert_eq!(names(&mut browser), ["service-00023"]);
    browser.wait_for("document.querySelector('[data-problem=\"refused services/service-00023\"]')");
    is_quiet(&mut browser, &node);
}

#[test]
fn who_may_change_drains_here_and_who_reads_cannot() {
    let three = Three::guarded();
    let open = "#overview?open=http/web";
    let mut reader = with_token(DESK, READER);
    reader.open(&url(&three.node, open));
    reader.wait_for("document.querySelectorAll('[data-upstream]').length == 2");
    assert_eq!(
        reader.eval("document.querySelectorAll('[data-drain]').length"),
        0
    );

    let mut admin = with_token(DESK, ADMIN);
    admin.open(&url(&three.node, open));
    // When these are told, nothing moves below them any more.
    admin.wait_for(
        "document.querySelector('[data-problem=\"down services/api\"]') && \
         document.querySelector('[data-problem=\"down tcp-services/db\"]') && document.querySelector('[data-drain=a]')",
    );
    // Said no to, nothing happens.
    admin.click("[data-drain=a]");
    admin.wait_for("document.getElementById('ask').open");
    admin.press("Escape");
    admin.wait_for("!document.getElementById('ask').open");
    admin.click("[data-drain=a]");
    admin.click("#ask-yes");
    admin.wait_for(
        "document.querySelector('#told[aria-live]').innerText.includes('is drained from revision')",
    );
    admin.wait_for("document.querySelector('[data-upstream=a] [data-state=drained]')");
    admin.wait_for("document.querySelector('[data-upstream=b] [data-state=unchecked]')");
    // Whoever looks on sees it too.
    reader.wait_for("document.querySelector('[data-upstream=a] [data-state=drained]')");
    admin.click("[data-drain=a]");
    admin.click("#ask-yes");
    admin.wait_for("document.querySelector('#told').innerText.includes('is not drained from')");
    admin.wait_for("document.querySelector('[data-upstream=a] [data-state=unchecked]')");
    admin.resize(PHONE);
    admin.click("[data-drain=b]");
    admin.wait_for("document.getElementById('ask').open");
    assert_eq!(admin.eval("document.scrollingElement.scrollWidth"), 390);
    is_quiet(&mut admin, &three.node);
    is_quiet(&mut reader, &three.node);
}

#[test]
fn everything_can_be_done_by_keyboard() {
    let three = Three::start();
    let mut browser = Browser::start(DESK);
    browser.open(&url(&three.node, ""));
    browser.wait_for("document.querySelectorAll('tr.row').length == 3");
    let focused = |browser: &mut Browser| -> Value {
        browser.eval("document.activeElement.dataset.row ?? document.activeElement.id ?? document.activeElement.className")
    };
    browser.press("Tab");
    assert_eq!(browser.eval("document.activeElement.className"), "skip");
    browser.press("/");
    assert_eq!(focused(&mut browser), "search");
    browser.press("ArrowDown");
    assert_eq!(focused(&mut browser), "http/api");
    browser.press("ArrowDown");
    browser.press("ArrowDown");
    assert_eq!(focused(&mut browser), "http/web");
    browser.press("Enter");
    browser.wait_for("document.querySelectorAll('[data-upstream]').length == 2");
    assert_eq!(
        browser.eval("document.activeElement.getAttribute('aria-expanded')"),
        "true"
    );
    // Two rounds of new figures later the focus is where it was.
    browser.eval("window.seen = performance.getEntriesByType('resource').length");
    browser.wait_for("performance.getEntriesByType('resource').length > window.seen + 4");
    assert_eq!(focused(&mut browser), "http/web");
    browser.press("ArrowLeft");
    browser.wait_for("document.querySelectorAll('[data-upstream]').length == 0");
    browser.press("ArrowUp");
    assert_eq!(focused(&mut browser), "tcp/db");
    browser.press("?");
    browser.wait_for("document.getElementById('help').open");
    browser.press("Escape");
    browser.wait_for("!document.getElementById('help').open");
    browser.press("p");
    browser.wait_for("document.getElementById('pause').getAttribute('aria-pressed') == 'true'");
    browser.press("p");
    browser.press("t");
    browser.wait_for("document.documentElement.dataset.theme == 'light'");
    browser.press("t");
    browser.reload();
    browser.wait_for(
        "document.documentElement.dataset.theme == 'dark' && document.querySelector('tr.row')",
    );
    browser.press("7");
    browser.wait_for("document.querySelector('[aria-current]').hash == '#events'");
    // All that can be reached has a name.
    let nameless = browser.eval(
        "[...document.querySelectorAll('button, a, input, select')].filter(e => \
         !(e.innerText || e.closest('dialog') || e.getAttribute('aria-label') || e.closest('label')?.innerText)).map(e => e.outerHTML)",
    );
    assert_eq!(nameless, json!([]));
    is_quiet(&mut browser, &three.node);
}

#[test]
fn a_phone_shows_all_without_moving_sideways() {
    let three = Three::start();
    three.node.put("services/web/balance", "leastcom");
    let mut browser = Browser::start(PHONE);
    browser.open(&url(&three.node, "#overview?open=http/web&open=tcp/db"));
    browser.wait_for("document.querySelectorAll('[data-upstream]').length == 3");
    browser.wait_for("document.querySelector('[data-problem]')");
    let width = |browser: &mut Browser| browser.eval("document.scrollingElement.scrollWidth");
    assert_eq!(width(&mut browser), 390);
    browser.wait_for("document.querySelector('.refusal')");
    assert_eq!(width(&mut browser), 390);
    for view in [
        "upstreams",
        "listeners",
        "certificates",
        "generations",
        "nodes",
        "events",
    ] {
        browser.eval(&format!("location.hash = '{view}'"));
        browser.wait_for(&format!(
            "document.querySelector('[aria-current]').hash == '#{view}' && document.querySelector('tbody tr td')"
        ));
        assert_eq!(width(&mut browser), 390, "{view}");
    }
    is_quiet(&mut browser, &three.node);
}

#[test]
fn a_node_that_goes_away_is_seen_and_found_again() {
    let mut three = Three::start();
    let mut browser = Browser::start(DESK);
    browser.open(&url(&three.node, ""));
    browser.wait_for(&row("services/web", "up"));
    three.node.kill();
    browser.wait_for("document.querySelector('.link-lost').innerText.startsWith('lost for')");
    // What was known stays to be read.
    assert_eq!(names(&mut browser).len(), 3);
    three.node.start_again();
    three.node.wait_until_ready();
    browser.wait_for("document.querySelector('.link-live, .link-polling')");
    browser.wait_for(&row("services/web", "up"));
}

/// `scripts/screenshots` runs it: pictures for the docs, and how soon ten thousand services are painted.
#[test]
#[ignore = "makes docs/screenshots: scripts/screenshots"]
fn pictures() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/screenshots");
    fs::create_dir_all(&dir).expect("a directory");
    let three = Three::start();
    three.node.put("services/web/balance", "leastcom");
    let (ten_thousand, _origin) = many();
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let _over = Over(&is_over);
        // Else there would be nothing to see in the charts.
        for (node, hosts) in [
            (&three.node, &["web.test", "web.test", "api.test"][..]),
            (&ten_thousand, &["s00001.test", "s00002.test"]),
        ] {
            let is_over = &is_over;
            scope.spawn(move || {
                for host in hosts.iter().cycle() {
                    if is_over.load(Ordering::Relaxed) {
                        break;
                    }
                    node.get(host, "/");
                    thread::sleep(Duration::from_millis(fastrand::u64(1..40)));
                }
            });
        }
        take_pictures(
            &dir,
            &[
                ("3", &three.node, "#overview?open=http/api"),
                ("10000", &ten_thousand, ""),
            ],
        );
    });
}

/// Set when it goes, however that comes.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn take_pictures(dir: &Path, nodes: &[(&str, &Pointsman, &str)]) {
    // A few points of the last hour.
    for (_, node, _) in nodes {
        for points in 1..6 {
            support::wait_until("another point", || {
                overview(node)["history"]["requests_per_s"]
                    .as_array()
                    .is_some_and(|all| all.len() > points)
            });
        }
    }
    for (name, node, hash) in nodes {
        for (width, height) in [(1280, 1240), (390, 1900)] {
            for is_dark in [false, true] {
                let mut browser = Browser::start(Screen {
                    width,
                    height,
                    is_dark,
                });
                browser.open(&url(node, hash));
                browser.wait_for(
                    "document.querySelector('tr.row') && document.querySelectorAll('[data-problem]').length > 1 && \
                     document.querySelector('.link-live') && document.querySelector('.chart-line').getAttribute('d') && \
                     (!location.hash || document.querySelector('[data-upstream]'))",
                );
                let painted = browser
                    .eval("performance.getEntriesByName('first-contentful-paint')[0].startTime");
                let look = if is_dark { "dark" } else { "light" };
                println!(
                    "{name} services, {width} px, {look}: first contentful paint after {painted} ms"
                );
                let file = dir.join(format!("{name}-{width}-{look}.png"));
                fs::write(file, browser.picture()).expect("write");
            }
        }
    }
}

fn overview(node: &Pointsman) -> Value {
    let answer = get(node.stats(), "localhost", "/v1/overview?history=1");
    serde_json::from_slice(&answer.body.bytes).expect("JSON")
}

//! How the page says things: charts, words of events, long names, what a phone shows, and what a keyboard leads to.

use super::*;

#[test]
fn a_service_of_which_all_is_drained_says_so_and_is_undrained() {
    let three = Three::guarded();
    three.node.put("services/api/drain", "a");
    let mut browser = with_token(DESK, ADMIN);
    browser.open(&url(&three.node, "#overview?open=http/api"));
    // Not counted as up, and not forgotten.
    browser.wait_for(
        "document.querySelector('[data-unit=\"services/api\"] .meter').innerText == '0/2 · 1 drained'",
    );
    browser.wait_for(
        "/drained\\s+· up/.test(document.querySelector('[data-upstream=a] .states').innerText)",
    );
    three.node.put("services/api/drain", "a,b");
    browser.wait_for(&row("services/api", "drained"));
    browser.wait_for(
        "document.querySelector('[data-problem=\"down services/api\"]').innerText.includes('is drained')",
    );
    browser.wait_for("document.querySelector('.figures [data-state=drained]')");
    browser.wait_for(
        "/drained\\s+· down/.test(document.querySelector('[data-upstream=b] .states').innerText)",
    );
    browser.eval("location.hash = 'overview?state=drained&open=http/api'");
    browser.wait_for("document.querySelectorAll('tr.row').length == 1");
    // By keyboard alone: the focus is at what undoes it, and the other way round.
    for (words, next) in [("Undrain", "Drain"), ("Drain", "Undrain")] {
        browser.wait_for(&format!(
            "document.querySelector('[data-drain=a]').innerText == '{words}'"
        ));
        browser.eval("document.querySelector('[data-drain=a]').focus()");
        browser.press("Enter");
        browser.wait_for("document.getElementById('ask').open");
        browser.press("Tab");
        browser.wait_for("document.activeElement.id == 'ask-yes'");
        browser.press("Enter");
        browser.eval("location.hash = 'overview?open=http/api'");
        browser.wait_for(&format!(
            "document.querySelector('[data-drain=a]').innerText == '{next}' && \
             document.activeElement == document.querySelector('[data-drain=a]')"
        ));
    }
    is_quiet(&mut browser, &three.node);
}

#[test]
fn charts_end_with_what_is_shown_beside_them_and_begin_an_hour_ago() {
    let three = Three::start();
    let mut browser = Browser::start(DESK);
    browser.open(&url(&three.node, ""));
    browser.wait_for("document.querySelectorAll('.charts .chart-line').length > 3");
    let plot = "[...document.querySelectorAll('.charts figure')].find(e => e.innerText.includes('Connections'))";
    let clients = [(); 7].map(|()| {
        let mut client = three.node.client();
        assert_eq!(client.get("web.test", "/").status(), 200);
        client
    });
    browser.wait_for(&format!(
        "{plot}.querySelector('.chart-lead').innerText.startsWith('7')"
    ));
    // The history has no such point for ten seconds.
    browser.wait_for(&format!(
        "{plot}.querySelector('[role=img]').getAttribute('aria-label').includes('connections: 7 now')"
    ));
    browser.wait_for(&format!(
        "{plot}.querySelector('.chart-line').getAttribute('d').includes('720.0')"
    ));
    assert_eq!(
        browser.eval(&format!(
            "{plot}.querySelector('.chart-x').firstChild.innerText"
        )),
        "60 min ago"
    );
    drop(clients);
}

#[test]
fn events_are_told_in_words() {
    let three = Three::start();
    three.node.put("services/web/no_such_key", "1");
    let mut browser = Browser::start(DESK);
    browser.open(&url(&three.node, "#events"));
    let what = |event: &str| {
        format!(
            "document.querySelector('[data-event={event}] td.changes').innerText.replace(/\\s+/g, ' ')"
        )
    };
    browser.wait_for(&format!(
        "/^unit accepted, but warning: .*no_such_key/.test({})",
        what("unit_warned")
    ));
    browser.wait_for(&format!("/took [\\d.]+ m?s$/.test({})", what("swapped")));
    browser.wait_for(
        "document.querySelector('[data-event=unit_warned] .service-link').innerText == 'web'",
    );
    three.node.put("tcp-services/db/no_such_key", "1");
    browser.wait_for(
        "document.querySelector('[data-event=unit_warned] .service-link .tag').innerText == 'tcp'",
    );
    let broken = browser.eval(
        "[...document.querySelectorAll('.event-name code')].filter(e => e.getClientRects().length > 1 || e.offsetHeight > 24).length",
    );
    assert_eq!(broken, 0);
}

#[test]
fn a_phone_shows_what_a_desk_shows() {
    let three = Three::start();
    let name =
        "a-service-with-a-name-that-nobody-would-choose-who-had-to-read-it-every-day-of-the-year";
    three.node.put_service(
        &Service::http(name)
            .hosts("long.test")
            .upstream(three._origins[0].addr()),
    );
    three.node.put("services/web/balance", "leastcom");
    let mut browser = Browser::start(PHONE);
    browser.open(&url(&three.node, "#overview?open=tcp/db&open=http/api"));
    browser.wait_for("document.querySelectorAll('[data-upstream]').length == 3");
    browser.wait_for("document.querySelectorAll('[data-problem] a').length > 2");
    let low = "[...document.querySelectorAll('main a')].filter(e => e.getBoundingClientRect().height < 24).map(e => e.outerHTML)";
    assert_eq!(browser.eval(low), json!([]));
    // Shown at all means with a height.
    assert_eq!(
        browser.eval("[...document.querySelectorAll('td[data-label=p50]')].filter(e => e.offsetHeight == 0).length"),
        0
    );
    browser.wait_for("document.getElementById('nav').classList.contains('has-more')");
    browser.wait_for(&format!(
        "document.querySelector('[data-unit=\"services/{name}\"]')"
    ));
    let clamp = format!("document.querySelector('[data-unit=\"services/{name}\"] .opener-name')");
    assert_eq!(
        browser.eval(&format!("getComputedStyle({clamp}).webkitLineClamp")),
        "2"
    );
    assert_eq!(
        browser.eval(&format!("{clamp}.closest('[title]').title")),
        format!("services/{name}")
    );
    // The reason of a check is not cut anywhere.
    let cut = browser.eval(
        "[...document.querySelectorAll('.check-words')].filter(e => !e.innerText || e.scrollWidth > e.parentElement.clientWidth).length",
    );
    assert_eq!(cut, 0);
    browser.eval("location.hash = 'events'");
    browser.wait_for("document.getElementById('nav').classList.contains('has-less')");
    browser.wait_for("!document.getElementById('nav').classList.contains('has-more')");
    assert_eq!(browser.eval("document.scrollingElement.scrollWidth"), 390);
    assert_eq!(
        browser.eval("(b => b.getAttribute('aria-label').includes(b.innerText))(document.getElementById('theme'))"),
        true
    );
    // Sixteen digits are not read by anybody.
    let revision = "document.querySelector('#node .id')";
    let text = browser.eval(&format!("{revision}.innerText"));
    assert!(text.as_str().is_some_and(|text| text.len() <= 9), "{text}");
}

#[test]
fn below_stats_uri_nobody_asks_for_the_stream() {
    let three = Three::with(|builder, _| {
        builder
            .setting("stats_uri", "/lbstats")
            .setting("stats_auth", "none")
    });
    let mut browser = Browser::start(DESK);
    browser.open(&format!("http://{}/lbstats/", three.node.http()));
    browser.wait_for(&row("services/web", "up"));
    browser.wait_for("document.querySelector('.link-polling')");
    browser.wait_for("performance.getEntriesByType('resource').filter(e => e.name.endsWith('/v1/overview')).length > 2");
    let requests = browser.requests();
    assert!(
        !requests.iter().any(|url| url.ends_with("/stream")),
        "{requests:?}"
    );
    assert_eq!(browser.problems(), Vec::<String>::new());
}

#[test]
fn a_service_that_never_served_opens_into_why() {
    let three = Three::start();
    three.node.put("services/new/hosts", "new.test");
    three.node.put("services/new/balance", "sideways");
    let mut browser = Browser::start(DESK);
    browser.open(&url(&three.node, ""));
    browser.wait_for(&row("services/new", "refused"));
    browser.click("[data-problem='refused services/new'] a");
    browser.wait_for(
        "document.querySelector('.detail .diagnostic').innerText.includes('balance \"sideways\" is unknown')",
    );
    is_quiet(&mut browser, &three.node);
}

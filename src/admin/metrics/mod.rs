//! `/metrics`, as Prometheus reads them: what the status says, as numbers.
//!
//! How many series there are depends on services, upstreams and certificates, and never on paths or clients. Everything
//! is read when it is asked for: nothing is counted for it on the way of a request.

mod page;
pub(super) mod process;

use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use tokio::sync::Semaphore;

use super::Views;
use super::views::{mode, refused_units};
use crate::balance::{Health, Member};
use crate::events;
use crate::plan::{Plan, Service};
use crate::status::Phase;

use page::{Labels, Page};
use process::of_process;

const FORMAT: &str = "text/plain; version=0.0.4; charset=utf-8";

const GAUGE: &str = "gauge";
const COUNTER: &str = "counter";

/// Of services: name, kind, help and value.
const OF_SERVICES: [Family<Service>; 6] = [
    (
        "pointsman_service_active",
        GAUGE,
        "Requests and flows that have a place at the service; only services with max_connections count them",
        |service| u64::from(service.state.gate.active()),
    ),
    (
        "pointsman_service_queued",
        GAUGE,
        "Requests and flows that wait for a place at the service",
        |service| service.state.gate.queued() as u64,
    ),
    (
        "pointsman_service_flows_total",
        COUNTER,
        "TCP flows and upgraded connections that have ended",
        |service| service.state.flows(),
    ),
    (
        "pointsman_service_failures_total",
        COUNTER,
        "Requests and connections that no upstream answered",
        |service| service.state.failures(),
    ),
    (
        "pointsman_service_turned_away_total",
        COUNTER,
        "Requests and connections turned away before an upstream was chosen",
        |service| service.state.turned_away(),
    ),
    (
        "pointsman_service_client_faults_total",
        COUNTER,
        "Requests whose clients left before the answer, or sent no whole or no good body",
        |service| service.state.client_faults(),
    ),
];

const OF_UPSTREAMS: [Family<Member>; 8] = [
    (
        "pointsman_upstream_up",
        GAUGE,
        "1 if the upstream is given traffic by its health, 0 if it is down or not checked yet",
        |member| u64::from(member.state.health() == Health::Up),
    ),
    (
        "pointsman_upstream_weight",
        GAUGE,
        "The upstream's weight; 0 takes nothing new",
        |member| u64::from(member.weight),
    ),
    (
        "pointsman_upstream_in_flight",
        GAUGE,
        "Requests and flows under way at the upstream",
        |member| u64::from(member.state.in_flight()),
    ),
    (
        "pointsman_upstream_served_total",
        COUNTER,
        "Requests and flows that were given to the upstream",
        |member| member.state.served(),
    ),
    (
        "pointsman_upstream_connect_failures_total",
        COUNTER,
        "Connections to the upstream that could not be made",
        |member| member.state.connect_failures(),
    ),
    (
        "pointsman_upstream_failed_total",
        COUNTER,
        "Requests and flows given to the upstream that came to nothing, or to a 5xx",
        |member| member.state.failed(),
    ),
    (
        "pointsman_upstream_failed_checks_total",
        COUNTER,
        "Health checks that the upstream did not pass",
        |member| member.state.failed_checks(),
    ),
    (
        "pointsman_upstream_downs_total",
        COUNTER,
        "How often the upstream went down",
        |member| member.state.downs(),
    ),
];

/// Upper ends of the histogram, as Prometheus' libraries have them, with two for what is quicker.
const LATENCIES: [Duration; 13] = {
    const fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }
    [
        ms(1),
        Duration::from_micros(2_500),
        ms(5),
        ms(10),
        ms(25),
        ms(50),
        ms(100),
        ms(250),
        ms(500),
        ms(1_000),
        ms(2_500),
        ms(5_000),
        ms(10_000),
    ]
};

type Family<T> = (&'static str, &'static str, &'static str, fn(&T) -> u64);

/// What the last page took, and a little more: growing one of megabytes copies it again and again.
static LENGTH: AtomicUsize = AtomicUsize::new(0);

/// Pages that are being written at once: one of ten thousand services is megabytes.
static PAGES: Semaphore = Semaphore::const_new(2);

pub(super) async fn metrics(State(views): State<Views>) -> Response {
    let Ok(page) = PAGES.try_acquire() else {
        let retry = [(header::RETRY_AFTER, "1")];
        return (StatusCode::SERVICE_UNAVAILABLE, retry, "busy with others\n").into_response();
    };
    // Ten thousand services take milliseconds to write, and others wait for this thread.
    let text = tokio::task::spawn_blocking(move || {
        // Also when nobody waits for it any more.
        let _page = page;
        text(&views)
    });
    match text.await {
        Ok(text) => ([(header::CONTENT_TYPE, FORMAT)], text).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

fn text(views: &Views) -> String {
    let generation = views.shared.published.current();
    let mut page = Page::with_capacity(LENGTH.load(Relaxed));
    let services: Vec<_> = generation
        .plan
        .services()
        .map(|s| Labelled::new(s))
        .collect();
    of_node(&mut page, views);
    of_stores(&mut page, views);
    of_services(&mut page, &services);
    of_latencies(&mut page, &services);
    of_refusals(&mut page, views);
    of_events(&mut page);
    of_certificates(&mut page, &generation.plan);
    of_process(&mut page);
    let text = page.text();
    LENGTH.store(text.len() + text.len() / 16, Relaxed);
    text
}

fn of_node(page: &mut Page, views: &Views) {
    let (shared, node) = (&views.shared, views.status.borrow().brief());
    let version = [("version", node.version.as_str())];
    page.family("pointsman_build_info", GAUGE, "The program's version");
    page.sample("pointsman_build_info", &version, 1);
    let nodes = views.nodes.counts();
    let is_ready = node.phase == Phase::Running;
    for (name, kind, help, value) in [
        (
            "pointsman_ready",
            GAUGE,
            "1 from the first good generation on and until the node drains",
            u64::from(is_ready),
        ),
        (
            "pointsman_generation",
            GAUGE,
            "Swaps of this process so far",
            node.generation,
        ),
        (
            "pointsman_revision",
            GAUGE,
            "The newest revision of the key tree that was worked through",
            node.revision,
        ),
        (
            "pointsman_generations_draining",
            GAUGE,
            "Replaced generations that are still in use",
            shared.published.free_retired() as u64,
        ),
        (
            "pointsman_units_refused",
            GAUGE,
            "Services, certificates and settings that did not go live as their keys say",
            node.refused_total as u64,
        ),
        (
            "pointsman_warnings",
            GAUGE,
            "Warnings about what went live",
            node.warnings_total as u64,
        ),
        (
            "pointsman_connections",
            GAUGE,
            "Client connections that are open",
            shared.connections() as u64,
        ),
        (
            "pointsman_nodes",
            GAUGE,
            "Living nodes of the balancer, as this one sees them",
            (nodes.total - nodes.gone) as u64,
        ),
        (
            "pointsman_checks_late",
            GAUGE,
            "Upstreams whose health check is late by more than its interval and its timeout",
            shared.checks_late() as u64,
        ),
        (
            "pointsman_requests_rejected_total",
            COUNTER,
            "Requests refused for what they are",
            shared.rejected(),
        ),
        (
            "pointsman_requests_unrouted_total",
            COUNTER,
            "Requests of a host or a path that no service has",
            shared.unrouted(),
        ),
        (
            "pointsman_access_log_dropped_total",
            COUNTER,
            "Lines of the access log that were lost",
            shared.access_log_dropped(),
        ),
    ] {
        page.family(name, kind, help);
        page.sample(name, &[], value);
    }
}

fn of_stores(page: &mut Page, views: &Views) {
    let stores = views.stores.health();
    let mut family = |name, help, value: fn(&crate::store::StoreHealth) -> u64| {
        page.family(name, GAUGE, help);
        for store in &stores {
            page.sample(name, &[("store", &store.store)], value(store));
        }
    };
    family(
        "pointsman_store_connected",
        "1 while changes of the store are followed",
        |store| u64::from(store.connected),
    );
    family(
        "pointsman_store_held",
        "1 while a tree without services is held back",
        |store| u64::from(store.held_since.is_some()),
    );
    family(
        "pointsman_store_keys",
        "Keys in the newest tree of the store",
        |store| store.keys as u64,
    );
    family(
        "pointsman_store_problems",
        "Keys that were left out of the tree",
        |store| store.problems as u64,
    );
}

/// A service with the labels of its samples, and so its members.
struct Labelled<'a> {
    service: &'a Service,
    labels: Labels,
    members: Vec<(&'a Member, Labels)>,
}

impl<'a> Labelled<'a> {
    fn new(service: &'a Service) -> Self {
        let (name, mode) = (service.config.name.as_str(), mode(service));
        let own = [("service", name), ("mode", mode)];
        let of_member = |member: &'a Member| {
            let upstream = ("upstream", member.name.as_str());
            (member, Labels::new(&[own[0], own[1], upstream]))
        };
        Self {
            service,
            labels: Labels::new(&own),
            members: service.members.iter().map(of_member).collect(),
        }
    }
}

fn of_services(page: &mut Page, services: &[Labelled<'_>]) {
    const RESPONSES: &str = "pointsman_service_responses_total";
    const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];
    let codes = CLASSES.map(|class| format!(",code=\"{class}\""));
    page.family(RESPONSES, COUNTER, "Answers of upstreams by class");
    for own in services.iter().filter(|s| s.service.tcp_port().is_none()) {
        for (code, count) in codes.iter().zip(own.service.state.answers()) {
            page.count(RESPONSES, &own.labels, code, count);
        }
    }
    const BYTES: &str = "pointsman_service_bytes_total";
    page.family(
        BYTES,
        COUNTER,
        "Bytes from clients (in) and to them (out), counted at the end of each request and flow",
    );
    for own in services {
        let (up, down) = own.service.state.bytes();
        page.count(BYTES, &own.labels, ",direction=\"in\"", up);
        page.count(BYTES, &own.labels, ",direction=\"out\"", down);
    }
    for (name, kind, help, value) in OF_SERVICES {
        page.family(name, kind, help);
        for own in services {
            page.count(name, &own.labels, "", value(own.service));
        }
    }
    for (name, kind, help, value) in OF_UPSTREAMS {
        page.family(name, kind, help);
        for (member, labels) in services.iter().flat_map(|own| &own.members) {
            page.count(name, labels, "", value(member));
        }
    }
}

/// Of services that were asked: a histogram has many series, and most services of many are quiet.
fn of_latencies(page: &mut Page, services: &[Labelled<'_>]) {
    const NAME: &str = "pointsman_service_latency_seconds";
    const BUCKET: &str = "pointsman_service_latency_seconds_bucket";
    const SUM: &str = "pointsman_service_latency_seconds_sum";
    const COUNT: &str = "pointsman_service_latency_seconds_count";
    page.family(
        NAME,
        "histogram",
        "HTTP: from the choice of the upstream to the head of its answer; TCP: until it is connected",
    );
    let bounds = LATENCIES.map(|bound| format!(",le=\"{}\"", bound.as_secs_f64()));
    for own in services {
        let counts = own.service.state.latencies.counts();
        let total = counts.total();
        if total == 0 {
            continue;
        }
        for (bound, within) in bounds.iter().zip(counts.within(LATENCIES)) {
            page.count(BUCKET, &own.labels, bound, within);
        }
        page.count(BUCKET, &own.labels, ",le=\"+Inf\"", total);
        page.seconds(SUM, &own.labels, counts.sum().as_secs_f64());
        page.count(COUNT, &own.labels, "", total);
    }
}

fn of_refusals(page: &mut Page, views: &Views) {
    const NAME: &str = "pointsman_unit_refused";
    page.family(
        NAME,
        GAUGE,
        "1 while the unit is refused as its keys say it; gone when it is accepted",
    );
    for unit in refused_units(&views.status) {
        page.sample(NAME, &[("unit", &unit)], 1);
    }
}

/// What is told in the log, by what is told.
fn of_events(page: &mut Page) {
    const NAME: &str = "pointsman_events_total";
    page.family(NAME, COUNTER, "What happened, as the log tells it: upstreams that come and go, refusals, trouble with stores");
    for ((level, event), count) in events::counts() {
        page.sample(NAME, &[("event", &event), ("level", level)], count);
    }
}

fn of_certificates(page: &mut Page, plan: &Plan) {
    const ENDS: &str = "pointsman_certificate_not_after_seconds";
    page.family(ENDS, GAUGE, "When the certificate ends, as a Unix time");
    for named in plan.certificates().iter() {
        let name = [("certificate", named.name.as_str())];
        page.sample(ENDS, &name, named.certificate.not_after());
    }
}

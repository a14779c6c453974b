//! `/metrics`, as Prometheus reads them: what the status says, as numbers.
//!
//! How many series there are depends on services, upstreams and certificates, and never on paths or clients. Everything
//! is read when it is asked for: nothing is counted for it on the way of a request.

use std::fmt::{Display, Write as _};
use std::time::{SystemTime, UNIX_EPOCH};

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use tokio::sync::Semaphore;

use super::Views;
use crate::balance::{Health, Member};
use crate::plan::{Plan, Service};
use crate::status::Phase;

/// The text format of 2014, which everything reads.
const FORMAT: &str = "text/plain; version=0.0.4; charset=utf-8";

const GAUGE: &str = "gauge";
const COUNTER: &str = "counter";

/// Of services: name, kind, help and value.
const OF_SERVICES: [Family<Service>; 5] = [
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
];

const OF_UPSTREAMS: [Family<Member>; 5] = [
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
];

type Family<T> = (&'static str, &'static str, &'static str, fn(&T) -> u64);

/// Pages that are being written at once: one of ten thousand services is megabytes.
static PAGES: Semaphore = Semaphore::const_new(2);

pub(super) async fn metrics(State(views): State<Views>) -> Response {
    let Ok(_page) = PAGES.try_acquire() else {
        let retry = [(header::RETRY_AFTER, "1")];
        return (StatusCode::SERVICE_UNAVAILABLE, retry, "busy with others\n").into_response();
    };
    // Ten thousand services take milliseconds to write, and others wait for this thread.
    match tokio::task::spawn_blocking(move || text(&views)).await {
        Ok(text) => ([(header::CONTENT_TYPE, FORMAT)], text).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

fn text(views: &Views) -> String {
    let generation = views.shared.published.current();
    let mut page = Page::default();
    of_node(&mut page, views);
    of_stores(&mut page, views);
    of_services(&mut page, &generation.plan);
    of_certificates(&mut page, &generation.plan);
    of_process(&mut page);
    page.0
}

fn of_node(page: &mut Page, views: &Views) {
    let (shared, node) = (&views.shared, views.status.borrow().clone());
    let version = [("version", node.version.as_str())];
    page.family("pointsman_build_info", GAUGE, "The program's version");
    page.sample("pointsman_build_info", &version, 1);
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
            "pointsman_requests_rejected_total",
            COUNTER,
            "Requests refused for what they are",
            shared.rejected(),
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

fn of_services(page: &mut Page, plan: &Plan) {
    const RESPONSES: &str = "pointsman_service_responses_total";
    const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];
    page.family(RESPONSES, COUNTER, "Answers of upstreams by class");
    for service in plan.services().filter(|s| s.tcp_port().is_none()) {
        for (class, count) in CLASSES.into_iter().zip(service.state.answers()) {
            let [name, mode] = labels_of(service);
            page.sample(RESPONSES, &[name, mode, ("code", class)], count);
        }
    }
    for (name, kind, help, value) in OF_SERVICES {
        page.family(name, kind, help);
        for service in plan.services() {
            page.sample(name, &labels_of(service), value(service));
        }
    }
    for (name, kind, help, value) in OF_UPSTREAMS {
        page.family(name, kind, help);
        for service in plan.services() {
            let [of, mode] = labels_of(service);
            for member in service.members.iter() {
                let upstream = ("upstream", member.name.as_str());
                page.sample(name, &[of, mode, upstream], value(member));
            }
        }
    }
}

fn labels_of(service: &Service) -> [(&'static str, &str); 2] {
    let mode = match service.tcp_port() {
        Some(_) => "tcp",
        None => "http",
    };
    [("service", service.config.name.as_str()), ("mode", mode)]
}

fn of_certificates(page: &mut Page, plan: &Plan) {
    const ENDS: &str = "pointsman_certificate_not_after_seconds";
    page.family(ENDS, GAUGE, "When the certificate ends, as a Unix time");
    for named in plan.certificates().iter() {
        let name = [("certificate", named.name.as_str())];
        page.sample(ENDS, &name, named.certificate.not_after());
    }
}

/// By the names that Prometheus' own libraries have for these.
fn of_process(page: &mut Page) {
    let Some(usage) = usage() else { return };
    for (name, kind, help, value) in [
        (
            "process_cpu_seconds_total",
            COUNTER,
            "User and system time of the process",
            usage.cpu_seconds,
        ),
        (
            "process_resident_memory_bytes",
            GAUGE,
            "Resident memory of the process",
            usage.resident,
        ),
        (
            "process_open_fds",
            GAUGE,
            "Open descriptors of the process",
            usage.descriptors,
        ),
        (
            "process_start_time_seconds",
            GAUGE,
            "When the process started, as a Unix time",
            usage.started,
        ),
    ] {
        page.family(name, kind, help);
        page.sample(name, &[], value);
    }
}

pub(super) struct Usage {
    cpu_seconds: f64,
    pub(super) resident: f64,
    descriptors: f64,
    pub(super) started: f64,
}

/// From `/proc/self`; nothing where there is none.
pub(super) fn usage() -> Option<Usage> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // What is in parentheses may hold anything; behind it are numbers, the third of all at first.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let number = |place: usize| fields.get(place - 3)?.parse::<f64>().ok();
    let ticks = rustix::param::clock_ticks_per_second() as f64;
    let uptime = std::fs::read_to_string("/proc/uptime").ok()?;
    let uptime: f64 = uptime.split(' ').next()?.parse().ok()?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
    let age = uptime - number(22)? / ticks;
    Some(Usage {
        cpu_seconds: (number(14)? + number(15)?) / ticks,
        resident: number(24)? * rustix::param::page_size() as f64,
        descriptors: std::fs::read_dir("/proc/self/fd").ok()?.count() as f64,
        started: (now.as_secs_f64() - age).round(),
    })
}

#[derive(Default)]
struct Page(String);

impl Page {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        self.0.push_str(name);
        for (number, (label, text)) in labels.iter().enumerate() {
            self.0.push(if number == 0 { '{' } else { ',' });
            let _ = write!(self.0, "{label}=\"");
            for c in text.chars() {
                match c {
                    '\\' => self.0.push_str("\\\\"),
                    '"' => self.0.push_str("\\\""),
                    '\n' => self.0.push_str("\\n"),
                    c => self.0.push(c),
                }
            }
            self.0.push('"');
        }
        if !labels.is_empty() {
            self.0.push('}');
        }
        let _ = writeln!(self.0, " {value}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_escaped_and_numbers_are_plain() {
        let mut page = Page::default();
        page.sample("a", &[], 1.5);
        page.sample("b", &[("x", "a\"b\\c\nd"), ("y", "")], 2);
        assert_eq!(page.0, "a 1.5\nb{x=\"a\\\"b\\\\c\\nd\",y=\"\"} 2\n");
    }

    #[test]
    fn the_process_is_known() {
        let usage = usage().expect("/proc/self");
        assert!(usage.resident > 1e6 && usage.descriptors >= 3.0);
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .expect("a clock");
        let age = now.as_secs_f64() - usage.started;
        assert!((-2.0..86_400.0).contains(&age), "{age}");
    }
}

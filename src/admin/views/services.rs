//! Services as they run.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};

use super::list::{Page, Sort, Wanted, has_word};
use super::upstreams::{self, UpstreamRow};
use super::{Asked, Shown, moment, refused_units, shown};
use crate::admin::Views;
use crate::admin::api::Refusal;
use crate::admin::history::{HourView, round};
use crate::admin::sampler::{SERVICE_STEP, Samples, Totals};
use crate::balance::{Health, Member};
use crate::change::{HTTP, TCP};
use crate::config::HostPattern;
use crate::plan::Service;
use crate::status::{self, NodeStatus, Serving};

/// Hosts of one row.
const HOSTS: usize = 5;

/// Whether a service can serve. In the order of how bad it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Condition {
    /// Its keys are refused, and it never had a good form: nothing serves.
    #[default]
    Refused,
    Down,
    /// All are drained: who does not belong to one is answered 503.
    Drained,
    Degraded,
    Empty,
    Maintenance,
    Up,
}

/// What rows can be asked for by: a state, or that the newest keys are refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Filter {
    Up,
    Degraded,
    Down,
    Drained,
    Empty,
    Maintenance,
    Refused,
}

#[derive(Debug, Default, Serialize)]
pub(super) struct ServiceRow {
    unit: String,
    name: String,
    mode: &'static str,
    state: Condition,
    since: Option<String>,
    /// Its newest keys are refused, and what runs is its last good form.
    refused: bool,
    hosts: Vec<String>,
    hosts_total: usize,
    port: Option<u16>,
    /// Of one that runs.
    balance: Option<&'static str>,
    /// Those that take something new.
    upstreams_up: usize,
    upstreams_drained: usize,
    upstreams_total: usize,
    requests_per_s: f64,
    errors_per_s: f64,
    error_share: f64,
    p50_ms: Option<f64>,
    p99_ms: Option<f64>,
    in_flight: u64,
    queued: usize,
    requests_total: u64,
    errors_total: u64,
    turned_away_total: u64,
    client_faults_total: u64,
    bytes_in_total: u64,
    bytes_out_total: u64,
}

#[derive(Debug, Serialize)]
struct ServiceDetail {
    #[serde(flatten)]
    row: ServiceRow,
    answers: Answers,
    flows_total: u64,
    failures_total: u64,
    upstreams: Vec<UpstreamRow>,
    history: Option<HourView>,
    refusal: Option<status::Refusal>,
}

#[derive(Debug, Serialize)]
struct Answers {
    #[serde(rename = "1xx")]
    informational: u64,
    #[serde(rename = "2xx")]
    success: u64,
    #[serde(rename = "3xx")]
    redirection: u64,
    #[serde(rename = "4xx")]
    client_error: u64,
    #[serde(rename = "5xx")]
    server_error: u64,
}

pub(super) async fn list(
    State(views): State<Views>,
    Asked(wanted): Asked<Wanted<Filter>>,
) -> Shown {
    shown(move || page(&views, &wanted)).await
}

fn page(views: &Views, wanted: &Wanted<Filter>) -> Page<ServiceRow> {
    let generation = views.shared.published.current();
    let refused = refused_units(&views.status);
    let absent = Absent::of(&views.status.borrow());
    let is_refused = |service: &Service| refused.contains(service.unit.as_str());
    let samples = views.sampler.samples();
    let word = wanted.word();
    let running = generation.plan.services().filter(|service| {
        let is_wanted = match wanted.state {
            None => true,
            Some(Filter::Refused) => is_refused(service),
            Some(filter) => filter.is(Condition::of(service)),
        };
        is_wanted && is_found(service, &word)
    });
    let absent_wanted = absent.iter().filter(|absent| {
        matches!(wanted.state, None | Some(Filter::Refused)) && has_word(&absent.unit, &word)
    });
    let mut found: Vec<_> = running.map(|service| Found::Running(service)).collect();
    found.extend(absent_wanted.map(Found::Absent));
    wanted.page_of(
        generation.plan.len() + absent.len(),
        found,
        |a, b| a.order().cmp(&b.order()),
        |found| match found {
            Found::Running(service) => key(service, wanted.sort, &samples),
            Found::Absent(_) => 0.0,
        },
        |found| match found {
            Found::Running(service) => ServiceRow::new(service, &samples, is_refused(service)),
            Found::Absent(absent) => ServiceRow::absent(absent),
        },
    )
}

enum Found<'a> {
    Running(&'a Service),
    Absent(&'a Absent),
}

impl Found<'_> {
    fn order(&self) -> (&str, &str) {
        match self {
            Self::Running(service) => service.order(),
            Self::Absent(absent) => (absent.name(), &absent.unit),
        }
    }
}

/// A service that is refused and has no form to serve by.
struct Absent {
    unit: String,
    mode: &'static str,
    since: String,
}

impl Absent {
    fn of(status: &NodeStatus) -> Vec<Self> {
        status.refused.iter().filter_map(Self::read).collect()
    }

    fn read(refusal: &status::Refusal) -> Option<Self> {
        let mode = match refusal.unit.split_once('/')?.0 {
            HTTP => "http",
            TCP => "tcp",
            _ => return None,
        };
        (refusal.serving == Serving::Absent).then(|| Self {
            unit: refusal.unit.clone(),
            mode,
            since: refusal.since.clone(),
        })
    }

    fn name(&self) -> &str {
        self.unit.split_once('/').map_or("", |(_, name)| name)
    }
}

fn key(service: &Service, sort: Sort, samples: &Samples) -> f64 {
    match sort {
        // Names are no numbers, and sorted before.
        Sort::Name => 0.0,
        Sort::State => f64::from(Condition::of(service) as u8),
        Sort::Requests => samples.rates_of(service).requests,
        Sort::Errors => samples.rates_of(service).errors,
        Sort::P99 => samples.spread_of(service).p99.unwrap_or(-1.0),
        Sort::InFlight => in_flight(service) as f64,
        Sort::Since => since_ms(service).unwrap_or(0) as f64,
    }
}

fn is_found(service: &Service, word: &str) -> bool {
    if word.is_empty() || has_word(service.unit.as_str(), word) {
        return true;
    }
    let is_host = |host: &HostPattern| has_word(&host_text(host), word);
    let hosts = service
        .http_routes()
        .map_or(&[][..], |routes| &routes.hosts);
    hosts.iter().any(is_host)
        || service
            .tcp_port()
            .is_some_and(|port| port.to_string() == word)
        || service
            .all_members()
            .any(|member| upstreams::is_found(member, word))
}

pub(super) async fn one(
    State(views): State<Views>,
    path: Result<Path<(String, String)>, axum::extract::rejection::PathRejection>,
) -> Shown {
    let Path((mode, name)) =
        path.map_err(|error| Refusal::new(StatusCode::BAD_REQUEST, error.body_text()))?;
    let is_tcp = match mode.as_str() {
        "http" => false,
        "tcp" => true,
        _ => {
            let why = "a service is asked for as http/NAME or tcp/NAME";
            return Err(Refusal::new(StatusCode::BAD_REQUEST, why));
        }
    };
    let generation = views.shared.published.current();
    let found = generation.plan.services().find(|service| {
        service.config.name.as_str() == name && service.tcp_port().is_some() == is_tcp
    });
    let Some(service) = found.cloned() else {
        let status = views.status.borrow();
        let refused = status.refused.iter().find(|refusal| {
            Absent::read(refusal).is_some_and(|own| own.name() == name && own.mode == mode)
        });
        let why = match refused {
            Some(refusal) => format!("{} is refused: {}", refusal.unit, refusal.reason()),
            None => format!("no {mode} service of this name runs; /v1/running/services lists them"),
        };
        return Err(Refusal::new(StatusCode::NOT_FOUND, why));
    };
    shown(move || detail(&views, &service)).await
}

fn detail(views: &Views, service: &Service) -> ServiceDetail {
    let unit = service.unit.as_str();
    let refusal = views
        .status
        .borrow()
        .refused
        .iter()
        .find(|r| r.unit == unit)
        .cloned();
    let samples = views.sampler.samples();
    let state = &service.state;
    let [
        informational,
        success,
        redirection,
        client_error,
        server_error,
    ] = state.answers();
    let hour = samples.hour_of(service);
    ServiceDetail {
        row: ServiceRow::new(service, &samples, refusal.is_some()),
        answers: Answers {
            informational,
            success,
            redirection,
            client_error,
            server_error,
        },
        flows_total: state.flows(),
        failures_total: state.failures(),
        upstreams: service
            .all_members()
            .map(|member| UpstreamRow::new(service, member, &samples))
            .collect(),
        history: hour.map(|hour| hour.view(SERVICE_STEP, false)),
        refusal,
    }
}

impl Condition {
    pub(super) fn of(service: &Service) -> Self {
        let policy = service.config.policy.as_deref();
        if policy.is_some_and(|policy| policy.maintenance.is_some()) {
            return Self::Maintenance;
        }
        let (mut all, mut down) = (0, 0);
        for member in service.members.iter().filter(|member| member.weight > 0) {
            all += 1;
            // One that starts takes traffic while nobody is up.
            down += usize::from(member.state.health() == Health::Down);
        }
        match (all, down) {
            (0, _) if service.members.is_empty() => Self::Empty,
            (0, _) => Self::Drained,
            (_, 0) => Self::Up,
            (all, down) if all == down => Self::Down,
            _ => Self::Degraded,
        }
    }
}

impl Filter {
    fn is(self, state: Condition) -> bool {
        match self {
            Self::Up => state == Condition::Up,
            Self::Degraded => state == Condition::Degraded,
            Self::Down => state == Condition::Down,
            Self::Drained => state == Condition::Drained,
            Self::Empty => state == Condition::Empty,
            Self::Maintenance => state == Condition::Maintenance,
            Self::Refused => false,
        }
    }
}

impl ServiceRow {
    fn new(service: &Service, samples: &Samples, refused: bool) -> Self {
        let hosts = service
            .http_routes()
            .map_or(&[][..], |routes| &routes.hosts);
        let (rates, spread) = (samples.rates_of(service), samples.spread_of(service));
        let totals = Totals::of(service);
        Self {
            unit: service.unit.to_string(),
            name: service.config.name.to_string(),
            mode: mode(service),
            state: Condition::of(service),
            since: moment(since_ms(service)),
            refused,
            hosts: hosts.iter().take(HOSTS).map(host_text).collect(),
            hosts_total: hosts.len(),
            port: service.tcp_port(),
            balance: Some(service.balance.word()),
            upstreams_up: ups(service),
            upstreams_drained: service.members.iter().filter(|m| m.weight == 0).count(),
            upstreams_total: service.members.len(),
            requests_per_s: round(rates.requests, 2),
            errors_per_s: round(rates.errors, 2),
            error_share: round(rates.error_share(), 4),
            p50_ms: spread.p50.map(|ms| round(ms, 3)),
            p99_ms: spread.p99.map(|ms| round(ms, 3)),
            in_flight: in_flight(service),
            queued: service.state.gate.queued(),
            requests_total: totals.requests,
            errors_total: totals.errors,
            turned_away_total: service.state.turned_away(),
            client_faults_total: service.state.client_faults(),
            bytes_in_total: totals.bytes_up,
            bytes_out_total: totals.bytes_down,
        }
    }
}

impl ServiceRow {
    fn absent(absent: &Absent) -> Self {
        Self {
            unit: absent.unit.clone(),
            name: absent.name().to_owned(),
            mode: absent.mode,
            state: Condition::Refused,
            since: Some(absent.since.clone()),
            refused: true,
            ..Self::default()
        }
    }
}

pub(in crate::admin) fn mode(service: &Service) -> &'static str {
    match service.tcp_port() {
        Some(_) => "tcp",
        None => "http",
    }
}

fn ups(service: &Service) -> usize {
    let is_up = |member: &&Member| member.weight > 0 && member.state.health() == Health::Up;
    service.members.iter().filter(is_up).count()
}

fn in_flight(service: &Service) -> u64 {
    let members = service.all_members();
    members
        .map(|member| u64::from(member.state.in_flight()))
        .sum()
}

/// Since when its state is what it is: since an upstream came up or went down last.
fn since_ms(service: &Service) -> Option<u64> {
    let members = service.members.iter();
    members.filter_map(upstreams::since_ms).max()
}

fn host_text(host: &HostPattern) -> String {
    match host {
        HostPattern::Exact(name) => name.clone(),
        HostPattern::Wildcard(suffix) => format!("*{suffix}"),
    }
}

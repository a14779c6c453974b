//! Upstreams as they run.

use axum::extract::State;
use serde::{Deserialize, Serialize};

use super::list::{Page, Sort, Wanted, has_word};
use super::{Asked, Shown, moment, shown};
use crate::admin::Views;
use crate::admin::history::round;
use crate::admin::sampler::Samples;
use crate::balance::{Health, Member, Share};
use crate::config::CheckKind;
use crate::plan::Service;

/// In the order of how bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Condition {
    Down,
    Starting,
    /// Takes nothing new: its weight is 0.
    Drained,
    /// Nobody looks whether it is up.
    Unchecked,
    Up,
}

#[derive(Debug, Serialize)]
pub(super) struct UpstreamRow {
    /// The unit of its service.
    service: String,
    name: String,
    /// What it is drained by.
    key: String,
    address: String,
    host: Option<String>,
    state: Condition,
    health: &'static str,
    since: Option<String>,
    last_check: String,
    last_check_at: Option<String>,
    weight: u16,
    /// From 0 to 1, of its weight; only while it warms up.
    share: Option<f64>,
    in_flight: u32,
    requests_per_s: f64,
    error_share: f64,
    p50_ms: Option<f64>,
    p99_ms: Option<f64>,
    served_total: u64,
    failed_total: u64,
    connect_failures_total: u64,
}

pub(super) async fn list(
    State(views): State<Views>,
    Asked(wanted): Asked<Wanted<Condition>>,
) -> Shown {
    shown(move || page(&views, &wanted)).await
}

fn page(views: &Views, wanted: &Wanted<Condition>) -> Page<UpstreamRow> {
    let generation = views.shared.published.current();
    let samples = views.sampler.samples();
    let word = wanted.word();
    let mut total = 0;
    let mut found: Vec<(&Service, &Member)> = Vec::new();
    for service in generation.plan.services() {
        let is_named = has_word(service.unit.as_str(), &word);
        for member in service.all_members() {
            total += 1;
            let condition = Condition::of(service, member);
            if wanted.state.is_none_or(|state| state == condition)
                && (is_named || is_found(member, &word))
            {
                found.push((service, member));
            }
        }
    }
    wanted.page_of(
        total,
        found,
        |(a, one), (b, other)| (a.order(), &one.name).cmp(&(b.order(), &other.name)),
        |(service, member)| key(service, member, wanted.sort, &samples),
        |(service, member)| UpstreamRow::new(service, member, &samples),
    )
}

fn key(service: &Service, member: &Member, sort: Sort, samples: &Samples) -> f64 {
    let state = &member.state;
    let own = || samples.upstream(service, state.id());
    match sort {
        Sort::Name => 0.0,
        Sort::State => f64::from(Condition::of(service, member) as u8),
        Sort::Requests => own().requests,
        Sort::Errors => own().error_share,
        Sort::P99 => own().spread.p99.unwrap_or(-1.0),
        Sort::InFlight => state.in_flight().into(),
        Sort::Since => since_ms(member).unwrap_or(0) as f64,
    }
}

pub(super) fn is_found(member: &Member, word: &str) -> bool {
    has_word(member.name.as_str(), word)
        || member.host.as_ref().is_some_and(|host| has_word(host, word))
        // Ten thousand addresses are not written out for a word that is in none.
        || word.bytes().all(|b| b.is_ascii_hexdigit() || b".:[]".contains(&b))
            && member.address.to_string().contains(word)
}

impl Condition {
    pub(super) fn of(service: &Service, member: &Member) -> Self {
        let is_own = service
            .members
            .iter()
            .any(|own| own.state.id() == member.state.id());
        let is_checked = is_own && service.config.health_check.kind != CheckKind::Off;
        match member.state.health() {
            // Whatever checks find: one that is emptied is stopped when it is empty.
            _ if member.weight == 0 => Self::Drained,
            Health::Down => Self::Down,
            Health::Starting => Self::Starting,
            Health::Up if !is_checked => Self::Unchecked,
            Health::Up => Self::Up,
        }
    }
}

impl UpstreamRow {
    pub(super) fn new(service: &Service, member: &Member, samples: &Samples) -> Self {
        let state = &member.state;
        let own = samples.upstream(service, state.id());
        Self {
            service: service.unit.to_string(),
            name: member.name.to_string(),
            key: member.name.key().to_owned(),
            address: member.address.to_string(),
            host: member.host.as_ref().map(ToString::to_string),
            state: Condition::of(service, member),
            health: health_word(state.health()),
            since: moment(since_ms(member)),
            last_check: state.last_check().into(),
            last_check_at: moment(state.checked_ms()),
            weight: member.weight,
            share: share(service, member),
            in_flight: state.in_flight(),
            requests_per_s: round(own.requests, 2),
            error_share: round(own.error_share, 4),
            p50_ms: own.spread.p50.map(|ms| round(ms, 3)),
            p99_ms: own.spread.p99.map(|ms| round(ms, 3)),
            served_total: state.served(),
            failed_total: state.failed(),
            connect_failures_total: state.connect_failures(),
        }
    }
}

/// Since when its state is what it is, in milliseconds since 1970.
pub(super) fn since_ms(member: &Member) -> Option<u64> {
    let state = &member.state;
    match member.weight {
        0 => state.drained_ms(),
        _ => state.since_ms().max(state.drained_ms()),
    }
}

pub(in crate::admin) fn health_word(health: Health) -> &'static str {
    match health {
        Health::Starting => "starting",
        Health::Up => "up",
        Health::Down => "down",
    }
}

/// What it is given of its weight while it warms up.
pub(in crate::admin) fn share(service: &Service, member: &Member) -> Option<f64> {
    let state = &member.state;
    let is_warming = service.config.warm_up.is_some()
        && state.health() == Health::Up
        && state.share() < Share::FULL;
    // Two digits are enough for people.
    is_warming.then(|| round(state.share().part(), 2))
}

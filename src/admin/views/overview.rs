//! The node at a glance.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use axum::Extension;
use axum::extract::State;
use serde::{Deserialize, Serialize};

use super::{Asked, Shown, certificates, services, shown, upstreams};
use crate::admin::Views;
use crate::admin::access::Access;
use crate::admin::history::{HourView, round};
use crate::admin::sampler::NODE_STEP;
use crate::plan::Service;
use crate::status::{Phase, time_text};
use crate::store::StoreHealth;
use crate::tls::End;

/// Made for all who look within this time.
const FRESH: Duration = Duration::from_millis(400);

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Wishes {
    /// `1`: with the last hour.
    history: u8,
}

#[derive(Debug, Serialize)]
pub(super) struct Overview {
    node: String,
    version: String,
    phase: Phase,
    started: String,
    /// Of the generation.
    since: String,
    now: String,
    uptime_s: u64,
    generation: u64,
    revision: u64,
    digest: String,
    requests_per_s: f64,
    errors_per_s: f64,
    bytes_in_per_s: f64,
    bytes_out_per_s: f64,
    p50_ms: Option<f64>,
    p99_ms: Option<f64>,
    connections: usize,
    max_connections: u32,
    /// Old generations that are still in use.
    draining: usize,
    rejected_total: u64,
    unrouted_total: u64,
    access_log_dropped_total: u64,
    /// Upstreams whose check waits for a place, for longer than its interval and its timeout.
    checks_late: usize,
    #[serde(flatten)]
    conditions: Conditions,
    certificates: Certificates,
    listeners: usize,
    nodes: super::nodes::Counts,
    refused: usize,
    warnings: usize,
    left_out: usize,
    stores: Vec<StoreHealth>,
}

/// As it is shown to somebody.
#[derive(Debug, Serialize)]
pub(super) struct Seen {
    #[serde(flatten)]
    overview: Arc<Overview>,
    /// Whether who asks has the role for it.
    may_change: bool,
    /// Whether `/v1/stream` is shown to him.
    stream: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    history: Option<HourView>,
}

/// The newest overview, for all who look at once.
#[derive(Default)]
pub(in crate::admin) struct Glance(Mutex<Option<(Instant, Arc<Overview>)>>);

/// How many services and upstreams are in which state.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(in crate::admin) struct Conditions {
    services: Services,
    upstreams: Upstreams,
}

#[derive(Clone, Copy, Debug, Default, Serialize)]
struct Services {
    total: usize,
    up: usize,
    degraded: usize,
    down: usize,
    drained: usize,
    empty: usize,
    maintenance: usize,
}

#[derive(Clone, Copy, Debug, Default, Serialize)]
struct Upstreams {
    total: usize,
    /// Those that nobody checks are among them.
    up: usize,
    down: usize,
    starting: usize,
    drained: usize,
}

#[derive(Debug, Default, Serialize)]
struct Certificates {
    total: usize,
    ending: usize,
    ended: usize,
}

pub(super) async fn overview(
    State(views): State<Views>,
    Extension(access): Extension<Access>,
    Asked(wishes): Asked<Wishes>,
) -> Shown {
    shown(move || Seen::by(&views, &access, wishes.history > 0)).await
}

impl Seen {
    pub(super) fn by(views: &Views, access: &Access, with_history: bool) -> Self {
        views.nodes.look();
        let history = || views.sampler.samples().hour.view(NODE_STEP, true);
        Self {
            overview: views.glance.look(views),
            may_change: access.is_admin(),
            stream: !access.is_in_band,
            history: with_history.then(history),
        }
    }
}

impl Glance {
    fn look(&self, views: &Views) -> Arc<Overview> {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((at, overview)) = &*last
            && at.elapsed() < FRESH
        {
            return overview.clone();
        }
        let overview = Arc::new(Overview::new(views));
        *last = Some((Instant::now(), overview.clone()));
        overview
    }
}

impl Overview {
    fn new(views: &Views) -> Self {
        let status = views.status.borrow().brief();
        let shared = &views.shared;
        let generation = shared.published.current();
        let plan = &generation.plan;
        let (rates, spread, conditions) = {
            let samples = views.sampler.samples();
            (samples.rates, samples.spread, samples.conditions)
        };
        let mut of_certificates = Certificates::default();
        for named in plan.certificates().iter() {
            of_certificates.total += 1;
            match certificates::end(named) {
                End::Near => of_certificates.ending += 1,
                End::Past => of_certificates.ended += 1,
                End::Far => {}
            }
        }
        Self {
            phase: status.phase,
            started: status.started,
            since: status.since,
            now: time_text(SystemTime::now()),
            uptime_s: views.began.elapsed().as_secs(),
            generation: generation.id,
            revision: status.revision,
            digest: status.digest,
            requests_per_s: round(rates.requests, 2),
            errors_per_s: round(rates.errors, 2),
            bytes_in_per_s: round(rates.bytes_up, 0),
            bytes_out_per_s: round(rates.bytes_down, 0),
            p50_ms: spread.p50.map(|ms| round(ms, 3)),
            p99_ms: spread.p99.map(|ms| round(ms, 3)),
            connections: shared.connections(),
            max_connections: plan.balancer().max_connections,
            draining: shared.published.free_retired(),
            rejected_total: shared.rejected(),
            unrouted_total: shared.unrouted(),
            access_log_dropped_total: shared.access_log_dropped(),
            checks_late: shared.checks_late(),
            conditions,
            certificates: of_certificates,
            listeners: shared.listening().len(),
            nodes: views.nodes.counts(),
            refused: status.refused_total,
            warnings: status.warnings_total,
            left_out: views.stores.problems().len(),
            stores: views.stores.health(),
            node: status.node,
            version: status.version,
        }
    }
}

impl Conditions {
    pub(in crate::admin) fn add(&mut self, service: &Service) {
        self.services.total += 1;
        *match services::Condition::of(service) {
            services::Condition::Up => &mut self.services.up,
            services::Condition::Degraded => &mut self.services.degraded,
            services::Condition::Down => &mut self.services.down,
            services::Condition::Drained => &mut self.services.drained,
            // None that runs is.
            services::Condition::Refused => &mut self.services.down,
            services::Condition::Empty => &mut self.services.empty,
            services::Condition::Maintenance => &mut self.services.maintenance,
        } += 1;
        for member in service.all_members() {
            self.upstreams.total += 1;
            *match upstreams::Condition::of(service, member) {
                upstreams::Condition::Up | upstreams::Condition::Unchecked => {
                    &mut self.upstreams.up
                }
                upstreams::Condition::Down => &mut self.upstreams.down,
                upstreams::Condition::Starting => &mut self.upstreams.starting,
                upstreams::Condition::Drained => &mut self.upstreams.drained,
            } += 1;
        }
    }
}

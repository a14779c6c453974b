//! A service as the data plane uses it: what its unit says, bound to the state that outlives plans.

use std::borrow::Cow;
use std::sync::Arc;

use crate::balance::{
    Balance, Member, Rotation, ServiceFigures, ServiceState, Tried, UpstreamState, can_stay,
    has_eligible, pick,
};
use crate::config::{
    self, Address, CheckKind, ClientAuth, HealthCheck, HttpRoutes, Maintenance, Mode, Passthrough,
    Sticky, Upstream,
};
use crate::dns::Answers;
use crate::names::UnitName;
use crate::plan::expand::expand;
use crate::plan::pins::Pins;
use crate::plan::secured::Secured;

#[derive(Debug)]
pub struct Service {
    pub unit: UnitName,
    pub config: config::Service,
    pub balance: Balance,
    /// Whether members that come up begin with less than their weight.
    warms: bool,
    /// In name order. An upstream that is a name has as many as its answer has addresses, or none yet.
    pub members: Box<[Member]>,
    /// As the members; empty where connections to them are plain.
    secured: Box<[Arc<Secured>]>,
    rotation: Option<Rotation>,
    /// What the service's own cookie calls the members.
    pins: Option<Pins>,
    pub state: Arc<ServiceState>,
    /// Takes all requests in its place during `maintenance` at a given upstream. Shares its state; is
    /// not checked.
    pub stand_in: Option<Arc<Service>>,
}

/// Equal if the unit says the same and names stand for the same; state is no part of it.
impl PartialEq for Service {
    fn eq(&self, other: &Self) -> bool {
        let resolved = |s: &Self| {
            s.resolved()
                .map(|m| (m.address, m.weight))
                .collect::<Vec<_>>()
        };
        self.unit == other.unit && self.config == other.config && resolved(self) == resolved(other)
    }
}

impl Service {
    /// Takes over from `before` the state of everything that is still the same: the service by its
    /// unit, an upstream by its name and address. All else may have changed.
    pub(crate) fn new(
        unit: UnitName,
        config: config::Service,
        before: Option<&Service>,
        answers: &Answers,
    ) -> Self {
        let is_checked = config.health_check.kind != CheckKind::Off;
        let expanded = expand(&config.upstreams, answers);
        let members: Box<[Member]> = expanded
            .iter()
            .map(|upstream| {
                let known = before
                    .and_then(|b| b.member(&upstream.name))
                    .filter(|m| m.address == upstream.address);
                let state = match known {
                    Some(member) => member.state.clone(),
                    None => Arc::new(UpstreamState::new(is_checked)),
                };
                let (name, host) = (upstream.name.clone(), upstream.host.clone());
                let member = Member::new(name, upstream.address, upstream.weight, state);
                Member { host, ..member }
            })
            .collect();
        let secured = Secured::of_all(&config, &expanded, before);
        let balance = config.balance.unwrap_or(match config.mode {
            Mode::Http(_) => Balance::RoundRobin,
            Mode::Tcp { .. } => Balance::LeastConn,
        });
        let rotation = match balance {
            Balance::RoundRobin => Rotation::new(&members),
            _ => None,
        };
        let sticky = config.policy.as_ref().and_then(|p| p.sticky.as_ref());
        let pins = match sticky {
            Some(Sticky::Cookie(cookie)) => Some(Pins::new(cookie.value, &config.name, &members)),
            _ => None,
        };
        let state = before.map(|b| b.state.clone()).unwrap_or_default();
        let stand_in = stand_in(&config).map(|config| {
            let before = before.and_then(|b| b.stand_in.as_deref());
            let mut service = Service::new(unit.clone(), config, before, answers);
            service.state = state.clone();
            Arc::new(service)
        });
        Self {
            unit,
            warms: config.warm_up.is_some(),
            config,
            balance,
            members,
            secured,
            rotation,
            pins,
            state,
            stand_in,
        }
    }

    /// Those that come from the answers of DNS.
    pub fn resolved(&self) -> impl Iterator<Item = &Member> {
        self.members.iter().filter(|m| m.name.is_resolved())
    }

    /// Every upstream that traffic can be under way to, also those that only stand in.
    pub fn all_members(&self) -> impl Iterator<Item = &Member> {
        let stand_in = self.stand_in.iter().flat_map(|s| s.members.iter());
        self.members.iter().chain(stand_in)
    }

    /// What its counters come to, those of upstreams that left it among them.
    pub fn figures(&self) -> ServiceFigures {
        let upstreams = self.all_members().map(|member| &*member.state);
        self.state.figures_with(upstreams)
    }

    /// The upstreams that are not in its next form. Their counters stay with the service.
    pub fn part_with(&self, next: Option<&Service>) -> Vec<Arc<UpstreamState>> {
        let mut gone = Vec::new();
        for member in self.all_members() {
            let id = member.state.id();
            if !next.is_some_and(|s| s.all_members().any(|m| m.state.id() == id)) {
                self.state.departed.take_in(&member.state);
                gone.push(member.state.clone());
            }
        }
        gone
    }

    /// An upstream that can take traffic, or `None`.
    pub fn pick(&self, client: u64, tried: &Tried) -> Option<usize> {
        let rotation = self.rotation.as_ref();
        pick(
            self.balance,
            &self.members,
            rotation,
            &self.state,
            client,
            tried,
            self.warms,
        )
    }

    /// Like [`Service::pick`], but the same key leads to the same upstream whatever `balance` says.
    pub fn pick_by_key(&self, key: u64, tried: &Tried) -> Option<usize> {
        pick(
            Balance::Source,
            &self.members,
            None,
            &self.state,
            key,
            tried,
            false,
        )
    }

    /// What the service's cookie calls a member; empty for a service without one.
    pub fn pin(&self, index: usize) -> Cow<'_, str> {
        match (&self.pins, self.members.get(index)) {
            (Some(pins), Some(member)) => pins.pin(&self.config.name, &member.name),
            _ => Cow::Borrowed(""),
        }
    }

    /// The member that the service's cookie calls by `pin`.
    pub fn pinned(&self, pin: &[u8]) -> Option<usize> {
        self.pins.as_ref()?.find(pin, &self.members)
    }

    /// Whether a client that belongs to this member may stay with it.
    pub fn can_stay(&self, index: usize, tried: &Tried) -> bool {
        can_stay(&self.members, index, tried)
    }

    /// Whether another upstream than those tried could take traffic.
    pub fn has_untried(&self, tried: &Tried) -> bool {
        has_eligible(&self.members, tried)
    }

    /// Whether a newer plan has some of its members no more, or gives them nothing more.
    pub fn has_lost_members(&self) -> bool {
        let is_lost = |member: &Member| {
            member.state.has_left() || member.weight > 0 && member.state.is_drained()
        };
        self.members.iter().any(is_lost)
    }

    pub fn http_routes(&self) -> Option<&HttpRoutes> {
        match &self.config.mode {
            Mode::Http(routes) => Some(routes),
            Mode::Tcp { .. } => None,
        }
    }

    /// Which connections it takes as they come.
    pub fn passthrough(&self) -> Option<Passthrough> {
        self.http_routes()?.passthrough
    }

    /// Whose certificates its clients have to show.
    pub fn client_auth(&self) -> Option<&ClientAuth> {
        self.config.policy.as_ref()?.client_auth.as_ref()
    }

    pub fn tcp_port(&self) -> Option<u16> {
        match self.config.mode {
            Mode::Tcp { external_port } => Some(external_port),
            Mode::Http(_) => None,
        }
    }

    pub fn member(&self, name: &crate::names::UpstreamName) -> Option<&Member> {
        Some(&self.members[self.place(name)?])
    }

    pub(super) fn place(&self, name: &crate::names::UpstreamName) -> Option<usize> {
        self.members.binary_search_by(|m| m.name.cmp(name)).ok()
    }

    /// How connections to a member are secured; `None`: they are plain.
    pub fn secured(&self, index: usize) -> Option<&Arc<Secured>> {
        self.secured.get(index)
    }

    /// The order of names: by the service's name, and by unit where two trees share a name.
    pub fn order(&self) -> (&str, &str) {
        (self.config.name.as_str(), self.unit.as_str())
    }
}

/// The service as it is while an upstream stands in for all of its own.
fn stand_in(config: &config::Service) -> Option<config::Service> {
    let policy = config.policy.as_deref()?;
    let Some(Maintenance::At(address)) = policy.maintenance else {
        return None;
    };
    let mut policy = policy.clone();
    policy.maintenance = None;
    // There is nothing to choose, and who was pinned comes back to where it was.
    policy.sticky = None;
    Some(config::Service {
        upstreams: vec![Upstream {
            name: "maintenance".into(),
            address: Address::At(address),
            weight: 1,
        }],
        health_check: HealthCheck {
            kind: CheckKind::Off,
            ..config.health_check.clone()
        },
        warm_up: None,
        policy: Some(Arc::new(policy)),
        ..config.clone()
    })
}

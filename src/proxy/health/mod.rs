//! Health checks: one small task for each upstream that has a check, on the control runtime.
//!
//! The checker follows plans as they are committed. An upstream that stays keeps its health and its
//! streak; one whose check changed is checked the new way from then on. One that comes up begins to warm up
//! where its service says so.
//!
//! Who answers quickly is checked in time whatever others do: see [`places`].

mod places;
mod watch;

use std::collections::HashMap;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::AbortHandle;

use crate::balance::{Health, Share, UpstreamId};
use crate::config::{CheckKind, HealthCheck};
use crate::plan::Service;
use crate::proxy::{Shared, now_ms};
use crate::proxy_header::Form;

pub(super) use places::Lateness;
use places::{Places, tell};
use watch::{Watched, watch};

pub struct Checker {
    running: HashMap<UpstreamId, Running>,
    places: Arc<Places>,
    /// Tells when checks are late.
    teller: Option<AbortHandle>,
}

struct Running {
    task: AbortHandle,
    check: HealthCheck,
    warm_up: Option<Duration>,
    host: String,
    send_proxy: Option<Form>,
    secured: Option<NonZeroU64>,
}

impl Checker {
    pub fn new(shared: &Shared) -> Self {
        Self {
            running: HashMap::new(),
            places: Arc::new(Places::new(shared.lateness.clone())),
            teller: None,
        }
    }

    /// Follows one service from its old form to its new one. Call inside the control runtime.
    pub fn follow(&mut self, before: Option<&Arc<Service>>, now: Option<&Arc<Service>>) {
        for member in before.into_iter().flat_map(|s| s.members.iter()) {
            let id = member.state.id();
            let stays = now.is_some_and(|s| s.members.iter().any(|m| m.state.id() == id));
            if !stays {
                self.stop(id);
            }
        }
        let Some(service) = now else { return };
        let check = &service.config.health_check;
        let warm_up = service.config.warm_up;
        for (index, member) in service.members.iter().enumerate() {
            let id = member.state.id();
            let watched = Watched::new(service, index);
            let secured = watched.secured.as_ref().map(|secured| secured.id);
            if check.kind == CheckKind::Off {
                self.stop(id);
                // Nobody would ever call it up again.
                member.state.set_health(Health::Up);
                member.state.set_share(Share::FULL);
                if member.state.since_ms().is_none() {
                    member.state.note_change(now_ms());
                }
            } else if self.running.get(&id).is_none_or(|running| {
                running.check != *check
                    || running.warm_up != warm_up
                    || running.host != watched.host
                    || running.send_proxy != watched.send_proxy
                    || running.secured != secured
            }) {
                self.stop(id);
                let (host, send_proxy) = (watched.host.clone(), watched.send_proxy);
                let task = tokio::spawn(watch(watched, check.clone(), self.places.clone()));
                self.teller
                    .get_or_insert_with(|| tokio::spawn(tell(self.places.clone())).abort_handle());
                self.running.insert(
                    id,
                    Running {
                        task: task.abort_handle(),
                        check: check.clone(),
                        warm_up,
                        host,
                        send_proxy,
                        secured,
                    },
                );
            }
        }
    }

    /// How many upstreams are checked.
    pub fn len(&self) -> usize {
        self.running.len()
    }

    pub fn is_empty(&self) -> bool {
        self.running.is_empty()
    }

    fn stop(&mut self, id: UpstreamId) {
        if let Some(running) = self.running.remove(&id) {
            running.task.abort();
        }
    }
}

impl Drop for Checker {
    fn drop(&mut self) {
        let watchers = self.running.values().map(|running| &running.task);
        for task in watchers.chain(&self.teller) {
            task.abort();
        }
    }
}

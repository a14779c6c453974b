//! `set server`, `enable`, `disable` and weights: changes of keys, which go the way of all changes.
//!
//! They hold for every node and after every start, unlike HAProxy's, which end with its process.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::timeout;

use super::command::{Weight, Wish};
use super::proxies::{find, proxies};
use crate::admin::Views;
use crate::change::{Change, Done, Failure, How, Link, SaidUpstream};
use crate::config::read_upstream;
use crate::plan::Service;

/// How long it is waited for this node to run what was written: who asked looks at `show stat` next.
const SEEN: Duration = Duration::from_secs(5);

/// Upstreams whose first weights are remembered.
const REMEMBERED: usize = 10_000;

/// Weights that upstreams had before somebody changed them here: what `50%` is a part of. A key holds one weight.
#[derive(Clone, Default)]
pub(super) struct Weights(Arc<Mutex<HashMap<String, Was>>>);

#[derive(Clone, Copy)]
struct Was {
    first: u16,
    written: u16,
}

impl Weights {
    /// Of an upstream that has `now`. Whatever somebody else wrote meanwhile counts as its first one.
    fn first(&self, upstream: &str, now: u16) -> u16 {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match all.get(upstream) {
            Some(was) if was.written == now => was.first,
            _ => now,
        }
    }

    fn note(&self, upstream: &str, first: u16, written: u16) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= REMEMBERED && !all.contains_key(upstream) {
            all.clear();
        }
        all.insert(upstream.to_owned(), Was { first, written });
    }
}

/// What it is called in keys.
struct Called {
    /// The service as it runs.
    service: Arc<Service>,
    upstream: String,
}

impl Called {
    /// Of an upstream that is a name each address is a server, and all of them are one key.
    fn read(views: &Views, called: &str) -> Result<Self, String> {
        let generation = views.shared.published.current();
        let all = proxies(&generation.plan);
        let (proxy, member) = find(&all, called)?;
        Ok(Self {
            service: proxy.service.clone(),
            upstream: member.name.key().to_owned(),
        })
    }

    fn unit(&self) -> &str {
        self.service.unit.as_str()
    }

    /// As changes call it.
    fn path(&self) -> String {
        format!("{}/{}", self.unit(), self.upstream)
    }
}

/// Empty if it was done; else why not.
pub(super) async fn make(views: &Views, weights: &Weights, called: &str, wish: Wish) -> String {
    match attempt(views, weights, called, wish).await {
        Ok(()) => String::new(),
        Err(why) => why + "\n",
    }
}

async fn attempt(views: &Views, weights: &Weights, called: &str, wish: Wish) -> Result<(), String> {
    let server = Called::read(views, called)?;
    let mut noted = None;
    let change = match wish {
        Wish::Ready => Change::Undrain(vec![server.path()]),
        Wish::Drain => Change::Drain(vec![server.path()]),
        Wish::Weight(weight) => {
            let (address, now) = value(views, &server).await?;
            let first = weights.first(&server.path(), now);
            let wanted = match weight {
                Weight::To(wanted) => wanted,
                Weight::Percent(_) if first == 0 => {
                    return Err(format!(
                        "{called} has the weight 0 in its key, of which there is no part: say the weight itself."
                    ));
                }
                // Of little there is something left, as in HAProxy.
                Weight::Percent(0) => 0,
                Weight::Percent(part) => (u32::from(first) * u32::from(part) / 100).max(1) as u16,
            };
            noted = Some((first, wanted));
            Change::Link(Link {
                service: server.unit().to_owned(),
                has_to_be: true,
                upstreams: vec![SaidUpstream {
                    name: Some(server.upstream.clone()),
                    value: format!("{address} weight={wanted}"),
                }],
                ..Link::default()
            })
        }
    };
    let what = change.to_string();
    let control = views.api.control.clone();
    // Who goes away in the middle stops nothing.
    let made = tokio::spawn(async move { control.make(change, How::default()).await });
    let made = made
        .await
        .map_err(|_| "the change ended early; look at the keys".to_owned())?;
    let done = made.map_err(|failure| told(&failure))?;
    if let Some((first, written)) = noted {
        weights.note(&server.path(), first, written);
    }
    // HAProxy says nothing of what it did, and scripts take every word for a failure.
    let warnings = done.warnings.join("; ");
    tracing::info!(
        change = what,
        revision = done.revision,
        changed = done.changed,
        warnings,
        "keys written over the admin socket"
    );
    if done.changed {
        seen(views, &server.service, &done).await;
    }
    Ok(())
}

/// Address and weight, as the upstream's key says them.
async fn value(views: &Views, server: &Called) -> Result<(String, u16), String> {
    let all = views.api.control.services().await;
    let all = all.map_err(|failure| told(&failure))?;
    let service = all.iter().find(|service| service.unit == server.unit());
    let value = service.and_then(|service| service.upstreams.get(&server.upstream));
    let value = value.ok_or_else(|| {
        let (unit, upstream) = (server.unit(), &server.upstream);
        format!("{unit}/upstreams/{upstream} is no key that can be read.")
    })?;
    let (_, weight) = read_upstream(value).map_err(|problem| problem.message)?;
    let address = value.split_ascii_whitespace().next().unwrap_or_default();
    Ok((address.to_owned(), weight))
}

/// `N (initial M)`, as HAProxy says it.
pub(super) async fn weight(views: &Views, weights: &Weights, called: &str) -> String {
    let server = match Called::read(views, called) {
        Ok(server) => server,
        Err(why) => return why + "\n",
    };
    match value(views, &server).await {
        Ok((_, now)) => {
            let first = weights.first(&server.path(), now);
            format!("{now} (initial {first})\n")
        }
        Err(why) => why + "\n",
    }
}

fn told(failure: &Failure) -> String {
    let mut text = failure.to_string();
    if let Failure::Refused(diagnostics) = failure {
        for diagnostic in diagnostics.iter().filter(|d| d.is_error()) {
            text.push('\n');
            text.push_str(&diagnostic.to_string());
        }
    }
    text
}

/// Until this node has worked it through, but not for ever: it is written, and every node follows. Where revisions
/// do not say how far it is, another form of the service does.
async fn seen(views: &Views, before: &Arc<Service>, done: &Done) {
    let mut status = views.status.clone();
    let is_other = || {
        let generation = views.shared.published.current();
        let now = generation.plan.service(&before.unit);
        now.is_none_or(|now| !Arc::ptr_eq(now, before))
    };
    let _ = timeout(SEEN, async {
        loop {
            let revision = status.borrow_and_update().revision;
            if is_other() || (done.is_counted && revision >= done.revision) {
                return;
            }
            if status.changed().await.is_err() {
                return;
            }
        }
    })
    .await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_of_the_weight_before_the_first_change_here() {
        let weights = Weights::default();
        assert_eq!(weights.first("a", 8), 8);
        weights.note("a", 8, 2);
        assert_eq!(weights.first("a", 2), 8);
        // Somebody else said something.
        assert_eq!(weights.first("a", 5), 5);
        assert_eq!(weights.first("b", 2), 2);
    }
}

//! Services and tasks of a Swarm, as long as this engine is one of its managers.
//!
//! Services have events, tasks have none: tasks are asked for every `poll`, and at once when an event of a service, a
//! node or a task's container comes. While something changes, and a little longer, they are asked for ten times a second,
//! but no more than a tenth of the time is spent with that. The answer is compared as it comes, so what did not change costs
//! one request; services and nodes are only asked for when tasks are different, after events, and at every `relist`.

mod api;
mod members;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::pin::Pin;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use self::api::{Client, NODE_LIST, SERVICE_LIST, TASK_LIST, read};
use self::members::World;
use super::super::spec::DockerSpec;

pub(super) use self::api::AskError;
pub(super) use self::members::{Member, is_of_swarm};

/// How often is asked while something changes.
const QUICK: Duration = Duration::from_millis(100);
/// For how long after a change.
const STIR: Duration = Duration::from_secs(5);
/// A request may take one part in so many of all time.
const SHARE: u32 = 10;
/// After an error, and while the engine is still joining.
const AGAIN: Duration = Duration::from_secs(1);

/// What came of asking.
#[derive(Debug)]
pub(super) enum News {
    /// Whoever runs, by ids of their own.
    Members(BTreeMap<String, Member>),
    /// As before, after it could not be asked.
    AsBefore,
    /// This engine is no manager.
    NoManager,
    /// It is about to be one, perhaps.
    Joining,
}

/// Asks the engine, again and again.
pub(super) struct Swarm {
    client: Client,
    poll: Duration,
    relist: Duration,
    asking: Option<Pin<Box<dyn Future<Output = Asked> + Send>>>,
    at: Instant,
    /// Until when is asked more often.
    quick_until: Instant,
    /// Somebody said that something is different, in tasks or in services too.
    is_nudged: bool,
    is_all_due: bool,
    has_failed: bool,
    /// When it is asked once more whether this is a manager.
    look_at: Instant,
    known: Known,
}

/// What the last answer looked like.
#[derive(Clone, Debug, Default)]
struct Known {
    is_manager: bool,
    node: String,
    address: String,
    tasks: Option<u64>,
    all: Option<u64>,
}

struct Asked {
    began: Instant,
    known: Known,
    answer: Result<Answer, AskError>,
}

enum Answer {
    Same,
    News { news: News, is_updating: bool },
}

impl Swarm {
    pub(super) fn new(spec: &DockerSpec, version: String) -> Self {
        let now = Instant::now();
        Self {
            client: Client::new(spec.engine.clone(), version),
            poll: spec.poll,
            relist: spec.relist,
            asking: None,
            at: now,
            quick_until: now,
            is_nudged: false,
            is_all_due: true,
            has_failed: false,
            look_at: now,
            known: Known::default(),
        }
    }

    /// Something is different by now, or will be soon.
    pub(super) fn nudge(&mut self, services_too: bool) {
        if !self.known.is_manager {
            return;
        }
        self.is_nudged = true;
        self.is_all_due |= services_too;
        let now = Instant::now();
        self.at = self.at.min(now);
        self.quick_until = now + STIR;
    }

    /// Waits for what is new. Cancel safe: a request that is under way goes on at the next call.
    pub(super) async fn next(&mut self) -> Result<News, AskError> {
        loop {
            let asking = match &mut self.asking {
                Some(asking) => asking,
                None => {
                    sleep_until(self.at).await;
                    let now = Instant::now();
                    let is_look_due = now >= self.look_at;
                    let is_all_due = std::mem::take(&mut self.is_all_due) || is_look_due;
                    self.is_nudged = false;
                    let asked = ask(
                        self.client.clone(),
                        self.known.clone(),
                        is_look_due,
                        is_all_due,
                    );
                    self.asking.insert(Box::pin(asked))
                }
            };
            let asked = asking.await;
            self.asking = None;
            if let Some(news) = self.heed(asked) {
                return news;
            }
        }
    }

    fn heed(&mut self, asked: Asked) -> Option<Result<News, AskError>> {
        let now = Instant::now();
        if now >= self.look_at {
            self.look_at = now + self.relist;
        }
        let took = now.duration_since(asked.began);
        let has_failed = std::mem::replace(&mut self.has_failed, asked.answer.is_err());
        let news = match asked.answer {
            Ok(Answer::Same) => has_failed.then_some(Ok(News::AsBefore)),
            Ok(Answer::News { news, is_updating }) => {
                let is_first = self.known.all.is_none();
                self.quick_until = match is_updating {
                    // Its end is an event.
                    true => now + self.relist,
                    false if is_first => now,
                    false => now + STIR,
                };
                Some(Ok(news))
            }
            Err(error) => {
                // What it had to say first is asked again with everything else.
                self.is_all_due = true;
                self.look_at = now;
                self.at = now
                    + match error.is_refusal() {
                        true => self.relist,
                        false => AGAIN.max(self.poll),
                    };
                return Some(Err(error));
            }
        };
        self.known = asked.known;
        let poll = match now < self.quick_until {
            true => QUICK.min(self.poll),
            false => self.poll,
        };
        self.at = match &news {
            Some(Ok(News::Joining)) => {
                self.look_at = now;
                now + AGAIN
            }
            _ if !self.known.is_manager => self.look_at,
            _ if self.is_nudged => now + took.min(QUICK),
            _ => now + poll.max(took * SHARE),
        };
        news
    }
}

async fn ask(client: Client, mut known: Known, is_look_due: bool, is_all_due: bool) -> Asked {
    let began = Instant::now();
    let answer = answer(&client, &mut known, is_look_due, is_all_due).await;
    Asked {
        began,
        known,
        answer,
    }
}

async fn answer(
    client: &Client,
    known: &mut Known,
    is_look_due: bool,
    is_all_due: bool,
) -> Result<Answer, AskError> {
    if is_look_due || !known.is_manager {
        let info = client.info().await?.swarm;
        if !info.control_available {
            let news = match info.local_node_state.as_str() {
                "pending" | "error" => News::Joining,
                _ => News::NoManager,
            };
            *known = Known::default();
            return Ok(Answer::News {
                news,
                is_updating: false,
            });
        }
        known.is_manager = true;
        known.node = info.node_id;
        known.address = info.node_addr;
    }
    let tasks = client.tasks().await?;
    let digest = digest(&[&tasks]);
    if known.tasks == Some(digest) && !is_all_due {
        return Ok(Answer::Same);
    }
    let services = client.services().await?;
    let mut world = World {
        tasks: read(TASK_LIST, &tasks)?,
        services: read(SERVICE_LIST, &services)?,
        nodes: Vec::new(),
        own_node: known.node.clone(),
        own_address: known.address.clone(),
    };
    let mut nodes = Vec::new().into();
    if members::needs_nodes(&world.tasks) {
        nodes = client.nodes().await?;
        world.nodes = read(NODE_LIST, &nodes)?;
    }
    known.tasks = Some(digest);
    let all = self::digest(&[&tasks, &services, &nodes]);
    if known.all.replace(all) == Some(all) {
        return Ok(Answer::Same);
    }
    let is_updating = |service: &api::Service| {
        let state = service.update_status.state.as_str();
        matches!(state, "updating" | "rollback_started")
    };
    Ok(Answer::News {
        is_updating: world.services.iter().any(is_updating),
        news: News::Members(members::members(&world)),
    })
}

fn digest(answers: &[&[u8]]) -> u64 {
    let mut hasher = DefaultHasher::new();
    answers.hash(&mut hasher);
    hasher.finish()
}

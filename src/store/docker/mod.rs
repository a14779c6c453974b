//! The docker store: containers that announce themselves are keys.
//!
//! Which key a label or variable is, [`link`](crate::link) knows; here is who is there. A container is a member
//! while it runs and, if it has a health check, is healthy. It leaves at a `kill` with a signal that ends it
//! (TERM, KILL, INT, QUIT, or its own stop signal), so that nobody is sent to it while it drains; other signals do
//! not concern it. One that was told to end is not a member again until it is started anew.
//!
//! **Following.** Events name what changed, and only that is looked at. Every 30 s (`relist=`) all containers are
//! listed, and those that look different are looked at: what a lost event would have told. If that
//! found anything, or a ping beside the stream has no answer, everything begins anew, with events since
//! the last one that came. The API version is negotiated at each connect.
//!
//! **Swarm.** Where the engine is a manager, its services and tasks are members too, and containers of tasks are left to
//! that side: `swarm`. A task leaves when Swarm wants it to, or when its container is told to end, whichever is known first.
//!
//! **What goes wrong.** An engine that does not answer keeps the last tree. A container that cannot be looked at stays as it
//! was, and is told. What is wrong with a container's words is told as a problem of this store.

mod contested;
mod engine;
mod inspect;
mod members;
mod own;
mod services;
mod signal;
mod swarm;

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use tokio::time::{Instant, sleep, sleep_until, timeout_at};
use tracing::info;

use self::engine::{Action, Engine, EngineError, Event, Look};
use self::inspect::Seen;
use self::members::Members;
use self::swarm::{AskError, News, Swarm};
use super::feed::{Feed, Tree};
use super::spec::DockerSpec;
use crate::backoff::Backoff;

/// How long the first tree waits for an engine that is about to join a Swarm.
const JOINING: Duration = Duration::from_secs(15);

const PING: Duration = Duration::from_secs(10);

/// Events that come together are one change: the end of a batch is this much quiet, or its limit.
const QUIET: Duration = Duration::from_millis(2);
const BATCH: Duration = Duration::from_millis(20);

/// How far before the first listing events are asked for: clocks may differ, and old ones do no harm.
const BEFORE: Duration = Duration::from_secs(60);

/// Follows the engine until the task is dropped.
pub(super) async fn follow(spec: DockerSpec, feed: Feed) {
    let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(5));
    let mut session = Session {
        members: Members::new(spec.link.clone(), spec.reach),
        spec,
        feed,
        last_event: None,
        is_manager: false,
        published: false,
        revision: 0,
    };
    loop {
        let error = match session.run(&mut backoff).await {
            Ok(()) => continue,
            Err(error) => error,
        };
        session.feed.failed(&error.to_string());
        sleep(backoff.next_wait()).await;
    }
}

struct Session {
    spec: DockerSpec,
    feed: Feed,
    members: Members,
    /// When the newest event happened, in nanoseconds of the engine's clock.
    last_event: Option<i64>,
    is_manager: bool,
    published: bool,
    revision: u64,
}

impl Session {
    /// One connection's life. Ends well when it should begin anew at once.
    async fn run(&mut self, backoff: &mut Backoff) -> Result<(), EngineError> {
        let engine = Engine::connect(&self.spec.engine).await?;
        let since = self.last_event.unwrap_or_else(|| {
            let start = SystemTime::now() - BEFORE;
            let since = start
                .duration_since(SystemTime::UNIX_EPOCH)
                .unwrap_or_default();
            i64::try_from(since.as_nanos()).unwrap_or(0)
        });
        // Told since before the listing, whenever the stream begins: nothing falls in between.
        let mut events = engine.events(since);
        let mut swarm = Swarm::new(&self.spec, engine.version());
        if self.spec.swarm && !self.published {
            self.begin(&mut swarm).await?;
        }
        self.relist(&engine).await?;
        self.feed.connected("following its events");
        backoff.reset();
        let mut list_at = Instant::now() + self.spec.relist;
        let mut ping_at = Instant::now() + PING;
        loop {
            tokio::select! {
                event = events.next() => {
                    let batch = collect(event?, &mut events).await?;
                    nudge(&mut swarm, &batch);
                    self.take(&engine, batch).await?;
                }
                news = swarm.next(), if self.spec.swarm => self.heed(news),
                () = sleep_until(list_at) => {
                    if self.relist(&engine).await? {
                        // The stream should have told.
                        return Ok(());
                    }
                    list_at = Instant::now() + self.spec.relist;
                }
                () = sleep_until(ping_at) => {
                    engine.ping().await?;
                    ping_at = Instant::now() + PING;
                }
            }
        }
    }

    /// The first tree has the Swarm in it: one without would take its services away.
    async fn begin(&mut self, swarm: &mut Swarm) -> Result<(), EngineError> {
        let limit = Instant::now() + JOINING;
        loop {
            match swarm.next().await {
                Ok(News::Joining) if Instant::now() < limit => {}
                // Whoever cannot join has containers nonetheless.
                Ok(News::Joining) => return Ok(()),
                Err(AskError::Engine(error)) => return Err(error),
                Err(error @ AskError::Status { .. }) if !error.is_refusal() => {
                    return Err(EngineError::Failed {
                        what: "the first look at the Swarm",
                        reason: error.to_string(),
                    });
                }
                news => {
                    self.take_news(news);
                    return Ok(());
                }
            }
        }
    }

    fn heed(&mut self, news: Result<News, AskError>) {
        if self.take_news(news) {
            self.publish();
        }
    }

    /// Whether there is anything different.
    fn take_news(&mut self, news: Result<News, AskError>) -> bool {
        let members = match news {
            Ok(News::Members(members)) => Some(members),
            Ok(News::NoManager) => None,
            Ok(News::AsBefore) => {
                self.feed.note(None);
                return false;
            }
            // It was a manager and will be again, as far as anybody knows.
            Ok(News::Joining) => return false,
            // Somebody between us and the engine lets only some requests through.
            Err(error) if error.is_refusal() => {
                let note = format!(
                    "services of the Swarm are not followed: {error}; allow /info, /tasks, /services and /nodes, or say swarm=off"
                );
                self.feed.note(Some(&note));
                return self.members.put_swarm(None);
            }
            Err(error) => {
                let note =
                    format!("the Swarm does not answer, its members stay as they are: {error}");
                self.feed.note(Some(&note));
                return false;
            }
        };
        self.feed.note(None);
        if members.is_some() != self.is_manager {
            self.is_manager = members.is_some();
            let how = match self.is_manager {
                true => "Swarm manager: following services and tasks",
                false => "no Swarm manager any more: following containers alone",
            };
            info!(store = %self.feed.store, "{how}");
        }
        self.members.put_swarm(members)
    }

    /// Compares everything with the engine, and tells whether anything was different.
    async fn relist(&mut self, engine: &Engine) -> Result<bool, EngineError> {
        let listed = engine.list().await?;
        let standing = own::standing(engine).await?;
        let mut changed = self.members.stand(standing);
        let ids: Vec<String> = self.members.to_look_at(&listed);
        let looked = engine.inspect_all(ids).await;
        changed |= self.members.keep_only(&listed);
        for (id, look) in looked {
            let shown = listed.get(&id).cloned();
            changed |= self.put(&id, look, shown);
        }
        self.publish();
        Ok(changed)
    }

    async fn take(&mut self, engine: &Engine, batch: Vec<Event>) -> Result<(), EngineError> {
        let mut ids = BTreeMap::new();
        let mut is_own = false;
        for event in batch {
            // Another node's clock is another one.
            if event.action != Action::Swarm {
                self.last_event = self.last_event.max(Some(event.at));
            }
            is_own |= self.members.is_own(&event.id);
            match event.action {
                Action::Look => ids.insert(event.id, true),
                // Told once more, of the time before it was started: there may be no second look.
                Action::Gone => {
                    let is_old = self.members.started_after(&event.id, event.at);
                    ids.insert(event.id, is_old)
                }
                Action::Kill(signal) => {
                    self.members.killed(&event.id, &signal, event.at);
                    continue;
                }
                Action::Swarm => continue,
            };
        }
        if is_own {
            self.members.stand(own::standing(engine).await?);
        }
        for id in ids.iter().filter(|(_, look)| !**look).map(|(id, _)| id) {
            self.members.gone(id);
        }
        let look = ids.into_iter().filter(|(_, look)| *look).map(|(id, _)| id);
        for (id, look) in engine.inspect_all(look.collect()).await {
            self.put(&id, look, None);
        }
        self.publish();
        Ok(())
    }

    /// Takes in what a look at one container gave. Whether anything is different now.
    fn put(&mut self, id: &str, look: Look, shown: Option<u64>) -> bool {
        match look {
            Look::Seen(container) => self.members.put(id, Seen::of(&container), shown),
            Look::Gone => self.members.remove(id),
            Look::Failed(problem) => self.members.blur(id, &problem),
        }
    }

    fn publish(&mut self) {
        let is_new = self.members.renew();
        if !is_new && self.published {
            return;
        }
        self.published = true;
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let now = u64::try_from(now.unwrap_or_default().as_micros()).unwrap_or(0);
        self.revision = now.max(self.revision + 1);
        let mut snapshot = self.members.keys().clone();
        snapshot.set_revision(self.revision);
        self.feed.publish(Tree {
            snapshot,
            raw: None,
            newest_key: self.revision,
            problems: self.members.problems(),
        });
    }
}

/// Events after which tasks are different: now, or as soon as Swarm has heard of it.
fn nudge(swarm: &mut Swarm, batch: &[Event]) {
    let is_service = batch.iter().any(|event| event.action == Action::Swarm);
    if is_service || batch.iter().any(|event| event.is_of_task) {
        swarm.nudge(is_service);
    }
}

/// The event and those right behind it.
async fn collect(first: Event, events: &mut engine::Events) -> Result<Vec<Event>, EngineError> {
    let limit = Instant::now() + BATCH;
    let mut batch = vec![first];
    loop {
        let quiet = (Instant::now() + QUIET).min(limit);
        match timeout_at(quiet, events.next()).await {
            Ok(event) => batch.push(event?),
            Err(_) => return Ok(batch),
        }
        if Instant::now() >= limit {
            return Ok(batch);
        }
    }
}

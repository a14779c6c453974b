//! Following changes from a revision on.

use std::time::Duration;

use etcd_client::{Client, EventType, WatchOptions, WatchResponse, WatchStream};
use tokio::time::{Instant, timeout, timeout_at};

use super::connect::{EtcdError, limited};
use super::{Follower, MAX_MESSAGE, Position, REQUEST_TIMEOUT, WatchEnd};

/// A watch that is silent for this long is asked for a sign of life.
const SILENCE: Duration = Duration::from_secs(10);

/// `watch_id` of an answer to a progress request, which belongs to no watcher.
const NO_WATCHER: i64 = -1;

impl Follower {
    /// Applies changes after `position` until the watch ends. An error is the connection's fault.
    pub(super) async fn watch(
        &mut self,
        client: &mut Client,
        position: Position,
        watched: &mut bool,
        check_at: &mut Option<Instant>,
    ) -> Result<WatchEnd, EtcdError> {
        let options = WatchOptions::new()
            .with_prefix()
            .with_start_revision(position.revision + 1)
            .with_progress_notify();
        let mut watch_client = client.watch_client().max_decoding_message_size(MAX_MESSAGE);
        let watch = watch_client.watch(self.tree.prefix(), Some(options));
        let mut stream = limited(REQUEST_TIMEOUT, watch).await?;
        loop {
            let next = next_message(&mut stream);
            let next = match *check_at {
                None => next.await,
                Some(at) => match timeout_at(at, next).await {
                    Ok(message) => message,
                    Err(_) => {
                        *check_at = None;
                        self.check(client).await?;
                        continue;
                    }
                },
            };
            let message = match next {
                Err(error) if error.is_out_of_range() => {
                    return Ok(WatchEnd::ListAgain(error.to_string()));
                }
                other => other?,
            };
            if message.compact_revision() > 0 {
                return Ok(WatchEnd::ListAgain(format!(
                    "revisions up to {} were compacted",
                    message.compact_revision()
                )));
            }
            if message.canceled() {
                let reason = match message.cancel_reason() {
                    "" => "no reason given",
                    reason => reason,
                };
                return Err(EtcdError::Ended(format!("watch refused: {reason}")));
            }
            if message.created() {
                *watched = true;
                let how = format!("following from revision {}", position.revision);
                self.feed.connected(&how);
            }
            self.apply(&message)?;
        }
    }

    /// All events of a message at once: it holds whole revisions.
    fn apply(&mut self, message: &WatchResponse) -> Result<(), EtcdError> {
        let header = Position::of(message.header())?;
        let Some(position) = &mut self.position else {
            return Err(EtcdError::Protocol("watching without a position"));
        };
        if header.cluster != position.cluster {
            return Err(EtcdError::Protocol("another cluster answers the watch"));
        }
        position.term = position.term.max(header.term);
        let before = position.revision;
        let is_progress =
            message.events().is_empty() && !message.created() && message.watch_id() != NO_WATCHER;
        if is_progress {
            position.revision = before.max(header.revision);
        }
        for event in message.events() {
            let Some(kv) = event.kv() else { continue };
            if kv.mod_revision() <= before {
                continue;
            }
            position.revision = position.revision.max(kv.mod_revision());
            match event.event_type() {
                EventType::Put => {
                    self.tree.put(kv.clone());
                }
                EventType::Delete => self.tree.delete(kv.key()),
            }
        }
        let position = *position;
        if position.revision > before {
            self.publish(position);
        }
        Ok(())
    }
}

/// The next message, or the end of a connection that says nothing even when asked.
async fn next_message(stream: &mut WatchStream) -> Result<WatchResponse, EtcdError> {
    let mut asked = false;
    loop {
        let limit = if asked { REQUEST_TIMEOUT } else { SILENCE };
        match timeout(limit, stream.message()).await {
            Ok(Ok(Some(message))) => return Ok(message),
            Ok(Ok(None)) => return Err(EtcdError::Protocol("the server ended the watch")),
            Ok(Err(error)) => return Err(error.into()),
            Err(_) if asked => return Err(EtcdError::Timeout(SILENCE + REQUEST_TIMEOUT)),
            Err(_) => {
                asked = true;
                limited(REQUEST_TIMEOUT, stream.request_progress()).await?;
            }
        }
    }
}

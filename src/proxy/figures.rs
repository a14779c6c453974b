//! What `stats_uri` shows is made on the control side: a worker asks for it here, and waits in the task of the one
//! connection that wants it. Who answers has time and room of its own, and is never waited for by other requests.

use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};

/// Questions that nobody has begun to answer, of all workers. Whoever asks beyond that is answered 503.
const WAITING: usize = 32;

/// How long a worker's client waits for an answer; then 503.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A GET below `stats_uri`, from somebody who may see the figures.
#[derive(Debug)]
pub struct Question {
    pub client: SocketAddr,
    /// What stands behind `stats_uri`, such as `/` or `/page/page.css`.
    pub path: String,
    /// Without the `?`.
    pub query: String,
    pub answer: oneshot::Sender<Told>,
}

/// What is to be sent.
#[derive(Clone, Debug, Default)]
pub struct Told {
    pub status: u16,
    pub content_type: String,
    /// Further field lines, each with its CR LF.
    pub extra: String,
    pub body: Bytes,
}

/// Between the workers and whoever answers.
pub(crate) struct Figures {
    ask: mpsc::Sender<Question>,
    asked: Mutex<Option<mpsc::Receiver<Question>>>,
}

impl Default for Figures {
    fn default() -> Self {
        let (ask, asked) = mpsc::channel(WAITING);
        Self {
            ask,
            asked: Mutex::new(Some(asked)),
        }
    }
}

impl Figures {
    /// `None`: too many wait already, or nobody is there to answer.
    pub(crate) fn ask(
        &self,
        client: SocketAddr,
        path: String,
        query: String,
    ) -> Option<oneshot::Receiver<Told>> {
        let (answer, told) = oneshot::channel();
        let question = Question {
            client,
            path,
            query,
            answer,
        };
        self.ask.try_send(question).ok().map(|()| told)
    }

    pub(crate) fn questions(&self) -> Option<mpsc::Receiver<Question>> {
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        asked.take()
    }
}

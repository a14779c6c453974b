//! Why a request gets an answer of our own: whose fault it is, and which status says so.

use crate::accesslog::Cause;
use crate::proxy::http1::Reject;

/// Why a request is answered by us.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fault {
    pub(super) status: u16,
    pub(super) reason: &'static str,
    pub(super) by: Blame,
    /// The same for the access log, which knows more ways to fail.
    pub(super) cause: Cause,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Blame {
    Client,
    Upstream,
    /// Nobody is there to serve it, or everybody is busy.
    Service,
}

impl Fault {
    pub(super) fn upstream(status: u16, reason: &'static str) -> Self {
        Self {
            status,
            reason,
            by: Blame::Upstream,
            cause: match status {
                504 => Cause::UpstreamTimeout,
                _ => Cause::Upstream,
            },
        }
    }

    /// The upstream answered what cannot be passed on.
    pub(super) fn bad_answer(reason: &'static str) -> Self {
        Self {
            cause: Cause::Refused,
            ..Self::upstream(502, reason)
        }
    }

    pub(super) fn client(status: u16, reason: &'static str) -> Self {
        Self {
            status,
            reason,
            by: Blame::Client,
            cause: match status {
                408 => Cause::ClientTimeout,
                _ => Cause::Refused,
            },
        }
    }

    /// The client went away in the middle of something.
    pub(super) fn client_left(reason: &'static str) -> Self {
        Self {
            cause: Cause::ClientAbort,
            ..Self::client(400, reason)
        }
    }

    /// There is no room for it at the service.
    pub(super) fn no_room(reason: &'static str) -> Self {
        Self {
            status: 503,
            reason,
            by: Blame::Service,
            cause: Cause::Refused,
        }
    }

    /// It waited in vain for room at the service.
    pub(super) fn no_room_in_time(reason: &'static str) -> Self {
        Self {
            cause: Cause::UpstreamTimeout,
            ..Self::no_room(reason)
        }
    }
}

impl From<Reject> for Fault {
    fn from(reject: Reject) -> Self {
        Self::client(reject.status, reject.reason)
    }
}

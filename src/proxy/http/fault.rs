//! Why a request gets an answer of our own: whose fault it is, and which status says so.

use crate::proxy::http1::Reject;

/// Why a request is answered by us.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fault {
    pub(super) status: u16,
    pub(super) reason: &'static str,
    pub(super) by: Blame,
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
        }
    }

    pub(super) fn client(status: u16, reason: &'static str) -> Self {
        Self {
            status,
            reason,
            by: Blame::Client,
        }
    }

    pub(super) fn service(reason: &'static str) -> Self {
        Self {
            status: 503,
            reason,
            by: Blame::Service,
        }
    }
}

impl From<Reject> for Fault {
    fn from(reject: Reject) -> Self {
        Self::client(reject.status, reject.reason)
    }
}

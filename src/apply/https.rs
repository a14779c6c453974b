//! When the HTTPS listeners open: those that were asked for with the first plan, the usual one with
//! the first certificate.

use std::cell::Cell;
use std::io;
use std::net::SocketAddr;

use crate::plan::Plan;
use crate::proxy::{Bound, bind};

/// What can be done about an address that cannot be had.
pub fn unbound_help(flag: &str, error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::PermissionDenied => {
            format!("ports under 1024 need CAP_NET_BIND_SERVICE; or choose another with {flag}")
        }
        io::ErrorKind::AddrNotAvailable => "this machine does not have that address".to_owned(),
        _ => format!("free the port or choose another with {flag}"),
    }
}

#[derive(Default)]
pub struct Https {
    /// Bound at the start, not opened yet.
    waiting: Vec<Bound>,
    /// Bound when there is a certificate.
    usual: Option<SocketAddr>,
    /// Its failure was told.
    told: Cell<bool>,
}

impl Https {
    /// At addresses that were asked for. None at all: nowhere.
    pub fn bound(waiting: Vec<Bound>) -> Self {
        Self {
            waiting,
            ..Self::default()
        }
    }

    /// At an address that nobody asked for, from the first certificate on.
    pub fn with_first_certificate(address: SocketAddr) -> Self {
        Self {
            usual: Some(address),
            ..Self::default()
        }
    }

    /// Binds the usual address if `plan` is the first to have a use for it. Where it cannot be had all
    /// else goes on: nobody said that it must be.
    pub(super) fn stage(&self, plan: &Plan, workers: usize) -> Option<Bound> {
        let address = self.usual.filter(|_| !plan.certificates().is_empty())?;
        match bind(address, workers) {
            Ok(bound) => Some(bound),
            Err(error) => {
                if !self.told.replace(true) {
                    let help = unbound_help("--https", &error);
                    tracing::error!(
                        listener = %address, %error, help,
                        "there are certificates, but HTTPS is not served; --https none says that it need \
                         not be; it is tried again every few seconds"
                    );
                }
                None
            }
        }
    }

    /// Addresses that may be opened now, `staged` among them.
    pub(super) fn commit(&mut self, staged: Option<Bound>) -> Vec<Bound> {
        if let Some(bound) = &staged {
            self.usual = None;
            if self.told.replace(false) {
                tracing::info!(listener = %bound.address, "HTTPS is served now");
            }
        }
        self.waiting.drain(..).chain(staged).collect()
    }
}

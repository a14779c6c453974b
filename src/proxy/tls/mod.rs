//! TLS on connections of clients and upstreams.

mod accept;
mod asks;
mod connect;
#[cfg(feature = "legacy-tls")]
mod legacy;
mod profile;
mod session;
mod termination;
#[cfg(test)]
mod tests;
mod tickets;
pub(crate) mod verify;

pub(crate) use accept::{Handshakes, serve};
pub(crate) use connect::{alert_reason, connect, connect_check};
pub(crate) use session::Session;
pub use termination::Termination;
pub use tickets::now_ms;

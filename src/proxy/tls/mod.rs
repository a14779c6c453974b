//! TLS on connections of clients and upstreams.

mod accept;
mod session;
mod termination;
#[cfg(test)]
mod tests;

pub(crate) use accept::{Handshakes, serve};
pub(crate) use session::Session;
pub use termination::Termination;

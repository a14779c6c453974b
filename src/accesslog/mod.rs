//! The access log: one line for each request and each TCP session.
//!
//! A worker tells a [`Record`]; [`Journal`] makes a line of it at once, by [`Format`], and gathers
//! lines until they are worth handing over. A [`Writer`] is a thread for each [`Target`]: it waits for
//! disks, pipes and sockets, so that no worker ever does. The way between them holds so many bytes and
//! no more; what does not fit is dropped and counted.
//!
//! Nothing here knows a plan, a service or a connection.

mod combined;
mod haproxy;
mod journal;
mod json;
mod record;
mod settings;
mod sink;
mod syslog;
#[cfg(test)]
mod tests;
mod text;
mod time;
mod writer;

pub use journal::Journal;
pub use record::{Cause, Ended, Http, Load, Phase, Record, RequestLine, Times, Upstream};
pub use settings::{Format, Sample, Settings, Syslog, SyslogFormat, SyslogPlace, Target};
pub use writer::{Log, Logs, Tally};

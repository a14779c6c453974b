//! What there is to tell of one request or TCP session: plain data, borrowed for one line.

use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

/// One request, or one TCP session.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// When the first byte of the request came, or the TCP connection.
    pub began: SystemTime,
    pub client: SocketAddr,
    /// Where the client came in.
    pub listener: SocketAddr,
    /// What HAProxy calls a frontend: `http`, or the name of a TCP service.
    pub frontend: &'a str,
    /// The version of TLS that the client speaks to us; `None`: it does not.
    pub tls: Option<&'a str>,
    pub service: Option<&'a str>,
    /// The last one chosen.
    pub upstream: Option<Upstream<'a>>,
    pub times: Times,
    /// From the client.
    pub bytes_up: u64,
    /// To the client, heads included.
    pub bytes_down: u64,
    pub ended: Ended,
    pub load: Load,
    pub retries: u32,
    /// A retry went to another upstream.
    pub redispatched: bool,
    /// The place in the service's queue when it joined; 0 if it did not have to wait.
    pub queue_place: u32,
    /// The generation it was served by; 0 if it was not led anywhere.
    pub generation: u64,
    /// `None`: a TCP session.
    pub http: Option<Http<'a>>,
}

#[derive(Clone, Copy, Debug)]
pub struct Upstream<'a> {
    pub name: &'a str,
    pub address: SocketAddr,
}

/// How long each part took; `None` for what was not reached.
#[derive(Clone, Copy, Debug, Default)]
pub struct Times {
    /// First byte to the end of the head.
    pub request: Option<Duration>,
    pub queue: Option<Duration>,
    /// Out of the queue to a connection, retries included.
    pub connect: Option<Duration>,
    /// Connection to the head of the answer.
    pub response: Option<Duration>,
    pub total: Duration,
}

/// What belongs to HTTP.
#[derive(Clone, Copy, Debug)]
pub struct Http<'a> {
    /// `None`: the client got no answer.
    pub status: Option<u16>,
    /// `None`: what came was no request.
    pub request: Option<RequestLine<'a>>,
    pub request_id: &'a [u8],
    pub host: &'a [u8],
    pub referer: &'a [u8],
    pub user_agent: &'a [u8],
    /// As the client named it by basic authentication, whether or not somebody checked.
    pub user: &'a [u8],
    /// What the client's cookie was worth (`N`one, `V`alid, `I`nvalid, `D`own, `E`xpired), and what
    /// became of it in the answer (`N`othing, `I`nserted, `U`pdated, `R`ewritten, `P`assed on,
    /// `D`eleted); `--` for a service that uses none.
    pub cookies: [u8; 2],
}

#[derive(Clone, Copy, Debug)]
pub struct RequestLine<'a> {
    pub method: &'a [u8],
    pub target: &'a [u8],
    /// `HTTP/1.1`.
    pub version: &'a str,
}

/// HAProxy's termination state: what ended it, and where it was.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ended {
    pub cause: Cause,
    pub phase: Phase,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Cause {
    /// As it should.
    #[default]
    Normal,
    ClientAbort,
    ClientTimeout,
    /// The upstream broke it off, or nobody was there.
    Upstream,
    UpstreamTimeout,
    /// Refused for what it is, or for what the upstream answered.
    Refused,
    /// Answered here.
    Local,
    /// Cut: the program ended, or the upstream left.
    Killed,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Phase {
    #[default]
    Done,
    Request,
    Queue,
    Connect,
    /// Waiting for the head of the answer.
    Headers,
    Data,
}

/// How much was under way when it ended.
#[derive(Clone, Copy, Debug, Default)]
pub struct Load {
    /// Client connections, this one included.
    pub connections: u32,
    /// Others at the service.
    pub service: u32,
    /// Others at the upstream.
    pub upstream: u32,
}

impl Cause {
    pub fn letter(self) -> u8 {
        match self {
            Cause::Normal => b'-',
            Cause::ClientAbort => b'C',
            Cause::ClientTimeout => b'c',
            Cause::Upstream => b'S',
            Cause::UpstreamTimeout => b's',
            Cause::Refused => b'P',
            Cause::Local => b'L',
            Cause::Killed => b'K',
        }
    }
}

impl Phase {
    pub fn letter(self) -> u8 {
        match self {
            Phase::Done => b'-',
            Phase::Request => b'R',
            Phase::Queue => b'Q',
            Phase::Connect => b'C',
            Phase::Headers => b'H',
            Phase::Data => b'D',
        }
    }
}

impl Record<'_> {
    /// Whether it is worth a line however few are wanted: no answer, an answer of 5xx, or an end that
    /// neither side wished.
    pub fn is_failure(&self) -> bool {
        let status = self.http.map_or(Some(200), |http| http.status);
        let is_broken = !matches!(
            self.ended.cause,
            Cause::Normal | Cause::Refused | Cause::Local
        );
        is_broken || status.is_none_or(|status| status >= 500)
    }
}

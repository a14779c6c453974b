//! Headers of the PROXY protocol: who the client behind a proxy is, said in front of a connection's
//! bytes. As HAProxy's `proxy-protocol.txt` has them, versions 1 and 2.
//!
//! Pure: bytes to a header and back. From whom a header is read at all, and who gets one, is decided
//! elsewhere; nothing here guesses whether there is one.
//!
//! Own code and no crate: the point is what is refused, and when. A byte that cannot belong to a header
//! is refused when it comes, what is accepted in parts is what is accepted whole, and an address has one
//! spelling.

mod crc32c;
#[cfg(test)]
mod tests;
mod v1;
mod v2;

use std::net::{IpAddr, SocketAddr};

/// The longest header that is read: the fixed part of version 2, and 4 KiB for addresses and what
/// stands behind them. The specification promises senders 536 bytes; those that pass on the client's
/// certificate need more. Version 1 never has more than 107 bytes.
pub const MOST_BYTES: usize = v2::FIXED + v2::MOST_BLOCK;

/// What a header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Header {
    /// The connection is the sender's own, such as a health check, or of a client without an address:
    /// the addresses of the socket hold.
    Own,
    Client(Pair),
}

/// Between whom the client's connection is. Both addresses of one family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pair {
    pub source: SocketAddr,
    /// What the client connected to.
    pub destination: SocketAddr,
}

impl Pair {
    /// IPv4 inside of IPv6 becomes the IPv4 it is, unless the other one is IPv6.
    pub fn new(source: SocketAddr, destination: SocketAddr) -> Self {
        let bare = |address: SocketAddr| (address.ip().to_canonical(), address.port());
        let ((source, from), (destination, to)) = (bare(source), bare(destination));
        let wide = |ip| match ip {
            IpAddr::V4(ip) => ip.to_ipv6_mapped().into(),
            IpAddr::V6(_) => ip,
        };
        let (source, destination) = match source.is_ipv4() == destination.is_ipv4() {
            true => (source, destination),
            false => (wide(source), wide(destination)),
        };
        Self {
            source: SocketAddr::new(source, from),
            destination: SocketAddr::new(destination, to),
        }
    }
}

/// How far some bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// All of them belong to a header, and more has to come.
    More,
    /// A header of so many bytes; what stands behind them is the client's.
    Whole(Header, usize),
}

/// Why bytes are no header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Reject {
    #[error("does not begin with a PROXY header")]
    NoHeader,
    #[error("line of more than 107 bytes")]
    LongLine,
    #[error("line with a lone CR or LF")]
    BadLineEnd,
    #[error("line that is none of TCP4, TCP6 and UNKNOWN with two addresses and two ports")]
    BadLine,
    #[error("neither version 1 nor 2")]
    UnknownVersion,
    #[error("neither the command LOCAL nor PROXY")]
    UnknownCommand,
    #[error("family or transport that is none")]
    UnknownFamily,
    #[error("client that did not come by TCP")]
    NotTcp,
    #[error("more than 4096 bytes behind the fixed part")]
    LongBlock,
    #[error("too short for its addresses")]
    ShortBlock,
    #[error("TLV that is longer than the header")]
    BadTlv,
    #[error("checksum that is not that of the header")]
    BadChecksum,
}

/// Looks at the first bytes of a connection.
pub fn read(bytes: &[u8]) -> Result<Progress, Reject> {
    match bytes.first() {
        None => Ok(Progress::More),
        Some(b'P') => v1::read(bytes),
        Some(_) => v2::read(bytes),
    }
}

/// How a header is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    V1,
    V2,
    /// Version 2 with what is known of the client's request and of its TLS session.
    V2Ssl,
}

impl Form {
    pub const ALL: [Self; 3] = [Self::V1, Self::V2, Self::V2Ssl];

    pub fn word(self) -> &'static str {
        match self {
            Self::V1 => "v1",
            Self::V2 => "v2",
            Self::V2Ssl => "v2-ssl",
        }
    }
}

/// What [`Form::V2Ssl`] says besides the addresses. A text that a header has no room for is left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Details<'a> {
    /// The name that the client asked for in its hello.
    pub authority: Option<&'a str>,
    pub alpn: Option<&'a [u8]>,
    /// What a request is called in logs.
    pub unique_id: Option<&'a [u8]>,
    /// `None`: the client's connection has no TLS, or it is not ended here.
    pub tls: Option<Tls<'a>>,
}

/// The client's TLS session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tls<'a> {
    /// As OpenSSL calls them: `TLSv1.3`, `TLS_AES_128_GCM_SHA256`.
    pub version: Option<&'a str>,
    pub cipher: Option<&'a str>,
    /// The common name in the client's certificate, which was verified; `None`: it was asked for none, or showed
    /// none.
    pub client: Option<&'a str>,
}

/// Appends the header of a client's connection.
pub fn write(form: Form, pair: Pair, details: &Details<'_>, out: &mut Vec<u8>) {
    match form {
        Form::V1 => v1::write(pair, out),
        Form::V2 => v2::write(pair, &Details::default(), out),
        Form::V2Ssl => v2::write(pair, details, out),
    }
}

/// Appends the header of a connection that is the sender's own.
pub fn write_own(form: Form, out: &mut Vec<u8>) {
    match form {
        Form::V1 => v1::write_unknown(out),
        Form::V2 | Form::V2Ssl => v2::write_local(out),
    }
}

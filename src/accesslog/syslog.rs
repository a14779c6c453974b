//! Syslog by datagrams: RFC 3164 as HAProxy sends it, or RFC 5424, over UDP or a unix socket.

use std::io::{self, Write};
use std::net::{SocketAddr, ToSocketAddrs, UdpSocket};
use std::os::unix::net::UnixDatagram;
use std::time::{Duration, Instant, SystemTime};

use super::settings::{Syslog, SyslogFormat, SyslogPlace};
use super::sink::{PAUSE, Written};
use super::text::{decimal, thousandths};
use super::time::Stamps;

/// Requests are told at `info`, all of them, as HAProxy does.
const INFO: u8 = 6;

/// A unix socket whose reader sleeps is waited for as long, once for each batch.
const PATIENCE: Duration = Duration::from_secs(1);

/// An absent UDP server is noticed now and then only: it is well when nothing was heard for so long.
const QUIET: Duration = Duration::from_secs(5);

/// A name is looked up again after this long.
const LOOKED_UP: Duration = Duration::from_secs(60);

pub(super) struct SyslogSink {
    to: Syslog,
    host: String,
    stamps: Stamps,
    socket: Option<(Socket, Instant)>,
    tried: Option<Instant>,
    failed: Option<Instant>,
    datagram: Vec<u8>,
}

enum Socket {
    Udp(UdpSocket),
    Unix(UnixDatagram),
}

impl SyslogSink {
    pub(super) fn new(to: &Syslog) -> Self {
        let host = rustix::system::uname();
        let host = host.nodename().to_string_lossy();
        Self {
            to: to.clone(),
            host: host.split_whitespace().next().unwrap_or("-").to_owned(),
            stamps: Stamps::default(),
            socket: None,
            tried: None,
            failed: None,
            datagram: Vec::new(),
        }
    }

    /// One datagram for each line.
    pub(super) fn write(&mut self, bytes: &[u8]) -> Written {
        let mut written = Written::default();
        self.datagram.clear();
        header(&self.to, &self.host, &mut self.stamps, &mut self.datagram);
        let header = self.datagram.len();
        for line in bytes.split_inclusive(|b| *b == b'\n') {
            // A reader that sleeps costs its patience once, not for each line.
            if written.error.is_some() {
                written.lost += 1;
                continue;
            }
            self.datagram.truncate(header);
            self.datagram.extend_from_slice(line);
            let length = self.to.length as usize;
            if self.datagram.len() > length {
                self.datagram.truncate(length - 1);
                self.datagram.push(b'\n');
            }
            if let Err(error) = self.send() {
                written.lost += 1;
                written.error = Some(error);
                self.failed = Some(Instant::now());
            }
        }
        written
    }

    pub(super) fn is_well(&self) -> bool {
        self.failed.is_none_or(|failed| failed.elapsed() >= QUIET)
    }

    /// Sends the datagram; once more over a new socket if the old one lost its other end, as happens
    /// when the server is started anew.
    fn send(&mut self) -> io::Result<()> {
        let is_old = |(_, since): &(Socket, Instant)| {
            matches!(self.to.place, SyslogPlace::Name(..)) && since.elapsed() >= LOOKED_UP
        };
        if self.socket.as_ref().is_some_and(is_old) {
            self.socket = None;
        }
        if let Some((socket, _)) = &self.socket {
            match socket.send(&self.datagram) {
                Ok(()) => return Ok(()),
                // Sleeping: another socket would find it sleeping too.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Err(error),
                // A UDP socket is told of the datagram before this one, and is as good as new.
                Err(_) if matches!(socket, Socket::Udp(_)) => {
                    self.failed = Some(Instant::now());
                    return socket.send(&self.datagram);
                }
                Err(_) => self.socket = None,
            }
        }
        if self.tried.is_some_and(|tried| tried.elapsed() < PAUSE) {
            return Err(io::Error::other("it could not be reached a moment ago"));
        }
        self.tried = Some(Instant::now());
        let socket = Socket::open(&self.to.place)?;
        socket.send(&self.datagram)?;
        self.socket = Some((socket, Instant::now()));
        self.tried = None;
        Ok(())
    }
}

impl Socket {
    fn open(place: &SyslogPlace) -> io::Result<Self> {
        let address = match place {
            SyslogPlace::Address(address) => *address,
            SyslogPlace::Name(name, port) => look_up(name, *port)?,
            SyslogPlace::Unix(path) => {
                let socket = UnixDatagram::unbound()?;
                socket.connect(path)?;
                socket.set_write_timeout(Some(PATIENCE))?;
                return Ok(Socket::Unix(socket));
            }
        };
        let any: SocketAddr = match address {
            SocketAddr::V4(_) => ([0; 4], 0).into(),
            SocketAddr::V6(_) => ([0; 16], 0).into(),
        };
        let socket = UdpSocket::bind(any)?;
        socket.connect(address)?;
        Ok(Socket::Udp(socket))
    }

    fn send(&self, datagram: &[u8]) -> io::Result<()> {
        match self {
            Socket::Udp(socket) => socket.send(datagram),
            Socket::Unix(socket) => socket.send(datagram),
        }
        .map(|_| ())
    }
}

fn look_up(name: &str, port: u16) -> io::Result<SocketAddr> {
    let mut found = (name, port).to_socket_addrs()?;
    found
        .next()
        .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "the name has no address"))
}

/// What stands in front of a line.
fn header(to: &Syslog, host: &str, stamps: &mut Stamps, out: &mut Vec<u8>) {
    let (second, ms) = stamps.at(SystemTime::now());
    out.push(b'<');
    decimal(u64::from(to.facility * 8 + INFO), out);
    out.push(b'>');
    let pid = std::process::id();
    let result = match to.format {
        SyslogFormat::Rfc3164 => write!(out, "{} {}[{pid}]: ", second.syslog, to.tag),
        SyslogFormat::Rfc5424 => {
            out.extend_from_slice(b"1 ");
            out.extend_from_slice(second.utc.as_bytes());
            out.push(b'.');
            thousandths(ms, out);
            write!(out, "Z {host} {} {pid} - - ", to.tag)
        }
    };
    // Writing to a vector does not fail.
    debug_assert!(result.is_ok());
}

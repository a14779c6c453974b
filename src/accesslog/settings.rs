//! What is logged, how and where to, as checked settings say it.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

/// `access_log`, `access_log_format` and `access_log_sample`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// `None`: off.
    pub target: Option<Target>,
    /// `None`: `json`, or `httplog` with `compat` `kontena`.
    pub format: Option<Format>,
    pub sample: Sample,
}

/// How a line looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    #[default]
    Json,
    /// HAProxy's `option httplog`, and `option tcplog` for TCP services.
    Httplog,
    /// The Common Log Format. TCP sessions have no line in it.
    Common,
    /// The same with referer and user agent.
    Combined,
}

impl Format {
    pub const ALL: [Format; 4] = [
        Format::Json,
        Format::Httplog,
        Format::Common,
        Format::Combined,
    ];

    pub fn word(self) -> &'static str {
        match self {
            Format::Json => "json",
            Format::Httplog => "httplog",
            Format::Common => "common",
            Format::Combined => "combined",
        }
    }
}

/// The share of lines that are written, failures aside, which always are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    millionths: u32,
}

impl Sample {
    const WHOLE: u32 = 1_000_000;

    /// `None` if it is more than all.
    pub fn new(millionths: u32) -> Option<Self> {
        (millionths <= Self::WHOLE).then_some(Self { millionths })
    }

    pub(super) fn takes_one(self) -> bool {
        self.millionths == Self::WHOLE || fastrand::u32(0..Self::WHOLE) < self.millionths
    }
}

impl Default for Sample {
    fn default() -> Self {
        Self {
            millionths: Self::WHOLE,
        }
    }
}

impl fmt::Display for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", f64::from(self.millionths) / 1e6)
    }
}

/// Where lines go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    Stdout,
    File(PathBuf),
    Syslog(Syslog),
}

/// A syslog server and what it is told in front of each line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Syslog {
    pub place: SyslogPlace,
    pub format: SyslogFormat,
    /// What the program is called in it.
    pub tag: String,
    /// 0 to 23.
    pub facility: u8,
    /// A longer datagram is cut to this many bytes.
    pub length: u32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SyslogPlace {
    Address(SocketAddr),
    /// Looked up by whoever writes.
    Name(String, u16),
    /// A datagram socket such as `/dev/log`.
    Unix(PathBuf),
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SyslogFormat {
    /// The old one, without a host name, as HAProxy sends it.
    #[default]
    Rfc3164,
    Rfc5424,
}

impl Syslog {
    pub const PORT: u16 = 514;
    pub const TAG: &str = "pointsman";
    /// What fits into a datagram.
    pub const LENGTH: u32 = 65_000;
    /// By number.
    pub const FACILITIES: [&str; 24] = [
        "kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "auth2",
        "ftp", "ntp", "audit", "alert", "cron2", "local0", "local1", "local2", "local3", "local4",
        "local5", "local6", "local7",
    ];

    /// A place with all else as it is when nothing is said: `local0`, RFC 3164.
    pub fn at(place: SyslogPlace) -> Self {
        Self {
            place,
            format: SyslogFormat::default(),
            tag: Self::TAG.to_owned(),
            facility: 16,
            length: Self::LENGTH,
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::Stdout => f.write_str("stdout"),
            Target::File(path) => write!(f, "file:{}", path.display()),
            Target::Syslog(syslog) => syslog.fmt(f),
        }
    }
}

impl fmt::Display for Syslog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            SyslogPlace::Address(address) => match address.ip() {
                IpAddr::V6(ip) => write!(f, "udp:[{ip}]:{}", address.port())?,
                ip => write!(f, "udp:{ip}:{}", address.port())?,
            },
            SyslogPlace::Name(name, port) => write!(f, "udp:{name}:{port}")?,
            SyslogPlace::Unix(path) => write!(f, "unix:{}", path.display())?,
        }
        if self.length != Self::LENGTH {
            write!(f, " len {}", self.length)?;
        }
        if self.format == SyslogFormat::Rfc5424 {
            f.write_str(" format rfc5424")?;
        }
        if self.tag != Self::TAG {
            write!(f, " tag {}", self.tag)?;
        }
        write!(f, " {}", Self::FACILITIES[usize::from(self.facility)])
    }
}

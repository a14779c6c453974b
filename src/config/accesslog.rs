//! `access_log`, `access_log_format` and `access_log_sample`.
//!
//! A syslog server is written as HAProxy writes it: `127.0.0.1:514 len 2048 local1 info`.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

use super::fields::Fields;
use super::unit::{Balancer, LogFiles};
use super::values::{self, Problem, unknown_word};
use crate::accesslog::{Format, Sample, Settings, Syslog, SyslogFormat, SyslogPlace, Target};
use crate::diag::quoted;

/// The only socket that a key may name.
const DEV_LOG: &str = "/dev/log";

/// Names that are files, and not a way out of their directory.
const FILE_NAME_BYTES: usize = 200;

const LENGTHS: std::ops::RangeInclusive<u32> = 80..=65_000;

/// HAProxy's levels. Requests are told at `info`.
const LEVELS: [&str; 8] = [
    "emerg", "alert", "crit", "err", "warning", "notice", "info", "debug",
];

pub(super) fn settings(fields: &mut Fields<'_>, defaults: &Balancer) -> Settings {
    let log = &defaults.access_log;
    let files = &defaults.log_files;
    Settings {
        target: fields
            .read("access_log", |text| target(text, files))
            .unwrap_or_else(|| log.target.clone()),
        format: fields.read("access_log_format", format).or(log.format),
        sample: fields
            .read("access_log_sample", sample)
            .unwrap_or(log.sample),
    }
}

fn format(text: &str) -> Result<Format, Problem> {
    let word = text.to_ascii_lowercase();
    if word == "tcplog" {
        return Err(Problem::new(
            "\"tcplog\" is no format of its own",
            "write \"httplog\"; sessions of TCP services are written as tcplog by it",
        ));
    }
    let mut all = Format::ALL.into_iter();
    all.find(|format| format.word() == word)
        .ok_or_else(|| unknown_word(text, &Format::ALL.map(Format::word)))
}

/// `1`, `0.1`, `10%`.
fn sample(text: &str) -> Result<Sample, Problem> {
    let (number, per_whole) = match text.strip_suffix('%') {
        Some(number) => (number.trim_end(), 10_000.0),
        None => (text, 1_000_000.0),
    };
    let is_plain = !number.is_empty()
        && number.bytes().all(|b| b.is_ascii_digit() || b == b'.')
        && number.len() <= 10;
    let share: Option<f64> = number.parse().ok().filter(|_| is_plain);
    let Some(share) = share else {
        return Err(Problem::new(
            format!("{} is no share", quoted(text)),
            "write a number from 0 to 1, such as 0.1, or one with a percent sign, such as 10%",
        ));
    };
    Sample::new((share * per_whole).round() as u32).ok_or_else(|| {
        Problem::new(
            format!("{} is out of range", quoted(text)),
            "it goes from 0, which leaves failures only, to 1, which is all",
        )
    })
}

/// `off`, `stdout`, `file:PATH`, or a syslog server.
fn target(text: &str, files: &LogFiles) -> Result<Option<Target>, Problem> {
    let mut words = text.split_ascii_whitespace();
    let first = words.next().unwrap_or_default();
    let rest: Vec<&str> = words.collect();
    let word = first.to_ascii_lowercase();
    if let Some(path) = text.strip_prefix("file:") {
        return file(text, path.trim(), files).map(|path| Some(Target::File(path)));
    }
    if matches!(word.as_str(), "off" | "none" | "false" | "no" | "stdout") {
        if !rest.is_empty() {
            return Err(Problem::new(
                format!("{} says more than {word}", quoted(text)),
                format!("write \"{word}\" alone"),
            ));
        }
        return Ok((word == "stdout").then_some(Target::Stdout));
    }
    let place = place(text, first, files)?;
    syslog(text, place, &rest).map(|syslog| Some(Target::Syslog(syslog)))
}

fn file(text: &str, path: &str, files: &LogFiles) -> Result<PathBuf, Problem> {
    let dir = match files {
        LogFiles::Anywhere if Path::new(path).is_absolute() && !path.ends_with('/') => {
            return Ok(path.into());
        }
        LogFiles::Anywhere => {
            return Err(Problem::new(
                format!("{} names no file", quoted(text)),
                "write the whole path, such as file:/var/log/pointsman/access.log",
            ));
        }
        LogFiles::Nowhere => {
            return Err(Problem::new(
                format!("{} names a file, which a key may not", quoted(text)),
                "start with --access-log-dir DIR to allow files in it, or give the file by \
                 --access-log",
            ));
        }
        LogFiles::Below(dir) => dir,
    };
    let is_name = path
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
        && !path.is_empty()
        && !path.starts_with('.')
        && path.len() <= FILE_NAME_BYTES;
    if !is_name {
        return Err(Problem::new(
            format!("{} is not the name of a file", quoted(text)),
            "a key names a file in --access-log-dir by letters, digits, dots, dashes and \
             underscores, such as file:access.log",
        ));
    }
    Ok(dir.join(path))
}

fn place(text: &str, first: &str, files: &LogFiles) -> Result<SyslogPlace, Problem> {
    let path = first
        .strip_prefix("unix:")
        .or(Some(first).filter(|first| first.starts_with('/')));
    if let Some(path) = path {
        if !path.starts_with('/') || path.len() > 100 {
            return Err(Problem::new(
                format!("{} names no socket", quoted(text)),
                "write the whole path, such as unix:/dev/log",
            ));
        }
        if *files != LogFiles::Anywhere && path != DEV_LOG {
            return Err(Problem::new(
                format!("{} names a socket, which a key may not", quoted(text)),
                "a key may say unix:/dev/log; give another by --access-log",
            ));
        }
        return Ok(SyslogPlace::Unix(path.into()));
    }
    let is_marked = first.starts_with("udp:");
    let address = first.strip_prefix("udp:").unwrap_or(first);
    if let Ok(address) = address.parse::<SocketAddr>()
        && address.port() > 0
    {
        return Ok(SyslogPlace::Address(address));
    }
    let bare = address.strip_prefix('[').and_then(|a| a.strip_suffix(']'));
    let ip = match bare {
        Some(v6) => v6.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
        None => address.parse::<IpAddr>().ok(),
    };
    if let Some(ip) = ip {
        return Ok(SyslogPlace::Address((ip, Syslog::PORT).into()));
    }
    let (name, port) = match address.rsplit_once(':') {
        Some((name, port)) => (name, Some(port)),
        None => (address, None),
    };
    // Without either, it is a word that somebody mistyped.
    if !is_marked && port.is_none() {
        let known = ["off", "stdout", "file:PATH", "udp:ADDRESS", "unix:PATH"];
        let problem = unknown_word(text, &known);
        return Err(problem);
    }
    let is_name = !name.is_empty()
        && name.len() <= 253
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
    let port = match port {
        Some(port) => values::port(port).ok(),
        None => Some(Syslog::PORT),
    };
    match port {
        Some(port) if is_name => Ok(SyslogPlace::Name(name.to_owned(), port)),
        _ => Err(Problem::new(
            format!("{} is no address of a syslog server", quoted(text)),
            "write an address or a name and a port, such as udp:127.0.0.1:514 or \
             udp:[::1]:514",
        )),
    }
}

/// What stands behind the place, in HAProxy's order: `len N`, `format F`, `tag T`, facility, level.
fn syslog(text: &str, place: SyslogPlace, words: &[&str]) -> Result<Syslog, Problem> {
    let mut syslog = Syslog::at(place);
    let mut words = words.iter().copied();
    let mut next = words.next();
    while let Some(option @ ("len" | "format" | "tag")) = next {
        let value = words.next().unwrap_or_default();
        match option {
            "len" => {
                syslog.length = values::count(value, LENGTHS).map_err(|problem| {
                    within(text, &format!("len {}", problem.message), problem)
                })?;
            }
            "format" => {
                syslog.format = match value {
                    "rfc3164" => SyslogFormat::Rfc3164,
                    "rfc5424" => SyslogFormat::Rfc5424,
                    _ => {
                        let problem = unknown_word(value, &["rfc3164", "rfc5424"]);
                        let message = format!("format {}", problem.message);
                        return Err(within(text, &message, problem));
                    }
                }
            }
            _ => {
                let is_tag = !value.is_empty()
                    && value.len() <= 48
                    && value
                        .bytes()
                        .all(|b| b.is_ascii_alphanumeric() || b"._-/".contains(&b));
                if !is_tag {
                    let problem = Problem::new(
                        "",
                        "a tag has letters, digits, dots, dashes and underscores",
                    );
                    let message = format!("tag {} is none", quoted(value));
                    return Err(within(text, &message, problem));
                }
                value.clone_into(&mut syslog.tag);
            }
        }
        next = words.next();
    }
    if let Some(facility) = next {
        let Some(at) = Syslog::FACILITIES.iter().position(|f| *f == facility) else {
            let problem = unknown_word(facility, &Syslog::FACILITIES);
            let message = format!("facility {}", problem.message);
            return Err(within(text, &message, problem));
        };
        syslog.facility = at as u8;
    }
    match words.next() {
        None | Some("info" | "debug") => {}
        Some(level) if LEVELS.contains(&level) => {
            return Err(Problem::new(
                format!("{} leaves out every line", quoted(text)),
                format!("requests are told at level info, and {level} is above it; write info"),
            ));
        }
        Some(level) => {
            let problem = unknown_word(level, &LEVELS);
            let message = format!("level {}", problem.message);
            return Err(within(text, &message, problem));
        }
    }
    match words.next() {
        None => Ok(syslog),
        Some(more) => Err(Problem::new(
            format!("{} goes on with {}", quoted(text), quoted(more)),
            "nothing comes behind the level",
        )),
    }
}

/// A problem with one word of several.
fn within(text: &str, message: &str, problem: Problem) -> Problem {
    Problem {
        message: format!("{}: {message}", quoted(text)),
        help: problem.help,
    }
}

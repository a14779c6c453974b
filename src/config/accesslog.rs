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

#[cfg(test)]
mod tests {
    use super::super::unit::InfoHeaders;
    use super::super::{Accepted, Unit, parse};
    use super::*;
    use crate::names::UnitName;

    fn balancer(field: &str, value: &str, files: LogFiles) -> Result<Balancer, String> {
        let text = format!("balancer:\n  {field}: {value:?}\n");
        let defaults = Balancer {
            log_files: files,
            ..Balancer::default()
        };
        match parse(&UnitName::from("balancer"), &text, &defaults) {
            Ok(Accepted {
                unit: Unit::Balancer(balancer),
                warnings,
                ..
            }) if warnings.is_empty() => Ok(balancer),
            Ok(other) => panic!("{other:?}"),
            Err(problems) => {
                let lines: Vec<_> = problems.iter().map(ToString::to_string).collect();
                Err(lines.join("\n").replace("error: balancer:", ""))
            }
        }
    }

    fn keys() -> LogFiles {
        LogFiles::Below("/var/log/pointsman".into())
    }

    /// The target as a key writes it, and as it is shown.
    #[track_caller]
    fn target(value: &str, shown: &str) {
        let balancer = balancer("access_log", value, keys()).expect(value);
        let target = balancer.access_log.target;
        let target = target.map_or("off".to_owned(), |target| target.to_string());
        assert_eq!(target, shown);
    }

    #[track_caller]
    fn refused(field: &str, value: &str, expected: &str) {
        assert_eq!(
            balancer(field, value, keys()).expect_err(value),
            format!("2:{}: {expected}", field.len() + 5)
        );
    }

    #[test]
    fn a_target_is_a_word_a_file_or_a_syslog_server_as_haproxy_writes_it() {
        target("off", "off");
        target("None", "off");
        target("STDOUT", "stdout");
        target("file:access.log", "file:/var/log/pointsman/access.log");
        target("127.0.0.1 local1 info", "udp:127.0.0.1:514 local1");
        target("127.0.0.1:5140", "udp:127.0.0.1:5140 local0");
        target("udp:[::1] daemon debug", "udp:[::1]:514 daemon");
        target("[::1]:5140 local7", "udp:[::1]:5140 local7");
        target("udp:logs.example", "udp:logs.example:514 local0");
        target("logs.example:514", "udp:logs.example:514 local0");
        target("unix:/dev/log", "unix:/dev/log local0");
        target(
            "/dev/log len 2048 format rfc5424 tag lb user",
            "unix:/dev/log len 2048 format rfc5424 tag lb user",
        );
    }

    #[test]
    fn a_flag_may_name_any_file_and_socket_a_key_only_what_it_was_given() {
        let shown = |value: &str, files| {
            let balancer = balancer("access_log", value, files)?;
            Ok::<_, String>(balancer.access_log.target.expect("a target").to_string())
        };
        let flag = || LogFiles::Anywhere;
        assert_eq!(
            shown("file:/var/log/a b.log", flag()).as_deref(),
            Ok("file:/var/log/a b.log")
        );
        assert_eq!(
            shown("unix:/run/x", flag()).as_deref(),
            Ok("unix:/run/x local0")
        );
        assert_eq!(
            shown("file:access.log", flag()).unwrap_err(),
            "2:15: access_log \"file:access.log\" names no file; write the whole path, such as \
             file:/var/log/pointsman/access.log"
        );
        assert_eq!(
            shown("file:access.log", LogFiles::Nowhere).unwrap_err(),
            "2:15: access_log \"file:access.log\" names a file, which a key may not; start with \
             --access-log-dir DIR to allow files in it, or give the file by --access-log"
        );
        for name in ["/etc/passwd", "../x", "a/b", ".hidden", "", "a b"] {
            let report = shown(&format!("file:{name}"), keys()).unwrap_err();
            assert_eq!(
                report,
                format!(
                    "2:15: access_log \"file:{name}\" is not the name of a file; a key names a file \
                     in --access-log-dir by letters, digits, dots, dashes and underscores, such as \
                     file:access.log"
                )
            );
        }
        assert_eq!(
            shown("unix:/run/docker.sock", keys()).unwrap_err(),
            "2:15: access_log \"unix:/run/docker.sock\" names a socket, which a key may not; a key \
             may say unix:/dev/log; give another by --access-log"
        );
    }

    #[test]
    fn a_bad_target_says_which_word_is_wrong_and_what_to_write() {
        refused(
            "access_log",
            "stdut",
            "access_log \"stdut\" is unknown; did you mean \"stdout\"?",
        );
        refused(
            "access_log",
            "syslog",
            "access_log \"syslog\" is unknown; it is one of off, stdout, file:PATH, udp:ADDRESS, \
             unix:PATH",
        );
        refused(
            "access_log",
            "stdout local0",
            "access_log \"stdout local0\" says more than stdout; write \"stdout\" alone",
        );
        refused(
            "access_log",
            "udp:a_host:0",
            "access_log \"udp:a_host:0\" is no address of a syslog server; write an address or a \
             name and a port, such as udp:127.0.0.1:514 or udp:[::1]:514",
        );
        refused(
            "access_log",
            "unix:dev/log",
            "access_log \"unix:dev/log\" names no socket; write the whole path, such as \
             unix:/dev/log",
        );
        refused(
            "access_log",
            "127.0.0.1 locl1",
            "access_log \"127.0.0.1 locl1\": facility \"locl1\" is unknown; did you mean \
             \"local1\"?",
        );
        refused(
            "access_log",
            "127.0.0.1 local1 notice",
            "access_log \"127.0.0.1 local1 notice\" leaves out every line; requests are told at \
             level info, and notice is above it; write info",
        );
        refused(
            "access_log",
            "127.0.0.1 local1 inf",
            "access_log \"127.0.0.1 local1 inf\": level \"inf\" is unknown; did you mean \"info\"?",
        );
        refused(
            "access_log",
            "127.0.0.1 local1 info notice",
            "access_log \"127.0.0.1 local1 info notice\" goes on with \"notice\"; nothing comes \
             behind the level",
        );
        refused(
            "access_log",
            "127.0.0.1 len 10 local1",
            "access_log \"127.0.0.1 len 10 local1\": len \"10\" is out of range; it goes from 80 to \
             65000",
        );
        refused(
            "access_log",
            "127.0.0.1 format raw local1",
            "access_log \"127.0.0.1 format raw local1\": format \"raw\" is unknown; it is one of \
             rfc3164, rfc5424",
        );
        refused(
            "access_log",
            "127.0.0.1 tag a[b local1",
            "access_log \"127.0.0.1 tag a[b local1\": tag \"a[b\" is none; a tag has letters, \
             digits, dots, dashes and underscores",
        );
    }

    #[test]
    fn a_format_is_one_of_four_words() {
        let format = |value: &str| {
            let balancer = balancer("access_log_format", value, keys()).expect(value);
            balancer.log_format().word()
        };
        assert_eq!(format("HTTPlog"), "httplog");
        assert_eq!(format("combined"), "combined");
        assert_eq!(format(""), "json");
        refused(
            "access_log_format",
            "comon",
            "access_log_format \"comon\" is unknown; did you mean \"common\"?",
        );
        refused(
            "access_log_format",
            "tcplog",
            "access_log_format \"tcplog\" is no format of its own; write \"httplog\"; sessions of \
             TCP services are written as tcplog by it",
        );
    }

    #[test]
    fn a_share_is_a_number_or_a_percentage() {
        let share = |value: &str| {
            let balancer = balancer("access_log_sample", value, keys()).expect(value);
            balancer.access_log.sample.to_string()
        };
        assert_eq!(share("1"), "1");
        assert_eq!(share("0.1"), "0.1");
        assert_eq!(share("10%"), "0.1");
        assert_eq!(share("0.5 %"), "0.005");
        assert_eq!(share("0"), "0");
        for value in ["many", "-1", "1e-3", "nan", "%", "0x1"] {
            refused(
                "access_log_sample",
                value,
                &format!(
                    "access_log_sample {value:?} is no share; write a number from 0 to 1, such as \
                     0.1, or one with a percent sign, such as 10%"
                ),
            );
        }
        for value in ["1.1", "101%", "9999999999"] {
            refused(
                "access_log_sample",
                value,
                &format!(
                    "access_log_sample {value:?} is out of range; it goes from 0, which leaves \
                     failures only, to 1, which is all"
                ),
            );
        }
    }

    #[test]
    fn info_headers_are_named_or_none() {
        let headers = |value: &str| balancer("info_headers", value, keys()).map(|b| b.info_headers);
        assert_eq!(headers("none"), Ok(InfoHeaders::NONE));
        assert_eq!(headers(""), Ok(InfoHeaders::default()));
        let some = headers("X-Upstream-Addr, x-proxy-id").unwrap();
        assert_eq!(some.to_string(), "x-proxy-id,x-upstream-addr");
        refused(
            "info_headers",
            "x-request-id, x-proxi-id",
            "info_headers \"x-proxi-id\" is unknown; did you mean \"x-proxy-id\"?",
        );
        refused(
            "info_headers",
            "none,x-proxy-id",
            "info_headers \"none\" stands beside names; write none alone, or the names without it",
        );
    }

    #[test]
    fn a_service_stays_out_of_the_log_by_a_word() {
        let service = |value: &str| {
            let text = format!("service:\n  name: web\n  access_log: {value:?}\n");
            match parse(&UnitName::from("services/web"), &text, &Balancer::default()) {
                Ok(Accepted {
                    unit: Unit::Service(service),
                    ..
                }) => Ok(service.access_log),
                Ok(other) => panic!("{other:?}"),
                Err(problems) => Err(problems[0].to_string()),
            }
        };
        assert_eq!(service("off"), Ok(false));
        assert_eq!(service(""), Ok(true));
        assert_eq!(
            service("stdout").unwrap_err(),
            "error: services/web:3:15: access_log \"stdout\" is neither true nor false; write true \
             or false"
        );
    }
}

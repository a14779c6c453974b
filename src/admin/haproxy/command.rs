//! Lines of HAProxy's command line interface, as far as they are understood here.

use std::time::Duration;

use super::stat::{Of, Only, Scope};

/// The longest that somebody may ask to be waited for between two lines.
const MAX_IDLE: u64 = 600;

pub(super) const HELP: &str = "\
  disable server <bk>/<srv>               : drain a server (also: set server ... state maint)
  enable server <bk>/<srv>                : undo it
  get weight <bk>/<srv>                   : report a server's weight
  help                                    : this list
  prompt                                  : toggle interactive mode with prompt
  quit                                    : disconnect
  set server <bk>/<srv> state <st>        : ready, drain or maint; maint drains
  set server <bk>/<srv> weight <n>[%]     : change a server's weight
  set timeout cli <delay>                 : change the time after which an idle session is closed
  set weight <bk>/<srv> <n>[%]            : change a server's weight
  show backend                            : list services
  show info                               : report information about the running process
  show servers state [<backend>]          : dump the state of servers
  show stat [up|no-maint]* [{<iid>|<proxy>} <type> <sid>] : report counters for each proxy and server
  show version                            : show version of the current process
";

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Command {
    Prompt,
    Quit,
    Idle(Duration),
    Stat(Scope),
    Info,
    Version,
    Backends,
    ServersState(Option<String>),
    GetWeight(String),
    /// Of `PROXY/SERVER`.
    Change(String, Wish),
    /// An answer that takes no looking.
    Say(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wish {
    Ready,
    Drain,
    Weight(Weight),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Weight {
    To(u16),
    Percent(u16),
}

/// The commands of one line.
pub(super) fn read(line: &str) -> Vec<Command> {
    split(line).iter().map(|words| one(words)).collect()
}

fn one(words: &[String]) -> Command {
    let words: Vec<_> = words.iter().map(String::as_str).collect();
    match *words {
        ["help" | "?", ..] => say(format!(
            "The following commands are valid at this level:\n{HELP}"
        )),
        ["prompt", ..] => Command::Prompt,
        ["quit", ..] => Command::Quit,
        ["set", "timeout", "cli", delay] => idle(delay),
        ["show", "stat", ref rest @ ..] => stat(rest),
        ["show", "info"] => Command::Info,
        ["show", "info", form, ..] => form_unknown("show info", form),
        ["show", "version", ..] => Command::Version,
        ["show", "backend", ..] => Command::Backends,
        ["show", "servers", "state"] => Command::ServersState(None),
        ["show", "servers", "state", name, ..] => Command::ServersState(Some(name.to_owned())),
        ["enable", "server", ref rest @ ..] => about(rest, Wish::Ready),
        ["disable", "server", ref rest @ ..] => about(rest, Wish::Drain),
        ["get", "weight", ref rest @ ..] => match named(rest) {
            Ok(server) => Command::GetWeight(server),
            Err(told) => told,
        },
        ["set", "weight", ref rest @ ..] => match (named(rest), rest.get(1)) {
            (Ok(server), Some(value)) => weight(server, value),
            (Ok(_), None) => say("Require <weight> or <weight%>."),
            (Err(told), _) => told,
        },
        ["set", "server", ref rest @ ..] => match named(rest) {
            Ok(server) => set_server(server, &rest[1..]),
            Err(told) => told,
        },
        _ => say(format!(
            "Unknown command. Please enter one of the following commands only:\n{HELP}"
        )),
    }
}

fn set_server(server: String, words: &[&str]) -> Command {
    match *words {
        ["state", "ready", ..] => Command::Change(server, Wish::Ready),
        // Nothing here stops the checks of an upstream: what is left is to give it nothing.
        ["state", "drain" | "maint", ..] => Command::Change(server, Wish::Drain),
        ["state", ..] => say("'set server <srv> state' expects 'ready', 'drain' and 'maint'."),
        ["weight", value, ..] => weight(server, value),
        ["weight"] => say("Require <weight> or <weight%>."),
        ["addr" | "fqdn", ..] => {
            say("addresses are keys here: pointsman link changes them, and every node follows.")
        }
        _ => say("usage: set server <backend>/<server> state | weight"),
    }
}

fn about(words: &[&str], wish: Wish) -> Command {
    match named(words) {
        Ok(server) => Command::Change(server, wish),
        Err(told) => told,
    }
}

fn named(words: &[&str]) -> Result<String, Command> {
    match words.first() {
        Some(name) if name.contains('/') => Ok((*name).to_owned()),
        _ => Err(say("Require 'backend/server'.")),
    }
}

/// In HAProxy's words where it has any.
fn weight(server: String, written: &str) -> Command {
    let (digits, is_percent) = match written.strip_suffix('%') {
        Some(digits) => (digits, true),
        None => (written, false),
    };
    let Ok(value) = digits.parse::<u64>() else {
        return say("Empty weight string empty or preceded by garbage");
    };
    let weight = match (u16::try_from(value), is_percent) {
        (Ok(value @ 0..=256), false) => Weight::To(value),
        (_, false) => return say("Absolute weight can only be between 0 and 256 inclusive."),
        (Ok(value @ 0..=100), true) => Weight::Percent(value),
        (_, true) => return say("Relative weight can only be between 0 and 100% inclusive."),
    };
    Command::Change(server, Wish::Weight(weight))
}

/// In seconds, or with a unit.
fn idle(delay: &str) -> Command {
    let end = delay
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(delay.len());
    let (digits, unit) = delay.split_at(end);
    let factor = match unit {
        "" | "s" => Some(1),
        "m" => Some(60),
        "h" => Some(3600),
        _ => None,
    };
    match (digits.parse::<u64>(), factor) {
        (Ok(n), Some(factor)) if n > 0 => {
            let seconds = n.saturating_mul(factor).min(MAX_IDLE);
            Command::Idle(Duration::from_secs(seconds))
        }
        _ => say("Invalid timeout value."),
    }
}

fn stat(words: &[&str]) -> Command {
    let mut scope = Scope::ALL;
    let mut words = words.iter().copied().peekable();
    while let Some(word) = words.peek() {
        match *word {
            "up" => scope.only = Only::Up,
            "no-maint" => scope.only = Only::Served,
            form @ ("typed" | "json" | "desc") => return form_unknown("show stat", form),
            _ => break,
        }
        words.next();
    }
    let rest: Vec<_> = words.collect();
    // HAProxy too takes no notice of less than all three.
    let [proxy, kinds, sid, ..] = rest[..] else {
        return Command::Stat(scope);
    };
    scope.of = match proxy.parse::<i64>() {
        Ok(iid) => u32::try_from(iid).map_or(Of::All, Of::Id),
        Err(_) => Of::Name(proxy.to_owned()),
    };
    // -1 is every bit.
    scope.kinds = kinds.parse::<i64>().map_or(0, |kinds| kinds as u8);
    scope.sid = sid
        .parse::<i64>()
        .ok()
        .and_then(|sid| u32::try_from(sid).ok());
    Command::Stat(scope)
}

fn form_unknown(command: &str, form: &str) -> Command {
    say(format!(
        "'{command}' speaks its plain form alone here, and no '{form}'."
    ))
}

fn say(text: impl Into<String>) -> Command {
    let mut text = text.into();
    if !text.ends_with('\n') {
        text.push('\n');
    }
    Command::Say(text)
}

/// Words of each command. A backslash takes the meaning from what follows it.
fn split(line: &str) -> Vec<Vec<String>> {
    let mut commands = vec![Vec::new()];
    let mut word: Option<String> = None;
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => word.get_or_insert_default().extend(chars.next()),
            ';' | ' ' | '\t' | '\r' => {
                if let Some(last) = commands.last_mut() {
                    last.extend(word.take());
                }
                if c == ';' {
                    commands.push(Vec::new());
                }
            }
            c => word.get_or_insert_default().push(c),
        }
    }
    if let Some(last) = commands.last_mut() {
        last.extend(word);
    }
    // `show stat;` is one command.
    if commands.len() > 1 {
        commands.retain(|words| !words.is_empty());
    }
    commands
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn says(line: &str, expected: &str) {
        match &read(line)[..] {
            [Command::Say(text)] => assert_eq!(text.trim_end(), expected, "{line}"),
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn a_line_is_one_command_or_several() {
        assert_eq!(
            read(r"show info; show version;quit"),
            [Command::Info, Command::Version, Command::Quit]
        );
        assert_eq!(read("show  backend ;"), [Command::Backends]);
        let change = |name: &str| Command::Change(name.to_owned(), Wish::Drain);
        assert_eq!(read(r"disable server a\;b\ c/d"), [change("a;b c/d")]);
        assert_eq!(read("set server a/b state maint"), [change("a/b")]);
        let Command::Say(help) = &read("")[0] else {
            panic!("an empty line asks for help");
        };
        assert!(help.contains("show servers state"));
    }

    #[test]
    fn filters_of_lines_are_read_as_haproxy_reads_them() {
        let scope = |line: &str| match &read(line)[..] {
            [Command::Stat(scope)] => scope.clone(),
            other => panic!("{line}: {other:?}"),
        };
        assert_eq!(scope("show stat"), Scope::ALL);
        assert_eq!(scope("show stat -1 -1 -1"), Scope::ALL);
        assert_eq!(scope("show stat web 4"), Scope::ALL);
        let narrow = scope("show stat up web 6 12");
        assert_eq!((&narrow.of, narrow.kinds), (&Of::Name("web".to_owned()), 6));
        assert_eq!((narrow.sid, narrow.only), (Some(12), Only::Up));
        assert_eq!(scope("show stat 17 4 -1").of, Of::Id(17));
        says(
            "show stat json",
            "'show stat' speaks its plain form alone here, and no 'json'.",
        );
    }

    #[test]
    fn what_cannot_be_meant_is_told_in_haproxys_words() {
        says("set server web", "Require 'backend/server'.");
        says("get weight", "Require 'backend/server'.");
        says("enable server web", "Require 'backend/server'.");
        says("set server a/b weight", "Require <weight> or <weight%>.");
        let state = "'set server <srv> state' expects 'ready', 'drain' and 'maint'.";
        says("set server a/b state up", state);
        says(
            "set server a/b",
            "usage: set server <backend>/<server> state | weight",
        );
        for bad in ["257", "70000", "99999999999999999999999"] {
            let told = match bad.len() {
                23 => "Empty weight string empty or preceded by garbage",
                _ => "Absolute weight can only be between 0 and 256 inclusive.",
            };
            says(&format!("set weight a/b {bad}"), told);
        }
        says(
            "set weight a/b -1",
            "Empty weight string empty or preceded by garbage",
        );
        says(
            "set weight a/b 101%",
            "Relative weight can only be between 0 and 100% inclusive.",
        );
        let to = |weight| Command::Change("a/b".to_owned(), Wish::Weight(weight));
        assert_eq!(read("set weight a/b 256"), [to(Weight::To(256))]);
        assert_eq!(read("set server a/b weight 50%"), [to(Weight::Percent(50))]);
    }

    #[test]
    fn nobody_may_sit_idle_for_ever() {
        let idle = |seconds| [Command::Idle(Duration::from_secs(seconds))];
        assert_eq!(read("set timeout cli 60"), idle(60));
        assert_eq!(read("set timeout cli 1m"), idle(60));
        assert_eq!(read("set timeout cli 99999h"), idle(600));
        says("set timeout cli 0", "Invalid timeout value.");
        says("set timeout cli x", "Invalid timeout value.");
    }
}

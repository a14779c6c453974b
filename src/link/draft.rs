//! A service while a dialect describes it: keys with where they are from, and what is wrong.

use std::collections::BTreeMap;

use super::{Announced, Facts, Ground, Kind, Setting, limits, place};
use crate::diag::{Diagnostic, nearest, quoted};
use crate::names::is_service_name;

pub(super) struct Draft<'a> {
    pub(super) facts: &'a Facts,
    keys: BTreeMap<String, Setting>,
    problems: Vec<Diagnostic>,
    weight: Option<u16>,
    /// What the network is said to be, and by whom.
    network: Option<(String, String)>,
}

/// HTTP or TCP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    Http,
    Tcp,
}

impl<'a> Draft<'a> {
    pub(super) fn new(facts: &'a Facts) -> Self {
        Self {
            facts,
            keys: BTreeMap::new(),
            problems: Vec::new(),
            weight: None,
            network: None,
        }
    }

    /// Sets a key. The one who comes first keeps it; that two words of one container say the same
    /// key is told where they differ.
    pub(super) fn set(&mut self, key: &str, value: impl Into<String>, from: &str) {
        let value = value.into();
        match self.keys.get(key) {
            Some(old) if old.value == value => {}
            Some(old) => {
                let message = format!("{from} is not used: {} says something else", old.from);
                self.warn("said-twice", message, "remove one of the two");
            }
            None => {
                let from = from.to_owned();
                self.keys.insert(key.to_owned(), Setting { value, from });
            }
        }
    }

    /// Adds a line to a key that has lines, or an item to a list.
    pub(super) fn append(&mut self, key: &str, separator: &str, value: &str, from: &str) {
        match self.keys.get_mut(key) {
            Some(old) => {
                old.value.push_str(separator);
                old.value.push_str(value);
            }
            None => self.set(key, value, from),
        }
    }

    pub(super) fn has(&self, key: &str) -> bool {
        self.keys.contains_key(key)
    }

    pub(super) fn network(&mut self, name: &str, from: &str) {
        self.network = Some((name.trim().to_owned(), from.to_owned()));
    }

    /// The upstream's weight; what is above the largest there is becomes that.
    pub(super) fn weigh(&mut self, text: &str, from: &str) {
        const MAX: u64 = 256;
        match text.trim().parse::<u64>() {
            Ok(weight) => {
                self.weight = Some(weight.min(MAX) as u16);
                if weight > MAX {
                    let message = format!("{from} is {weight}, taken as {MAX}");
                    self.warn("bad-value", message, "weights go from 0 to 256");
                }
            }
            Err(_) => self.bad(from, text, "a whole number from 0 to 256"),
        }
    }

    /// A port that somebody wrote; an error if it is none.
    pub(super) fn port(&mut self, text: &str, from: &str) -> Option<u16> {
        match text.trim().parse::<u16>() {
            Ok(port) if port != 0 => Some(port),
            _ => {
                self.bad(from, text, "a port from 1 to 65535");
                None
            }
        }
    }

    /// The only exposed port, or `otherwise` where none is exposed. Several are an error: nobody can know.
    pub(super) fn guess_port(&mut self, otherwise: u16, word: &str) -> Option<u16> {
        if let Some(port) = self.facts.only_port() {
            return Some(port);
        }
        let exposed = self.facts.ports_text();
        if self.facts.ports.is_empty() {
            let message = format!("exposes {exposed}, {otherwise} is taken");
            self.warn("no-port", message, &format!("say it with {word}"));
            return Some(otherwise);
        }
        let message = format!("exposes {exposed} and says not which");
        self.error("which-port", message, &format!("say it with {word}"));
        None
    }

    /// A word of a few letters that means yes or no.
    pub(super) fn boolean(&mut self, text: &str, from: &str) -> Option<bool> {
        match text.trim().to_ascii_lowercase().as_str() {
            "true" | "yes" | "on" | "1" => Some(true),
            "false" | "no" | "off" | "0" | "" => Some(false),
            _ => {
                self.bad(from, text, "true or false");
                None
            }
        }
    }

    /// `task` or `vip`: which of the two a member is, was decided where the facts are from.
    pub(super) fn backend_mode(&mut self, value: &str, from: &str) {
        match (value.trim(), self.facts.kind) {
            ("task" | "", _) | ("vip", Kind::Vip) => {}
            ("vip", Kind::Container) => {
                self.not_here(from, "the containers are the upstreams, whatever it says");
            }
            ("vip", Kind::Task) => {
                let message = format!(
                    "{from} is vip, and the service has no virtual address, so its tasks are taken"
                );
                self.warn(
                    "no-vip",
                    message,
                    "it has one with endpoint_mode vip, in an overlay network",
                );
            }
            (other, _) => self.bad(from, other, "task or vip"),
        }
    }

    /// Traefik's word for it.
    pub(super) fn lbswarm(&mut self, value: &str, from: &str) {
        if self.boolean(value, from) == Some(true) {
            self.backend_mode("vip", from);
        }
    }

    pub(super) fn warn(&mut self, code: &str, message: String, help: &str) {
        let message = format!("{}: {message}", self.facts.name);
        self.problems
            .push(with_help(Diagnostic::warning(code, message), help));
    }

    /// The service is not announced.
    pub(super) fn error(&mut self, code: &str, message: String, help: &str) {
        let message = format!("{}: {message}", self.facts.name);
        self.problems
            .push(with_help(Diagnostic::error(code, message), help));
    }

    pub(super) fn bad(&mut self, from: &str, text: &str, wanted: &str) {
        let message = format!("{from} is {}", quoted(text));
        self.error("bad-value", message, &format!("it has to be {wanted}"));
    }

    /// A word of the dialect that nothing here can do.
    pub(super) fn not_here(&mut self, from: &str, instead: &str) {
        self.warn("not-here", format!("{from} says nothing here"), instead);
    }

    /// A word of the dialect's that does not exist.
    pub(super) fn unknown<'w>(&mut self, from: &str, words: impl IntoIterator<Item = &'w str>) {
        let message = format!("{} is unknown", quoted(from).trim_matches('"'));
        let help = match nearest(from, words) {
            Some(word) => format!("did you mean {word}?"),
            None => "docs/linking.md has all that are known".to_owned(),
        };
        self.warn("unknown-word", message, &help);
    }

    fn failed(&self) -> bool {
        self.problems.iter().any(Diagnostic::is_error)
    }

    /// The service with its upstream at `port`, unless something is wrong with it.
    pub(super) fn finish(
        mut self,
        mode: Mode,
        service: &str,
        port: Option<u16>,
        ground: &Ground,
    ) -> (Option<Announced>, Vec<Diagnostic>) {
        if !is_service_name(service) {
            let message = format!("{} cannot be the name of a service", quoted(service));
            let help = "names have at most 200 visible ASCII characters, without slash, quotes, backslash and any of * ? [ ] { }";
            self.error("bad-name", message, help);
        }
        let container = &self.facts.name;
        if !limits::is_name(container) {
            let message = format!("{} cannot be the name of a container", quoted(container));
            let help = "names have at most 200 visible ASCII characters, without slash, quotes and backslash";
            self.error("bad-name", message, help);
        }
        let facts = self.facts;
        let too_long: Vec<String> = self
            .keys
            .iter()
            .filter(|(_, setting)| setting.value.len() > limits::MAX_VALUE)
            .map(|(_, setting)| format!("{} has {} bytes", setting.from, setting.value.len()))
            .collect();
        for message in too_long {
            let help = format!("at most {} are read", limits::MAX_VALUE);
            self.error("too-long", message, &help);
        }
        let network = self.network.take().or_else(|| {
            let labels = [
                "lb.network",
                "com.docker.lb.network",
                "traefik.docker.network",
                "traefik.swarm.network",
            ];
            let mut said = labels
                .into_iter()
                .filter_map(|label| Some((label, facts.labels.get(label)?)));
            said.next()
                .map(|(label, name)| (name.trim().to_owned(), label.to_owned()))
        });
        let address = match port {
            Some(port) => place::address(&mut self, ground, network.as_ref(), port),
            None => None,
        };
        let Some(address) = address.filter(|_| !self.failed()) else {
            if !self.failed() {
                self.error("no-port", "has no port".to_owned(), "");
            }
            return (None, self.problems);
        };
        let dir = match mode {
            Mode::Http => format!("services/{service}"),
            Mode::Tcp => format!("tcp-services/{service}"),
        };
        let upstream = match self.weight {
            Some(weight) => format!("{address} weight={weight}"),
            None => address.to_string(),
        };
        let announced = Announced {
            dir,
            keys: self.keys,
            upstream,
            shares: None,
        };
        (Some(announced), self.problems)
    }

    /// Nothing is announced, and why.
    pub(super) fn give_up(self) -> Vec<Diagnostic> {
        self.problems
    }
}

fn with_help(problem: Diagnostic, help: &str) -> Diagnostic {
    match help {
        "" => problem,
        help => problem.help(help),
    }
}

/// Whether a text may stand in one line of a key that has lines.
pub(super) fn is_line(text: &str) -> bool {
    !text.chars().any(char::is_control)
}

//! Redirects: where a client is sent instead.

use super::{Facts, FieldEdit, Place, Template, Verdict};

/// Where a client is sent instead.
#[derive(Clone, Debug, PartialEq)]
pub struct Redirect {
    pub status: u16,
    pub to: Target,
    /// Leaves the query away. Says nothing of a [`Target::Location`].
    pub drops_query: bool,
    /// Puts a slash behind a path without one. Says nothing of a [`Target::Location`].
    pub appends_slash: bool,
    /// Does nothing where the location is empty.
    pub ignores_empty: bool,
    pub cookie: Option<SetCookie>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Target {
    /// The whole location.
    Location(Template),
    /// What is put before the path and the query that were asked for.
    Prefix(Template),
    /// The same host, path and query by another scheme. A port is not carried over: it is the other
    /// scheme's.
    Scheme(Template),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SetCookie {
    /// For the session: a name, or `name=value`.
    Set(String),
    /// Taken away by name.
    Clear(String),
}

impl Redirect {
    pub fn new(status: u16, to: Target) -> Self {
        Self {
            status,
            to,
            drops_query: false,
            appends_slash: false,
            ignores_empty: false,
            cookie: None,
        }
    }

    /// `None`: there is nowhere to go, and the request goes on.
    pub(super) fn verdict(&self, facts: &dyn Facts) -> Option<Verdict> {
        let Some(location) = self.location(facts) else {
            return Some(Verdict::Deny { status: 414 });
        };
        if location.is_empty() && self.ignores_empty {
            return None;
        }
        let line = self.cookie.as_ref().map(|cookie| match cookie {
            SetCookie::Set(cookie) => format!("{cookie}; path=/;"),
            SetCookie::Clear(name) => format!("{name}=; path=/; Max-Age=0;"),
        });
        let fields = line.map(|line| FieldEdit::Add {
            name: "Set-Cookie".to_owned(),
            value: Place::Field.fit(line.as_bytes()),
        });
        Some(Verdict::Redirect {
            status: self.status,
            location,
            fields: fields.into_iter().collect(),
        })
    }

    /// `None`: it would be too long.
    fn location(&self, facts: &dyn Facts) -> Option<Vec<u8>> {
        let mut location = match &self.to {
            Target::Location(to) => return to.render(facts, Place::Location),
            Target::Prefix(prefix) => {
                let prefix = prefix.render(facts, Place::Location)?;
                // Otherwise `//path`, which is a host.
                if prefix == b"/" { Vec::new() } else { prefix }
            }
            Target::Scheme(scheme) => {
                let mut location = scheme.render(facts, Place::Location)?;
                location.extend_from_slice(b"://");
                match facts.host() {
                    b"" => {
                        let at = facts.listener().ip().to_canonical();
                        let at = std::net::SocketAddr::new(at, 0).to_string();
                        let host = at.rsplit_once(':').map_or("", |(host, _)| host);
                        location.extend_from_slice(host.as_bytes());
                    }
                    host => Place::Location.put(host, &mut location),
                }
                location
            }
        };
        let path = match facts.path() {
            path if !path.starts_with(b"/") => b"/",
            // Two slashes at the start would name another host, and browsers take a backslash for one.
            path if location.is_empty() => {
                let is_slash = |b: &u8| matches!(b, b'/' | b'\\');
                let first = path.iter().position(|b| !is_slash(b));
                location.push(b'/');
                &path[first.unwrap_or(path.len())..]
            }
            path => path,
        };
        Place::Location.put(path, &mut location);
        if self.appends_slash && !location.ends_with(b"/") {
            location.push(b'/');
        }
        if !self.drops_query && !facts.query().is_empty() {
            location.push(b'?');
            Place::Location.put(facts.query(), &mut location);
        }
        Some(location).filter(|location| location.len() <= 4 * Template::LONGEST)
    }
}

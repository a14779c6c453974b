//! Where a client belongs: read from its cookies, heeded when an upstream is chosen, told in the answer.
//!
//! A client that a cookie leads to an upstream gets there even at a weight of 0, which takes nothing
//! new, and while that upstream was not checked yet. Where it cannot stay it is led on like any other,
//! and the same answer says where it belongs from now on.

use std::borrow::Cow;
use std::cell::Cell;
use std::time::Duration;

use crate::balance::{Tried, key_hash};
use crate::config::{CookieMode, Sticky, StickyCookie};
use crate::plan::Service;
use crate::proxy::http::unix_time;
use crate::proxy::http1::{
    FieldId, Method, RequestHead, ResponseHead, Stamp, cookie_values, is_out_of_date, prefix_of,
    read_stamp, set_value, with_prefix, with_value, without_cookie, without_prefix, write_stamp,
};
use crate::rules::{Edits, FieldEdit, LineEdit};

/// One request to a service whose clients stick.
pub(super) struct Stickiness<'a> {
    sticky: &'a Sticky,
    service: &'a Service,
    home: Home,
    /// The dates in the cookie that says so.
    stamp: Stamp,
    is_post: bool,
    is_tls: bool,
    /// The member that the latest try went to.
    chosen: Cell<Option<usize>>,
    /// What the client's cookie was worth and what the answer did about it, in HAProxy's letters.
    letters: Cell<[u8; 2]>,
}

/// Where a client belongs.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Home {
    Nowhere,
    Member(usize),
    /// Wherever this leads.
    Key(u64),
}

impl<'a> Stickiness<'a> {
    /// Reads the request's cookies, and leaves in `edits` what the application is not to see of them.
    pub(super) fn read(
        sticky: &'a Sticky,
        service: &'a Service,
        head: &RequestHead,
        bytes: &[u8],
        is_tls: bool,
        edits: &mut Edits,
    ) -> Self {
        let mut came = b'-';
        let (home, stamp) = match sticky {
            Sticky::Hash { cookie } => (key(cookie, head, bytes), Stamp::default()),
            Sticky::Cookie(cookie) => {
                hide(cookie, head, bytes, edits);
                let found = home(cookie, service, head, bytes);
                came = match found.0 {
                    Home::Member(_) => b'V',
                    _ => worthless(cookie, service, head, bytes),
                };
                found
            }
        };
        Self {
            sticky,
            service,
            home,
            stamp,
            is_post: head.method == Method::Post,
            is_tls,
            chosen: Cell::new(None),
            letters: Cell::new([came, b'-']),
        }
    }

    /// For the access log: `VN`, `NI` and the like.
    pub(super) fn letters(&self) -> [u8; 2] {
        self.letters.get()
    }

    /// The upstream for the next try. `client` is what tells clients apart that belong nowhere.
    pub(super) fn pick(&self, client: u64, tried: &Tried) -> Option<usize> {
        let chosen = match self.home {
            Home::Member(index) if self.service.can_stay(index, tried) => Some(index),
            Home::Key(key) => self.service.pick_by_key(key, tried),
            Home::Member(_) | Home::Nowhere => self.service.pick(client, tried),
        };
        self.chosen.set(chosen);
        chosen
    }

    /// What has to change of the answer that the latest try brought.
    pub(super) fn amend(&self, answer: &ResponseHead, bytes: &[u8], edits: &mut Vec<FieldEdit>) {
        let (Sticky::Cookie(cookie), Some(chosen)) = (self.sticky, self.chosen.get()) else {
            return;
        };
        let is_home = self.home == Home::Member(chosen);
        let pin = self.service.pin(chosen);
        let name = cookie.name.as_bytes();
        let (mut is_set, mut is_changed) = (false, false);
        let came = answer.fields.values(FieldId::SetCookie, bytes);
        let ruled = Ruled::new("Set-Cookie", came, edits);
        let lines: Vec<_> = ruled
            .lines
            .iter()
            .map(|line| {
                let Some(value) = set_value(line, name) else {
                    return LineEdit::Keep;
                };
                is_set = true;
                let is_unwanted = cookie.mode == CookieMode::Insert || (cookie.indirect && is_home);
                match cookie.mode {
                    _ if cookie.preserve => LineEdit::Keep,
                    _ if is_unwanted => LineEdit::Remove,
                    CookieMode::Prefix => {
                        is_changed = true;
                        LineEdit::Value(with_prefix(line, value, &pin))
                    }
                    CookieMode::Rewrite => {
                        is_changed = true;
                        LineEdit::Value(with_value(line, value, &pin))
                    }
                    CookieMode::Insert | CookieMode::Passive => LineEdit::Keep,
                }
            })
            .collect();
        let is_removed = lines.contains(&LineEdit::Remove);
        ruled.push(edits, lines);
        let is_missing = !is_home || self.is_to_be_renewed(cookie);
        let mut went = match (is_set, is_changed) {
            (true, true) => b'R',
            (true, false) if is_removed => b'D',
            (true, false) => b'P',
            (false, _) => b'N',
        };
        let may_insert = cookie.mode == CookieMode::Insert
            && !(cookie.preserve && is_set)
            && (self.is_post || !cookie.postonly)
            && answer.status != 101;
        if may_insert && is_missing {
            is_changed = true;
            went = if is_home { b'U' } else { b'I' };
            edits.push(FieldEdit::Add {
                name: "Set-Cookie".to_owned(),
                value: self.inserted(cookie, &pin),
            });
        }
        self.letters.set([self.letters.get()[0], went]);
        if is_changed && cookie.nocache && !is_private(answer, bytes) {
            edits.push(FieldEdit::Add {
                name: "Cache-Control".to_owned(),
                value: b"private".to_vec(),
            });
        }
    }

    /// Whether a cookie that names the right upstream has dates that are old, or not those asked for.
    fn is_to_be_renewed(&self, cookie: &StickyCookie) -> bool {
        let Stamp { last, first } = self.stamp;
        let wants_last = cookie.maxidle.is_some() || last.is_some();
        (wants_last && last.is_none_or(|last| last < unix_time()))
            || cookie.maxlife.is_some() != first.is_some()
    }

    /// The cookie that leads here.
    fn inserted(&self, cookie: &StickyCookie, pin: &str) -> Vec<u8> {
        let mut value = [cookie.name.as_bytes(), b"=", pin.as_bytes()].concat();
        if cookie.maxidle.is_some() || cookie.maxlife.is_some() {
            let now = unix_time();
            let first = cookie.maxlife.map(|_| self.stamp.first.unwrap_or(now));
            write_stamp(now, first, &mut value);
        }
        value.extend_from_slice(cookie.attributes.as_bytes());
        if cookie.secure_on_tls && self.is_tls {
            value.extend_from_slice(b"; Secure");
        }
        value
    }
}

/// What an application's cookie leads by. An empty one says nothing.
fn key(cookie: &str, head: &RequestHead, bytes: &[u8]) -> Home {
    head.fields
        .values(FieldId::Cookie, bytes)
        .flat_map(|line| cookie_values(line, cookie.as_bytes()))
        .find(|value| !value.is_empty())
        .map_or(Home::Nowhere, |value| Home::Key(key_hash(value)))
}

/// The first cookie that names an upstream which can be had.
fn home(
    cookie: &StickyCookie,
    service: &Service,
    head: &RequestHead,
    bytes: &[u8],
) -> (Home, Stamp) {
    let untried = Tried::default();
    head.fields
        .values(FieldId::Cookie, bytes)
        .flat_map(|line| cookie_values(line, cookie.name.as_bytes()))
        .find_map(|value| {
            let (pin, stamp) = match cookie.mode {
                CookieMode::Prefix => (prefix_of(value)?, Stamp::default()),
                _ => read_stamp(value),
            };
            let index = service.pinned(pin)?;
            let can_be_had = service.can_stay(index, &untried) && !is_over(cookie, stamp);
            can_be_had.then_some((Home::Member(index), stamp))
        })
        .unwrap_or((Home::Nowhere, Stamp::default()))
}

/// Why no cookie led anywhere: none came, its upstream cannot be had, or it means nothing.
fn worthless(cookie: &StickyCookie, service: &Service, head: &RequestHead, bytes: &[u8]) -> u8 {
    let mut values = head
        .fields
        .values(FieldId::Cookie, bytes)
        .flat_map(|line| cookie_values(line, cookie.name.as_bytes()));
    let Some(value) = values.next() else {
        return b'N';
    };
    let (pin, stamp) = match cookie.mode {
        CookieMode::Prefix => (prefix_of(value), Stamp::default()),
        _ => {
            let (pin, stamp) = read_stamp(value);
            (Some(pin), stamp)
        }
    };
    match pin.and_then(|pin| service.pinned(pin)) {
        None => b'I',
        Some(_) if is_over(cookie, stamp) => b'E',
        Some(_) => b'D',
    }
}

/// Whether a cookie with these dates is too old to lead anybody.
fn is_over(cookie: &StickyCookie, stamp: Stamp) -> bool {
    let is_over = |date: Option<u64>, most: Option<Duration>| {
        date.zip(most)
            .is_some_and(|(date, most)| is_out_of_date(date, most.as_secs(), unix_time()))
    };
    is_over(stamp.first, cookie.maxlife) || is_over(stamp.last, cookie.maxidle)
}

/// What is ours of the request's cookies is not for the application.
fn hide(cookie: &StickyCookie, head: &RequestHead, bytes: &[u8], edits: &mut Edits) {
    let hidden: fn(&[u8], &[u8]) -> Vec<u8> = match cookie.mode {
        CookieMode::Insert if cookie.indirect => without_cookie,
        CookieMode::Prefix => without_prefix,
        _ => return,
    };
    let name = cookie.name.as_bytes();
    let came = head.fields.values(FieldId::Cookie, bytes);
    let ruled = Ruled::new("Cookie", came, &edits.fields);
    let lines = ruled
        .lines
        .iter()
        .map(|line| {
            if cookie_values(line, name).next().is_none() {
                return LineEdit::Keep;
            }
            match hidden(line, name) {
                empty if empty.is_empty() => LineEdit::Remove,
                changed => LineEdit::Value(changed),
            }
        })
        .collect();
    ruled.push(&mut edits.fields, lines);
}

/// The lines of a field as rules left them.
struct Ruled<'a> {
    name: &'static str,
    lines: Vec<Cow<'a, [u8]>>,
    /// They are not those that came.
    is_changed: bool,
}

impl<'a> Ruled<'a> {
    fn new(name: &'static str, came: impl Iterator<Item = &'a [u8]>, edits: &[FieldEdit]) -> Self {
        let mut ruled = Self {
            name,
            lines: came.map(Cow::Borrowed).collect(),
            is_changed: false,
        };
        let named = |edit: &&FieldEdit| edit.name().eq_ignore_ascii_case(name);
        for edit in edits.iter().filter(named) {
            ruled.is_changed = true;
            match edit {
                FieldEdit::Add { .. } => {}
                _ => ruled.lines.clear(),
            }
            if let FieldEdit::Set { value, .. } | FieldEdit::Add { value, .. } = edit {
                ruled.lines.push(Cow::Owned(value.clone()));
            }
        }
        ruled
    }

    /// Does `edits` to the lines, one by one. What rules made of them is in nobody's head yet, so that
    /// it has to be written anew.
    fn push(self, to: &mut Vec<FieldEdit>, edits: Vec<LineEdit>) {
        if edits.iter().all(|edit| *edit == LineEdit::Keep) {
            return;
        }
        let name = || self.name.to_owned();
        if !self.is_changed {
            to.push(FieldEdit::Each {
                name: name(),
                lines: edits,
            });
            return;
        }
        to.push(FieldEdit::Remove { name: name() });
        for (line, edit) in self.lines.into_iter().zip(edits) {
            let value = match edit {
                LineEdit::Keep => line.into_owned(),
                LineEdit::Value(value) => value,
                LineEdit::Remove => continue,
            };
            to.push(FieldEdit::Add {
                name: self.name.to_owned(),
                value,
            });
        }
    }
}

/// Whether an answer says by itself that no shared cache may keep it.
fn is_private(answer: &ResponseHead, bytes: &[u8]) -> bool {
    answer
        .fields
        .values(FieldId::CacheControl, bytes)
        .flat_map(|line| line.split(|b| *b == b','))
        .map(<[u8]>::trim_ascii)
        .any(|word| word.eq_ignore_ascii_case(b"private") || word.eq_ignore_ascii_case(b"no-store"))
}

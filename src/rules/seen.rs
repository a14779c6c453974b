//! Facts as rules left them so far.

use std::net::SocketAddr;

use super::{Edits, Facts, FieldEdit, Side};

/// A request or an answer with edits on top.
pub struct Seen<'a> {
    pub(super) facts: &'a dyn Facts,
    pub(super) side: Side,
    pub(super) edits: &'a Edits,
    /// Of the answer; those of the request are in `edits`.
    pub(super) fields: &'a [FieldEdit],
}

impl Facts for Seen<'_> {
    fn method(&self) -> &[u8] {
        self.facts.method()
    }

    fn host(&self) -> &[u8] {
        self.edits
            .host
            .as_deref()
            .unwrap_or_else(|| self.facts.host())
    }

    fn path(&self) -> &[u8] {
        self.edits
            .path
            .as_deref()
            .unwrap_or_else(|| self.facts.path())
    }

    fn query(&self) -> &[u8] {
        self.edits
            .query
            .as_deref()
            .unwrap_or_else(|| self.facts.query())
    }

    fn version(&self) -> &str {
        self.facts.version()
    }

    fn client(&self) -> SocketAddr {
        self.facts.client()
    }

    fn listener(&self) -> SocketAddr {
        self.facts.listener()
    }

    fn is_tls(&self) -> bool {
        self.facts.is_tls()
    }

    fn request_id(&self) -> &[u8] {
        self.facts.request_id()
    }

    fn status(&self) -> u16 {
        self.facts.status()
    }

    fn each_field(&self, side: Side, name: &str, visit: &mut dyn FnMut(&[u8]) -> bool) {
        let fields = match side {
            side if side != self.side => return self.facts.each_field(side, name, visit),
            Side::Request => &self.edits.fields,
            Side::Answer => self.fields,
        };
        let is_named = |edit: &&FieldEdit| edit.name().eq_ignore_ascii_case(name);
        // What was there goes with the last edit that is no addition, and what was added before it.
        let clears =
            |edit: &FieldEdit| matches!(edit, FieldEdit::Set { .. } | FieldEdit::Remove { .. });
        let cleared = fields.iter().rposition(|e| is_named(&e) && clears(e));
        let mut goes_on = true;
        if cleared.is_none() {
            self.facts.each_field(side, name, &mut |value| {
                goes_on = visit(value);
                goes_on
            });
        }
        for edit in fields[cleared.unwrap_or(0)..].iter().filter(is_named) {
            match edit {
                FieldEdit::Set { value, .. } | FieldEdit::Add { value, .. } if goes_on => {
                    goes_on = visit(value);
                }
                _ => {}
            }
        }
    }

    fn variable(&self, name: &str) -> Option<&[u8]> {
        let own = self.edits.variables.iter().find(|(own, _)| own == name);
        own.map(|(_, value)| value.as_slice())
            .or_else(|| self.facts.variable(name))
    }

    fn as_it_came(&self) -> Option<&dyn Facts> {
        Some(self.facts)
    }
}

//! What a cookie calls the upstreams of its service: by name, or by a fingerprint where names are to
//! be kept private or cannot stand in a cookie.
//!
//! Both follow from names alone, so that every node and every generation says the same.

use std::borrow::Cow;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::balance::Member;
use crate::config::CookieValue;
use crate::names::{ServiceName, UpstreamName};

/// 96 bits in base64url: no two upstreams of a service will ever share one.
const BYTES: usize = 12;
const CHARS: usize = 16;

type Fingerprint = [u8; CHARS];

#[derive(Debug)]
pub(super) struct Pins {
    value: CookieValue,
    /// The members that go by fingerprint, in the order of the fingerprints.
    opaque: Box<[(Fingerprint, usize)]>,
}

impl Pins {
    pub(super) fn new(value: CookieValue, service: &ServiceName, members: &[Member]) -> Self {
        let mut opaque: Vec<_> = members
            .iter()
            .enumerate()
            .filter(|(_, member)| !is_shown(value, &member.name))
            .map(|(index, member)| (fingerprint(service, &member.name), index))
            .collect();
        opaque.sort_unstable();
        Self {
            value,
            opaque: opaque.into(),
        }
    }

    pub(super) fn pin<'a>(&self, service: &ServiceName, member: &'a UpstreamName) -> Cow<'a, str> {
        if is_shown(self.value, member) {
            return Cow::Borrowed(member.as_str());
        }
        let fingerprint = fingerprint(service, member);
        Cow::Owned(fingerprint.iter().map(|b| char::from(*b)).collect())
    }

    /// `members` are those that this was made of, in name order.
    pub(super) fn find(&self, pin: &[u8], members: &[Member]) -> Option<usize> {
        let by_fingerprint = || {
            let fingerprint = Fingerprint::try_from(pin).ok()?;
            let at = self.opaque.binary_search_by(|(f, _)| f.cmp(&fingerprint));
            Some(self.opaque[at.ok()?].1)
        };
        let by_name = || {
            let found = members.binary_search_by(|m| m.name.as_str().as_bytes().cmp(pin));
            found
                .ok()
                .filter(|index| is_shown(self.value, &members[*index].name))
        };
        by_name().or_else(by_fingerprint)
    }
}

/// Whether a cookie says the name itself. One with a separator in it would be cut there: `;` ends a
/// cookie, a comma does for some readers, `~` and `|` stand between pin and value or date. One with a slash
/// has an address in it that DNS said and nobody wrote down for clients to see.
fn is_shown(value: CookieValue, name: &UpstreamName) -> bool {
    value == CookieValue::Name && !name.as_str().contains([';', ',', '~', '|', '/'])
}

fn fingerprint(service: &ServiceName, member: &UpstreamName) -> Fingerprint {
    // Names have no NUL, so that no two pairs give the same text.
    let text = format!("pointsman cookie\0{service}\0{member}");
    let hash = digest(&SHA256, text.as_bytes());
    let mut out = [b'-'; CHARS];
    // Never fails: twelve bytes are sixteen characters.
    let _ = URL_SAFE_NO_PAD.encode_slice(&hash.as_ref()[..BYTES], &mut out);
    out
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::balance::UpstreamState;

    fn members(names: &[&str]) -> Vec<Member> {
        let mut names = names.to_vec();
        names.sort_unstable();
        let member = |name: &&str| {
            let state = Arc::new(UpstreamState::new(false));
            Member::new((*name).into(), ([10, 0, 0, 1], 80).into(), 1, state)
        };
        names.iter().map(member).collect()
    }

    fn pins(value: CookieValue, names: &[&str]) -> (Pins, Vec<Member>) {
        let members = members(names);
        (Pins::new(value, &"web".into(), &members), members)
    }

    const NAMES: [&str; 6] = ["web-10", "web-2", "a;b", "x~y", "p|q", "c,d"];

    #[test]
    fn every_member_is_found_by_what_it_is_called() {
        for value in [CookieValue::Name, CookieValue::Opaque] {
            let (pins, members) = pins(value, &NAMES);
            for (index, member) in members.iter().enumerate() {
                let pin = pins.pin(&"web".into(), &member.name);
                assert_eq!(pins.find(pin.as_bytes(), &members), Some(index), "{pin}");
                assert!(!pin.contains([';', ',', '~', '|', ' ']), "{pin}");
                let is_plain = member.name.as_str().starts_with("web");
                let is_shown = pin == member.name.as_str();
                assert_eq!(is_shown, is_plain && value == CookieValue::Name, "{pin}");
            }
            for stranger in ["", "web-1", "web-10 ", "\u{e9}", "AAAAAAAAAAAAAAAA"] {
                assert_eq!(pins.find(stranger.as_bytes(), &members), None, "{stranger}");
            }
        }
    }

    #[test]
    fn an_opaque_pin_is_the_same_on_every_node_and_another_in_every_service() {
        let pin = |service: &str| {
            let (pins, _) = pins(CookieValue::Opaque, &["web-1"]);
            pins.pin(&service.into(), &"web-1".into()).into_owned()
        };
        // Written down: a version that says otherwise loses everybody's sessions.
        assert_eq!(pin("web"), "2HywdRGgyWAKCuJU");
        assert_ne!(pin("web"), pin("shop"));
    }

    #[test]
    fn names_are_no_pins_where_they_are_private() {
        let (pins, members) = pins(CookieValue::Opaque, &["web-1"]);
        assert_eq!(pins.find(b"web-1", &members), None);
    }
}

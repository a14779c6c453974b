//! Certificates by the names that clients ask for.
//!
//! Copied on write like the routes: a changed certificate copies the shards of its own names, whatever
//! the number of the others. Every name holds all that are good for it, in the natural order of what
//! their keys call them (`cert2` before `cert10`), so that the next one takes over where one goes. Those
//! that have ended stand behind all others. What time it is, whoever calls says: [`Certificates::at`].

use std::cmp::Ordering;
use std::sync::Arc;

use imbl::ordmap::DiffItem;
use imbl::{OrdMap, OrdSet};

use super::cow_map::CowMap;
use crate::config;
use crate::names::{CertificateName, UnitName, natural};
use crate::tls;

/// A certificate, what its key calls it, and the unit it came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedCertificate {
    pub unit: UnitName,
    pub name: CertificateName,
    pub certificate: Arc<tls::Certificate>,
    /// It is over, by the time that the tables were told last: served only where there is no other.
    pub has_ended: bool,
}

/// All certificates of one plan. See [`Certificates::find`].
#[derive(Clone, Debug)]
pub struct Certificates {
    units: OrdMap<UnitName, Arc<NamedCertificate>>,
    /// When each of them ends.
    ends: OrdSet<(i64, UnitName)>,
    /// In seconds since 1970. Every `has_ended` is as of then.
    now: i64,
    order: OrdMap<Place, Arc<NamedCertificate>>,
    exact: CowMap<Claimants>,
    /// By suffix with its dot: `.example.com`.
    wildcard: CowMap<Claimants>,
    /// `ssl_default_certificate`.
    wanted: Option<CertificateName>,
    /// Empty only if there are no certificates.
    default: Claimants,
}

/// A certificate before and after a change.
pub type Changed = (Option<Arc<NamedCertificate>>, Option<Arc<NamedCertificate>>);

/// Certificates for one name, in natural order, those that have ended behind the others.
type Claimants = Arc<[Arc<NamedCertificate>]>;

/// Where a certificate stands among the others. Two templates may use one name; units are unique.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Place(CertificateName, UnitName);

impl Ord for Place {
    fn cmp(&self, other: &Self) -> Ordering {
        natural(self.0.as_str(), other.0.as_str()).then_with(|| self.1.cmp(&other.1))
    }
}

impl PartialOrd for Place {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl NamedCertificate {
    fn place(&self) -> Place {
        Place(self.name.clone(), self.unit.clone())
    }

    /// Among those for one name.
    fn rank(&self) -> (bool, Place) {
        (self.has_ended, self.place())
    }

    fn is_like(&self, other: &Self) -> bool {
        let kinds = (self.certificate.key_type(), other.certificate.key_type());
        kinds.0.is_like(kinds.1)
    }
}

/// Before all time: nothing has ended.
impl Default for Certificates {
    fn default() -> Self {
        Self {
            units: OrdMap::new(),
            ends: OrdSet::new(),
            now: i64::MIN,
            order: OrdMap::new(),
            exact: CowMap::default(),
            wildcard: CowMap::default(),
            wanted: None,
            default: Claimants::default(),
        }
    }
}

impl Certificates {
    /// What to serve to a client that asks for `server_name`: certificates for that very name, else for
    /// the wildcard one label up (`*.example.com` is good for `www.example.com`, neither for
    /// `a.b.example.com` nor for `example.com`: RFC 9525, 6.3), else the default. The first that the
    /// client can do with is the one. `None` only if there are no certificates.
    pub fn find(&self, server_name: Option<&str>) -> Option<&[Arc<NamedCertificate>]> {
        let matching = server_name.and_then(|name| self.matching(name));
        matching.or_else(|| Some(self.fallback()).filter(|all| !all.is_empty()))
    }

    /// As [`Self::find`], without the default: `None` for a name that no certificate is good for.
    pub fn matching(&self, server_name: &str) -> Option<&[Arc<NamedCertificate>]> {
        let lower;
        let mut name = server_name.strip_suffix('.').unwrap_or(server_name);
        if name.bytes().any(|b| b.is_ascii_uppercase()) {
            lower = name.to_ascii_lowercase();
            name = &lower;
        }
        let by_wildcard = || {
            let dot = name.find('.').filter(|dot| *dot > 0)?;
            self.wildcard.get(&name.as_bytes()[dot..])
        };
        let found = self.exact.get(name.as_bytes()).or_else(by_wildcard);
        found.map(|claimants| &**claimants)
    }

    /// For clients that ask for no name, or for one that no certificate has: the one that
    /// `ssl_default_certificate` names, or the first by natural order; behind it those of other key
    /// types for the same name. One that has ended gives way to one that is as good but for that. Empty
    /// only if there are no certificates.
    pub fn fallback(&self) -> &[Arc<NamedCertificate>] {
        &self.default
    }

    /// By what its key calls it.
    pub fn named(&self, name: &CertificateName) -> Option<&Arc<NamedCertificate>> {
        let from = Place(name.clone(), UnitName::from(""));
        let (_, first) = self.order.range(from..).next()?;
        (first.name == *name).then_some(first)
    }

    pub fn of_unit(&self, unit: &UnitName) -> Option<&Arc<NamedCertificate>> {
        self.units.get(unit)
    }

    /// All of them in natural order.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<NamedCertificate>> {
        self.order.values()
    }

    pub fn len(&self) -> usize {
        self.units.len()
    }

    pub fn is_empty(&self) -> bool {
        self.units.is_empty()
    }

    /// Whether these are the tables of `other`, not only equal ones: two plans that follow one another
    /// share them as long as no certificate, and not the default, changed. Costs a comparison of
    /// pointers.
    pub fn same_as(&self, other: &Self) -> bool {
        std::ptr::eq(self, other)
    }

    /// What `ssl_default_certificate` names, if there is no such certificate.
    pub fn missing_default(&self) -> Option<&CertificateName> {
        let wanted = self.wanted.as_ref()?;
        self.named(wanted).is_none().then_some(wanted)
    }

    /// Names of a unit's certificate for which another one with a like key goes before it, and which.
    pub fn overshadowed(
        &self,
        unit: &UnitName,
    ) -> impl Iterator<Item = (&str, &Arc<NamedCertificate>)> {
        let own = self.units.get(unit);
        own.into_iter().flat_map(move |own| {
            let names = own.certificate.names().iter();
            names.filter_map(move |name| {
                let mut claimants = self.claimants(name)?.iter();
                let first = claimants.find(|other| other.is_like(own))?;
                (first.unit != *unit).then_some((&**name, first))
            })
        })
    }

    /// Units whose certificates have a name of this one's; its own among them.
    pub fn sharing(&self, certificate: &tls::Certificate) -> impl Iterator<Item = &UnitName> {
        let names = certificate.names().iter();
        names
            .filter_map(|name| self.claimants(name))
            .flat_map(|claimants| claimants.iter().map(|other| &other.unit))
    }

    /// Certificates that differ between these tables and `newer`: as they were, and as they are. Costs
    /// the difference.
    pub fn changes(&self, newer: &Self) -> Vec<Changed> {
        let items = self.units.diff(&newer.units);
        items
            .map(|item| match item {
                DiffItem::Add(_, new) => (None, Some(new.clone())),
                DiffItem::Update {
                    old: (_, old),
                    new: (_, new),
                } => (Some(old.clone()), Some(new.clone())),
                DiffItem::Remove(_, old) => (Some(old.clone()), None),
            })
            .collect()
    }

    pub(super) fn units(&self) -> &OrdMap<UnitName, Arc<NamedCertificate>> {
        &self.units
    }

    /// Whether putting this would change anything.
    pub(super) fn has(&self, unit: &UnitName, form: &config::Certificate) -> bool {
        let known = self.units.get(unit);
        known.is_some_and(|own| own.name == form.name && own.certificate == form.bundle)
    }

    /// The same at another time; `None` if nothing ended between then and the time that they were told
    /// last. Costs what did.
    pub(super) fn at(&self, now: i64) -> Option<Self> {
        let units: Vec<_> = self.ended_until(now).cloned().collect();
        if units.is_empty() {
            return None;
        }
        let mut next = self.clone();
        next.now = now;
        for unit in units {
            if let Some(own) = self.units.get(&unit) {
                let (name, bundle) = (own.name.clone(), own.certificate.clone());
                next.put(unit, config::Certificate { name, bundle });
            }
        }
        Some(next)
    }

    pub(super) fn is_as_of(&self, now: i64) -> bool {
        self.ended_until(now).next().is_none()
    }

    /// Units that ended between the time of these tables and `now`, whichever is earlier.
    fn ended_until(&self, now: i64) -> impl Iterator<Item = &UnitName> {
        let at = |time: i64| (time, UnitName::from(""));
        let passed = at(self.now.min(now))..at(self.now.max(now));
        self.ends.range(passed).map(|(_, unit)| unit)
    }

    pub(super) fn put(&mut self, unit: UnitName, form: config::Certificate) {
        self.take(&unit);
        let end = form.bundle.not_after();
        let own = Arc::new(NamedCertificate {
            unit: unit.clone(),
            name: form.name,
            certificate: form.bundle,
            has_ended: end < self.now,
        });
        self.edit(&own, true);
        self.ends.insert((end, unit.clone()));
        self.order.insert(own.place(), own.clone());
        self.units.insert(unit, own);
        self.renew_default();
    }

    pub(super) fn take(&mut self, unit: &UnitName) {
        if let Some(own) = self.units.remove(unit) {
            self.ends
                .remove(&(own.certificate.not_after(), unit.clone()));
            self.order.remove(&own.place());
            self.edit(&own, false);
            self.renew_default();
        }
    }

    pub(super) fn wanted_default(&self) -> Option<&CertificateName> {
        self.wanted.as_ref()
    }

    pub(super) fn set_default(&mut self, wanted: Option<CertificateName>) {
        self.wanted = wanted;
        self.renew_default();
    }

    fn edit(&mut self, own: &Arc<NamedCertificate>, present: bool) {
        for name in own.certificate.names() {
            let (map, key) = match name.strip_prefix('*') {
                Some(suffix) => (&mut self.wildcard, suffix),
                None => (&mut self.exact, &**name),
            };
            let known = map.get(key.as_bytes());
            let mut claimants = known.map(|c| c.to_vec()).unwrap_or_default();
            claimants.retain(|other| other.unit != own.unit);
            if present {
                let rank = own.rank();
                let at = claimants.partition_point(|other| other.rank() < rank);
                claimants.insert(at, own.clone());
            }
            let claimants = (!claimants.is_empty()).then(|| claimants.into());
            map.set(key.as_bytes(), claimants);
        }
    }

    /// By a name as certificates have it.
    fn claimants(&self, name: &str) -> Option<&Claimants> {
        match name.strip_prefix('*') {
            Some(suffix) => self.wildcard.get(suffix.as_bytes()),
            None => self.exact.get(name.as_bytes()),
        }
    }

    fn renew_default(&mut self) {
        let wanted = self.wanted.as_ref().and_then(|name| self.named(name));
        let good = || self.order.values().find(|own| !own.has_ended);
        let by_order = || good().or_else(|| self.order.values().next());
        let Some(first) = wanted.or_else(by_order) else {
            self.default = Claimants::default();
            return;
        };
        let name = first.certificate.names().first();
        let beside = name.and_then(|name| self.claimants(name));
        let beside = beside.map_or(&[][..], |claimants| claimants);
        let in_its_place = beside
            .iter()
            .find(|other| first.has_ended && !other.has_ended && other.is_like(first));
        let first = in_its_place.unwrap_or(first);
        let others = beside.iter().filter(|other| !other.is_like(first));
        let all = std::iter::once(first).chain(others);
        let mut all: Vec<_> = all.cloned().collect();
        // Stable: the first stays where it is unless it alone has ended.
        all.sort_by_key(|own| own.has_ended);
        self.default = all.into();
    }

    /// Every name as `name -> certificates`, sorted, for dumps and comparisons.
    pub(super) fn lines(&self) -> Vec<String> {
        let line = |name: String, claimants: &Claimants| {
            let names: Vec<_> = claimants.iter().map(|own| own.name.as_str()).collect();
            format!("{name} -> {}", names.join(", "))
        };
        let text = |name: &[u8]| String::from_utf8_lossy(name).into_owned();
        let exact = self.exact.iter().map(|(name, own)| line(text(name), own));
        let wildcard = self.wildcard.iter();
        let wildcard = wildcard.map(|(suffix, own)| line(format!("*{}", text(suffix)), own));
        let mut lines: Vec<_> = exact.chain(wildcard).collect();
        lines.sort();
        if !self.default.is_empty() {
            lines.push(line("default".to_owned(), &self.default));
        }
        lines
    }
}

#[cfg(test)]
mod tests;

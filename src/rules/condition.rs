//! Conditions: an alternative of conjunctions of tests.

use std::sync::Arc;

use super::{Facts, Matcher, Sample, Source};

/// Holds if every term of one of the alternatives does; the other way round if it is inverted.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Condition {
    pub(super) any: Vec<Vec<Term>>,
    pub(super) is_inverted: bool,
}

/// One look at a request, or several of which one has to hold.
#[derive(Clone, Debug, PartialEq)]
pub struct Term {
    pub(super) is_negated: bool,
    /// Shared between the terms that call it by name.
    pub(super) any: Arc<[Test]>,
}

/// One look at a request.
#[derive(Clone, Debug, PartialEq)]
pub enum Test {
    Always(bool),
    Tls(bool),
    /// Holds if one of the sample's values matches.
    Matches(Sample, Matcher),
}

impl Condition {
    pub fn new<T: Into<Term>>(any: Vec<Vec<T>>) -> Self {
        let every = |all: Vec<T>| all.into_iter().map(Into::into).collect();
        Self {
            any: any.into_iter().map(every).collect(),
            is_inverted: false,
        }
    }

    /// `unless` in the place of `if`.
    #[must_use]
    pub fn inverted(mut self) -> Self {
        self.is_inverted = !self.is_inverted;
        self
    }

    pub fn holds(&self, facts: &dyn Facts) -> bool {
        let every = |all: &Vec<Term>| all.iter().all(|term| term.holds(facts));
        self.any.iter().any(every) != self.is_inverted
    }

    /// Everything that is looked at.
    pub fn sources(&self) -> impl Iterator<Item = &Source> {
        let terms = self.any.iter().flatten();
        terms.flat_map(|term| term.any.iter().filter_map(Test::source))
    }
}

impl Term {
    /// Holds if one of `any` does, or none if it is negated.
    pub fn new(any: Arc<[Test]>, is_negated: bool) -> Self {
        Self { is_negated, any }
    }

    fn holds(&self, facts: &dyn Facts) -> bool {
        self.any.iter().any(|test| test.holds(facts)) != self.is_negated
    }
}

impl From<Test> for Term {
    fn from(test: Test) -> Self {
        Self::new(Arc::new([test]), false)
    }
}

impl Test {
    fn holds(&self, facts: &dyn Facts) -> bool {
        match self {
            Test::Always(holds) => *holds,
            Test::Tls(tls) => facts.is_tls() == *tls,
            Test::Matches(sample, matcher) => {
                let mut holds = false;
                sample.each(facts, &mut |value| {
                    holds = matcher.matches(&value);
                    !holds
                });
                holds
            }
        }
    }

    fn source(&self) -> Option<&Source> {
        match self {
            Test::Matches(sample, _) => Some(&sample.source),
            Test::Always(_) | Test::Tls(_) => None,
        }
    }
}

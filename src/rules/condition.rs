//! Conditions: an alternative of conjunctions of tests.

use super::Facts;

/// Holds if every test of one of the alternatives does.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Condition {
    any: Vec<Vec<Test>>,
}

/// One look at a request.
#[derive(Clone, Debug, PartialEq)]
pub enum Test {
    Always(bool),
    Tls(bool),
}

impl Condition {
    pub fn new(any: Vec<Vec<Test>>) -> Self {
        Self { any }
    }

    pub fn holds(&self, facts: &dyn Facts) -> bool {
        let every = |all: &Vec<Test>| all.iter().all(|test| test.holds(facts));
        self.any.iter().any(every)
    }
}

impl Test {
    fn holds(&self, facts: &dyn Facts) -> bool {
        match self {
            Test::Always(holds) => *holds,
            Test::Tls(tls) => facts.is_tls() == *tls,
        }
    }
}

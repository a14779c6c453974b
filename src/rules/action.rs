//! Rules in their order, and what comes of them.

use super::{Condition, Facts};

/// What a service (or the balancer, for every request) does to requests and answers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rules {
    pub request: Vec<RequestRule>,
    pub answer: Vec<AnswerRule>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct RequestRule {
    pub action: RequestAction,
    pub when: Option<Condition>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum RequestAction {
    Field(FieldEdit),
    Deny { status: u16 },
    Redirect(Redirect),
}

#[derive(Clone, Debug, PartialEq)]
pub struct AnswerRule {
    pub edit: FieldEdit,
    pub when: Option<Condition>,
}

/// Where a client is sent instead.
#[derive(Clone, Debug, PartialEq)]
pub struct Redirect {
    pub status: u16,
    pub location: String,
}

/// One change of a head's field lines. Never a field that frames the message or belongs to one
/// connection: such names are refused where rules are read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FieldEdit {
    /// In the place of every line of this name.
    Set {
        name: String,
        value: Vec<u8>,
    },
    /// Besides what is there.
    Add {
        name: String,
        value: Vec<u8>,
    },
    Remove {
        name: String,
    },
    /// Line by line: the nth of `lines` is what becomes of the nth line of this name. Lines that
    /// other edits add are none of its business.
    Each {
        name: String,
        lines: Vec<LineEdit>,
    },
}

/// What becomes of one field line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LineEdit {
    Keep,
    Remove,
    /// Another value in its place.
    Value(Vec<u8>),
}

/// What is to be changed on the way. Later edits see what earlier ones left.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Edits {
    /// In the place of the path. Begins with a slash.
    pub path: Option<Vec<u8>>,
    /// In the place of the query, without the `?`.
    pub query: Option<Vec<u8>>,
    pub fields: Vec<FieldEdit>,
}

/// What becomes of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    Pass,
    Deny {
        status: u16,
    },
    Redirect {
        status: u16,
        location: Vec<u8>,
        /// More field lines for the answer.
        fields: Vec<FieldEdit>,
    },
    /// An answer of its own.
    Answer {
        status: u16,
        content_type: Option<String>,
        body: Vec<u8>,
    },
}

impl Rules {
    pub fn is_empty(&self) -> bool {
        self.request.is_empty() && self.answer.is_empty()
    }

    /// Judges a request. `facts` is the request as it came; what rules changed of it before is in
    /// `edits`, which later rules see.
    pub fn judge(&self, facts: &dyn Facts, edits: &mut Edits) -> Verdict {
        for rule in &self.request {
            if rule.when.as_ref().is_some_and(|when| !when.holds(facts)) {
                continue;
            }
            match &rule.action {
                RequestAction::Field(edit) => edits.fields.push(edit.clone()),
                RequestAction::Deny { status } => return Verdict::Deny { status: *status },
                RequestAction::Redirect(redirect) => {
                    return Verdict::Redirect {
                        status: redirect.status,
                        location: redirect.location.clone().into_bytes(),
                        fields: Vec::new(),
                    };
                }
            }
        }
        Verdict::Pass
    }

    /// What is to be changed of an answer.
    pub fn amend(&self, facts: &dyn Facts, edits: &mut Vec<FieldEdit>) {
        for rule in &self.answer {
            if rule.when.as_ref().is_none_or(|when| when.holds(facts)) {
                edits.push(rule.edit.clone());
            }
        }
    }
}

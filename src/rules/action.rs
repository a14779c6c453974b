//! Rules, and what comes of them.

use super::{Condition, Pattern, Redirect, Sample, Template};

/// What a service (or the balancer, for every request) does to requests and answers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rules {
    pub request: Vec<RequestRule>,
    /// Judged behind all of `request`, also behind an [`RequestAction::Allow`].
    pub redirects: Vec<RedirectRule>,
    pub answer: Vec<AnswerRule>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct RequestRule {
    pub action: RequestAction,
    pub when: Option<Condition>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct RedirectRule {
    pub redirect: Redirect,
    pub when: Option<Condition>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum RequestAction {
    Field(FieldAction),
    SetPath(Template),
    /// The path becomes `with` where `pattern` finds something in it.
    ReplacePath {
        pattern: Pattern,
        with: Template,
    },
    /// Empty takes the query away.
    SetQuery(Template),
    /// Path and query together.
    SetUrl(Template),
    ReplaceUrl {
        pattern: Pattern,
        with: Template,
    },
    /// Kept under a name for later rules, those of the answer included.
    SetVariable {
        name: String,
        value: Sample,
    },
    UnsetVariable(String),
    /// The rest of `request` is passed over.
    Allow,
    Deny {
        status: u16,
    },
    Redirect(Redirect),
    Answer(OwnAnswer),
}

/// What a client gets when no upstream is asked.
#[derive(Clone, Debug, PartialEq)]
pub struct OwnAnswer {
    pub status: u16,
    pub content_type: Option<String>,
    pub body: Template,
    /// Names are those that [`super::field_name`] takes.
    pub fields: Vec<(String, Template)>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct AnswerRule {
    pub edit: FieldAction,
    pub when: Option<Condition>,
}

/// What is done to fields. Names are those that [`super::field_name`] takes.
#[derive(Clone, Debug, PartialEq)]
pub enum FieldAction {
    Set {
        name: String,
        value: Template,
    },
    Add {
        name: String,
        value: Template,
    },
    Remove {
        name: String,
    },
    /// Every line, or every value between commas, becomes `with` where `pattern` finds something.
    Replace {
        name: String,
        split: super::Split,
        pattern: Pattern,
        with: Template,
    },
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
    /// What `fields` leave of `Host`: in lower case, without a port.
    pub host: Option<Vec<u8>>,
    pub fields: Vec<FieldEdit>,
    /// Names are unique.
    pub variables: Vec<(String, Vec<u8>)>,
    /// `None` unless a rule of the answer asks for it.
    pub remembered: Option<Box<Remembered>>,
}

/// What rules of the answer can still ask of the request, as it came.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Remembered {
    pub method: Vec<u8>,
    pub host: Vec<u8>,
    pub path: Vec<u8>,
    pub query: Vec<u8>,
    pub is_tls: bool,
    pub is_http10: bool,
    /// The lines of the fields that are asked for: name in lower case, value.
    pub fields: Vec<(String, Vec<u8>)>,
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
        /// More field lines for the answer.
        fields: Vec<FieldEdit>,
    },
}

impl Rules {
    pub fn is_empty(&self) -> bool {
        self.request.is_empty() && self.redirects.is_empty() && self.answer.is_empty()
    }

    /// Puts `later` behind these.
    pub fn append(&mut self, later: Rules) {
        self.request.extend(later.request);
        self.redirects.extend(later.redirects);
        self.answer.extend(later.answer);
    }
}

impl FieldAction {
    pub(super) fn name(&self) -> &str {
        match self {
            FieldAction::Set { name, .. }
            | FieldAction::Add { name, .. }
            | FieldAction::Remove { name }
            | FieldAction::Replace { name, .. } => name,
        }
    }

    /// Everything that is written by samples.
    pub(super) fn template(&self) -> Option<&Template> {
        match self {
            FieldAction::Set { value, .. } | FieldAction::Add { value, .. } => Some(value),
            FieldAction::Replace { with, .. } => Some(with),
            FieldAction::Remove { .. } => None,
        }
    }
}

impl FieldEdit {
    pub fn name(&self) -> &str {
        match self {
            FieldEdit::Set { name, .. }
            | FieldEdit::Add { name, .. }
            | FieldEdit::Each { name, .. }
            | FieldEdit::Remove { name } => name,
        }
    }
}

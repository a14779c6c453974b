//! Judging a request, and amending an answer.

use super::fields::{is_host, plain_host};
use super::seen::Seen;
use super::{
    AnswerRule, Condition, Edits, Facts, FieldAction, FieldEdit, Part, Place, Remembered,
    RequestAction, Rules, Sample, Side, Source, Split, Template, Verdict,
};

/// What one rule wants.
enum Effect {
    Nothing,
    Fields(Vec<FieldEdit>),
    Path(Vec<u8>),
    Query(Vec<u8>),
    Url(Vec<u8>),
    Variable(String, Option<Vec<u8>>),
    Allow,
    End(Verdict),
}

impl Rules {
    /// Judges a request. `facts` is the request as it came; what rules changed of it before is in
    /// `edits`, which later rules see.
    ///
    /// A value that grows beyond all measure ends the request: going on without it could lead the
    /// request past what the operator wrote.
    pub fn judge(&self, facts: &dyn Facts, edits: &mut Edits) -> Verdict {
        self.remember(facts, edits);
        for rule in &self.request {
            let seen = Seen::of_request(facts, edits);
            if !holds(rule.when.as_ref(), &seen) {
                continue;
            }
            match rule.action.effect(&seen) {
                Effect::Nothing => {}
                Effect::Fields(fields) => {
                    for edit in fields {
                        if let FieldEdit::Set { name, value } = &edit
                            && name.eq_ignore_ascii_case("host")
                        {
                            if !is_host(value) {
                                return Verdict::Deny { status: 400 };
                            }
                            edits.host = Some(plain_host(value));
                        }
                        edits.fields.push(edit);
                    }
                }
                Effect::Path(path) => edits.path = Some(with_slash(path)),
                Effect::Query(query) => edits.query = Some(query),
                Effect::Url(url) => {
                    let end = memchr::memchr(b'?', &url).unwrap_or(url.len());
                    let query = url.get(end + 1..).unwrap_or_default();
                    edits.query = Some(query.to_vec());
                    edits.path = Some(with_slash(Place::Path.fit(&url[..end])));
                }
                Effect::Variable(name, value) => {
                    edits.variables.retain(|(other, _)| *other != name);
                    edits.variables.extend(value.map(|value| (name, value)));
                }
                Effect::Allow => break,
                Effect::End(verdict) => return verdict,
            }
        }
        let seen = Seen::of_request(facts, edits);
        self.redirects
            .iter()
            .filter(|rule| holds(rule.when.as_ref(), &seen))
            .find_map(|rule| rule.redirect.verdict(&seen))
            .unwrap_or(Verdict::Pass)
    }

    /// What is to be changed of an answer. `facts` has what was [remembered](Edits::remembered) of
    /// the request. A value beyond all measure leaves the field as it is.
    pub fn amend(&self, facts: &dyn Facts, edits: &mut Vec<FieldEdit>) {
        let of_request = Edits::default();
        for rule in &self.answer {
            let seen = Seen {
                facts,
                side: Side::Answer,
                edits: &of_request,
                fields: edits,
            };
            if holds(rule.when.as_ref(), &seen) {
                let changes = rule.edit.changes(&seen, Side::Answer).unwrap_or_default();
                edits.extend(changes);
            }
        }
    }

    /// Keeps what rules of the answer will ask of the request; for most rules that is nothing.
    fn remember(&self, facts: &dyn Facts, edits: &mut Edits) {
        let sources = || self.answer.iter().flat_map(AnswerRule::sources);
        if !sources().any(Source::is_of_request) {
            return;
        }
        // Other rules may have kept it already, and other fields.
        let remembered = edits.remembered.get_or_insert_with(|| {
            Box::new(Remembered {
                method: facts.method().to_vec(),
                host: facts.host().to_vec(),
                path: facts.path().to_vec(),
                query: facts.query().to_vec(),
                is_tls: facts.is_tls(),
                is_http10: facts.version() == "1.0",
                fields: Vec::new(),
            })
        });
        for name in sources().filter_map(Source::field_of_request) {
            if remembered.fields.iter().any(|(other, _)| other == name) {
                continue;
            }
            facts.each_field(Side::Request, name, &mut |value| {
                let line = (name.to_owned(), value.to_vec());
                remembered.fields.push(line);
                true
            });
        }
    }
}

impl Remembered {
    /// The lines of a field that a rule asks for.
    pub fn each_field(&self, name: &str, visit: &mut dyn FnMut(&[u8]) -> bool) {
        let mut named = self.fields.iter().filter(|(other, _)| other == name);
        named.all(|(_, value)| visit(value));
    }
}

impl AnswerRule {
    fn sources(&self) -> impl Iterator<Item = &Source> {
        let conditions = self.when.iter().flat_map(Condition::sources);
        let samples = self.edit.template().into_iter().flat_map(|t| &t.parts);
        conditions.chain(samples.filter_map(|part| match part {
            Part::Sample(Sample { source, .. }) => Some(source),
            Part::Text(_) => None,
        }))
    }
}

impl<'a> Seen<'a> {
    /// The request as rules left it.
    pub fn of_request(facts: &'a dyn Facts, edits: &'a Edits) -> Self {
        Self {
            facts,
            side: Side::Request,
            edits,
            fields: &[],
        }
    }
}

fn holds(when: Option<&Condition>, seen: &Seen<'_>) -> bool {
    when.is_none_or(|when| when.holds(seen))
}

impl RequestAction {
    fn effect(&self, seen: &Seen<'_>) -> Effect {
        self.try_effect(seen)
            .unwrap_or(Effect::End(Verdict::Deny { status: 431 }))
    }

    /// `None`: a value would be too long.
    fn try_effect(&self, seen: &Seen<'_>) -> Option<Effect> {
        let limited = |value: Vec<u8>| (value.len() <= Template::LONGEST).then_some(value);
        let effect = match self {
            RequestAction::Field(action) => Effect::Fields(action.changes(seen, Side::Request)?),
            RequestAction::SetPath(path) => Effect::Path(path.render(seen, Place::Path)?),
            RequestAction::ReplacePath { pattern, with } => {
                let with = with.render(seen, Place::Body)?;
                match pattern.rewrite(seen.path(), &with) {
                    Some(path) => Effect::Path(limited(Place::Path.fit(&path))?),
                    None => Effect::Nothing,
                }
            }
            RequestAction::SetQuery(query) => Effect::Query(query.render(seen, Place::Query)?),
            RequestAction::SetUrl(url) => Effect::Url(url.render(seen, Place::Query)?),
            RequestAction::ReplaceUrl { pattern, with } => {
                let with = with.render(seen, Place::Body)?;
                let url = Sample::from(Source::Url).one(seen)?;
                match pattern.rewrite(&url.text(), &with) {
                    Some(url) => Effect::Url(limited(Place::Query.fit(&url))?),
                    None => Effect::Nothing,
                }
            }
            RequestAction::SetVariable { name, value } => {
                let value = match value.one(seen) {
                    Some(value) => Some(limited(value.text().into_owned())?),
                    None => None,
                };
                Effect::Variable(name.clone(), value)
            }
            RequestAction::UnsetVariable(name) => Effect::Variable(name.clone(), None),
            RequestAction::Allow => Effect::Allow,
            RequestAction::Deny { status } => Effect::End(Verdict::Deny { status: *status }),
            RequestAction::Redirect(redirect) => match redirect.verdict(seen) {
                Some(verdict) => Effect::End(verdict),
                None => Effect::Nothing,
            },
            RequestAction::Answer(answer) => {
                let mut fields = Vec::new();
                for (name, value) in &answer.fields {
                    fields.push(FieldEdit::Add {
                        name: name.clone(),
                        value: value.render(seen, Place::Field)?,
                    });
                }
                Effect::End(Verdict::Answer {
                    status: answer.status,
                    content_type: answer.content_type.clone(),
                    body: answer.body.render(seen, Place::Body)?,
                    fields,
                })
            }
        };
        Some(effect)
    }
}

impl FieldAction {
    /// What is to be changed; `None` if a value would be too long.
    fn changes(&self, seen: &Seen<'_>, side: Side) -> Option<Vec<FieldEdit>> {
        let name = self.name().to_owned();
        Some(match self {
            FieldAction::Set { value, .. } => vec![FieldEdit::Set {
                name,
                value: value.render(seen, Place::Field)?,
            }],
            FieldAction::Add { value, .. } => vec![FieldEdit::Add {
                name,
                value: value.render(seen, Place::Field)?,
            }],
            FieldAction::Remove { .. } => vec![FieldEdit::Remove { name }],
            FieldAction::Replace {
                split,
                pattern,
                with,
                ..
            } => {
                let with = with.render(seen, Place::Body)?;
                let mut lines = Vec::new();
                let mut is_changed = false;
                seen.each_field(side, &name.to_ascii_lowercase(), &mut |line| {
                    let mut rewrite = |part: &[u8]| match pattern.rewrite(part, &with) {
                        Some(new) => {
                            is_changed = true;
                            Place::Field.fit(&new)
                        }
                        None => part.to_vec(),
                    };
                    lines.push(match split {
                        Split::Lines => rewrite(line),
                        Split::Commas => {
                            let values: Vec<_> =
                                super::sample::commas(line).map(&mut rewrite).collect();
                            values.join(&b", "[..])
                        }
                    });
                    true
                });
                if !is_changed {
                    return Some(Vec::new());
                }
                if lines.iter().any(|line| line.len() > 4 * Template::LONGEST) {
                    return None;
                }
                replaced(&name, lines)
            }
        })
    }
}

/// The first line sets, so that nothing of what was there is left, the others come on top.
fn replaced(name: &str, lines: Vec<Vec<u8>>) -> Vec<FieldEdit> {
    let mut edits = Vec::with_capacity(lines.len());
    for (nth, value) in lines.into_iter().enumerate() {
        let name = name.to_owned();
        edits.push(match nth {
            0 => FieldEdit::Set { name, value },
            _ => FieldEdit::Add { name, value },
        });
    }
    edits
}

fn with_slash(path: Vec<u8>) -> Vec<u8> {
    match path.first() {
        Some(b'/') => path,
        _ => [b"/", path.as_slice()].concat(),
    }
}

//! Rules of routers: ``Host(`a`) && (PathPrefix(`/x`) || !Method(`POST`))`` to alternatives of tests.

/// One test of a request, or its contrary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Test {
    pub(super) negated: bool,
    pub(super) name: String,
    pub(super) args: Vec<String>,
}

/// Tests that all have to hold.
pub(super) type Alternative = Vec<Test>;

/// A rule longer than this is nobody's.
const MAX_RULE: usize = 4096;
const MAX_DEPTH: usize = 32;
const MAX_ALTERNATIVES: usize = 64;
const MAX_TESTS: usize = 64;

enum Node {
    All(Box<Node>, Box<Node>),
    Any(Box<Node>, Box<Node>),
    Test(Test),
}

/// The alternatives of a rule of which one has to hold, or why it is none.
pub(super) fn parse(text: &str) -> Result<Vec<Alternative>, String> {
    if text.len() > MAX_RULE {
        return Err(format!(
            "has {} bytes, at most {MAX_RULE} are read",
            text.len()
        ));
    }
    let mut parser = Parser {
        rest: text,
        depth: 0,
    };
    let node = parser.any(false)?;
    parser.skip();
    if !parser.rest.is_empty() {
        return Err(format!(
            "has {:?} where && or || was expected",
            head(parser.rest)
        ));
    }
    alternatives(&node)
}

struct Parser<'a> {
    rest: &'a str,
    depth: usize,
}

impl Parser<'_> {
    /// `negated` turns the whole round: `!(a && b)` is `!a || !b`.
    fn any(&mut self, negated: bool) -> Result<Node, String> {
        let mut node = self.all(negated)?;
        while self.take("||") {
            let (left, right) = (Box::new(node), Box::new(self.all(negated)?));
            node = match negated {
                false => Node::Any(left, right),
                true => Node::All(left, right),
            };
        }
        Ok(node)
    }

    fn all(&mut self, negated: bool) -> Result<Node, String> {
        let mut node = self.one(negated)?;
        while self.take("&&") {
            let (left, right) = (Box::new(node), Box::new(self.one(negated)?));
            node = match negated {
                false => Node::All(left, right),
                true => Node::Any(left, right),
            };
        }
        Ok(node)
    }

    fn one(&mut self, negated: bool) -> Result<Node, String> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err("has too many brackets in each other".to_owned());
        }
        let node = if self.take("!") {
            self.one(!negated)?
        } else if self.take("(") {
            let node = self.any(negated)?;
            if !self.take(")") {
                return Err("lacks a )".to_owned());
            }
            node
        } else {
            Node::Test(self.test(negated)?)
        };
        self.depth -= 1;
        Ok(node)
    }

    fn test(&mut self, negated: bool) -> Result<Test, String> {
        self.skip();
        let end = self.rest.find(|c: char| !c.is_ascii_alphanumeric());
        let name = &self.rest[..end.unwrap_or(self.rest.len())];
        if name.is_empty() {
            return Err(match self.rest {
                "" => "ends where a test was expected".to_owned(),
                rest => format!("has {:?} where a test was expected", head(rest)),
            });
        }
        let name = name.to_owned();
        self.rest = &self.rest[name.len()..];
        if !self.take("(") {
            return Err(format!("has {name} without its values"));
        }
        let mut args = Vec::new();
        while !self.take(")") {
            if !args.is_empty() && !self.take(",") {
                return Err(format!("lacks a comma or a ) in {name}"));
            }
            args.push(self.value(&name)?);
        }
        Ok(Test {
            negated,
            name,
            args,
        })
    }

    fn value(&mut self, name: &str) -> Result<String, String> {
        self.skip();
        let quote = self.rest.chars().next();
        let Some(quote @ ('`' | '"' | '\'')) = quote else {
            return Err(format!("has no ` around a value of {name}"));
        };
        let inside = &self.rest[1..];
        let mut value = String::new();
        let mut chars = inside.char_indices();
        while let Some((at, c)) = chars.next() {
            match c {
                c if c == quote => {
                    self.rest = &inside[at + 1..];
                    return Ok(value);
                }
                // Inside of ` a backslash is a backslash.
                '\\' if quote != '`' => match chars.next() {
                    Some((_, c @ ('\\' | '"' | '\''))) => value.push(c),
                    Some((_, c)) => value.extend(['\\', c]),
                    None => break,
                },
                c => value.push(c),
            }
        }
        Err(format!("lacks the {quote} behind a value of {name}"))
    }

    fn take(&mut self, word: &str) -> bool {
        self.skip();
        match self.rest.strip_prefix(word) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn skip(&mut self) {
        self.rest = self.rest.trim_start();
    }
}

fn head(rest: &str) -> String {
    rest.chars().take(12).collect()
}

fn alternatives(node: &Node) -> Result<Vec<Alternative>, String> {
    let too_many = || format!("has more than {MAX_ALTERNATIVES} alternatives of {MAX_TESTS} tests");
    match node {
        Node::Test(test) => Ok(vec![vec![test.clone()]]),
        Node::Any(left, right) => {
            let mut all = alternatives(left)?;
            all.extend(alternatives(right)?);
            if all.len() > MAX_ALTERNATIVES {
                return Err(too_many());
            }
            Ok(all)
        }
        Node::All(left, right) => {
            let (left, right) = (alternatives(left)?, alternatives(right)?);
            if left.len() * right.len() > MAX_ALTERNATIVES {
                return Err(too_many());
            }
            let mut all = Vec::with_capacity(left.len() * right.len());
            for a in &left {
                for b in &right {
                    if a.len() + b.len() > MAX_TESTS {
                        return Err(too_many());
                    }
                    all.push(a.iter().chain(b).cloned().collect());
                }
            }
            Ok(all)
        }
    }
}

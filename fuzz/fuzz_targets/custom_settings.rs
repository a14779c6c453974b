//! Any text as a service's `custom_settings`: understood, or refused with reasons that name a line of
//! it. What is understood judges a request without a panic, and leaves nothing that breaks a head.
#![no_main]

use std::net::SocketAddr;

use libfuzzer_sys::fuzz_target;
use pointsman::config::{Balancer, Unit, haproxy, parse};
use pointsman::names::UnitName;
use pointsman::rules::{Edits, Facts, FieldEdit, Side, Verdict};

/// The request's parts are lines of the text itself.
struct Request<'a> {
    lines: Vec<&'a [u8]>,
}

impl Request<'_> {
    fn line(&self, nth: usize) -> &[u8] {
        self.lines.get(nth).copied().unwrap_or_default()
    }
}

impl Facts for Request<'_> {
    fn method(&self) -> &[u8] {
        b"GET"
    }

    fn host(&self) -> &[u8] {
        self.line(0)
    }

    fn path(&self) -> &[u8] {
        self.line(1)
    }

    fn query(&self) -> &[u8] {
        self.line(2)
    }

    fn version(&self) -> &str {
        "1.1"
    }

    fn client(&self) -> SocketAddr {
        ([10, 0, 0, 1], 4000).into()
    }

    fn listener(&self) -> SocketAddr {
        ([10, 0, 0, 2], 80).into()
    }

    fn is_tls(&self) -> bool {
        false
    }

    fn request_id(&self) -> &[u8] {
        b"id"
    }

    fn status(&self) -> u16 {
        200
    }

    fn each_field(&self, _: Side, _: &str, visit: &mut dyn FnMut(&[u8]) -> bool) {
        let _ = self.lines.iter().all(|line| visit(line));
    }
}

fuzz_target!(|text: &str| {
    let facts = Request {
        lines: text.as_bytes().split(|b| *b == b'\n').collect(),
    };
    let lines = text.lines().count().max(1);
    match haproxy::condition(text) {
        Ok(condition) => {
            condition.holds(&facts);
        }
        Err(problems) => {
            assert!(!problems.is_empty());
            assert!(problems.iter().all(|p| (1..=lines).contains(&p.line)));
        }
    }

    for mode in ["http", "tcp"] {
        let unit = format!(
            "service: {{name: x, mode: {mode}, custom_settings: {}}}",
            json(text)
        );
        let parsed = parse(&UnitName::from("services/x"), &unit, &Balancer::default());
        let Ok(accepted) = parsed else { continue };
        let Unit::Service(service) = accepted.unit else {
            continue;
        };
        let Some(policy) = service.policy else {
            continue;
        };
        let mut edits = Edits::default();
        let verdict = policy.rules.judge(&facts, &mut edits);
        if let Verdict::Redirect {
            location, fields, ..
        } = &verdict
        {
            assert!(location.iter().all(|b| (0x21..0x7f).contains(b)));
            sound(fields);
        }
        if let Some(path) = &edits.path {
            assert!(path.starts_with(b"/") && path.iter().all(|b| (0x21..0x7f).contains(b)));
        }
        sound(&edits.fields);
        let mut of_answer = Vec::new();
        policy.rules.amend(&facts, &mut of_answer);
        sound(&of_answer);
    }
});

fn sound(fields: &[FieldEdit]) {
    for edit in fields {
        if let FieldEdit::Set { value, .. } | FieldEdit::Add { value, .. } = edit {
            assert!(value.iter().all(|b| *b == b'\t' || *b >= b' ' && *b != 0x7f));
        }
    }
}

/// A text as YAML reads it back.
fn json(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_ascii_graphic() || c == ' ' => out.push(c),
            c => out += &format!("\\U{:08X}", u32::from(c)),
        }
    }
    out + "\""
}

use std::net::SocketAddr;

use proptest::prelude::*;

use super::*;

/// A request in which everything is what somebody sent.
#[derive(Debug)]
struct Hostile(Vec<u8>);

impl Facts for Hostile {
    fn method(&self) -> &[u8] {
        &self.0
    }

    fn host(&self) -> &[u8] {
        &self.0
    }

    fn path(&self) -> &[u8] {
        &self.0
    }

    fn query(&self) -> &[u8] {
        &self.0
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
        &self.0
    }

    fn status(&self) -> u16 {
        200
    }

    fn each_field(&self, _: Side, _: &str, visit: &mut dyn FnMut(&[u8]) -> bool) {
        let _ = visit(&self.0) && visit(&self.0);
    }

    fn variable(&self, _: &str) -> Option<&[u8]> {
        Some(&self.0)
    }
}

fn sources() -> impl Strategy<Value = Source> {
    let field = |split| Source::Field {
        side: Side::Request,
        name: "x".to_owned(),
        split,
        nth: None,
    };
    prop_oneof![
        Just(Source::Method),
        Just(Source::Path),
        Just(Source::Query),
        Just(Source::Url),
        Just(Source::Base),
        Just(Source::Host),
        Just(Source::Parameter(String::new())),
        Just(field(Split::Commas)),
        Just(field(Split::Lines)),
        Just(Source::Cookie("a".to_owned())),
        Just(Source::RequestId),
        Just(Source::Variable("txn.a".to_owned())),
        Just(Source::AsItCame(Box::new(Source::Url))),
    ]
}

fn converters() -> impl Strategy<Value = Converter> {
    let substitution = Substitution::new(Pattern::new("(.)", false).unwrap(), b"\\1\r\n", true);
    prop_oneof![
        Just(Converter::Upper),
        Just(Converter::Substitute(substitution)),
        (-3i32..4, any::<Vec<u8>>())
            .prop_map(|(nth, delimiters)| Converter::Field { nth, delimiters }),
        (-3i32..4, any::<Vec<u8>>())
            .prop_map(|(nth, delimiters)| Converter::Word { nth, delimiters }),
        Just(Converter::Length),
        Just(Converter::Mask { v4: 8, v6: 200 }),
    ]
}

fn templates() -> impl Strategy<Value = Template> {
    let part = prop_oneof![
        any::<Vec<u8>>().prop_map(Part::Text),
        (sources(), prop::collection::vec(converters(), 0..3))
            .prop_map(|(source, converters)| Part::Sample(Sample { source, converters })),
    ];
    prop::collection::vec(part, 0..4).prop_map(|parts| Template { parts })
}

fn field_actions() -> impl Strategy<Value = FieldAction> {
    let name = prop_oneof![Just("X-A".to_owned()), Just("Host".to_owned())];
    (name, templates(), 0..4).prop_map(|(name, value, kind)| match kind {
        0 => FieldAction::Set { name, value },
        1 => FieldAction::Add { name, value },
        2 => FieldAction::Remove { name },
        _ => FieldAction::Replace {
            name,
            split: Split::Commas,
            pattern: Pattern::new("(.*)", false).unwrap(),
            with: value,
        },
    })
}

fn request_actions() -> impl Strategy<Value = RequestAction> {
    let pattern = || Pattern::new("^/?(.*)$", false).unwrap();
    prop_oneof![
        field_actions().prop_map(RequestAction::Field),
        templates().prop_map(RequestAction::SetPath),
        templates().prop_map(RequestAction::SetQuery),
        templates().prop_map(RequestAction::SetUrl),
        templates().prop_map(move |with| RequestAction::ReplacePath {
            pattern: pattern(),
            with,
        }),
        templates().prop_map(move |with| RequestAction::ReplaceUrl {
            pattern: pattern(),
            with,
        }),
        sources().prop_map(|source| RequestAction::SetVariable {
            name: "txn.a".to_owned(),
            value: source.into(),
        }),
    ]
}

fn targets() -> impl Strategy<Value = Target> {
    prop_oneof![
        templates().prop_map(Target::Location),
        templates().prop_map(Target::Prefix),
        templates().prop_map(Target::Scheme),
    ]
}

fn is_value(value: &[u8]) -> bool {
    value
        .iter()
        .all(|b| matches!(b, b'\t' | 0x20..=0x7e | 0x80..))
}

fn assert_fields_are_sound(fields: &[FieldEdit]) {
    for edit in fields {
        if let FieldEdit::Set { value, .. } | FieldEdit::Add { value, .. } = edit {
            assert!(is_value(value), "{edit:?}");
        }
    }
}

proptest! {
    /// Whatever a client sends and whatever is made of it, nothing becomes a line of a head or a part
    /// of the request line of its own.
    #[test]
    fn nothing_that_rules_write_breaks_a_head(
        sent in any::<Vec<u8>>(),
        actions in prop::collection::vec(request_actions(), 0..6),
        target in targets(),
        of_answer in prop::collection::vec(field_actions(), 0..4),
    ) {
        let redirect = RedirectRule { redirect: Redirect::new(302, target), when: None };
        let rules = Rules {
            request: actions.into_iter().map(|action| RequestRule { action, when: None }).collect(),
            redirects: vec![redirect],
            answer: of_answer.into_iter().map(|edit| AnswerRule { edit, when: None }).collect(),
        };
        let facts = Hostile(sent);
        let mut edits = Edits::default();
        match rules.judge(&facts, &mut edits) {
            Verdict::Redirect { location, fields, .. } => {
                prop_assert!(location.iter().all(|b| (0x21..0x7f).contains(b)));
                assert_fields_are_sound(&fields);
            }
            // A Host that is none, or a value beyond all measure.
            Verdict::Deny { status } => prop_assert!(matches!(status, 400 | 414 | 431)),
            verdict => prop_assert!(false, "{:?}", verdict),
        }
        if let Some(path) = &edits.path {
            prop_assert!(path.starts_with(b"/"));
            prop_assert!(path.iter().all(|b| (0x21..0x7f).contains(b) && !b"?#".contains(b)));
        }
        if let Some(query) = &edits.query {
            prop_assert!(query.iter().all(|b| (0x21..0x7f).contains(b) && *b != b'#'));
        }
        assert_fields_are_sound(&edits.fields);
        let mut of_answer = Vec::new();
        rules.amend(&facts, &mut of_answer);
        assert_fields_are_sound(&of_answer);
    }

    #[test]
    fn any_text_is_a_pattern_or_refused(text in any::<String>(), on in any::<Vec<u8>>()) {
        if let Ok(pattern) = Pattern::new(&text, true) {
            pattern.is_match(&on);
            Substitution::new(pattern, text.as_bytes(), true).apply(&on);
        }
    }
}

#[test]
fn a_value_beyond_all_measure_ends_the_request() {
    let part = || Part::Sample(Source::Path.into());
    let value = Template {
        parts: (0..40).map(|_| part()).collect(),
    };
    let action = FieldAction::Set {
        name: "X".to_owned(),
        value,
    };
    let rules = Rules {
        request: vec![RequestRule {
            action: RequestAction::Field(action.clone()),
            when: None,
        }],
        redirects: Vec::new(),
        answer: vec![AnswerRule {
            edit: action,
            when: None,
        }],
    };
    let long = Hostile(vec![b'a'; 1000]);
    let verdict = rules.judge(&long, &mut Edits::default());
    assert_eq!(verdict, Verdict::Deny { status: 431 });
    let mut edits = Vec::new();
    rules.amend(&long, &mut edits);
    assert_eq!(edits, []);
}

#[test]
fn a_pattern_that_would_take_too_much_is_refused() {
    let told = |text: &str| Pattern::new(text, false).unwrap_err();
    assert_eq!(told("(a{1000}){1000}"), "it takes too much memory");
    assert_eq!(told(&"a".repeat(2001)), "it has more than 2000 characters");
    // Time in proportion to the text, whatever is asked.
    let slow = Pattern::new("^(a+)+$", false).unwrap();
    assert!(!slow.is_match(&[vec![b'a'; 100_000], b"!".to_vec()].concat()));
}

/// `path` on any host, with a field that is `field`.
struct Asks {
    path: &'static [u8],
    field: Vec<u8>,
}

impl Facts for Asks {
    fn method(&self) -> &[u8] {
        b"GET"
    }

    fn host(&self) -> &[u8] {
        b"h.test"
    }

    fn path(&self) -> &[u8] {
        self.path
    }

    fn query(&self) -> &[u8] {
        b""
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
        b""
    }

    fn status(&self) -> u16 {
        0
    }

    fn each_field(&self, _: Side, _: &str, visit: &mut dyn FnMut(&[u8]) -> bool) {
        visit(&self.field);
    }
}

#[test]
fn no_path_that_a_client_asks_for_is_a_host_to_be_sent_to() {
    let location = |to: Target, path| {
        let mut redirect = Redirect::new(302, to);
        redirect.appends_slash = true;
        let facts = Asks {
            path,
            field: Vec::new(),
        };
        match redirect.verdict(&facts) {
            Some(Verdict::Redirect { location, .. }) => String::from_utf8(location).unwrap(),
            verdict => panic!("{verdict:?}"),
        }
    };
    let prefix = |to: &str, path| location(Target::Prefix(Template::text(to)), path);
    for path in [&b"//evil.test"[..], b"/\\evil.test", b"///\\/evil.test"] {
        assert_eq!(prefix("/", path), "/evil.test/");
        assert_eq!(prefix("", path), "/evil.test/");
    }
    assert_eq!(prefix("/", b"/a//b"), "/a//b/");
    assert_eq!(prefix("/new", b"//evil.test"), "/new//evil.test/");
    let scheme = |path| location(Target::Scheme(Template::text("https")), path);
    assert_eq!(scheme(b"//evil.test/"), "https://h.test//evil.test/");
    assert_eq!(scheme(b"*"), "https://h.test/");
}

#[test]
fn groups_that_a_client_writes_do_not_grow_beyond_all_measure() {
    let rules = |action| Rules {
        request: vec![RequestRule { action, when: None }],
        ..Rules::default()
    };
    let with = Template {
        parts: vec![
            Part::Sample(Source::Host.into()),
            Part::Text(b"\\1".repeat(8000)),
        ],
    };
    let pattern = || Pattern::new("(.*)", false).unwrap();
    let facts = Asks {
        path: b"/",
        field: vec![b'a'; 60_000],
    };
    let action = RequestAction::Field(FieldAction::Replace {
        name: "X".to_owned(),
        split: Split::Lines,
        pattern: pattern(),
        with,
    });
    let verdict = rules(action).judge(&facts, &mut Edits::default());
    assert_eq!(verdict, Verdict::Deny { status: 431 });
    // 480 MB if it were all put together.
    assert!(
        pattern()
            .rewrite(&facts.field, &b"\\1".repeat(8000))
            .is_none_or(|all| all.len() < 1 << 20)
    );
}

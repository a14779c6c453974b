//! Every row of the dialects' tables: what is said, and which keys and problems come of it.

mod hostile;
mod lb;
mod merging;
mod others;
mod places;
mod traefik;

use super::*;

/// A container `web-1` of service `web` at 10.0.0.2 in one network, exposing 8080.
fn facts(words: &[(&str, &str)]) -> Facts {
    let is_variable = |name: &str| !name.contains('.') && name == name.to_uppercase();
    let pick = |variables: bool| {
        let some = words
            .iter()
            .filter(|(name, _)| is_variable(name) == variables);
        some.map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    };
    Facts {
        kind: Kind::Container,
        name: "web-1".to_owned(),
        service: Some("web".to_owned()),
        stack: None,
        env: pick(true),
        labels: pick(false),
        networks: [("net".to_owned(), "10.0.0.2".parse().ok())].into(),
        overlays: [].into(),
        is_on_host: false,
        host: None,
        ports: vec![port(8080)],
    }
}

fn port(number: u16) -> Port {
    Port {
        number,
        published: Vec::new(),
    }
}

/// All keys as lines, upstreams last, and the problems as lines.
fn said(facts: &Facts, ground: &Ground) -> (String, Vec<String>) {
    let said = read(facts, ground);
    let mut lines = Vec::new();
    for service in &said.services {
        for (key, setting) in &service.keys {
            lines.push(format!("{}/{key}={}", service.dir, setting.value));
        }
        lines.push(format!("{}={}", service.dir, service.upstream));
    }
    (
        lines.join("\n"),
        said.problems.iter().map(ToString::to_string).collect(),
    )
}

/// `expected`: the keys of `services/web` in order, without its upstream, which has to be there.
fn check(words: &[(&str, &str)], expected: &[&str]) {
    check_with_problems(words, expected, &[]);
}

/// Each of `problems` is a part of one problem, in order.
fn check_with_problems(words: &[(&str, &str)], expected: &[&str], problems: &[&str]) {
    let (keys, told) = said(&facts(words), &Ground::default());
    let keys: Vec<_> = keys
        .lines()
        .filter(|line| !line.contains("=10.0.0.2:"))
        .map(|line| line.trim_start_matches("services/web/"))
        .collect();
    assert_eq!(keys.join("\n"), expected.join("\n"), "{words:?}: {told:#?}");
    assert_eq!(told.len(), problems.len(), "{words:?}: {told:#?}");
    for (told, part) in told.iter().zip(problems) {
        assert!(told.contains(part), "{told} lacks {part}");
    }
}

fn refused(words: &[(&str, &str)], problem: &str) {
    let (keys, told) = said(&facts(words), &Ground::default());
    assert_eq!(keys, "", "{words:?}");
    let is_told = told
        .iter()
        .any(|told| told.starts_with("error") && told.contains(problem));
    assert!(is_told, "{words:?}: {told:#?} lacks {problem}");
}

fn upstream(words: &[(&str, &str)]) -> String {
    let said = read(&facts(words), &Ground::default());
    let all: Vec<_> = said
        .services
        .iter()
        .map(|service| service.upstream.clone())
        .collect();
    all.join(", ")
}

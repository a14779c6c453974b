use std::collections::BTreeMap;
use std::path::Path;

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::snapshot::Snapshot;

fn tree(keys: &[(&str, &str)]) -> Snapshot {
    keys.iter()
        .map(|(key, value)| (*key, value.as_bytes().to_vec()))
        .collect()
}

fn built_in() -> Renderer {
    let (templates, problems) = Templates::load(None);
    assert_eq!(problems, []);
    Renderer::new(templates)
}

/// A renderer whose templates are `files` over the built-in ones.
fn with(files: &[(&str, &str)]) -> (Renderer, Vec<String>, TempDir) {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), files);
    let (templates, problems) = Templates::load(Some(dir.path()));
    (Renderer::new(templates), said(&problems), dir)
}

fn write(dir: &Path, files: &[(&str, &str)]) {
    for (name, text) in files {
        std::fs::write(dir.join(name), text).unwrap();
    }
}

fn said(diagnostics: &[Diagnostic]) -> Vec<String> {
    diagnostics.iter().map(Diagnostic::to_string).collect()
}

/// A unit called `probe` whose whole text is `body`.
fn probe(body: &str, snapshot: &Snapshot) -> Result<String, String> {
    let template = format!("---\nonce: probe\n---\n{body}");
    let (mut renderer, problems, _dir) = with(&[("probe.tera", &template)]);
    assert_eq!(problems, [""; 0]);
    let rendered = renderer.update(snapshot);
    if let Some((_, diagnostics)) = rendered.failed.iter().find(|(u, _)| u.as_str() == "probe") {
        return Err(said(diagnostics).join("\n"));
    }
    Ok(renderer.text("probe").unwrap().to_string())
}

#[track_caller]
fn check(body: &str, keys: &[(&str, &str)], expected: &str) {
    assert_eq!(probe(body, &tree(keys)).as_deref(), Ok(expected), "{body}");
}

#[track_caller]
fn fails(body: &str, keys: &[(&str, &str)], expected: &str) {
    let report = probe(body, &tree(keys)).expect_err(body);
    assert!(report.contains(expected), "{body}\n{report}");
}

fn names(units: &[UnitText]) -> Vec<&str> {
    units.iter().map(|text| text.unit.as_str()).collect()
}

#[test]
fn the_kontena_layout_becomes_one_unit_for_each_service() {
    let mut renderer = built_in();
    let rendered = renderer.update(&tree(&[
        ("services/web/virtual_hosts", "www.foo.com,*.bar.com"),
        ("services/web/balance", "leastcon"),
        ("services/web/upstreams/web-2", "10.0.0.2:80"),
        ("services/web/upstreams/web-1", "10.0.0.1:80 weight=5"),
        ("tcp-services/db/external_port", "3306"),
        ("tcp-services/db/upstreams/db-1", "10.0.0.3:3306"),
        ("settings/timeout_head", "1s"),
        ("aliases/x", "y"),
        ("services/stray", "a key and no directory"),
    ]));
    assert_eq!(
        names(&rendered.changed),
        ["balancer", "services/web", "tcp-services/db"]
    );
    assert_eq!(rendered.rendered, 3);
    assert!(rendered.changed.iter().all(|text| text.warnings.is_empty()));
    assert_eq!(
        &*rendered.changed[0].text,
        "balancer:\n  timeout_head: \"1s\"\n"
    );
    assert_eq!(
        &*rendered.changed[1].text,
        "service:\n  name: \"web\"\n  mode: \"http\"\n  balance: \"leastcon\"\n  upstreams:\n    \
         \"web-1\": \"10.0.0.1:80 weight=5\"\n    \"web-2\": \"10.0.0.2:80\"\n  \
         virtual_hosts: \"www.foo.com,*.bar.com\"\n"
    );
    assert_eq!(
        &*rendered.changed[2].text,
        "service:\n  name: \"db\"\n  mode: \"tcp\"\n  external_port: \"3306\"\n  upstreams:\n    \
         \"db-1\": \"10.0.0.3:3306\"\n"
    );
}

#[test]
fn an_unknown_key_is_told_and_the_service_goes_live() {
    let mut renderer = built_in();
    let rendered = renderer.update(&tree(&[
        ("services/web/balanc", "source"),
        ("services/web/aliases", ""),
        ("settings/retrys", "3"),
    ]));
    let warnings: Vec<_> = rendered
        .changed
        .iter()
        .flat_map(|text| said(&text.warnings))
        .collect();
    assert_eq!(
        warnings,
        [
            "warning: balancer: nothing reads this setting (key settings/retrys); did you mean \"retries\"?",
            "warning: services/web: nothing reads this key (key services/web/balanc); did you mean \"balance\"?",
        ]
    );
}

#[test]
fn no_value_writes_yaml_of_its_own() {
    let mut renderer = built_in();
    let attack = "a\"\n  basic_auth_secrets: ''\n# : \u{2028}\u{85}\t\0";
    renderer.update(&tree(&[
        ("services/web/balance", attack),
        ("services/web/upstreams/x\ny: z", attack),
        ("services/web/basic_auth: ''\n  default", attack),
    ]));
    let text = renderer.text("services/web").unwrap();
    assert_eq!(text.lines().count(), 7, "{text}");
    let parsed: serde_yaml::Value = serde_yaml::from_str(&text).unwrap();
    assert_eq!(parsed["service"]["balance"].as_str(), Some(attack));
    assert_eq!(
        parsed["service"]["upstreams"]["x\ny: z"].as_str(),
        Some(attack)
    );
    assert_eq!(parsed["service"].as_mapping().unwrap().len(), 5);
}

/// `p*` asks for its own upstreams and not for those of `pay`, at first and when either changes.
#[test]
fn a_directory_is_no_pattern_whatever_it_is_called() {
    let (mut renderer, _, _dir) = with(&[(
        "probe.tera",
        "---\neach: dirs/*\n---\n{% for u in gets(pattern=\"u/*\") %}{{ u.value | safe }} {% endfor %}{{ getvs(pattern=\"v\") | join(sep=\"+\") | safe }}",
    )]);
    let mut keys = tree(&[
        ("dirs/pay/u/1", "secret"),
        ("dirs/pay/v", "secret"),
        ("dirs/p*/u/1", "own"),
        ("dirs/*/u/1", "star"),
        ("dirs/?ay/v", "one"),
    ]);
    renderer.update(&keys);
    let text = |renderer: &Renderer, unit| renderer.text(unit).unwrap().trim().to_owned();
    assert_eq!(text(&renderer, "dirs/p*"), "own");
    assert_eq!(text(&renderer, "dirs/*"), "star");
    assert_eq!(text(&renderer, "dirs/?ay"), "one");
    assert_eq!(text(&renderer, "dirs/pay"), "secret secret");
    keys.put("dirs/pay/u/2", "more");
    let rendered = renderer.update(&keys);
    assert_eq!(rendered.rendered, 1, "nobody else reads it");
    keys.put("dirs/p*/u/2", "too");
    assert_eq!(renderer.update(&keys).rendered, 1);
    assert_eq!(text(&renderer, "dirs/p*"), "own too");
}

#[test]
fn only_units_that_read_a_change_are_rendered_again() {
    let mut renderer = built_in();
    let mut snapshot = tree(&[
        ("services/a/balance", "source"),
        ("services/a/upstreams/1", "10.0.0.1:80"),
        ("services/b/balance", "source"),
    ]);
    assert_eq!(renderer.update(&snapshot).rendered, 3);
    assert!(renderer.update(&snapshot).is_empty());

    snapshot.put("services/a/upstreams/2", "10.0.0.2:80");
    let rendered = renderer.update(&snapshot);
    assert_eq!(
        (rendered.rendered, names(&rendered.changed)),
        (1, vec!["services/a"])
    );

    // Nothing reads deeper than upstreams/*, and nothing reads others.
    snapshot.put("services/a/upstreams/3/deep", "x");
    snapshot.put("others/x", "y");
    let rendered = renderer.update(&snapshot);
    assert_eq!(rendered.rendered, 0);
    assert!(rendered.is_empty());

    // Read, rendered, the same text.
    snapshot.put("services/b/aliases", "");
    let rendered = renderer.update(&snapshot);
    assert_eq!(rendered.rendered, 1);
    assert!(rendered.is_empty());

    snapshot.remove("services/b/balance");
    snapshot.remove("services/b/aliases");
    snapshot.put("settings/retries", "1");
    let rendered = renderer.update(&snapshot);
    assert_eq!(names(&rendered.changed), ["balancer"]);
    assert_eq!(rendered.removed, [UnitName::from("services/b")]);
    assert_eq!(rendered.rendered, 1);
}

#[test]
fn a_failed_unit_is_told_again_when_it_heals_to_the_text_it_had() {
    let mut renderer = built_in();
    let mut snapshot = tree(&[("services/a/balance", "source")]);
    renderer.update(&snapshot);
    snapshot.put("services/a/balance", &b"\xff\xfe"[..]);
    let rendered = renderer.update(&snapshot);
    assert!(rendered.changed.is_empty() && rendered.removed.is_empty());
    let template = include_str!("../../templates/http-service.tera");
    let above = template.lines().take_while(|line| !line.contains("getv("));
    let line = above.count() + 1;
    assert_eq!(
        said(&rendered.failed[0].1),
        [format!(
            "error: services/a:{line}:24: http-service.tera: the value of services/a/balance is no UTF-8 \
             text from byte 1 on (key services/a/balance); write the value again as text"
        )]
    );
    assert_eq!(renderer.text("services/a"), None);
    snapshot.put("services/a/balance", "source");
    assert_eq!(names(&renderer.update(&snapshot).changed), ["services/a"]);
}

#[test]
fn a_bad_upstream_value_is_seen_when_it_is_mended() {
    let mut renderer = built_in();
    let mut snapshot = tree(&[]);
    snapshot.put("services/a/upstreams/1", &b"\xff"[..]);
    assert_eq!(renderer.update(&snapshot).failed.len(), 1);
    snapshot.put("services/a/upstreams/1", "10.0.0.1:80");
    assert_eq!(names(&renderer.update(&snapshot).changed), ["services/a"]);
}

#[test]
fn values_and_texts_have_a_limit() {
    let big = "x".repeat(10_000_000);
    let mut renderer = built_in();
    let rendered = renderer.update(&tree(&[("services/a/balance", &big)]));
    let report = said(&rendered.failed[0].1).join("");
    assert!(
        report.contains("the value of services/a/balance has 10000000 bytes and may have 262144"),
        "{report}"
    );
    fails(
        "{% for n in range(end=50000) %}0123456789{% endfor %}",
        &[],
        "the text has more than 262144 bytes",
    );
}

#[test]
fn functions_speak_confd() {
    let keys = &[
        ("a", "1"),
        ("dir/b", "y"),
        ("dir/c", "x"),
        ("dir/sub/d", "z"),
    ];
    check(r#"{{ getv(key="a") }}"#, keys, "\"1\"");
    check(r#"{{ getv(key="/a") }}"#, keys, "\"1\"");
    check(r#"{{ getv(key="no", default="d") }}"#, keys, "\"d\"");
    check(r#"{{ getv(key="no", default=5) }}"#, keys, "5");
    check(
        r#"{% set p = get(key="dir/b") %}{{ p.key }}{{ p.name }}{{ p.value }}"#,
        keys,
        r#""/dir/b""b""y""#,
    );
    check(
        r#"{% for p in gets(pattern="dir/*") %}{{ p.name | safe }}={{ p.value | safe }} {% endfor %}"#,
        keys,
        "b=y c=x ",
    );
    check(
        r#"{{ getvs(pattern="dir/*") | join(sep=",") | safe }}"#,
        keys,
        "x,y",
    );
    check(
        r#"{{ getvs(pattern="dir/b") | join(sep=",") | safe }}"#,
        keys,
        "y",
    );
    check(r#"{{ gets(pattern="no/*") | length }}"#, keys, "0");
    check(r#"{{ ls() | join(sep=",") | safe }}"#, keys, "a,dir");
    check(
        r#"{{ ls(dir="/dir/") | join(sep=",") | safe }}"#,
        keys,
        "b,c,sub",
    );
    check(
        r#"{{ lsdir(dir="dir") | join(sep=",") | safe }}"#,
        keys,
        "sub",
    );
    check(r#"{{ lsdir() | join(sep=",") | safe }}"#, keys, "dir");
    check(
        r#"{{ exists(key="a") }} {{ exists(key="dir") }} {{ exists(key="di") }}"#,
        keys,
        "true true false",
    );
    check(
        r#"{{ name | safe }} {{ unit | safe }}"#,
        keys,
        "probe probe",
    );
    check(r#"a{{ warn(message="hm") }}b"#, keys, "ab");
    check(
        r#"{{ getenv(name="POINTSMAN_NO_SUCH", default="d") | safe }}"#,
        keys,
        "d",
    );
    check(r#"{{ getenv(name="A=B", default="d") | safe }}"#, keys, "d");

    fails(
        r#"x{{ getv(key="no") }}"#,
        keys,
        "error: probe:4:5: probe.tera: key no is missing and has no default (key no); write the key",
    );
    fails(r#"{{ get(key="no") }}"#, keys, "key no is missing");
    fails(r#"{{ getv(key="../a") }}"#, keys, "has a segment . or ..");
    fails(r#"{{ getv() }}"#, keys, "key");
    fails(r#"{{ nothing }}"#, keys, "`nothing` is not defined");
    fails(r#"{{ throw(message="no good") }}"#, keys, "no good");
    fails(
        r#"{{ getenv(name="POINTSMAN_NO_SUCH") }}"#,
        keys,
        "is not set and has no default",
    );
}

#[test]
fn what_the_docs_say_of_tera_holds() {
    check(r#"{% set m = {"a": 1} %}{{ m.a }}"#, &[], "1");
    check(
        r#"{% if "abc" is containing(pat="b") %}y{% endif %}"#,
        &[],
        "y",
    );
    check(r#"{% if "b" in ["a", "b"] %}y{% endif %}"#, &[], "y");
    check(
        r#"{{ range(start=1, end=4) | length }}{{ "7" | int }}{{ 7 % 4 }}"#,
        &[],
        "373",
    );
    check(
        r#"{{ "a,b" | split(pat=",") | reverse | join(sep=";") | upper }}"#,
        &[],
        "\"B;A\"",
    );
    check(
        r#"{{ "a-b" | replace(from="-", to="\"") }}"#,
        &[],
        r#""a\"b""#,
    );
    check(r#"{{ "/" ~ name }}"#, &[], "\"/probe\"");
}

#[test]
fn filters_speak_confd_where_tera_has_no_word() {
    check(
        r#"{{ "/a/b/" | base | safe }} {{ "/a/b" | dir | safe }} {{ "a" | dir | safe }}"#,
        &[],
        "b /a .",
    );
    check(
        r#"{{ "a.b.b" | trimSuffix(suffix=".b") | safe }}"#,
        &[],
        "a.b",
    );
    check(
        r#"{% set v = '{"p": [1, 2]}' | json %}{{ v.p[1] }}"#,
        &[],
        "2",
    );
    check(r#"{{ [1, "a"] | jsonEncode | safe }}"#, &[], "[1,\"a\"]");
    check(r#"{{ "T" | parseBool }}"#, &[], "true");
    check(
        r#"{{ ["ccc", "a", "bb"] | sortByLength | join(sep=",") | safe }}"#,
        &[],
        "a,bb,ccc",
    );
    check(
        r#"{% for p in gets(pattern="*") | sortKVByLength | reverse %}{{ p.name | safe }} {% endfor %}"#,
        &[("aaa", ""), ("b", ""), ("cc", "")],
        "aaa cc b ",
    );
    check(
        r#"{{ "hi" | base64Encode | base64Decode | safe }}"#,
        &[],
        "hi",
    );
    fails(r#"{{ "!" | base64Decode }}"#, &[], "is no base64 text");
    fails(r#"{{ "{" | json }}"#, &[], "is no JSON");
    fails(
        r#"{{ "maybe" | parseBool }}"#,
        &[],
        "neither true nor false",
    );
}

#[test]
fn reads_beyond_the_own_directory_are_followed() {
    let each = "---\neach: app/*\n---\n{{ getv(key=\"/shared/x\", default=\"-\") | safe }} \
                {{ ls(dir=\"/list\") | join(sep=\"+\") | safe }} {{ lsdir(dir=\"/list\") | length }} \
                {{ exists(key=\"/flag\") }} {{ getvs(pattern=\"/glob/*/v\") | join(sep=\"+\") | safe }}";
    let (mut renderer, problems, _dir) = with(&[("app.tera", each)]);
    assert_eq!(problems, [""; 0]);
    let mut snapshot = tree(&[("app/one/k", ""), ("app/two/k", "")]);
    renderer.update(&snapshot);
    let mut step = |put: Option<(&str, &str)>, remove: &str, runs: usize, text: &str| {
        if let Some((key, value)) = put {
            snapshot.put(key, value.as_bytes().to_vec());
        }
        snapshot.remove(remove);
        let rendered = renderer.update(&snapshot);
        assert_eq!(rendered.rendered, runs, "{put:?} {remove}");
        assert_eq!(&*renderer.text("app/one").unwrap(), text);
    };
    step(Some(("shared/x", "X")), "", 2, "X  0 false ");
    step(Some(("list/a/1", "")), "", 2, "X a 1 false ");
    step(Some(("list/a/2", "")), "", 0, "X a 1 false ");
    step(Some(("list/b", "")), "", 2, "X a+b 1 false ");
    step(Some(("list/b/1", "")), "", 2, "X a+b 2 false ");
    step(None, "list/b", 0, "X a+b 2 false ");
    step(None, "list/b/1", 2, "X a 1 false ");
    step(Some(("flag/1", "")), "", 2, "X a 1 true ");
    step(Some(("flag/2", "")), "", 0, "X a 1 true ");
    step(None, "flag/1", 0, "X a 1 true ");
    step(None, "flag/2", 2, "X a 1 false ");
    step(Some(("glob/p/v", "1")), "", 2, "X a 1 false 1");
    step(Some(("glob/p/w", "1")), "", 0, "X a 1 false 1");
    step(Some(("glob/p/v", "2")), "", 2, "X a 1 false 2");
    step(None, "shared/x", 2, "- a 1 false 2");
    step(Some(("app/one/other", "")), "", 0, "- a 1 false 2");
}

#[test]
fn files_override_and_add_by_name() {
    let (mut renderer, problems, _dir) = with(&[
        (
            "http-service.tera",
            "---\neach: services/*\n---\n{% include \"_part.tera\" %}",
        ),
        ("_part.tera", "mine: {{ name }}"),
        (
            "extra.tera",
            "---\n# for the whole tree\nonce: extra\n---\nall: {{ ls(dir=\"services\") | length }}",
        ),
        ("notes.txt", "{{ broken"),
        (".hidden.tera", "{{ broken"),
    ]);
    assert_eq!(problems, [""; 0]);
    renderer.update(&tree(&[("services/web/x", "")]));
    assert_eq!(&*renderer.text("services/web").unwrap(), "mine: \"web\"");
    assert_eq!(&*renderer.text("extra").unwrap(), "all: 1");
    assert_eq!(renderer.units().len(), 3);
}

#[test]
fn a_broken_override_is_told_and_the_built_in_template_stays() {
    let cases = [
        (
            "---\neach: services/*\n---\n{% if x %}",
            "error: http-service.tera:4:",
        ),
        (
            "---\neach: services/*\n---\nok\n{{ getw(key=1) }}",
            "error: http-service.tera:5:4: http-service.tera: Unknown function `getw`",
        ),
        (
            "---\neach: services/*\n---\n{% include \"no.tera\" %}",
            "error: http-service.tera:4:",
        ),
        (
            "---\neach: services/*\n---\n{% include \"http-service.tera\" %}",
            "includes or extends itself",
        ),
        (
            "",
            "http-service.tera:1:1: http-service.tera: it has no front matter, so the built-in template stays",
        ),
        ("---\neach: services/*\n", "has no end"),
        ("---\n---\n", "does not say what to render"),
        (
            "---\nonce: a b\n---\n",
            "http-service.tera:2:1: http-service.tera: \"a b\" is no name or pattern",
        ),
        ("---\neach: a//b\n---\n", "is no name or pattern"),
        ("---\nevery: x\n---\n", "means nothing in the front matter"),
        ("---\nonce: a\nonce: b\n---\n", "says twice"),
    ];
    for (text, expected) in cases {
        let (mut renderer, problems, _dir) = with(&[
            ("http-service.tera", text),
            ("fine.tera", "---\nonce: fine\n---\nfine"),
        ]);
        assert_eq!(problems.len(), 1, "{text}: {problems:?}");
        assert!(problems[0].contains(expected), "{text}: {problems:?}");
        renderer.update(&tree(&[("services/web/balance", "source")]));
        assert!(
            renderer
                .text("services/web")
                .unwrap()
                .starts_with("service:")
        );
        assert_eq!(&*renderer.text("fine").unwrap(), "fine", "{text}");
    }
}

#[test]
fn a_template_that_worked_stays_while_its_file_is_broken() {
    let good = "---\nonce: mine\n---\nfirst";
    let (mut renderer, _, dir) = with(&[
        ("mine.tera", good),
        ("other.tera", "---\nonce: other\n---\no"),
    ]);
    let snapshot = tree(&[]);
    renderer.update(&snapshot);
    let (templates, _) = Templates::load(Some(dir.path()));
    let before = fingerprint(dir.path());

    write(
        dir.path(),
        &[("mine.tera", "---\nonce: mine\n---\n{{ broken")],
    );
    assert_ne!(fingerprint(dir.path()), before);
    std::fs::remove_file(dir.path().join("other.tera")).unwrap();
    let (templates, problems) = templates.reload(dir.path());
    assert_eq!(problems.len(), 1, "{problems:?}");
    renderer.replace_templates(templates.clone());
    let rendered = renderer.update(&snapshot);
    assert!(rendered.changed.is_empty() && rendered.failed.is_empty());
    assert_eq!(rendered.removed, [UnitName::from("other")]);

    write(dir.path(), &[("mine.tera", "---\nonce: mine\n---\nsecond")]);
    let (templates, problems) = templates.reload(dir.path());
    assert_eq!(problems, []);
    renderer.replace_templates(templates.clone());
    assert_eq!(names(&renderer.update(&snapshot).changed), ["mine"]);

    drop(dir);
    let (same, problems) = templates.reload(Path::new("/nonexistent/templates"));
    assert!(problems[0].message.contains("cannot be read"));
    assert_eq!(same.files, templates.files);
}

#[test]
fn two_templates_for_the_same_units_are_told_apart() {
    let (mut renderer, problems, _dir) = with(&[("a.tera", "---\neach: services/*\n---\nmine")]);
    assert_eq!(
        problems,
        [
            "error: a.tera:2:1: a.tera renders the same units as http-service.tera; \
          call the file http-service.tera to replace that template"
        ]
    );
    renderer.update(&tree(&[("services/web/x", "")]));
    assert!(
        renderer
            .text("services/web")
            .unwrap()
            .starts_with("service:")
    );
    // A narrower pattern in a file that sorts first takes its directories.
    let (mut renderer, problems, _dir) =
        with(&[("a.tera", "---\neach: services/web-*\n---\nmine")]);
    assert_eq!(problems, [""; 0]);
    renderer.update(&tree(&[("services/web-1/x", ""), ("services/db/x", "")]));
    assert_eq!(&*renderer.text("services/web-1").unwrap(), "mine");
    assert!(
        renderer
            .text("services/db")
            .unwrap()
            .starts_with("service:")
    );
}

#[test]
fn a_field_leads_back_to_its_key() {
    let mut renderer = built_in();
    renderer.update(&tree(&[
        ("services/web/balance", "x"),
        ("services/web/upstreams/web.1", "x"),
        ("settings/retries", "x"),
    ]));
    let key = |unit: &str, field: &str| renderer.key_of(unit, field);
    assert_eq!(
        key("services/web", "balance").as_deref(),
        Some("services/web/balance")
    );
    assert_eq!(
        key("services/web", "upstreams.web.1").as_deref(),
        Some("services/web/upstreams/web.1")
    );
    assert_eq!(
        key("balancer", "retries").as_deref(),
        Some("settings/retries")
    );
    assert_eq!(key("services/web", "name"), None);
    assert_eq!(key("nobody", "name"), None);
}

/// What is known of all units after a number of updates, from the updates alone.
#[derive(Debug, Default, PartialEq)]
struct Told {
    texts: BTreeMap<String, (String, Vec<Diagnostic>)>,
    failed: BTreeMap<String, Vec<Diagnostic>>,
}

impl Told {
    fn hear(&mut self, rendered: Rendered) {
        for unit in rendered.removed {
            self.texts.remove(unit.as_str());
            self.failed.remove(unit.as_str());
        }
        for text in rendered.changed {
            self.failed.remove(text.unit.as_str());
            let said = (text.text.to_string(), text.warnings);
            self.texts.insert(text.unit.to_string(), said);
        }
        for (unit, diagnostics) in rendered.failed {
            self.texts.remove(unit.as_str());
            self.failed.insert(unit.to_string(), diagnostics);
        }
    }
}

const CURIOUS: &[(&str, &str)] = &[
    (
        "all.tera",
        "---\nonce: all\n---\n{% for s in lsdir(dir=\"services\") %}{{ s }}:{{ ls(dir=\"services/\" ~ s) | length }},{% endfor %}{{ exists(key=\"b\") }}",
    ),
    (
        "each.tera",
        "---\neach: *\n---\n{{ ls() }}{{ getv(key=\"a\") }}{{ gets(pattern=\"*/b\") | length }}{{ exists(key=\"/services/a\") }}{{ getvs(pattern=\"/services/?/a\") }}",
    ),
    (
        "deep.tera",
        "---\neach: services/*/c\n---\n{{ lsdir(dir=\"/\") }}{{ getv(key=\"/a\", default=\"-\") }}{{ exists(key=\"a\") }}",
    ),
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn following_changes_gives_what_a_fresh_start_gives(
        steps in prop::collection::vec(
            prop::collection::vec(
                (prop::collection::vec(prop::sample::select(vec!["a", "b", "c", "services", "upstreams"]), 1..5),
                 prop::option::weighted(0.6, prop::sample::select(vec!["1", "2", "\u{0}bad"]))),
                1..6),
            1..12)
    ) {
        let (mut following, problems, _dir) = with(CURIOUS);
        prop_assert_eq!(problems, [""; 0]);
        let (templates, _) = Templates::load(Some(_dir.path()));
        let mut told = Told::default();
        let mut snapshot = Snapshot::default();
        for step in steps {
            for (path, value) in step {
                let path = path.join("/");
                match value {
                    Some("\u{0}bad") => snapshot.put(path, &b"\xff"[..]),
                    Some(value) => snapshot.put(path, value),
                    None => { snapshot.remove(&path); }
                }
            }
            told.hear(following.update(&snapshot));
            let mut fresh = Told::default();
            fresh.hear(Renderer::new(templates.clone()).update(&snapshot));
            prop_assert_eq!(&told, &fresh);
        }
    }

    #[test]
    fn any_template_text_is_answered_without_a_panic(text in "[-{}% a-c\"'()|=.\\[\\]#\n~]{0,80}") {
        let (mut renderer, _, _dir) = with(&[("x.tera", &format!("---\nonce: x\n---\n{text}"))]);
        renderer.update(&tree(&[("a", "b")]));
    }
}

#[test]
fn a_key_that_matches_is_a_unit_of_its_own() {
    let file = "---\neach_key: certs/*\n---\n{{ unit }} {{ name }} {{ getv(key=\"/\" ~ unit) }}";
    let (mut renderer, problems, _dir) = with(&[("certificate.tera", file)]);
    assert_eq!(problems, [""; 0]);
    let units = |rendered: &Rendered| {
        let changed = rendered
            .changed
            .iter()
            .map(|text| format!("+{}", text.unit));
        let removed = rendered.removed.iter().map(|unit| format!("-{unit}"));
        changed.chain(removed).collect::<Vec<_>>()
    };
    let mut keys = tree(&[
        ("certs/a", "1"),
        ("certs/b/x", "2"),
        ("certs/", "3"),
        ("certs", "4"),
        ("settings/retries", "1"),
    ]);
    assert_eq!(units(&renderer.update(&keys)), ["+balancer", "+certs/a"]);
    assert_eq!(
        renderer.text("certs/a").as_deref(),
        Some("\"certs/a\" \"a\" \"1\"")
    );
    assert_eq!(
        renderer.key_of("certs/a", "pem").as_deref(),
        Some("certs/a")
    );
    keys.put("certs/a", "5");
    keys.put("certs/c", "6");
    keys.put("certs/c/y", "no template for a directory");
    assert_eq!(units(&renderer.update(&keys)), ["+certs/a", "+certs/c"]);
    keys.remove("certs/a");
    keys.remove("certs/c/y");
    let rendered = renderer.update(&keys);
    assert_eq!(units(&rendered), ["-certs/a"]);
    assert_eq!(rendered.rendered, 0);
}

#[test]
fn a_directory_goes_over_a_key_of_its_name_whichever_came_first() {
    let files = [
        ("key.tera", "---\neach_key: x/*\n---\nkey"),
        ("dir.tera", "---\neach: x/*\n---\ndir"),
    ];
    let (mut renderer, problems, _dir) = with(&files);
    assert_eq!(problems, [""; 0]);
    let mut keys = tree(&[("x/a", "1")]);
    let mut text = |keys: &Snapshot| {
        renderer.update(keys);
        renderer.text("x/a").map(|text| text.to_string())
    };
    assert_eq!(text(&keys).as_deref(), Some("key"));
    keys.put("x/a/b", "2");
    assert_eq!(text(&keys).as_deref(), Some("dir"));
    keys.remove("x/a");
    assert_eq!(text(&keys).as_deref(), Some("dir"));
    keys.put("x/a", "1");
    keys.remove("x/a/b");
    assert_eq!(text(&keys).as_deref(), Some("key"));
    keys.remove("x/a");
    assert_eq!(text(&keys), None);
}

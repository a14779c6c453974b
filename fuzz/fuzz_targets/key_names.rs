//! Any keys and values through snapshot, built-in templates and config. Whatever the tree holds: a
//! diff replayed gives the newer tree, an incremental render gives what a full one gives, and no key
//! or value of one service changes what another one means.
#![no_main]

use std::collections::BTreeMap;

use libfuzzer_sys::fuzz_target;
use pointsman::config::{Balancer, parse};
use pointsman::render::{Renderer, Templates};
use pointsman::snapshot::{ChangeKind, Snapshot};

const GOOD: [(&str, &str); 2] = [
    ("services/aaa/virtual_hosts", "good.example"),
    ("services/aaa/upstreams/one", "10.0.0.1:80"),
];

thread_local! {
    static TEMPLATES: Templates = Templates::load(None).0;
}

fuzz_target!(|text: &str| {
    // One key a line, `key=value`; an empty line separates an older tree from a newer one.
    let (older, newer) = text.split_once("\n\n").unwrap_or((text, text));
    let (older, newer) = (tree(older), tree(newer));

    let mut replayed = older.clone();
    for change in older.diff(&newer) {
        match change.kind {
            ChangeKind::Removed => {
                assert!(replayed.remove(&change.key));
            }
            ChangeKind::Added | ChangeKind::Updated => {
                let value = newer
                    .get(&change.key)
                    .expect("the newer tree has it")
                    .clone();
                replayed.put(change.key, value);
            }
        }
    }
    assert!(replayed.same_keys(&newer));
    listings(&newer);

    let templates = TEMPLATES.with(Templates::clone);
    let mut incremental = Renderer::new(templates.clone());
    incremental.update(&older);
    incremental.update(&newer);
    let mut full = Renderer::new(templates);
    let rendered = full.update(&newer);
    let texts = |renderer: &Renderer| -> BTreeMap<String, String> {
        let text = |unit: &str| {
            renderer
                .text(unit)
                .map(|t| t.to_string())
                .unwrap_or_default()
        };
        renderer
            .units()
            .iter()
            .map(|u| (u.to_string(), text(u.as_str())))
            .collect()
    };
    assert_eq!(
        texts(&full),
        texts(&incremental),
        "incremental render differs from a full one"
    );

    let defaults = Balancer::default();
    for unit in &rendered.changed {
        let accepted = parse(&unit.unit, &unit.text, &defaults);
        if unit.unit.as_str() == "services/aaa" {
            assert!(
                accepted.is_ok(),
                "a stranger's key broke a good service: {accepted:?}"
            );
        }
    }
});

fn tree(lines: &str) -> Snapshot {
    let mut snapshot = Snapshot::new(1);
    for line in lines.lines().take(64) {
        let (key, value) = line.split_once('=').unwrap_or((line, ""));
        // The good service is nobody else's to write, and neither are the balancer's own settings,
        // which change what every service means.
        if !key.starts_with("services/aaa") && !key.starts_with("settings") {
            snapshot.put(key, value.to_owned());
        }
    }
    for (key, value) in GOOD {
        snapshot.put(key, value);
    }
    snapshot
}

/// What `children` lists is what lies there, once and in order.
fn listings(snapshot: &Snapshot) {
    for dir in ["", "services", "services/aaa", "services/aaa/upstreams"] {
        let names = snapshot.children(dir);
        assert!(names.windows(2).all(|w| w[0] < w[1]), "{names:?}");
        for name in &names {
            let path = if dir.is_empty() {
                name.to_string()
            } else {
                format!("{dir}/{name}")
            };
            assert!(
                snapshot.get(&path).is_some() || snapshot.has_dir(&path),
                "{path:?}"
            );
        }
    }
}

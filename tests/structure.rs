//! The floors of `docs/architecture.md`: a module names only modules of lower floors, and the modules
//! that have to be pure touch no socket, file, task or clock.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Every module of the library. One without a floor fails the test: it needs a place first.
const FLOORS: &[(u8, &[&str])] = &[
    (0, &["names", "diag", "backoff"]),
    (
        1,
        &[
            "snapshot",
            "balance",
            "status",
            "yaml",
            "rules",
            "password",
            "accesslog",
            "tls",
            "proxy_header",
            "dns",
            "link",
        ],
    ),
    (
        2,
        &["store", "seal", "render", "config", "resolve", "events"],
    ),
    (3, &["plan", "change"]),
    (4, &["proxy"]),
    (5, &["apply", "admin"]),
    (6, &["app"]),
];

/// Stands aside: an upstream for demos and tests. Only the command line names it.
const ASIDE: &str = "whoami";

const PURE: &[&str] = &[
    "config",
    "link",
    "balance",
    "plan",
    "rules",
    "password",
    "tls",
    "proxy_header",
    "seal",
    "dns",
];
const NOT_PURE: &[&str] = &[
    "std::fs",
    "std::process",
    "std::thread",
    "TcpStream",
    "TcpListener",
    "UdpSocket",
    "UnixStream",
    "tokio",
    "socket2",
    "rustix",
    "Instant",
    "SystemTime",
];

#[test]
fn a_module_names_only_modules_of_lower_floors() {
    let mut violations = Vec::new();
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    for (path, module, text) in sources() {
        *seen.entry(module.clone()).or_default() += 1;
        for named in named(&text) {
            if !may_name(&module, &named) {
                violations.push(format!("{} names crate::{named}", path.display()));
            }
        }
    }
    assert!(violations.is_empty(), "{violations:#?}");
    for module in [
        "app", "apply", "balance", "config", "plan", "proxy", "render", "store",
    ] {
        assert!(
            seen.get(module).is_some_and(|files| *files > 1),
            "no files of {module} found: {seen:?}"
        );
    }
}

#[test]
fn modules_that_have_to_be_pure_touch_no_socket_file_task_or_clock() {
    let mut files = 0;
    let mut violations = Vec::new();
    for (path, module, text) in sources() {
        if !PURE.contains(&module.as_str()) || path.ends_with("tests.rs") {
            continue;
        }
        files += 1;
        let code = text.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
        for word in NOT_PURE {
            if names_word(code, word) {
                violations.push(format!("{} names {word}", path.display()));
            }
        }
    }
    assert!(violations.is_empty(), "{violations:#?}");
    assert!(files > 12, "only {files} files found");
}

#[test]
fn what_code_names_is_found_in_every_way_of_writing_it() {
    let text = "use crate::store::{self, hub};\nuse crate::{\n    plan::Plan,\n    proxy,\n};\n\
                // crate::comment\nfn f() -> crate::diag::Diagnostic { x }\npub(crate) fn g() {}\n";
    assert_eq!(
        named(&without_comments(text)),
        ["store", "plan", "proxy", "diag"]
    );
    assert!(may_name("plan", "config") && !may_name("config", "plan"));
    assert!(!may_name("config", "render") && may_name("render", "render"));
    assert!(may_name("app", "whoami") && !may_name("proxy", "whoami"));
    assert!(!may_name("whoami", "diag"));
    assert!(names_word("use std::time::Instant;", "Instant"));
    assert!(!names_word("an Instantaneous thing", "Instant"));
}

fn may_name(module: &str, named: &str) -> bool {
    if module == named {
        return true;
    }
    if module == ASIDE || named == ASIDE {
        return module == "app";
    }
    floor(named) < floor(module)
}

fn floor(module: &str) -> u8 {
    FLOORS
        .iter()
        .find(|(_, modules)| modules.contains(&module))
        .map(|(floor, _)| *floor)
        .unwrap_or_else(|| {
            panic!("module {module} has no floor: give it one here and in docs/architecture.md")
        })
}

/// The modules behind each `crate::` of a text without comments, groups in braces included.
fn named(text: &str) -> Vec<String> {
    let mut names = Vec::new();
    for (at, _) in text.match_indices("crate::") {
        let rest = text[at + "crate::".len()..].trim_start();
        match rest.strip_prefix('{') {
            None => names.push(identifier(rest)),
            Some(group) => {
                let mut depth = 0;
                let mut is_start = true;
                for (at, c) in group.char_indices() {
                    match c {
                        '{' => depth += 1,
                        '}' if depth == 0 => break,
                        '}' => depth -= 1,
                        ',' if depth == 0 => is_start = true,
                        c if is_start && !c.is_whitespace() => {
                            names.push(identifier(&group[at..]));
                            is_start = false;
                        }
                        _ => {}
                    }
                }
            }
        }
    }
    // Macros of the crate's root, and types if there ever were any, are nobody's floor.
    names.retain(|name| name.starts_with(|c: char| c.is_ascii_lowercase()));
    names
}

fn identifier(text: &str) -> String {
    let is_part = |c: &char| c.is_ascii_alphanumeric() || *c == '_';
    text.chars().take_while(is_part).collect()
}

fn names_word(code: &str, word: &str) -> bool {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    code.match_indices(word).any(|(at, _)| {
        !code[..at].ends_with(is_part) && !code[at + word.len()..].starts_with(is_part)
    })
}

/// Every file below a module of `src`: its path, the module, its text without comments.
fn sources() -> Vec<(PathBuf, String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    let mut dirs = vec![root.clone()];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(&dir).expect("a directory of sources") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                dirs.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                files.push(path);
            }
        }
    }
    files.sort();
    assert!(files.len() > 50, "only {} files found", files.len());
    files
        .into_iter()
        .filter_map(|path| {
            let below = path
                .strip_prefix(&root)
                .expect("below the root")
                .to_path_buf();
            let first = below.iter().next()?.to_string_lossy().into_owned();
            let module = first.trim_end_matches(".rs").to_owned();
            if matches!(module.as_str(), "lib" | "main") {
                return None;
            }
            let text = fs::read_to_string(&path).expect("a source file");
            Some((below, module, without_comments(&text)))
        })
        .collect()
}

fn without_comments(text: &str) -> String {
    let code = |line: &str| line.split("//").next().unwrap_or_default().to_owned();
    text.lines().map(|line| code(line) + "\n").collect()
}

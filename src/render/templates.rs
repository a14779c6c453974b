//! The set of templates: built in, then overridden and added to by file name from a directory.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{Hash, Hasher};
use std::io::Read;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

use tera::Tera;

use super::attempt::describe;
use super::{Failure, escape, filters, functions, pattern};
use crate::diag::{Diagnostic, quoted};

/// Templates that work together: they parse, and what they call and include exists.
///
/// Cheap to clone. Loading reads files and nothing else; a file that is broken is reported and
/// the built-in template of its name, or the one loaded before, stays in its place.
#[derive(Clone)]
pub struct Templates {
    pub(super) tera: Arc<Tera>,
    pub(super) files: Arc<BTreeMap<String, File>>,
}

/// One template file.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct File {
    pub(super) renders: Renders,
    source: String,
    /// Lines of the front matter, which the engine does not see.
    pub(super) lines_above: u32,
}

/// What a template is rendered for.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Renders {
    /// The whole tree; the unit has this name.
    Once(String),
    /// Each directory that matches the pattern; the unit is called what the directory is.
    Each(String),
    /// Each key that matches the pattern; the unit is called what the key is.
    EachKey(String),
    /// Nothing by itself: other templates include it.
    Included,
}

const BUILT_IN: &[(&str, &str)] = &[
    (
        "balancer.tera",
        include_str!("../../templates/balancer.tera"),
    ),
    (
        "certificate.tera",
        include_str!("../../templates/certificate.tera"),
    ),
    (
        "http-service.tera",
        include_str!("../../templates/http-service.tera"),
    ),
    (
        "tcp-service.tera",
        include_str!("../../templates/tcp-service.tera"),
    ),
];
const FILES: usize = 256;
const FILE_BYTES: u64 = 1024 * 1024;

impl Templates {
    /// The built-in templates with the `*.tera` files of `dir` over them, and what is wrong there.
    pub fn load(dir: Option<&Path>) -> (Templates, Vec<Diagnostic>) {
        let (built_in, diagnostics) = assemble(BTreeMap::new(), &BTreeMap::new());
        debug_assert!(diagnostics.is_empty(), "{diagnostics:?}");
        match dir {
            None => (built_in, diagnostics),
            Some(dir) => built_in.reload(dir),
        }
    }

    /// As [`Templates::load`], except that what is broken now and was not before stays as it was.
    /// A directory that cannot be read changes nothing.
    pub fn reload(&self, dir: &Path) -> (Templates, Vec<Diagnostic>) {
        let (texts, mut diagnostics) = match read(dir) {
            Ok(read) => read,
            Err(e) => {
                let problem = Diagnostic::error(
                    "no-templates",
                    format!(
                        "the templates directory {} cannot be read: {e}",
                        dir.display()
                    ),
                )
                .help("the templates in use stay");
                return (self.clone(), vec![problem]);
            }
        };
        let mut files = BTreeMap::new();
        for (name, text) in texts {
            let parsed = text.and_then(|text| File::parse(&name, &text));
            match parsed {
                Ok(file) => {
                    files.insert(name, file);
                }
                Err(problem) => {
                    diagnostics.push(*problem);
                    if let Some(last) = self.files.get(&name) {
                        files.insert(name, last.clone());
                    }
                }
            }
        }
        let (templates, mut broken) = assemble(files, &self.files);
        diagnostics.append(&mut broken);
        (templates, diagnostics)
    }

    /// The template that renders a directory: the first by file name whose pattern matches.
    pub(super) fn for_directory(&self, dir: &str) -> Option<&str> {
        self.each()
            .find(|(_, pattern)| pattern::matches(pattern, dir))
            .map(|(file, _)| file)
    }

    /// Patterns of directories, by file name.
    pub(super) fn each(&self) -> impl Iterator<Item = (&str, &str)> {
        self.files
            .iter()
            .filter_map(|(name, file)| match &file.renders {
                Renders::Each(pattern) => Some((name.as_str(), pattern.as_str())),
                _ => None,
            })
    }

    /// The template that renders a key: the first by file name whose pattern matches.
    pub(super) fn for_key(&self, key: &str) -> Option<&str> {
        // A key that ends with a slash has no name.
        let is_named = key.split('/').all(|segment| !segment.is_empty());
        self.each_key()
            .find(|(_, pattern)| is_named && pattern::matches(pattern, key))
            .map(|(file, _)| file)
    }

    /// Patterns of keys, by file name.
    pub(super) fn each_key(&self) -> impl Iterator<Item = (&str, &str)> {
        self.files
            .iter()
            .filter_map(|(name, file)| match &file.renders {
                Renders::EachKey(pattern) => Some((name.as_str(), pattern.as_str())),
                _ => None,
            })
    }

    /// Units of the whole tree, by file name: `(file, unit)`.
    pub(super) fn once(&self) -> impl Iterator<Item = (&str, &str)> {
        self.files
            .iter()
            .filter_map(|(name, file)| match &file.renders {
                Renders::Once(unit) => Some((name.as_str(), unit.as_str())),
                _ => None,
            })
    }
}

/// A number that changes when a template file of `dir` comes, goes or changes its content.
pub fn fingerprint(dir: &Path) -> u64 {
    let mut hasher = std::hash::DefaultHasher::new();
    match read(dir) {
        Err(e) => format!("{:?}", e.kind()).hash(&mut hasher),
        Ok((texts, problems)) => {
            problems.len().hash(&mut hasher);
            for (name, text) in texts {
                name.hash(&mut hasher);
                text.map_err(|problem| problem.message).hash(&mut hasher);
            }
        }
    }
    hasher.finish()
}

type Texts = Vec<(String, Result<String, Failure>)>;

/// The `*.tera` files of a directory, in name order.
fn read(dir: &Path) -> std::io::Result<(Texts, Vec<Diagnostic>)> {
    let mut names = BTreeSet::new();
    for entry in std::fs::read_dir(dir)? {
        let name = entry?.file_name();
        match name.to_str() {
            Some(name) if name.ends_with(".tera") && !name.starts_with('.') => {
                names.insert(name.to_owned());
            }
            _ => {}
        }
    }
    let mut problems = Vec::new();
    if names.len() > FILES {
        problems.push(Diagnostic::error(
            "too-many",
            format!(
                "{} has {} templates and {FILES} are read: the last is {}",
                dir.display(),
                names.len(),
                names.iter().nth(FILES - 1).map_or("", String::as_str)
            ),
        ));
    }
    let texts = names
        .into_iter()
        .take(FILES)
        .map(|name| {
            let text = read_file(dir, &name);
            (name, text)
        })
        .collect();
    Ok((texts, problems))
}

fn read_file(dir: &Path, name: &str) -> Result<String, Failure> {
    let refuse = |why: String| {
        Diagnostic::error("bad-template", format!("{name} cannot be read: {why}")).in_unit(name)
    };
    let file = std::fs::File::open(dir.join(name)).map_err(|e| refuse(e.to_string()))?;
    let is_file = file.metadata().is_ok_and(|data| data.is_file());
    if !is_file {
        return Err(refuse("it is no file".to_owned()).into());
    }
    let mut bytes = Vec::new();
    file.take(FILE_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(|e| refuse(e.to_string()))?;
    if bytes.len() as u64 > FILE_BYTES {
        return Err(refuse(format!("it has more than {FILE_BYTES} bytes")).into());
    }
    String::from_utf8(bytes).map_err(|e| refuse(format!("it is no UTF-8 text: {e}")).into())
}

impl File {
    /// Splits the front matter from the template.
    fn parse(name: &str, text: &str) -> Result<File, Failure> {
        let refuse = |line: u32, message: &str, help: &str| -> Failure {
            let message = format!("{name}: {message}");
            Diagnostic::error("bad-template", message)
                .in_unit(name)
                .at(line, 1)
                .help(help)
                .into()
        };
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let mut lines = text.split_inclusive('\n');
        if lines.next().map(str::trim_end) != Some("---") {
            if BUILT_IN.iter().any(|(built_in, _)| *built_in == name) {
                return Err(refuse(
                    1,
                    "it has no front matter, so the built-in template stays",
                    "start it with three lines: ---, then once: NAME, each: PATTERN or each_key: PATTERN, then ---",
                ));
            }
            return Ok(File {
                renders: Renders::Included,
                source: text.to_owned(),
                lines_above: 0,
            });
        }
        let mut renders = None;
        let mut number = 1;
        for line in lines.by_ref() {
            number += 1;
            let line = line.trim();
            if line == "---" {
                let Some(renders) = renders else {
                    return Err(refuse(
                        number,
                        "the front matter does not say what to render",
                        "write once: NAME, each: PATTERN or each_key: PATTERN between the two lines",
                    ));
                };
                return Ok(File {
                    renders,
                    source: lines.collect(),
                    lines_above: number,
                });
            }
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let said = match line.split_once(':').map(|(k, v)| (k.trim(), v.trim())) {
                Some(("once", unit)) if is_unit_name(unit) => Renders::Once(unit.to_owned()),
                Some(("each", glob)) if is_pattern(glob) => Renders::Each(glob.to_owned()),
                Some(("each_key", glob)) if is_pattern(glob) => Renders::EachKey(glob.to_owned()),
                Some(("once" | "each" | "each_key", value)) => {
                    return Err(refuse(
                        number,
                        &format!("{} is no name or pattern", quoted(value)),
                        "write a name such as balancer, or a pattern such as services/*, without quotes",
                    ));
                }
                _ => {
                    return Err(refuse(
                        number,
                        &format!("{} means nothing in the front matter", quoted(line)),
                        "write once: NAME, each: PATTERN or each_key: PATTERN",
                    ));
                }
            };
            if renders.replace(said).is_some() {
                return Err(refuse(
                    number,
                    "the front matter says twice what to render",
                    "keep one line; a template of its own can include this one",
                ));
            }
        }
        Err(refuse(
            1,
            "the front matter has no end",
            "write a line --- below it",
        ))
    }
}

fn is_unit_name(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
}

fn is_pattern(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_graphic() && !matches!(b, b'"' | b'\'' | b'\\' | b'{' | b'}');
    text.bytes().all(plain) && text.split('/').all(|s| !matches!(s, "" | "." | ".."))
}

/// Templates of `files` over the built-in ones. A file the engine refuses is reported and gives way
/// to the one of its name in `last`, then to the built-in one, then to none.
fn assemble(
    mut files: BTreeMap<String, File>,
    last: &BTreeMap<String, File>,
) -> (Templates, Vec<Diagnostic>) {
    let mut diagnostics = Vec::new();
    let mut overrides: BTreeSet<String> = files.keys().cloned().collect();
    for (name, text) in BUILT_IN {
        if !files.contains_key(*name) {
            files.extend(built_in(name, text));
        }
    }
    loop {
        let problem = match same_work_twice(&files).map_or_else(|| engine(&files), Err) {
            Ok(tera) => {
                let templates = Templates {
                    tera: Arc::new(tera),
                    files: Arc::new(files),
                };
                return (templates, diagnostics);
            }
            Err(problem) => *problem,
        };
        // Each turn takes one file out of the overrides, or puts its last good form in its place
        // for the only time, so this ends; at the latest with the built-in templates alone.
        let guilty = match overrides.contains(&problem.unit) {
            true => problem.unit.clone(),
            false => match overrides.last() {
                Some(name) => name.clone(),
                None => {
                    diagnostics.push(problem);
                    let templates = Templates {
                        tera: Arc::new(Tera::new()),
                        files: Arc::new(BTreeMap::new()),
                    };
                    return (templates, diagnostics);
                }
            },
        };
        let was = files.remove(&guilty);
        diagnostics.push(problem);
        if let Some(good) = last.get(&guilty).filter(|good| was.as_ref() != Some(good)) {
            files.insert(guilty, good.clone());
            continue;
        }
        overrides.remove(&guilty);
        let text = BUILT_IN.iter().find(|(name, _)| *name == guilty);
        files.extend(text.and_then(|(name, text)| built_in(name, text)));
    }
}

fn built_in(name: &str, text: &str) -> Option<(String, File)> {
    let file = File::parse(name, text).ok()?;
    Some((name.to_owned(), file))
}

/// Two templates for the same units: the first by file name would always win, so the other is told.
fn same_work_twice(files: &BTreeMap<String, File>) -> Option<Failure> {
    let mut seen: Vec<(&str, &Renders)> = Vec::new();
    for (name, file) in files {
        if file.renders == Renders::Included {
            continue;
        }
        if let Some((first, _)) = seen.iter().find(|(_, renders)| **renders == file.renders) {
            // The built-in one cannot give way by itself: a file of its name has to say so.
            let newcomer = match BUILT_IN.iter().any(|(built_in, _)| built_in == name) {
                true => first,
                false => name.as_str(),
            };
            let other = if newcomer == name {
                first
            } else {
                name.as_str()
            };
            return Some(
                Diagnostic::error(
                    "bad-template",
                    format!("{newcomer} renders the same units as {other}"),
                )
                .in_unit(newcomer)
                .at(2, 1)
                .help(format!("call the file {other} to replace that template"))
                .into(),
            );
        }
        seen.push((name, &file.renders));
    }
    None
}

/// The engine with our functions and all of `files`, or the problem with one of them.
fn engine(files: &BTreeMap<String, File>) -> Result<Tera, Failure> {
    let mut tera = Tera::new();
    tera.autoescape_on([".tera"]);
    tera.set_escape_fn(escape::quoted);
    functions::register(&mut tera);
    filters::register(&mut tera);
    let added = catch_unwind(AssertUnwindSafe(|| {
        tera.add_raw_templates(files.iter().map(|(name, file)| (name, &file.source)))
    }));
    match added {
        Ok(Ok(())) => Ok(tera),
        Ok(Err(e)) => Err(Box::new(describe(&e, files))),
        Err(_) => Err(Diagnostic::error(
            "bad-template",
            "the template engine failed at reading the templates",
        )
        .into()),
    }
}

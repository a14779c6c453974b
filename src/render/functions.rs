//! The functions that read keys. Every one records what it read, also what was not there.
//!
//! A key without a leading slash is relative to the unit's own directory, one with it to the root.

use std::borrow::Cow;

use tera::{Kwargs, Map, State, Tera, TeraResult, Value};

use super::Failure;
use super::pattern;
use super::reads::Read;
use super::scope::{Scope, text_of};
use crate::diag::{Diagnostic, nearest};

pub(super) fn register(tera: &mut Tera) {
    tera.register_function("getv", getv);
    tera.register_function("get", get);
    tera.register_function("gets", gets);
    tera.register_function("getvs", getvs);
    tera.register_function("ls", ls);
    tera.register_function("lsdir", lsdir);
    tera.register_function("exists", exists);
    tera.register_function("warn", warn);
    tera.register_function("getenv", getenv);
}

/// `getv(key, default?)`: the value of a key.
fn getv(args: Kwargs, _: &State<'_>) -> TeraResult<Value> {
    let key = args.must_get::<&str>("key")?;
    let default = args.get::<Value>("default")?;
    Scope::with(|scope| {
        let path = scope.path(key)?;
        match scope.text(&path)? {
            Some(text) => Ok(Value::normal_string(text)),
            None => default.ok_or_else(|| missing(&path)),
        }
    })
}

/// `get(key)`: the key and its value, as `{key, name, value}`.
fn get(args: Kwargs, _: &State<'_>) -> TeraResult<Value> {
    let key = args.must_get::<&str>("key")?;
    Scope::with(|scope| {
        let path = scope.path(key)?;
        match scope.text(&path)? {
            Some(text) => Ok(pair(&path, text)),
            None => Err(missing(&path)),
        }
    })
}

/// `gets(pattern)`: all keys that match, in key order, as `{key, name, value}`.
fn gets(args: Kwargs, _: &State<'_>) -> TeraResult<Vec<Value>> {
    let glob = args.must_get::<&str>("pattern")?;
    Scope::with(|scope| matching(scope, glob, pair))
}

/// `getvs(pattern)`: the values of all keys that match, sorted by value as confd does.
fn getvs(args: Kwargs, _: &State<'_>) -> TeraResult<Vec<Value>> {
    let glob = args.must_get::<&str>("pattern")?;
    let mut values = Scope::with(|scope| matching(scope, glob, |_, text| text.to_owned()))?;
    values.sort();
    Ok(values.into_iter().map(Value::from).collect())
}

/// `ls(dir?)`: the names directly under a directory, of keys and of directories, sorted.
fn ls(args: Kwargs, _: &State<'_>) -> TeraResult<Vec<Value>> {
    let dir = args.get::<&str>("dir")?.unwrap_or_default();
    Scope::with(|scope| {
        let path = scope.path(dir)?;
        let names = scope.snapshot.children(&path);
        scope.reads.insert(Read::Names(path.into()));
        Ok(names
            .iter()
            .map(|name| Value::normal_string(name))
            .collect())
    })
}

/// `lsdir(dir?)`: those of `ls` that are directories.
fn lsdir(args: Kwargs, _: &State<'_>) -> TeraResult<Vec<Value>> {
    let dir = args.get::<&str>("dir")?.unwrap_or_default();
    Scope::with(|scope| {
        let path = scope.path(dir)?;
        let mut names = scope.snapshot.children(&path);
        names.retain(|name| {
            let slash = if path.is_empty() { "" } else { "/" };
            scope.snapshot.has_dir(&format!("{path}{slash}{name}"))
        });
        scope.reads.insert(Read::Directories(path.into()));
        Ok(names
            .iter()
            .map(|name| Value::normal_string(name))
            .collect())
    })
}

/// `exists(key)`: whether there is such a key, or a directory of that name.
fn exists(args: Kwargs, _: &State<'_>) -> TeraResult<bool> {
    let key = args.must_get::<&str>("key")?;
    Scope::with(|scope| {
        let path = scope.path(key)?;
        let found = scope.snapshot.get(&path).is_some() || scope.snapshot.has_dir(&path);
        scope.reads.insert(Read::Key(path.as_str().into()));
        scope.reads.insert(Read::Directory(path.into()));
        Ok(found)
    })
}

/// `warn(message, key?, known?)`: tells something about the unit and prints nothing. With `known`,
/// a list of words, the advice names the nearest to the last part of `key`.
fn warn(args: Kwargs, _: &State<'_>) -> TeraResult<Value> {
    let message = args.must_get::<&str>("message")?;
    let key = args.get::<&str>("key")?;
    let known = args.get::<&[Value]>("known")?.unwrap_or_default();
    Scope::with(|scope| {
        let mut warning = Diagnostic::warning("template", message);
        if let Some(key) = key {
            let path = scope.path(key)?;
            let name = path.rsplit('/').next().unwrap_or_default();
            if !known.is_empty() {
                warning.code = "unknown-key".to_owned();
                let known: Vec<&str> = known.iter().filter_map(Value::as_str).collect();
                warning = warning.help(match nearest(name, known.iter().copied()) {
                    Some(word) => format!("did you mean {word:?}?"),
                    None => format!("it is one of {}", known.join(", ")),
                });
            }
            warning = warning.for_key(path);
        }
        if scope.warnings.len() < WARNINGS {
            scope.warnings.push(warning);
        }
        Ok(Value::none())
    })
}

/// `getenv(name, default?)`: an environment variable; an empty one counts as unset.
fn getenv(args: Kwargs, _: &State<'_>) -> TeraResult<Value> {
    let name = args.must_get::<&str>("name")?;
    // The standard library panics at names that cannot be.
    let is_name = !name.is_empty() && !name.contains(['=', '\0']);
    let value = if is_name {
        std::env::var(name).ok().filter(|value| !value.is_empty())
    } else {
        None
    };
    match (value, args.get::<Value>("default")?) {
        (Some(value), _) => Ok(Value::from(value)),
        (None, Some(default)) => Ok(default),
        (None, None) => Err(tera::Error::message(format!(
            "environment variable {name:?} is not set and has no default"
        ))),
    }
}

const WARNINGS: usize = 100;

/// Keys that match `glob`, each made into what is wanted. Recorded as one pattern, so that a key
/// that starts to match is seen as well.
fn matching<T>(
    scope: &mut Scope,
    glob: &str,
    make: impl Fn(&str, &str) -> T,
) -> Result<Vec<T>, Failure> {
    let whole = scope.path(glob)?;
    scope.reads.insert(Read::Pattern(whole.as_str().into()));
    // A directory is called as somebody called it: only what the template says is a pattern.
    let dir = match glob.starts_with('/') {
        true => "",
        false => scope.dir(),
    };
    let glob = whole[dir.len()..].trim_start_matches('/');
    let mut found = Vec::new();
    if pattern::is_glob(glob) {
        let base = join(dir, pattern::base(glob));
        for (key, value) in scope.snapshot.under(&base) {
            let below = key[dir.len()..].trim_start_matches('/');
            if pattern::matches(glob, below) {
                found.push(make(key, text_of(key, value)?));
            }
        }
    } else if let Some(value) = scope.snapshot.get(&whole) {
        found.push(make(&whole, text_of(&whole, value)?));
    }
    Ok(found)
}

fn join<'a>(dir: &'a str, below: &'a str) -> Cow<'a, str> {
    match (dir, below) {
        ("", path) | (path, "") => path.into(),
        (dir, below) => format!("{dir}/{below}").into(),
    }
}

fn pair(path: &str, text: &str) -> Value {
    let name = path.rsplit('/').next().unwrap_or_default();
    let mut map = Map::new();
    map.insert("key".into(), Value::from(format!("/{path}")));
    map.insert("name".into(), Value::normal_string(name));
    map.insert("value".into(), Value::normal_string(text));
    Value::from(map)
}

fn missing(path: &str) -> Failure {
    Diagnostic::error(
        "missing-key",
        format!("key {path} is missing and has no default"),
    )
    .for_key(path)
    .help("write the key, or give getv a default in the template")
    .into()
}

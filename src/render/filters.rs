//! confd's helpers that Tera has no word for, under confd's names. `docs/templates.md` maps the rest.
//!
//! Left out on purpose: what asks a name server or a clock would make a text change without a key.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use tera::{Error, Kwargs, State, Tera, TeraResult, Value};

use crate::diag::quoted;

pub(super) fn register(tera: &mut Tera) {
    tera.register_filter("base", base);
    tera.register_filter("dir", dir);
    tera.register_filter("trimSuffix", trim_suffix);
    tera.register_filter("json", json);
    tera.register_filter("jsonEncode", json_encode);
    tera.register_filter("parseBool", parse_bool);
    tera.register_filter("sortByLength", sort_by_length);
    tera.register_filter("sortKVByLength", sort_pairs_by_length);
    tera.register_filter("base64Encode", base64_encode);
    tera.register_filter("base64Decode", base64_decode);
}

/// The last part of a path.
fn base(path: &str, _: Kwargs, _: &State<'_>) -> String {
    let path = path.trim_end_matches('/');
    path.rsplit('/').next().unwrap_or_default().to_owned()
}

/// A path without its last part.
fn dir(path: &str, _: Kwargs, _: &State<'_>) -> String {
    let path = path.trim_end_matches('/');
    match path.rsplit_once('/') {
        Some(("", _)) => "/".to_owned(),
        Some((dir, _)) => dir.to_owned(),
        None => ".".to_owned(),
    }
}

fn trim_suffix(text: &str, args: Kwargs, _: &State<'_>) -> TeraResult<String> {
    let suffix = args.must_get::<&str>("suffix")?;
    Ok(text.strip_suffix(suffix).unwrap_or(text).to_owned())
}

/// A JSON text as the value it describes.
fn json(text: &str, _: Kwargs, _: &State<'_>) -> TeraResult<Value> {
    let value: serde_json::Value = serde_json::from_str(text)
        .map_err(|e| Error::message(format!("{} is no JSON: {e}", quoted(text))))?;
    Value::try_from_serializable(&value)
}

/// A value as JSON text.
fn json_encode(value: Value, _: Kwargs, _: &State<'_>) -> TeraResult<String> {
    serde_json::to_string(&value).map_err(|e| Error::message(format!("this has no JSON form: {e}")))
}

/// Go's words for true and false, in any case.
fn parse_bool(text: &str, _: Kwargs, _: &State<'_>) -> TeraResult<bool> {
    match text.to_ascii_lowercase().as_str() {
        "1" | "t" | "true" => Ok(true),
        "0" | "f" | "false" => Ok(false),
        _ => Err(Error::message(format!(
            "{} is neither true nor false",
            quoted(text)
        ))),
    }
}

/// Texts by length, the shortest first; equal lengths in their own order.
fn sort_by_length(texts: Vec<String>, _: Kwargs, _: &State<'_>) -> Vec<Value> {
    let mut texts = texts;
    texts.sort_by_key(String::len);
    texts.into_iter().map(Value::from).collect()
}

/// Pairs of `gets` by the length of their keys, the shortest first.
fn sort_pairs_by_length(pairs: Vec<Value>, _: Kwargs, _: &State<'_>) -> Vec<Value> {
    let mut pairs = pairs;
    pairs.sort_by_key(|pair| {
        let key = pair.get_from_path("key").and_then(Value::as_str);
        key.map_or(0, str::len)
    });
    pairs
}

fn base64_encode(text: &str, _: Kwargs, _: &State<'_>) -> String {
    STANDARD.encode(text)
}

fn base64_decode(text: &str, _: Kwargs, _: &State<'_>) -> TeraResult<String> {
    let refuse = |why: String| Error::message(format!("{} is no base64 text: {why}", quoted(text)));
    let bytes = STANDARD
        .decode(text.trim())
        .map_err(|e| refuse(e.to_string()))?;
    String::from_utf8(bytes).map_err(|e| refuse(e.to_string()))
}

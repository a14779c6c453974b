use super::*;
use crate::snapshot::{Snapshot, why_unusable};

const ONE: &str = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";
const TWO: &str = "AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI=";

fn keys(lines: &[&str]) -> SealKeys {
    SealKeys::read(&lines.join("\n")).expect("keys")
}

fn sealed(keys: &SealKeys, place: &str, plain: &str) -> String {
    keys.seal(Place::Keys(place), plain.as_bytes())
        .expect("sealed")
}

#[track_caller]
fn opens(keys: &SealKeys, key: &str, text: &str) -> Result<String, OpenError> {
    let plain = keys.open(Place::Keys(key), text.as_bytes())?;
    Ok(String::from_utf8(plain).expect("text"))
}

/// What was sealed by an older program is opened by this one.
#[test]
fn the_form_is_what_is_documented() {
    let one = keys(&[ONE]);
    assert_eq!(one.ids().collect::<Vec<_>>(), ["a8a55013"]);
    let text = sealed(&one, "certs/", "hush");
    let base64 = text.strip_prefix("sealed:v1:a8a55013:").expect("the head");
    assert_eq!(
        BASE64_STANDARD.decode(base64).expect("base64").len(),
        12 + 4 + 16
    );
    assert!(!text.contains('\n'));
    assert_ne!(
        text,
        sealed(&one, "certs/", "hush"),
        "a nonce of its own each time"
    );
    let kept = "sealed:v1:a8a55013:PBLaWCWt6dvjc+Zo1iny4KGhgsjiMXAAzh3QM0Y/gts=";
    assert_eq!(opens(&one, "certs/www", kept), Ok("hush".to_owned()));
    assert_eq!(format!("{one:?}"), "[\"a8a55013\"]");
}

#[test]
fn a_value_opens_where_it_was_sealed_for_and_nowhere_else() {
    let one = keys(&[ONE]);
    let check = |place: &str, key: &str, may: bool| {
        let opened = opens(&one, key, &sealed(&one, place, "hush"));
        let foreign = Err(OpenError::Foreign(quoted(key)));
        let wanted = if may { Ok("hush".to_owned()) } else { foreign };
        assert_eq!(opened, wanted, "for {place:?} at {key}");
    };
    check("certs/", "certs/www", true);
    check("certs/www", "certs/www", true);
    check("services/web/", "services/web/error_pages/503", true);
    check("", "settings/stats_auth", true);
    check("certs/", "services/web/error_pages/503", false);
    check("certs/", "certs", false);
    check("certs/www", "certs/www2", false);
    check("certs/www", "certs/www/x", false);
    let saved = one
        .seal(Place::Saved("certs/www"), b"hush")
        .expect("sealed");
    assert!(opens(&one, "certs/www", &saved).is_err());
}

#[test]
fn whatever_is_wrong_with_it_is_told_and_nothing_opens() {
    let (one, two) = (keys(&[ONE]), keys(&[TWO]));
    let text = sealed(&one, "", "hush");
    assert_eq!(
        opens(&SealKeys::default(), "a", &text),
        Err(OpenError::NoKeys)
    );
    let id = text.split(':').nth(2).expect("an id");
    assert_eq!(
        opens(&two, "a", &text),
        Err(OpenError::UnknownKey(quoted(id)))
    );
    assert_eq!(
        opens(&one, "a", &text.replacen("v1", "v2", 1)),
        Err(OpenError::UnknownForm("\"v2\"".to_owned()))
    );
    assert_eq!(
        opens(&one, "a", &format!(" {text}\r\n")),
        Ok("hush".to_owned())
    );
    for cut in MARK.len()..text.len() {
        assert!(is_sealed(&text.as_bytes()[..cut]));
        assert!(opens(&one, "a", &text[..cut]).is_err(), "cut at {cut}");
    }
    let head = text.len() - BASE64_STANDARD.encode([0; 32]).len();
    let bytes = BASE64_STANDARD.decode(&text[head..]).expect("base64");
    for at in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[at] ^= 1;
        let changed = format!("{}{}", &text[..head], BASE64_STANDARD.encode(changed));
        assert!(opens(&one, "a", &changed).is_err(), "changed at {at}");
    }
    assert!(!is_sealed(b"seal") && !is_sealed(b"a sealed:v1:"));
}

#[test]
fn keys_are_rotated_by_a_new_line_in_front() {
    let old = sealed(&keys(&[TWO]), "", "hush");
    let both = keys(&["# of today", ONE, "", TWO]);
    assert_eq!(opens(&both, "a", &old), Ok("hush".to_owned()));
    let new = sealed(&both, "", "hush");
    assert_eq!(opens(&keys(&[ONE]), "a", &new), Ok("hush".to_owned()));
    assert!(opens(&keys(&[TWO]), "a", &new).is_err());
}

#[test]
fn a_key_file_that_is_none_is_told_without_its_content() {
    let check = |text: &str, expected: &str| {
        let error = SealKeys::read(text).expect_err(text);
        assert!(
            error.contains(expected) && !error.contains("AQEB"),
            "{error}"
        );
    };
    check("", "has no key");
    check("# nothing", "has no key");
    check(&format!("{ONE}\nAQEB"), "line 2 is no seal key");
    check(&ONE[..40], "line 1 is no seal key");
    assert_ne!(new_key_line(), new_key_line());
    SealKeys::read(&new_key_line().expect("a line")).expect("a key");
}

#[test]
fn a_tree_is_opened_key_by_key_and_as_it_changes() {
    let one = keys(&[ONE]);
    let mut opener = Opener::new(one.clone());
    let mut tree: Snapshot = [("a", "plain")].into_iter().collect();
    let text = |tree: &Snapshot, key: &str| {
        let value = tree
            .get(key)
            .map(|value| String::from_utf8_lossy(value).into_owned());
        value.unwrap_or_default()
    };
    assert_eq!(text(&opener.follow(&tree), "a"), "plain");
    tree.put("b", sealed(&one, "b", "hush"));
    tree.put("c", sealed(&one, "b", "hush"));
    tree.set_revision(7);
    let first = opener.follow(&tree);
    assert_eq!(
        (text(&first, "b"), first.is_secret("b")),
        ("hush".to_owned(), true)
    );
    let why = why_unusable(first.get("c").expect("a value"));
    assert_eq!(
        why,
        Some("it is sealed and was changed, or is sealed for another place than \"c\"")
    );
    assert_eq!(first.revision(), 7);
    // Sealed anew, it is still the same value.
    tree.put("b", sealed(&one, "", "hush"));
    tree.put("c", "plain");
    tree.remove("a");
    let second = opener.follow(&tree);
    assert_eq!(first.diff(&second).len(), 2);
    assert_eq!(text(&second, "c"), "plain");
    opener.replace_keys(keys(&[TWO]));
    let third = opener.follow(&tree);
    assert!(why_unusable(third.get("b").expect("a value")).is_some() && !third.is_secret("b"));
    let shown = Opener::veiled(one).follow(&tree);
    assert_eq!(
        (text(&shown, "b"), text(&shown, "c")),
        ("<sealed>".to_owned(), "plain".to_owned())
    );
}

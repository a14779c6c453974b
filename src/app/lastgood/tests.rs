use super::*;

fn open(dir: &Path, tree: &str) -> io::Result<(LastGood, Saved)> {
    LastGood::open(dir, tree, SealKeys::default())
}

fn batch(units: &[(&str, Option<&str>)]) -> Batch {
    units
        .iter()
        .map(|(unit, text)| ((*unit).into(), text.map(Into::into)))
        .collect()
}

fn names(saved: &Saved) -> Vec<&str> {
    saved.units.keys().map(UnitName::as_str).collect()
}

#[test]
fn what_was_accepted_last_is_there_at_the_next_start() {
    let dir = tempfile::tempdir().unwrap();
    let (kept, saved) = open(dir.path(), "/pointsman/lb").unwrap();
    assert_eq!(saved, Saved::default());
    kept.save(
        7,
        batch(&[("services/a", Some("x: 1\n")), ("services/b", Some("y"))]),
    );
    kept.save(8, batch(&[("services/a", None), ("balancer", Some("z"))]));
    drop(kept);
    let (_kept, saved) = open(dir.path(), "/pointsman/lb").unwrap();
    assert_eq!(
        (saved.revision, names(&saved)),
        (8, vec!["balancer", "services/b"])
    );
}

#[test]
fn a_batch_that_a_crash_cut_short_does_not_count() {
    let dir = tempfile::tempdir().unwrap();
    let (kept, _) = open(dir.path(), "lb").unwrap();
    kept.save(1, batch(&[("services/a", Some("x"))]));
    kept.save(
        2,
        batch(&[("services/b", Some("y")), ("services/c", Some("z"))]),
    );
    drop(kept);
    let path = dir.path().join("accepted-lb.jsonl");
    let whole = fs::read(&path).unwrap();
    let first = whole
        .windows(14)
        .position(|w| w == b"{\"revision\":1}")
        .unwrap()
        + 15;
    for cut in first..whole.len() - 1 {
        fs::write(&path, &whole[..cut]).unwrap();
        let (kept, saved) = open(dir.path(), "lb").unwrap();
        drop(kept);
        assert_eq!(
            (saved.revision, names(&saved)),
            (1, vec!["services/a"]),
            "cut at {cut}"
        );
        let tail = &whole[first..cut];
        assert_eq!(
            saved.lost,
            tail.split(|b| *b == b'\n')
                .filter(|l| !l.is_empty())
                .count()
        );
    }
}

#[test]
fn a_damaged_line_costs_its_unit_and_is_counted() {
    let dir = tempfile::tempdir().unwrap();
    let (kept, _) = open(dir.path(), "lb").unwrap();
    let units: Vec<_> = ["a", "b", "c"].map(|name| (name, Some("text"))).into();
    kept.save(1, batch(&units));
    drop(kept);
    let path = dir.path().join("accepted-lb.jsonl");
    let mut bytes = fs::read(&path).unwrap();
    let at = bytes.windows(3).position(|w| w == b"\"b\"").unwrap();
    bytes[at] = 0xff;
    fs::write(&path, bytes).unwrap();
    let (kept, saved) = open(dir.path(), "lb").unwrap();
    assert_eq!(
        (names(&saved), saved.revision, saved.lost),
        (vec!["a", "c"], 1, 1)
    );
    drop(kept);
    let (_kept, saved) = open(dir.path(), "lb").unwrap();
    assert_eq!((names(&saved), saved.lost), (vec!["a", "c"], 0));
}

#[test]
fn a_unit_that_goes_while_it_is_closed_does_not_come_back() {
    let dir = tempfile::tempdir().unwrap();
    let keys = SealKeys::read(&seal::new_key_line().unwrap()).unwrap();
    let open = |keys: &SealKeys| LastGood::open(dir.path(), "lb", keys.clone()).unwrap();
    let (kept, _) = open(&keys);
    kept.save(1, batch(&[("certs/a", Some("a")), ("certs/b", Some("b"))]));
    drop(kept);
    let (kept, saved) = open(&SealKeys::default());
    assert_eq!((saved.units.len(), saved.closed.len()), (0, 2));
    kept.save(2, batch(&[("certs/a", None)]));
    drop(kept);
    let (_kept, saved) = open(&keys);
    assert_eq!(names(&saved), ["certs/b"]);
}

#[test]
fn nobody_else_may_read_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("accepted-lb.jsonl");
    for left_behind in [&path, &path.with_extension("new")] {
        fs::write(left_behind, "").unwrap();
        fs::set_permissions(left_behind, Permissions::from_mode(0o644)).unwrap();
    }
    let _kept = open(dir.path(), "lb").unwrap();
    let mode = fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn trees_of_like_names_have_files_of_their_own() {
    let dir = tempfile::tempdir().unwrap();
    let _kept: Vec<_> = ["/a/b", "/a-b", "/a--b"]
        .map(|tree| open(dir.path(), tree).unwrap())
        .into();
}

#[test]
fn two_processes_do_not_share_a_file() {
    let dir = tempfile::tempdir().unwrap();
    let _kept = open(dir.path(), "lb").unwrap();
    assert!(open(dir.path(), "lb").is_err());
    assert!(open(dir.path(), "other").is_ok());
}

#[test]
fn what_is_in_the_file_already_is_not_written_again() {
    let dir = tempfile::tempdir().unwrap();
    let (kept, _) = open(dir.path(), "lb").unwrap();
    for revision in 1..=2 {
        kept.save(
            revision,
            batch(&[("services/a", Some("text")), ("b", None)]),
        );
    }
    drop(kept);
    let file = fs::read_to_string(dir.path().join("accepted-lb.jsonl")).unwrap();
    assert_eq!(file.matches("services/a").count(), 1, "{file}");
    assert!(
        !file.contains("gone") && file.ends_with("{\"revision\":2}\n"),
        "{file}"
    );
}

#[test]
fn a_file_that_outgrew_its_content_is_written_anew() {
    let dir = tempfile::tempdir().unwrap();
    let (kept, _) = open(dir.path(), "lb").unwrap();
    for revision in 0..40 {
        let text = format!("{revision} {}", "x".repeat(100_000));
        kept.save(revision, batch(&[("services/a", Some(&text))]));
    }
    drop(kept);
    let size = fs::metadata(dir.path().join("accepted-lb.jsonl"))
        .unwrap()
        .len();
    assert!(size < LEAST + 600_000, "{size}");
}

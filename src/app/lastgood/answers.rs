//! What names of upstreams stood for, on disk: the newest answers as one JSON object. A file that cannot be
//! read costs what DNS says again as soon as it answers.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use super::ONLY_OURS;
use crate::dns::{Answers, Question, Target, targets};

pub(super) fn read(path: &Path) -> Answers {
    let file = fs::read(path).unwrap_or_default();
    let all: BTreeMap<String, Vec<Target>> = serde_json::from_slice(&file).unwrap_or_default();
    let judged = all.into_iter().map(|(question, all)| {
        // As if DNS said it: the file may be of another version.
        (Question::of_text(&question), targets(all).0)
    });
    judged.filter(|(_, answer)| !answer.is_empty()).collect()
}

pub(super) fn write(path: &Path, answers: &Answers) -> io::Result<()> {
    let all: BTreeMap<String, &[Target]> = answers
        .iter()
        .map(|(question, answer)| (question.to_string(), &**answer))
        .collect();
    let temporary = path.with_extension("new");
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(ONLY_OURS)
        .open(&temporary)?;
    file.write_all(&serde_json::to_vec(&all)?)?;
    drop(file);
    fs::rename(&temporary, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_there_at_the_next_start_and_a_damaged_file_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("answers-lb.json");
        assert_eq!(read(&path), Answers::new());
        let ip = |text: &str| text.parse().unwrap();
        let answers: Answers = [
            ("app.internal", Target::host(ip("10.0.0.1"))),
            ("srv:_a._tcp.b", Target::service(ip("fd00::1"), 80, 7)),
        ]
        .map(|(name, target)| (Question::of_text(name), targets([target]).0))
        .into_iter()
        .collect();
        write(&path, &answers).unwrap();
        assert_eq!(read(&path), answers);
        for damaged in ["", "[]", "{\"a\": [{\"ip\": \"0.0.0.0\"}], \"b\": []}"] {
            fs::write(&path, damaged).unwrap();
            assert_eq!(read(&path), Answers::new(), "{damaged}");
        }
    }
}

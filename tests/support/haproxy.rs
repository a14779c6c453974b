//! What tools for HAProxy read of us and say to us: its CSV, and its commands on a unix socket.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::LIMIT;
use super::client::get;
use super::pointsman::{Pointsman, Service};

/// Each line by proxy and server, and in it each column that is not empty, by its name.
pub type Lines = BTreeMap<(String, String), BTreeMap<String, String>>;

pub fn lines(csv: &str) -> Lines {
    let mut rows = csv.lines().filter(|line| !line.is_empty());
    let header = rows.next().expect("a header");
    let names = header.strip_prefix("# ").expect("a comment");
    let names: Vec<_> = names.split(',').collect();
    let mut all = Lines::new();
    for row in rows {
        let cells = cells(row);
        assert_eq!(cells.len(), names.len(), "{row}");
        let filled = names
            .iter()
            .zip(&cells)
            .filter(|(_, cell)| !cell.is_empty());
        let of = filled.map(|(name, cell)| ((*name).to_owned(), cell.clone()));
        let key = (cells[0].clone(), cells[1].clone());
        assert!(all.insert(key, of.collect()).is_none(), "twice: {row}");
    }
    all
}

fn cells(row: &str) -> Vec<String> {
    let mut cells = vec![String::new()];
    let mut is_quoted = false;
    for c in row.chars() {
        match c {
            '"' => is_quoted = !is_quoted,
            ',' if !is_quoted => cells.push(String::new()),
            c => cells.last_mut().expect("a cell").push(c),
        }
    }
    cells
}

pub fn csv(pointsman: &Pointsman) -> String {
    let answer = get(pointsman.stats(), "localhost", "/;csv");
    assert_eq!(answer.status(), 200);
    answer.text()
}

#[track_caller]
pub fn figure(all: &Lines, proxy: &str, server: &str, column: &str) -> String {
    let line = all.get(&(proxy.to_owned(), server.to_owned()));
    let line = line.unwrap_or_else(|| panic!("no line {proxy} {server} in {all:?}"));
    line.get(column).cloned().unwrap_or_default()
}

pub fn say(path: &Path, text: &str) -> String {
    let mut stream = UnixStream::connect(path).expect("connect to the socket");
    stream.set_read_timeout(Some(LIMIT)).expect("a limit");
    stream.write_all(text.as_bytes()).expect("send");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    answer
}

/// A balancer with an admin socket. The directory goes with the test.
pub fn with_socket(services: &[Service]) -> (Pointsman, PathBuf, TempDir) {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("admin.sock");
    let mut builder = Pointsman::builder().args(&["--admin-socket", &path.display().to_string()]);
    for service in services {
        builder = builder.service(service);
    }
    (builder.start(), path, dir)
}

//! `pointsman top`: what it prints, and what it does in a terminal.

mod support;

use std::io::{Read as _, Write as _};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use rustix::process::{Pid, Signal, kill_process};
use support::origin::Origin;
use support::pointsman::{Pointsman, Service, run};
use support::{Killed, LIMIT, free_port, wait_until};
use tempfile::NamedTempFile;

fn node() -> (Pointsman, Origin) {
    let origin = Origin::saying("here");
    let balancer = Pointsman::builder().node("n1").start();
    balancer.put_service(
        &Service::http("web")
            .hosts("web.test")
            .upstream(origin.addr()),
    );
    balancer.put_service(
        &Service::http("other")
            .hosts("other.test")
            .upstream(origin.addr()),
    );
    balancer.put("services/bad/balance", "sideways");
    balancer.wait_for_text("web.test", "/", "here");
    balancer.wait_for_status_words(&["services/bad"]);
    (balancer, origin)
}

#[test]
fn one_look_is_printed_as_plain_text() {
    let (balancer, _origin) = node();
    let stats = balancer.stats().to_string();
    let output = run(&["top", "--stats", &stats, "--sort", "name"]);
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).expect("text");
    assert!(!text.contains('\x1b'), "{text:?}");
    let words = [
        "n1",
        "running",
        "refused 1",
        "services 2 up 2",
        "sideways",
        "services/bad/balance",
    ];
    for word in words {
        assert!(text.contains(word), "no {word} in\n{text}");
    }
    let line = |name: &str| text.lines().position(|line| line.starts_with(name));
    assert!(
        line("other").is_some() && line("other") < line("web"),
        "{text}"
    );
    let web = text
        .lines()
        .find(|line| line.starts_with("web"))
        .expect("a row");
    assert!(web.contains("1/1") && web.contains("web.test"), "{web}");

    let found = run(&["top", "--once", "--stats", &stats, "--search", "WEB"]);
    let found = String::from_utf8(found.stdout).expect("text");
    assert!(
        found.contains("web.test") && !found.contains("other.test"),
        "{found}"
    );

    let nobody = run(&["top", "--once", "--stats", "127.0.0.1:1"]);
    assert_eq!(nobody.status.code(), Some(1));
    let told = String::from_utf8(nobody.stderr).expect("text");
    assert!(
        told.contains("127.0.0.1:1") && told.contains("refused"),
        "{told}"
    );
}

#[test]
fn without_a_terminal_nothing_is_cut() {
    let (balancer, origin) = node();
    let hosts: Vec<_> = (0..40)
        .map(|n| format!("a-rather-long-name-{n}.web.test"))
        .collect();
    balancer.put_service(
        &Service::http("many-hosts")
            .hosts(&hosts.join(","))
            .upstream(origin.addr()),
    );
    balancer.put("services/bad/health_check_fall", "many");
    for n in 0..70 {
        balancer.put_service(&Service::http(&format!("s{n:02}")).hosts(&format!("s{n}.test")));
    }
    balancer.wait_for_status("s69.test", "/", 503);
    balancer.wait_for_status_words(&["health_check_fall"]);
    let told = balancer.status()["refused"][0]["diagnostics"].clone();
    let told = told.as_array().expect("a list");
    assert!(told.len() >= 2, "{told:?}");
    let output = run(&["top", "--stats", &balancer.stats().to_string()]);
    let text = String::from_utf8(output.stdout).expect("text");
    for one in told {
        for part in ["message", "help", "key"] {
            let part = one[part].as_str().unwrap_or_default();
            assert!(text.contains(part), "no {part:?} in\n{text}");
        }
    }
    let row = |name: &str| text.lines().find(|line| line.starts_with(name));
    for n in 0..70 {
        assert!(row(&format!("s{n:02} ")).is_some(), "no s{n:02} in\n{text}");
    }
    // As many as the node tells in a list, each of them whole.
    let row = row("many-hosts").expect("a row");
    let shown = row
        .split_whitespace()
        .filter(|word| word.ends_with(".web.test"));
    let shown: Vec<_> = shown.collect();
    let others = format!("and {} more", hosts.len() - shown.len());
    assert!(row.ends_with(&others), "{row}");
    assert!(
        shown.iter().all(|host| hosts.iter().any(|h| h == host)),
        "{row}"
    );
}

#[test]
fn looks_follow_each_other_at_a_distance() {
    let output = run(&["top", "--once", "--interval", "100ms"]);
    assert_eq!(output.status.code(), Some(2));
    let told = String::from_utf8(output.stderr).expect("text");
    assert!(told.contains("200ms is the least"), "{told}");
}

/// What anybody who listens there may answer.
const ROGUE: &[u8] =
    b"HTTP/1.1 500 Oops\r\nConnection: close\r\n\r\n\x1b]0;mine\x07\x1b[2J\xc2\x9b31m said\n";

#[test]
fn nobody_who_answers_steers_the_terminal() {
    let rogue = Origin::answering_once(ROGUE);
    let stats = rogue.addr().to_string();
    let output = run(&["top", "--once", "--stats", &stats]);
    assert_eq!(output.status.code(), Some(1));
    let told = String::from_utf8(output.stderr).expect("text");
    assert!(
        told.contains("answered 500") && told.contains("said"),
        "{told}"
    );
    assert!(!told.trim_end().chars().any(char::is_control), "{told:?}");

    let mut terminal = Terminal::running(&format!("top --stats {stats}"), 24, 80);
    wait_until("the answer is told", || terminal.has("said"));
    let raw = terminal.raw();
    let has = |bytes: &[u8]| raw.windows(bytes.len()).any(|piece| piece == bytes);
    assert!(!has(b"\x1b]0;") && !has(b"\xc2\x9b"), "{raw:?}");
    terminal.press("q");
    assert_eq!(terminal.ends(), 0);
}

/// A terminal, by util-linux' `script`.
struct Terminal {
    script: Killed,
    shown: Arc<Mutex<vt100::Parser>>,
    raw: Arc<Mutex<Vec<u8>>>,
    /// Has the id of what runs in it.
    pid: NamedTempFile,
}

impl Terminal {
    fn running(arguments: &str, rows: u16, cols: u16) -> Self {
        let program = env!("CARGO_BIN_EXE_pointsman");
        let pid = NamedTempFile::new().expect("a file");
        let file = pid.path().display();
        let mut script = Command::new("script")
            .args([
                "-qec",
                &format!(
                    "echo $$ > {file}; stty rows {rows} cols {cols}; exec {program} {arguments}"
                ),
                "/dev/null",
            ])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("script");
        let mut output = script.stdout.take().expect("a pipe");
        let shown = Arc::new(Mutex::new(vt100::Parser::new(rows, cols, 0)));
        let raw = Arc::new(Mutex::new(Vec::new()));
        let (own, own_raw) = (shown.clone(), raw.clone());
        std::thread::spawn(move || {
            let mut piece = [0; 4096];
            while let Ok(n @ 1..) = output.read(&mut piece) {
                own_raw
                    .lock()
                    .expect("no panic holds it")
                    .extend(&piece[..n]);
                own.lock().expect("no panic holds it").process(&piece[..n]);
            }
        });
        let script = Killed(script);
        Self {
            script,
            shown,
            raw,
            pid,
        }
    }

    fn press(&mut self, keys: &str) {
        let stdin = self.script.0.stdin.as_mut().expect("a pipe");
        stdin.write_all(keys.as_bytes()).expect("pressed");
        stdin.flush().expect("pressed");
    }

    fn signal(&self, signal: Signal) {
        let pid = std::fs::read_to_string(self.pid.path()).expect("a file");
        let pid = Pid::from_raw(pid.trim().parse().expect("a number")).expect("an id");
        kill_process(pid, signal).expect("it runs");
    }

    fn contents(&self) -> String {
        let shown = self.shown.lock().expect("no panic holds it");
        shown.screen().contents()
    }

    fn has(&self, text: &str) -> bool {
        self.contents().contains(text)
    }

    /// The line that has this text.
    fn line(&self, text: &str) -> Option<String> {
        let contents = self.contents();
        let mut lines = contents.lines();
        lines.find(|line| line.contains(text)).map(str::to_owned)
    }

    /// Whether the first letter of a line that begins so is faint.
    fn is_dim(&self, begin: &str) -> bool {
        let shown = self.shown.lock().expect("no panic holds it");
        let screen = shown.screen();
        let (_, cols) = screen.size();
        let row = screen.rows(0, cols).position(|row| row.starts_with(begin));
        let row = row.and_then(|row| u16::try_from(row).ok());
        row.and_then(|row| screen.cell(row, 0))
            .is_some_and(|cell| cell.dim())
    }

    fn raw(&self) -> Vec<u8> {
        self.raw.lock().expect("no panic holds it").clone()
    }

    /// Whether it shows a screen of the program's own.
    fn is_lent(&self) -> bool {
        let shown = self.shown.lock().expect("no panic holds it");
        shown.screen().alternate_screen()
    }

    fn ends(&mut self) -> i32 {
        let began = Instant::now();
        loop {
            if let Some(status) = self.script.0.try_wait().expect("a child") {
                return status.code().expect("a code");
            }
            if began.elapsed() > LIMIT {
                panic!("it did not end");
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
    }
}

#[test]
fn in_a_terminal_keys_open_search_and_leave_it_as_it_was() {
    let (balancer, origin) = node();
    let stats = balancer.stats();
    let arguments = format!("top --stats {stats} --sort name --interval 300ms");
    let mut terminal = Terminal::running(&arguments, 40, 140);
    wait_until("services are shown", || terminal.has("web.test"));
    assert!(terminal.is_lent(), "on a screen of its own");
    terminal.press("/web\r");
    wait_until("the search is shown", || terminal.has("with \"web\""));
    terminal.press("\r");
    let address = origin.addr().to_string();
    wait_until("its upstream is shown", || terminal.has(&address));
    terminal.press("q");
    wait_until("the screen is given back", || !terminal.is_lent());
    assert_eq!(terminal.ends(), 0);
}

#[test]
fn a_small_terminal_shows_names_states_and_why() {
    let (balancer, origin) = node();
    let name = "a-name-as-long-as-20";
    let port = free_port();
    balancer.put_service(
        &Service::http(name)
            .hosts("long.test")
            .without("health_check")
            .upstream(origin.addr()),
    );
    balancer.put_service(&Service::tcp("db", port).upstream(origin.addr()));
    balancer.wait_for_text("long.test", "/", "here");
    balancer.wait_for_port(port);
    for n in 0..20 {
        // Behind all others in the list.
        balancer.put(&format!("services/z{n}/balance"), "sideways");
    }
    balancer.wait_for_status_words(&["services/z19"]);
    let arguments = format!(
        "top --stats {} --sort name --interval 300ms",
        balancer.stats()
    );
    let mut terminal = Terminal::running(&arguments, 24, 80);
    // The last line of all.
    wait_until("all is shown", || terminal.line("q quit").is_some());
    let row = terminal.line(name).expect("a row");
    assert!(row.contains("up") && row.contains("1/1"), "{row}");
    assert!(terminal.has("db (tcp)"), "{}", terminal.contents());
    assert!(!terminal.has("LEADS HERE") && terminal.has("P99"));
    let keys = terminal.line("q quit").expect("the keys");
    assert!(
        keys.contains("Space pause") && keys.contains("sort"),
        "{keys}"
    );

    // Refusals take half of it at the most, and say where and why.
    let contents = terminal.contents();
    let is_refusal = |line: &str| {
        let key = line.split(": ").nth(1).unwrap_or_default();
        (key.starts_with("services/bad") || key.starts_with("services/z"))
            && line.contains("/balance: balance \"sideways\"")
    };
    assert!(
        contents.lines().filter(|l| is_refusal(l)).count() > 5,
        "{contents}"
    );
    assert!(
        contents.contains("more: `pointsman status` lists them"),
        "{contents}"
    );
    let list = contents.lines().position(|line| line.contains("SERVICE"));
    assert!(list.is_some_and(|row| row <= 3 + 12 + 2), "{contents}");

    terminal.press(" ");
    wait_until("that is shown", || terminal.has("PAUSED"));
    terminal.press(" ");
    wait_until("that is not", || !terminal.has("PAUSED"));

    terminal.press("/as-20\r");
    wait_until("the search is shown", || terminal.has("1 services with"));
    terminal.press("\r");
    let address = origin.addr().to_string();
    // With what the check found, at the end of its row.
    wait_until("its upstream is shown", || {
        terminal
            .line(&address)
            .is_some_and(|row| row.contains("connected"))
    });
    let row = terminal.line(&address).expect("a row");
    let cells: Vec<_> = row.split_whitespace().collect();
    assert_eq!(cells[..3], ["a", &address, "up"], "{row}");
    assert!(["s", "min"].contains(&cells[4]), "an age in {row}");
    terminal.press("q");
    assert_eq!(terminal.ends(), 0);
}

#[test]
fn a_node_that_answers_no_more_is_told_as_lost() {
    let (mut balancer, _origin) = node();
    let arguments = format!(
        "top --stats {} --sort name --interval 300ms",
        balancer.stats()
    );
    let mut terminal = Terminal::running(&arguments, 24, 80);
    wait_until("services are shown", || terminal.line("web ").is_some());
    assert!(!terminal.is_dim("web "));
    balancer.kill();
    wait_until("it is told", || terminal.has("lost for "));
    let lost = || terminal.line("lost for ").unwrap_or_default();
    wait_until("why", || {
        lost().contains(" s: ") && lost().contains("refused")
    });
    let told = lost();
    // What is shown is from before.
    wait_until("it is faint", || terminal.is_dim("web "));
    wait_until("time goes on", || {
        let now = terminal.line("lost for ");
        now.is_some() && now.as_ref() != Some(&told)
    });
    balancer.start_again();
    wait_until("it is back", || !terminal.has("lost for "));
    wait_until("figures are new", || !terminal.is_dim("web "));
    terminal.press("q");
    assert_eq!(terminal.ends(), 0);
}

#[test]
fn signals_end_it_and_give_the_terminal_back() {
    let (balancer, _origin) = node();
    for (signal, code) in [(Signal::TERM, 143), (Signal::HUP, 129)] {
        let mut terminal = Terminal::running(&format!("top --stats {}", balancer.stats()), 24, 80);
        wait_until("services are shown", || terminal.line("web ").is_some());
        assert!(terminal.is_lent());
        terminal.signal(signal);
        wait_until("the screen is given back", || !terminal.is_lent());
        assert_eq!(terminal.ends(), code);
    }
    // Also while it waits for an answer.
    balancer.freeze();
    let mut terminal = Terminal::running(&format!("top --stats {}", balancer.stats()), 24, 80);
    wait_until("it asks", || terminal.has("asking"));
    terminal.signal(Signal::TERM);
    assert_eq!(terminal.ends(), 143);
    assert!(!terminal.is_lent());
    balancer.thaw();
}

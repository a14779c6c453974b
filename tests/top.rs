//! `pointsman top`: what it prints, and what it does in a terminal.

mod support;

use std::io::{Read as _, Write as _};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use support::origin::Origin;
use support::pointsman::{Pointsman, Service, run};
use support::{Killed, LIMIT, wait_until};

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

/// A terminal of 140 by 40, by util-linux' `script`.
struct Terminal {
    script: Killed,
    shown: Arc<Mutex<vt100::Parser>>,
}

impl Terminal {
    fn running(command: &str) -> Self {
        let mut script = Command::new("script")
            .args([
                "-qec",
                &format!("stty rows 40 cols 140; exec {command}"),
                "/dev/null",
            ])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("script");
        let mut output = script.stdout.take().expect("a pipe");
        let shown = Arc::new(Mutex::new(vt100::Parser::new(40, 140, 0)));
        let own = shown.clone();
        std::thread::spawn(move || {
            let mut piece = [0; 4096];
            while let Ok(n @ 1..) = output.read(&mut piece) {
                own.lock().expect("no panic holds it").process(&piece[..n]);
            }
        });
        let script = Killed(script);
        Self { script, shown }
    }

    fn press(&mut self, keys: &str) {
        let stdin = self.script.0.stdin.as_mut().expect("a pipe");
        stdin.write_all(keys.as_bytes()).expect("pressed");
        stdin.flush().expect("pressed");
    }

    fn has(&self, text: &str) -> bool {
        let shown = self.shown.lock().expect("no panic holds it");
        shown.screen().contents().contains(text)
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
    let program = env!("CARGO_BIN_EXE_pointsman");
    let stats = balancer.stats();
    let command = format!("{program} top --stats {stats} --sort name --interval 300ms");
    let mut terminal = Terminal::running(&command);
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

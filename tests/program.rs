//! The program as its operator meets it: command line, environment, start, looks, log.

mod support;

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Output, Stdio};

use serde_json::Value;
use support::client::{Client, get};
use support::origin::Origin;
use support::pointsman::{Pointsman, Service};
use support::{Killed, command, free_port, wait_until};

const COMMANDS: &[&str] = &[
    "run",
    "check",
    "render",
    "plan",
    "status",
    "wait",
    "whoami",
    "completions",
];

fn run(args: &[&str]) -> Output {
    command().args(args).output().expect("run pointsman")
}

fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// As it is written on a wide screen: one line for each flag.
fn help(subcommand: &str) -> String {
    let output = run(&[subcommand, "--help"]);
    assert_eq!(output.status.code(), Some(0), "{subcommand}");
    assert!(output.stderr.is_empty(), "{}", err(&output));
    out(&output)
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
}

/// The flags that a help text explains.
fn flags(help: &str) -> Vec<&str> {
    let mut flags: Vec<_> = help
        .split(' ')
        .filter(|word| word.starts_with("--") && word.len() > 2)
        .map(|word| word.trim_end_matches([',', ';', '.', ')', ']']))
        .collect();
    flags.sort_unstable();
    flags.dedup();
    flags
}

/// A directory with keys, for looks.
fn keys(entries: &[(&str, &str)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a directory");
    for (key, value) in entries {
        let path = dir.path().join("keys").join(key);
        fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
        fs::write(path, value).expect("a key");
    }
    dir
}

fn store(dir: &tempfile::TempDir) -> String {
    format!("dir:{}", dir.path().join("keys").display())
}

const WEB: &[(&str, &str)] = &[
    ("services/web/virtual_hosts", "web.test"),
    ("services/web/upstreams/b", "127.0.0.1:8002"),
    ("services/web/upstreams/a", "127.0.0.1:8001"),
    ("tcp-services/db/external_port", "7000"),
    ("settings/timeout_server", "30s"),
];

#[test]
fn an_empty_variable_is_a_variable_that_is_not_set() {
    let dir = keys(WEB);
    let names = help("run");
    let names = names.split("[env: LB_").skip(1);
    let names: Vec<_> = names
        .map(|n| n.split(['=', ']']).next().unwrap_or(n))
        .collect();
    assert!(names.len() > 30, "{names:?}");
    let empty = names.iter().map(|name| (format!("LB_{name}"), ""));
    let output = command()
        .args(["plan", "--store", &store(&dir)])
        .envs(empty)
        .output()
        .expect("run pointsman");
    assert_eq!(output.status.code(), Some(0), "{}", err(&output));
    assert_eq!(out(&output), out(&run(&["plan", "--store", &store(&dir)])));
}

#[test]
fn who_reads_only_the_first_lines_is_no_error() {
    let dir = keys(WEB);
    for looks in ["plan", "render", "check"] {
        let mut child = command()
            .args([looks, "--store", &store(&dir)])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("run pointsman");
        drop(child.stdout.take());
        let output = child.wait_with_output().expect("its end");
        assert_eq!(err(&output), "", "{looks}");
        assert_eq!(output.status.code(), Some(0), "{looks}");
    }
}

#[test]
fn a_time_without_a_unit_is_not_taken_for_milliseconds_in_silence() {
    let dir = keys(WEB);
    let refused = run(&["wait", "--timeout", "10", "--store", &store(&dir)]);
    assert_eq!(refused.status.code(), Some(2));
    let line = "without a unit it is milliseconds; write 10s for seconds, or 10ms if it is meant";
    assert!(err(&refused).contains(line), "{}", err(&refused));
    let told = run(&["check", "--timeout-server", "60", "--store", &store(&dir)]);
    let line = "--timeout-server: timeout_server \"60\" is 60 milliseconds; write 60s for seconds";
    assert!(err(&told).contains(line), "{}", err(&told));
}

#[test]
fn help_explains_every_command() {
    let all = out(&run(&["--help"]));
    assert!(
        all.starts_with("A load balancer that is reconfigured under moving traffic"),
        "{all}"
    );
    for name in COMMANDS {
        assert!(all.contains(&format!("\n  {name}")), "{name}: {all}");
        assert!(help(name).contains(&format!("Usage: pointsman {name}")));
    }
    let name = format!("pointsman {}", env!("CARGO_PKG_VERSION"));
    assert_eq!(out(&run(&["-V"])).trim(), name);
    // What is built in, too.
    let version = out(&run(&["--version"]));
    let built_in = match cfg!(feature = "legacy-tls") {
        true => "\nlegacy-tls: OpenSSL ",
        false => "\nwithout legacy-tls",
    };
    assert!(version.starts_with(&(name + built_in)), "{version}");
}

#[test]
fn help_of_run_tells_env_twin_and_default_of_every_flag() {
    let help = help("run");
    for flag in flags(&help) {
        if flag == "--help" {
            continue;
        }
        let twin = format!("LB_{}", flag[2..].to_uppercase().replace('-', "_"));
        assert!(help.contains(&format!("[env: {twin}")), "{flag}: {twin}");
    }
    for default in [
        "0.0.0.0:80",
        "127.0.0.1:1000",
        "/pointsman/lb",
        "/var/lib/pointsman",
        "30s",
        "dir:./keys if that folder exists",
        "one per CPU",
        "the host's name",
    ] {
        assert!(
            help.contains(&format!("[default: {default}")),
            "{default}: {help}"
        );
    }
}

#[test]
fn the_documents_tell_every_flag_of_run() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = fs::read_to_string(root.join("docs/operations.md")).expect("docs/operations.md");
    let help = help("run");
    let flags = flags(&help);
    assert!(flags.len() > 30, "{flags:?}");
    for flag in flags {
        assert!(
            text.contains(&format!("`{flag}`")),
            "docs/operations.md does not tell {flag}"
        );
    }
}

#[test]
fn a_bad_flag_is_named_with_what_to_write() {
    let dir = keys(WEB);
    let store = store(&dir);
    let cases: &[(&[&str], &str)] = &[
        (
            &["run", "--http", "8080"],
            "error: invalid value '8080' for '--http <ADDR:PORT>': \
             write an address and a port, such as 0.0.0.0:80 or [::]:80",
        ),
        (
            &["run", "--stats", "localhost:1000"],
            "error: invalid value 'localhost:1000' for '--stats <ADDR:PORT>': \
             write an address and a port, such as 0.0.0.0:80 or [::]:80",
        ),
        (
            &["run", "--tcp-address", "0.0.0.0:80"],
            "error: invalid value '0.0.0.0:80' for '--tcp-address <ADDR>': \
             write an address without a port, such as 0.0.0.0 or ::",
        ),
        (
            &["run", "--store", "consul://x"],
            "error: invalid value 'consul://x' for '--store <STORE>': \
             unknown kind \"consul\" in store \"consul://x\"; accepted are \
             etcd://HOST:PORT[,HOST:PORT...], etcds://HOST:PORT[,HOST:PORT...] (TLS), dir:PATH and docker://[SOCKET|HOST:PORT][?link=NAME]",
        ),
        (
            &["run", "--settle", "soon"],
            "error: invalid value 'soon' for '--settle <DURATION>': \"soon\" is no duration; \
             write a whole number and a unit: 500ms, 5s, 1m, 2h or 1d",
        ),
        (
            &["run", "--workers", "0"],
            "error: invalid value '0' for '--workers <N>': 0 is not in 1..=1024",
        ),
        (
            &["run", "--htpp", "x"],
            "error: unexpected argument '--htpp' found",
        ),
        (
            &[
                "run",
                "--store",
                &store,
                "--timeout-head",
                "0",
                "--retries",
                "many",
            ],
            "pointsman: --timeout-head: timeout_head \"0\" is out of range; it goes from 1ms to 7d\n\
             --retries: retries \"many\" is no whole number; write a number from 0 to 100",
        ),
        (
            &["run", "--store", &store, "--node", "a b"],
            "pointsman: --node \"a b\": \
             a node's name has letters, digits, dots, dashes and underscores",
        ),
        (
            &["run", "--store", &store, "--error-pages", "/nowhere"],
            "pointsman: error pages directory /nowhere: No such file or directory (os error 2)",
        ),
        (
            &["check", "--store", &store, "--log", "a=b=c"],
            "pointsman: --log \"a=b=c\": ",
        ),
        (
            &["check", "--store", "dir:/nowhere"],
            "pointsman: dir:/nowhere: No such file or directory (os error 2)",
        ),
        (
            &["check", "--store", &store, "--etcd-user", "joe"],
            "pointsman: etcd needs both a user and a password, or neither",
        ),
        (
            &["render", "services/wep", "--store", &store],
            "pointsman: no text for unit \"services/wep\"; did you mean \"services/web\"?",
        ),
        (
            &["render", "certs", "--store", &store],
            "pointsman: no text for unit \"certs\"; \
             there are: balancer, services/web, tcp-services/db",
        ),
    ];
    for (args, message) in cases {
        let output = run(args);
        let text = err(&output);
        assert!(text.starts_with(message), "{args:?}:\n{text}");
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(output.stdout.is_empty(), "{args:?}: {}", out(&output));
    }
}

#[test]
fn without_a_store_the_two_ways_to_start_are_shown() {
    let empty = tempfile::tempdir().expect("a directory");
    for name in ["run", "check", "plan", "status"] {
        let output = command()
            .arg(name)
            .current_dir(empty.path())
            .output()
            .expect("run");
        assert_eq!(output.status.code(), Some(2));
        assert_eq!(
            err(&output),
            "pointsman: no store given and no folder ./keys here\n\
             start with keys in a directory:  pointsman run --store dir:PATH\n\
             or with keys in etcd:            pointsman run --store etcd://127.0.0.1:2379\n"
        );
    }
    let dir = keys(WEB);
    let output = command()
        .arg("check")
        .current_dir(dir.path())
        .output()
        .expect("run");
    assert_eq!(out(&output), "ok: services 2, warnings 0\n");
}

#[test]
fn check_is_quiet_and_passes_when_all_is_well() {
    let dir = keys(WEB);
    let output = run(&["check", "--store", &store(&dir)]);
    assert_eq!(out(&output), "ok: services 2, warnings 0\n");
    assert_eq!(err(&output), "");
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn render_prints_texts_of_all_units_or_of_one() {
    let dir = keys(WEB);
    let store = store(&dir);
    let all = run(&["render", "--store", &store]);
    assert_eq!(all.status.code(), Some(0));
    let units: Vec<_> = out(&all)
        .lines()
        .filter_map(|l| l.strip_prefix("# ").map(str::to_owned))
        .collect();
    assert_eq!(units, ["balancer", "services/web", "tcp-services/db"]);
    let one = run(&["render", "services/web", "--store", &store]);
    assert_eq!(
        out(&one),
        "service:\n  name: \"web\"\n  mode: \"http\"\n  upstreams:\n    \
         \"a\": \"127.0.0.1:8001\"\n    \"b\": \"127.0.0.1:8002\"\n  \
         virtual_hosts: \"web.test\"\n"
    );
    assert!(out(&all).contains(&out(&one)));
}

#[test]
fn a_unit_whose_template_fails_says_so_where_its_text_is_asked_for() {
    let dir = keys(WEB);
    fs::write(dir.path().join("keys/services/web/balance"), b"\xff").expect("write");
    let line = "error: services/web:29:24: http-service.tera: the value of services/web/balance is \
                no UTF-8 text from byte 1 on (key services/web/balance); write the value again as text\n";
    let all = run(&["render", "--store", &store(&dir)]);
    assert_eq!(err(&all), line);
    let one = run(&["render", "services/web", "--store", &store(&dir)]);
    assert!(err(&one).starts_with(line), "{}", err(&one));
    assert_eq!(one.status.code(), Some(2));
}

#[test]
fn a_plan_is_the_same_text_for_the_same_keys() {
    let dir = keys(WEB);
    let first = run(&["plan", "--store", &store(&dir)]);
    assert_eq!(first.status.code(), Some(0));
    let text = out(&first);
    for part in [
        "- web.test -> services/web",
        "7000: tcp-services/db",
        "timeout_server: 30s",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let again = run(&["plan", "--store", &store(&dir)]);
    assert_eq!(out(&again), text);
    let reversed: Vec<_> = WEB.iter().rev().copied().collect();
    let other = keys(&reversed);
    assert_eq!(out(&run(&["plan", "--store", &store(&other)])), text);
}

#[test]
fn completions_are_printed_for_a_shell() {
    let output = run(&["completions", "bash"]);
    assert_eq!(output.status.code(), Some(0));
    let text = out(&output);
    assert!(text.contains("_pointsman()") && text.contains("--error-pages"));
}

#[test]
fn whoami_answers_with_its_name() {
    let address = support::pointsman::local(free_port());
    let child = command()
        .args(["whoami", "--listen", &address.to_string(), "--name", "joe"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("start whoami");
    let _child = Killed(child);
    wait_until("whoami listens", || {
        support::client::Client::try_connect(address).is_ok()
    });
    assert!(get(address, "any", "/").text().contains("joe"));
}

#[test]
fn a_taken_address_is_told_at_the_start_with_its_flag() {
    let dir = keys(WEB);
    let state = dir.path().join("state").display().to_string();
    let holder = TcpListener::bind("127.0.0.1:0").expect("a port");
    let taken = holder.local_addr().expect("an address").to_string();
    let free = || format!("127.0.0.1:{}", free_port());
    let cases = [
        (
            (taken.clone(), free()),
            format!(
                "pointsman: --http {taken}: Address already in use (os error 98); \
                 free the port or choose another with --http\n"
            ),
        ),
        (
            (free(), taken.clone()),
            format!(
                "pointsman: --stats {taken}: Address already in use (os error 98); \
                 free the port or choose another with --stats\n"
            ),
        ),
        (
            ("203.0.113.1:8080".to_owned(), free()),
            "pointsman: --http 203.0.113.1:8080: Cannot assign requested address (os error 99); \
             this machine does not have that address\n"
                .to_owned(),
        ),
    ];
    for ((http, stats), message) in cases {
        let output = run(&[
            "run",
            "--store",
            &store(&dir),
            "--http",
            &http,
            "--stats",
            &stats,
            "--state-dir",
            &state,
        ]);
        assert_eq!(err(&output), message);
        assert_eq!(output.status.code(), Some(2));
    }
}

#[test]
fn it_is_reached_at_the_addresses_it_was_given_and_at_no_other() {
    let origin = Origin::saying("inside");
    let inside = SocketAddr::from(([127, 0, 0, 9], free_port()));
    let pointsman = Pointsman::builder()
        .service(
            &Service::http("web")
                .hosts("web.test")
                .upstream(origin.addr()),
        )
        .args(&["--http", &inside.to_string()])
        .start();
    assert_eq!(get(inside, "web.test", "/").text(), "inside");
    let outside = [[127, 0, 0, 1], [127, 0, 0, 10]];
    for address in outside.map(|ip| SocketAddr::from((ip, inside.port()))) {
        assert!(Client::try_connect(address).is_err(), "{address}");
    }
    assert_eq!(pointsman.get("web.test", "/").text(), "inside");
}

#[test]
fn a_state_directory_that_cannot_be_written_is_told_and_traffic_goes_on() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("no-directory");
    fs::write(&file, "x").expect("a file");
    let origin = Origin::saying("web");
    let pointsman = Pointsman::builder()
        .service(
            &Service::http("web")
                .hosts("web.test")
                .upstream(origin.addr()),
        )
        .args(&["--state-dir", &file.display().to_string()])
        .start();
    assert_eq!(pointsman.get("web.test", "/").text(), "web");
    let log = pointsman.log();
    let line = log
        .lines()
        .find(|line| line.contains("accepted config is not saved"))
        .unwrap_or_else(|| panic!("no line about it: {log}"));
    assert!(
        line.contains(" WARN ") && line.contains("choose a writable --state-dir"),
        "{line}"
    );
}

#[test]
fn error_pages_come_from_files() {
    let dir = tempfile::tempdir().expect("a directory");
    fs::write(dir.path().join("404.html"), "<h1>lost</h1>").expect("a page");
    let pointsman = Pointsman::builder()
        .args(&["--error-pages", &dir.path().display().to_string()])
        .start();
    let answer = pointsman.get("any", "/");
    assert_eq!(
        (answer.status(), answer.text().as_str()),
        (404, "<h1>lost</h1>")
    );
    assert_eq!(
        answer.header("content-type"),
        Some("text/html; charset=utf-8")
    );
}

#[test]
fn flags_can_be_given_as_environment_variables() {
    let (http, stats) = (free_port(), free_port());
    let dir = keys(WEB);
    let child = command()
        .arg("run")
        .env("LB_STORE", store(&dir))
        .env("LB_HTTP", format!("127.0.0.1:{http}"))
        .env("LB_STATS", format!("127.0.0.1:{stats}"))
        .env("LB_STATE_DIR", dir.path().join("state"))
        .env("LB_NODE", "by-env")
        .env("LB_WORKERS", "1")
        .env("LB_TCP_ADDRESS", "127.0.0.1")
        .env("LB_TIMEOUT_SERVER", "7s")
        .stdout(Stdio::null())
        .spawn()
        .expect("start");
    let child = Killed(child);
    let stats = support::pointsman::local(stats);
    let ask = |path: &str| {
        support::client::Client::try_connect(stats).ok()?;
        Some(get(stats, "localhost", path))
    };
    wait_until("it is ready", || {
        ask("/ready").is_some_and(|answer| answer.status() == 200)
    });
    let status = ask("/v1/status").expect("the status").text();
    assert!(status.contains("\"node\":\"by-env\""), "{status}");
    drop(child);

    let bad = command()
        .args(["check", "--store", &store(&dir)])
        .env("LB_TIMEOUT_SERVER", "never")
        .output()
        .expect("run");
    assert!(
        err(&bad).starts_with("pointsman: --timeout-server: "),
        "{}",
        err(&bad)
    );
}

#[test]
fn live_is_there_at_once_and_ready_after_the_first_generation() {
    let pointsman = Pointsman::builder()
        .store("etcd://127.0.0.1:9")
        .without_waiting()
        .start();
    wait_until("it lives", || {
        support::client::Client::try_connect(pointsman.stats()).is_ok()
    });
    let ask = |path| get(pointsman.stats(), "localhost", path);
    assert_eq!(ask("/live").status(), 200);
    let ready = ask("/ready");
    assert_eq!(
        (ready.status(), ready.text().as_str()),
        (503, "no good configuration yet\n")
    );
    assert_eq!(pointsman.status()["phase"], "starting");
}

#[test]
fn a_swap_logs_one_line_and_an_equal_value_makes_none() {
    let origin = Origin::saying("web");
    let pointsman = Pointsman::builder()
        .service(
            &Service::http("web")
                .hosts("web.test")
                .upstream(origin.addr()),
        )
        .args(&["--log-format", "json"])
        .start();
    let swaps = || -> Vec<Value> {
        pointsman
            .log()
            // The last one may be on its way.
            .split_inclusive('\n')
            .filter(|line| line.ends_with('\n'))
            .map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}")))
            .filter(|line: &Value| line["message"] == "swapped")
            .collect()
    };
    let generation = || pointsman.status()["generation"].as_u64().expect("a number");
    assert_eq!(generation(), 1);
    pointsman.put("services/web/balance", "source");
    wait_until("the second generation", || generation() == 2);
    wait_until("its line", || swaps().len() == 2);
    let swap = swaps().pop().expect("the second");
    for (field, value) in [
        ("generation", 2),
        ("services", 1),
        ("changed", 1),
        ("removed", 0),
        ("opened", 0),
        ("closed", 0),
        ("refused", 0),
    ] {
        assert_eq!(swap[field], value, "{field}: {swap}");
    }
    assert_eq!(swap["level"], "INFO");

    // The same bytes, a value that renders to another text with the same meaning, and then a mark
    // by which we know that both were seen.
    let revision = || pointsman.status()["revision"].as_u64().expect("a number");
    for value in ["source", "SOURCE"] {
        pointsman.put("services/web/balance", value);
    }
    let before = revision();
    pointsman.put("services/web/retries", "1");
    wait_until("the mark", || revision() > before && generation() > 2);
    assert_eq!(generation(), 3);
    wait_until("its line", || swaps().len() == 3);
}

#[test]
fn a_kept_connection_gets_one_more_answer_at_the_end() {
    let origin = Origin::saying("here");
    let mut pointsman = Pointsman::builder().start();
    pointsman.put_service(
        &Service::http("web")
            .hosts("web.test")
            .upstream(origin.addr()),
    );
    pointsman.wait_for_text("web.test", "/", "here");
    let (mut busy, mut idle) = (pointsman.client(), pointsman.client());
    busy.get("web.test", "/");
    idle.get("web.test", "/");
    pointsman.terminate();
    wait_until("it drains", || pointsman.log().contains("draining"));
    wait_until("it takes no connections", || {
        Client::try_connect(pointsman.http()).is_err()
    });
    let last = busy.get("web.test", "/");
    assert_eq!(
        (last.status(), last.header("connection")),
        (200, Some("close"))
    );
    busy.assert_closed();
    idle.assert_closed();
    assert_eq!(pointsman.wait().code(), Some(0));
}

#[test]
fn sigterm_ends_it_in_good_order() {
    let mut pointsman = Pointsman::builder().start();
    pointsman.terminate();
    assert_eq!(pointsman.wait().code(), Some(0));
    let log = pointsman.log();
    assert!(
        log.contains("told to end: draining") && log.contains(" ended"),
        "{log}"
    );
}

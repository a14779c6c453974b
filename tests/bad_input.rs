//! Bad input: what its writer is told, in three places and in the same words, and that traffic,
//! listeners, health and the saved config stay as they were until it is mended.

mod support;

use std::fs;
use std::net::TcpListener;
use std::time::{Duration, Instant};

use pointsman::config::{BALANCER_FIELDS, SERVICE_FIELDS};
use pointsman::diag::Diagnostic;
use serde_json::Value;
use support::client::Client;
use support::origin::{Conn, Origin};
use support::pointsman::{Pointsman, Service, local};
use support::{free_port, wait_until};

/// A bad value of one key of a [`Town`], and the line its writer reads.
struct Case {
    unit: &'static str,
    key: &'static str,
    value: Vec<u8>,
    line: String,
}

fn case(unit: &'static str, key: &'static str, value: impl AsRef<[u8]>, line: &str) -> Case {
    Case {
        unit,
        key,
        value: value.as_ref().to_vec(),
        line: line.to_owned(),
    }
}

/// Two HTTP and two TCP services that work.
struct Town {
    pointsman: Pointsman,
    web: Origin,
    near: Origin,
    _echo: Origin,
    db: u16,
    far: u16,
}

impl Town {
    fn start(args: &[&str]) -> Self {
        let (web, near) = (Origin::saying("web"), Origin::saying("near"));
        let echo = Origin::scripted(echo);
        let (db, far) = (free_port(), free_port());
        let pointsman = Pointsman::builder()
            .service(&Service::http("web").hosts("web.test").upstream(web.addr()))
            // Checked by connects, so that there is a health to keep.
            .service(
                &Service::http("near")
                    .hosts("near.test")
                    .without("health_check")
                    .upstream(near.addr()),
            )
            .service(&Service::tcp("db", db).upstream(echo.addr()))
            .service(&Service::tcp("far", far).upstream(echo.addr()))
            .setting("timeout_server", "30s")
            .args(args)
            .start();
        let town = Self {
            pointsman,
            web,
            near,
            _echo: echo,
            db,
            far,
        };
        wait_until("a checked upstream is up", || {
            town.pointsman.status().to_string().contains("\"up\"")
        });
        town.pointsman.wait_for_port(town.db);
        town.pointsman.wait_for_port(town.far);
        // The disk follows the swap on a thread of its own.
        let revision = format!("{{\"revision\":{}}}\n", town.pointsman.status()["revision"]);
        wait_until("the first config is saved", || {
            town.saved().ends_with(&revision)
        });
        town
    }

    /// Everybody is served by whom they were served before.
    fn assert_served(&self) {
        let said = |host| self.pointsman.get(host, "/").text();
        assert_eq!(said("web.test"), "web");
        self.assert_neighbours_served();
    }

    fn assert_neighbours_served(&self) {
        assert_eq!(self.pointsman.get("near.test", "/").text(), "near");
        assert_eq!(self.pointsman.get("other.test", "/").status(), 404);
        for port in [self.db, self.far] {
            assert_eq!(
                Client::connect(local(port)).send("ping").exactly(4),
                b"ping"
            );
        }
    }

    /// What has to be the same before and after something was refused.
    fn standing(&self) -> Standing {
        let status = self.pointsman.status();
        let services = status["services"].as_array().expect("services");
        let services = services.iter().map(|service| {
            let upstreams = service["upstreams"].as_array().expect("upstreams");
            let health = |u: &Value| format!("{} {} {}", u["name"], u["address"], u["health"]);
            let upstreams: Vec<_> = upstreams.iter().map(health).collect();
            format!("{} {upstreams:?}", service["unit"])
        });
        Standing {
            generation: status["generation"].as_u64().expect("a generation"),
            services: services.collect(),
            saved: self.saved(),
        }
    }

    fn saved(&self) -> String {
        let files = fs::read_dir(self.pointsman.state_dir()).expect("the state directory");
        let mut files = files.map(|file| file.expect("a file").path());
        let saved = files.find(|path| path.extension().is_some_and(|e| e == "jsonl"));
        fs::read_to_string(saved.expect("a saved config")).expect("the saved config")
    }

    fn refusal(&self, unit: &str) -> Option<Value> {
        let status = self.pointsman.status();
        let refused = status["refused"].as_array().expect("refusals");
        refused.iter().find(|r| r["unit"] == unit).cloned()
    }

    fn wait_for_refusal(&self, unit: &str) -> Value {
        wait_until(&format!("{unit} is refused"), || {
            self.refusal(unit).is_some()
        });
        self.refusal(unit).expect("it was there")
    }

    fn wait_until_healed(&self) {
        wait_until("nothing is refused", || {
            self.pointsman.status()["refused_total"] == 0
        });
    }

    /// The writer reads the same line in the status, in `check` and in the log.
    fn assert_told(&self, unit: &str, serving: &str, line: &str) {
        let refusal = self.wait_for_refusal(unit);
        assert_eq!(lines_of(&refusal["diagnostics"]), [line], "in the status");
        assert_eq!(refusal["serving"], serving, "{line}");
        self.assert_check_says(line);
        self.wait_for_log(&format!("reason={line:?}"));
    }

    fn assert_check_says(&self, line: &str) {
        let check = self.pointsman.look("check", &[]);
        let text = String::from_utf8_lossy(&check.stdout).into_owned();
        assert!(text.lines().any(|l| l == line), "want {line}\nhave {text}");
        assert_eq!(check.status.code(), Some(1), "{text}");
    }

    fn wait_for_log(&self, text: &str) {
        wait_until(&format!("{text} in the log"), || {
            self.pointsman.log().contains(text)
        });
    }
}

#[derive(Debug, PartialEq)]
struct Standing {
    generation: u64,
    services: Vec<String>,
    saved: String,
}

/// Sends everything back.
fn echo(conn: &mut Conn) {
    loop {
        let some = conn.some();
        if some.is_empty() {
            return;
        }
        conn.send(&some);
    }
}

fn lines_of(diagnostics: &Value) -> Vec<String> {
    let list: Vec<Diagnostic> = serde_json::from_value(diagnostics.clone()).expect("diagnostics");
    list.iter().map(ToString::to_string).collect()
}

#[test]
fn a_bad_value_is_told_everywhere_and_changes_nothing_until_it_is_mended() {
    let town = Town::start(&[]);
    let pointsman = &town.pointsman;
    let before = town.standing();
    for case in cases(&town) {
        let path = pointsman.keys_dir().join(case.key);
        let good = fs::read(&path).ok();
        pointsman.put(case.key, &case.value);
        town.assert_told(case.unit, "last-good", &case.line);
        town.assert_served();
        match good {
            Some(good) => pointsman.put(case.key, good),
            None => pointsman.remove(case.key),
        }
        town.wait_until_healed();
        town.assert_served();
        assert_eq!(town.standing(), before, "after {}", case.line);
    }

    // The saved config is written in order: if the next change stands right behind what was there,
    // nothing was written in between.
    pointsman.put_service(&Service::http("last").hosts("last.test"));
    wait_until("the next change is saved", || {
        town.saved().len() > before.saved.len()
    });
    let saved = town.saved();
    let new = saved.strip_prefix(&before.saved).expect("what was there");
    assert!(
        new.starts_with(r#"{"unit":{"name":"services/last""#),
        "{new}"
    );
}

fn cases(town: &Town) -> Vec<Case> {
    let (http, stats) = (town.pointsman.http(), town.pointsman.stats());
    let taken = |port: u16, by: &str, help: &str| {
        let line = format!(
            "error: tcp-services/far: port {port} is taken by {by} \
             (key tcp-services/far/external_port); {help}"
        );
        case(
            "tcp-services/far",
            "tcp-services/far/external_port",
            port.to_string(),
            &line,
        )
    };
    vec![
        case(
            "services/web",
            "services/web/balance",
            "leastcom",
            "error: services/web:4:12: balance \"leastcom\" is unknown (key services/web/balance); \
             did you mean \"leastconn\"?",
        ),
        case(
            "services/web",
            "services/web/balance",
            "fastest",
            "error: services/web:4:12: balance \"fastest\" is unknown (key services/web/balance); \
             it is one of roundrobin, source, leastconn, random",
        ),
        case(
            "services/web",
            "services/web/cookie",
            "SRV insrt indirect",
            "error: services/web:4:11: cookie \"insrt\" is unknown (key services/web/cookie); \
             did you mean \"insert\"?",
        ),
        case(
            "services/web",
            "services/web/cookie",
            "SRV prefix secure",
            "error: services/web:4:11: cookie has secure, which says nothing without insert \
             (key services/web/cookie); \
             remove secure: the application decides on a cookie that it sets itself",
        ),
        case(
            "services/web",
            "services/web/cookie_value",
            "hidden",
            "error: services/web:4:17: cookie_value \"hidden\" is unknown \
             (key services/web/cookie_value); it is one of name, opaque",
        ),
        case(
            "services/web",
            "services/web/sticky_session_cookie",
            "my session",
            "error: services/web:5:26: sticky_session_cookie \"my session\" is no name of a cookie \
             (key services/web/sticky_session_cookie); \
             ' ' cannot be in it; letters, digits, - _ and . can",
        ),
        case(
            "services/web",
            "services/web/virtual_hosts",
            "web.test, www example.com",
            "error: services/web:7:18: virtual_hosts \"www example.com\" is no host name \
             (key services/web/virtual_hosts); it has a space; put a comma between two hosts",
        ),
        case(
            "services/web",
            "services/web/virtual_path",
            "api",
            "error: services/web:8:17: virtual_path \"api\" is no path \
             (key services/web/virtual_path); a path starts with a slash: \"/api\"",
        ),
        case(
            "services/web",
            "services/web/upstreams/a",
            "back end:80",
            "error: services/web:6:10: upstreams.a \"back\" is no address \
             (key services/web/upstreams/a); the port is missing; write back:80 if it is 80",
        ),
        case(
            "services/web",
            "services/web/upstreams/a",
            "backend:http",
            "error: services/web:6:10: upstreams.a \"backend:http\" has a port that cannot be \
             (key services/web/upstreams/a); write a number from 1 to 65535",
        ),
        case(
            "services/web",
            "services/web/upstreams/a",
            "_http._tcp.backend",
            "error: services/web:6:10: upstreams.a \"_http._tcp.backend\" is no address \
             (key services/web/upstreams/a); the port is missing; \
             write srv:_http._tcp.backend if SRV records say it",
        ),
        case(
            "services/web",
            "services/web/upstreams/a",
            "back*.end:80",
            "error: services/web:6:10: upstreams.a \"back*.end:80\" is no host name \
             (key services/web/upstreams/a); '*' cannot be in one; letters, digits, - and _ can",
        ),
        case(
            "services/web",
            "services/web/upstreams/b",
            "10.0.0.1:0",
            "error: services/web:7:10: upstreams.b \"10.0.0.1:0\" has a port that cannot be \
             (key services/web/upstreams/b); a port goes from 1 to 65535",
        ),
        case(
            "services/web",
            "services/web/upstreams/b",
            "10.0.0.1:99999",
            "error: services/web:7:10: upstreams.b \"10.0.0.1:99999\" has a port that cannot be \
             (key services/web/upstreams/b); a port goes from 1 to 65535",
        ),
        case(
            "services/web",
            "services/web/upstreams/b\"c",
            "10.0.0.1:80",
            "error: services/web:7:13: upstreams \"b\\\"c\" is no name \
             (key services/web/upstreams/b\"c); \
             '\"' cannot be in it; letters, digits, - _ . and the like can",
        ),
        case(
            "services/web",
            "services/web/virtual_hosts",
            vec![b'a'; 10_000_000],
            "error: services/web:29:24: http-service.tera: the value of \
             services/web/virtual_hosts cannot be used: 10000000 bytes, a value has at most \
             1048576 (key services/web/virtual_hosts); write it again, or remove the key",
        ),
        case(
            "services/web",
            "services/web/virtual_hosts",
            vec![b'a'; 500_000],
            "error: services/web:29:24: http-service.tera: the value of \
             services/web/virtual_hosts has 500000 bytes and may have 262144 \
             (key services/web/virtual_hosts)",
        ),
        case(
            "services/web",
            "services/web/virtual_hosts",
            b"web.test,\xff",
            "error: services/web:29:24: http-service.tera: the value of \
             services/web/virtual_hosts is no UTF-8 text from byte 10 on \
             (key services/web/virtual_hosts); write the value again as text",
        ),
        case(
            "services/web",
            "services/web/custom_settings",
            "\n# slower\ntiemout server 90s\n",
            "error: services/web:4:20: custom_settings line 3: \"tiemout\" is unknown \
             (key services/web/custom_settings); did you mean \"timeout\"?",
        ),
        case(
            "services/web",
            "services/web/custom_settings",
            "http-request set-header Transfer-Encoding chunked",
            "error: services/web:4:20: custom_settings line 1: field \"Transfer-Encoding\" cannot be \
             changed (key services/web/custom_settings); it frames the message or belongs to one \
             connection, which no rule may change",
        ),
        case(
            "tcp-services/db",
            "tcp-services/db/custom_settings",
            "timeout tunnel 1h\nredirect scheme https",
            "error: tcp-services/db:4:20: custom_settings line 2: is about HTTP, and this service is \
             TCP (key tcp-services/db/custom_settings); remove the line, or keep the service under \
             services/",
        ),
        case(
            "balancer",
            "settings/custom_settings",
            "acl x src 10.0.0.0/33",
            "error: balancer:2:20: custom_settings line 1: \"10.0.0.0/33\" is no network \
             (key settings/custom_settings); write an address with a prefix length, such as \
             10.0.0.0/8 or fd00::/8",
        ),
        case(
            "balancer",
            "settings/global_settings",
            "maxconn 100\nssl-default-bind-options force-tlsv11",
            "error: balancer:2:20: global_settings line 2: force-tlsv11 asks for a version that nobody \
             is served by: tlsv11 (key settings/global_settings); TLS 1.2 and 1.3 are served; remove \
             the word",
        ),
        case(
            "tcp-services/db",
            "tcp-services/db/external_port",
            "0",
            "error: tcp-services/db:4:18: external_port \"0\" is out of range \
             (key tcp-services/db/external_port); a port goes from 1 to 65535",
        ),
        case(
            "tcp-services/db",
            "tcp-services/db/external_port",
            "99999",
            "error: tcp-services/db:4:18: external_port \"99999\" is out of range \
             (key tcp-services/db/external_port); a port goes from 1 to 65535",
        ),
        case(
            "balancer",
            "settings/timeout_server",
            "5x",
            "error: balancer:2:19: timeout_server \"5x\" is no duration \
             (key settings/timeout_server); \
             write a whole number and a unit: 500ms, 5s, 1m, 2h or 1d",
        ),
        taken(
            town.db,
            "tcp-services/db",
            "choose another external_port for one of the two",
        ),
        taken(
            http.port(),
            &format!("the HTTP listener {http}"),
            "choose another external_port",
        ),
        taken(
            stats.port(),
            &format!("the stats listener {stats}"),
            "choose another external_port",
        ),
    ]
}

#[test]
fn a_new_service_that_is_bad_is_absent_until_it_is_mended() {
    let town = Town::start(&[]);
    let before = town.standing();
    let new = Service::http("new")
        .hosts("new.test")
        .upstream(town.near.addr());
    town.pointsman.put_service(&new.key("balance", "leastcom"));
    town.assert_told(
        "services/new",
        "absent",
        "error: services/new:4:12: balance \"leastcom\" is unknown (key services/new/balance); \
         did you mean \"leastconn\"?",
    );
    assert_eq!(town.pointsman.get("new.test", "/").status(), 404);
    town.assert_served();
    assert_eq!(town.standing(), before);
    town.pointsman.put("services/new/balance", "leastconn");
    town.pointsman.wait_for_text("new.test", "/", "near");
    town.wait_until_healed();
}

#[test]
fn all_problems_of_a_service_are_told_together() {
    let town = Town::start(&[]);
    let bad = Service::http("bad")
        .hosts("a b, c_d, http://x")
        .key("balance", "none")
        .key("health_check_rise", "0")
        .key("upstreams/x", "y");
    town.pointsman.put_service(&bad);
    let refusal = town.wait_for_refusal("services/bad");
    let lines = lines_of(&refusal["diagnostics"]);
    let keys = [
        "balance",
        "health_check_rise",
        "upstreams/x",
        "virtual_hosts",
        "virtual_hosts",
    ];
    assert_eq!(lines.len(), keys.len(), "{lines:#?}");
    for (line, key) in lines.iter().zip(keys) {
        assert!(
            line.contains(&format!("(key services/bad/{key})")),
            "{line}"
        );
        town.assert_check_says(line);
    }
    town.wait_for_log("(and 4 more)");
    town.assert_served();
}

#[test]
fn a_key_that_nothing_reads_is_a_warning() {
    let town = Town::start(&[]);
    let line = "warning: services/web: nothing reads this key (key services/web/balanec); \
                did you mean \"balance\"?";
    town.pointsman.put("services/web/balanec", "source");
    wait_until("the warning is in the status", || {
        lines_of(&town.pointsman.status()["warnings"]) == [line]
    });
    town.wait_for_log(&format!("reason={line:?}"));
    town.assert_served();
    let check = town.pointsman.look("check", &[]);
    let text = String::from_utf8_lossy(&check.stdout);
    assert_eq!(
        text,
        format!("{line}\nok: services 4, certificates 1, warnings 1\n"),
        "{text}"
    );
    assert_eq!(check.status.code(), Some(0));
    town.pointsman.remove("services/web/balanec");
    wait_until("the warning is gone", || {
        town.pointsman.status()["warnings_total"] == 0
    });
    // Revisions that changed nothing leave no generations behind.
    wait_until("no generation is left over", || {
        town.pointsman.status()["draining"] == 0
    });
}

#[test]
fn a_service_that_asks_for_passwords_in_vain_is_closed_and_not_open() {
    let town = Town::start(&[]);
    let closed = "error: services/web: the service is closed: it asks for authentication and was \
                  last accepted without; put the other problems right, or remove what asks for \
                  authentication";
    let good: &[u8] = b"user joe insecure-password sesame";
    let secrets = "services/web/basic_auth_secrets";
    let cases: [(&str, &[u8], &str); 7] = [
        (
            secrets,
            b"user joe",
            "basic_auth_secrets line 1 has no password",
        ),
        (secrets, b"# nobody yet", "basic_auth_secrets names no user"),
        // A file that is about to be written.
        (secrets, b"", "basic_auth_secrets names no user"),
        // Nobody knows what it says, only that it is there.
        (secrets, b"\xff", "is no UTF-8 text"),
        (
            secrets,
            &[b'x'; 2_000_000],
            "2000000 bytes, a value has at most",
        ),
        (
            "services/web/basic_auth_realm",
            b"x",
            "basic_auth_secrets names no user",
        ),
        (
            "services/web/basic_auth_secret",
            good,
            "field \"basic_auth_secret\" is unknown",
        ),
    ];
    for (key, value, told) in cases {
        town.pointsman.put(key, value);
        town.pointsman.wait_for_status("web.test", "/", 503);
        let refusal = town.wait_for_refusal("services/web");
        assert_eq!(refusal["serving"], "absent");
        let lines = lines_of(&refusal["diagnostics"]);
        assert!(lines[0].contains(told), "{lines:#?}");
        assert!(lines.iter().any(|line| line == closed), "{lines:#?}");
        town.assert_check_says(&lines[0]);
        town.assert_neighbours_served();
        wait_until("the open form is out of the saved config", || {
            let saved = town.saved();
            let mut of_unit = saved.lines().filter(|line| line.contains("services/web"));
            let last = of_unit.next_back().unwrap_or_default();
            ["gone", "basic_auth", "# closed"]
                .iter()
                .any(|word| last.contains(word))
        });
        town.pointsman.remove(key);
        town.pointsman.wait_for_text("web.test", "/", "web");
        town.wait_until_healed();
    }
    // What is right about passwords does not count while something else is wrong.
    town.pointsman.put("services/web/balance", "leastcom");
    town.wait_for_refusal("services/web");
    town.assert_served();
    town.pointsman.put(secrets, good);
    town.pointsman.wait_for_status("web.test", "/", 503);
    town.pointsman.remove("services/web/balance");
    town.pointsman.wait_for_status("web.test", "/", 401);
    let asked = town.web.requests().len();
    assert_eq!(town.pointsman.get("web.test", "/").status(), 401);
    assert_eq!(town.web.requests().len(), asked);
    assert!(!town.pointsman.log().contains("sesame"));
    assert!(!town.pointsman.status().to_string().contains("sesame"));
}

#[test]
fn a_port_that_somebody_else_has_is_told_once_and_taken_when_it_is_free() {
    let town = Town::start(&[]);
    let before = town.standing();
    let port = free_port();
    let holder = TcpListener::bind(("0.0.0.0", port)).expect("a port");
    let line = format!(
        "error: tcp-services/far: 0.0.0.0:{port} cannot be bound: Address already in use \
         (os error 98) (key tcp-services/far/external_port); \
         free the port or choose another; it is tried again every few seconds"
    );
    let since = Instant::now();
    town.pointsman
        .put("tcp-services/far/external_port", port.to_string());
    let refusal = town.wait_for_refusal("tcp-services/far");
    assert_eq!(lines_of(&refusal["diagnostics"]), [&*line]);
    assert_eq!(refusal["serving"], "last-good");
    town.wait_for_log(&format!("reason={line:?}"));
    town.assert_served();
    // Two more tries go by, of which nobody hears.
    while since.elapsed() < Duration::from_millis(4500) {
        town.assert_served();
        std::thread::sleep(Duration::from_millis(100));
    }
    let now = town.standing();
    assert_eq!(
        (now.generation, &now.services),
        (before.generation, &before.services)
    );
    assert_eq!(town.pointsman.log().matches("cannot be bound").count(), 1);

    drop(holder);
    town.pointsman.wait_for_port(port);
    town.wait_until_healed();
    town.pointsman.wait_for_no_port(town.far);
}

#[test]
fn a_template_that_does_not_parse_is_told_and_the_one_before_stays() {
    let dir = tempfile::tempdir().expect("a directory");
    let town = Town::start(&["--templates", &dir.path().display().to_string()]);
    let before = town.standing();
    let file = dir.path().join("http-service.tera");
    fs::write(
        &file,
        "---\neach: services/*\n---\nservice:\n  name: {{ name\n",
    )
    .expect("write");
    let status = |field: &str| lines_of(&town.pointsman.status()[field]);
    wait_until("the template is refused", || status("templates").len() == 1);
    let [line] = status("templates").try_into().expect("one problem");
    assert!(
        line.starts_with("error: http-service.tera:5:")
            || line.starts_with("error: http-service.tera:6:"),
        "{line}"
    );
    town.wait_for_log(&line);
    let templates = ["--templates", &dir.path().display().to_string()];
    let check = town.pointsman.look("check", &templates);
    let text = String::from_utf8_lossy(&check.stdout);
    assert!(text.lines().any(|l| l == line), "{text}");
    assert_eq!(check.status.code(), Some(1));
    town.assert_served();
    assert_eq!(town.standing(), before);
    fs::remove_file(&file).expect("remove");
    wait_until("the problem is gone", || status("templates").is_empty());
    town.assert_served();
    assert_eq!(town.standing(), before);
}

#[test]
fn a_template_that_fails_at_a_service_refuses_that_service_alone() {
    let dir = tempfile::tempdir().expect("a directory");
    let town = Town::start(&["--templates", &dir.path().display().to_string()]);
    let before = town.standing();
    // Loops over a listing that has nothing, and over a name that does not exist.
    let text = |more: &str| {
        format!(
            "---\neach: services/*\n---\nservice:\n  name: {{{{ name }}}}\n\
             {{%- for key in [\"health_check\", \"virtual_hosts\"] %}}\n  {{{{ key | safe }}}}: \
             {{{{ getv(key=key, default=\"\") }}}}\n{{%- endfor %}}\n  upstreams:\n\
             {{%- for u in gets(pattern=\"upstreams/*\") %}}\n    {{{{ u.name }}}}: \
             {{{{ u.value }}}}\n{{%- endfor %}}\n\
             {{%- for item in gets(pattern=\"nothing/*\") %}}{{{{ item.value }}}}{{% endfor %}}\n{more}\n"
        )
    };
    let file = dir.path().join("http-service.tera");
    let nothing =
        "{% if name == \"web\" %}{% for x in no_such_list %}{{ x }}{% endfor %}{% endif %}";
    fs::write(&file, text(nothing)).expect("write");
    let refusal = town.wait_for_refusal("services/web");
    let line = "error: services/web:14:35: http-service.tera: Iteration not possible on type \
                `undefined`; line and column are those of http-service.tera";
    assert_eq!(lines_of(&refusal["diagnostics"]), [line]);
    assert_eq!(refusal["serving"], "last-good");
    assert_eq!(town.pointsman.status()["refused_total"], 1);
    town.wait_for_log(&format!("reason={line:?}"));
    town.assert_served();
    let now = town.standing();
    assert_eq!(now.services, before.services);
    fs::write(&file, text("")).expect("write");
    town.wait_until_healed();
    town.assert_served();
}

/// A wrong value for every field that a service or the balancer can have. A new field fails
/// [`every_key_refuses_a_wrong_value_and_the_service_stays_as_it_was`] until it has one here.
const WRONG: &[(&str, &str)] = &[
    ("balance", "fastest"),
    ("virtual_hosts", "www example.com"),
    ("virtual_host_regex", "(unclosed"),
    ("virtual_path", "api"),
    ("keep_virtual_path", "maybe"),
    ("context_root_rewrite", "maybe"),
    ("match", "{ method GET"),
    ("priority", "high"),
    ("default", "perhaps"),
    ("external_port", "70000"),
    ("health_check", "udp"),
    ("health_check_uri", "health"),
    ("health_check_port", "0"),
    ("health_check_interval", "fast"),
    ("health_check_timeout", "1y"),
    ("health_check_rise", "0"),
    ("health_check_fall", "many"),
    ("warm_up", "2h"),
    ("timeout_connect", "soon"),
    ("timeout_server", "5x"),
    ("timeout_client", "-1s"),
    ("timeout_tunnel", "99999999d"),
    ("timeout_queue", "0"),
    ("retries", "often"),
    ("max_connections", "-5"),
    ("max_queue", "1.5"),
    ("send_proxy", "v3"),
    ("upstream_tls", "perhaps"),
    ("upstream_tls_ca", "-----BEGIN CERTIFICATE-----"),
    ("upstream_tls_name", "*.app.test"),
    ("upstream_tls_certificate", "no PEM"),
    ("upstream_tls_verify", "seldom"),
    ("access_log", "sometimes"),
    ("allow", "10.0.0.0/40"),
    ("deny", "everybody"),
    ("redirects", "/old"),
    ("redirect_code", "200"),
    ("force_ssl", "please"),
    ("force_ssl_port", "https"),
    ("request_headers", "set Content-Length: 5"),
    ("response_headers", "put X-A: b"),
    ("pass_host_header", "flase"),
    ("max_body_size", "huge"),
    ("maintenance", "soon"),
    ("error_pages/299", "<p>no such status</p>"),
    ("cookie", "cookie A sometimes"),
    ("cookie_value", "secret"),
    ("sticky_session_cookie", "a b"),
    ("basic_auth_secrets", "anna"),
    ("basic_auth_realm", "a \"quote\""),
    ("basic_auth_forward", "perhaps"),
    ("ssl_client_ca", "the certificate"),
    ("ssl_client_verify", "perhaps"),
    ("custom_settings", "tiemout server 5s"),
    ("drain", "web-1,,web-2"),
    ("upstreams/a", "nowhere:http"),
    ("compat", "haproxy"),
    ("timeout_head", "later"),
    ("timeout_handshake", "0"),
    ("max_handshakes", "0"),
    ("timeout_idle", "8 days"),
    ("timeout_drain", "30 d"),
    ("max_head_size", "1g"),
    ("max_headers", "0"),
    ("trusted_proxies", "private"),
    ("accept_proxy", "true"),
    ("health_uri", "health"),
    ("ready_uri", "ready"),
    ("stats_uri", "stats"),
    ("stats_auth", "nobody"),
    ("stats_password", "secret"),
    ("acme/a b", "x"),
    ("access_log_format", "yaml"),
    ("access_log_sample", "150%"),
    ("info_headers", "x-secret"),
    ("ssl_default_certificate", "certs/www"),
    ("force_ssl_code", "302"),
    ("hsts", "for ever"),
    ("ssl_unknown_name", "rejekt"),
    ("ssl_ticket_lifetime", "8 days"),
    ("ssl_ciphers", "stricter"),
    ("ssl_min_version", "1.1"),
    ("dns_servers", "ns.internal"),
    ("dns_interval", "10ms"),
    ("dns_timeout", "1m"),
    ("ssl_passthrough", "sometimes"),
    ("global_settings", "maxxconn 5"),
];

/// Fields that need another key beside them to be asked for at all.
fn beside(field: &str) -> &'static [(&'static str, &'static str)] {
    match field {
        "redirect_code" => &[("redirects", "/old,/new")],
        "cookie_value" => &[("cookie", "")],
        "basic_auth_realm" | "basic_auth_forward" => {
            &[("basic_auth_secrets", "user anna insecure-password secret")]
        }
        _ => &[],
    }
}

#[test]
fn every_key_refuses_a_wrong_value_and_the_service_stays_as_it_was() {
    let town = Town::start(&[]);
    let pointsman = &town.pointsman;
    let mut asked = 0;
    for (unit, dir, fields) in [
        ("services/web", "services/web", SERVICE_FIELDS),
        (
            "tcp-services/far",
            "tcp-services/far",
            &["external_port"][..],
        ),
        ("balancer", "settings", BALANCER_FIELDS),
    ] {
        for field in fields {
            let is_tcp_only = *field == "external_port" && dir == "services/web";
            // The directory says the name and the mode.
            if ["name", "mode"].contains(field) || is_tcp_only {
                continue;
            }
            let wrong = WRONG
                .iter()
                .find(|(key, _)| key.split('/').next() == Some(field));
            let (key, value) = wrong.unwrap_or_else(|| panic!("no wrong value of {field}"));
            let dir = if key.starts_with("acme/") { "" } else { dir };
            let path = |key: &str| format!("{dir}/{key}").trim_start_matches('/').to_owned();
            let mut put = Vec::new();
            for (name, value) in beside(field).iter().chain([&(*key, *value)]) {
                let file = pointsman.keys_dir().join(path(name));
                put.push((path(name), fs::read(&file).ok()));
                fs::create_dir_all(file.parent().expect("a directory")).expect("a directory");
                pointsman.put(&path(name), value);
            }
            let refusal = town.wait_for_refusal(unit);
            let told = lines_of(&refusal["diagnostics"]).join("\n");
            assert!(told.contains(field), "{field}: {told}");
            town.assert_check_says(told.lines().next().expect("a line"));
            match field.starts_with("basic_auth") || field.starts_with("ssl_client") {
                // It asked who it is, so it is closed and not as it was.
                true => assert_ne!(pointsman.get("web.test", "/").text(), "web", "{field}"),
                false => {
                    assert_eq!(refusal["serving"], "last-good", "{field}: {refusal:#}");
                    assert_eq!(pointsman.get("web.test", "/").text(), "web", "{field}");
                }
            }
            town.assert_neighbours_served();
            for (key, good) in put.into_iter().rev() {
                match good {
                    Some(good) => pointsman.put(&key, good),
                    None => pointsman.remove(&key),
                }
            }
            town.wait_until_healed();
            town.assert_served();
            asked += 1;
        }
    }
    assert!(asked > 60, "only {asked} keys were asked");
}

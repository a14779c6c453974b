//! What docs/monitoring has for Prometheus and Grafana is about metrics that there are, and Prometheus' own tool finds
//! nothing to say about either.

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::process::{Command, Stdio};

use support::certs::Leaf;
use support::client::get;
use support::origin::Origin;
use support::pointsman::{Pointsman, Service};

fn scrape() -> String {
    let origin = Origin::saying("here");
    let balancer = Pointsman::builder().start();
    let port = support::free_port();
    balancer.put_service(
        &Service::http("web")
            .hosts("web.test")
            .upstream(origin.addr()),
    );
    balancer.put_service(&Service::tcp("db", port).upstream(origin.addr()));
    balancer.put("certs/www", Leaf::of(&["www.test"]).alone().pem());
    balancer.put("services/bad/balance", "sideways");
    balancer.wait_for_text("web.test", "/", "here");
    balancer.wait_for_status_words(&["services/bad"]);
    get(balancer.stats(), "localhost", "/metrics")
        .text()
        .to_owned()
}

/// Names of ours, and of the process.
fn names(text: &str) -> BTreeSet<&str> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let words = text.split(|c: char| !is_part(c));
    words
        .filter(|word| word.starts_with("pointsman_") || word.starts_with("process_"))
        .collect()
}

fn promtool(args: &[&str], input: &str) -> String {
    let mut tool = Command::new("promtool")
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool; scripts/needs installs it");
    let mut stdin = tool.stdin.take().expect("a pipe");
    stdin.write_all(input.as_bytes()).expect("written");
    drop(stdin);
    let output = tool.wait_with_output().expect("it ends");
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8(said).expect("text");
    assert!(output.status.success(), "promtool {args:?}: {said}");
    said
}

#[test]
fn promtool_finds_nothing_to_say_about_the_metrics() {
    assert_eq!(promtool(&["check", "metrics"], &scrape()), "");
}

#[test]
fn alerts_and_dashboard_ask_for_metrics_that_there_are() {
    promtool(&["check", "rules", "docs/monitoring/alerts.yml"], "");
    let scrape = scrape();
    let known = names(&scrape);
    for file in ["alerts.yml", "grafana.json"] {
        let text = fs::read_to_string(format!("docs/monitoring/{file}")).expect("a file");
        let asked = names(&text);
        assert!(asked.len() > 5, "{file}: {asked:?}");
        let unknown: Vec<_> = asked.difference(&known).collect();
        assert!(unknown.is_empty(), "{file} asks for {unknown:?}");
    }
    let dashboard = fs::read_to_string("docs/monitoring/grafana.json").expect("a file");
    let dashboard: serde_json::Value = serde_json::from_str(&dashboard).expect("JSON");
    let panels = dashboard["panels"].as_array().expect("panels");
    for panel in panels {
        let targets = panel["targets"].as_array().expect("targets");
        assert!(!targets.is_empty(), "{panel}");
        for target in targets {
            let query = target["expr"].as_str().expect("a query");
            // The panel's variables, as Grafana would put them in.
            let query = query.replace("$__rate_interval", "1m");
            let query = ["$job", "$instance", "$service"]
                .iter()
                .fold(query, |query, name| query.replace(name, ".*"));
            let rule = format!(
                "groups:\n- name: panel\n  rules:\n  - record: panel\n    expr: {query:?}\n"
            );
            let file = tempfile::NamedTempFile::new().expect("a file");
            fs::write(file.path(), rule).expect("written");
            promtool(
                &["check", "rules", file.path().to_str().expect("a path")],
                "",
            );
        }
    }
}

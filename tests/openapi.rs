//! docs/openapi.json says what the API is: it has every route and no other, and what a node answers is what it says.

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use support::certs::Leaf;
use support::client::get;
use support::origin::Origin;
use support::pointsman::{Pointsman, Service};
use support::wait_until;

fn document() -> Value {
    let text = fs::read_to_string("docs/openapi.json").expect("the document");
    serde_json::from_str(&text).expect("JSON")
}

/// What stands in `.route("...")` below a folder.
fn routes(folder: &Path, found: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            routes(&path, found);
        } else if path.extension().is_some_and(|kind| kind == "rs") {
            let text: String = fs::read_to_string(&path)
                .expect("text")
                .split_whitespace()
                .collect();
            let quoted = text.split(".route(\"").skip(1);
            let paths = quoted.filter_map(|rest| rest.split('"').next());
            found.extend(
                paths
                    .filter(|path| path.starts_with("/v1/"))
                    .map(str::to_owned),
            );
        }
    }
}

#[test]
fn the_document_has_every_route_and_no_other() {
    let mut found = BTreeSet::new();
    routes(Path::new("src/admin"), &mut found);
    assert!(found.len() > 15, "{found:?}");
    assert!(found.remove("/v1/openapi.json"), "it is served");
    let document = document();
    let paths = document["paths"].as_object().expect("paths");
    let told: BTreeSet<String> = paths.keys().cloned().collect();
    assert_eq!(told, found);
    let mut ids = BTreeSet::new();
    for (path, methods) in paths {
        for (method, operation) in methods.as_object().expect("methods") {
            let id = operation["operationId"].as_str().expect("an id");
            assert!(ids.insert(id), "{id} is there twice");
            let parameters = operation["parameters"].as_array();
            let in_path: BTreeSet<_> = parameters
                .into_iter()
                .flatten()
                .filter(|parameter| parameter["in"] == "path")
                .map(|parameter| format!("{{{}}}", parameter["name"].as_str().expect("a name")))
                .collect();
            let named: BTreeSet<_> = path
                .split('/')
                .filter(|part| part.starts_with('{'))
                .map(str::to_owned)
                .collect();
            assert_eq!(in_path, named, "{method} {path}");
        }
    }
}

/// Checks answers by Python's jsonschema: ours would only check itself.
const CHECK: &str = r#"
import json, sys
import jsonschema
document, answers = json.load(open(sys.argv[1])), json.load(open(sys.argv[2]))
names = set()
for answer in answers:
    operation = document["paths"][answer["path"]][answer["method"]]
    response = operation["responses"].get(str(answer["status"]))
    where = "%s %s -> %s" % (answer["method"], answer["asked"], answer["status"])
    assert response, where + " is not in the document"
    schema = response["content"]["application/json"]["schema"]
    schema = {**schema, "components": document["components"]}
    validator = jsonschema.Draft202012Validator(schema, format_checker=jsonschema.FormatChecker())
    errors = ["%s: %s" % ("/".join(map(str, e.absolute_path)), e.message) for e in validator.iter_errors(answer["body"])]
    assert not errors, "%s: %s" % (where, errors[:5])
    names.add(answer["path"])
print(len(names))
"#;

#[test]
fn what_a_node_answers_is_what_the_document_says() {
    let origin = Origin::saying("here");
    let balancer = Pointsman::builder().node("n1").start();
    let port = support::free_port();
    balancer.put_service(
        &Service::http("web")
            .hosts("web.test, *.x.test")
            .upstream(origin.addr()),
    );
    balancer.put_service(&Service::tcp("db", port).upstream(origin.addr()));
    balancer.put("services/empty/virtual_hosts", "empty.test");
    balancer.put("services/held/virtual_hosts", "held.test");
    balancer.put(
        "services/held/upstreams/a",
        format!("{} weight=0", origin.addr()),
    );
    balancer.put("certs/www", Leaf::of(&["www.test"]).alone().pem());
    balancer.wait_for_text("web.test", "/", "here");
    balancer.wait_for_port(port);
    balancer.put("services/web/balance", "sideways");
    balancer.wait_for_status_words(&["services/web"]);
    wait_until("figures of a time are there", || {
        let page = get(
            balancer.stats(),
            "localhost",
            "/v1/running/services/http/web",
        );
        serde_json::from_str::<Value>(&page.text()).expect("JSON")["p99_ms"].is_number()
    });

    let document = document();
    let paths = document["paths"].as_object().expect("paths");
    let asked: BTreeMap<&str, &[&str]> = [
        (
            "/v1/overview",
            &["/v1/overview", "/v1/overview?history=1", "/v1/overview?x=1"][..],
        ),
        (
            "/v1/running/services",
            &[
                "/v1/running/services",
                "/v1/running/services?state=refused&sort=p99&order=desc&page=1&size=2",
                "/v1/running/services?sort=none",
            ],
        ),
        (
            "/v1/running/services/{mode}/{name}",
            &[
                "/v1/running/services/http/web",
                "/v1/running/services/tcp/db",
                "/v1/running/services/http/empty",
                "/v1/running/services/http/nobody",
                "/v1/running/services/udp/web",
            ],
        ),
        (
            "/v1/running/upstreams",
            &[
                "/v1/running/upstreams",
                "/v1/running/upstreams?state=drained",
            ],
        ),
        (
            "/v1/services/{name}",
            &["/v1/services/web", "/v1/services/nobody"],
        ),
    ]
    .into();
    let mut answers = Vec::new();
    for (path, methods) in paths {
        let content = &methods["get"]["responses"]["200"]["content"];
        if content["application/json"].is_null() {
            continue;
        }
        let usual = [path.as_str()];
        for asked in asked.get(path.as_str()).copied().unwrap_or(&usual) {
            let answer = get(balancer.stats(), "localhost", asked);
            let body: Value = serde_json::from_str(&answer.text()).expect("JSON");
            answers.push(json!({
                "path": path, "method": "get", "asked": asked, "status": answer.status(), "body": body,
            }));
        }
    }
    assert!(answers.len() > 18, "{}", answers.len());
    let put = support::client::exchange(
        balancer.stats(),
        "PUT /v1/services/web HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
    );
    let body: Value = serde_json::from_str(&put.text()).expect("JSON");
    answers.push(json!({
        "path": "/v1/services/{name}", "method": "put", "asked": "without a token", "status": put.status(), "body": body,
    }));
    let file = tempfile::NamedTempFile::new().expect("a file");
    fs::write(file.path(), Value::Array(answers).to_string()).expect("written");
    // The one that has what scripts/needs installs.
    let output = Command::new("/usr/bin/python3")
        .args(["-W", "ignore", "-c", CHECK, "docs/openapi.json"])
        .arg(file.path())
        .output()
        .expect("python3");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let checked: usize = String::from_utf8_lossy(&output.stdout)
        .trim()
        .parse()
        .expect("a count");
    assert!(checked >= 13, "{checked}");
    let served = get(balancer.stats(), "localhost", "/v1/openapi.json");
    let served: Value = serde_json::from_str(&served.text()).expect("JSON");
    assert_eq!(served, document);
}

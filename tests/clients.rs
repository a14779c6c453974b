//! Programs that people use: curl, requests, Chromium and varnishtest as clients; nginx and Apache as
//! upstreams. What they see has to be what they would see without a balancer, and what was asked for.

mod support;

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use support::origin::Origin;
use support::pointsman::{Builder, Pointsman, Service, local};
use support::{free_port, wait_until};
use tempfile::TempDir;

/// An upstream that somebody else wrote.
struct Server {
    _process: Ended,
    _dir: TempDir,
    address: SocketAddr,
}

/// A process that ends with the test.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        // Not SIGKILL: its own children have to end too.
        let pid = rustix::process::Pid::from_child(&self.0);
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let _ = self.0.wait();
    }
}

impl Server {
    /// `config` is the text of its configuration, with DIR and PORT to be filled in.
    fn start(command: impl Fn(&Path) -> Command, config: &str, name: &str) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let address = local(free_port());
        let text = config
            .replace("DIR", shown(dir.path()))
            .replace("PORT", &address.port().to_string());
        let path = |name: &str| dir.path().join(name);
        fs::write(path("conf"), text).expect("write");
        for part in ["www/private", "www/new", "logs"] {
            fs::create_dir_all(path(part)).expect("a directory");
        }
        let page = fs::read(file("page.html")).expect("the page");
        fs::write(path("www/index.html"), page).expect("write");
        fs::write(path("www/new/x"), name).expect("write");
        fs::write(path("www/long.txt"), format!("{name}\n").repeat(1000)).expect("write");
        let log = fs::File::create(path("log")).expect("a log");
        let child = command(&path("conf"))
            .env("PATH", with_sbin())
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("the log once more"))
            .stderr(log)
            .spawn()
            .unwrap_or_else(|e| panic!("{name}: {e}; scripts/needs installs it"));
        let log = path("log");
        wait_until(&format!("{name} listens"), || {
            let is_there = TcpStream::connect(address).is_ok();
            if !is_there {
                println!("{}", fs::read_to_string(&log).unwrap_or_default());
            }
            is_there
        });
        Self {
            _process: Ended(child),
            _dir: dir,
            address,
        }
    }

    fn nginx() -> Self {
        let config = "daemon off; master_process off; pid DIR/pid; error_log DIR/logs/error;\n\
            events {}\n\
            http {\n\
              access_log off; client_body_temp_path DIR/logs/b; proxy_temp_path DIR/logs/p;\n\
              fastcgi_temp_path DIR/logs/f; uwsgi_temp_path DIR/logs/u; scgi_temp_path DIR/logs/s;\n\
              types { text/html html; text/plain txt; }\n\
              gzip on; gzip_types text/plain; gzip_proxied any; gzip_http_version 1.0;\n\
              server { listen 127.0.0.1:PORT; root DIR/www;\n\
                location = /who { return 200 nginx; }\n\
              }\n\
            }\n";
        let command = |conf: &Path| {
            let mut command = Command::new("nginx");
            command.arg("-c").arg(conf);
            command
        };
        Self::start(command, config, "nginx")
    }

    fn apache() -> Self {
        let config = "ServerRoot DIR\nPidFile DIR/pid\nListen 127.0.0.1:PORT\nServerName apache.test\n\
            ErrorLog DIR/logs/error\nDocumentRoot DIR/www\nDefaultRuntimeDir DIR/logs\n\
            LoadModule mpm_event_module /usr/lib/apache2/modules/mod_mpm_event.so\n\
            LoadModule authz_core_module /usr/lib/apache2/modules/mod_authz_core.so\n\
            LoadModule mime_module /usr/lib/apache2/modules/mod_mime.so\n\
            LoadModule dir_module /usr/lib/apache2/modules/mod_dir.so\n\
            TypesConfig /etc/mime.types\nDirectoryIndex index.html\n\
            <Directory DIR/www>\nRequire all granted\n</Directory>\n";
        let command = |conf: &Path| {
            let mut command = Command::new("apache2");
            command.arg("-DFOREGROUND").arg("-f").arg(conf);
            command
        };
        Self::start(command, config, "apache")
    }

    fn whoami(name: &str) -> Self {
        let name = name.to_owned();
        let command = move |conf: &Path| {
            let mut command = support::command();
            let address = fs::read_to_string(conf).expect("the address");
            command.args(["whoami", "--name", &name, "--listen", address.trim()]);
            command
        };
        Self::start(command, "127.0.0.1:PORT", "whoami")
    }
}

/// Everything that the clients of these tests look at.
struct Town {
    pointsman: Pointsman,
    /// Where the browser's page tells what it saw.
    seen: Origin,
    _servers: Vec<Server>,
}

impl Town {
    fn start() -> Self {
        let (nginx, apache) = (Server::nginx(), Server::apache());
        let (a, b) = (Server::whoami("a"), Server::whoami("b"));
        let redirects = "nginx.test/old,/new;browser.test/old,/new";
        let builder = Pointsman::builder()
            .service(
                &Service::http("nginx")
                    .hosts("nginx.test")
                    .upstream(nginx.address),
            )
            .service(
                &Service::http("apache")
                    .hosts("apache.test")
                    .upstream(apache.address),
            )
            .service(
                &Service::http("whoami")
                    .hosts("whoami.test")
                    .upstream(a.address),
            )
            .service(
                &Service::http("small")
                    .hosts("small.test")
                    .key("max_body_size", "1k")
                    .upstream(a.address),
            )
            .service(
                &Service::http("sticky")
                    .hosts("sticky.test")
                    .key("cookie", "")
                    .upstream(a.address)
                    .upstream(b.address),
            )
            .service(
                &Service::http("private")
                    .hosts("private.test")
                    .key("basic_auth_secrets", "user anna insecure-password secret")
                    .upstream(a.address),
            )
            .service(&Service::http("empty").hosts("empty.test"));
        let seen = Origin::saying("thanks");
        let builder = builder.service(
            &Service::http("seen")
                .hosts("browser.test")
                .paths("/seen")
                .upstream(seen.addr()),
        );
        let pointsman = browser(builder, &nginx, &apache, &a, &b)
            .key("services/nginx/redirects", redirects)
            .start();
        Self {
            pointsman,
            seen,
            _servers: vec![nginx, apache, a, b],
        }
    }

    fn at(&self) -> String {
        self.pointsman.http().to_string()
    }

    /// `curl` with the balancer in the place of every host.
    fn curl(&self, args: &[&str]) -> Output {
        let out = Command::new("curl")
            .args(["--silent", "--show-error", "--max-time", "20"])
            .args(["--connect-to", &format!("::{}", self.at())])
            .args(args)
            .output()
            .expect("curl is installed by scripts/needs");
        assert!(out.status.success(), "{args:?}: {out:?}");
        out
    }

    fn curl_text(&self, args: &[&str]) -> String {
        String::from_utf8(self.curl(args).stdout).expect("text")
    }
}

/// One site of several services, as a browser sees it.
fn browser(builder: Builder, nginx: &Server, apache: &Server, a: &Server, b: &Server) -> Builder {
    let at = |name: &str, path: &str| Service::http(name).hosts("browser.test").paths(path);
    builder
        .service(
            &at("pages", "/")
                .key("redirects", "browser.test/old,/new")
                .upstream(nginx.address),
        )
        .service(
            &at("files", "/long.txt")
                .key("keep_virtual_path", "true")
                .upstream(apache.address),
        )
        .service(
            &at("who", "/who")
                .key("cookie", "")
                .key("response_headers", "set X-Added: yes")
                .upstream(a.address)
                .upstream(b.address),
        )
        .service(&at("echo", "/echo").upstream(a.address))
        .service(&at("socket", "/socket").upstream(b.address))
        .service(
            &at("closed", "/private")
                .key("basic_auth_secrets", "user anna insecure-password secret")
                .upstream(nginx.address),
        )
}

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/clients")
        .join(name)
}

fn shown(path: &Path) -> &str {
    path.to_str().expect("a path in UTF-8")
}

/// Servers live in sbin, which is not on every user's path.
fn with_sbin() -> String {
    format!(
        "{}:/usr/sbin:/sbin",
        std::env::var("PATH").unwrap_or_default()
    )
}

#[test]
fn curl_gets_what_nginx_and_apache_say() {
    let town = Town::start();
    for host in ["nginx", "apache"] {
        let url = format!("http://{host}.test/long.txt");
        let whole = format!("{host}\n").repeat(1000);
        assert_eq!(town.curl_text(&[&url]), whole);
        assert_eq!(town.curl_text(&["--http1.0", &url]), whole);
        assert_eq!(town.curl_text(&["--compressed", &url]), whole);
        assert_eq!(town.curl_text(&["--range", "0-4", &url]), whole[..5]);
        let head = town.curl_text(&["--head", &url]).to_ascii_lowercase();
        assert!(
            head.starts_with("http/1.1 200") && head.contains("content-length: "),
            "{head}"
        );
        let absent = town.curl_text(&[
            "--output",
            "/dev/null",
            "--write-out",
            "%{http_code}",
            &format!("http://{host}.test/absent"),
        ]);
        assert_eq!(absent, "404");
    }
}

#[test]
fn curl_keeps_its_connection_over_services() {
    let town = Town::start();
    let connects = town.curl_text(&[
        "--output",
        "/dev/null",
        "--output",
        "/dev/null",
        "--output",
        "/dev/null",
        "--write-out",
        "%{num_connects} ",
        "http://nginx.test/who",
        "http://nginx.test/long.txt",
        "http://nginx.test/old/x",
    ]);
    assert_eq!(connects, "1 0 0 ");
}

#[test]
fn curl_uploads_logs_in_and_follows_redirects() {
    let town = Town::start();
    let big = town.pointsman.state_dir().join("big");
    fs::write(&big, vec![b'x'; 3_000_000]).expect("write");
    let upload = format!("@{}", shown(&big));
    let echoed = town.curl(&[
        "--header",
        "Expect: 100-continue",
        "--data-binary",
        &upload,
        "http://whoami.test/?echo=1",
    ]);
    assert_eq!(echoed.stdout.len(), 3_000_000);
    let status = ["--output", "/dev/null", "--write-out", "%{http_code}"];
    let code = |args: &[&str]| town.curl_text(&[&status[..], args].concat());
    assert_eq!(
        code(&["--data-binary", &upload, "http://small.test/"]),
        "413"
    );
    assert_eq!(code(&["http://private.test/"]), "401");
    assert_eq!(
        code(&["--anyauth", "--user", "anna:secret", "http://private.test/"]),
        "200"
    );
    assert_eq!(
        town.curl_text(&["--location", "http://nginx.test/old/x"]),
        "nginx"
    );
    let jar = town.pointsman.state_dir().join("jar");
    let jar = shown(&jar);
    let said = |_| town.curl_text(&["--cookie", jar, "--cookie-jar", jar, "http://sticky.test/"]);
    let names: std::collections::BTreeSet<String> = (0..6)
        .map(said)
        .map(|text| text.lines().next().unwrap_or_default().to_owned())
        .collect();
    assert_eq!(names.len(), 1, "{names:?}");
}

#[test]
fn requests_of_python_see_what_they_should() {
    let town = Town::start();
    // Debian's own python, whose library scripts/needs installs.
    let out = Command::new("/usr/bin/python3")
        .arg(file("requests_client.py"))
        .arg(town.at())
        .output()
        .expect("python3 is installed by scripts/needs");
    let text = String::from_utf8_lossy(&out.stdout);
    assert!(
        out.status.success() && text.contains("all seen"),
        "{text}{}\n{}",
        String::from_utf8_lossy(&out.stderr),
        town.pointsman.log()
    );
}

#[test]
fn a_browser_sees_what_it_should() {
    let town = Town::start();
    let profile = tempfile::tempdir().expect("a directory");
    let chromium = Command::new("chromium")
        .args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
        ])
        .args(["--no-first-run", "--disable-background-networking"])
        .arg(format!("--user-data-dir={}", shown(profile.path())))
        .arg(format!(
            "--host-resolver-rules=MAP browser.test {}",
            town.at()
        ))
        .arg("http://browser.test/")
        .env("HOME", profile.path())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("chromium is installed by scripts/needs");
    let _browser = Ended(chromium);
    // The page tells what it saw; the browser itself never says that it is done.
    let told = town.seen.wait_for(1).remove(0);
    let seen: serde_json::Value = serde_json::from_slice(&told.body.bytes).expect("JSON");
    let wanted = serde_json::json!({
        "sticks": true, "hidden": true, "added": "yes", "id": true, "status": 401,
        "echoed": 300_000, "redirected": "/new/x", "length": 7000,
        "socket": "through the balancer",
    });
    assert_eq!(seen, wanted, "{}", town.pointsman.log());
}

#[test]
fn varnishtest_finds_every_byte_in_its_place() {
    let port = free_port();
    let pointsman = Pointsman::builder()
        .service(
            &Service::http("vtc")
                .hosts("vtc.test")
                .key("cookie", "")
                .key(
                    "request_headers",
                    "set X-Set: by the balancer\nremove X-Gone",
                )
                .key("response_headers", "set X-Added: yes\nremove X-Powered-By")
                .key("upstreams/vtc", &local(port).to_string()),
        )
        .service(
            &Service::http("moved")
                .hosts("moved.test")
                .key("redirects", "moved.test/old,/new")
                .upstream(local(port)),
        )
        .start();
    let out = Command::new("varnishtest")
        .arg(format!("-Dupstream_port={port}"))
        .arg(format!("-Dhttp_port={}", pointsman.http().port()))
        .arg(file("contract.vtc"))
        .env("PATH", with_sbin())
        .output()
        .expect("varnishtest is installed by scripts/needs");
    assert!(
        out.status.success(),
        "{}\n{}",
        String::from_utf8_lossy(&out.stdout),
        pointsman.log()
    );
}

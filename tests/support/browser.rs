//! Chromium without a window, led by its DevTools protocol over a pair of pipes. So nothing listens, and no
//! library is needed: messages are JSON, each ended by a zero byte.

use std::io::{BufRead, BufReader, Write};
use std::process::{ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Instant;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::{Killed, LIMIT};

/// With one page in it.
pub struct Browser {
    _process: Killed,
    _profile: TempDir,
    asks: ChildStdin,
    answers: Receiver<Value>,
    session: String,
    last: u64,
    events: Vec<Value>,
}

/// What tests ask for later.
const KEPT: &[&str] = &[
    "Network.requestWillBeSent",
    "Runtime.exceptionThrown",
    "Runtime.consoleAPICalled",
    "Log.entryAdded",
];

/// How large the page is, and what its user likes.
#[derive(Clone, Copy, Debug)]
pub struct Screen {
    pub width: u32,
    pub height: u32,
    pub is_dark: bool,
}

pub const DESK: Screen = Screen {
    width: 1280,
    height: 900,
    is_dark: false,
};

pub const PHONE: Screen = Screen {
    width: 390,
    height: 844,
    is_dark: false,
};

impl Browser {
    pub fn start(screen: Screen) -> Self {
        let profile = tempfile::tempdir().expect("a directory");
        // Chromium speaks on descriptors 3 and 4; only a shell puts them there without `unsafe`.
        let mut process = Command::new("sh")
            .args([
                "-c",
                "exec 3<&0 4>&1 </dev/null >/dev/null 2>&1; exec chromium \"$@\"",
                "sh",
            ])
            .args(["--headless=new", "--no-sandbox", "--remote-debugging-pipe"])
            .args(["--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"])
            .args(["--disable-background-networking", "--hide-scrollbars"])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .arg("about:blank")
            .env("HOME", profile.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("a shell");
        let asks = process.stdin.take().expect("a pipe");
        let mut told = BufReader::new(process.stdout.take().expect("a pipe"));
        let (tell, answers) = channel();
        std::thread::spawn(move || {
            let mut message = Vec::new();
            while told.read_until(0, &mut message).is_ok_and(|n| n > 0) {
                let json = message.strip_suffix(&[0]).unwrap_or(&message);
                let Ok(value) = serde_json::from_slice(json) else {
                    return;
                };
                if tell.send(value).is_err() {
                    return;
                }
                message.clear();
            }
        });
        let mut browser = Self {
            _process: Killed(process),
            _profile: profile,
            asks,
            answers,
            session: String::new(),
            last: 0,
            events: Vec::new(),
        };
        let target = browser.ask("Target.createTarget", json!({"url": "about:blank"}));
        let attached = browser.ask(
            "Target.attachToTarget",
            json!({"targetId": target["targetId"], "flatten": true}),
        );
        browser.session = attached["sessionId"].as_str().expect("an id").to_owned();
        for domain in ["Page", "Runtime", "Log", "Network"] {
            browser.ask(&format!("{domain}.enable"), json!({}));
        }
        browser.resize(screen);
        browser
    }

    pub fn resize(&mut self, screen: Screen) {
        let is_phone = screen.width < 500;
        self.ask(
            "Emulation.setDeviceMetricsOverride",
            json!({"width": screen.width, "height": screen.height, "deviceScaleFactor": 1, "mobile": is_phone}),
        );
        let scheme = if screen.is_dark { "dark" } else { "light" };
        self.ask(
            "Emulation.setEmulatedMedia",
            json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]}),
        );
    }

    /// Headers that go with every request.
    pub fn always_send(&mut self, headers: Value) {
        self.ask("Network.setExtraHTTPHeaders", json!({ "headers": headers }));
    }

    /// A script that runs in every page before the page's own.
    pub fn always_run(&mut self, script: &str) {
        self.ask(
            "Page.addScriptToEvaluateOnNewDocument",
            json!({ "source": script }),
        );
    }

    pub fn open(&mut self, url: &str) {
        let opened = self.ask("Page.navigate", json!({ "url": url }));
        assert!(opened["errorText"].is_null(), "{url}: {opened}");
    }

    /// As the key of a browser does it; afterwards the page that was is gone.
    pub fn reload(&mut self) {
        self.eval("window.isOld = true");
        self.ask("Page.reload", json!({}));
        self.wait_for("!window.isOld && document.readyState == 'complete'");
    }

    /// The value of a JavaScript expression.
    pub fn eval(&mut self, expression: &str) -> Value {
        let answer = self.ask(
            "Runtime.evaluate",
            json!({"expression": expression, "returnByValue": true, "awaitPromise": true}),
        );
        assert!(
            answer["exceptionDetails"].is_null(),
            "{expression}: {answer}"
        );
        answer["result"]["value"].clone()
    }

    /// Waits until an expression is true; meanwhile it may fail.
    #[track_caller]
    pub fn wait_for(&mut self, expression: &str) {
        let start = Instant::now();
        let careful = format!(
            "(() => {{ try {{ return Boolean({expression}); }} catch {{ return false; }} }})()"
        );
        while self.eval(&careful) != json!(true) {
            if start.elapsed() > LIMIT * 2 {
                let text = self.eval("document.body.innerText");
                panic!(
                    "waited in vain for {expression}; problems {:#?}; the page says:\n{}",
                    self.problems(),
                    text.as_str().unwrap_or_default()
                );
            }
            std::thread::sleep(std::time::Duration::from_millis(25));
        }
    }

    /// A key of the keyboard, by its name: `/`, `Enter`, `ArrowDown`.
    pub fn press(&mut self, key: &str) {
        let text = match key {
            "Enter" => "\r",
            one if one.chars().count() == 1 => one,
            _ => "",
        };
        let code = match key {
            "Enter" => 13,
            "Tab" => 9,
            "Escape" => 27,
            "ArrowLeft" => 37,
            "ArrowUp" => 38,
            "ArrowRight" => 39,
            "ArrowDown" => 40,
            _ => 0,
        };
        for kind in ["keyDown", "keyUp"] {
            let mut event = json!({"type": kind, "key": key, "windowsVirtualKeyCode": code});
            if kind == "keyDown" && !text.is_empty() {
                event["text"] = json!(text);
            }
            self.ask("Input.dispatchKeyEvent", event);
        }
    }

    pub fn type_text(&mut self, text: &str) {
        for one in text.chars() {
            self.press(&one.to_string());
        }
    }

    /// Clicks at what a selector finds, as a mouse does: where something lies over it, that is clicked.
    #[track_caller]
    pub fn click(&mut self, selector: &str) {
        let selector = json!(selector);
        self.wait_for(&format!("document.querySelector({selector})"));
        self.eval(&format!(
            "document.querySelector({selector}).scrollIntoView({{ block: 'center' }})"
        ));
        let middle = format!(
            "(() => {{ const b = document.querySelector({selector}).getBoundingClientRect(); \
             return [b.x + b.width / 2, b.y + b.height / 2]; }})()"
        );
        self.wait_for(&format!(
            "document.elementFromPoint(...{middle}).closest({selector})"
        ));
        let middle = self.eval(&middle);
        for kind in ["mousePressed", "mouseReleased"] {
            self.ask(
                "Input.dispatchMouseEvent",
                json!({"type": kind, "x": middle[0], "y": middle[1], "button": "left", "clickCount": 1}),
            );
        }
    }

    /// What is seen, as PNG.
    pub fn picture(&mut self) -> Vec<u8> {
        use base64::Engine;
        let answer = self.ask("Page.captureScreenshot", json!({"format": "png"}));
        let text = answer["data"].as_str().expect("a picture");
        base64::engine::general_purpose::STANDARD
            .decode(text)
            .expect("base64")
    }

    /// Addresses of all requests so far.
    pub fn requests(&mut self) -> Vec<String> {
        self.eval("0");
        self.events
            .iter()
            .filter(|event| event["method"] == "Network.requestWillBeSent")
            .filter_map(|event| event["params"]["request"]["url"].as_str())
            .map(str::to_owned)
            .collect()
    }

    /// What a developer would see in red: exceptions, errors and warnings in the log, refusals of the policy.
    pub fn problems(&mut self) -> Vec<String> {
        self.eval("0");
        self.events
            .iter()
            .filter(|event| match event["method"].as_str() {
                Some("Runtime.exceptionThrown") => true,
                Some("Log.entryAdded") => event["params"]["entry"]["level"] != "verbose",
                Some("Runtime.consoleAPICalled") => {
                    event["params"]["type"] == "error" || event["params"]["type"] == "warning"
                }
                _ => false,
            })
            .map(Value::to_string)
            .collect()
    }

    #[track_caller]
    fn ask(&mut self, method: &str, params: Value) -> Value {
        self.last += 1;
        let id = self.last;
        let mut message = json!({"id": id, "method": method, "params": params});
        if !self.session.is_empty() {
            message["sessionId"] = json!(self.session);
        }
        let mut bytes = message.to_string().into_bytes();
        bytes.push(0);
        let sent = self.asks.write_all(&bytes).and_then(|()| self.asks.flush());
        sent.expect("chromium runs; scripts/needs installs it");
        let end = Instant::now() + LIMIT * 2;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            match self.answers.recv_timeout(left) {
                Ok(answer) if answer["id"] == json!(id) => {
                    assert!(answer["error"].is_null(), "{method}: {answer}");
                    return answer["result"].clone();
                }
                Ok(event) if KEPT.contains(&event["method"].as_str().unwrap_or_default()) => {
                    self.events.push(event);
                }
                Ok(_) => {}
                Err(RecvTimeoutError::Timeout) => panic!("no answer to {method}"),
                Err(RecvTimeoutError::Disconnected) => {
                    panic!("chromium ended; scripts/needs installs it")
                }
            }
        }
    }
}

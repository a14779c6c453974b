//! The real Docker engine of this machine: images of this build, and containers that go with their test.

use std::process::Command;

/// Whether there is an engine that answers. If not, says loudly what was not seen.
pub fn is_here(what_is_not_seen: &str) -> bool {
    let info = Command::new("docker").arg("info").output();
    let is_here = info.is_ok_and(|info| info.status.success());
    if !is_here {
        eprintln!(
            "!!! SKIPPED: no Docker engine answers here, so this was not seen: {what_is_not_seen}"
        );
    }
    is_here
}

/// Images as `scripts/images` makes them, of the program under test, with the tag `test`.
pub fn images(names: &[&str]) {
    let run = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/images"))
        .args(names)
        .env("POINTSMAN", env!("CARGO_BIN_EXE_pointsman"))
        .env("TAG", "test")
        .output()
        .expect("run scripts/images");
    assert!(
        run.status.success(),
        "scripts/images {names:?}: {}",
        String::from_utf8_lossy(&run.stderr)
    );
}

/// Runs `docker` and gives what it printed.
pub fn docker(args: &[&str]) -> String {
    let run = Command::new("docker").args(args).output();
    let run = run.expect("run docker");
    assert!(
        run.status.success(),
        "docker {args:?}: {}",
        String::from_utf8_lossy(&run.stderr)
    );
    String::from_utf8_lossy(&run.stdout).trim().to_owned()
}

/// A container that goes with its test.
pub struct Container(pub String);

impl Container {
    /// A whoami of this name on port 8000, with labels and more arguments.
    pub fn whoami(name: &str, labels: &[&str], args: &[&str]) -> Self {
        let mut all = vec!["run", "-d", "--no-healthcheck", "--name", name];
        for label in labels {
            all.extend(["--label", label]);
        }
        all.extend(["pointsman:test", "whoami", "--listen", "0.0.0.0:8000"]);
        all.extend(["--name", name]);
        all.extend(args);
        docker(&all);
        Self(name.to_owned())
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        let _ = Command::new("docker").args(["rm", "-f", &self.0]).output();
    }
}

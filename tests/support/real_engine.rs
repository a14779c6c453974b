//! The Docker engine of this machine.

use std::fs;
use std::process::Command;

/// Whether there is one that answers.
pub fn real() -> bool {
    let info = Command::new("docker").arg("info").output();
    info.is_ok_and(|info| info.status.success() && fs::metadata("/var/run/docker.sock").is_ok())
}

/// What it says.
pub fn docker(args: &[&str]) -> String {
    let run = Command::new("docker")
        .args(args)
        .output()
        .expect("run docker");
    assert!(
        run.status.success(),
        "docker {args:?}: {}",
        String::from_utf8_lossy(&run.stderr)
    );
    String::from_utf8_lossy(&run.stdout).trim().to_owned()
}

/// An image of the program and the libraries it needs, made without a registry.
pub fn image(name: &str) {
    let script = "set -e; dir=$(mktemp -d); cp \"$PROGRAM\" $dir/pointsman; strip -S $dir/pointsman || true
        for lib in $(ldd \"$PROGRAM\" | grep -o '/[^ ]*'); do mkdir -p $dir$(dirname $lib); cp -L $lib $dir$lib; done
        tar -C $dir -c . | docker import - \"$IMAGE\"; rm -r $dir";
    let run = Command::new("sh")
        .args(["-c", script])
        .env("IMAGE", name)
        .env("PROGRAM", env!("CARGO_BIN_EXE_pointsman"))
        .output();
    let run = run.expect("run a shell");
    assert!(
        run.status.success(),
        "{}",
        String::from_utf8_lossy(&run.stderr)
    );
}

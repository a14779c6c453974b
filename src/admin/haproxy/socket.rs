//! `--admin-socket`: HAProxy's command line interface on a unix socket.
//!
//! Who may open the file may change keys: it belongs to the program's own user, and nobody else reads or writes it.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use socket2::{Domain, SockAddr, Socket, Type};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::change::Weights;
use super::command::{self, Command};
use crate::admin::Views;

/// More wait in the kernel.
const AT_ONCE: usize = 16;
const BACKLOG: i32 = 64;

/// HAProxy's own, for a line and for the time between two.
const MAX_LINE: usize = 16 * 1024;
const IDLE: Duration = Duration::from_secs(10);

/// For a client to take some of its answer.
const STUCK: Duration = Duration::from_secs(10);

/// The kernel takes no longer names, and one beside it is needed while the socket is made.
const MAX_PATH: usize = 90;

const TAKEN: &str = "another process listens there; end it, or name another path";

/// The socket; removed with this, unless it is somebody else's by then.
pub struct AdminSocket {
    listener: UnixListener,
    path: PathBuf,
    /// Device and inode.
    own: (u64, u64),
}

impl AdminSocket {
    /// Call inside the control runtime. What is wrong is said with what to do about it.
    pub fn bind(path: &Path) -> Result<Self, String> {
        let refuse = |why: String| Err(format!("--admin-socket {}: {why}", path.display()));
        let Some(name) = path.file_name() else {
            return refuse("is no name of a file".to_owned());
        };
        if path.as_os_str().len() > MAX_PATH {
            return refuse(format!(
                "is longer than {MAX_PATH} bytes, which is what the system takes for a socket; choose a shorter path"
            ));
        }
        match fs::symlink_metadata(path) {
            Ok(there) if !there.file_type().is_socket() => {
                return refuse(
                    "is there already and is no socket; remove it, or name another path".to_owned(),
                );
            }
            Ok(_) => match connect(path) {
                // Left behind by a process that was killed.
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
                // Its queue may be full.
                Ok(()) => return refuse(TAKEN.to_owned()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return refuse(TAKEN.to_owned());
                }
                Err(error) => return refuse(format!("is there already: {error}; remove it")),
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return refuse(error.to_string()),
        }
        let beside = path.with_file_name(format!(".{}.{}", name.display(), std::process::id()));
        let made = make(&beside, path);
        if made.is_err() {
            let _ = fs::remove_file(&beside);
        }
        match made {
            Ok((listener, own)) => Ok(Self {
                listener,
                path: path.to_owned(),
                own,
            }),
            Err(error) => refuse(format!(
                "{error}; its directory has to be there, and this user has to be allowed to write in it"
            )),
        }
    }
}

fn connect(path: &Path) -> io::Result<()> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.connect(&SockAddr::unix(path)?)
}

/// Nobody can connect before the mode is right: it listens only then. And whoever looks for `path` finds a socket
/// that listens, or what was there before.
fn make(beside: &Path, path: &Path) -> io::Result<(UnixListener, (u64, u64))> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.bind(&SockAddr::unix(beside)?)?;
    fs::set_permissions(beside, fs::Permissions::from_mode(0o600))?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    let own = identity(beside)?;
    fs::rename(beside, path)?;
    Ok((UnixListener::from_std(socket.into())?, own))
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let there = fs::symlink_metadata(path)?;
    Ok((there.dev(), there.ino()))
}

impl Drop for AdminSocket {
    fn drop(&mut self) {
        if identity(&self.path).is_ok_and(|there| there == self.own) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Serves until it is dropped.
pub async fn serve_socket(socket: AdminSocket, views: Views) {
    let places = Arc::new(Semaphore::new(AT_ONCE));
    let weights = Weights::default();
    let mut tasks = JoinSet::new();
    loop {
        let Ok(place) = places.clone().acquire_owned().await else {
            return;
        };
        while tasks.try_join_next().is_some() {}
        match socket.listener.accept().await {
            Ok((stream, _)) => {
                let session = Session {
                    stream,
                    views: views.clone(),
                    weights: weights.clone(),
                    is_interactive: false,
                    idle: IDLE,
                };
                tasks.spawn(async move {
                    // How it ends is the client's business.
                    let _ = session.run().await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "the admin socket accepts nobody for a moment");
                sleep(Duration::from_secs(1)).await;
            }
        }
    }
}

struct Session {
    stream: UnixStream,
    views: Views,
    weights: Weights,
    /// `prompt` was said: there may be another line after each answer.
    is_interactive: bool,
    idle: Duration,
}

impl Session {
    async fn run(mut self) -> io::Result<()> {
        let mut lines = Vec::new();
        loop {
            let (line, is_last) = match take_line(&mut lines) {
                Some(line) => (line, false),
                None if lines.len() > MAX_LINE => {
                    let told = format!("a line has at most {MAX_LINE} bytes\n\n");
                    return self.say(&told).await;
                }
                None => match self.read(&mut lines).await? {
                    true => continue,
                    // What has no line end is a line if nothing more comes.
                    false if lines.is_empty() => return Ok(()),
                    false => (std::mem::take(&mut lines), true),
                },
            };
            if !self.obey(&line).await? || is_last {
                return Ok(());
            }
            // Without `prompt` one line is all; what came with it is answered all the same, as by HAProxy.
            if !self.is_interactive && !lines.contains(&b'\n') {
                return Ok(());
            }
        }
    }

    /// Answers whether anything came.
    async fn read(&mut self, lines: &mut Vec<u8>) -> io::Result<bool> {
        let mut chunk = [0; 4096];
        let count = timeout(self.idle, self.stream.read(&mut chunk)).await??;
        lines.extend_from_slice(&chunk[..count]);
        Ok(count > 0)
    }

    /// Answers whether to go on.
    async fn obey(&mut self, line: &[u8]) -> io::Result<bool> {
        let Ok(line) = std::str::from_utf8(line) else {
            self.say("a line is text in UTF-8\n\n").await?;
            return Ok(false);
        };
        for command in command::read(line) {
            let answer = match command {
                Command::Quit => return Ok(false),
                Command::Prompt => {
                    self.is_interactive = !self.is_interactive;
                    String::new()
                }
                Command::Idle(idle) => {
                    self.idle = idle;
                    String::new()
                }
                Command::Say(text) => text,
                command => super::answer(&self.views, &self.weights, command).await,
            };
            self.say(&answer).await?;
            self.say("\n").await?;
        }
        if self.is_interactive {
            self.say("> ").await?;
        }
        Ok(true)
    }

    async fn say(&mut self, text: &str) -> io::Result<()> {
        for piece in text.as_bytes().chunks(64 * 1024) {
            timeout(STUCK, self.stream.write_all(piece)).await??;
        }
        Ok(())
    }
}

/// The first line, without its end.
fn take_line(lines: &mut Vec<u8>) -> Option<Vec<u8>> {
    let end = lines.iter().position(|b| *b == b'\n')?;
    let mut line: Vec<_> = lines.drain(..=end).collect();
    line.pop();
    Some(line)
}

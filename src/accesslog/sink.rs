//! Where bytes leave: standard output, a file, or [`syslog`](super::syslog). Blocks.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::settings::Target;
use super::syslog::SyslogSink;

/// Before something that could not be opened is tried again.
pub(super) const PAUSE: Duration = Duration::from_secs(1);

pub(super) enum Sink {
    Stdout,
    File(FileSink),
    Syslog(Box<SyslogSink>),
}

/// What came of writing a batch.
#[derive(Debug, Default)]
pub(super) struct Written {
    pub(super) lost: u64,
    pub(super) error: Option<io::Error>,
}

impl Sink {
    pub(super) fn new(target: &Target) -> Self {
        match target {
            Target::Stdout => Sink::Stdout,
            Target::File(path) => Sink::File(FileSink::new(path)),
            Target::Syslog(syslog) => Sink::Syslog(Box::new(SyslogSink::new(syslog))),
        }
    }

    pub(super) fn write(&mut self, bytes: &[u8], lines: u64) -> Written {
        let result = match self {
            // The program's own log goes there too, through the same lock: no line ends up inside
            // another.
            Sink::Stdout => {
                let mut out = io::stdout().lock();
                out.write_all(bytes).and_then(|()| out.flush())
            }
            Sink::File(file) => file.write(bytes),
            Sink::Syslog(syslog) => return syslog.write(bytes),
        };
        match result {
            Ok(()) => Written::default(),
            Err(error) => Written {
                lost: lines,
                error: Some(error),
            },
        }
    }

    pub(super) fn reopen(&mut self) {
        if let Sink::File(file) = self {
            file.reopen();
        }
    }

    /// Whether the last success means that all is well again.
    pub(super) fn is_well(&self) -> bool {
        match self {
            Sink::Stdout | Sink::File(_) => true,
            Sink::Syslog(syslog) => syslog.is_well(),
        }
    }
}

pub(super) struct FileSink {
    path: PathBuf,
    file: Option<File>,
    /// Not tried again before.
    tried: Option<Instant>,
    /// A full disk took half of a line.
    is_torn: bool,
}

impl FileSink {
    fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            file: None,
            tried: None,
            is_torn: false,
        }
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.file.is_none() {
            self.open()?;
        }
        let Some(file) = &mut self.file else {
            return Err(io::ErrorKind::NotFound.into());
        };
        if self.is_torn {
            file.write_all(b"\n")?;
            self.is_torn = false;
        }
        let mut rest = bytes;
        while !rest.is_empty() {
            match file.write(rest) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(n) => rest = &rest[n..],
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    let written = bytes.len() - rest.len();
                    self.is_torn = written > 0 && bytes[written - 1] != b'\n';
                    if error.kind() == io::ErrorKind::BrokenPipe {
                        // A named pipe whose reader left: there may be another.
                        self.file = None;
                    }
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    /// A file that cannot be opened anew is written to where it is: better a line in the old place
    /// than none.
    fn reopen(&mut self) {
        match open(&self.path) {
            Ok(file) => {
                self.file = Some(file);
                self.is_torn = false;
                tracing::info!(path = %self.path.display(), "access log file opened anew");
            }
            Err(error) => tracing::warn!(
                path = %self.path.display(), %error,
                "access log file cannot be opened anew, the old one is used on"
            ),
        }
    }

    fn open(&mut self) -> io::Result<()> {
        if self.tried.is_some_and(|tried| tried.elapsed() < PAUSE) {
            return Err(io::Error::other("it could not be opened a moment ago"));
        }
        self.tried = Some(Instant::now());
        self.file = Some(open(&self.path)?);
        self.tried = None;
        self.is_torn = false;
        Ok(())
    }
}

/// Who asked for what is nobody's business but the operator's and his group's.
fn open(path: &Path) -> io::Result<File> {
    File::options()
        .append(true)
        .create(true)
        .mode(0o640)
        .open(path)
}

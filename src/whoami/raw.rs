//! Plain TCP: a greeting, as databases and mail servers give, then an echo.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;

use super::Whoami;

/// A flow that says nothing for this long is closed.
const SILENCE: Duration = Duration::from_secs(3600);

/// Sends `<name>\n`, then all that comes in back. A half-closed peer gets all of it, then the end.
pub(super) async fn greet_and_echo(
    mut stream: TcpStream,
    whoami: &Whoami,
    mut ending: watch::Receiver<bool>,
) -> io::Result<()> {
    stream
        .write_all(format!("{}\n", whoami.name()).as_bytes())
        .await?;
    tokio::select! {
        done = echo(&mut stream, &[]) => done,
        _ = ending.wait_for(|end| *end) => Ok(()),
    }
}

/// Sends `first` and everything that arrives back until the peer is done.
pub(super) async fn echo(stream: &mut TcpStream, first: &[u8]) -> io::Result<()> {
    stream.write_all(first).await?;
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let read = tokio::time::timeout(SILENCE, stream.read(&mut buffer)).await??;
        if read == 0 {
            return stream.shutdown().await;
        }
        stream.write_all(&buffer[..read]).await?;
    }
}

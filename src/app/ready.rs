//! `pointsman ready`: whether the node of this machine is, for those who have no curl.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::process::ExitCode;
use std::time::Duration;

/// For connecting and for each read: whoever asks has a limit of his own.
const LIMIT: Duration = Duration::from_secs(2);

/// The answer is a line.
const LONGEST: u64 = 4096;

pub(super) fn ready(stats: SocketAddr) -> anyhow::Result<ExitCode> {
    match ask(within(stats)) {
        Ok(answer) if answer.starts_with("HTTP/1.1 200 ") => {
            println!("ready");
            Ok(ExitCode::SUCCESS)
        }
        Ok(answer) => {
            let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
            let said: String = body.trim().chars().filter(|c| !c.is_control()).collect();
            eprintln!("pointsman: not ready: {said}");
            Ok(ExitCode::FAILURE)
        }
        Err(error) => {
            eprintln!("pointsman: not ready: nobody answers at {stats}: {error}");
            Ok(ExitCode::FAILURE)
        }
    }
}

/// Who listens on all addresses is asked on our own.
fn within(stats: SocketAddr) -> SocketAddr {
    let ip = match stats.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, stats.port())
}

fn ask(stats: SocketAddr) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&stats, LIMIT)?;
    stream.set_read_timeout(Some(LIMIT))?;
    stream.set_write_timeout(Some(LIMIT))?;
    let request = format!("GET /ready HTTP/1.1\r\nHost: {stats}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    stream.take(LONGEST).read_to_end(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

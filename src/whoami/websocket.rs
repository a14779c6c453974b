//! RFC 6455, server side: what comes in goes back, frame by frame.

use std::io;

use aws_lc_rs::digest;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Buf;
use tokio::io::AsyncWriteExt;

use super::request::Conn;

const CLOSE: u8 = 0x8;
const PING: u8 = 0x9;
const PONG: u8 = 0xa;

/// What a server proves with that it understood the handshake. SHA-1 is the protocol's choice and
/// guards nothing.
pub(super) fn accept_key(key: &str) -> String {
    let text = format!("{}258EAFA5-E914-47DA-95CA-C5AB0DC85B11", key.trim());
    STANDARD.encode(digest::digest(
        &digest::SHA1_FOR_LEGACY_USE_ONLY,
        text.as_bytes(),
    ))
}

/// Sends each frame back unmasked, a ping as a pong, until the peer closes. Payloads pass in the
/// pieces they arrive in, so the size of a frame does not matter.
pub(super) async fn echo(conn: &mut Conn) -> io::Result<()> {
    loop {
        let Some(start) = take(conn, 2).await? else {
            return Ok(());
        };
        let (first, second) = (start[0], start[1]);
        let opcode = first & 0x0f;
        if second & 0x80 == 0 {
            return Err(violation("a frame without mask"));
        }
        let length = match second & 0x7f {
            126 => u64::from(u16::from_be_bytes(take_array(conn).await?)),
            127 => u64::from_be_bytes(take_array(conn).await?),
            short => u64::from(short),
        };
        if opcode >= CLOSE && length > 125 {
            return Err(violation("a control frame over 125 bytes"));
        }
        let mask: [u8; 4] = take_array(conn).await?;
        let opcode_back = if opcode == PING { PONG } else { opcode };
        let is_answered = opcode != PONG;
        if is_answered {
            conn.write(&frame_head((first & 0xf0) | opcode_back, length))
                .await?;
        }
        let mut done = 0u64;
        while done < length {
            if conn.ahead.is_empty() && conn.fill().await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let count = conn
                .ahead
                .len()
                .min(usize::try_from(length - done).unwrap_or(usize::MAX));
            let mut piece = conn.ahead.split_to(count);
            for (byte, at) in piece.iter_mut().zip(done..) {
                *byte ^= mask[(at % 4) as usize];
            }
            if is_answered {
                conn.write(&piece).await?;
            }
            done += count as u64;
        }
        if opcode == CLOSE {
            return conn.stream.shutdown().await;
        }
    }
}

fn frame_head(first: u8, length: u64) -> Vec<u8> {
    let mut head = vec![first];
    if let Ok(short) = u8::try_from(length)
        && short < 126
    {
        head.push(short);
    } else if let Ok(medium) = u16::try_from(length) {
        head.push(126);
        head.extend_from_slice(&medium.to_be_bytes());
    } else {
        head.push(127);
        head.extend_from_slice(&length.to_be_bytes());
    }
    head
}

/// Exactly `count` bytes; `None` when the peer ended before the first of them.
async fn take(conn: &mut Conn, count: usize) -> io::Result<Option<Vec<u8>>> {
    while conn.ahead.len() < count {
        if conn.fill().await? == 0 {
            return match conn.ahead.is_empty() {
                true => Ok(None),
                false => Err(io::ErrorKind::UnexpectedEof.into()),
            };
        }
    }
    Ok(Some(conn.ahead.split_to(count).to_vec()))
}

async fn take_array<const N: usize>(conn: &mut Conn) -> io::Result<[u8; N]> {
    while conn.ahead.len() < N {
        if conn.fill().await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    let mut bytes = [0; N];
    conn.ahead.copy_to_slice(&mut bytes);
    Ok(bytes)
}

fn violation(reason: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_with_the_key_of_the_rfc() {
        assert_eq!(
            accept_key("dGhlIHNhbXBsZSBub25jZQ=="),
            "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
        );
    }

    #[test]
    fn frame_heads_use_the_shortest_length() {
        assert_eq!(frame_head(0x81, 5), [0x81, 5]);
        assert_eq!(frame_head(0x82, 126), [0x82, 126, 0, 126]);
        assert_eq!(frame_head(0x82, 65536), [0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0]);
    }
}

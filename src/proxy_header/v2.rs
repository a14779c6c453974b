//! Version 2: a signature, addresses, and type-length-values behind them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::crc32c::crc32c;
use super::{Details, Header, Pair, Progress, Reject, Tls};

const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";

/// Signature, version and command, family and transport, and the length of the rest.
pub(super) const FIXED: usize = 16;

/// As much as may stand behind them.
pub(super) const MOST_BLOCK: usize = 4096;

const LOCAL: u8 = 0x20;
const PROXY: u8 = 0x21;
const TCP4: u8 = 0x11;
const TCP6: u8 = 0x21;

mod tlv {
    pub(super) const ALPN: u8 = 0x01;
    pub(super) const AUTHORITY: u8 = 0x02;
    pub(super) const CRC32C: u8 = 0x03;
    pub(super) const UNIQUE_ID: u8 = 0x05;
    pub(super) const SSL: u8 = 0x20;
    pub(super) const SSL_VERSION: u8 = 0x21;
    pub(super) const SSL_CN: u8 = 0x22;
    pub(super) const SSL_CIPHER: u8 = 0x23;
}

/// In the value of [`tlv::SSL`]: the client came by TLS.
const CLIENT_SSL: u8 = 0x01;
/// It showed a certificate: on this connection, and so in its session.
const CLIENT_CERT: u8 = 0x02 | 0x04;

/// The longest text that is written. Names and ids are shorter by their own rules.
const MOST_TEXT: usize = 255;

pub(super) fn read(bytes: &[u8]) -> Result<Progress, Reject> {
    let begun = bytes.len().min(SIGNATURE.len());
    if bytes[..begun] != SIGNATURE[..begun] {
        return Err(Reject::NoHeader);
    }
    // Each byte is judged when it comes: who means something else is not waited for.
    if let Some(byte) = bytes.get(12) {
        if byte >> 4 != 2 {
            return Err(Reject::UnknownVersion);
        }
        if ![LOCAL, PROXY].contains(byte) {
            return Err(Reject::UnknownCommand);
        }
    }
    let is_local = bytes.get(12) == Some(&LOCAL);
    if let Some(byte) = bytes.get(13)
        && !is_local
    {
        family(*byte)?;
    }
    let Some(fixed) = bytes.first_chunk::<FIXED>() else {
        return Ok(Progress::More);
    };
    let length = usize::from(u16::from_be_bytes([fixed[14], fixed[15]]));
    if length > MOST_BLOCK {
        return Err(Reject::LongBlock);
    }
    let addresses = match is_local {
        true => Addresses::None,
        false => family(fixed[13])?,
    };
    if length < addresses.len() {
        return Err(Reject::ShortBlock);
    }
    let Some(whole) = bytes.get(..FIXED + length) else {
        return Ok(Progress::More);
    };
    let header = match addresses {
        // Whatever the block is, it is to be passed over.
        Addresses::None => Header::Own,
        Addresses::V4 | Addresses::V6 => {
            let (pair, tlvs) = addresses.read(&whole[FIXED..]).ok_or(Reject::ShortBlock)?;
            check(whole, tlvs)?;
            Header::Client(pair)
        }
    };
    Ok(Progress::Whole(header, whole.len()))
}

#[derive(Clone, Copy)]
enum Addresses {
    /// None that count.
    None,
    V4,
    V6,
}

/// The byte of family and transport. What is no TCP is refused and not taken for the sender's own
/// connection: whoever is behind it would have the rights of the proxy.
fn family(byte: u8) -> Result<Addresses, Reject> {
    match (byte >> 4, byte & 15) {
        (4.., _) | (_, 3..) => Err(Reject::UnknownFamily),
        (0, _) | (_, 0) => Ok(Addresses::None),
        (1, 1) => Ok(Addresses::V4),
        (2, 1) => Ok(Addresses::V6),
        _ => Err(Reject::NotTcp),
    }
}

impl Addresses {
    fn len(self) -> usize {
        match self {
            Self::None => 0,
            Self::V4 => 12,
            Self::V6 => 36,
        }
    }

    /// The addresses, and what stands behind them.
    fn read(self, block: &[u8]) -> Option<(Pair, &[u8])> {
        let (addresses, rest) = block.split_at_checked(self.len())?;
        let (ips, ports) = addresses.split_at_checked(self.len() - 4)?;
        let (source, destination) = ips.split_at(ips.len() / 2);
        let ip = |bytes: &[u8]| -> Option<IpAddr> {
            match self {
                Self::None => None,
                Self::V4 => Some(Ipv4Addr::from(<[u8; 4]>::try_from(bytes).ok()?).into()),
                Self::V6 => Some(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?).into()),
            }
        };
        let port = |at: usize| u16::from_be_bytes([ports[at], ports[at + 1]]);
        let pair = Pair {
            source: SocketAddr::new(ip(source)?, port(0)),
            destination: SocketAddr::new(ip(destination)?, port(2)),
        };
        Some((pair, rest))
    }
}

/// Walks the TLVs, which have to fill the header, and compares a checksum if there is one. None of the
/// others is made use of.
fn check(whole: &[u8], mut tlvs: &[u8]) -> Result<(), Reject> {
    let mut is_checked = false;
    while let [kind, high, low, rest @ ..] = tlvs {
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        let (value, next) = rest.split_at_checked(length).ok_or(Reject::BadTlv)?;
        if *kind == tlv::CRC32C {
            let said = <[u8; 4]>::try_from(value).map_err(|_| Reject::BadChecksum)?;
            let at = whole.len() - next.len() - said.len();
            // It was made when its own place was empty. A second one cannot hold too.
            let own = crc32c(&[&whole[..at], &[0; 4], next]);
            if is_checked || own != u32::from_be_bytes(said) {
                return Err(Reject::BadChecksum);
            }
            is_checked = true;
        }
        tlvs = next;
    }
    match tlvs.is_empty() {
        true => Ok(()),
        false => Err(Reject::BadTlv),
    }
}

pub(super) fn write(pair: Pair, details: &Details<'_>, out: &mut Vec<u8>) {
    let Pair {
        source,
        destination,
    } = pair;
    let start = out.len();
    let family = match source.is_ipv4() {
        true => TCP4,
        false => TCP6,
    };
    out.extend_from_slice(SIGNATURE);
    out.extend([PROXY, family, 0, 0]);
    for address in [source, destination] {
        match address.ip() {
            IpAddr::V4(ip) => out.extend(ip.octets()),
            IpAddr::V6(ip) => out.extend(ip.octets()),
        }
    }
    for address in [source, destination] {
        out.extend(address.port().to_be_bytes());
    }
    put(tlv::ALPN, details.alpn, out);
    put(tlv::AUTHORITY, details.authority.map(str::as_bytes), out);
    put(tlv::UNIQUE_ID, details.unique_id, out);
    if let Some(tls) = &details.tls {
        put_ssl(tls, out);
    }
    // At most six texts: it never comes near to what two bytes hold.
    let length = (out.len() - start - FIXED) as u16;
    out[start + 14..start + FIXED].copy_from_slice(&length.to_be_bytes());
}

pub(super) fn write_local(out: &mut Vec<u8>) {
    out.extend_from_slice(SIGNATURE);
    out.extend([LOCAL, 0, 0, 0]);
}

fn put(kind: u8, value: Option<&[u8]>, out: &mut Vec<u8>) {
    let fits = |value: &&[u8]| (1..=MOST_TEXT).contains(&value.len());
    if let Some(value) = value.filter(fits) {
        out.extend([kind, 0, value.len() as u8]);
        out.extend_from_slice(value);
    }
}

fn put_ssl(tls: &Tls<'_>, out: &mut Vec<u8>) {
    // Zero is for a certificate of the client's that was verified.
    let (client, verify) = match tls.client {
        Some(_) => (CLIENT_SSL | CLIENT_CERT, 0u32),
        None => (CLIENT_SSL, 1),
    };
    let start = out.len();
    out.extend([tlv::SSL, 0, 0, client]);
    out.extend(verify.to_be_bytes());
    put(tlv::SSL_VERSION, tls.version.map(str::as_bytes), out);
    put(tlv::SSL_CN, tls.client.map(str::as_bytes), out);
    put(tlv::SSL_CIPHER, tls.cipher.map(str::as_bytes), out);
    let length = (out.len() - start - 3) as u16;
    out[start + 1..start + 3].copy_from_slice(&length.to_be_bytes());
}

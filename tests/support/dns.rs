//! A DNS server that says what the test tells it to, by UDP and by TCP on one port.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use super::free_port;
use super::pointsman::local;

pub const A: u16 = 1;
pub const AAAA: u16 = 28;
pub const SRV: u16 = 33;

/// What Docker's server gives to everything.
const TTL: u32 = 600;

/// What a name and a type are answered with.
#[derive(Clone, Debug)]
pub enum Say {
    /// These records; none of them is an answer too.
    Records(Vec<Vec<u8>>),
    /// By UDP that there is more than fits, by TCP these.
    Truncated(Vec<Vec<u8>>),
    NxDomain,
    ServFail,
    Silence,
    /// These bytes behind the question's id.
    Garbage(Vec<u8>),
}

pub struct Dns {
    addr: SocketAddr,
    zone: Arc<Mutex<Zone>>,
}

#[derive(Default)]
struct Zone {
    says: HashMap<(String, u16), Say>,
    /// In place of everything else.
    all: Option<Say>,
    asked: Vec<(String, u16, &'static str)>,
}

impl Dns {
    /// Names that nobody told it of do not exist.
    pub fn start() -> Self {
        let addr = local(free_port());
        let udp = UdpSocket::bind(addr).expect("a UDP port");
        let tcp = TcpListener::bind(addr).expect("a TCP port");
        let zone = Arc::new(Mutex::new(Zone::default()));
        let of_udp = zone.clone();
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok((len, from)) = udp.recv_from(&mut buffer) {
                if let Some(answer) = answer(&of_udp, &buffer[..len], "udp") {
                    let _ = udp.send_to(&answer, from);
                }
            }
        });
        let of_tcp = zone.clone();
        thread::spawn(move || {
            for stream in tcp.incoming().flatten() {
                let zone = of_tcp.clone();
                thread::spawn(move || serve(stream, &zone));
            }
        });
        Self { addr, zone }
    }

    /// As the setting `dns_servers` has it.
    pub fn addr(&self) -> String {
        self.addr.to_string()
    }

    pub fn say(&self, name: &str, kind: u16, say: Say) {
        self.zone().says.insert((name.to_owned(), kind), say);
    }

    /// To everything, until it is told `None`.
    pub fn say_to_all(&self, say: Option<Say>) {
        self.zone().all = say;
    }

    /// All addresses of a host, of both families.
    pub fn host(&self, name: &str, ips: &[&str]) {
        self.say(name, A, Say::Records(addresses(ips, true)));
        self.say(name, AAAA, Say::Records(addresses(ips, false)));
    }

    /// The records of a service: priority, weight, port, host.
    pub fn service(&self, name: &str, records: &[(u16, u16, u16, &str)]) {
        let records = records.iter().map(|(priority, weight, port, host)| {
            let mut data = [priority, weight, port].map(|n| n.to_be_bytes()).concat();
            data.extend(encoded(host));
            data
        });
        self.say(name, SRV, Say::Records(records.collect()));
    }

    /// How often it was asked for a name and a type.
    pub fn asked(&self, name: &str, kind: u16) -> usize {
        let zone = self.zone();
        let asked = zone.asked.iter();
        asked.filter(|(n, k, _)| n == name && *k == kind).count()
    }

    /// The same by TCP.
    pub fn asked_by_tcp(&self, name: &str) -> usize {
        let zone = self.zone();
        let asked = zone.asked.iter();
        asked.filter(|(n, _, by)| n == name && *by == "tcp").count()
    }

    fn zone(&self) -> std::sync::MutexGuard<'_, Zone> {
        self.zone.lock().expect("nobody panics with it")
    }
}

/// The data of A records, or of AAAA records.
pub fn addresses(ips: &[&str], of_v4: bool) -> Vec<Vec<u8>> {
    let ips = ips.iter().map(|ip| ip.parse().expect("an address"));
    ips.filter_map(|ip: IpAddr| match ip {
        IpAddr::V4(ip) if of_v4 => Some(ip.octets().to_vec()),
        IpAddr::V6(ip) if !of_v4 => Some(ip.octets().to_vec()),
        _ => None,
    })
    .collect()
}

fn serve(mut stream: TcpStream, zone: &Mutex<Zone>) {
    let _ = stream.set_read_timeout(Some(Duration::from_secs(30)));
    loop {
        let mut len = [0; 2];
        if stream.read_exact(&mut len).is_err() {
            return;
        }
        let mut query = vec![0; usize::from(u16::from_be_bytes(len))];
        if stream.read_exact(&mut query).is_err() {
            return;
        }
        let Some(answer) = answer(zone, &query, "tcp") else {
            continue;
        };
        let len = u16::try_from(answer.len()).expect("a message that fits");
        let mut bytes = len.to_be_bytes().to_vec();
        bytes.extend(answer);
        if stream.write_all(&bytes).is_err() {
            return;
        }
    }
}

/// `None`: nothing is said.
fn answer(zone: &Mutex<Zone>, query: &[u8], by: &'static str) -> Option<Vec<u8>> {
    let (name, kind, end) = question(query)?;
    let mut zone = zone.lock().expect("nobody panics with it");
    zone.asked.push((name.clone(), kind, by));
    let told = zone.all.clone();
    let told = told.or_else(|| zone.says.get(&(name.clone(), kind)).cloned());
    let (code, truncated, records) = match told {
        Some(Say::Silence) => return None,
        Some(Say::Garbage(bytes)) => return Some([&query[..2], &bytes].concat()),
        Some(Say::Records(records)) => (0, false, records),
        Some(Say::Truncated(_)) if by == "udp" => (0, true, Vec::new()),
        Some(Say::Truncated(records)) => (0, false, records),
        Some(Say::ServFail) => (2, false, Vec::new()),
        Some(Say::NxDomain) => (3, false, Vec::new()),
        None if zone.says.keys().any(|(known, _)| *known == name) => (0, false, Vec::new()),
        None => (3, false, Vec::new()),
    };
    let count = u16::try_from(records.len()).expect("a count that fits");
    let mut out = query[..2].to_vec();
    out.extend([0x81 | if truncated { 2 } else { 0 }, 0x80 | code]);
    out.extend([0, 1]);
    out.extend(count.to_be_bytes());
    out.extend([0, 0, 0, 0]);
    out.extend(&query[12..end]);
    for data in records {
        // The name is that of the question, at byte 12.
        out.extend([0xc0, 12]);
        out.extend(kind.to_be_bytes());
        out.extend([0, 1]);
        out.extend(TTL.to_be_bytes());
        out.extend(u16::try_from(data.len()).expect("short data").to_be_bytes());
        out.extend(data);
    }
    Some(out)
}

/// Name in lower case, type, and where the question ends.
fn question(query: &[u8]) -> Option<(String, u16, usize)> {
    let mut labels = Vec::new();
    let mut at = 12;
    loop {
        let len = usize::from(*query.get(at)?);
        at += 1;
        if len == 0 {
            break;
        }
        let label = query.get(at..at + len)?;
        labels.push(String::from_utf8_lossy(label).to_ascii_lowercase());
        at += len;
    }
    let kind = query.get(at..at + 2)?;
    let kind = u16::from_be_bytes([kind[0], kind[1]]);
    Some((labels.join("."), kind, at + 4))
}

fn encoded(name: &str) -> Vec<u8> {
    let mut out = Vec::new();
    for label in name.split('.').filter(|label| !label.is_empty()) {
        out.push(u8::try_from(label.len()).expect("a short label"));
        out.extend(label.as_bytes());
    }
    out.push(0);
    out
}

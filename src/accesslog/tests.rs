use std::time::{Duration, SystemTime};

use super::journal::write_line;
use super::time::Stamps;
use super::*;

fn record() -> Record<'static> {
    let ms = Duration::from_millis;
    Record {
        began: SystemTime::UNIX_EPOCH + ms(1_700_000_000_042),
        client: "10.1.2.3:51732".parse().unwrap(),
        listener: "10.0.0.1:80".parse().unwrap(),
        frontend: "http",
        tls: None,
        service: Some("web"),
        upstream: Some(Upstream {
            name: "web-1",
            address: "[::1]:8080".parse().unwrap(),
        }),
        times: Times {
            request: Some(ms(1)),
            queue: Some(ms(2)),
            connect: Some(ms(3)),
            response: Some(Duration::from_micros(4567)),
            total: ms(20),
        },
        bytes_up: 100,
        bytes_down: 2750,
        ended: Ended::default(),
        load: Load {
            connections: 7,
            service: 3,
            upstream: 1,
        },
        retries: 0,
        redispatched: false,
        queue_place: 0,
        generation: 5,
        http: Some(Http {
            status: Some(200),
            request: Some(RequestLine {
                method: b"GET",
                target: b"/index.html?q=1",
                version: "HTTP/1.1",
            }),
            request_id: b"0123abcd",
            host: b"www.example.com",
            referer: b"http://other/",
            user_agent: b"curl/8",
            user: b"bob",
            cookies: *b"--",
        }),
    }
}

/// In UTC, whatever the machine says.
fn line(format: Format, record: &Record<'_>) -> String {
    let mut out = Vec::new();
    write_line(format, record, &mut Stamps::in_utc(), &mut out);
    String::from_utf8(out).unwrap()
}

fn with_http(change: impl FnOnce(&mut Http<'static>)) -> Record<'static> {
    let mut record = record();
    change(record.http.as_mut().unwrap());
    record
}

#[test]
fn httplog_has_the_fields_of_haproxy_in_its_order() {
    assert_eq!(
        line(Format::Httplog, &record()),
        "10.1.2.3:51732 [14/Nov/2023:22:13:20.042] http web/web-1 1/2/3/4/20 200 2750 - - ---- \
         7/7/3/1/0 0/0 \"GET /index.html?q=1 HTTP/1.1\""
    );
}

#[test]
fn httplog_says_minus_one_for_what_was_not_reached_and_names_what_is_missing() {
    let record = Record {
        service: None,
        upstream: None,
        times: Times {
            total: Duration::from_millis(1001),
            ..Times::default()
        },
        bytes_down: 0,
        ended: Ended {
            cause: Cause::ClientTimeout,
            phase: Phase::Request,
        },
        ..with_http(|http| {
            http.request = None;
            http.status = None;
        })
    };
    assert_eq!(
        line(Format::Httplog, &record),
        "10.1.2.3:51732 [14/Nov/2023:22:13:20.042] http http/<NOSRV> -1/-1/-1/-1/1001 -1 0 - - cR-- \
         7/7/3/1/0 0/0 \"<BADREQ>\""
    );
}

#[test]
fn httplog_marks_a_retry_that_went_elsewhere_and_the_place_in_the_queue() {
    let record = Record {
        retries: 3,
        redispatched: true,
        queue_place: 4,
        ..record()
    };
    let line = line(Format::Httplog, &record);
    assert!(line.contains(" ---- 7/7/3/1/+3 0/4 "), "{line}");
}

#[test]
fn a_tcp_session_is_written_as_tcplog() {
    let mut record = record();
    record.http = None;
    record.frontend = "db";
    record.service = Some("db");
    record.ended = Ended {
        cause: Cause::Upstream,
        phase: Phase::Connect,
    };
    assert_eq!(
        line(Format::Httplog, &record),
        "10.1.2.3:51732 [14/Nov/2023:22:13:20.042] db db/web-1 2/3/20 2750 SC 7/7/3/1/0 0/0"
    );
    assert_eq!(line(Format::Common, &record), "");
    assert_eq!(line(Format::Combined, &record), "");
}

#[test]
fn common_and_combined_are_those_of_web_servers() {
    let common =
        "10.1.2.3 - bob [14/Nov/2023:22:13:20 +0000] \"GET /index.html?q=1 HTTP/1.1\" 200 2750";
    assert_eq!(line(Format::Common, &record()), common);
    assert_eq!(
        line(Format::Combined, &record()),
        format!("{common} \"http://other/\" \"curl/8\"")
    );
    let nobody = with_http(|http| {
        http.user = b"";
        http.referer = b"";
        http.request = None;
        http.status = None;
    });
    assert_eq!(
        line(Format::Combined, &nobody),
        "10.1.2.3 - - [14/Nov/2023:22:13:20 +0000] \"-\" - 2750 \"-\" \"curl/8\""
    );
}

#[test]
fn json_has_every_field_and_null_for_what_is_not_known() {
    assert_eq!(
        line(Format::Json, &record()),
        "{\"type\":\"http\",\"time\":\"2023-11-14T22:13:20.042Z\",\"client\":\"10.1.2.3:51732\",\
         \"listener\":\"10.0.0.1:80\",\"tls\":null,\"service\":\"web\",\"upstream\":\"web-1\",\
         \"upstream_address\":\"[::1]:8080\",\"method\":\"GET\",\"target\":\"/index.html?q=1\",\
         \"version\":\"HTTP/1.1\",\"host\":\"www.example.com\",\"status\":200,\
         \"request_id\":\"0123abcd\",\"user\":\"bob\",\"user_agent\":\"curl/8\",\
         \"referer\":\"http://other/\",\"request_ms\":1.000,\"queue_ms\":2.000,\
         \"connect_ms\":3.000,\"response_ms\":4.567,\"total_ms\":20.000,\"bytes_up\":100,\
         \"bytes_down\":2750,\"retries\":0,\"generation\":5,\"termination\":\"--\"}"
    );
    let mut bare = record();
    bare.http = None;
    bare.upstream = None;
    bare.times = Times::default();
    let value: serde_json::Value = serde_json::from_str(&line(Format::Json, &bare)).unwrap();
    assert_eq!(value["type"], "tcp");
    assert!(value["upstream"].is_null() && value["connect_ms"].is_null());
}

#[test]
fn hostile_bytes_stay_inside_their_field_and_their_line() {
    const HOSTILE: &[u8] = b"/a\"b#c\\d\r\ne\x00f\x1b[31m\x7fg\xff\xc3\xa9 {|}";
    let record = with_http(|http| {
        http.request.as_mut().unwrap().target = HOSTILE;
        http.user_agent = HOSTILE;
        http.user = HOSTILE;
        http.host = HOSTILE;
        http.request_id = HOSTILE;
    });
    let httplog = line(Format::Httplog, &record);
    assert!(
        httplog.ends_with("\"GET /a#22b#23c\\d#0D#0Ae#00f#1B[31m#7Fg#FF#C3#A9 {|} HTTP/1.1\""),
        "{httplog}"
    );
    let combined = line(Format::Combined, &record);
    let escaped = "/a\\x22b#c\\x5Cd\\x0D\\x0Ae\\x00f\\x1B[31m\\x7Fg\\xFF\\xC3\\xA9 {|}";
    assert!(combined.ends_with(&format!("\"{escaped}\"")), "{combined}");
    assert!(
        combined.contains(&format!(" - {} [", escaped.replace(' ', "\\x20"))),
        "{combined}"
    );
    for format in Format::ALL {
        let line = line(format, &record);
        let is_plain = |c: char| !c.is_control();
        assert!(line.chars().all(is_plain), "{line:?}");
    }
    let json: serde_json::Value = serde_json::from_str(&line(Format::Json, &record)).unwrap();
    assert_eq!(
        json["target"],
        "/a\"b#c\\d\r\ne\0f\u{1b}[31m\u{7f}g\u{fffd}é {|}"
    );
}

#[test]
fn addresses_are_written_as_they_are_known() {
    let shown = |address: &str| {
        let record = Record {
            client: address.parse().unwrap(),
            ..record()
        };
        let line = line(Format::Httplog, &record);
        line.split(' ').next().unwrap().to_owned()
    };
    assert_eq!(shown("[::ffff:10.0.0.1]:80"), "10.0.0.1:80");
    assert_eq!(shown("[2001:db8::1]:80"), "[2001:db8::1]:80");
    assert_eq!(shown("255.255.255.255:65535"), "255.255.255.255:65535");
}

#[test]
fn failures_are_told_from_what_merely_says_no() {
    let ended = |status, cause| {
        let record = Record {
            ended: Ended {
                cause,
                phase: Phase::Data,
            },
            ..with_http(|http| http.status = status)
        };
        record.is_failure()
    };
    assert!(!ended(Some(200), Cause::Normal));
    assert!(!ended(Some(404), Cause::Local));
    assert!(!ended(Some(403), Cause::Refused));
    assert!(ended(Some(500), Cause::Normal));
    assert!(ended(Some(502), Cause::Refused));
    assert!(ended(Some(200), Cause::ClientAbort));
    assert!(ended(None, Cause::Normal));
}

#[test]
fn a_sample_of_nothing_takes_nothing_and_of_all_takes_all() {
    let taken = |millionths| {
        let sample = Sample::new(millionths).unwrap();
        (0..1000).filter(|_| sample.takes_one()).count()
    };
    assert_eq!(taken(0), 0);
    assert_eq!(taken(1_000_000), 1000);
    assert!((300..700).contains(&taken(500_000)));
    assert!(Sample::new(1_000_001).is_none());
}

#[test]
fn numbers_are_written_to_their_last_digit() {
    let shown = |n| {
        let mut out = Vec::new();
        text::decimal(n, &mut out);
        String::from_utf8(out).unwrap()
    };
    for n in [0, 7, 10, 99, 100, 65_535, u64::MAX] {
        assert_eq!(shown(n), n.to_string());
    }
}

//! HAProxy's columns, and a line of them.

use std::borrow::Cow;
use std::fmt::Write as _;

/// Those of HAProxy 2.6, in its order.
pub(super) const NAMES: [&str; 128] = [
    "pxname",
    "svname",
    "qcur",
    "qmax",
    "scur",
    "smax",
    "slim",
    "stot",
    "bin",
    "bout",
    "dreq",
    "dresp",
    "ereq",
    "econ",
    "eresp",
    "wretr",
    "wredis",
    "status",
    "weight",
    "act",
    "bck",
    "chkfail",
    "chkdown",
    "lastchg",
    "downtime",
    "qlimit",
    "pid",
    "iid",
    "sid",
    "throttle",
    "lbtot",
    "tracked",
    "type",
    "rate",
    "rate_lim",
    "rate_max",
    "check_status",
    "check_code",
    "check_duration",
    "hrsp_1xx",
    "hrsp_2xx",
    "hrsp_3xx",
    "hrsp_4xx",
    "hrsp_5xx",
    "hrsp_other",
    "hanafail",
    "req_rate",
    "req_rate_max",
    "req_tot",
    "cli_abrt",
    "srv_abrt",
    "comp_in",
    "comp_out",
    "comp_byp",
    "comp_rsp",
    "lastsess",
    "last_chk",
    "last_agt",
    "qtime",
    "ctime",
    "rtime",
    "ttime",
    "agent_status",
    "agent_code",
    "agent_duration",
    "check_desc",
    "agent_desc",
    "check_rise",
    "check_fall",
    "check_health",
    "agent_rise",
    "agent_fall",
    "agent_health",
    "addr",
    "cookie",
    "mode",
    "algo",
    "conn_rate",
    "conn_rate_max",
    "conn_tot",
    "intercepted",
    "dcon",
    "dses",
    "wrew",
    "connect",
    "reuse",
    "cache_lookups",
    "cache_hits",
    "srv_icur",
    "src_ilim",
    "qtime_max",
    "ctime_max",
    "rtime_max",
    "ttime_max",
    "eint",
    "idle_conn_cur",
    "safe_conn_cur",
    "used_conn_cur",
    "need_conn_est",
    "uweight",
    "agg_server_status",
    "agg_server_check_status",
    "agg_check_status",
    "-",
    "ssl_sess",
    "ssl_reused_sess",
    "ssl_failed_handshake",
    "h2_headers_rcvd",
    "h2_data_rcvd",
    "h2_settings_rcvd",
    "h2_rst_stream_rcvd",
    "h2_goaway_rcvd",
    "h2_detected_conn_protocol_errors",
    "h2_detected_strm_protocol_errors",
    "h2_rst_stream_resp",
    "h2_goaway_resp",
    "h2_open_connections",
    "h2_backend_open_streams",
    "h2_total_connections",
    "h2_backend_total_streams",
    "h1_open_connections",
    "h1_open_streams",
    "h1_total_connections",
    "h1_total_streams",
    "h1_bytes_in",
    "h1_bytes_out",
    "h1_spliced_bytes_in",
    "h1_spliced_bytes_out",
];

/// Where those are that have a figure here.
pub(super) mod at {
    use super::place;

    pub(in super::super) const PXNAME: usize = place("pxname");
    pub(in super::super) const SVNAME: usize = place("svname");
    pub(in super::super) const QCUR: usize = place("qcur");
    pub(in super::super) const SCUR: usize = place("scur");
    pub(in super::super) const SLIM: usize = place("slim");
    pub(in super::super) const STOT: usize = place("stot");
    pub(in super::super) const BIN: usize = place("bin");
    pub(in super::super) const BOUT: usize = place("bout");
    pub(in super::super) const DREQ: usize = place("dreq");
    pub(in super::super) const EREQ: usize = place("ereq");
    pub(in super::super) const ECON: usize = place("econ");
    pub(in super::super) const ERESP: usize = place("eresp");
    pub(in super::super) const STATUS: usize = place("status");
    pub(in super::super) const WEIGHT: usize = place("weight");
    pub(in super::super) const ACT: usize = place("act");
    pub(in super::super) const BCK: usize = place("bck");
    pub(in super::super) const CHKFAIL: usize = place("chkfail");
    pub(in super::super) const CHKDOWN: usize = place("chkdown");
    pub(in super::super) const LASTCHG: usize = place("lastchg");
    pub(in super::super) const PID: usize = place("pid");
    pub(in super::super) const IID: usize = place("iid");
    pub(in super::super) const SID: usize = place("sid");
    pub(in super::super) const THROTTLE: usize = place("throttle");
    pub(in super::super) const LBTOT: usize = place("lbtot");
    pub(in super::super) const TYPE: usize = place("type");
    pub(in super::super) const RATE: usize = place("rate");
    pub(in super::super) const CHECK_STATUS: usize = place("check_status");
    pub(in super::super) const CHECK_CODE: usize = place("check_code");
    pub(in super::super) const HRSP_1XX: usize = place("hrsp_1xx");
    pub(in super::super) const HRSP_OTHER: usize = place("hrsp_other");
    pub(in super::super) const REQ_RATE: usize = place("req_rate");
    pub(in super::super) const REQ_TOT: usize = place("req_tot");
    pub(in super::super) const LAST_CHK: usize = place("last_chk");
    pub(in super::super) const CTIME: usize = place("ctime");
    pub(in super::super) const RTIME: usize = place("rtime");
    pub(in super::super) const CHECK_DESC: usize = place("check_desc");
    pub(in super::super) const CHECK_RISE: usize = place("check_rise");
    pub(in super::super) const CHECK_FALL: usize = place("check_fall");
    pub(in super::super) const CHECK_HEALTH: usize = place("check_health");
    pub(in super::super) const ADDR: usize = place("addr");
    pub(in super::super) const COOKIE: usize = place("cookie");
    pub(in super::super) const MODE: usize = place("mode");
    pub(in super::super) const ALGO: usize = place("algo");
    pub(in super::super) const UWEIGHT: usize = place("uweight");
    /// Without a name of its own; HAProxy has its own name in it.
    pub(in super::super) const DASH: usize = place("-");
}

/// Found while compiling: a name that is none does not compile.
const fn place(name: &str) -> usize {
    let mut at = 0;
    while !is_same(NAMES[at].as_bytes(), name.as_bytes()) {
        at += 1;
    }
    at
}

const fn is_same(a: &[u8], b: &[u8]) -> bool {
    if a.len() != b.len() {
        return false;
    }
    let mut at = 0;
    while at < a.len() {
        if a[at] != b[at] {
            return false;
        }
        at += 1;
    }
    true
}

/// What stands in one column.
#[derive(Clone, Debug, Default)]
pub(super) enum Cell<'a> {
    #[default]
    Empty,
    Number(u64),
    Text(Cow<'a, str>),
}

impl From<u64> for Cell<'_> {
    fn from(number: u64) -> Self {
        Self::Number(number)
    }
}

impl<'a> From<&'a str> for Cell<'a> {
    fn from(text: &'a str) -> Self {
        Self::Text(Cow::Borrowed(text))
    }
}

impl From<String> for Cell<'_> {
    fn from(text: String) -> Self {
        Self::Text(Cow::Owned(text))
    }
}

impl<'a> From<Cow<'a, str>> for Cell<'a> {
    fn from(text: Cow<'a, str>) -> Self {
        Self::Text(text)
    }
}

impl<'a, T: Into<Cell<'a>>> From<Option<T>> for Cell<'a> {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Empty, Into::into)
    }
}

/// One line. What was not set is empty.
pub(super) struct Row<'a>([Cell<'a>; NAMES.len()]);

impl Default for Row<'_> {
    fn default() -> Self {
        Self([const { Cell::Empty }; NAMES.len()])
    }
}

impl<'a> Row<'a> {
    pub(super) fn set(&mut self, column: usize, value: impl Into<Cell<'a>>) {
        self.0[column] = value.into();
    }

    pub(super) fn write(&self, text: &mut String) {
        for cell in &self.0 {
            match cell {
                Cell::Empty => {}
                // Writing to a String cannot fail.
                Cell::Number(number) => drop(write!(text, "{number}")),
                Cell::Text(cell) => field(cell, text),
            }
            text.push(',');
        }
        text.push('\n');
    }
}

/// The first line.
pub(super) fn header(text: &mut String) {
    text.push_str("# ");
    for name in NAMES {
        text.push_str(name);
        text.push(',');
    }
    text.push('\n');
}

/// In quotes where it has to be, as HAProxy does. A line break would be another line to most readers.
fn field(cell: &str, text: &mut String) {
    if !cell.contains([',', '"', '\n', '\r']) {
        text.push_str(cell);
        return;
    }
    text.push('"');
    for c in cell.chars() {
        match c {
            '"' => text.push_str("\"\""),
            '\n' | '\r' => text.push(' '),
            c => text.push(c),
        }
    }
    text.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_every_column_and_quotes_what_could_be_taken_for_two() {
        let mut row = Row::default();
        row.set(at::PXNAME, "a,\"b\"\nc");
        row.set(at::SVNAME, "plain words");
        row.set(at::QCUR, 7);
        row.set(at::DASH, Some("-"));
        let mut text = String::new();
        row.write(&mut text);
        assert!(
            text.starts_with("\"a,\"\"b\"\" c\",plain words,7,,"),
            "{text}"
        );
        assert!(text.ends_with(",\n"));
        let (_, rest) = text.split_once(" c\"").expect("the first field");
        assert_eq!(rest.matches(',').count(), NAMES.len());
        let mut first = String::new();
        header(&mut first);
        assert_eq!(first.matches(',').count(), NAMES.len());
    }
}

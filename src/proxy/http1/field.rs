//! Header fields: where they lie in the buffer and which of the names that matter to us they bear.

/// A range of the buffer that a head was parsed from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    pub start: u32,
    pub end: u32,
}

impl Span {
    pub(super) fn new(start: usize, end: usize) -> Self {
        // A head is bounded by `Limits::max_head_size`, far below 4 GiB.
        Self {
            start: start as u32,
            end: end as u32,
        }
    }

    /// The bytes of `buf`, which must be the buffer that was parsed. Any other gives other bytes,
    /// or none where it is too short.
    #[inline]
    pub fn get(self, buf: &[u8]) -> &[u8] {
        buf.get(self.start as usize..self.end as usize)
            .unwrap_or_default()
    }

    pub fn len(self) -> usize {
        (self.end - self.start) as usize
    }

    pub fn is_empty(self) -> bool {
        self.start == self.end
    }
}

/// One field line.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    pub name: Span,
    /// Without the white space around it.
    pub value: Span,
    pub id: FieldId,
    /// Never passed on: `Connection` names it, or it is written anew in its plain form.
    pub(super) drop: bool,
}

/// The names that framing, editing or other parts of the proxy ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum FieldId {
    /// Any other name.
    Other,
    /// A known name spelled with `_` for `-`. Servers that turn both into one variable
    /// (`HTTP_X_REAL_IP`) would take it for the real one, so requests lose it.
    Alias,
    Host,
    Connection,
    KeepAlive,
    ProxyConnection,
    Te,
    Trailer,
    TransferEncoding,
    Upgrade,
    ContentLength,
    Expect,
    Http2Settings,
    /// `Proxy`: becomes `HTTP_PROXY` in CGI programs, which then trust it.
    Proxy,
    ProxyAuthenticate,
    ProxyAuthorization,
    Forwarded,
    XForwardedFor,
    XForwardedProto,
    XForwardedPort,
    XForwardedHost,
    /// Any other name that begins with `X-Forwarded-`.
    XForwardedOther,
    XRealIp,
    XRequestId,
    Accept,
    AcceptEncoding,
    Authorization,
    CacheControl,
    ContentEncoding,
    ContentType,
    Cookie,
    Date,
    Location,
    Origin,
    Range,
    Referer,
    Server,
    SetCookie,
    UserAgent,
}

impl FieldId {
    /// A bit of its own, for sets of names.
    pub(super) const fn bit(self) -> u64 {
        1 << self as u8
    }

    /// The id of `name`, which must be a token. One look at length and first byte leaves at most
    /// two candidates.
    #[inline]
    pub fn of(name: &[u8]) -> FieldId {
        use FieldId::*;
        let Some(first) = name.first() else {
            return Other;
        };
        let first = first | 0x20;
        let (id, matches) = match (name.len(), first) {
            (2, b't') => (Te, is(name, b"te")),
            (4, b'h') => (Host, is(name, b"host")),
            (4, b'd') => (Date, is(name, b"date")),
            (5, b'p') => (Proxy, is(name, b"proxy")),
            (5, b'r') => (Range, is(name, b"range")),
            (6, b'a') => (Accept, is(name, b"accept")),
            (6, b'c') => (Cookie, is(name, b"cookie")),
            (6, b'e') => (Expect, is(name, b"expect")),
            (6, b'o') => (Origin, is(name, b"origin")),
            (6, b's') => (Server, is(name, b"server")),
            (7, b'r') => (Referer, is(name, b"referer")),
            (7, b't') => (Trailer, is(name, b"trailer")),
            (7, b'u') => (Upgrade, is(name, b"upgrade")),
            (8, b'l') => (Location, is(name, b"location")),
            (9, b'f') => (Forwarded, is(name, b"forwarded")),
            (9, b'x') => (XRealIp, is(name, b"x-real-ip")),
            (10, b'c') => (Connection, is(name, b"connection")),
            (10, b'k') => (KeepAlive, is(name, b"keep-alive")),
            (10, b's') => (SetCookie, is(name, b"set-cookie")),
            (10, b'u') => (UserAgent, is(name, b"user-agent")),
            (12, b'c') => (ContentType, is(name, b"content-type")),
            (12, b'x') => (XRequestId, is(name, b"x-request-id")),
            (13, b'a') => (Authorization, is(name, b"authorization")),
            (13, b'c') => (CacheControl, is(name, b"cache-control")),
            (14, b'c') => (ContentLength, is(name, b"content-length")),
            (14, b'h') => (Http2Settings, is(name, b"http2-settings")),
            (15, b'a') => (AcceptEncoding, is(name, b"accept-encoding")),
            (16, b'c') => (ContentEncoding, is(name, b"content-encoding")),
            (16, b'p') => (ProxyConnection, is(name, b"proxy-connection")),
            (17, b't') => (TransferEncoding, is(name, b"transfer-encoding")),
            (18, b'p') => (ProxyAuthenticate, is(name, b"proxy-authenticate")),
            (19, b'p') => (ProxyAuthorization, is(name, b"proxy-authorization")),
            _ => (Other, false),
        };
        if matches {
            id
        } else if first == b'x' {
            x_forwarded(name)
        } else {
            Other
        }
    }

    /// Like [`FieldId::of`] for a request, where a known name in disguise is an [`FieldId::Alias`].
    #[inline]
    pub(super) fn of_request(name: &[u8]) -> FieldId {
        let id = FieldId::of(name);
        if id == FieldId::Other && name.iter().fold(false, |any, &b| any | (b == b'_')) {
            alias(name)
        } else {
            id
        }
    }
}

fn x_forwarded(name: &[u8]) -> FieldId {
    use FieldId::*;
    match name.split_at_checked(12) {
        Some((prefix, rest)) if is(prefix, b"x-forwarded-") => match rest.len() {
            3 if is(rest, b"for") => XForwardedFor,
            4 if is(rest, b"host") => XForwardedHost,
            4 if is(rest, b"port") => XForwardedPort,
            5 if is(rest, b"proto") => XForwardedProto,
            _ => XForwardedOther,
        },
        _ => Other,
    }
}

#[cold]
fn alias(name: &[u8]) -> FieldId {
    // No known name is longer; the open-ended `X-Forwarded-` is decided by its first bytes.
    let mut plain = [0; 32];
    let len = name.len().min(plain.len());
    for (to, &from) in plain.iter_mut().zip(name) {
        *to = if from == b'_' { b'-' } else { from };
    }
    match FieldId::of(&plain[..len]) {
        FieldId::Other => FieldId::Other,
        _ => FieldId::Alias,
    }
}

/// Compares a token with a word in lower case. Setting bit 5 makes letters small and leaves `-` and
/// digits alone; no other token byte becomes one of those by it.
#[inline]
fn is<const N: usize>(name: &[u8], word: &[u8; N]) -> bool {
    let Ok(name) = <&[u8; N]>::try_from(name) else {
        return false;
    };
    let mut difference = 0;
    for i in 0..N {
        difference |= (name[i] | 0x20) ^ word[i];
    }
    difference == 0
}

/// The fields of one head in the order they came.
#[derive(Clone, Debug, Default)]
pub struct Fields {
    pub(super) list: Vec<Field>,
    /// One bit for each id that occurs, and [`Fields::DROPS`].
    pub(super) seen: u64,
}

impl Fields {
    /// The bit of `seen` that says some field has `drop` set.
    pub(super) const DROPS: u64 = 1 << 63;

    pub(super) fn clear(&mut self) {
        self.list.clear();
        self.seen = 0;
    }

    pub(super) fn mark_dropped(&mut self, index: usize) {
        self.list[index].drop = true;
        self.seen |= Self::DROPS;
    }

    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Field> {
        self.list.iter()
    }

    pub fn len(&self) -> usize {
        self.list.len()
    }

    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Whether a field of this name came. Costs nothing.
    #[inline]
    pub fn has(&self, id: FieldId) -> bool {
        self.seen & id.bit() != 0
    }

    /// The first field of this name.
    #[inline]
    pub fn get(&self, id: FieldId) -> Option<&Field> {
        if !self.has(id) {
            return None;
        }
        self.list.iter().find(|f| f.id == id)
    }

    /// Every value of this name, in order.
    pub fn values<'a>(
        &'a self,
        id: FieldId,
        buf: &'a [u8],
    ) -> impl DoubleEndedIterator<Item = &'a [u8]> {
        let known = if self.has(id) { &self.list[..] } else { &[] };
        known
            .iter()
            .filter(move |f| f.id == id)
            .map(move |f| f.value.get(buf))
    }

    /// Shows every value of a name, in order, until `visit` answers false.
    pub fn each(&self, name: &str, buf: &[u8], visit: &mut dyn FnMut(&[u8]) -> bool) {
        for field in &self.list {
            let is_named = field.name.get(buf).eq_ignore_ascii_case(name.as_bytes());
            if is_named && !visit(field.value.get(buf)) {
                return;
            }
        }
    }

    /// The first value of a name that has no id of its own; `name` in lower case.
    pub fn find<'a>(&self, name: &[u8], buf: &'a [u8]) -> Option<&'a [u8]> {
        self.list
            .iter()
            .find(|f| f.name.get(buf).eq_ignore_ascii_case(name))
            .map(|f| f.value.get(buf))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_known_in_any_case_and_strangers_are_not() {
        assert_eq!(FieldId::of(b"Host"), FieldId::Host);
        assert_eq!(FieldId::of(b"hOST"), FieldId::Host);
        assert_eq!(FieldId::of(b"TRANSFER-ENCODING"), FieldId::TransferEncoding);
        assert_eq!(FieldId::of(b"x-forwarded-for"), FieldId::XForwardedFor);
        assert_eq!(FieldId::of(b"X-Forwarded-Host"), FieldId::XForwardedHost);
        assert_eq!(FieldId::of(b"X-Forwarded-Port"), FieldId::XForwardedPort);
        assert_eq!(FieldId::of(b"X-Forwarded-Proto"), FieldId::XForwardedProto);
        assert_eq!(FieldId::of(b"X-Forwarded-Ssl"), FieldId::XForwardedOther);
        assert_eq!(FieldId::of(b"X-Real-IP"), FieldId::XRealIp);
        for other in ["Hosts", "Accept-Language", "X-Real-I", "", "h", "X-Custom"] {
            assert_eq!(FieldId::of(other.as_bytes()), FieldId::Other, "{other}");
        }
    }

    #[test]
    fn no_two_tokens_fold_into_one_known_name() {
        // Each byte of a known name replaced by each other token byte must be a stranger.
        for name in ["content-length", "transfer-encoding", "host", "x-real-ip"] {
            for i in 0..name.len() {
                for b in (0..=255u8).filter(|b| super::super::grammar::is_token_byte(*b)) {
                    let mut other = name.as_bytes().to_vec();
                    other[i] = b;
                    let same = other.eq_ignore_ascii_case(name.as_bytes());
                    let known = FieldId::of(&other) == FieldId::of(name.as_bytes());
                    assert_eq!(same, known, "{:?}", String::from_utf8_lossy(&other));
                }
            }
        }
    }

    #[test]
    fn underscores_do_not_smuggle_a_known_name() {
        for name in [
            "X_Real_IP",
            "x-real_ip",
            "X_FORWARDED_FOR",
            "Content_Length",
            "transfer_encoding",
            "X_Forwarded_Anything_That_Is_Rather_Long_Indeed",
        ] {
            assert_eq!(
                FieldId::of_request(name.as_bytes()),
                FieldId::Alias,
                "{name}"
            );
        }
        assert_eq!(FieldId::of_request(b"my_field"), FieldId::Other);
        assert_eq!(FieldId::of_request(b"_"), FieldId::Other);
    }
}

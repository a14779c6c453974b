use super::*;
use crate::rules::{Facts, Side};

/// A request as a test tells it: fields are what is not said otherwise.
pub(super) struct Request {
    pub(super) method: &'static str,
    pub(super) host: &'static str,
    pub(super) url: &'static str,
    pub(super) version: &'static str,
    pub(super) client: &'static str,
    pub(super) is_tls: bool,
    pub(super) status: u16,
    pub(super) fields: &'static [(&'static str, &'static str)],
    pub(super) answer: &'static [(&'static str, &'static str)],
}

impl Default for Request {
    fn default() -> Self {
        Self {
            method: "GET",
            host: "www.example.com",
            url: "/",
            version: "1.1",
            client: "10.1.2.3:4000",
            is_tls: false,
            status: 0,
            fields: &[],
            answer: &[],
        }
    }
}

impl Facts for Request {
    fn method(&self) -> &[u8] {
        self.method.as_bytes()
    }

    fn host(&self) -> &[u8] {
        self.host.as_bytes()
    }

    fn path(&self) -> &[u8] {
        self.url.split('?').next().unwrap_or_default().as_bytes()
    }

    fn query(&self) -> &[u8] {
        self.url.split_once('?').map_or("", |(_, q)| q).as_bytes()
    }

    fn version(&self) -> &str {
        self.version
    }

    fn client(&self) -> std::net::SocketAddr {
        self.client.parse().unwrap()
    }

    fn listener(&self) -> std::net::SocketAddr {
        "10.0.0.9:80".parse().unwrap()
    }

    fn is_tls(&self) -> bool {
        self.is_tls
    }

    fn request_id(&self) -> &[u8] {
        b"id-1"
    }

    fn status(&self) -> u16 {
        self.status
    }

    fn each_field(&self, side: Side, name: &str, visit: &mut dyn FnMut(&[u8]) -> bool) {
        let fields = match side {
            Side::Request => self.fields,
            Side::Answer => self.answer,
        };
        let mut named = fields.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name));
        named.all(|(_, value)| visit(value.as_bytes()));
    }
}

/// Whether a condition holds for a request.
#[track_caller]
fn holds(text: &str, request: &Request) -> bool {
    match condition(text) {
        Ok(condition) => condition.holds(request),
        Err(problems) => panic!("{text}: {problems:?}"),
    }
}

/// One condition, a request that it holds for and one that it does not.
#[track_caller]
fn tells(text: &str, yes: Request, no: Request) {
    assert!(holds(text, &yes), "{text} has to hold");
    assert!(!holds(text, &no), "{text} must not hold");
}

fn at(url: &'static str) -> Request {
    Request {
        url,
        ..Request::default()
    }
}

fn to(host: &'static str) -> Request {
    Request {
        host,
        ..Request::default()
    }
}

fn by(method: &'static str) -> Request {
    Request {
        method,
        ..Request::default()
    }
}

fn with(fields: &'static [(&'static str, &'static str)]) -> Request {
    Request {
        fields,
        ..Request::default()
    }
}

fn from(client: &'static str) -> Request {
    Request {
        client,
        ..Request::default()
    }
}

#[test]
fn paths_and_queries_are_compared_in_every_way() {
    tells("{ path /a }", at("/a?b"), at("/a/"));
    tells("if { path_beg /api }", at("/api/x"), at("/x/api"));
    tells("{ path_end .css .js }", at("/x.js?v=1"), at("/x.png"));
    tells("{ path_sub admin }", at("/x/administrator"), at("/x"));
    tells("{ path_dir b/c }", at("/a/b/c/d"), at("/a/b/cc"));
    tells("{ path_reg ^/v[0-9]+/ }", at("/v12/x"), at("/v/x"));
    tells("{ path_len gt 5 }", at("/12345"), at("/1234"));
    tells("{ path -i /A }", at("/a"), at("/b"));
    tells("{ path -i -m beg /API }", at("/api/x"), at("/x"));
    tells("{ path,lower -m sub admin }", at("/ADMIN"), at("/x"));
    tells("{ url_sub b=1 }", at("/a?b=1"), at("/a?b=2"));
    tells("{ url /a?b=1 }", at("/a?b=1"), at("/a"));
    tells("{ query -m sub debug }", at("/a?debug"), at("/debug"));
    tells("{ query -m found } { query_len gt 0 }", at("/?a"), at("/"));
    tells("{ urlp(id) 7 }", at("/?a=1&id=7"), at("/?xid=7&a=1"));
    tells("{ url_param(id) -m int ge 7 }", at("/?id=70"), at("/?id=6"));
    tells("{ base_beg www.example.com/a }", at("/a/b"), at("/b"));
}

#[test]
fn hosts_are_compared_without_case_and_port() {
    let www = || to("www.example.com");
    tells("{ hdr(host) WWW.Example.COM }", www(), to("example.com"));
    tells("{ hdr(host) www.example.com:8080 }", www(), to("x"));
    tells(
        "{ hdr_end(host) -i .example.com }",
        www(),
        to("example.com"),
    );
    tells("{ hdr_dom(host) example }", www(), to("examples.com"));
    tells("{ hdr_beg(host) www. }", www(), to("example.com"));
    tells(
        "{ hdr_reg(host) ^w+\\.example\\.com$ }",
        www(),
        to("w.example.org"),
    );
    tells(
        "{ req.hdr(host),field(1,:) -m str www.example.com }",
        www(),
        to("x"),
    );
    tells(
        "{ req.hdr(host),field(-1,.) -m str com }",
        www(),
        to("x.org"),
    );
    tells("{ req.hdr(host),word(2,.) example }", www(), to("x.org"));
}

#[test]
fn fields_are_compared_value_by_value_as_in_haproxy() {
    let two = || with(&[("X-A", "one, two"), ("x-a", "three")]);
    tells("{ req.hdr(x-a) two }", two(), with(&[("x-a", "twos")]));
    tells("{ hdr(X-A) -m found }", two(), with(&[]));
    tells("!{ hdr(x-a) -m found }", with(&[]), two());
    tells("{ hdr(x-a,1) one }", two(), with(&[("x-a", "two, one")]));
    tells(
        "{ hdr(x-a,-1) three }",
        two(),
        with(&[("x-a", "three, one")]),
    );
    tells(
        "{ hdr(x-a,4) -m found } || { hdr_cnt(x-a) 3 }",
        two(),
        with(&[]),
    );
    tells("{ hdr_sub(x-a) hre }", two(), with(&[("x-a", "two")]));
    tells(
        "{ req.fhdr(x-a) -m str 'one, two' }",
        two(),
        with(&[("x-a", "one")]),
    );
    tells(
        "{ req.fhdr_cnt(x-a) eq 2 }",
        two(),
        with(&[("x-a", "one, two")]),
    );
    tells("{ hdr_len(x-a) 4:6 }", two(), with(&[("x-a", "two")]));
    tells(
        "{ req.hdr_val(n) gt 10 }",
        with(&[("n", "11")]),
        with(&[("n", "x")]),
    );
    tells(
        "{ hdr(n) -m int 5 7:9 }",
        with(&[("n", "8")]),
        with(&[("n", "6")]),
    );
    tells(
        "{ hdr(x) -m reg -i ^A+$ }",
        with(&[("x", "aa")]),
        with(&[("x", "b")]),
    );
    // A comma in quotes parts nothing.
    tells(
        r#"{ hdr(x),length 5 }"#,
        with(&[("x", r#""a,b""#)]),
        with(&[("x", "a,b")]),
    );
    tells(
        "{ hdr(x) -m bool on }",
        with(&[("x", "1")]),
        with(&[("x", "0")]),
    );
    tells(
        "{ req.hdr_ip(x-forwarded-for,-1) 10.0.0.0/8 }",
        with(&[("X-Forwarded-For", "1.2.3.4, 10.9.9.9")]),
        with(&[("X-Forwarded-For", "10.9.9.9, 1.2.3.4")]),
    );
    tells(
        "{ req.cook(sid) -m beg a }",
        with(&[("cookie", "x=a; sid=abc")]),
        with(&[("cookie", "SID=abc; xsid=a")]),
    );
}

#[test]
fn addresses_methods_versions_and_tls() {
    tells(
        "{ src 10.0.0.0/8 192.168.1.1 }",
        from("10.1.1.1:1"),
        from("11.1.1.1:1"),
    );
    tells("{ src ::1 }", from("[::1]:1"), from("127.0.0.1:1"));
    tells("LOCALHOST", from("127.3.2.1:1"), from("10.0.0.1:1"));
    tells("LOCALHOST", from("[::ffff:127.0.0.1]:1"), from("[::2]:1"));
    tells(
        "{ src,ipmask(24) 10.1.1.0 }",
        from("10.1.1.7:1"),
        from("10.1.2.7:1"),
    );
    tells(
        "{ src_port lt 1024 }",
        from("10.1.1.1:1023"),
        from("10.1.1.1:1024"),
    );
    assert!(holds(
        "{ dst 10.0.0.9 } { dst_port 80 } { dst_port ne 81 }",
        &at("/")
    ));
    tells("METH_GET", by("HEAD"), by("POST"));
    tells("METH_POST or METH_PUT", by("PUT"), by("GET"));
    tells("{ method DELETE OPTIONS }", by("OPTIONS"), by("GET"));
    let old = Request {
        version: "1.0",
        ..Request::default()
    };
    tells("HTTP_1.1 HTTP", at("/"), old);
    let tls = || Request {
        is_tls: true,
        ..Request::default()
    };
    tells("{ ssl_fc }", tls(), at("/"));
    tells("!{ ssl_fc }", at("/"), tls());
    tells("{ ssl_fc true }", tls(), at("/"));
    tells("{ ssl_fc 0 }", at("/"), tls());
    assert!(holds("TRUE !FALSE HTTP_URL_SLASH", &at("/")));
    assert!(!holds(
        "HTTP_URL_ABS or HTTP_URL_STAR or HTTP_CONTENT",
        &at("/")
    ));
}

#[test]
fn terms_are_joined_negated_and_named() {
    let text =
        "# who\nacl lan src 10.0.0.0/8\n\nacl api path_beg /api\nacl api path_beg /v1 # too\n";
    let check = |condition: &str, url, expected| {
        assert_eq!(
            holds(&format!("{text}{condition}"), &at(url)),
            expected,
            "{condition} {url}"
        );
    };
    check("if api lan", "/v1/x", true);
    check("if api !lan", "/api", false);
    check("unless api", "/api", false);
    check("unless api", "/", true);
    check("api or { path /x }", "/x", true);
    check("api || ! lan", "/x", false);
    check("! ! api", "/api", true);
    check("!{ path /x } lan", "/y", true);
    check("!api !{ path /x }", "/x", false);
}

/// All that is told about a condition.
#[track_caller]
fn wrong(text: &str, expected: &[(usize, &str)]) {
    let told = condition(text).expect_err(text);
    let told = told.iter().map(|told| {
        let help = told.problem.help.as_deref().unwrap_or_default();
        (told.line, format!("{}; {help}", told.problem.message))
    });
    let expected = expected
        .iter()
        .map(|(line, text)| (*line, (*text).to_owned()));
    assert_eq!(
        told.collect::<Vec<_>>(),
        expected.collect::<Vec<_>>(),
        "{text}"
    );
}

#[test]
fn every_problem_of_a_condition_is_told_with_its_line() {
    wrong(
        "acl api path_begg /x\nacl lan src 10.0.0.0/99\nif api lan apii",
        &[
            (1, "\"path_begg\" is unknown; did you mean \"path_beg\"?"),
            (
                2,
                "\"10.0.0.0/99\" is no network; write an address with a prefix length, such as 10.0.0.0/8 or fd00::/8",
            ),
            (3, "acl \"apii\" is unknown; did you mean \"api\"?"),
        ],
    );
    wrong(
        "",
        &[(
            1,
            "has no condition; write one behind the acl lines, such as: if is_api METH_GET",
        )],
    );
    wrong(
        "TRUE\nFALSE",
        &[(
            2,
            "has a second condition; write acl lines and one condition; join conditions with ||",
        )],
    );
    wrong(
        "path /a",
        &[(
            1,
            "acl \"path\" is unknown; a test stands in braces, as in { path ... }",
        )],
    );
    wrong(
        "{ path /a",
        &[(
            1,
            "has a { without a }; write both with spaces around, as in { path_beg /api }",
        )],
    );
    wrong(
        "if",
        &[(
            1,
            "has nothing to test beside \"if\"; write names of acl lines or tests in braces, such as { path_beg /api }",
        )],
    );
    wrong(
        "TRUE or",
        &[(
            1,
            "has nothing to test beside \"or\"; write names of acl lines or tests in braces, such as { path_beg /api }",
        )],
    );
    wrong(
        "{ path_reg ( }",
        &[(1, "\"(\" is no regular expression; unclosed group")],
    );
    wrong(
        "{ path_reg (?=x) }",
        &[(
            1,
            "\"(?=x)\" is no regular expression; look-around, including look-ahead and look-behind, is not supported; write it without",
        )],
    );
    wrong(
        "{ path -f /etc/x }",
        &[(
            1,
            "-f reads what is not in this text; write the values on the line, or on several acl lines of one name",
        )],
    );
    wrong(
        "{ path -m begin /x }",
        &[(1, "-m \"begin\" is unknown; did you mean \"beg\"?")],
    );
    wrong(
        "{ path_beg }",
        &[(
            1,
            "\"path_beg\" is compared with nothing; write a value behind it, or -m found to ask whether there is one",
        )],
    );
    wrong(
        "{ path_len gt }",
        &[(
            1,
            "\"path_len\" is compared with nothing; write a number behind gt",
        )],
    );
    wrong(
        "{ path_len 1x }",
        &[(
            1,
            "\"1x\" is no whole number; write a number such as 10, a range such as 10:20, or gt 10",
        )],
    );
    wrong(
        "{ hdr -m found }",
        &[(
            1,
            "\"hdr\" has nothing in parentheses behind it; write it as req.hdr(name)",
        )],
    );
    wrong(
        "{ hdr(a b) x }",
        &[(
            1,
            "\"hdr(a\" has no closing parenthesis; write it, or \\( for a parenthesis itself",
        )],
    );
    wrong(
        "{ hdr(x),lowerr y }",
        &[(
            1,
            "converter \"lowerr\" is unknown; did you mean \"lower\"?",
        )],
    );
    wrong(
        "{ ssl_fc_sni x }",
        &[(
            1,
            "\"ssl_fc_sni\" is unknown; of a client's TLS ssl_fc is all that can be asked",
        )],
    );
    wrong(
        "acl a path '/x",
        &[
            (
                1,
                "has a quote that is not closed: \"/x\"; close it on the same line, or write \\\" for a quote itself",
            ),
            (
                1,
                "has no condition; write one behind the acl lines, such as: if is_api METH_GET",
            ),
        ],
    );
}

#[test]
fn lines_are_taken_apart_as_in_haproxy() {
    let check = |line: &str, expected: &[&str]| {
        assert_eq!(words::words(line).unwrap(), expected, "{line}");
    };
    check("  a\tb  c # d", &["a", "b", "c"]);
    check(r"a\ b\#c \\ \.", &["a b#c", r"\", r"\."]);
    check(r#""a b#" 'c "d' x"y"z "" "#, &["a b#", "c \"d", "xyz", ""]);
    check(r#""a\"b\$c$" '\d'"#, &["a\"b$c$", r"\d"]);
    check("#", &[]);
    check("a#b", &["a"]);
    check("tail\\", &["tail\\"]);
    assert!(words::words("\"$HOME\"").is_err() && words::words("\"${X}\"").is_err());
    assert!(words::words("a\u{1}b").is_err() && words::words("'open").is_err());
}

/// What the lines of an HTTP service's settings do to a request, as one text: the verdict, then the
/// edits.
#[track_caller]
fn judged(text: &str, request: &Request) -> String {
    use crate::rules::{Edits, Verdict};
    let settings = match settings(text, Scope::Http) {
        Ok(settings) => settings,
        Err(problems) => panic!("{text}: {problems:?}"),
    };
    let mut edits = Edits::default();
    let mut told = match settings.rules.judge(request, &mut edits) {
        Verdict::Pass => "pass".to_owned(),
        Verdict::Deny { status } => format!("deny {status}"),
        Verdict::Redirect {
            status,
            location,
            fields,
        } => format!("{status} {}{}", shown(&location), lines_of(&fields)),
        Verdict::Answer {
            status,
            content_type,
            body,
            fields,
        } => format!(
            "{status} {content_type:?} {}{}",
            shown(&body),
            lines_of(&fields)
        ),
    };
    if let Some(path) = edits.path {
        told += &format!(" path={}", shown(&path));
    }
    if let Some(query) = edits.query {
        told += &format!(" query={}", shown(&query));
    }
    told += &lines_of(&edits.fields);
    let mut of_answer = Vec::new();
    settings.rules.amend(request, &mut of_answer);
    if !of_answer.is_empty() {
        told += &format!(" |{}", lines_of(&of_answer));
    }
    told
}

fn shown(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn lines_of(fields: &[crate::rules::FieldEdit]) -> String {
    use crate::rules::FieldEdit;
    let one = |edit: &FieldEdit| match edit {
        FieldEdit::Set { name, value } => format!(" {name}:={}", shown(value)),
        FieldEdit::Add { name, value } => format!(" {name}+={}", shown(value)),
        FieldEdit::Remove { name } => format!(" -{name}"),
        FieldEdit::Each { .. } => unreachable!("no rule makes one"),
    };
    fields.iter().map(one).collect()
}

#[track_caller]
fn does(text: &str, request: &Request, expected: &str) {
    assert_eq!(judged(text, request), expected, "{text}");
}

#[test]
fn fields_of_requests_are_set_added_removed_and_rewritten() {
    does("http-request set-header X-A b", &at("/"), "pass X-A:=b");
    does(
        "http-request add-header X-A '%[src] %cp %ID'",
        &at("/"),
        "pass X-A+=10.1.2.3 4000 id-1",
    );
    does(
        "http-request del-header X-A if { path /x }",
        &at("/"),
        "pass",
    );
    does(
        "http-request del-header X-A unless { path /x }",
        &at("/"),
        "pass -X-A",
    );
    does(
        "http-request set-header X-U %HM:%[capture.req.uri]:%HV:%fi:%fp:%%",
        &at("/a?b=1"),
        "pass X-U:=GET:/a?b=1:HTTP/1.1:10.0.0.9:80:%",
    );
    // As in HAProxy, all of a value becomes the new text, and lines that do not match stay.
    does(
        "http-request replace-header X-H (b) [\\1]",
        &with(&[("x-h", "abc"), ("x-h", "q")]),
        "pass X-H:=[b] X-H+=q",
    );
    does(
        "http-request replace-value X-H (b) [\\1]",
        &with(&[("x-h", "abc, q"), ("x-h", "b")]),
        "pass X-H:=[b], q X-H+=[b]",
    );
    does(
        "http-request replace-header X-H b c",
        &with(&[("x-h", "q")]),
        "pass",
    );
    does(
        "http-request set-header X-Host %[req.hdr(host),regsub(^www\\.,),upper]",
        &at("/"),
        "pass X-Host:=EXAMPLE.COM",
    );
    // The last value where one has to be chosen.
    does(
        "http-request set-header X %[hdr(a)]",
        &with(&[("a", "1,2"), ("a", "3, 4")]),
        "pass X:=4",
    );
    does(
        "reqadd X-Old:\\ yes if METH_GET\nreqidel ^X-Bad:.*",
        &at("/"),
        "pass X-Old+=yes -X-Bad",
    );
}

#[test]
fn later_rules_see_what_earlier_ones_left() {
    does(
        "http-request set-path /new%[path]\nhttp-request set-header P %[path] if { path_beg /new }\n\
         http-request set-header O %[capture.req.uri]",
        &at("/a?q"),
        "pass path=/new/a P:=/new/a O:=/a?q",
    );
    does(
        "http-request set-header X 1\nhttp-request add-header X 2\nhttp-request set-header N %[hdr_cnt(x)] if { hdr(x) 1 }\n\
         http-request del-header X\nhttp-request set-header Gone yes unless { hdr(x) -m found }",
        &with(&[("x", "0")]),
        "pass X:=1 X+=2 N:=2 -X Gone:=yes",
    );
    does(
        "http-request set-header Host Other.Test:81\nhttp-request deny if { hdr(host) other.test }",
        &at("/"),
        "deny 403 Host:=Other.Test:81",
    );
    does(
        "http-request set-var(txn.a) path,field(2,/)\nhttp-request set-header A %[var(txn.a)]\n\
         http-request unset-var(txn.a)\nhttp-request deny if { var(txn.a) -m found }",
        &at("/seg/x"),
        "pass A:=seg",
    );
}

#[test]
fn paths_and_queries_are_rewritten() {
    does(
        "http-request set-path /a%[path]",
        &at("/b?c"),
        "pass path=/a/b",
    );
    does(
        "http-request set-path a?b\\#",
        &at("/"),
        "pass path=/a%3Fb%23",
    );
    does(
        "http-request replace-path /old/(.*) /new/\\1",
        &at("/old/x?q=1"),
        "pass path=/new/x",
    );
    does(
        "http-request replace-path ^/nothing /x",
        &at("/old"),
        "pass",
    );
    does(
        "http-request set-query a=%[query]",
        &at("/?b"),
        "pass query=a=b",
    );
    does("http-request set-query ''", &at("/?b"), "pass query=");
    does(
        "http-request set-uri /x?y",
        &at("/?b"),
        "pass path=/x query=y",
    );
    does(
        "http-request replace-pathq ^/(.*)\\?(.*) /\\2?\\1",
        &at("/a?b"),
        "pass path=/b query=a",
    );
}

#[test]
fn redirects_keep_path_and_query_as_they_are_told() {
    does(
        "redirect scheme https code 301 if !{ ssl_fc }",
        &at("/a?b"),
        "301 https://www.example.com/a?b",
    );
    does(
        "http-request redirect prefix https://o.test",
        &at("/a?b"),
        "302 https://o.test/a?b",
    );
    does(
        "redirect prefix http://o drop-query append-slash",
        &at("/a?b"),
        "302 http://o/a/",
    );
    does(
        "redirect prefix http://o append-slash",
        &at("/a?b"),
        "302 http://o/a/?b",
    );
    does("redirect prefix / append-slash", &at("/a"), "302 /a/");
    does(
        "redirect location /l set-cookie A=b code 303",
        &at("/a"),
        "303 /l Set-Cookie+=A=b; path=/;",
    );
    does(
        "redirect location /l clear-cookie A=",
        &at("/a"),
        "302 /l Set-Cookie+=A=; path=/; Max-Age=0;",
    );
    does(
        "http-request redirect code 308 location https://%[hdr(host),regsub(^www.,,i)]%[capture.req.uri]",
        &at("/a?b"),
        "308 https://example.com/a?b",
    );
    does(
        "http-request redirect location %[urlp(to)] ignore-empty",
        &at("/"),
        "pass",
    );
    let nameless = Request {
        host: "",
        ..at("/x")
    };
    does("redirect scheme https", &nameless, "302 https://10.0.0.9/x");
    // Behind all other rules, also behind an allow, and they see what those changed.
    does(
        "redirect prefix https://o\nhttp-request set-path /p\nhttp-request allow\nhttp-request deny",
        &at("/a"),
        "302 https://o/p path=/p",
    );
}

#[test]
fn requests_are_denied_and_answered() {
    does("http-request deny", &at("/"), "deny 403");
    does(
        "http-request deny deny_status 429 if { path / }",
        &at("/"),
        "deny 429",
    );
    does("block if { src 10.0.0.0/8 }", &at("/"), "deny 403");
    does(
        "http-request allow if METH_GET\nhttp-request deny",
        &at("/"),
        "pass",
    );
    does(
        "http-request allow if METH_GET\nhttp-request deny",
        &by("PUT"),
        "deny 403",
    );
    does(
        "http-request return status 200 content-type text/html lf-string \"<%[path]>\" hdr X-A %[src]",
        &at("/a"),
        "200 Some(\"text/html\") </a> X-A+=10.1.2.3",
    );
    does(
        "http-request return status 204 hdr Allow GET",
        &at("/"),
        "204 None  Allow+=GET",
    );
    does(
        "http-request deny status 418 string 'no tea'",
        &at("/"),
        "418 None no tea",
    );
}

#[test]
fn answers_are_changed_and_can_still_be_asked_about_their_request() {
    let answered = |status, answer| Request {
        status,
        answer,
        ..at("/a.woff?v")
    };
    let ok = answered(200, &[("x-a", "1"), ("Set-Cookie", "s=1; Path=/old")]);
    does("http-response set-header X-B 2", &ok, "pass | X-B:=2");
    does("rspadd X-B:\\ 2\nrspdel ^X-A:", &ok, "pass | X-B+=2 -X-A");
    does(
        "http-response del-header X-A if { res.hdr(x-a) 1 }",
        &ok,
        "pass | -X-A",
    );
    does(
        "http-response set-header X 1 if { status 500:599 }",
        &ok,
        "pass",
    );
    does(
        "http-response set-header X %ST if { status lt 300 }",
        &ok,
        "pass | X:=200",
    );
    does(
        "http-response add-header X 1 if { path_end .woff }",
        &ok,
        "pass | X+=1",
    );
    does(
        "http-response replace-header Set-Cookie (.*)/old(.*) \\1/new\\2",
        &ok,
        "pass | Set-Cookie:=s=1; Path=/new",
    );
    does(
        "http-response set-header X 1\nhttp-response set-header Y 2 if { res.hdr(x) 1 }",
        &ok,
        "pass | X:=1 Y:=2",
    );
}

/// What the lines of a service's settings are told.
#[track_caller]
fn refused(scope: Scope, text: &str, expected: &[(usize, &str)]) {
    let told = settings(text, scope).expect_err(text);
    let told = told.iter().map(|told| {
        let help = told.problem.help.as_deref().unwrap_or_default();
        (told.line, format!("{}; {help}", told.problem.message))
    });
    let expected = expected
        .iter()
        .map(|(line, text)| (*line, (*text).to_owned()));
    assert_eq!(
        told.collect::<Vec<_>>(),
        expected.collect::<Vec<_>>(),
        "{text}"
    );
}

#[test]
fn a_line_that_is_not_known_is_refused_with_its_number_and_the_nearest_word() {
    refused(
        Scope::Http,
        "timeout server 5s\n\ntiemout server 5s\noption httpchkk\nbalance roundrobbin\ntimeout sever 5s\nretries many",
        &[
            (3, "\"tiemout\" is unknown; did you mean \"timeout\"?"),
            (
                4,
                "option \"httpchkk\" is unknown; did you mean \"httpchk\"?",
            ),
            (
                5,
                "balance \"roundrobbin\" is unknown; did you mean \"roundrobin\"?",
            ),
            (6, "timeout \"sever\" is unknown; did you mean \"server\"?"),
            (
                7,
                "\"many\" is no whole number; write a number from 0 to 100",
            ),
        ],
    );
    let one = |text: &str, expected: &str| refused(Scope::Http, text, &[(1, expected)]);
    one(
        "timeout server 5x",
        "timeout server \"5x\" is no duration; write a whole number and a unit: 500ms, 5s, 1m, 2h or 1d",
    );
    one(
        "timeout server 0",
        "timeout server \"0\" is out of range; it goes from 1ms to 7d",
    );
    one(
        "timeout server",
        "timeout lacks a value; write timeout NAME TIME",
    );
    one(
        "timeout server 5s 6s",
        "\"6s\" is a word too many for timeout; remove it; a value with spaces stands in quotes",
    );
    one(
        "server a 10.0.0.1:80",
        "\"server\" is not done here; upstreams are keys: upstreams/<name>",
    );
    one(
        "stats enable",
        "stats is the balancer's business; write it into settings/custom_settings",
    );
    one(
        "reqrep ^x y",
        "\"reqrep\" is not done here; write http-request replace-path or http-request replace-header",
    );
    one(
        "ssl-default-bind-ciphers x",
        "\"ssl-default-bind-ciphers\" is unknown; TLS with clients is said in settings/global_settings, see docs/tls.md",
    );
    one(
        "http-request set-heder X y",
        "http-request \"set-heder\" is unknown; did you mean \"set-header\"?",
    );
    one(
        "http-request tarpit",
        "http-request \"tarpit\" is not done here; write deny",
    );
    one(
        "http-request set-header X",
        "ends where a value has to be; write a value",
    );
    one(
        "http-request set-header X a b",
        "\"b\" stands where the line has to end; a condition begins with if or unless; a value with spaces stands in quotes",
    );
    one(
        "http-request set-header Content-Length 5",
        "field \"Content-Length\" cannot be changed; it frames the message or belongs to one connection, which no rule may change",
    );
    one(
        "http-request del-header transfer_encoding",
        "field \"transfer_encoding\" cannot be changed; it frames the message or belongs to one connection, which no rule may change",
    );
    one(
        "http-request set-header 'X Y' 5",
        "\"X Y\" is no field; ' ' cannot be in a field's name",
    );
    one(
        "http-request add-header Host x",
        "add-header Host would leave a request with none or two; write set-header Host",
    );
    one(
        "http-request set-header X %zz",
        "\"%zz\" is unknown in \"%zz\"; write %% for a %, %[...] for an expression, or one of %ci %cp %fi %fp %HM %HP %HU %HV %ID %ST",
    );
    one(
        "http-request set-header X %[path",
        "\"%[path\" has no ] behind the expression; write the expression as %[...]; quotes or \\ keep a space in it",
    );
    one(
        "http-request set-header X %[status]",
        "asks for the answer while the request is judged; there is none yet; write http-response, or ask for the request",
    );
    one(
        "http-request deny if { res.hdr(x) y }",
        "asks for the answer while the request is judged; there is none yet; write http-response, or ask for the request",
    );
    one(
        "http-request deny status 200",
        "\"200\" is out of range; it goes from 400 to 599",
    );
    one(
        "redirect scheme https code 200",
        "code \"200\" is no redirect; it is 301, 302, 303, 307 or 308",
    );
    one(
        "redirect code 301",
        "redirect says not where to; write location, prefix or scheme and a value",
    );
    one(
        "redirect location / set-cookie a;b",
        "\"a;b\" is no cookie; write NAME or NAME=VALUE, without spaces, commas and semicolons",
    );
    one(
        "tcp-request connection reject",
        "\"tcp-request\" is for TCP services; write http-request deny if ...",
    );
    one(
        "mode tcp",
        "mode \"tcp\" is not what this is; services/ are HTTP, tcp-services/ are TCP; remove the line",
    );
    one(
        "default-server maxconn 5",
        "default-server maxconn is not done here; set max_connections and max_queue, which hold for the service as a whole",
    );
    one(
        "http-check expect status 99",
        "\"99\" is no status; write 200, 200-299 or 200,204",
    );
    one(
        "option httpchk get /",
        "\"get\" is no method; write one such as GET, HEAD or OPTIONS",
    );
    one(
        "errorfile 503 503.html",
        "errorfile \"503.html\" is no whole answer; call the file 503.http; 503.html and the like need no line",
    );
    one(
        "errorfile 99 x",
        "errorfile \"99\" is no status of our own answers; it is one of 400, 401, 403, 404, 405, 408, 413, 414, 417, 421, 429, \
         431, 500, 501, 502, 503, 504, 505",
    );
}

#[test]
fn tcp_services_the_balancer_and_its_globals_have_lines_of_their_own() {
    let tcp = |text: &str, expected: &str| refused(Scope::Tcp, text, &[(1, expected)]);
    let not_http = "is about HTTP, and this service is TCP; remove the line, or keep the service under services/";
    tcp("http-request deny", not_http);
    tcp("redirect scheme https", not_http);
    tcp("cookie A insert", &format!("cookie {not_http}"));
    tcp(
        "option forwardfor",
        &format!("option forwardfor {not_http}"),
    );
    tcp(
        "tcp-request connection reject if { path / }",
        "asks for more than a TCP connection tells; src, src_port, dst and dst_port can be asked",
    );
    let fine = "timeout tunnel 1h\nbalance source\nmaxconn 5\noption tcplog\noption tcpka\nmode tcp\n\
                tcp-request connection accept if LOCALHOST\ntcp-request connection reject if !{ src 10.0.0.0/8 }";
    let settings = settings(fine, Scope::Tcp).unwrap();
    assert_eq!(settings.rules.request.len(), 2);

    let all = |text: &str, expected: &str| refused(Scope::Balancer, text, &[(1, expected)]);
    all(
        "balance source",
        "balance is a service's business; write it into the custom_settings of the services that need it",
    );
    all(
        "option httpchk",
        "option httpchk is a service's business; write it into the custom_settings of the services that need it",
    );
    all(
        "stats auth secret",
        "stats auth is no user; write NAME:PASSWORD, at most 100 of them",
    );
    // Half a password is not shown either.
    all(
        "stats auth joe:half secret",
        "stats auth is no user; write NAME:PASSWORD, with a backslash before a space in it",
    );

    let global = |text: &str, expected: &str| refused(Scope::Global, text, &[(1, expected)]);
    global(
        "ssl-default-bind-options ssl-min-ver TLSv1.0",
        "ssl-min-ver \"TLSv1.0\" is older than what is served; TLS 1.0, 1.1 and SSL are broken and nobody is served by them: write 1.2 or 1.3",
    );
    global(
        "ssl-default-bind-options no-tlsv13",
        "no-tlsv13 would do without TLS 1.3, which is always on; remove the word: who can do no more speaks TLS 1.2",
    );
    global(
        "ssl-default-bind-options force-tlsv11",
        "force-tlsv11 asks for a version that nobody is served by: tlsv11; TLS 1.2 and 1.3 are served; remove the word",
    );
    global(
        "ssl-default-bind-options no-tlsv22",
        "ssl-default-bind-options \"no-tlsv22\" is unknown; did you mean \"no-tlsv12\"?",
    );
    global(
        "ssl-default-bind-options",
        "ssl-default-bind-options lacks a value; docs/custom_settings.md lists what is understood",
    );
    global(
        "ssl-default-bind-ciphers ECDHE-RSA-AES128-GCM-SHA265",
        "ssl-default-bind-ciphers has a word that is unknown: \"ECDHE-RSA-AES128-GCM-SHA265\"; did you mean \"ECDHE-RSA-AES128-GCM-SHA256\"?",
    );
    global(
        "ssl-default-bind-ciphersuites ECDHE+AESGCM",
        "ssl-default-bind-ciphersuites \"ECDHE+AESGCM\" has suites of older versions; it names suites of TLS 1.3; write the others into ssl-default-bind-ciphers",
    );
    global(
        "ssl-default-bind-curves P-256",
        "\"ssl-default-bind-curves\" is not done here; X25519MLKEM768, X25519, P-256 and P-384 are what is taken; remove the line",
    );
    global(
        "ssl-default-bind-cipers x",
        "\"ssl-default-bind-cipers\" is unknown; did you mean \"ssl-default-bind-ciphers\"?",
    );
    global(
        "maxcon 5",
        "\"maxcon\" is unknown; did you mean \"maxconn\"?",
    );
    global(
        "http-request deny",
        "does not belong into global_settings; write it into custom_settings",
    );
    let settings = super::settings(
        "maxconn 5\nnbthread 4\ntune.bufsize 1\nhard-stop-after 9s",
        Scope::Global,
    )
    .unwrap();
    assert_eq!(settings.max_connections.unwrap().value, 5);
    assert_eq!(settings.timeouts.drain.unwrap().value.as_secs(), 9);
    assert_eq!(settings.warnings.len(), 2);
}

#[test]
fn stats_lines_are_kept() {
    let text = "stats enable\nstats uri /lbstats?x\nstats auth user:docker\nstats realm 'My page'\nstats hide-version";
    let settings = settings(text, Scope::Balancer).unwrap();
    assert_eq!(settings.warnings, []);
    assert_eq!(
        settings.stats,
        StatsLines {
            is_on: true,
            uri: "/lbstats".into(),
            realm: Some("My page".into()),
            users: vec![("user".into(), "docker".into())],
        }
    );
}

#[test]
fn what_says_nothing_here_is_told_and_what_is_always_so_is_not() {
    let silent = "option http-ignore-probes\noption dontlognull\noption redispatch 3\noption httplog\n\
                  option http-keep-alive\noption forwardfor\nhttp-reuse safe\nmode http";
    assert_eq!(settings(silent, Scope::Http).unwrap().warnings, []);
    let told = "option http-server-close\noption forceclose\ntimeout client-fin 1s\ntimeout http-request 5s\n\
                option forwardfor except 127.0.0.0/8\nlog global\nfullconn 5\ntimeout server 5\ntimeout server 9s";
    let told = settings(told, Scope::Http).unwrap().warnings;
    let lines: Vec<_> = told.iter().map(|told| told.line).collect();
    assert_eq!(lines, [1, 2, 3, 4, 5, 6, 7, 8, 9]);
    assert_eq!(
        told[8].problem.message,
        "timeout server replaces the one of line 8"
    );
    does(
        "option forwardfor header X-Client",
        &at("/"),
        "pass X-Client:=10.1.2.3",
    );
}

/// Lines of an HTTP service and how the rules they become are shown.
#[track_caller]
fn spelled(lines: &str, expected: &[&str]) {
    let rules = super::settings(lines, Scope::Http).expect(lines).rules;
    let request = rules.request.iter().map(ToString::to_string);
    let redirects = rules.redirects.iter().map(ToString::to_string);
    let answer = rules.answer.iter().map(ToString::to_string);
    let all: Vec<String> = request.chain(redirects).chain(answer).collect();
    assert_eq!(all, expected);
}

#[test]
fn rules_are_shown_in_words_close_to_those_they_were_written_in() {
    spelled(
        "acl adm path_beg /admin /intern\nacl home src 10.0.0.0/8 ::1\nacl home hdr_ip(x-real) 10.0.0.1\n\
         http-request deny if adm !home || { hdr_sub(user-agent) -i \"Bad One\" }\n\
         http-request replace-path ^/a/(.*) /\\1\n\
         http-request set-header X-A %[path,lower,regsub(^/x,/y,g)]-100%% unless { method GET HEAD }\n\
         http-request set-var(txn.a) req.hdr(x-a,-1)\n\
         http-request return status 200 content-type text/plain string \"hi you\" if { path -m reg -i ^/hi$ }\n\
         redirect scheme https code 301 drop-query if !{ ssl_fc }\n\
         http-response replace-header Location ^http:(.*) \"https:\\1; x\" if { status 200:299 }\n\
         http-response del-header Server if { res.hdr_cnt(server) gt 1 } { var(txn.a) -m found }",
        &[
            "deny status 403 if { path -m beg /admin /intern } \
             !( { src 10.0.0.0/8 ::1/128 } || { req.hdr(x-real) -m ip 10.0.0.1/32 } ) || \
             { req.hdr(user-agent) -i -m sub 'bad one' }",
            "replace-path ^/a/(.*) /\\1",
            "set-header X-A %[path,lower,regsub(^/x,/y,g)]-100%% unless { method GET HEAD }",
            "set-var(txn.a) req.hdr(x-a,-1)",
            "return status 200 content-type text/plain string 'hi you' if { path -i -m reg ^/hi$ }",
            "redirect scheme https code 301 drop-query if !{ ssl_fc }",
            "replace-header Location ^http:(.*) 'https:\\1; x' if { status 200:299 }",
            "del-header Server if { res.hdr_cnt(server) 2: } { var(txn.a) -m found }",
        ],
    );
}

#[test]
fn credentials_in_rules_are_not_shown() {
    spelled(
        "http-request set-header Authorization \"Basic c2VjcmV0\"\n\
         http-request set-header cookie secret=%[src]\n\
         http-request set-header Authorization %[req.hdr(x-auth)]\n\
         redirect location /in code 303 set-cookie SEEN=secret",
        &[
            "set-header Authorization (not shown)",
            "set-header cookie (not shown)",
            "set-header Authorization %[req.hdr(x-auth)]",
            "redirect location /in code 303 set-cookie SEEN",
        ],
    );
}

use proptest::prelude::*;

use super::super::{Accepted, Balancer, Unit, parse};
use super::*;
use crate::diag::Diagnostic;
use crate::names::UnitName;

/// What `fields` of a service come to, and the report on them.
fn read(fields: &str, compat: Compat) -> (Option<Sticky>, String) {
    let text = format!("service:\n  name: web\n{fields}");
    let defaults = Balancer {
        compat,
        ..Balancer::default()
    };
    let report = |diagnostics: Vec<Diagnostic>| {
        let lines = diagnostics.iter().map(ToString::to_string);
        lines.collect::<Vec<_>>().join("\n")
    };
    match parse(&UnitName::from("services/web"), &text, &defaults) {
        Ok(Accepted {
            unit: Unit::Service(service),
            warnings,
            ..
        }) => {
            let sticky = service.policy.and_then(|policy| policy.sticky.clone());
            (sticky, report(warnings))
        }
        Ok(other) => panic!("no service: {other:?}"),
        Err(diagnostics) => (None, report(diagnostics)),
    }
}

#[track_caller]
fn cookie(text: &str) -> StickyCookie {
    match read(&format!("  cookie: '{text}'\n"), Compat::Pointsman) {
        (Some(Sticky::Cookie(cookie)), report) if report.is_empty() => cookie,
        other => panic!("{text}: {other:?}"),
    }
}

/// The whole report on the `cookie` of this text.
#[track_caller]
fn refused(text: &str, expected: &str) {
    let text = text.replace('\'', "''");
    let (sticky, report) = read(&format!("  cookie: '{text}'\n"), Compat::Pointsman);
    assert_eq!(sticky, None, "{text}");
    assert_eq!(
        report,
        format!("error: services/web:3:11: cookie {expected}")
    );
}

#[test]
fn an_empty_cookie_is_the_usual_one_under_the_name_of_the_habit() {
    for field in ["  cookie: ''\n", "  cookie: '  '\n", "  cookie:\n"] {
        for (compat, name) in [
            (Compat::Pointsman, "LB_SERVERID"),
            (Compat::Kontena, "KONTENA_SERVERID"),
        ] {
            let (sticky, report) = read(field, compat);
            let Some(Sticky::Cookie(cookie)) = sticky else {
                panic!("{field}: {sticky:?}");
            };
            assert_eq!((cookie.name.as_str(), report.as_str()), (name, ""));
            assert_eq!(
                cookie.to_string(),
                format!(
                    "{name} insert indirect nocache; path=/; HttpOnly; SameSite=Lax; Secure on TLS"
                )
            );
        }
    }
    assert_eq!(read("", Compat::Kontena), (None, String::new()));
}

#[test]
fn a_directive_means_what_its_words_say_and_no_more() {
    let check = |text: &str, expected: &str| assert_eq!(cookie(text).to_string(), expected);
    check("cookie SRV insert", "SRV insert; path=/");
    check(
        "SRV insert indirect nocache",
        "SRV insert indirect nocache; path=/",
    );
    check(
        "cookie JSESSIONID prefix nocache",
        "JSESSIONID prefix nocache",
    );
    check("cookie SRV rewrite", "SRV rewrite");
    check("cookie SRV", "SRV");
    check("cookie cookie insert", "cookie insert; path=/");
    check(
        "SRV nocache preserve postonly insert insert",
        "SRV insert nocache postonly preserve; path=/",
    );
    check("SRV insert dynamic", "SRV insert dynamic; path=/");
    check(
        "SRV insert maxidle 1800 maxlife 8h",
        "SRV insert maxidle 30m maxlife 8h; path=/",
    );
    check(
        "SRV insert secure httponly domain .a.com domain b.org attr \"SameSite=Lax\" attr Foo\\ bar",
        "SRV insert; path=/; domain=.a.com; domain=b.org; HttpOnly; Secure; SameSite=Lax; Foo bar",
    );
    check("SRV insert attr \"Path=/app\"", "SRV insert; Path=/app");
    assert_eq!(
        directive(&["SRV", "insert"]),
        directive(&["cookie", "SRV", "insert"])
    );
}

#[test]
fn words_that_cannot_be_honoured_are_refused() {
    refused(
        "cookie",
        "names no cookie; write its name, as in \"cookie SRV insert indirect nocache\"",
    );
    refused(
        "true",
        "\"true\" is no cookie; write the key empty for the usual cookie, remove it for none",
    );
    refused(
        "S;RV insert",
        "\"S;RV\" is no name of a cookie; ';' cannot be in it; letters, digits, - _ and . can",
    );
    refused(
        &format!("{} insert", "a".repeat(129)),
        &format!(
            "\"{}\"... (129 bytes) is no name of a cookie; it has at most 128 characters",
            "a".repeat(60)
        ),
    );
    refused(
        "\"\" insert",
        "\"\" is no name of a cookie; it cannot be empty",
    );
    refused(
        "SRV insrt",
        "\"insrt\" is unknown; did you mean \"insert\"?",
    );
    refused(
        "SRV foo",
        "\"foo\" is unknown; it is one of insert, prefix, rewrite, indirect, nocache, postonly, \
         preserve, httponly, secure, domain, maxidle, maxlife, dynamic, attr",
    );
    refused(
        "SRV insert path /app",
        "\"path\" is unknown; write it as an attribute: attr \"Path=/app\"",
    );
    refused(
        "SRV insert prefix",
        "says both insert and prefix; keep one of them",
    );
    refused(
        "SRV rewrite indirect",
        "says both rewrite and indirect; remove indirect: nothing would be left to rewrite",
    );
    refused(
        "SRV prefix secure",
        "has secure, which says nothing without insert; \
         remove secure: the application decides on a cookie that it sets itself",
    );
    for word in [
        "postonly",
        "httponly",
        "domain a.com",
        "attr a=b",
        "maxidle 5",
        "maxlife 5",
    ] {
        let name = word.split(' ').next().unwrap();
        refused(
            &format!("SRV {word}"),
            &format!(
                "has {name}, which says nothing without insert; \
                 remove {name}: the application decides on a cookie that it sets itself"
            ),
        );
    }
    refused(
        "SRV prefix preserve",
        "has preserve, which says nothing without insert or indirect; remove preserve",
    );
    refused(
        "SRV insert domain",
        "has nothing behind domain; write what is meant, as in \"domain .example.com\"",
    );
    refused(
        "SRV insert attr",
        "has nothing behind attr; write what is meant, as in \"attr SameSite=Lax\"",
    );
    refused(
        "SRV insert maxidle",
        "has nothing behind maxidle; write what is meant, as in \"maxidle 30m\"",
    );
    refused(
        "SRV insert maxlife",
        "has nothing behind maxlife; write what is meant, as in \"maxlife 8h\"",
    );
    refused(
        "SRV insert domain http://a.com",
        "has the domain \"http://a.com\", which is no domain; \
         write a name such as example.com, without scheme and port",
    );
    refused(
        "SRV insert attr \"a=b; Secure\"",
        "has the attribute \"a=b; Secure\", which is none; \
         ';' cannot be in it; write attr once for each attribute",
    );
    refused(
        "SRV insert attr \"\"",
        "has the attribute \"\", which is none; it cannot be empty",
    );
    refused(
        "SRV insert maxidle 5x",
        "maxidle \"5x\" is no duration; \
         write a whole number and a unit: 500ms, 5s, 1m, 2h or 1d",
    );
    refused(
        "SRV insert maxlife 0",
        "maxlife \"0s\" is out of range; it goes from 1s to 3650d",
    );
    refused(
        "SRV insert attr \"a",
        "has a \" that is not closed; close it, or write a backslash in front of it",
    );
    refused(
        "SRV insert attr 'a",
        "has a ' that is not closed; close it, or write a backslash in front of it",
    );
    refused(
        "SRV insert\\",
        "ends with a backslash; write \\\\ for a backslash",
    );
}

#[test]
fn the_value_is_the_name_unless_it_is_to_be_opaque() {
    let value = |fields: &str| match read(fields, Compat::Pointsman) {
        (Some(Sticky::Cookie(cookie)), _) => Ok(cookie.value),
        (_, report) => Err(report),
    };
    assert_eq!(value("  cookie: ''\n"), Ok(CookieValue::Name));
    assert_eq!(
        value("  cookie: ''\n  cookie_value: Opaque\n"),
        Ok(CookieValue::Opaque)
    );
    assert_eq!(
        value("  cookie: S prefix\n  cookie_value: opaque\n"),
        Ok(CookieValue::Opaque)
    );
    assert_eq!(
        value("  cookie: S insert dynamic\n"),
        Ok(CookieValue::Opaque)
    );
    assert_eq!(
        value("  cookie: S insert dynamic\n  cookie_value: name\n"),
        Err(
            "error: services/web:4:17: cookie_value \"name\" says the opposite of dynamic in \
             cookie; remove one of the two"
                .into()
        )
    );
    assert_eq!(
        value("  cookie: ''\n  cookie_value: opaqe\n"),
        Err(
            "error: services/web:4:17: cookie_value \"opaqe\" is unknown; did you mean \"opaque\"?"
                .into()
        )
    );
    assert_eq!(
        value("  cookie_value: opaque\n"),
        Err(
            "warning: services/web:3:17: cookie_value says nothing without cookie; \
             write cookie, empty for the usual one, or remove cookie_value"
                .into()
        )
    );
}

#[test]
fn a_session_cookie_of_the_application_stands_alone() {
    let hash = Sticky::Hash {
        cookie: "sid".to_owned(),
    };
    assert_eq!(
        read("  sticky_session_cookie: sid\n", Compat::Pointsman),
        (Some(hash), String::new())
    );
    let report = |fields: &str| read(fields, Compat::Pointsman).1;
    assert_eq!(
        report("  sticky_session_cookie: s id\n"),
        "error: services/web:3:26: sticky_session_cookie \"s id\" is no name of a cookie; \
         ' ' cannot be in it; letters, digits, - _ and . can"
    );
    for cookie in ["", "SRV insert"] {
        assert_eq!(
            report(&format!(
                "  cookie: '{cookie}'\n  sticky_session_cookie: sid\n"
            )),
            "error: services/web:4:26: sticky_session_cookie cannot be had together with cookie; \
             keep one of them: a client sticks by one cookie"
        );
    }
}

#[test]
fn no_cookie_makes_a_tcp_service_sticky() {
    for field in ["cookie", "cookie_value", "sticky_session_cookie"] {
        let value = if field == "cookie" { "" } else { "nonsense ;" };
        let (sticky, report) = read(
            &format!("  mode: tcp\n  {field}: '{value}'\n"),
            Compat::Pointsman,
        );
        assert_eq!(sticky, None);
        let column = field.len() + 5;
        assert_eq!(
            report,
            format!(
                "warning: services/web:4:{column}: {field} says nothing when mode is tcp; \
                 remove it, or set mode to \"http\""
            )
        );
    }
}

proptest! {
    #[test]
    fn no_directive_is_too_odd(text in "(cookie |insert |attr |domain |maxidle |[ -~é\\t]){0,8}") {
        if let Ok(Sticky::Cookie(cookie)) = written_directive(&text) {
            prop_assert!(!cookie.name.is_empty());
            prop_assert!(cookie.attributes.bytes().all(|b| (b' '..=b'~').contains(&b)));
        }
    }
}

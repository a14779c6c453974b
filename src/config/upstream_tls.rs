//! `upstream_tls`: whether upstreams are spoken to by TLS, whom they have to prove to be, and what they
//! are shown.

use std::sync::Arc;

use rustls_pki_types::ServerName;

use super::fields::Fields;
use super::unit::Mode;
use super::values::{self, Problem};
use crate::diag::quoted;
use crate::tls::{self, Authorities};

/// What says nothing without `upstream_tls`.
const ITS_FIELDS: &[&str] = &[
    "upstream_tls_ca",
    "upstream_tls_name",
    "upstream_tls_certificate",
    "upstream_tls_verify",
];

/// How connections to a service's upstreams are secured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamTls {
    /// `upstream_tls_ca`: who has to have signed their certificates. `None`: somebody whom the system
    /// trusts.
    pub authorities: Option<Arc<Authorities>>,
    /// `upstream_tls_name`: whom they are asked for, and have to be. `None`: each its own address.
    pub name: Option<ServerName<'static>>,
    /// `upstream_tls_certificate`: what they are shown if they ask.
    pub certificate: Option<Arc<tls::Certificate>>,
    /// `upstream_tls_verify`, default true. Without it anybody can be them.
    pub verifies: bool,
}

/// `None`: their connections are plain. Whether this machine has authorities of its own is not asked
/// here: one text is good on all nodes or on none. Where they are missing, connecting fails and says so.
pub(super) fn read(fields: &mut Fields<'_>, mode: &Mode) -> Option<UpstreamTls> {
    let is_on = fields.read("upstream_tls", values::boolean);
    let authorities = pem(fields, "upstream_tls_ca", Authorities::read);
    let name = fields.read("upstream_tls_name", server_name);
    let certificate = pem(
        fields,
        "upstream_tls_certificate",
        tls::Certificate::read_shown,
    );
    for warning in certificate.iter().flat_map(|c| c.warnings()) {
        let field = "upstream_tls_certificate";
        let message = format!("{field} {}", warning.message);
        fields.warn(warning.code, field, message, &warning.help);
    }
    let verifies = fields.read("upstream_tls_verify", verify).unwrap_or(true);
    if is_on != Some(true) {
        if is_on.is_some() || !fields.is_set("upstream_tls") {
            for field in ITS_FIELDS {
                if fields.is_set(field) {
                    fields.warn(
                        "unused-field",
                        field,
                        format!("{field} says nothing without upstream_tls"),
                        "set upstream_tls to true, or remove it",
                    );
                }
            }
        }
        return None;
    }
    if let Mode::Http(routes) = mode
        && routes.passthrough.is_some()
    {
        fields.error(
            "conflict",
            "upstream_tls",
            "upstream_tls cannot be done with ssl_passthrough",
            "what goes to the upstreams is TLS already: remove one of the two",
        );
    }
    if !verifies {
        fields.warn(
            "unverified-upstreams",
            "upstream_tls_verify",
            "upstream_tls_verify is off: whoever answers at their addresses is taken for the upstreams"
                .to_owned(),
            "write who signed their certificates to upstream_tls_ca, and remove this",
        );
        if fields.is_set("upstream_tls_ca") {
            fields.warn(
                "unused-field",
                "upstream_tls_ca",
                "upstream_tls_ca says nothing when upstream_tls_verify is off".to_owned(),
                "remove one of the two",
            );
        }
    }
    Some(UpstreamTls {
        // Equal where it makes no difference.
        authorities: authorities.filter(|_| verifies).map(Arc::new),
        name,
        certificate: certificate.map(Arc::new),
        verifies,
    })
}

fn pem<T>(
    fields: &mut Fields<'_>,
    field: &str,
    read: impl FnOnce(&str) -> Result<T, Vec<tls::Problem>>,
) -> Option<T> {
    let text = fields.verbatim(field)?;
    match read(text) {
        Ok(read) => Some(read),
        Err(problems) => {
            for problem in problems {
                let message = format!("{field} {}", problem.message);
                fields.error(problem.code, field, &message, &problem.help);
            }
            None
        }
    }
}

fn server_name(text: &str) -> Result<ServerName<'static>, Problem> {
    let bare = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
    ServerName::try_from(bare).map_err(|_| {
        Problem::new(
            format!("{} is no name of a server", quoted(text)),
            "write a host name such as app.internal, or an address; without port, and no wildcard: \
             what is in the certificate may be one",
        )
    })
}

/// Also in HAProxy's words.
fn verify(text: &str) -> Result<bool, Problem> {
    match text.to_ascii_lowercase().as_str() {
        "none" => Ok(false),
        "required" => Ok(true),
        _ => values::boolean(text),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Balancer, Unit, parse};
    use super::*;
    use crate::tls::tests::certs::{Authority, Leaf};

    type Told = Vec<(String, String)>;

    /// What a service's fields come to, and code and field of everything that is told.
    fn of(lines: &str) -> (Option<Option<Arc<UpstreamTls>>>, Told) {
        let text = format!("service:\n  name: web\n{lines}");
        let (service, told) = match parse(&"services/web".into(), &text, &Balancer::default()) {
            Ok(accepted) => match accepted.unit {
                Unit::Service(service) => (Some(service.upstream_tls), accepted.warnings),
                other => panic!("{other:?}"),
            },
            Err(told) => (None, told),
        };
        let told = told
            .into_iter()
            .map(|d| (d.code, d.field.unwrap_or_default()));
        (service, told.collect())
    }

    fn pem(field: &str, pem: &str) -> String {
        let lines: String = pem.lines().map(|line| format!("    {line}\n")).collect();
        format!("  {field}: |\n{lines}")
    }

    fn told(expected: &[(&str, &str)]) -> Told {
        let owned = |(code, field): &(&str, &str)| ((*code).to_owned(), (*field).to_owned());
        expected.iter().map(owned).collect()
    }

    #[test]
    fn it_is_off_unless_it_is_on_and_verifies_unless_it_is_told_not_to() {
        assert_eq!(of("  upstream_tls: false\n"), (Some(None), told(&[])));
        let usual = UpstreamTls {
            authorities: None,
            name: None,
            certificate: None,
            verifies: true,
        };
        for on in [
            "",
            "  upstream_tls_verify: required\n",
            "  upstream_tls_verify: 'yes'\n",
        ] {
            let (read, said) = of(&format!("  upstream_tls: 'on'\n{on}"));
            assert_eq!(read, Some(Some(Arc::new(usual.clone()))), "{on}");
            assert_eq!(said, told(&[]));
        }
        let off = Arc::new(UpstreamTls {
            verifies: false,
            ..usual
        });
        let warning = ("unverified-upstreams", "upstream_tls_verify");
        let (read, said) = of("  upstream_tls: true\n  upstream_tls_verify: None\n");
        assert_eq!((read, said), (Some(Some(off.clone())), told(&[warning])));
        // Who is believed makes no difference then.
        let ca = pem("upstream_tls_ca", &Authority::root("one").pem());
        let (read, said) = of(&format!(
            "  upstream_tls: true\n  upstream_tls_verify: off\n{ca}"
        ));
        assert_eq!(read, Some(Some(off)));
        assert_eq!(said, told(&[warning, ("unused-field", "upstream_tls_ca")]));
    }

    #[test]
    fn without_it_the_others_say_nothing_and_are_read_all_the_same() {
        let ca = pem("upstream_tls_ca", &Authority::root("one").pem());
        let own = pem("upstream_tls_certificate", &Leaf::of(&[]).alone().pem());
        let (name, verify) = (
            "  upstream_tls_name: app.test\n",
            "  upstream_tls_verify: none\n",
        );
        let unused = ITS_FIELDS.iter().map(|field| ("unused-field", *field));
        let unused: Vec<_> = unused.collect();
        for mode in ["", "  upstream_tls: no\n", "  mode: tcp\n"] {
            let (read, said) = of(&format!("{mode}{ca}{name}{own}{verify}"));
            assert_eq!((read, said), (Some(None), told(&unused)), "{mode}");
        }
        let (read, said) = of("  upstream_tls_ca: none\n");
        assert_eq!(read, None);
        assert!(said.contains(&("no-certificate".to_owned(), "upstream_tls_ca".to_owned())));
        // What it should be is not known: that alone is told.
        let (_, said) = of("  upstream_tls: perhaps\n  upstream_tls_name: app.test\n");
        assert_eq!(said, told(&[("bad-value", "upstream_tls")]));
    }

    #[test]
    fn names_are_those_of_one_server() {
        let name = |text: &str| server_name(text).map(|name| name.to_str().into_owned());
        assert_eq!(name("App.Internal."), Ok("app.internal".to_owned()));
        assert_eq!(name("my_app"), Ok("my_app".to_owned()));
        assert_eq!(name("10.0.0.1"), Ok("10.0.0.1".to_owned()));
        assert_eq!(name("FD00::1"), Ok("fd00::1".to_owned()));
        for wrong in [
            "*.app.test",
            "app:443",
            "https://app",
            "a b",
            "a..b",
            "[::1]",
            "\u{e4}.test",
        ] {
            assert!(name(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_is_tls_already_is_not_made_so_once_more() {
        let (_, said) =
            of("  upstream_tls: true\n  ssl_passthrough: true\n  virtual_hosts: a.test\n");
        assert_eq!(said, told(&[("conflict", "upstream_tls")]));
    }
}

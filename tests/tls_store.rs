//! TLS as etcd tells of it: a certificate and its service come in one transaction, and what a node saved keeps
//! its guards while nobody can be asked.

mod support;

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use support::certs::{self, Authority, Leaf};
use support::etcd::Etcd;
use support::origin::Origin;
use support::pointsman::{Pointsman, Service};
use support::tls::{self, Tls};
use support::wait_until;
use tokio::runtime::Runtime;

const ROOT: &str = "/pointsman/lb/";
const NAMES: usize = 36;

/// An etcd, and what tells it something.
struct Told {
    runtime: Runtime,
    etcd: Etcd,
}

impl Told {
    fn new() -> Self {
        let runtime = Runtime::new().expect("a runtime");
        let etcd = runtime.block_on(Etcd::start());
        Self { runtime, etcd }
    }

    /// All of it in one transaction.
    fn put(&self, keys: impl IntoIterator<Item = (String, String)>) -> u64 {
        let keys: Vec<_> = keys
            .into_iter()
            .map(|(key, value)| (format!("{ROOT}{key}"), value))
            .collect();
        let changes = keys.iter().map(|(key, value)| (key.as_str(), Some(value)));
        self.runtime.block_on(self.etcd.transact(changes))
    }

    fn store(&self) -> String {
        self.etcd.spec().to_string()
    }
}

fn owned(service: &Service) -> Vec<(String, String)> {
    let keys = service.keys();
    keys.map(|(key, value)| (key, value.to_owned())).collect()
}

#[test]
fn who_is_shown_a_new_certificate_is_led_to_the_service_that_came_with_it() {
    let told = Told::new();
    let origin = Origin::saying("hello");
    let usual = certs::town_hall().sign(&Leaf::of(&[certs::TOWN])).pem();
    told.put([("certs/town".to_owned(), usual)]);
    let pointsman = Pointsman::builder().store(&told.store()).start();
    let https = pointsman.https();
    let mut waited = 0;
    for n in 0..NAMES {
        let name = format!("n-{n}.test");
        let bundle = certs::town_hall().sign(&Leaf::of(&[&name]));
        let new = CertificateDer::from_pem_slice(bundle.cert.as_bytes()).expect("a certificate");
        let service = Service::http(&format!("n-{n}"))
            .hosts(&name)
            .upstream(origin.addr());
        // Checked as services are by default: nobody has found the upstream to be up yet.
        let service = match n % 2 {
            0 => service,
            _ => service.without("health_check"),
        };
        let mut keys = owned(&service);
        keys.push((format!("certs/n-{n}"), bundle.pem()));
        let is_probing = AtomicBool::new(false);
        waited += thread::scope(|scope| {
            let prober = scope.spawn(|| {
                let mut others = 0;
                loop {
                    let (mut client, shaken) = Tls::careless().shake(https, &name);
                    if shaken.chain[0] == new {
                        let status = client.get(&name, "/").status();
                        assert_eq!(status, 200, "{name} after {others} other handshakes");
                        return others;
                    }
                    others += 1;
                    is_probing.store(true, Relaxed);
                }
            });
            wait_until("the prober is at it", || is_probing.load(Relaxed));
            told.put(keys);
            prober.join().expect("the prober")
        });
    }
    assert!(waited >= NAMES, "every name was asked for before it came");
    assert_eq!(origin.requests().len(), NAMES);
}

#[test]
fn a_node_that_starts_without_its_store_asks_clients_and_upstreams_as_before() {
    let mut told = Told::new();
    let (plain, secret) = (Origin::saying("staff"), Origin::saying("by tls"));
    let staff = Authority::root("staff");
    let app = certs::town_hall().sign(&Leaf::of(&["app.test"]));
    let secured = tls::ended_before(secret.addr(), &app);
    let asking = Service::http("staff")
        .hosts("staff.test")
        .key("ssl_client_ca", &staff.pem())
        .upstream(plain.addr());
    let inner = |name: &str, believed: &Authority| {
        Service::http(name)
            .hosts(&format!("{name}.test"))
            .key("upstream_tls", "true")
            .key("upstream_tls_ca", &believed.pem())
            .key("upstream_tls_name", "app.test")
            .upstream(secured)
    };
    let names = Leaf::of(&["staff.test", certs::TOWN]);
    let bundle = certs::town_hall().sign(&names).pem();
    let mut keys = vec![("certs/town".to_owned(), bundle)];
    keys.extend(owned(&asking));
    keys.extend(owned(&inner("inner", certs::town_hall())));
    // The upstream is not who this service asks for.
    keys.extend(owned(&inner("wrong", &Authority::root("another"))));
    told.put(keys);

    let mut pointsman = Pointsman::builder().store(&told.store()).start();
    let anna = staff.sign(&Leaf::of(&[]).common_name("anna"));
    let elsewhere = Authority::root("staff").sign(&Leaf::of(&[]).common_name("anna"));
    let assert_guarded = |pointsman: &Pointsman, when: &str| {
        let status = |tls: Tls| {
            let mut client = tls.connect(pointsman.https(), "staff.test");
            client.get("staff.test", "/").status()
        };
        assert_eq!(status(tls::town()), 403, "{when}");
        assert_eq!(status(tls::town().showing(&elsewhere)), 403, "{when}");
        assert_eq!(status(tls::town().showing(&anna)), 200, "{when}");
        assert_eq!(pointsman.get("staff.test", "/").status(), 308, "{when}");
        let answer = pointsman.get("inner.test", "/");
        assert_eq!(
            (answer.status(), answer.text().as_str()),
            (200, "by tls"),
            "{when}"
        );
        assert_eq!(pointsman.get("wrong.test", "/").status(), 502, "{when}");
    };
    assert_guarded(&pointsman, "with its store");
    told.etcd.kill();
    pointsman.kill();
    for start in ["first start without it", "second start without it"] {
        pointsman.start_again();
        pointsman.wait_until_ready();
        assert_eq!(pointsman.status()["stores"][0]["connected"], false);
        assert_guarded(&pointsman, start);
        pointsman.kill();
    }
    assert_eq!((plain.requests().len(), secret.requests().len()), (3, 3));
}

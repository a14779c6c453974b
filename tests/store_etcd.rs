//! The etcd store against a real etcd.

mod support;

use std::time::{Duration, Instant};

use etcd_client::{CompactionOptions, PutOptions, Txn, TxnOp};
use pointsman::snapshot::{Snapshot, why_unusable};
use pointsman::store::{self, EtcdOptions, Store, StoreOptions, StoreSpec};
use support::etcd::{Etcd, plain_options};
use support::free_port;
use support::relay::{Relay, State};
use tokio::time::timeout;

const ROOT: &str = "/pointsman/lb";

/// Longer than anything here should take, shorter than a patience.
const LONG: Duration = Duration::from_secs(20);

async fn next(store: &mut Store) -> Snapshot {
    match timeout(LONG, store.next()).await {
        Ok(snapshot) => snapshot,
        Err(_) => panic!("no snapshot came; health: {:#?}", store.health()),
    }
}

/// Takes snapshots until one is as wanted.
async fn until(store: &mut Store, wanted: impl Fn(&Snapshot) -> bool) -> Snapshot {
    loop {
        let snapshot = next(store).await;
        if wanted(&snapshot) {
            return snapshot;
        }
    }
}

async fn nothing_comes(store: &mut Store, within: Duration) {
    if let Ok(snapshot) = timeout(within, store.next()).await {
        panic!("a snapshot came: {snapshot:?}");
    }
}

async fn health_says(store: &Store, wanted: impl Fn(&store::StoreHealth) -> bool) {
    let start = Instant::now();
    while !wanted(&store.health()[0]) {
        assert!(start.elapsed() < LONG, "health: {:#?}", store.health());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// The first snapshot of a store, and it is following changes.
async fn started(store: &mut Store) -> Snapshot {
    let first = next(store).await;
    health_says(store, |h| h.connected).await;
    first
}

fn value<'a>(snapshot: &'a Snapshot, key: &str) -> Option<&'a str> {
    std::str::from_utf8(snapshot.get(key)?).ok()
}

fn key(rest: &str) -> String {
    format!("{ROOT}/{rest}")
}

#[tokio::test]
async fn a_change_is_seen_with_its_revision() {
    let etcd = Etcd::start().await;
    etcd.put(&key("services/web/balance"), "roundrobin").await;
    let mut store = store::open(vec![etcd.spec()], plain_options());
    let first = next(&mut store).await;
    assert_eq!(value(&first, "services/web/balance"), Some("roundrobin"));

    let revision = etcd.put(&key("services/web/balance"), "source").await;
    let second = next(&mut store).await;
    assert_eq!(second.revision(), revision);
    assert_eq!(value(&second, "services/web/balance"), Some("source"));
    assert_eq!(first.diff(&second).len(), 1);

    let revision = etcd.delete(&key("services/web/")).await;
    let third = next(&mut store).await;
    assert_eq!(third.revision(), revision);
    assert!(third.is_empty());
    let health = &store.health()[0];
    assert!(
        health.connected && health.last_error.is_none(),
        "{health:?}"
    );
}

#[tokio::test]
async fn keys_beside_the_root_are_not_seen() {
    let etcd = Etcd::start().await;
    etcd.put("/pointsman/lb2/services/a/balance", "x").await;
    etcd.put("/pointsman/lb.status/nodes/n", "x").await;
    etcd.put("/pointsman/lb", "x").await;
    etcd.put(&key("settings/a"), "x").await;
    let mut store = store::open(vec![etcd.spec()], plain_options());
    assert_eq!(next(&mut store).await.len(), 1);
    etcd.put("/pointsman/lb.status/nodes/n", "y").await;
    nothing_comes(&mut store, Duration::from_millis(200)).await;
}

#[tokio::test]
async fn a_transaction_is_never_torn() {
    let etcd = Etcd::start().await;
    let mut store = store::open(vec![etcd.spec()], plain_options());
    next(&mut store).await;
    let mut client = etcd.client().await;
    let writer = tokio::spawn(async move {
        for round in 0..500_u32 {
            let (from, to) = if round % 2 == 0 {
                ("a", "b")
            } else {
                ("b", "a")
            };
            let host = |service| format!("{ROOT}/services/{service}/virtual_hosts");
            let txn = Txn::new().and_then([
                TxnOp::delete(host(from), None),
                TxnOp::put(host(to), "www.example.com", None),
                TxnOp::put(format!("{ROOT}/settings/round"), round.to_string(), None),
            ]);
            client.txn(txn).await.expect("txn");
        }
    });
    let mut seen = 0;
    let mut last = Snapshot::default();
    while value(&last, "settings/round") != Some("499") {
        last = next(&mut store).await;
        seen += 1;
        let owners = ["a", "b"]
            .iter()
            .filter(|s| last.get(&format!("services/{s}/virtual_hosts")).is_some())
            .count();
        assert_eq!(owners, 1, "at revision {}", last.revision());
    }
    writer.await.expect("writer");
    println!("500 transactions in {seen} snapshots");
}

/// A watcher that comes back after a long time gets many revisions in few messages.
#[tokio::test]
async fn catching_up_is_never_torn_and_ends_at_the_newest() {
    let etcd = Etcd::start().await;
    let mut follower = store::open(vec![etcd.spec()], plain_options());
    next(&mut follower).await;
    let mut client = etcd.client().await;
    // The follower takes nothing while 3,000 revisions are written.
    for round in 0..3000_u32 {
        let put = |name: &str| TxnOp::put(format!("{ROOT}/pair/{name}"), round.to_string(), None);
        let txn = Txn::new().and_then([put("a"), put("b")]);
        client.txn(txn).await.expect("txn");
    }
    loop {
        let snapshot = next(&mut follower).await;
        assert_eq!(value(&snapshot, "pair/a"), value(&snapshot, "pair/b"));
        if value(&snapshot, "pair/a") == Some("2999") {
            break;
        }
    }
}

#[tokio::test]
async fn twelve_thousand_keys_come_in_pages_and_go_in_one_revision() {
    let etcd = Etcd::start().await;
    let mut client = etcd.client().await;
    let keys: Vec<String> = (0..12_000)
        .map(|i| key(&format!("services/s{i:05}/balance")))
        .collect();
    for chunk in keys.chunks(100) {
        let puts: Vec<TxnOp> = chunk
            .iter()
            .map(|key| TxnOp::put(key.as_str(), "roundrobin", None))
            .collect();
        client.txn(Txn::new().and_then(puts)).await.expect("txn");
    }
    let start = Instant::now();
    let mut store = store::open(vec![etcd.spec()], plain_options());
    let all = next(&mut store).await;
    println!("12,000 keys listed in {:?}", start.elapsed());
    assert_eq!(all.len(), 12_000);
    let again = store::read_once(&[etcd.spec()], &plain_options(), LONG)
        .await
        .expect("read");
    assert!(again.same_keys(&all));
    assert_eq!(again.digest(), all.digest());

    let mut times = Vec::new();
    for i in 0..100 {
        let start = Instant::now();
        let put = client.put(key("services/s00000/balance"), i.to_string(), None);
        let (_, answer) = tokio::join!(next(&mut store), put);
        answer.expect("put");
        times.push(start.elapsed());
    }
    times.sort();
    println!(
        "put to next() among them: p50 {:?}, max {:?}",
        times[50], times[99]
    );

    let revision = etcd.delete(&key("services/s0")).await;
    let fewer = next(&mut store).await;
    assert_eq!((fewer.len(), fewer.revision()), (2_000, revision));
}

#[tokio::test]
async fn killed_and_back_keeps_the_tree_and_goes_on() {
    let mut etcd = Etcd::start().await;
    etcd.put(&key("services/web/balance"), "roundrobin").await;
    let mut store = store::open(vec![etcd.spec()], StoreOptions::default());
    let first = started(&mut store).await;
    etcd.kill();
    health_says(&store, |h| !h.connected && h.last_error.is_some()).await;
    let health = store.health()[0].clone();
    assert_eq!(health.keys, 1, "the tree is kept");
    nothing_comes(&mut store, Duration::from_millis(300)).await;

    etcd.run().await;
    health_says(&store, |h| h.connected).await;
    etcd.put(&key("services/web/balance"), "source").await;
    let after = until(&mut store, |s| {
        value(s, "services/web/balance") == Some("source")
    })
    .await;
    assert_eq!(first.diff(&after).len(), 1);
}

/// A store behind a relay that is open.
async fn behind_a_relay(etcd: &Etcd) -> (Relay, Store) {
    let relay = Relay::to(etcd.endpoint()).await;
    let spec = format!("etcd://{}", relay.endpoint());
    let store = store::open(vec![spec.parse().expect("a store")], plain_options());
    (relay, store)
}

#[tokio::test]
async fn changes_missed_while_away_are_caught_up() {
    let etcd = Etcd::start().await;
    etcd.put(&key("services/web/balance"), "roundrobin").await;
    let (relay, mut store) = behind_a_relay(&etcd).await;
    started(&mut store).await;
    relay.set(State::Cut);
    health_says(&store, |h| !h.connected).await;
    let mut revision = 0;
    for i in 0..50 {
        revision = etcd
            .put(&key(&format!("services/s{i}/balance")), "source")
            .await;
    }
    relay.set(State::Open);
    let all = until(&mut store, |s| s.len() == 51).await;
    assert_eq!(all.revision(), revision);
}

#[tokio::test]
async fn compaction_while_away_makes_no_change_of_an_unchanged_tree() {
    let etcd = Etcd::start().await;
    for i in 0..20 {
        etcd.put(&key(&format!("services/s{i}/balance")), "source")
            .await;
    }
    let (relay, mut store) = behind_a_relay(&etcd).await;
    let before = started(&mut store).await;
    relay.set(State::Cut);
    health_says(&store, |h| !h.connected).await;
    let mut revision = 0;
    for i in 0..100 {
        revision = etcd.put("/elsewhere", i.to_string()).await;
    }
    let compact = CompactionOptions::new().with_physical();
    let mut client = etcd.client().await;
    let compacted = client.compact(revision.cast_signed(), Some(compact)).await;
    compacted.expect("compact");
    relay.set(State::Open);
    let listed = next(&mut store).await;
    assert_eq!(listed.revision(), revision, "listed again");
    assert!(before.diff(&listed).is_empty());

    let after = etcd.put(&key("services/s0/balance"), "leastconn").await;
    let changed = next(&mut store).await;
    assert_eq!(changed.revision(), after);
    assert_eq!(before.diff(&changed).len(), 1);
}

/// The network swallows everything, and no side is told. Slow by its nature: the watchdog waits for 10 s
/// of silence, and for 5 s for an answer.
#[tokio::test]
async fn a_watch_that_went_silent_is_given_up() {
    let etcd = Etcd::start().await;
    let (relay, mut store) = behind_a_relay(&etcd).await;
    started(&mut store).await;
    relay.set(State::Silent);
    health_says(&store, |h| !h.connected).await;
    assert!(store.health()[0].last_error.is_some());
}

#[tokio::test]
async fn a_dead_endpoint_is_passed_over() {
    let etcd = Etcd::start().await;
    etcd.put(&key("settings/a"), "1").await;
    let spec = format!("etcd://127.0.0.1:{},{}", free_port(), etcd.endpoint());
    let start = Instant::now();
    let mut store = store::open(vec![spec.parse().expect("a store")], plain_options());
    assert_eq!(next(&mut store).await.len(), 1);
    assert!(start.elapsed() < LONG / 2, "{:?}", start.elapsed());
}

/// A member that accepts and never answers must not hold the tree up for long.
#[tokio::test]
async fn a_silent_endpoint_is_passed_over() {
    let etcd = Etcd::start().await;
    etcd.put(&key("settings/a"), "1").await;
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let spec = format!(
        "etcd://{},{}",
        silent.local_addr().expect("address"),
        etcd.endpoint()
    );
    let mut store = store::open(vec![spec.parse().expect("a store")], plain_options());
    assert_eq!(next(&mut store).await.len(), 1);
}

#[tokio::test]
async fn a_restored_backup_is_taken_as_the_truth() {
    let mut etcd = Etcd::start().await;
    etcd.put(&key("services/web/balance"), "roundrobin").await;
    etcd.put(&key("services/api/balance"), "roundrobin").await;
    let backup = etcd.save();
    for i in 0..50 {
        etcd.put(&key("services/web/balance"), format!("v{i}"))
            .await;
    }
    etcd.delete(&key("services/api/")).await;
    let mut store = store::open(vec![etcd.spec()], StoreOptions::default());
    let newest = started(&mut store).await;
    assert_eq!(newest.len(), 1);

    etcd.kill();
    etcd.restore(&backup);
    etcd.run().await;
    let restored = next(&mut store).await;
    assert!(restored.revision() < newest.revision());
    assert_eq!(value(&restored, "services/web/balance"), Some("roundrobin"));
    assert_eq!(value(&restored, "services/api/balance"), Some("roundrobin"));

    let revision = etcd.put(&key("services/api/balance"), "source").await;
    let after = next(&mut store).await;
    assert_eq!(
        after.revision(),
        revision,
        "changes are followed from there"
    );
}

/// The numbers fit, and the history is another one.
#[tokio::test]
async fn a_restored_backup_that_went_on_beyond_our_revision_is_found_out() {
    let mut etcd = Etcd::start().await;
    etcd.put(&key("services/web/balance"), "roundrobin").await;
    etcd.put(&key("services/api/balance"), "roundrobin").await;
    let backup = etcd.save();
    let (relay, mut store) = behind_a_relay(&etcd).await;
    started(&mut store).await;
    etcd.delete(&key("services/api/")).await;
    until(&mut store, |s| s.len() == 1).await;
    relay.set(State::Cut);
    health_says(&store, |h| !h.connected).await;

    etcd.kill();
    etcd.restore(&backup);
    etcd.run().await;
    for i in 0..20 {
        etcd.put("/elsewhere", i.to_string()).await;
    }
    relay.set(State::Open);
    let found = until(&mut store, |s| s.len() == 2).await;
    assert_eq!(value(&found, "services/api/balance"), Some("roundrobin"));
    etcd.put(&key("services/api/balance"), "source").await;
    until(&mut store, |s| {
        value(s, "services/api/balance") == Some("source")
    })
    .await;
}

#[tokio::test]
async fn a_cluster_that_lost_its_data_is_held_back() {
    let mut etcd = Etcd::start().await;
    etcd.put(&key("services/web/balance"), "roundrobin").await;
    let mut store = store::open(vec![etcd.spec()], StoreOptions::default());
    started(&mut store).await;
    etcd.kill();
    health_says(&store, |h| !h.connected).await;
    etcd.lose_data();
    etcd.run().await;
    health_says(&store, |h| h.connected).await;
    health_and_pump(&mut store, |h| h.held_since.is_some()).await;
    etcd.put(&key("services/web/balance"), "roundrobin").await;
    let back = next(&mut store).await;
    assert_eq!(value(&back, "services/web/balance"), Some("roundrobin"));
    assert!(store.health()[0].held_since.is_none());
}

/// The guard looks at trees when somebody asks for the next.
async fn health_and_pump(store: &mut Store, wanted: impl Fn(&store::StoreHealth) -> bool) {
    let start = Instant::now();
    while !wanted(&store.health()[0]) {
        assert!(start.elapsed() < LONG, "health: {:#?}", store.health());
        nothing_comes(store, Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_tree_that_vanishes_is_held_and_nothing_happened_when_it_is_back() {
    let etcd = Etcd::start().await;
    etcd.put(&key("services/web/balance"), "source").await;
    // Time enough for two writes on a busy machine.
    let grace = Duration::from_secs(5);
    let options = StoreOptions {
        empty_grace: grace,
        ..StoreOptions::default()
    };
    let mut store = store::open(vec![etcd.spec()], options);
    let first = next(&mut store).await;
    let start = Instant::now();
    etcd.delete(ROOT).await;
    health_and_pump(&mut store, |h| h.held_since.is_some()).await;
    etcd.put(&key("services/web/balance"), "source").await;
    let back = next(&mut store).await;
    assert!(start.elapsed() < grace);
    assert!(first.diff(&back).is_empty());

    let start = Instant::now();
    etcd.delete(ROOT).await;
    assert!(next(&mut store).await.is_empty(), "meant, after the grace");
    assert!(start.elapsed() >= grace);
}

#[tokio::test]
async fn settle_makes_one_change_of_keys_written_one_by_one() {
    let etcd = Etcd::start().await;
    let options = StoreOptions {
        settle: Duration::from_secs(1),
        ..plain_options()
    };
    let mut store = store::open(vec![etcd.spec()], options);
    let before = next(&mut store).await;
    let writer = async {
        for name in ["balance", "virtual_hosts", "virtual_path", "cookie"] {
            etcd.put(&key(&format!("services/web/{name}")), "x").await;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let (after, ()) = tokio::join!(next(&mut store), writer);
    assert_eq!(before.diff(&after).len(), 4);
}

#[tokio::test]
async fn keys_that_cannot_be_used_are_left_out_and_told() {
    let etcd = Etcd::start().await;
    let mut client = etcd.client().await;
    let mut bad = key("services/").into_bytes();
    bad.extend([0xff, 0xfe]);
    client.put(bad.clone(), "x", None).await.expect("put");
    client
        .put(key("services/web/"), "x", None)
        .await
        .expect("put");
    client
        .put(key("certs/big"), vec![b'x'; 1024 * 1024 + 1], None)
        .await
        .expect("put");
    client
        .put(key("services/web/balance"), "source", None)
        .await
        .expect("put");
    client
        .put(key("settings/bytes"), vec![0xff], None)
        .await
        .expect("put");
    let mut store = store::open(vec![etcd.spec()], plain_options());
    let first = next(&mut store).await;
    assert_eq!(first.len(), 3);
    assert!(why_unusable(&first.get("certs/big").expect("it is there")[..]).is_some());
    assert_eq!(
        first.get("settings/bytes").map(|v| v.to_vec()),
        Some(vec![0xff])
    );
    let problems: Vec<_> = store.problems().iter().map(ToString::to_string).collect();
    assert_eq!(
        problems,
        [
            "warning: value is too large: 1048577 bytes, a value has at most 1048576 (key certs/big); write a smaller value",
            "warning: key with an empty name in its path is left out (key services/web/); write it without the extra or trailing slash",
            "warning: key that is not UTF-8 is left out (key services/\u{fffd}\u{fffd}); delete it and write it again as UTF-8",
        ]
    );
    client.delete(bad, None).await.expect("delete");
    client
        .put(key("certs/big"), "small", None)
        .await
        .expect("put");
    let mended = until(&mut store, |s| value(s, "certs/big") == Some("small")).await;
    assert_eq!(mended.len(), 3);
    assert_eq!(store.problems().len(), 1);
}

#[tokio::test]
async fn keys_under_a_lease_go_when_it_ends() {
    let etcd = Etcd::start().await;
    let mut client = etcd.client().await;
    let lease = client.lease_grant(60, None).await.expect("lease").id();
    let options = PutOptions::new().with_lease(lease);
    client
        .put(
            key("services/web/upstreams/a"),
            "10.0.0.1:80",
            Some(options),
        )
        .await
        .expect("put");
    let mut store = store::open(vec![etcd.spec()], plain_options());
    assert_eq!(next(&mut store).await.len(), 1);
    client.lease_revoke(lease).await.expect("revoke");
    assert!(next(&mut store).await.is_empty());
}

#[tokio::test]
async fn user_and_password_are_used_and_a_wrong_one_is_told() {
    let etcd = Etcd::start().await;
    let mut client = etcd.client().await;
    client.user_add("root", "hush", None).await.expect("user");
    client.role_add("root").await.ok();
    client.user_grant_role("root", "root").await.expect("grant");
    client.auth_enable().await.expect("auth");
    let mut client = etcd.client_as("root", "hush").await;
    client
        .put(key("services/web/balance"), "source", None)
        .await
        .expect("put");

    let with_password = |password: &str| {
        let mut options = plain_options();
        options.etcd.user = Some("root".to_owned());
        options.etcd.password = Some(password.to_owned());
        options
    };
    let mut store = store::open(vec![etcd.spec()], with_password("hush"));
    assert_eq!(next(&mut store).await.len(), 1);
    client
        .put(key("services/web/balance"), "random", None)
        .await
        .expect("put");
    assert_eq!(
        value(&next(&mut store).await, "services/web/balance"),
        Some("random")
    );

    let short = Duration::from_secs(3);
    let error = store::read_once(&[etcd.spec()], &with_password("wrong"), short).await;
    let error = error.expect_err("refused").to_string();
    assert!(error.contains("authentication failed"), "{error}");
    let error = store::read_once(&[etcd.spec()], &plain_options(), short).await;
    let error = error.expect_err("refused").to_string();
    assert!(error.contains("user name is empty"), "{error}");
}

#[tokio::test]
async fn tls_with_client_certificates_is_used_and_a_stranger_is_refused() {
    let files = tempfile::tempdir().expect("dir");
    let file = |name: &str| files.path().join(name);
    let openssl = |args: &str| {
        let output = std::process::Command::new("openssl")
            .args(args.split(' '))
            .current_dir(files.path())
            .output()
            .expect("openssl has to be installed");
        assert!(output.status.success(), "{args}: {output:?}");
    };
    let new_key = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes";
    openssl(&format!(
        "req -x509 {new_key} -keyout ca.key -out ca.pem -days 2 -subj /CN=ca"
    ));
    std::fs::write(file("san"), "subjectAltName=IP:127.0.0.1\n").expect("file");
    for name in ["server", "client"] {
        openssl(&format!(
            "req {new_key} -keyout {name}.key -out {name}.csr -subj /CN={name}"
        ));
        openssl(&format!(
            "x509 -req -in {name}.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile san -out {name}.pem"
        ));
    }
    let mut etcd =
        Etcd::prepare().with_tls(&file("server.pem"), &file("server.key"), &file("ca.pem"));
    etcd.run().await;
    let spec: StoreSpec = format!("etcds://{}", etcd.endpoint())
        .parse()
        .expect("a store");

    let mut options = plain_options();
    options.etcd.ca_file = Some(file("ca.pem"));
    options.etcd.cert_file = Some(file("client.pem"));
    options.etcd.key_file = Some(file("client.key"));
    let tree = store::read_once(std::slice::from_ref(&spec), &options, LONG).await;
    assert!(tree.expect("the certificate is taken").is_empty());

    let short = Duration::from_secs(1);
    let stranger = StoreOptions {
        etcd: EtcdOptions {
            ca_file: options.etcd.ca_file.clone(),
            ..EtcdOptions::default()
        },
        ..plain_options()
    };
    let error = store::read_once(std::slice::from_ref(&spec), &stranger, short).await;
    println!("without a certificate: {}", error.expect_err("refused"));

    options.etcd.key_file = Some(file("nowhere.key"));
    let error = store::read_once(&[spec], &options, short)
        .await
        .expect_err("no key");
    let error = error.to_string();
    assert!(
        error.contains("client key") && error.contains("nowhere.key"),
        "{error}"
    );
}

#[tokio::test]
async fn an_etcd_that_is_not_there_is_told_with_the_reason() {
    let spec = format!("etcd://127.0.0.1:{}", free_port())
        .parse()
        .expect("a store");
    let error = store::read_once(&[spec], &plain_options(), Duration::from_secs(2)).await;
    let error = error.expect_err("nobody there").to_string();
    assert!(
        error.contains("gave no keys within 2s") && error.contains("connection refused"),
        "{error}"
    );
}

#[tokio::test]
async fn stores_merge_key_by_key_and_the_later_wins() {
    let etcd = Etcd::start().await;
    let dir = tempfile::tempdir().expect("dir");
    std::fs::create_dir_all(dir.path().join("settings")).expect("dir");
    std::fs::write(dir.path().join("settings/a"), "dir").expect("file");
    etcd.put(&key("settings/a"), "etcd").await;
    let revision = etcd.put(&key("settings/b"), "etcd").await;
    let dir_spec = format!("dir:{}", dir.path().display())
        .parse()
        .expect("a store");
    let mut store = store::open(vec![etcd.spec(), dir_spec], plain_options());
    let both = next(&mut store).await;
    assert_eq!(value(&both, "settings/a"), Some("dir"));
    assert_eq!(value(&both, "settings/b"), Some("etcd"));
    assert_eq!(both.revision(), revision);
    etcd.put(&key("settings/a"), "etcd again").await;
    assert!(
        both.diff(&next(&mut store).await).is_empty(),
        "it is covered"
    );
    std::fs::remove_file(dir.path().join("settings/a")).expect("remove");
    let shown = next(&mut store).await;
    assert_eq!(value(&shown, "settings/a"), Some("etcd again"));
}

#[tokio::test]
async fn put_to_snapshot_is_quick() {
    let etcd = Etcd::start().await;
    let mut store = store::open(vec![etcd.spec()], plain_options());
    next(&mut store).await;
    let mut client = etcd.client().await;
    let mut times = Vec::new();
    for i in 0..200 {
        let start = Instant::now();
        let put = client.put(key("settings/a"), i.to_string(), None);
        let (_, answer) = tokio::join!(next(&mut store), put);
        answer.expect("put");
        times.push(start.elapsed());
    }
    times.sort();
    println!("put to next(): p50 {:?}, p99 {:?}", times[100], times[198]);
    // Told at once, not by a look now and then. How quick it is, a busy machine cannot tell.
    assert!(times[100] < Duration::from_secs(1), "{:?}", times[100]);
}

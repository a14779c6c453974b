//! The status board and `wait`, on a real etcd and beside a real directory.

mod support;

use std::fs;
use std::time::{Duration, Instant};

use pointsman::diag::Diagnostic;
use pointsman::snapshot::Snapshot;
use pointsman::status::{NodeStatus, Refusal, Serving, digest_text};
use pointsman::store::{self, StatusBoard, StoreOptions, StoreSpec, WaitError, wait};
use support::etcd::{Etcd, plain_options};
use support::relay::{Relay, State};

const LONG: Duration = Duration::from_secs(10);
const SHORT: Duration = Duration::from_secs(1);

fn key(rest: &str) -> String {
    format!("/pointsman/lb/{rest}")
}

fn node(name: &str, tree: &Snapshot) -> NodeStatus {
    NodeStatus {
        node: name.to_owned(),
        revision: tree.revision(),
        digest: digest_text(tree.digest()),
        ..NodeStatus::default()
    }
}

fn refusal(revision: u64) -> Refusal {
    Refusal {
        unit: "services/web".to_owned(),
        revision,
        since: String::new(),
        serving: Serving::LastGood,
        diagnostics: vec![Diagnostic::error(
            "bad-value",
            "unknown balance \"leastcom\"",
        )],
    }
}

fn board(spec: &StoreSpec, options: &StoreOptions) -> StatusBoard {
    StatusBoard::open(std::slice::from_ref(spec), options).expect("a place")
}

async fn read(spec: &StoreSpec) -> Snapshot {
    store::read_once(std::slice::from_ref(spec), &plain_options(), LONG)
        .await
        .expect("readable")
}

async fn nodes_are(board: &StatusBoard, wanted: &[(&str, u64)]) {
    let start = Instant::now();
    loop {
        let nodes = board.list().await.unwrap_or_default();
        let nodes: Vec<_> = nodes
            .iter()
            .map(|n| (n.node.as_str(), n.revision))
            .collect();
        if nodes == wanted {
            return;
        }
        assert!(start.elapsed() < 2 * LONG, "{nodes:?} and not {wanted:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// What holds on both kinds of board. `change` makes a change and tells its revision if it has one.
async fn a_fleet_reports_and_is_waited_for(spec: StoreSpec, change: impl AsyncFn(&str)) {
    let options = plain_options();
    let looker = board(&spec, &options);
    assert!(looker.list().await.expect("empty").is_empty());
    let error = wait(&looker, Some(1), None, SHORT)
        .await
        .expect_err("nobody");
    assert!(
        error.to_string().starts_with("no node reports at "),
        "{error}"
    );

    let (mut a, mut b) = (board(&spec, &options), board(&spec, &options));
    change("1").await;
    let tree = read(&spec).await;
    a.publish(&node("lb-a", &tree));
    b.publish(&node("lb/b", &tree));
    nodes_are(
        &looker,
        &[("lb-a", tree.revision()), ("lb/b", tree.revision())],
    )
    .await;
    wait(&looker, None, None, LONG)
        .await
        .expect("both are there");
    wait(&looker, Some(tree.revision()), None, LONG)
        .await
        .expect("both are there");

    change("2").await;
    let tree = read(&spec).await;
    a.publish(&node("lb-a", &tree));
    nodes_are_past(&looker, "lb-a", tree.revision()).await;
    match wait(&looker, None, None, SHORT).await {
        Err(WaitError::Timeout { behind, .. }) => {
            let behind: Vec<_> = behind.iter().map(|b| b.node.as_str()).collect();
            assert_eq!(behind, ["lb/b"]);
        }
        other => panic!("{other:?}"),
    }
    // It comes while somebody waits.
    let late = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        b.publish(&node("lb/b", &tree));
    };
    let (waited, ()) = tokio::join!(wait(&looker, None, None, LONG), late);
    assert_eq!(waited.expect("there").len(), 2);

    // A deletion leaves no key with its revision; the content tells.
    change("").await;
    assert!(
        wait(&looker, None, None, SHORT).await.is_err(),
        "nobody saw the deletion"
    );
    let tree = read(&spec).await;
    a.publish(&node("lb-a", &tree));
    b.publish(&node("lb/b", &tree));
    wait(&looker, None, None, LONG).await.expect("both saw it");

    change("3").await;
    let tree = read(&spec).await;
    let mut refusing = node("lb/b", &tree);
    refusing.refused = vec![refusal(tree.revision())];
    a.publish(&node("lb-a", &tree));
    b.publish(&refusing);
    let error = wait(&looker, None, None, LONG)
        .await
        .expect_err("refused")
        .to_string();
    assert_eq!(
        error,
        format!(
            "node lb/b refused services/web at revision {}: error: unknown balance \"leastcom\"",
            tree.revision()
        )
    );
    // The next change is not to blame for it.
    change("4").await;
    let tree = read(&spec).await;
    let refused_before = refusing.refused;
    let mut refusing = node("lb/b", &tree);
    refusing.refused = refused_before;
    a.publish(&node("lb-a", &tree));
    b.publish(&refusing);
    wait(&looker, None, None, LONG)
        .await
        .expect("not of this change");

    a.close().await;
    nodes_are(&looker, &[("lb/b", tree.revision())]).await;
}

async fn nodes_are_past(board: &StatusBoard, name: &str, revision: u64) {
    let start = Instant::now();
    loop {
        let nodes = board.list().await.expect("list");
        if nodes
            .iter()
            .any(|n| n.node == name && n.revision >= revision)
        {
            return;
        }
        assert!(start.elapsed() < LONG, "{nodes:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_fleet_on_etcd_reports_and_is_waited_for() {
    let etcd = Etcd::start().await;
    a_fleet_reports_and_is_waited_for(etcd.spec(), async |value| {
        if value.is_empty() {
            etcd.delete(&key("services/")).await;
        } else {
            etcd.put(&key("services/web/balance"), value).await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_fleet_on_a_directory_reports_and_is_waited_for() {
    let dir = tempfile::tempdir().expect("dir");
    let keys = dir.path().join("keys");
    fs::create_dir(&keys).expect("create");
    a_fleet_reports_and_is_waited_for(StoreSpec::Dir(keys.clone()), async |value| {
        // The clock that marks files has its ticks; refusals are told apart by it.
        tokio::time::sleep(Duration::from_millis(20)).await;
        if value.is_empty() {
            fs::remove_dir_all(keys.join("services")).expect("remove");
        } else {
            fs::create_dir_all(keys.join("services/web")).expect("create");
            fs::write(keys.join("services/web/balance"), value).expect("write");
        }
    })
    .await;
    assert!(dir.path().join("keys.status/nodes/lb%2Fb.json").exists());
}

#[tokio::test]
async fn reporting_does_not_wake_a_watcher() {
    let etcd = Etcd::start().await;
    etcd.put(&key("settings/a"), "1").await;
    let mut store = store::open(vec![etcd.spec()], plain_options());
    let first = store.next().await;
    let mut board = board(&etcd.spec(), &plain_options());
    board.publish(&node("a", &first));
    nodes_are(&board, &[("a", first.revision())]).await;
    let woken = tokio::time::timeout(SHORT, store.next()).await;
    assert!(woken.is_err());
}

#[tokio::test]
async fn a_status_lost_with_its_lease_or_its_etcd_comes_back() {
    let mut etcd = Etcd::start().await;
    let tree = read(&etcd.spec()).await;
    let mut board = board(&etcd.spec(), &plain_options());
    board.publish(&node("a", &tree));
    nodes_are(&board, &[("a", tree.revision())]).await;

    let mut client = etcd.client().await;
    let leases = client.leases().await.expect("leases");
    let lease = leases.leases()[0].id();
    client.lease_revoke(lease).await.expect("revoke");
    nodes_are(&board, &[]).await;
    nodes_are(&board, &[("a", tree.revision())]).await;

    etcd.kill();
    etcd.lose_data();
    etcd.run().await;
    nodes_are(&board, &[("a", tree.revision())]).await;
}

/// Slow by its nature: a lease lives for 12 s.
#[tokio::test]
async fn a_node_that_cannot_be_reached_is_not_alive() {
    let etcd = Etcd::start().await;
    let relay = Relay::to(etcd.endpoint()).await;
    let cut_off: StoreSpec = format!("etcd://{}", relay.endpoint())
        .parse()
        .expect("spec");
    let tree = read(&etcd.spec()).await;
    let mut node_board = board(&cut_off, &plain_options());
    let looker = board(&etcd.spec(), &plain_options());
    node_board.publish(&node("a", &tree));
    nodes_are(&looker, &[("a", tree.revision())]).await;
    relay.set(State::Cut);
    nodes_are(&looker, &[]).await;
}

#[tokio::test]
async fn a_dead_node_beside_a_directory_is_not_listed() {
    let dir = tempfile::tempdir().expect("dir");
    let keys = dir.path().join("keys");
    fs::create_dir(&keys).expect("create");
    let spec = StoreSpec::Dir(keys);
    let mut living = board(&spec, &plain_options());
    living.publish(&node("living", &Snapshot::default()));
    nodes_are(&living, &[("living", 0)]).await;
    let nodes = dir.path().join("keys.status/nodes");
    let text = serde_json::to_vec(&node("dead", &Snapshot::default())).expect("json");
    fs::write(nodes.join("dead.json"), text).expect("write");
    let file = fs::File::options()
        .write(true)
        .open(nodes.join("dead.json"))
        .expect("open");
    let long_ago = std::time::SystemTime::now() - Duration::from_secs(60);
    file.set_modified(long_ago).expect("touch");
    fs::write(nodes.join("broken.json"), "{").expect("write");
    nodes_are(&living, &[("living", 0)]).await;
}

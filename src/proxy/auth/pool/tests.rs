use super::*;
use crate::config::{self, Balancer, BasicAuth, Unit};

/// A service whose only user is joe.
fn auth(line: &str) -> BasicAuth {
    let text = format!("service: {{name: web, basic_auth_secrets: '{line}'}}");
    let accepted = config::parse(&"services/web".into(), &text, &Balancer::default()).unwrap();
    let Unit::Service(service) = accepted.unit else {
        panic!("no service");
    };
    service.policy.unwrap().auth.clone().unwrap()
}

/// Of joe, whose password is `a`.
const MD5: &str = "joe:$1$abcdefgh$jUYc1Xi7pkozuzWQ0Dft71";

fn attempt(pool: &Pool, name: &str, password: &str, source: &str) -> Attempt {
    let users = auth(MD5).users;
    let known = users.find(name.as_bytes());
    let user = known.or_else(|| users.stand_in(7)).unwrap();
    Attempt {
        tag: pool.tagger.tag(user, name.as_bytes(), password.as_bytes()),
        user: user.clone(),
        is_stand_in: known.is_none(),
        password: password.as_bytes().into(),
        source: source.parse::<IpAddr>().unwrap().into(),
    }
}

fn wait(asked: Asked) -> oneshot::Receiver<bool> {
    match asked {
        Asked::Wait(receiver) => receiver,
        Asked::Known(is_right) => panic!("known: {is_right}"),
        Asked::Refused(refused) => panic!("{refused:?}"),
    }
}

fn refused(asked: Asked) -> Option<Refused> {
    match asked {
        Asked::Refused(refused) => Some(refused),
        _ => None,
    }
}

/// Does all that waits, in its order: the passwords.
fn work_off(pool: &Pool) -> Vec<String> {
    let mut done = Vec::new();
    let mut state = pool.inner.lock();
    while let Some(attempt) = state.next() {
        let is_right = check(&attempt);
        state.finish(&attempt, is_right, 0);
        done.push(String::from_utf8_lossy(&attempt.password).into_owned());
    }
    assert!(state.queues.is_empty() && state.turns.is_empty());
    assert!(state.under_way.is_empty() && state.askers.is_empty());
    done
}

#[test]
fn askers_of_the_same_thing_wait_for_one_check_and_later_ones_for_none() {
    let pool = Pool::with_threads(0).unwrap();
    let mut receivers: Vec<_> = (1..=100)
        .map(|n| wait(pool.ask(attempt(&pool, "joe", "a", &format!("10.0.0.{n}")))))
        .collect();
    let mut wrong = wait(pool.ask(attempt(&pool, "joe", "b", "10.0.0.1")));
    let mut nobody = wait(pool.ask(attempt(&pool, "ann", "a", "10.0.0.1")));
    assert_eq!(work_off(&pool), ["a", "b", "a"]);
    assert!(receivers.iter_mut().all(|r| r.try_recv() == Ok(true)));
    assert_eq!(wrong.try_recv(), Ok(false));
    assert_eq!(
        nobody.try_recv(),
        Ok(false),
        "the right one of somebody else"
    );
    let known = |name, password| match pool.ask(attempt(&pool, name, password, "10.0.0.9")) {
        Asked::Known(is_right) => is_right,
        _ => panic!("not known"),
    };
    assert!(known("joe", "a") && !known("joe", "b") && !known("ann", "a"));
}

#[test]
fn a_source_gets_so_many_checks_at_once_and_others_go_in_between() {
    let pool = Pool::with_threads(0).unwrap();
    let ask = |password: &str, source: &str| pool.ask(attempt(&pool, "joe", password, source));
    let mut receivers = Vec::new();
    for n in 0..PER_SOURCE {
        // Addresses of one subscriber are one source.
        receivers.push(wait(ask(&format!("guess{n}"), &format!("2001:db8::{n}"))));
    }
    assert_eq!(
        refused(ask("one more", "2001:db8::ffff")),
        Some(Refused::SourceIsBusy)
    );
    receivers.push(wait(ask("a", "2001:db8:0:1::1")));
    receivers.push(wait(ask("b", "10.0.0.1")));
    let order = work_off(&pool);
    assert_eq!(order[..4], ["guess0", "a", "b", "guess1"], "{order:?}");
    assert_eq!(order.len(), PER_SOURCE + 2);
    receivers.push(wait(ask("one more", "2001:db8::ffff")));
}

#[test]
fn a_full_queue_refuses_and_what_nobody_waits_for_any_more_is_not_done() {
    let pool = Pool::with_threads(0).unwrap();
    let ask = |n: usize| {
        let source = format!("10.0.{}.{}", n / 200, n % 200);
        pool.ask(attempt(&pool, "joe", &n.to_string(), &source))
    };
    let mut receivers: Vec<_> = (0..MOST).map(|n| wait(ask(n))).collect();
    assert_eq!(refused(ask(MOST)), Some(Refused::QueueIsFull));
    let kept = receivers.split_off(MOST - 2);
    drop(receivers);
    assert_eq!(
        work_off(&pool),
        [(MOST - 2).to_string(), (MOST - 1).to_string()]
    );
    assert_eq!(kept.len(), 2);
}

#[test]
fn who_comes_and_goes_for_one_check_leaves_nothing_behind() {
    let pool = Pool::with_threads(0).unwrap();
    let first = wait(pool.ask(attempt(&pool, "joe", "a", "10.0.0.1")));
    for _ in 0..1000 {
        drop(wait(pool.ask(attempt(&pool, "joe", "a", "10.0.0.1"))));
    }
    let askers = pool.inner.lock().askers.values().next().map_or(0, Vec::len);
    assert!(askers < 20, "{askers}");
    drop(first);
}

#[test]
fn threads_check_what_is_asked_and_end_with_the_pool() {
    let pool = Pool::with_threads(2).unwrap();
    let right = wait(pool.ask(attempt(&pool, "joe", "a", "10.0.0.1")));
    let wrong = wait(pool.ask(attempt(&pool, "joe", "b", "10.0.0.1")));
    assert_eq!(right.blocking_recv(), Ok(true));
    assert_eq!(wrong.blocking_recv(), Ok(false));
    let inner = Arc::downgrade(&pool.inner);
    drop(pool);
    while inner.strong_count() > 0 {
        std::thread::yield_now();
    }
}

#[test]
fn another_name_or_secret_has_another_tag() {
    let pool = Pool::with_threads(0).unwrap();
    let tag = |line: &str, name: &str, password: &str| {
        let users = auth(line).users;
        let user = users.stand_in(0).unwrap();
        pool.tagger.tag(user, name.as_bytes(), password.as_bytes())
    };
    let tags = [
        tag(MD5, "joe", "a"),
        tag(MD5, "joea", ""),
        tag(MD5, "jo", "ea"),
        tag(&MD5.replace("joe", "ann"), "joe", "a"),
        tag(&MD5.replace("jUY", "jUZ"), "joe", "a"),
        tag("user joe insecure-password a", "joe", "a"),
    ];
    for (at, one) in tags.iter().enumerate() {
        assert!(!tags[at + 1..].contains(one), "{at}");
    }
    assert_eq!(tags[0], tag(MD5, "joe", "a"));
}

use super::*;

const TERM: Duration = Duration::from_secs(8 * 3600);
const START: u64 = 1_800_000_000_000;

fn hours(n: u64) -> u64 {
    START + n * 3_600_000
}

fn fresh() -> TicketKeys {
    TicketKeys::fresh(START).unwrap()
}

#[test]
fn a_ticket_opens_while_it_lives_and_under_its_rule_alone() {
    let keys = fresh();
    let ticket = keys.seal(b"open", b"state", START, TERM).unwrap();
    let opens = |rule: &[u8], ticket: &[u8], at| keys.open(rule, ticket, at, TERM);
    assert_eq!(opens(b"open", &ticket, START), Some(b"state".to_vec()));
    assert_eq!(
        opens(b"open", &ticket, hours(8) - 1),
        Some(b"state".to_vec())
    );
    assert_eq!(opens(b"open", &ticket, hours(8)), None);
    assert_eq!(opens(b"closed", &ticket, START), None);
    assert_eq!(opens(b"", &ticket, START), None);
    // Clocks may differ a little.
    assert!(opens(b"open", &ticket, START - SKEW_MS).is_some());
    assert!(opens(b"open", &ticket, START - SKEW_MS - 1).is_none());
    assert_eq!(fresh().open(b"open", &ticket, START, TERM), None);
}

#[test]
fn spoilt_tickets_open_to_nothing() {
    let keys = fresh();
    let ticket = keys.seal(b"", b"state", START, TERM).unwrap();
    for len in 0..ticket.len() {
        assert_eq!(keys.open(b"", &ticket[..len], START, TERM), None, "{len}");
    }
    for at in 0..ticket.len() {
        let mut other = ticket.clone();
        other[at] ^= 1;
        assert_eq!(keys.open(b"", &other, START, TERM), None, "{at}");
    }
    assert_eq!(TicketKeys::default().open(b"", &ticket, START, TERM), None);
    assert_eq!(TicketKeys::default().seal(b"", b"state", START, TERM), None);
}

#[test]
fn keys_change_each_term_and_open_for_one_more() {
    let mut keys = fresh();
    assert!(keys.rotated(hours(7), TERM).unwrap().is_none());
    // A minute before the end of its term the next key is there, and is not used yet.
    let soon = hours(8) - 60_000;
    assert!(keys.rotated(soon - 1, TERM).unwrap().is_none());
    let next = keys.rotated(soon, TERM).unwrap().unwrap();
    let last = next.seal(b"", b"old", hours(8) - 1, TERM).unwrap();
    let first = next.seal(b"", b"new", hours(8), TERM).unwrap();
    assert!(keys.open(b"", &last, hours(8), TERM).is_some());
    assert!(keys.open(b"", &first, hours(8), TERM).is_none());
    keys = next;
    assert!(keys.rotated(hours(8), TERM).unwrap().is_none());
    keys = keys.rotated(hours(16) - 60_000, TERM).unwrap().unwrap();
    // The last ticket of the first key lives to the end of the second term.
    assert_eq!(
        keys.open(b"", &last, hours(16) - 2, TERM),
        Some(b"old".to_vec())
    );
    keys = keys.rotated(hours(24), TERM).unwrap().unwrap();
    assert_eq!(keys.open(b"", &last, hours(8), TERM), None, "it is gone");
    assert!(keys.0.len() <= 3);
}

#[test]
fn after_a_long_time_alone_keys_are_stale_and_the_next_one_takes_over_at_once() {
    let keys = fresh();
    assert!(keys.can_seal(hours(16), TERM));
    assert!(!keys.can_seal(hours(16) + 1, TERM));
    assert!(!TicketKeys::default().can_seal(START, TERM));
    let keys = keys.rotated(hours(100), TERM).unwrap().unwrap();
    // The old key is not used again until the new one's term begins.
    assert!(!keys.can_seal(hours(100), TERM));
    assert!(keys.can_seal(hours(100) + 60_000, TERM));
    assert_eq!(keys.newest_from_ms(), hours(100) + 60_000);
    assert!(
        TicketKeys::default()
            .rotated(START, TERM)
            .unwrap()
            .is_some()
    );
}

#[test]
fn the_text_keeps_everything_and_nothing_else_is_read() {
    let keys = fresh().rotated(hours(8), TERM).unwrap().unwrap();
    let read = TicketKeys::from_text(&keys.to_text()).unwrap();
    assert_eq!(read, keys);
    let ticket = keys.seal(b"r", b"state", hours(9), TERM).unwrap();
    assert_eq!(
        read.open(b"r", &ticket, hours(9), TERM),
        Some(b"state".to_vec())
    );
    let one = fresh().to_text();
    let many = format!("[{}]", vec![&one[1..one.len() - 1]; 17].join(","));
    for bad in [
        "",
        "[]",
        "{}",
        "null",
        "[{}]",
        r#"[{"from_ms":1,"key":"QUJD"}]"#,
        &many,
    ] {
        assert!(TicketKeys::from_text(bad).is_none(), "{bad}");
    }
}

#[test]
fn nothing_shows_the_keys() {
    let keys = fresh();
    let secret = BASE64_STANDARD.encode(keys.0[0].secret);
    assert!(keys.to_text().contains(&secret));
    let shown = format!("{keys:?} {:?}", keys.0[0].secret.len());
    assert!(!shown.contains(&secret));
}

#[test]
fn a_ring_seals_with_the_shared_keys_while_somebody_renews_them() {
    let ring = Ring::new(START).unwrap();
    let own = ring.seal(b"", b"own", START, TERM).unwrap();
    let shared = TicketKeys::fresh(START).unwrap();
    ring.share(shared.clone());
    let both = ring.seal(b"", b"both", START, TERM).unwrap();
    assert!(shared.open(b"", &both, START, TERM).is_some());
    assert!(shared.open(b"", &own, START, TERM).is_none());
    assert_eq!(ring.open(b"", &own, START, TERM), Some(b"own".to_vec()));
    assert_eq!(ring.open(b"", &both, START, TERM), Some(b"both".to_vec()));
    // Nobody renews them any more: the node goes on alone, with keys that it renewed.
    ring.turn(hours(16), TERM).unwrap();
    let late = hours(17);
    let alone = ring.seal(b"", b"alone", late, TERM).unwrap();
    assert!(shared.open(b"", &alone, late, TERM).is_none());
    assert_eq!(ring.open(b"", &alone, late, TERM), Some(b"alone".to_vec()));
    assert_eq!(ring.open(b"", &own, late, TERM), None, "its time is over");
}

#[test]
fn a_key_of_a_clock_that_was_years_ahead_keeps_nobody_from_the_next_one() {
    let year = 365 * 24;
    let ahead = TicketKeys::fresh(hours(73 * year)).unwrap();
    assert!(!ahead.can_seal(START, TERM));
    let next = ahead.rotated(START, TERM).unwrap().unwrap();
    assert!(next.can_seal(START, TERM));
    assert_eq!(next.0.len(), 1);
    // One that is ahead by as much as clocks differ stays.
    let little = TicketKeys::fresh(START + SKEW_MS).unwrap();
    assert!(little.rotated(START, TERM).unwrap().is_none());
}

#[test]
fn whoever_looks_often_enough_can_always_seal_and_open_what_is_alive() {
    let term = Duration::from_secs(8);
    let mut keys = TicketKeys::fresh(START).unwrap();
    let mut tickets: Vec<(u64, Vec<u8>)> = Vec::new();
    for look in 0..300 {
        let now = START + look * 333;
        if let Some(next) = keys.rotated(now, term).unwrap() {
            keys = next;
        }
        assert!(keys.0.len() <= 4);
        let ticket = keys.seal(b"", b"state", now, term);
        tickets.push((now, ticket.expect("a ticket")));
        tickets.retain(|(made, _)| now < made + 8_000);
        for (made, ticket) in &tickets {
            let opened = keys.open(b"", ticket, now, term);
            assert!(opened.is_some(), "{} ms old at {look}", now - made);
        }
    }
}

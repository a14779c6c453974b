//! Any text as a unit: accepted, or refused with reasons that have a place and stay few.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pointsman::config::{Balancer, parse};
use pointsman::names::UnitName;

fuzz_target!(|text: &str| {
    let unit = UnitName::from("services/x");
    let defaults = Balancer::default();
    let first = parse(&unit, text, &defaults);
    match &first {
        Ok(accepted) => assert!(accepted.warnings.iter().all(|d| !d.is_error())),
        Err(problems) => {
            assert!(
                problems.iter().any(|d| d.is_error()),
                "refused without a reason"
            );
            // The first hundred, and one that counts the rest.
            assert!(problems.len() <= 101, "{} problems", problems.len());
            let lines = text
                .split(['\n', '\r', '\u{85}', '\u{2028}', '\u{2029}'])
                .count() as u32;
            for problem in problems {
                assert!(
                    problem
                        .line
                        .is_none_or(|line| (1..=lines + 1).contains(&line))
                );
                assert!(!problem.message.is_empty() && !problem.code.is_empty());
            }
        }
    }
    // The same on every node: nothing depends on time, order of hashing or an earlier parse.
    assert_eq!(first, parse(&unit, text, &defaults));
});

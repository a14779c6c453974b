//! Which signals end a container.

/// Whether a signal ends a container. `SIGTERM`, `TERM` and `15` are one.
pub(super) fn ends(signal: &str, stop_signal: Option<&str>) -> bool {
    const ENDING: [(&str, &str); 4] = [("INT", "2"), ("QUIT", "3"), ("KILL", "9"), ("TERM", "15")];
    let plain = |text: &str| {
        let name = text.trim().to_ascii_uppercase();
        let name = name.strip_prefix("SIG").unwrap_or(&name);
        number(name).unwrap_or(name).to_owned()
    };
    let signal = plain(signal);
    ENDING.iter().any(|(_, number)| signal == *number)
        || stop_signal.is_some_and(|stop| plain(stop) == signal)
}

/// Signals that programs take for their end, and those of which others ask whether they are.
fn number(name: &str) -> Option<&'static str> {
    Some(match name {
        "HUP" => "1",
        "INT" => "2",
        "QUIT" => "3",
        "KILL" => "9",
        "USR1" => "10",
        "USR2" => "12",
        "TERM" => "15",
        "WINCH" => "28",
        "PWR" => "30",
        "RTMIN+3" => "37",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_signals_end_a_container_and_others_do_not() {
        for signal in [
            "15", "SIGTERM", "TERM", "9", "KILL", "2", "sigint", "3", "QUIT",
        ] {
            assert!(ends(signal, None), "{signal}");
        }
        for signal in ["1", "HUP", "10", "SIGUSR1", "12", "28", "", "x"] {
            assert!(!ends(signal, None), "{signal}");
        }
        assert!(
            ends("28", Some("SIGWINCH"))
                && ends("SIGWINCH", Some("28"))
                && ends("37", Some("SIGRTMIN+3"))
        );
        assert!(!ends("1", Some("SIGWINCH")) && ends("TERM", Some("SIGWINCH")));
    }
}

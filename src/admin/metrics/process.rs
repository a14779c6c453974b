//! The process itself, by the names that Prometheus' own libraries have for it.

use std::time::{SystemTime, UNIX_EPOCH};

use super::page::Page;
use super::{COUNTER, GAUGE};

pub(super) fn of_process(page: &mut Page) {
    let Some(usage) = usage() else { return };
    for (name, kind, help, value) in [
        (
            "process_cpu_seconds_total",
            COUNTER,
            "User and system time of the process",
            usage.cpu_seconds,
        ),
        (
            "process_resident_memory_bytes",
            GAUGE,
            "Resident memory of the process",
            usage.resident,
        ),
        (
            "process_open_fds",
            GAUGE,
            "Open descriptors of the process",
            usage.descriptors,
        ),
        (
            "process_start_time_seconds",
            GAUGE,
            "When the process started, as a Unix time",
            usage.started,
        ),
    ] {
        page.family(name, kind, help);
        page.sample(name, &[], value);
    }
}

pub(in crate::admin) struct Usage {
    cpu_seconds: f64,
    pub(in crate::admin) resident: f64,
    descriptors: f64,
    pub(in crate::admin) started: f64,
}

/// From `/proc/self`; nothing where there is none.
pub(in crate::admin) fn usage() -> Option<Usage> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // What is in parentheses may hold anything; behind it are numbers, the third of all at first.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let number = |place: usize| fields.get(place - 3)?.parse::<f64>().ok();
    let ticks = rustix::param::clock_ticks_per_second() as f64;
    let uptime = std::fs::read_to_string("/proc/uptime").ok()?;
    let uptime: f64 = uptime.split(' ').next()?.parse().ok()?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
    let age = uptime - number(22)? / ticks;
    Some(Usage {
        cpu_seconds: (number(14)? + number(15)?) / ticks,
        resident: number(24)? * rustix::param::page_size() as f64,
        descriptors: std::fs::read_dir("/proc/self/fd").ok()?.count() as f64,
        started: (now.as_secs_f64() - age).round(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_process_is_known() {
        let usage = usage().expect("/proc/self");
        assert!(usage.resident > 1e6 && usage.descriptors >= 3.0);
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .expect("a clock");
        let age = now.as_secs_f64() - usage.started;
        assert!((-2.0..86_400.0).contains(&age), "{age}");
    }
}

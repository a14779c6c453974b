//! Times as text, worked out once for each second.

use std::time::{SystemTime, UNIX_EPOCH};

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// One second, as formats write it.
#[derive(Default)]
pub(super) struct Second {
    /// `21/Nov/2026:03:02:30`, in the machine's zone.
    pub(super) local: String,
    /// `+0100`.
    pub(super) offset: String,
    /// `2026-11-21T03:02:30`.
    pub(super) utc: String,
    /// `Nov 21 03:02:30`, in the machine's zone.
    pub(super) syslog: String,
}

pub(super) struct Stamps {
    zone: TimeZone,
    second: u64,
    text: Second,
}

impl Default for Stamps {
    fn default() -> Self {
        Self {
            zone: TimeZone::system(),
            second: u64::MAX,
            text: Second::default(),
        }
    }
}

impl Stamps {
    #[cfg(test)]
    pub(super) fn in_utc() -> Self {
        Self {
            zone: TimeZone::UTC,
            ..Self::default()
        }
    }

    /// The second that `time` lies in, and the milliseconds behind it.
    pub(super) fn at(&mut self, time: SystemTime) -> (&Second, u32) {
        // A clock before 1970 is set wrong, and any text will do.
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        if since.as_secs() != self.second {
            self.second = since.as_secs();
            self.text = spell(self.second, &self.zone);
        }
        (&self.text, since.subsec_millis())
    }
}

fn spell(second: u64, zone: &TimeZone) -> Second {
    let time = i64::try_from(second)
        .ok()
        .and_then(|second| Timestamp::from_second(second).ok())
        .unwrap_or_default();
    let local = time.to_zoned(zone.clone());
    Second {
        local: local.strftime("%d/%b/%Y:%H:%M:%S").to_string(),
        offset: local.strftime("%z").to_string(),
        utc: time.strftime("%Y-%m-%dT%H:%M:%S").to_string(),
        syslog: local.strftime("%b %e %H:%M:%S").to_string(),
    }
}

//! Any bytes as a PROXY header. What is refused or whole in parts is so whole; a header that was read
//! says the same once it is written, by either version.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pointsman::proxy_header::{
    Details, Form, Header, MOST_BYTES, Progress, Tls, read, write, write_own,
};

fuzz_target!(|bytes: &[u8]| {
    let parts = (0..=bytes.len()).map(|end| (end, read(&bytes[..end])));
    let mut judged = parts.filter(|(_, result)| *result != Ok(Progress::More));
    let Some((end, first)) = judged.next() else {
        assert!(bytes.len() < MOST_BYTES, "waits for more than there may be");
        return;
    };
    assert!(judged.all(|(_, result)| result == first), "judged twice");
    let Ok(Progress::Whole(header, length)) = first else {
        return;
    };
    assert_eq!(length, end);
    for form in Form::ALL {
        let mut out = Vec::new();
        let details = Details {
            alpn: Some(bytes),
            unique_id: bytes.get(..20),
            tls: Some(Tls::default()),
            ..Details::default()
        };
        match header {
            Header::Own => write_own(form, &mut out),
            Header::Client(pair) => write(form, pair, &details, &mut out),
        }
        assert_eq!(read(&out), Ok(Progress::Whole(header, out.len())));
    }
});

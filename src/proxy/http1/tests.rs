//! Whole messages through parser, writer and body reader. The tables are raw bytes: what goes in and
//! the reason that comes out.

mod bodies;
mod properties;
mod requests;
mod responses;

use super::*;

fn request(bytes: &[u8]) -> Result<RequestHead, Reject> {
    let mut head = RequestHead::default();
    match parse_request(bytes, &Limits::default(), &mut head) {
        Ok(true) => Ok(head),
        Ok(false) => panic!("not complete: {:?}", String::from_utf8_lossy(bytes)),
        Err(reject) => Err(reject),
    }
}

fn response(bytes: &[u8], asked: Asked) -> Result<ResponseHead, Reject> {
    let mut head = ResponseHead::default();
    match parse_response(bytes, &Limits::default(), asked, &mut head) {
        Ok(true) => Ok(head),
        Ok(false) => panic!("not complete: {:?}", String::from_utf8_lossy(bytes)),
        Err(reject) => Err(reject),
    }
}

/// What the upstream gets for `bytes`.
fn forwarded(bytes: &str, edit: &RequestEdit<'_>) -> String {
    let head = request(bytes.as_bytes()).unwrap();
    let mut out = Vec::new();
    write_request(&head, bytes.as_bytes(), edit, &mut out);
    String::from_utf8(out).unwrap()
}

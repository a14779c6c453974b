//! HTTP/1.0 and HTTP/1.1 without sockets, clock or tasks: bytes in, values out.
//!
//! A message goes through here in four steps, each a call:
//!
//! 1. [`parse_request`] or [`parse_response`] reads a head into a [`RequestHead`] or
//!    [`ResponseHead`] that is kept and reused: spans into the caller's buffer, no copies. What two
//!    parsers could read differently is refused with a [`Reject`], never guessed at.
//! 2. [`write_request`] or [`write_response`] writes the edited head in one pass; lines that stay are
//!    copied in runs, so a head that needs no change costs one copy.
//! 3. [`BodyReader`] tells which bytes of the input belong to the body and go on as they are.
//! 4. [`Pages`] writes the answers that are our own.
//!
//! May not be in here: sockets, tokio, time, the plan, the choice of an upstream.

mod answers;
mod body;
mod cookie;
mod edit;
mod field;
mod grammar;
mod request;
mod response;
mod stamp;
mod target;
mod write;

#[cfg(test)]
mod tests;

pub use answers::{Answer, Pages, reason_phrase};
pub use body::{BodyReader, ChunkedReader, LAST_CHUNK, MAX_HELD, Step, write_chunk_header};
pub use cookie::{
    cookie_values, prefix_of, set_value, with_prefix, with_value, without_cookie, without_prefix,
};
pub use edit::edit_fields;
pub use field::{Field, FieldId, Fields, Span};
pub use grammar::{Framing, Limits, Reject, Version};
pub use request::{Method, RequestHead, parse_request};
pub use response::{Asked, ResponseHead, parse_response};
pub use stamp::{Stamp, is_out_of_date, read_stamp, write_stamp};
pub use target::is_sound_path;
pub use write::{
    ClientConnection, Forwarded, RequestEdit, ResponseEdit, write_request, write_response,
};

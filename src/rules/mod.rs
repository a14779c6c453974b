//! What a request is asked and what is done to it: conditions, values and actions as plain data, with
//! pure evaluation.
//!
//! Keys of our own (`redirects`, `request_headers`, ...) and HAProxy's words in `custom_settings` both
//! become these rules, so that a request is judged in one place whatever language its rules were
//! written in. Rules look at a request through [`Facts`], answer a [`Verdict`] and leave what has to
//! change in [`Edits`]; they touch no buffer, socket or clock.
//!
//! From small to large: a [`Sample`] is one thing to look at, a [`Test`] compares it by a [`Matcher`],
//! a [`Condition`] joins tests, a [`Template`] makes a value out of samples, and [`Rules`] act. Nothing
//! that a client sends can become a line of a head of its own: see [`Template::render`]. All of them
//! show themselves in words close to HAProxy's.

mod action;
mod condition;
mod fields;
mod judge;
mod matcher;
mod pattern;
mod redirect;
mod sample;
mod seen;
mod spelling;
mod template;
#[cfg(test)]
mod tests;

pub use action::{
    AnswerRule, Edits, FieldAction, FieldEdit, LineEdit, OwnAnswer, RedirectRule, Remembered,
    RequestAction, RequestRule, Rules, Verdict,
};
pub use condition::{Condition, Term, Test};
pub use fields::{NotAName, field_name};
pub use matcher::{Matcher, Range, TextMatch};
pub use pattern::{Pattern, Substitution};
pub use redirect::{Redirect, SetCookie, Target};
pub use sample::{Converter, Sample, Source, Split, Value};
pub use seen::Seen;
pub use template::{Part, Place, Template};

use std::net::SocketAddr;

/// Whose field lines are meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Request,
    /// The upstream's answer. Says nothing while the request is judged.
    Answer,
}

/// What rules may look at. What is not known is empty: an answer while the request is judged, and of
/// the request, while the answer is judged, what nobody [remembered](Remembered).
pub trait Facts {
    fn method(&self) -> &[u8];
    /// Lower case, without a port.
    fn host(&self) -> &[u8];
    /// Without the query.
    fn path(&self) -> &[u8];
    /// Without its `?`.
    fn query(&self) -> &[u8];
    /// The digits behind `HTTP/`.
    fn version(&self) -> &str;
    /// The peer of the connection.
    fn client(&self) -> SocketAddr;
    /// Where the client came in.
    fn listener(&self) -> SocketAddr;
    /// Whether the client came by TLS, here or at a trusted proxy in front of us.
    fn is_tls(&self) -> bool;
    fn request_id(&self) -> &[u8];
    /// Of the answer; 0 while the request is judged.
    fn status(&self) -> u16;
    /// Shows every value of a field, in order, until `visit` answers false. `name` in lower case.
    fn each_field(&self, side: Side, name: &str, visit: &mut dyn FnMut(&[u8]) -> bool);
    /// What a rule put under this name while the request was judged.
    fn variable(&self, _name: &str) -> Option<&[u8]> {
        None
    }
    /// The same without what rules changed; `None` if that is what this is.
    fn as_it_came(&self) -> Option<&dyn Facts> {
        None
    }
}

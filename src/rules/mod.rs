//! What a request is asked and what is done to it: conditions, values and actions as plain data, with
//! pure evaluation.
//!
//! Keys of our own (`redirects`, `request_headers`, ...) and HAProxy's words in `custom_settings` both
//! become these rules, so that a request is judged in one place whatever language its rules were
//! written in. Rules look at a request through [`Facts`], answer a [`Verdict`] and leave what has to
//! change in [`Edits`]; they touch no buffer, socket or clock.

mod action;
mod condition;

pub use action::{
    AnswerRule, Edits, FieldEdit, LineEdit, Redirect, RequestAction, RequestRule, Rules, Verdict,
};
pub use condition::{Condition, Test};

use std::net::SocketAddr;

/// Whose field lines are meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Request,
    /// The upstream's answer. Says nothing while the request is judged.
    Answer,
}

/// What rules may look at. What is not known is empty: an answer while the request is judged, the
/// request while the answer is judged.
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
}

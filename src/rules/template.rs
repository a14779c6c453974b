//! Templates: values made of text and of what requests say.

use super::{Facts, Sample};

/// Text with samples in it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Template {
    pub parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Part {
    Text(Vec<u8>),
    /// Nothing where nothing is found.
    Sample(Sample),
}

/// Where a value will stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The value of a field.
    Field,
    /// A `Location`.
    Location,
    /// The path of a request.
    Path,
    /// The query of a request.
    Query,
    /// Nowhere in a head: a body, or what rules keep for themselves.
    Body,
}

impl Template {
    /// No value is longer.
    pub const LONGEST: usize = 16 * 1024;

    /// Text as it stands.
    pub fn text(text: impl Into<Vec<u8>>) -> Self {
        Self {
            parts: vec![Part::Text(text.into())],
        }
    }

    pub fn samples(&self) -> impl Iterator<Item = &Sample> {
        self.parts.iter().filter_map(|part| match part {
            Part::Sample(sample) => Some(sample),
            Part::Text(_) => None,
        })
    }

    /// The value for one request; `None` if it would be longer than [`Template::LONGEST`].
    ///
    /// Bytes that cannot stand in `place` are written as `%XX`. Clients choose what samples say, and
    /// a line break among it must stay a part of the value; encoded it can still be read, and unlike a
    /// value cut or left out it is not mistaken for one that the operator meant.
    pub fn render(&self, facts: &dyn Facts, place: Place) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        for part in &self.parts {
            match part {
                Part::Text(text) => place.put(text, &mut out),
                Part::Sample(sample) => {
                    if let Some(value) = sample.one(facts) {
                        place.put(&value.text(), &mut out);
                    }
                }
            }
            if out.len() > Self::LONGEST {
                return None;
            }
        }
        Some(out)
    }
}

impl Place {
    pub(super) fn put(self, text: &[u8], out: &mut Vec<u8>) {
        const HEX: &[u8; 16] = b"0123456789ABCDEF";
        for &byte in text {
            if self.takes(byte) {
                out.push(byte);
            } else {
                let (high, low) = (usize::from(byte >> 4), usize::from(byte & 15));
                out.extend_from_slice(&[b'%', HEX[high], HEX[low]]);
            }
        }
    }

    /// A value that is not made of a template, made fit for its place.
    pub(super) fn fit(self, value: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(value.len());
        self.put(value, &mut out);
        out
    }

    fn takes(self, byte: u8) -> bool {
        let is_visible = (0x21..0x7f).contains(&byte);
        match self {
            Place::Field => is_visible || matches!(byte, b' ' | b'\t' | 0x80..),
            Place::Location => is_visible,
            Place::Path => is_visible && !matches!(byte, b'?' | b'#'),
            Place::Query => is_visible && byte != b'#',
            Place::Body => true,
        }
    }
}

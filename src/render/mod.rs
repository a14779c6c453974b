//! Snapshot to unit texts.
//!
//! [`Templates`] are the built-in ones and those of a directory, each said to be rendered once or
//! for each directory or key of a pattern. A [`Renderer`] keeps what it rendered, and what each render
//! read, as a build tool does: the next snapshot costs what changed in it. What the texts mean is
//! not known here.
//!
//! Rendering is pure: the text depends on keys, templates and the environment of the process, and
//! on nothing that changes without a key. There are no clocks and no look-ups of names.

mod attempt;
mod escape;
mod filters;
mod functions;
mod pattern;
mod reads;
mod renderer;
mod scope;
mod templates;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;

use crate::diag::Diagnostic;
use crate::names::UnitName;

pub use renderer::Renderer;
pub use templates::{Templates, fingerprint};

/// The text of one unit may have this many bytes, and so may a value that it reads.
pub const TEXT_BYTES: usize = 256 * 1024;

/// Why a render or a file failed. Boxed: it is much larger than what goes well.
type Failure = Box<Diagnostic>;

/// What a new snapshot, or new templates, changed. Every list is in name order.
#[derive(Debug, Default)]
pub struct Rendered {
    /// Units that are new, whose text or warnings differ from before, or that failed before.
    pub changed: Vec<UnitText>,
    /// Units that no key or template asks for any more.
    pub removed: Vec<UnitName>,
    /// Units whose template failed; what they were before stays in force elsewhere.
    pub failed: Vec<(UnitName, Vec<Diagnostic>)>,
    /// How many templates were run to find out.
    pub rendered: usize,
}

impl Rendered {
    /// Whether nothing at all has to be told.
    pub fn is_empty(&self) -> bool {
        self.changed.is_empty() && self.removed.is_empty() && self.failed.is_empty()
    }
}

#[derive(Clone, PartialEq)]
pub struct UnitText {
    pub unit: UnitName,
    pub text: Arc<str>,
    /// What the template warned about; the unit goes live.
    pub warnings: Vec<Diagnostic>,
}

/// Never the text: there are passwords and private keys in it.
impl fmt::Debug for UnitText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UnitText")
            .field("unit", &self.unit)
            .field("bytes", &self.text.len())
            .field("warnings", &self.warnings)
            .finish()
    }
}

//! Answers: a grant or a denial, with the figures of the bucket that it came from.

mod denied;
mod figures;
mod grant;
mod source;

pub use denied::Denied;
pub(crate) use figures::{AnswerKind, Figures, Patience};
pub use grant::Grant;
pub use source::Source;

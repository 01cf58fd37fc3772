//! What devices tell of themselves in their answers.
//!
//! Owns: which answer is kept as which section (`read`), what is new in it (`changes`), the marks by which commands are judged, what is asked on schedule (`questions`), and the
//! names under which hooks know it (`names`).
//! Pure: no row, no clock. In the flow: `engine/device` reads an answer, the writer keeps it with the report (`store::observations`).

mod changes;
mod marks;
mod names;
mod questions;
mod read;

pub(crate) use changes::{merge, restless};
pub use marks::Marks;
pub(crate) use names::{fact_name, plain_name};
pub(crate) use questions::questions;
pub(crate) use read::{Seen, profiles, read, tells_all};

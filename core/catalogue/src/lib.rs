//! What Apple's management protocols allow, as data: messages, commands, payloads, declarations, status items, and each key in them,
//! with the platforms, versions and conditions under which they work.
//!
//! Owns: the facts and the judging of what is asked against them. Does no I/O, keeps no clock, knows no device but the one it is told
//! of; every function is pure. The facts are made from Apple's device management schema by `cargo xtask catalogue`; NOTICE beside the
//! data names it and its licence. Sentences in here are our own.

mod catalogue;
mod diff;
mod explain;
mod judge;
mod object;
mod platform;
mod preflight;
mod rules;
mod support;
mod tell;
mod value;
mod version;

pub use catalogue::{Catalogue, Damaged, Found, Source};
pub use diff::{Change, Changed};
pub use explain::Finding;
pub use judge::{Cause, Channel, EnrollmentKind, Target, Weight};
pub use object::{Class, Key, KeyType, NotAClass, Object, Reason};
pub use platform::{NotAPlatform, Platform};
pub use preflight::{Preflight, Verdict};
pub use support::{Enrollment, Mode, RIGHTS, Right, Row, Scope, SharedIpad, Since, Support};
pub use value::Form;
pub use version::{NotAVersion, OsVersion};

/// The data files, one after another.
const DATA: &str = concat!(
    include_str!("../data/sources.jsonl"),
    include_str!("../data/check-in.jsonl"),
    include_str!("../data/command.jsonl"),
    include_str!("../data/error.jsonl"),
    include_str!("../data/profile.jsonl"),
    include_str!("../data/declaration.jsonl"),
    include_str!("../data/status.jsonl"),
    include_str!("../data/protocol.jsonl"),
    include_str!("../data/other.jsonl"),
);

//! Apple's device management messages as types, behind bounded readers.
//!
//! Owns the way from bytes to typed messages and back. Does no I/O, keeps no clock and no state; every function is pure. A body from a
//! peer goes through [`guard`] first, then through the property list reader, then through a typed view that keeps unknown keys and
//! the raw bytes.
//!
//! # Glossary
//!
//! | Word | Meaning |
//! | --- | --- |
//! | check-in | a message to `CheckInURL`, told apart by `MessageType` |
//! | report | a message to `ServerURL`: the outcome of a command, or `Idle` |
//! | command | what the server sends: `CommandUUID` beside `Command` with its `RequestType` |
//! | enrollment | one channel of one device under management, from the first `TokenUpdate` to `CheckOut` |
//! | channel | the device itself, or one of its users |
//! | UDID | identifier of a device; user enrollments have an `EnrollmentID` in its place |
//! | topic | name of the push certificate that the profile is tied to |
//! | push magic | word that a push must carry to be obeyed |
//! | unlock token | what the server must hand back to clear a passcode |
//! | bootstrap token | key that the server keeps for a device and that only the device can use |
//! | declaration | a document of declarative management |

pub mod checkin;
pub mod command;
mod error;
mod fields;
pub mod guard;
pub mod ids;
pub mod reply;
pub mod report;
mod secret;

pub use checkin::{CheckIn, CheckInMessage, MessageType, parse_check_in};
pub use command::{CommandEnvelope, RawCommand};
pub use error::{Blame, ParseError};
pub use guard::{GuardError, GuardLimits};
pub use ids::{Channel, DeviceId, EnrollmentId, EnrollmentIds, Udid, UserId};
pub use report::{Report, Status, parse_report};
pub use secret::Secret;

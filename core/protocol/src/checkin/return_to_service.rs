//! `ReturnToService`: an erased device asks how to come back.
//!
//! Owns the message, which has no fields of its own. Source: Apple, Device Management, "Return to Service".

/// An erased device asks whether, and with which profiles, it returns to service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReturnToService;

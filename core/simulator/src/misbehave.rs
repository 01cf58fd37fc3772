//! How often devices do what real ones do in bad moments.
//!
//! Owns the rates; what each of them means is carried out by the device's session. Never on by
//! surprise in a measurement: [`Misbehaviour::none`] turns all of it off. Rates by default: the
//! project's reliability goals, "simulator misbehaviour by default".

/// Rates between 0.0 and 1.0.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Misbehaviour {
    /// A command is answered NotNow, at most three times.
    pub not_now: f64,
    /// A report is sent twice.
    pub duplicate_report: f64,
    /// The connection is cut before the answer to a report is read; the device comes back with
    /// Idle.
    pub cut: f64,
    /// Idle is sent while a command is outstanding, or an older report is sent again in
    /// between.
    pub out_of_order: f64,
    /// Before a session, a request under another device's name is tried with the own identity.
    pub foreign_identity: f64,
    /// Before a session, the device takes a new push token and announces it.
    pub token_change: f64,
}

impl Default for Misbehaviour {
    fn default() -> Self {
        Self {
            not_now: 0.05,
            duplicate_report: 0.05,
            cut: 0.05,
            out_of_order: 0.02,
            foreign_identity: 0.01,
            token_change: 0.001,
        }
    }
}

impl Misbehaviour {
    /// Devices that behave at all times.
    #[must_use]
    pub const fn none() -> Self {
        Self {
            not_now: 0.0,
            duplicate_report: 0.0,
            cut: 0.0,
            out_of_order: 0.0,
            foreign_identity: 0.0,
            token_change: 0.0,
        }
    }
}

//! Where the writer's sealed values stand.
//!
//! Owns: the place (table, column, row) of each value that the queue seals, so that sealing and opening can never
//! disagree. Seals nothing itself.

use crate::clock::Micros;
use crate::ids::EnrollmentId;
use crate::seal::Place;

/// Names a delivery's row in `delivery_history`, for sealing.
pub(crate) fn history_row(enrollment: EnrollmentId, seq: i64) -> Vec<u8> {
    let mut row = enrollment.0.as_bytes().to_vec();
    row.extend_from_slice(&seq.to_be_bytes());
    row
}

/// Where a sealed report stands.
pub(crate) fn report_place(row: &[u8]) -> Place<'_> {
    Place {
        table: "delivery_history",
        column: "report_sealed",
        row,
    }
}

/// Where the sealed inputs of a template stand.
pub(crate) fn inputs_place(row: &[u8]) -> Place<'_> {
    Place {
        table: "delivery",
        column: "inputs_sealed",
        row,
    }
}

/// Where a sealed command body stands; the row is its hash.
pub(crate) fn body_place(hash: &[u8]) -> Place<'_> {
    Place {
        table: "command_body",
        column: "sealed",
        row: hash,
    }
}

/// Names an orphaned report's row, for sealing.
pub(crate) fn orphan_row(enrollment: EnrollmentId, at: Micros) -> Vec<u8> {
    history_row(enrollment, at)
}

/// Where a sealed orphaned report stands.
pub(crate) fn orphan_place(row: &[u8]) -> Place<'_> {
    Place {
        table: "orphan_report",
        column: "report_sealed",
        row,
    }
}

//! A device's own record of what it saw: the evidence that a server is checked against.
//!
//! Owns deliveries, reports, statuses, pushes and the faults that follow from them. Never
//! consulted by the device to decide anything but whether it has already answered. Stands beside
//! the session, which writes it; the fleet sums it up, and a checker reads it as JSON lines.

use std::collections::{BTreeMap, HashMap};
use std::io::{self, Write};

use aws_lc_rs::digest::{SHA256, digest};
use serde::Serialize;

use crate::clock::unix_ms;

/// Faults kept with their details on each channel; beyond it they are only counted.
const MAX_FAULTS: usize = 100;

/// Something a correct server does not do.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultKind {
    /// A command came again with other bytes than the first time.
    DifferingBytes,
    /// A command came although its terminal report had been answered with 200.
    AfterTerminal,
    /// A command answered NotNow was offered again before the next Idle.
    NotNowReoffered,
    /// A request under a foreign name was answered with 200.
    ForeignAnswered,
    /// A well-formed request was refused (anything but 200, 429 and 503).
    UnexpectedStatus,
    /// A 200 reply that the device could not understand.
    Unreadable,
    /// A session did not end within a thousand commands.
    EndlessSession,
}

/// One fault.
#[derive(Clone, Debug, Serialize)]
pub struct Fault {
    /// What it is.
    pub kind: FaultKind,
    /// Command UUID, status or the like; never a body.
    pub detail: String,
    /// Milliseconds since 1970.
    pub at_ms: i64,
}

/// One answer that the device sent for a command.
#[derive(Clone, Debug, Serialize)]
pub struct ReportRecord {
    /// `Acknowledged`, `Error`, `CommandFormatError` or `NotNow`.
    pub status: &'static str,
    /// Milliseconds since 1970.
    pub sent_ms: i64,
    /// The HTTP status that came back; absent where the connection was cut.
    pub http_status: Option<u16>,
}

/// All that a channel knows about one command.
#[derive(Clone, Debug, Serialize)]
pub struct CommandRecord {
    /// The type of command.
    pub request_type: String,
    /// SHA-256 of the bytes of the first delivery, hex.
    pub sha256: String,
    /// Milliseconds since 1970.
    pub first_received_ms: i64,
    /// How often it was delivered, with these bytes.
    pub deliveries: u32,
    /// How often it was delivered with other bytes.
    pub differing: u32,
    /// How often it was delivered after a terminal report was confirmed with 200.
    pub after_terminal: u32,
    /// How often the device carried it out.
    pub executed: u32,
    /// The answers, in order.
    pub reports: Vec<ReportRecord>,
    /// The first terminal answer.
    pub terminal: Option<&'static str>,
    /// A terminal answer was confirmed with 200.
    pub confirmed: bool,
}

impl CommandRecord {
    /// Answers of NotNow so far.
    pub(crate) fn not_now(&self) -> usize {
        self.reports.iter().filter(|r| r.status == "NotNow").count()
    }
}

/// The record of one channel of one device.
#[derive(Clone, Debug, Default)]
pub struct Record {
    udid: String,
    user: Option<String>,
    commands: HashMap<String, CommandRecord>,
    statuses: BTreeMap<u16, u64>,
    pushes_ms: Vec<i64>,
    faults: Vec<Fault>,
    fault_counts: BTreeMap<FaultKind, u64>,
    generation: u32,
}

impl Record {
    /// An empty record; `user` names a user channel.
    #[must_use]
    pub fn new(udid: &str, user: Option<&str>) -> Self {
        Self {
            udid: udid.to_owned(),
            user: user.map(str::to_owned),
            ..Self::default()
        }
    }

    /// The device.
    #[must_use]
    pub fn udid(&self) -> &str {
        &self.udid
    }

    /// The user, on a user channel.
    #[must_use]
    pub fn user(&self) -> Option<&str> {
        self.user.as_deref()
    }

    /// What is known about a command.
    #[must_use]
    pub fn command(&self, uuid: &str) -> Option<&CommandRecord> {
        self.commands.get(uuid)
    }

    /// All commands by UUID, in no order.
    pub fn commands(&self) -> impl Iterator<Item = (&str, &CommandRecord)> {
        self.commands
            .iter()
            .map(|(uuid, command)| (uuid.as_str(), command))
    }

    /// The faults seen, the first hundred of them.
    #[must_use]
    pub fn faults(&self) -> &[Fault] {
        &self.faults
    }

    /// Times of the pushes received, milliseconds since 1970.
    #[must_use]
    pub fn pushes_ms(&self) -> &[i64] {
        &self.pushes_ms
    }

    /// Enrollments that were completed on this channel.
    #[must_use]
    pub const fn enrollments(&self) -> u32 {
        self.generation
    }

    pub(crate) const fn enrolled(&mut self) {
        self.generation = self.generation.saturating_add(1);
    }

    pub(crate) fn pushed(&mut self) {
        self.pushes_ms.push(unix_ms());
    }

    pub(crate) fn status(&mut self, status: u16) {
        let count = self.statuses.entry(status).or_default();
        *count = count.saturating_add(1);
    }

    pub(crate) fn fault(&mut self, kind: FaultKind, detail: &str) {
        let count = self.fault_counts.entry(kind).or_default();
        *count = count.saturating_add(1);
        if self.faults.len() < MAX_FAULTS {
            self.faults.push(Fault {
                kind,
                detail: detail.to_owned(),
                at_ms: unix_ms(),
            });
        }
    }

    /// Notes a delivery. True when it is new, or was not answered for good yet.
    pub(crate) fn received(&mut self, uuid: &str, request_type: &str, bytes: &[u8]) -> bool {
        let sha256 = hex::encode(digest(&SHA256, bytes));
        let Some(known) = self.commands.get_mut(uuid) else {
            let command = CommandRecord {
                request_type: request_type.to_owned(),
                sha256,
                first_received_ms: unix_ms(),
                deliveries: 1,
                differing: 0,
                after_terminal: 0,
                executed: 0,
                reports: Vec::new(),
                terminal: None,
                confirmed: false,
            };
            self.commands.insert(uuid.to_owned(), command);
            return true;
        };
        let mut kinds = Vec::new();
        if known.sha256 == sha256 {
            known.deliveries = known.deliveries.saturating_add(1);
        } else {
            known.differing = known.differing.saturating_add(1);
            kinds.push(FaultKind::DifferingBytes);
        }
        let open = !known.confirmed;
        if !open {
            known.after_terminal = known.after_terminal.saturating_add(1);
            kinds.push(FaultKind::AfterTerminal);
        }
        for kind in kinds {
            self.fault(kind, uuid);
        }
        open
    }

    pub(crate) fn executed(&mut self, uuid: &str) {
        if let Some(command) = self.commands.get_mut(uuid) {
            command.executed = command.executed.saturating_add(1);
        }
    }

    /// Notes a report that was sent, and what came back for it.
    pub(crate) fn reported(&mut self, uuid: &str, status: &'static str, http: Option<u16>) {
        let Some(command) = self.commands.get_mut(uuid) else {
            return;
        };
        command.reports.push(ReportRecord {
            status,
            sent_ms: unix_ms(),
            http_status: http,
        });
        if status != "NotNow" {
            command.terminal.get_or_insert(status);
            command.confirmed |= http == Some(200);
        }
    }

    /// Writes the record as JSON lines: one for the channel, one for each command.
    ///
    /// # Errors
    /// What the writer reports.
    pub fn write_json_lines(&self, out: &mut impl Write) -> io::Result<()> {
        #[derive(Serialize)]
        struct Channel<'a> {
            kind: &'static str,
            udid: &'a str,
            user: Option<&'a str>,
            enrollments: u32,
            statuses: &'a BTreeMap<u16, u64>,
            pushes_ms: &'a [i64],
            faults: &'a [Fault],
            fault_counts: &'a BTreeMap<FaultKind, u64>,
        }
        #[derive(Serialize)]
        struct Line<'a> {
            kind: &'static str,
            udid: &'a str,
            user: Option<&'a str>,
            command_uuid: &'a str,
            #[serde(flatten)]
            command: &'a CommandRecord,
        }
        let channel = Channel {
            kind: "channel",
            udid: &self.udid,
            user: self.user(),
            enrollments: self.generation,
            statuses: &self.statuses,
            pushes_ms: &self.pushes_ms,
            faults: &self.faults,
            fault_counts: &self.fault_counts,
        };
        serde_json::to_writer(&mut *out, &channel)?;
        out.write_all(b"\n")?;
        for (command_uuid, command) in self.commands() {
            let line = Line {
                kind: "command",
                udid: &self.udid,
                user: self.user(),
                command_uuid,
                command,
            };
            serde_json::to_writer(&mut *out, &line)?;
            out.write_all(b"\n")?;
        }
        Ok(())
    }
}

/// Many records in figures.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize)]
pub struct Summary {
    /// Channels with a record.
    pub channels: u64,
    /// Different commands received.
    pub commands: u64,
    /// Commands with a terminal answer.
    pub answered: u64,
    /// Commands whose terminal answer the server confirmed.
    pub confirmed: u64,
    /// Executions; equals `answered` unless a command was carried out twice.
    pub executed: u64,
    /// Answers of NotNow.
    pub not_now: u64,
    /// Repeated deliveries with identical bytes: allowed.
    pub repeated: u64,
    /// Deliveries with other bytes: a fault.
    pub differing: u64,
    /// Deliveries after a confirmed terminal answer: a fault ("doubled").
    pub after_terminal: u64,
    /// Pushes received.
    pub pushes: u64,
    /// Answers by HTTP status.
    pub statuses: BTreeMap<u16, u64>,
    /// All faults by kind.
    pub faults: BTreeMap<FaultKind, u64>,
}

impl Summary {
    /// Adds a channel's record.
    pub fn add(&mut self, record: &Record) {
        let plus = |to: &mut u64, n: u64| *to = to.saturating_add(n);
        plus(&mut self.channels, 1);
        for command in record.commands.values() {
            plus(&mut self.commands, 1);
            plus(&mut self.answered, u64::from(command.terminal.is_some()));
            plus(&mut self.confirmed, u64::from(command.confirmed));
            plus(&mut self.executed, u64::from(command.executed));
            plus(&mut self.not_now, command.not_now().try_into().unwrap_or(0));
            plus(
                &mut self.repeated,
                u64::from(command.deliveries.saturating_sub(1)),
            );
            plus(&mut self.differing, u64::from(command.differing));
            plus(&mut self.after_terminal, u64::from(command.after_terminal));
        }
        plus(
            &mut self.pushes,
            record.pushes_ms.len().try_into().unwrap_or(0),
        );
        for (status, count) in &record.statuses {
            plus(self.statuses.entry(*status).or_default(), *count);
        }
        for (kind, count) in &record.fault_counts {
            plus(self.faults.entry(*kind).or_default(), *count);
        }
    }

    /// All faults together.
    #[must_use]
    pub fn fault_count(&self) -> u64 {
        self.faults.values().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repeated_delivery_is_a_fault_only_after_confirmation_or_with_other_bytes() {
        let mut record = Record::new("A", None);
        assert!(record.received("1", "ProfileList", b"x"));
        assert!(record.received("1", "ProfileList", b"x"));
        record.reported("1", "Acknowledged", None);
        assert!(
            record.received("1", "ProfileList", b"x"),
            "the report may be lost"
        );
        assert!(record.faults().is_empty());
        record.reported("1", "Acknowledged", Some(200));
        assert!(!record.received("1", "ProfileList", b"x"));
        assert!(!record.received("1", "ProfileList", b"y"));
        let mut summary = Summary::default();
        summary.add(&record);
        assert_eq!(summary.repeated, 3);
        assert_eq!(summary.differing, 1);
        assert_eq!(summary.after_terminal, 2);
        assert_eq!(summary.fault_count(), 3);
    }

    #[test]
    fn lines_are_json_objects_of_two_kinds() {
        let mut record = Record::new("A", Some("jane"));
        record.received("1", "ProfileList", b"x");
        record.reported("1", "NotNow", Some(200));
        let mut out = Vec::new();
        record.write_json_lines(&mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        let lines: Vec<serde_json::Value> = text
            .lines()
            .map(|l| serde_json::from_str(l).unwrap())
            .collect();
        assert_eq!(lines[0]["kind"], "channel");
        assert_eq!(lines[1]["command_uuid"], "1");
        assert_eq!(lines[1]["reports"][0]["status"], "NotNow");
        assert_eq!(lines[1]["terminal"], serde_json::Value::Null);
    }
}

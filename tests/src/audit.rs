//! Three records of the same commands, laid side by side: what the server took, what it says became of it, and what the
//! devices saw.
//!
//! Owns the comparison and the words for what is wrong. It decides nothing from counters and asks nobody: the records
//! are handed in, and a difference in any one command is a finding.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fmt,
};

use pomona_simulator::{CommandRecord, Record, Summary};

/// Findings that are kept with their details; further ones are only counted.
const KEPT: usize = 20;

/// One command on the device channel of one device.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Delivery {
    /// The device.
    pub udid: String,
    /// `CommandUUID`.
    pub command_uuid: String,
}

impl Delivery {
    /// A delivery; the case of a UDID does not count.
    #[must_use]
    pub fn new(udid: &str, command_uuid: &str) -> Self {
        Self {
            udid: udid.to_ascii_uppercase(),
            command_uuid: command_uuid.to_owned(),
        }
    }
}

/// What the server says of a delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServerSays {
    /// It waits, or is out.
    Open,
    /// It is over, with this status of the device.
    Answered(String),
    /// It is over without an answer (cancelled, expired, withdrawn).
    Ended(String),
}

/// What the device says of a delivery.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeviceSays {
    /// Its first answer other than NotNow.
    pub answer: Option<String>,
    /// The server confirmed that answer with 200.
    pub confirmed: bool,
    /// How often the device carried the command out.
    pub executed: u32,
    /// Deliveries after the confirmed answer.
    pub after_answer: u32,
    /// Deliveries with other bytes than the first.
    pub differing: u32,
}

impl From<&CommandRecord> for DeviceSays {
    fn from(record: &CommandRecord) -> Self {
        Self {
            answer: record.terminal.map(ToOwned::to_owned),
            confirmed: record.confirmed,
            executed: record.executed,
            after_answer: record.after_terminal,
            differing: record.differing,
        }
    }
}

/// Something that a correct server does not do, or does not leave behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wrong {
    /// The server took the command and knows nothing of it now.
    CommandForgotten,
    /// The server says that the device answered; the device never did.
    AnswerInvented,
    /// The server confirmed an answer and does not have it.
    AnswerLost,
    /// The server has another answer than the device gave first.
    AnswerChanged,
    /// The server has two terminal results of one delivery.
    SecondResult,
    /// The device carried a command out twice.
    ExecutedTwice,
    /// A command came again after its answer had been confirmed.
    DeliveredAfterAnswer,
    /// A command came again with other bytes.
    BytesChanged,
    /// A device has a command that the server never took.
    CommandInvented,
    /// The command is still open although there was time for it.
    LeftOpen,
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::CommandForgotten => "accepted commands lost",
            Self::AnswerInvented => "answers that no device gave",
            Self::AnswerLost => "confirmed answers lost",
            Self::AnswerChanged => "answers changed",
            Self::SecondResult => "second results",
            Self::ExecutedTwice => "executed twice",
            Self::DeliveredAfterAnswer => "delivered after their answer",
            Self::BytesChanged => "delivered with other bytes",
            Self::CommandInvented => "commands that nobody queued",
            Self::LeftOpen => "left open",
        })
    }
}

/// All records of a run.
#[derive(Debug, Clone, Default)]
pub struct Audit {
    accepted: BTreeSet<Delivery>,
    devices: HashMap<Delivery, DeviceSays>,
    server: HashMap<Delivery, Vec<ServerSays>>,
}

/// What the comparison came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Findings {
    /// Deliveries that the server took.
    pub accepted: usize,
    /// Of those, the ones that a device received.
    pub received: usize,
    /// Of those, the ones that a device answered for good.
    pub answered: usize,
    /// What is wrong, how often.
    pub wrong: BTreeMap<Wrong, usize>,
    /// The first of them: what, which device, which command.
    pub examples: Vec<(Wrong, Delivery)>,
}

impl Audit {
    /// Notes that the server took a command.
    pub fn accept(&mut self, delivery: Delivery) {
        self.accepted.insert(delivery);
    }

    /// The number of deliveries that the server took so far.
    #[must_use]
    pub fn accepted(&self) -> usize {
        self.accepted.len()
    }

    /// Adds the record of a device channel; records of users are passed over.
    pub fn hear_device(&mut self, record: &Record) {
        if record.user().is_some() {
            return;
        }
        for (uuid, command) in record.commands() {
            self.devices
                .insert(Delivery::new(record.udid(), uuid), command.into());
        }
    }

    /// Adds one entry of the server's queue or history.
    pub fn hear_server(&mut self, delivery: Delivery, says: ServerSays) {
        self.server.entry(delivery).or_default().push(says);
    }

    /// Deliveries that the server took and the device has not answered for good, by the devices' records so far.
    #[must_use]
    pub fn unanswered(&self) -> usize {
        let answered = |delivery: &&Delivery| {
            self.devices
                .get(delivery)
                .is_none_or(|device| device.answer.is_none())
        };
        self.accepted.iter().filter(answered).count()
    }

    /// Compares all there is. With `drained`, there was time for every command, and an open one is a finding too.
    #[must_use]
    pub fn compare(&self, drained: bool) -> Findings {
        let mut findings = Findings {
            accepted: self.accepted.len(),
            ..Findings::default()
        };
        for delivery in &self.accepted {
            let device = self.devices.get(delivery);
            findings.received += usize::from(device.is_some());
            findings.answered += usize::from(device.is_some_and(|says| says.answer.is_some()));
            let server = self.server.get(delivery).map_or(&[][..], Vec::as_slice);
            for wrong in judge_server(server, device, drained) {
                findings.add(wrong, delivery);
            }
        }
        for (delivery, device) in &self.devices {
            if !self.accepted.contains(delivery) {
                findings.add(Wrong::CommandInvented, delivery);
            }
            for wrong in judge_device(device) {
                findings.add(wrong, delivery);
            }
        }
        findings
    }
}

impl Findings {
    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.wrong.is_empty()
    }

    /// How often `wrong` was found.
    #[must_use]
    pub fn count(&self, wrong: Wrong) -> usize {
        self.wrong.get(&wrong).copied().unwrap_or(0)
    }

    fn add(&mut self, wrong: Wrong, delivery: &Delivery) {
        *self.wrong.entry(wrong).or_default() += 1;
        if self.examples.len() < KEPT {
            self.examples.push((wrong, delivery.clone()));
        }
    }
}

impl fmt::Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} accepted, {} received, {} answered",
            self.accepted, self.received, self.answered
        )?;
        for (wrong, count) in &self.wrong {
            writeln!(f, "{count} {wrong}")?;
        }
        for (wrong, delivery) in &self.examples {
            writeln!(
                f,
                "  {wrong}: {} on {}",
                delivery.command_uuid, delivery.udid
            )?;
        }
        Ok(())
    }
}

/// The faults that the devices noted themselves, in words; empty when there are none.
#[must_use]
pub fn faults(summary: &Summary) -> Vec<String> {
    summary
        .faults
        .iter()
        .filter(|(_, count)| **count > 0)
        .map(|(kind, count)| format!("{count} × {kind:?}"))
        .collect()
}

fn judge_server(server: &[ServerSays], device: Option<&DeviceSays>, drained: bool) -> Vec<Wrong> {
    let mut wrong = Vec::new();
    let given = device.and_then(|device| device.answer.as_deref());
    let confirmed = device.is_some_and(|device| device.confirmed);
    if server.is_empty() {
        wrong.push(Wrong::CommandForgotten);
    }
    if server.len() > 1 {
        wrong.push(Wrong::SecondResult);
    }
    for says in server {
        match (says, given) {
            (ServerSays::Open, _) if confirmed => wrong.push(Wrong::AnswerLost),
            (ServerSays::Open, _) if drained => wrong.push(Wrong::LeftOpen),
            (ServerSays::Answered(_), None) => wrong.push(Wrong::AnswerInvented),
            (ServerSays::Answered(stored), Some(given)) if stored != given => {
                wrong.push(Wrong::AnswerChanged);
            }
            (ServerSays::Ended(_), Some(_)) if confirmed => wrong.push(Wrong::AnswerLost),
            _ => {}
        }
    }
    wrong
}

fn judge_device(device: &DeviceSays) -> Vec<Wrong> {
    let mut wrong = Vec::new();
    if device.executed > 1 {
        wrong.push(Wrong::ExecutedTwice);
    }
    if device.after_answer > 0 {
        wrong.push(Wrong::DeliveredAfterAnswer);
    }
    if device.differing > 0 {
        wrong.push(Wrong::BytesChanged);
    }
    wrong
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered() -> DeviceSays {
        DeviceSays {
            answer: Some("Acknowledged".to_owned()),
            confirmed: true,
            executed: 1,
            ..DeviceSays::default()
        }
    }

    fn found(server: &[ServerSays], device: Option<DeviceSays>) -> Vec<Wrong> {
        let mut audit = Audit::default();
        let delivery = Delivery::new("U", "c");
        audit.accept(delivery.clone());
        for says in server {
            audit.hear_server(delivery.clone(), says.clone());
        }
        if let Some(device) = device {
            audit.devices.insert(delivery, device);
        }
        audit.compare(true).wrong.into_keys().collect()
    }

    #[test]
    fn each_difference_has_its_name() {
        let acknowledged = || ServerSays::Answered("Acknowledged".to_owned());
        let unconfirmed = DeviceSays {
            confirmed: false,
            ..answered()
        };
        let twice = DeviceSays {
            executed: 2,
            ..answered()
        };
        let after = DeviceSays {
            after_answer: 1,
            ..answered()
        };
        let other = DeviceSays {
            differing: 1,
            ..answered()
        };
        let cases = [
            (vec![acknowledged()], Some(answered()), vec![]),
            (vec![acknowledged()], Some(unconfirmed), vec![]),
            (vec![], None, vec![Wrong::CommandForgotten]),
            (vec![acknowledged()], None, vec![Wrong::AnswerInvented]),
            (
                vec![ServerSays::Open],
                Some(answered()),
                vec![Wrong::AnswerLost],
            ),
            (vec![ServerSays::Open], None, vec![Wrong::LeftOpen]),
            (
                vec![ServerSays::Answered("Error".to_owned())],
                Some(answered()),
                vec![Wrong::AnswerChanged],
            ),
            (
                vec![acknowledged(), acknowledged()],
                Some(answered()),
                vec![Wrong::SecondResult],
            ),
            (
                vec![acknowledged()],
                Some(twice),
                vec![Wrong::ExecutedTwice],
            ),
            (
                vec![acknowledged()],
                Some(after),
                vec![Wrong::DeliveredAfterAnswer],
            ),
            (vec![acknowledged()], Some(other), vec![Wrong::BytesChanged]),
        ];
        for (server, device, expected) in cases {
            assert_eq!(
                found(&server, device.clone()),
                expected,
                "{server:?} {device:?}"
            );
        }
    }

    #[test]
    fn a_command_that_nobody_queued_is_found() {
        let mut audit = Audit::default();
        audit.devices.insert(Delivery::new("U", "c"), answered());
        assert_eq!(audit.compare(true).count(Wrong::CommandInvented), 1);
    }

    #[test]
    fn an_open_command_is_no_finding_while_there_was_no_time_for_it() {
        let mut audit = Audit::default();
        audit.accept(Delivery::new("U", "c"));
        audit.hear_server(Delivery::new("U", "c"), ServerSays::Open);
        assert!(audit.compare(false).is_clean());
        assert_eq!(audit.unanswered(), 1);
    }
}

//! One connection's worth of commands: Idle, command, report, until the server has no more.
//!
//! Owns the loop, the mischief in it, and the noting of what a server must not do. Never knows
//! what a command means: that is the answers' part. Source: Apple, "Handling NotNow", "Commands
//! and queries"; the project's invariants on queues (identical bytes on redelivery, no command
//! after its terminal answer).

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tracing::debug;

use crate::client::{Answer, Cut};
use crate::device::answer::{After, Reply};
use crate::device::checkin::sender;
use crate::device::state::Sent;
use crate::device::transport::Kind;
use crate::device::{Device, DeviceError};
use crate::reading::Command;
use crate::record::FaultKind;
use crate::xml;

/// Commands in one session, beyond which the server is at fault.
const MAX_COMMANDS: u32 = 1_000;

/// Answers of NotNow to one command, beyond which a device gives in.
const MAX_NOT_NOW: usize = 3;

/// How a session ended.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct SessionEnd {
    /// Commands received.
    pub commands: u32,
    /// The last answer was NotNow: the device comes back by itself.
    pub last_was_not_now: bool,
    /// A command was put off at some time in the session.
    pub put_off: bool,
    /// The server was too busy (429, 5xx); come back after this many seconds.
    pub busy: Option<u64>,
    /// The enrollment is over: erased, removed, or thrown out.
    pub ended: bool,
}

/// What is going on in one session.
#[derive(Default)]
struct Progress {
    end: SessionEnd,
    /// Commands answered NotNow since the last Idle.
    put_off: HashSet<String>,
    /// Declarations are to be looked at when the commands are done.
    synchronise: Option<Option<Vec<u8>>>,
}

type Next = Option<(Command, Bytes)>;

impl Device {
    /// Waits until one of the device's push tokens has a notification, and takes it. Gives the
    /// channels that were rung with the right magic; a wrong magic makes the device send
    /// TokenUpdate again. Waits for ever where there is no push service.
    ///
    /// # Errors
    /// [`DeviceError`] when such a TokenUpdate failed.
    pub async fn pushed(&mut self) -> Result<Vec<usize>, DeviceError> {
        loop {
            let rung = self.take_pushes().await?;
            if !rung.is_empty() {
                return Ok(rung);
            }
            Arc::clone(&self.waker).notified().await;
        }
    }

    /// The same without waiting.
    ///
    /// # Errors
    /// [`DeviceError`] when a TokenUpdate after a wrong magic failed.
    pub async fn take_pushes(&mut self) -> Result<Vec<usize>, DeviceError> {
        let mut rung = Vec::new();
        for index in 0..self.channels.len() {
            let channel = self.channel_mut(index)?;
            let Some(bell) = &channel.bell else { continue };
            let push = bell.registration.as_ref().and_then(|r| r.take());
            let Some(push) = push else { continue };
            let right = push.magic == bell.magic;
            channel.record.pushed();
            self.world.counters.push();
            if right {
                rung.push(index);
            } else {
                self.update_token(index).await?;
            }
        }
        Ok(rung)
    }

    /// What wakes the device: for a caller that waits for several things.
    pub(crate) fn waker(&self) -> Arc<tokio::sync::Notify> {
        Arc::clone(&self.waker)
    }

    /// Connects on a channel and works until the server has nothing more to do.
    ///
    /// # Errors
    /// [`DeviceError`] when the connection failed or there is no enrollment; what was not
    /// answered comes again in a later session.
    pub async fn session(&mut self, channel: usize) -> Result<SessionEnd, DeviceError> {
        let world = Arc::clone(&self.world);
        let _online = world.counters.online();
        if self.channel(channel)?.bell.is_none() {
            return Err(DeviceError::NoChannel(channel));
        }
        let mischief = self.profile.misbehaviour;
        if self.dice.chance(mischief.token_change) {
            self.change_token(channel).await?;
        }
        if self.dice.chance(mischief.foreign_identity) {
            self.probe_foreign(channel).await?;
        }
        let mut progress = Progress::default();
        let outcome = self.work(channel, &mut progress).await;
        if outcome.is_ok() && !progress.end.ended {
            if let Some(data) = progress.synchronise.take() {
                self.synchronise(channel, data.as_deref()).await?;
            }
            if channel == 0 && self.dice.chance(0.02) && self.escrows() {
                self.check_bootstrap_token().await?;
            }
        }
        self.client.disconnect();
        outcome.map(|()| progress.end)
    }

    async fn work(&mut self, channel: usize, progress: &mut Progress) -> Result<(), DeviceError> {
        let mut next = self.idle(channel, progress).await?;
        while let Some((command, bytes)) = next.take() {
            progress.end.commands = progress.end.commands.saturating_add(1);
            if progress.end.commands > MAX_COMMANDS {
                self.fault(channel, FaultKind::EndlessSession, &command.uuid);
                break;
            }
            if progress.put_off.contains(&command.uuid) {
                self.fault(channel, FaultKind::NotNowReoffered, &command.uuid);
            }
            self.note_delivery(channel, &command, &bytes)?;
            next = self.turn(channel, command, progress).await?;
            if progress.end.ended {
                break;
            }
        }
        Ok(())
    }

    /// Answers one command; gives the next.
    async fn turn(
        &mut self,
        channel: usize,
        command: Command,
        progress: &mut Progress,
    ) -> Result<Next, DeviceError> {
        let mischief = self.profile.misbehaviour;
        if self.dice.chance(mischief.out_of_order) {
            self.out_of_order(channel, &command, progress).await?;
        }
        let (sent, after) = self.answer_for(channel, &command).await?;
        let final_step = matches!(after, After::Wipe | After::Leave);
        progress.end.last_was_not_now = sent.status == "NotNow";
        if sent.status == "NotNow" {
            progress.put_off.insert(sent.uuid.clone());
            progress.end.put_off = true;
            self.world.counters.not_now();
        }
        self.channel_mut(channel)?.last_report = Some(sent.clone());
        let next = if !final_step && self.dice.chance(mischief.cut) {
            let cut = match self.dice.below(2) {
                0 => Cut::BeforeReading,
                _ => Cut::After(Duration::from_micros(self.dice.below(3_000))),
            };
            self.put_and_cut(Kind::Report, sent.body.clone(), cut)
                .await?;
            let record = &mut self.channel_mut(channel)?.record;
            record.reported(&sent.uuid, sent.status, None);
            self.idle(channel, progress).await?
        } else {
            let mut next = self.report(channel, &sent, progress).await?;
            if !final_step && self.dice.chance(mischief.duplicate_report) {
                // The answer to the second one counts, if it holds a command.
                let again = self.report(channel, &sent, progress).await?;
                if let (Some((first, bytes)), true) = (&next, again.is_some()) {
                    self.note_delivery(channel, first, bytes)?;
                }
                next = again.or(next);
            }
            next
        };
        match after {
            After::Nothing => Ok(next),
            After::Wipe => {
                self.wipe();
                progress.end.ended = true;
                Ok(None)
            }
            After::Leave => {
                // Best effort, as on a device.
                if let Err(error) = self.check_out().await {
                    debug!(%error, "check-out was not delivered");
                }
                progress.end.ended = true;
                Ok(None)
            }
            After::Disconnect => {
                self.client.disconnect();
                // A command that came with the answer was not seen any more; Idle brings it.
                self.idle(channel, progress).await
            }
            After::Synchronise(data) => {
                progress.synchronise = Some(data);
                Ok(next)
            }
            After::Renew(profile) => {
                self.renew(*profile).await?;
                self.idle(channel, progress).await
            }
        }
    }

    /// The report for a command: as it was sent before, put off, or by carrying it out.
    async fn answer_for(
        &mut self,
        channel: usize,
        command: &Command,
    ) -> Result<(Sent, After), DeviceError> {
        // A device does not really remember its answer; it repeats it here, so that what a
        // server may have stored of a lost report can be compared with one value only.
        if let Some(before) = &self.channel(channel)?.last_report
            && before.uuid == command.uuid
            && before.status != "NotNow"
        {
            return Ok((before.clone(), After::Nothing));
        }
        let asked = self.channel(channel)?.record.command(&command.uuid);
        let put_off = asked.map_or(0, crate::record::CommandRecord::not_now);
        let urgent = matches!(
            command.request_type.as_str(),
            "DeviceLock" | "EraseDevice" | "ClearPasscode" | "EnableLostMode" | "DisableLostMode"
        );
        let rate = self.profile.misbehaviour.not_now;
        let reply = if !urgent && put_off < MAX_NOT_NOW && self.dice.chance(rate) {
            Reply::not_now()
        } else {
            if !self.profile.think_time.is_zero() {
                tokio::time::sleep(self.profile.think_time).await;
            }
            let reply = self.carry_out(channel, command).await?;
            self.channel_mut(channel)?.record.executed(&command.uuid);
            reply
        };
        let mut keys = xml::string("Status", reply.status);
        keys.push_str(&sender(&self.hardware, self.channel(channel)?));
        keys.push_str(&xml::string("CommandUUID", &command.uuid));
        keys.push_str(&reply.keys);
        let sent = Sent {
            uuid: command.uuid.clone(),
            status: reply.status,
            body: xml::document(&keys).into(),
        };
        Ok((sent, reply.after))
    }

    /// Sends a report and reads what comes next.
    async fn report(
        &mut self,
        channel: usize,
        sent: &Sent,
        progress: &mut Progress,
    ) -> Result<Next, DeviceError> {
        let outcome = self.put(channel, Kind::Report, sent.body.clone()).await;
        let status = outcome.as_ref().ok().map(|answer| answer.status);
        let record = &mut self.channel_mut(channel)?.record;
        let before = record.command(&sent.uuid).is_some_and(|c| c.confirmed);
        record.reported(&sent.uuid, sent.status, status);
        if status == Some(200) && !before && sent.status != "NotNow" {
            self.world.counters.round_trip();
        }
        self.read(channel, "report", &outcome?, progress)
    }

    async fn idle(&mut self, channel: usize, progress: &mut Progress) -> Result<Next, DeviceError> {
        progress.put_off.clear();
        let sender = sender(&self.hardware, self.channel(channel)?);
        let body = xml::document(&[xml::string("Status", "Idle"), sender].concat());
        let answer = self.put(channel, Kind::Report, body.into()).await?;
        self.read(channel, "Idle", &answer, progress)
    }

    /// What a reply means to the device.
    fn read(
        &mut self,
        channel: usize,
        message: &'static str,
        answer: &Answer,
        progress: &mut Progress,
    ) -> Result<Next, DeviceError> {
        let gone = |body: &[u8]| {
            let code = b"com.apple.unrecognized.device";
            body.windows(code.len()).any(|window| window == code)
        };
        match answer.status {
            200 if answer.body.is_empty() => Ok(None),
            200 => match Command::parse(&answer.body) {
                Ok(command) => Ok(Some((command, answer.body.clone()))),
                Err(error) => {
                    self.fault(channel, FaultKind::Unreadable, &error.to_string());
                    Ok(None)
                }
            },
            429 | 503 => {
                progress.end.busy = Some(answer.retry_after.unwrap_or(1));
                Ok(None)
            }
            401 => {
                self.fault(channel, FaultKind::UnexpectedStatus, "401");
                self.forget();
                progress.end.ended = true;
                Ok(None)
            }
            403 if gone(&answer.body) => {
                self.forget();
                progress.end.ended = true;
                Ok(None)
            }
            status => {
                let detail = format!("{message}: {status}");
                self.fault(channel, FaultKind::UnexpectedStatus, &detail);
                progress.end.busy = Some(answer.retry_after.unwrap_or(5));
                Ok(None)
            }
        }
    }

    /// Sends something else while a command waits for its report.
    async fn out_of_order(
        &mut self,
        channel: usize,
        command: &Command,
        progress: &mut Progress,
    ) -> Result<(), DeviceError> {
        let older = self.channel(channel)?.last_report.clone();
        let older = older.filter(|sent| sent.uuid != command.uuid && self.dice.chance(0.5));
        let next = match older {
            Some(sent) => self.report(channel, &sent, progress).await?,
            None => self.idle(channel, progress).await?,
        };
        // The same command again, or another one if this was withdrawn meanwhile; what came is
        // noted, and the one at hand is answered.
        if let Some((command, bytes)) = next {
            self.note_delivery(channel, &command, &bytes)?;
        }
        Ok(())
    }

    /// Asks for commands, or reports one, under the name of another device. The answer must be a refusal.
    async fn probe_foreign(&mut self, channel: usize) -> Result<(), DeviceError> {
        let stranger = {
            let neighbours = self.world.neighbours.lock();
            let others: Vec<&String> = neighbours
                .iter()
                .filter(|udid| **udid != self.hardware.udid)
                .collect();
            self.dice.choose(&others).map(|udid| (*udid).clone())
        };
        let stranger = stranger.unwrap_or_else(|| self.dice.uuid());
        let mut keys = xml::string("UDID", &stranger);
        if self.dice.chance(0.5) {
            keys.push_str(&xml::string("Status", "Idle"));
        } else {
            keys.push_str(&xml::string("Status", "Acknowledged"));
            keys.push_str(&xml::string("CommandUUID", &self.dice.uuid()));
        }
        let body = xml::document(&keys);
        let answer = self.put(channel, Kind::Report, body.into()).await?;
        match answer.status {
            400..500 if answer.status != 401 => {}
            429 | 503 => {}
            200 => self.fault(channel, FaultKind::ForeignAnswered, &stranger),
            status => {
                let detail = format!("foreign report: {status}");
                self.fault(channel, FaultKind::UnexpectedStatus, &detail);
            }
        }
        Ok(())
    }

    fn note_delivery(
        &mut self,
        channel: usize,
        command: &Command,
        bytes: &[u8],
    ) -> Result<(), DeviceError> {
        let channel = self.channel_mut(channel)?;
        let before = channel.record.faults().len();
        channel
            .record
            .received(&command.uuid, &command.request_type, bytes);
        for _ in before..channel.record.faults().len() {
            self.world.counters.fault();
        }
        Ok(())
    }

    pub(super) fn fault(&mut self, channel: usize, kind: FaultKind, detail: &str) {
        self.world.counters.fault();
        if let Some(channel) = self.channels.get_mut(channel) {
            channel.record.fault(kind, detail);
        }
    }

    fn escrows(&self) -> bool {
        let capabilities = self.enrollment.as_ref().map(|e| &e.profile.capabilities);
        self.state.bootstrap_token.is_some()
            && capabilities
                .is_some_and(|all| all.iter().any(|c| c == "com.apple.mdm.bootstraptoken"))
    }
}

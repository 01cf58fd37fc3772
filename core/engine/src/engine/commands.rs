//! Enqueueing commands.
//!
//! Owns: what a request to queue a command is checked for, and that it is written once, whole, with its events and its
//! push. Hooks are asked before the transaction opens (`judging`). In the flow: admin API and effects -> here -> `store::queue`.

mod approve;
mod cancel;
mod judging;
mod preflight;
mod typed;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use bytes::Bytes;
use pomona_protocol::CommandEnvelope;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::Engine;
use super::device::command_dictionary;
use crate::actor::{Actor, Cause};
use crate::admin::AuditEntry;
use crate::admin::Instant;
use crate::clock::Micros;
use crate::enrollment::EnrollmentState;
use crate::error::{Error, Result};
use crate::event::{Event, EventKind, NewEvent};
use crate::hooks::{Amendment, CommandDraft};
use crate::ids::{CommandId, EnrollmentId, TenantId, TokenId};
use crate::queue::brake;
use crate::store::queue::{self as rows, Entry, NewCommand, Target};
use crate::store::sql::Tx;
use crate::store::{admin_audit, events, push};
use crate::writer::Allowed;
use crate::writer::places::{body_place, history_row, inputs_place};
use crate::writer::template;

pub use approve::Approved;
pub use cancel::Cancelled;
use preflight::Looked;
pub(super) use preflight::refused_now;
pub use preflight::{ChannelPreflight, PreflightFinding};

/// Channels in one call, at most.
pub(crate) const MAX_TARGETS: usize = 10_000;
/// Bytes of a command, at most.
const MAX_COMMAND: usize = 1 << 20;

/// Devices that are read at a time while a command is looked at for many.
const SNAPSHOTS: usize = 32;

/// The command to queue.
#[derive(Clone, Debug)]
pub enum CommandBody {
    /// A whole command as a property list, with its `CommandUUID`. It is sent byte for byte as it is given.
    Raw(Vec<u8>),
    /// A `Command` dictionary with its `RequestType`; the `CommandUUID` is made by the engine.
    Dictionary(plist::Dictionary),
}

impl CommandBody {
    /// The `RequestType`, if the command is destructive for some kind of device.
    pub(crate) fn destructive(&self) -> Option<String> {
        let (request_type, command) = match self {
            Self::Raw(bytes) => {
                let envelope = CommandEnvelope::parse(bytes).ok()?;
                (envelope.request_type, command_dictionary(bytes))
            }
            Self::Dictionary(command) => {
                let name = command.get("RequestType")?.as_string()?;
                (name.to_owned(), command.clone())
            }
        };
        brake::destructive(&request_type, &command, None).then_some(request_type)
    }
}

/// A request to queue one command for some channels.
#[derive(Clone, Debug)]
pub struct Enqueue {
    /// What to send.
    pub command: CommandBody,
    /// For whom: 1 to 10,000 channels; repeats count once.
    pub targets: Vec<EnrollmentId>,
    /// The same key with the same request gives the same answer again; with another request it is refused.
    pub idempotency_key: Option<String>,
    /// -100 to 100; higher goes first.
    pub priority: i64,
    /// Not offered before this time.
    pub not_before: Option<Micros>,
    /// Not offered at or after this time.
    pub not_after: Option<Micros>,
    /// Not offered to a channel while this command is open there.
    pub after: Option<CommandId>,
    /// What fills the blanks `{{input:NAME}}` of the body, by channel.
    pub inputs: BTreeMap<EnrollmentId, BTreeMap<String, String>>,
    /// Whether devices are rung.
    pub push: bool,
    /// Check everything and write nothing.
    pub dry_run: bool,
    /// A lifeline: no hook may object. A right of its own.
    pub break_glass: bool,
    /// Send it although the catalogue says that the device refuses it. A right of its own.
    pub force: bool,
    /// The token with which a person sends it: what a second person may let go past the brake is sent with one that is a day old.
    pub token: Option<TokenId>,
    /// Why it is sent, for the timeline.
    pub reason: Option<String>,
}

impl Enqueue {
    /// A command for some channels, without further wishes.
    pub fn new(command: CommandBody, targets: Vec<EnrollmentId>) -> Self {
        Self {
            command,
            targets,
            idempotency_key: None,
            priority: 0,
            not_before: None,
            not_after: None,
            after: None,
            inputs: BTreeMap::new(),
            push: true,
            dry_run: false,
            break_glass: false,
            force: false,
            token: None,
            reason: None,
        }
    }
}

/// What became of one target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct TargetResult {
    /// The channel.
    pub enrollment_id: EnrollmentId,
    /// Whether the command is in its queue.
    pub accepted: bool,
    /// Why not, or what a hook changed.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reason: Option<String>,
}

/// What became of a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Enqueued {
    /// The command.
    pub command_id: CommandId,
    /// Its `CommandUUID`.
    pub command_uuid: String,
    /// Its `RequestType`.
    pub request_type: String,
    /// Each target.
    pub targets: Vec<TargetResult>,
    /// This answer was given before, for the same idempotency key.
    #[serde(default)]
    pub repeated: bool,
    /// What the catalogue says of the command: of each channel in a dry run, else where it has something to say.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub preflight: Vec<ChannelPreflight>,
}

/// A request that has been read, amended and judged; what is left is to write it.
pub(in crate::engine) struct Prepared {
    tenant: TenantId,
    actor: Actor,
    cause: Cause,
    request: Enqueue,
    command_uuid: String,
    request_type: String,
    body: Bytes,
    blanks: BTreeSet<String>,
    hash: [u8; 32],
    amended: Vec<Amendment>,
    refused: HashMap<EnrollmentId, String>,
    deferred: HashMap<EnrollmentId, (Micros, String)>,
    allowed: HashMap<EnrollmentId, Allowed>,
    looked: Looked,
}

impl Engine {
    /// Queues one command for some channels. When it returns, everything that is reported as accepted is durable,
    /// with the intent to ring (Q1, Q12, Q13, Q14).
    ///
    /// # Errors
    /// [`Error::Invalid`] for a request that cannot be meant, [`Error::NotFound`] for an unknown `after`,
    /// [`Error::Conflict`] for an idempotency key that was used for another request.
    pub async fn enqueue(
        &self,
        tenant: TenantId,
        actor: Actor,
        cause: Cause,
        request: Enqueue,
    ) -> Result<Enqueued> {
        let prepared = self.prepare(tenant, actor, cause, request).await?;
        let mut tries = 0;
        loop {
            let mut tx = self.store().begin().await?;
            match self.write(&mut tx, &prepared).await {
                Ok((enqueued, written)) => {
                    if prepared.request.dry_run {
                        tx.rollback().await?;
                        return Ok(enqueued);
                    }
                    tx.commit().await?;
                    self.remember_allowed(&prepared, &enqueued);
                    self.announce(written);
                    (self.shared().wake_push)();
                    return Ok(enqueued);
                }
                Err(error) => {
                    // The error that matters is the first one.
                    let _ = tx.rollback().await;
                    if !crate::store::fault::lost_a_race(&error) || tries >= 5 {
                        return Err(error);
                    }
                    tries += 1;
                }
            }
        }
    }

    pub(super) async fn prepare(
        &self,
        tenant: TenantId,
        actor: Actor,
        cause: Cause,
        mut request: Enqueue,
    ) -> Result<Prepared> {
        check(&request)?;
        let mut seen = BTreeSet::new();
        request.targets.retain(|target| seen.insert(*target));
        let keys = self.store().keys(tenant).await?;
        let hash = keys.hash("idempotency", fingerprint(&request)?.as_bytes());
        let mut amended = Vec::new();
        let (command_uuid, request_type, body) = match &request.command {
            CommandBody::Raw(bytes) => {
                let envelope = CommandEnvelope::parse(bytes).map_err(|error| {
                    Error::Invalid(format!(
                        "the command cannot be read ({error}); send a property list with CommandUUID and Command.RequestType"
                    ))
                })?;
                (envelope.command_uuid, envelope.request_type, bytes.clone())
            }
            CommandBody::Dictionary(dictionary) => {
                let request_type = dictionary
                    .get("RequestType")
                    .and_then(plist::Value::as_string)
                    .filter(|text| !text.is_empty())
                    .ok_or_else(|| Error::Invalid("a command needs a RequestType".into()))?
                    .to_owned();
                let mut command = dictionary.clone();
                typed::typed(&request_type, &mut command);
                let mut draft = CommandDraft {
                    request_type: request_type.clone(),
                    command,
                    actor: actor.kind,
                    kinds: None,
                };
                let hooks = self.shared().hooks.of(tenant);
                if !request.break_glass && hooks.amends(&request_type) {
                    draft.kinds = self.kinds(tenant, &request.targets).await?;
                    amended = hooks.amend(self.now(), &mut draft).await;
                }
                let uuid = self
                    .store()
                    .random()
                    .uuid(self.now())
                    .hyphenated()
                    .to_string();
                let body =
                    pomona_protocol::command::compose(&uuid, &draft.command).map_err(|error| {
                        Error::Invalid(format!(
                            "the command cannot be written as a property list: {error}"
                        ))
                    })?;
                (uuid, request_type, body)
            }
        };
        if body.len() > MAX_COMMAND {
            return Err(Error::Invalid(format!(
                "the command has {} bytes; at most {MAX_COMMAND} are sent, serve bigger data by URL",
                body.len()
            )));
        }
        let blanks: BTreeSet<String> = template::blanks(&body).into_iter().collect();
        template::check(&blanks, &request_type, &command_dictionary(&body))?;
        let mut prepared = Prepared {
            tenant,
            actor,
            cause,
            request,
            command_uuid,
            request_type,
            body: Bytes::from(body),
            blanks,
            hash,
            amended,
            refused: HashMap::new(),
            deferred: HashMap::new(),
            allowed: HashMap::new(),
            looked: Looked::default(),
        };
        let command = command_dictionary(&prepared.body);
        self.look(&mut prepared, &command).await?;
        self.judge_targets(&mut prepared, command).await?;
        Ok(prepared)
    }

    /// Writes a prepared request in the caller's transaction.
    pub(super) async fn write(
        &self,
        tx: &mut Tx,
        prepared: &Prepared,
    ) -> Result<(Enqueued, Vec<Event>)> {
        let request = &prepared.request;
        let tenant = prepared.tenant;
        if let Some(key) = &request.idempotency_key
            && let Some((hash, response)) = rows::idempotent(tx, tenant, key).await?
        {
            return repeated(prepared, &hash, &response).map(|answer| (answer, Vec::new()));
        }
        // Only now: who asks again under a key is told again what became of it, however late (Q12).
        if request.not_after.is_some_and(|end| end <= self.now()) {
            return Err(Error::Invalid("not_after has passed already".into()));
        }
        let known = rows::targets(tx, tenant, &request.targets).await?;
        let mut heads = events::lock_heads(tx, known.values().map(|target| target.device)).await?;
        // Read again under the locks: an enrollment may have ended meanwhile.
        let known = rows::targets(tx, tenant, &request.targets).await?;
        if let Some(after) = request.after
            && !rows::command_exists(tx, tenant, after).await?
        {
            return Err(Error::NotFound("the command to come after"));
        }
        let named: BTreeSet<EnrollmentId> = match request.command {
            CommandBody::Raw(_) => {
                rows::already_named(tx, tenant, &request.targets, &prepared.command_uuid)
                    .await?
                    .into_iter()
                    .collect()
            }
            CommandBody::Dictionary(_) => BTreeSet::new(),
        };
        let amended: Vec<String> = prepared.amended.iter().map(ToString::to_string).collect();
        let amended = Some(amended.join("; ")).filter(|told| !told.is_empty());
        let mut results = Vec::with_capacity(request.targets.len());
        let mut accepted: Vec<Target> = Vec::new();
        for id in &request.targets {
            let refusal = refusal(prepared, known.get(id), named.contains(id), *id);
            if let (None, Some(target)) = (&refusal, known.get(id)) {
                accepted.push(*target);
            }
            let held = prepared.deferred.get(id).map(|(until, reason)| {
                let until = Instant(*until);
                format!("held until {until}: {reason}")
            });
            let told: Vec<String> = held.into_iter().chain(amended.clone()).collect();
            let told = Some(told.join("; ")).filter(|told| !told.is_empty());
            results.push(TargetResult {
                enrollment_id: *id,
                accepted: refusal.is_none(),
                reason: refusal.or(told),
            });
        }
        let now = self.now();
        let command = self.new_command(prepared).await?;
        let refused = prepared.vetoes(&results, &known);
        let mut written =
            events::append_locked(tx, now, &mut heads, refused, &self.shared().hooks).await?;
        if !accepted.is_empty() {
            let queued = self
                .write_accepted(tx, prepared, &command, &accepted, now, &mut heads)
                .await?;
            written.extend(queued);
        }
        let enqueued = Enqueued {
            command_id: command.id,
            command_uuid: prepared.command_uuid.clone(),
            request_type: prepared.request_type.clone(),
            targets: results,
            repeated: false,
            preflight: prepared.looked.told(request.dry_run),
        };
        if !accepted.is_empty() {
            let entry = AuditEntry {
                tenant: Some(tenant),
                actor: prepared.actor,
                action: "command.send",
                target: command.id.to_string(),
                details: json!({
                    "request_type": command.request_type,
                    "targets": accepted.len(),
                    "break_glass": command.break_glass,
                    "forced": prepared.forced(),
                }),
            };
            admin_audit::append(tx, now, entry).await?;
        }
        if let Some(key) = &request.idempotency_key {
            let response = serde_json::to_string(&enqueued)
                .map_err(|source| Error::internal("writing an answer", source))?;
            rows::remember(tx, now, tenant, key, &prepared.hash, &response).await?;
        }
        Ok((enqueued, written))
    }

    async fn new_command(&self, prepared: &Prepared) -> Result<NewCommand> {
        let request = &prepared.request;
        let keys = self.store().keys(prepared.tenant).await?;
        let now = self.now();
        let random = self.store().random();
        Ok(NewCommand {
            id: CommandId(random.uuid(now)),
            tenant: prepared.tenant,
            command_uuid: prepared.command_uuid.clone(),
            request_type: prepared.request_type.clone(),
            body_hash: keys.hash("command body", &prepared.body).to_vec(),
            priority: request.priority,
            not_before: request.not_before.unwrap_or(0),
            not_after: request.not_after,
            after: request.after,
            actor: prepared.actor,
            cause: prepared
                .cause
                .id
                .map(|id| id.to_string())
                .unwrap_or_default(),
            correlation: prepared.cause.id.unwrap_or_else(|| random.uuid(now)),
            depth: prepared.cause.depth,
            break_glass: request.break_glass,
            whole: prepared.looked.whole,
            approvable: prepared.looked.approvable,
        })
    }

    async fn write_accepted(
        &self,
        tx: &mut Tx,
        prepared: &Prepared,
        command: &NewCommand,
        accepted: &[Target],
        now: Micros,
        heads: &mut BTreeMap<crate::DeviceId, i64>,
    ) -> Result<Vec<Event>> {
        let tenant = prepared.tenant;
        let keys = self.store().keys(tenant).await?;
        let random = self.store().random();
        let sealed = keys.seal(
            random.as_ref(),
            body_place(&command.body_hash),
            &prepared.body,
        )?;
        rows::keep_body(
            tx,
            now,
            tenant,
            &command.body_hash,
            sealed,
            prepared.body.len(),
        )
        .await?;
        rows::insert_command(tx, now, command, accepted.len()).await?;
        let ids: Vec<EnrollmentId> = accepted.iter().map(|target| target.enrollment).collect();
        let numbers = rows::take_numbers(tx, &ids).await?;
        let mut entries = Vec::with_capacity(accepted.len());
        for target in accepted {
            let seq = *numbers
                .get(&target.enrollment)
                .ok_or_else(|| Error::internal("numbering a delivery", "the channel has no row"))?;
            let inputs_sealed = match prepared.request.inputs.get(&target.enrollment) {
                Some(inputs) if !prepared.blanks.is_empty() => {
                    let row = history_row(target.enrollment, seq);
                    let plain = template::write_inputs(inputs)?;
                    Some(keys.seal(random.as_ref(), inputs_place(&row), &plain)?)
                }
                _ => None,
            };
            let deferred = prepared
                .deferred
                .get(&target.enrollment)
                .map_or(0, |(until, _)| *until);
            entries.push(Entry {
                target: *target,
                seq,
                inputs_sealed,
                not_before: command.not_before.max(deferred),
                footing: prepared.looked.footing(target.enrollment),
                braking: prepared.looked.braking(target.enrollment),
            });
        }
        rows::insert_deliveries(tx, now, command, &entries).await?;
        if prepared.request.push {
            push::mark_due(tx, now.max(command.not_before), &ids).await?;
        }
        let queued = accepted
            .iter()
            .map(|target| NewEvent {
                tenant,
                device: target.device,
                enrollment: Some(target.enrollment),
                kind: EventKind::CommandQueued,
                command: Some(command.id),
                actor: prepared.actor,
                cause: prepared.cause,
                body: {
                    let mut body = json!({
                        "command_uuid": command.command_uuid,
                        "request_type": command.request_type,
                    });
                    if let Some(reason) = &prepared.request.reason {
                        body["reason"] = json!(reason);
                    }
                    if prepared.looked.refuses(target.enrollment) {
                        body["forced"] = json!(true);
                    }
                    if !prepared.amended.is_empty() {
                        body["amended"] = json!(prepared.amended);
                    }
                    // Why it does not go at once: what an administrator looks for first.
                    if let Some((until, reason)) = prepared.deferred.get(&target.enrollment) {
                        body["held_until"] = json!(Instant(*until));
                        body["held_by"] = json!(reason);
                    }
                    body
                },
            })
            .collect();
        events::append_locked(tx, now, heads, queued, &self.shared().hooks).await
    }
}

impl Prepared {
    /// Whether it goes although the catalogue speaks against it, by force or as a lifeline.
    fn forced(&self) -> bool {
        let spared = self.request.force || self.request.break_glass;
        let mut targets = self.request.targets.iter();
        spared && targets.any(|channel| self.looked.refuses(*channel))
    }

    /// What is told in the timelines of devices for which a hook has refused the command.
    fn vetoes(
        &self,
        results: &[TargetResult],
        known: &HashMap<EnrollmentId, Target>,
    ) -> Vec<NewEvent> {
        let vetoed = |result: &TargetResult| {
            let reason = self.refused.get(&result.enrollment_id)?;
            let target = known.get(&result.enrollment_id)?;
            (!result.accepted && result.reason.as_ref() == Some(reason)).then(|| NewEvent {
                tenant: self.tenant,
                device: target.device,
                enrollment: Some(target.enrollment),
                kind: EventKind::CommandRefused,
                command: None,
                actor: self.actor,
                cause: self.cause,
                body: json!({ "request_type": self.request_type, "reason": reason }),
            })
        };
        results.iter().filter_map(vetoed).collect()
    }

    pub(super) fn first_target(&self) -> Option<EnrollmentId> {
        self.request.targets.first().copied()
    }
}

fn refusal(
    prepared: &Prepared,
    target: Option<&Target>,
    named: bool,
    id: EnrollmentId,
) -> Option<String> {
    let Some(target) = target else {
        return Some("there is no such enrollment".into());
    };
    match target.state {
        EnrollmentState::Enabled => {}
        EnrollmentState::Quarantined => {
            return Some("the enrollment is in quarantine; release it first".into());
        }
        EnrollmentState::Pending => {
            return Some("the enrollment is not complete yet".into());
        }
        EnrollmentState::Ended => return Some("the enrollment is over".into()),
    }
    if named {
        return Some("a command with this CommandUUID was queued here before".into());
    }
    let inputs = prepared.request.inputs.get(&id);
    let missing: Vec<&str> = prepared
        .blanks
        .iter()
        .filter(|name| !inputs.is_some_and(|inputs| inputs.contains_key(*name)))
        .map(String::as_str)
        .collect();
    if !missing.is_empty() {
        return Some(format!("these inputs are missing: {}", missing.join(", ")));
    }
    prepared.refused.get(&id).cloned()
}

fn repeated(prepared: &Prepared, hash: &[u8], response: &str) -> Result<Enqueued> {
    if hash != prepared.hash {
        return Err(Error::Conflict(
            "this idempotency key was used for another request; use a new key".into(),
        ));
    }
    let mut answer: Enqueued = serde_json::from_str(response)
        .map_err(|source| Error::internal("reading an answer", source))?;
    answer.repeated = true;
    Ok(answer)
}

fn check(request: &Enqueue) -> Result<()> {
    let invalid = |text: &str| Err(Error::Invalid(text.to_owned()));
    if request.targets.is_empty() {
        return invalid("name at least one target");
    }
    if request.targets.len() > MAX_TARGETS {
        return invalid("at most 10000 targets in one request; send several requests");
    }
    if !(-100..=100).contains(&request.priority) {
        return invalid("priority is between -100 and 100");
    }
    if let (Some(from), Some(end)) = (request.not_before, request.not_after)
        && from >= end
    {
        return invalid("not_before must be earlier than not_after");
    }
    if let Some(key) = &request.idempotency_key
        && (key.is_empty() || key.len() > 255 || key.chars().any(char::is_control))
    {
        return invalid("an idempotency key has 1 to 255 bytes without control characters");
    }
    Ok(())
}

/// What makes two requests the same for an idempotency key.
fn fingerprint(request: &Enqueue) -> Result<String> {
    let command = match &request.command {
        CommandBody::Raw(bytes) => bytes.clone(),
        CommandBody::Dictionary(dictionary) => {
            let mut bytes = Vec::new();
            plist::Value::Dictionary(dictionary.clone())
                .to_writer_xml(&mut bytes)
                .map_err(|source| Error::internal("writing a command", source))?;
            bytes
        }
    };
    let targets: BTreeSet<_> = request.targets.iter().collect();
    let mut asked = json!([
        hex::encode(command),
        targets,
        request.priority,
        request.not_before,
        request.not_after,
        request.after,
        request.inputs,
        request.push,
        request.break_glass,
    ]);
    // Only then, so that what was remembered before there was such a wish is still the same.
    if let (true, Some(asked)) = (request.force, asked.as_array_mut()) {
        asked.push(json!("force"));
    }
    Ok(asked.to_string())
}

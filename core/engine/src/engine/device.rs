//! What a device's request becomes: identity in, answer out.
//!
//! Owns: the rounds of a request between the batch writer and the hooks, and the answers to what the writer does not
//! decide (declarations, tokens of services, users). No transaction is open while a hook runs.

use std::sync::Arc;

use bytes::Bytes;
use pomona_protocol::{
    Channel, CheckIn, CheckInMessage, DeviceId as ProtocolDevice, EnrollmentIds, Report, Status,
};
use serde_json::json;

use super::commands::refused_now;
use super::{Engine, UserAuthenticatePolicy};
use crate::actor::Actor;
use crate::clock::{MINUTE, Micros};
use crate::declarations;
use crate::enrollment::Refusal;
use crate::error::{Error, Result};
use crate::event::{EventKind, NewEvent};
use crate::hooks::{
    CommandDraft, CommandVerdict, DeviceSnapshot, EnrollmentDecision, EnrollmentRequest, Stage,
};
use crate::ids::{DeviceId, EnrollmentId, TenantId};
use crate::inventory::{self, Seen};
use crate::queue::Verdict;
use crate::store::certificates::ForeignCertificate;
use crate::store::hot::Ask;
use crate::store::snapshot;
use crate::writer::{
    Allowed, Answer, CheckInAnswer, CheckInJob, Decision, JudgeRequest, Judged, ReportJob, Work,
};

/// Who sends a request: the certificate that was shown, whichever way it came.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The tenant of the URL.
    pub tenant: TenantId,
    /// The certificate, DER.
    pub certificate: Bytes,
    /// Its SHA-256.
    pub fingerprint: [u8; 32],
}

/// What a device is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeviceReply {
    /// 200 without a body.
    Empty,
    /// 200 with a property list.
    Plist(Bytes),
    /// 200 with JSON.
    Json(Bytes),
    /// 400: the request cannot be answered.
    BadRequest,
    /// 403 without a code: who sent it may not.
    Refused,
    /// 404: there is no such declaration.
    NotFound,
    /// 410: this user is not managed.
    UserDeclined,
}

/// After so many rounds with the hooks a request is answered without a command.
const ROUNDS: usize = 2;

impl Engine {
    /// Takes a command report and answers with the next command.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when it could not be stored; the device keeps what it has and comes again.
    pub async fn report(&self, identity: &Identity, report: Report) -> Result<DeviceReply> {
        let keys = self.store().keys(identity.tenant).await?;
        let told = report.status == Status::Acknowledged;
        let seen = told.then(|| inventory::read(&report.dictionary)).flatten();
        let raw = Bytes::from(report.raw);
        let mut job = ReportJob {
            ask: ask(identity, &report.ids),
            status: report.status,
            command_uuid: report.command_uuid,
            error_chain: error_chain(&report.error_chain),
            digest: keys.hash("report", &raw),
            raw,
            seen: seen.map(Arc::new),
            judged: Vec::new(),
            last_round: false,
        };
        loop {
            match self.submit(Work::Report(Box::new(job.clone()))).await? {
                Answer::Judge(request) => {
                    let verdict = self.judge(&request, job.seen.as_deref()).await?;
                    job.judged.push(verdict);
                    job.last_round = job.judged.len() > ROUNDS * 8 || stale(&job.judged);
                }
                Answer::Command(body) => return Ok(DeviceReply::Plist(body)),
                Answer::Refused { refusal, device } => {
                    self.refused(identity, refusal, device, "report");
                    return Ok(DeviceReply::Refused);
                }
                Answer::Empty | Answer::CheckIn(_) | Answer::Decide { .. } => {
                    return Ok(DeviceReply::Empty);
                }
            }
        }
    }

    /// Takes a check-in.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when it could not be stored; the device comes again.
    pub async fn check_in(
        &self,
        identity: &Identity,
        message: CheckInMessage,
    ) -> Result<DeviceReply> {
        let word = message.message.message_type().as_str();
        let foreign = match &message.message {
            CheckIn::Authenticate(_) => self.foreign(identity, &message).await?,
            _ => None,
        };
        let mut job = CheckInJob {
            ask: ask(identity, &message.ids),
            message,
            foreign,
            decision: None,
        };
        loop {
            match self.submit(Work::CheckIn(Box::new(job.clone()))).await? {
                Answer::Decide { quarantine } => {
                    job.decision = Some(self.decide(&job, quarantine).await);
                }
                Answer::CheckIn(answer) => return self.complete(identity, &job, answer).await,
                Answer::Refused { refusal, device } => {
                    self.refused(identity, refusal, device, word);
                    return Ok(DeviceReply::Refused);
                }
                Answer::Empty | Answer::Command(_) | Answer::Judge(_) => {
                    return Ok(DeviceReply::Empty);
                }
            }
        }
    }

    pub(super) async fn submit(&self, work: Work) -> Result<Answer> {
        let writer = self.0.writer.lock().clone();
        match writer {
            Some(writer) => writer.submit(work).await,
            None => Err(Error::Unavailable {
                message: "the server is stopping",
                source: "the writer has been stopped".into(),
            }),
        }
    }

    async fn complete(
        &self,
        identity: &Identity,
        job: &CheckInJob,
        answer: CheckInAnswer,
    ) -> Result<DeviceReply> {
        let (enrollment, quarantined) = match answer {
            CheckInAnswer::Done => {
                (self.shared().wake_push)();
                return Ok(DeviceReply::Empty);
            }
            CheckInAnswer::BootstrapToken(token) => {
                return Ok(DeviceReply::Plist(Bytes::from(
                    pomona_protocol::reply::bootstrap_token(token.as_deref()),
                )));
            }
            CheckInAnswer::Stands {
                enrollment,
                quarantined,
                ..
            } => (enrollment, quarantined),
        };
        match &job.message.message {
            CheckIn::DeclarativeManagement(message) => {
                Ok(declarations::answer(&message.endpoint, self.now()))
            }
            CheckIn::GetToken(message) if !quarantined => {
                let service = message.token_service_type.as_str();
                self.token(identity.tenant, enrollment, service).await
            }
            CheckIn::UserAuthenticate(message) if !quarantined => Ok(
                match (self.0.options.user_authenticate, &message.digest_response) {
                    (UserAuthenticatePolicy::Decline, _) => DeviceReply::UserDeclined,
                    (UserAuthenticatePolicy::Digest, None) => DeviceReply::Plist(Bytes::from(
                        pomona_protocol::reply::digest_challenge(""),
                    )),
                    (UserAuthenticatePolicy::Digest, Some(_)) => DeviceReply::Empty,
                },
            ),
            CheckIn::UserAuthenticate(_) => Ok(DeviceReply::UserDeclined),
            CheckIn::ReturnToService(_) => Ok(DeviceReply::Plist(Bytes::from(
                pomona_protocol::reply::return_to_service_refused(),
            ))),
            _ => Ok(DeviceReply::BadRequest),
        }
    }

    async fn token(
        &self,
        tenant: TenantId,
        enrollment: EnrollmentId,
        service: &str,
    ) -> Result<DeviceReply> {
        let hooks = self.shared().hooks.of(tenant);
        if hooks.tokens.is_empty() {
            return Ok(DeviceReply::BadRequest);
        }
        let snapshot = self.snapshot(tenant, enrollment).await?;
        for hook in &hooks.tokens {
            match hook.token(&snapshot, service).await {
                Ok(Some(token)) => {
                    return Ok(DeviceReply::Plist(Bytes::from(
                        pomona_protocol::reply::token_data(&token),
                    )));
                }
                Ok(None) => {}
                Err(error) => {
                    tracing::warn!(hook.name = hook.name(), error = %error, "a token hook gave no answer")
                }
            }
        }
        Ok(DeviceReply::BadRequest)
    }

    pub(super) async fn snapshot(
        &self,
        tenant: TenantId,
        enrollment: EnrollmentId,
    ) -> Result<DeviceSnapshot> {
        let mut tx = self.store().begin_read().await?;
        let snapshot = snapshot::read(&mut tx, tenant, enrollment).await?;
        tx.rollback().await?;
        Ok(snapshot)
    }

    async fn decide(&self, job: &CheckInJob, quarantine: bool) -> Decision {
        let CheckIn::Authenticate(message) = &job.message.message else {
            return Decision::Hold("only an Authenticate can be decided about".into());
        };
        let request = EnrollmentRequest {
            device: DeviceSnapshot {
                tenant: Some(job.ask.tenant),
                ident: job.ask.ident.clone(),
                serial_number: message.serial_number.clone(),
                product_name: message.product_name.clone(),
                os_version: message.os_version.clone(),
                ..DeviceSnapshot::default()
            },
            quarantine,
            now: self.now(),
        };
        match self
            .shared()
            .hooks
            .of(job.ask.tenant)
            .decide(&request)
            .await
        {
            EnrollmentDecision::Allow => Decision::Allow,
            EnrollmentDecision::Hold(reason) => {
                tracing::info!(reason, "an enrollment hook holds an enrollment back");
                Decision::Hold(reason)
            }
            EnrollmentDecision::Deny(reason) => {
                tracing::info!(reason, "an enrollment hook denies an enrollment");
                Decision::Deny
            }
        }
    }

    /// Judges one command for one channel: by the catalogue, where the device stands on another footing than when the command was
    /// queued, then by the delivery hooks. `seen` is what the device has told with this very request.
    async fn judge(&self, request: &JudgeRequest, seen: Option<&Seen>) -> Result<Judged> {
        let now = self.now();
        let (hooks, judges) = self.shared().hooks.judging(request.tenant);
        let mut tx = self.store().begin_read().await?;
        let mut snapshot = snapshot::read(&mut tx, request.tenant, request.enrollment).await?;
        let sealed =
            crate::store::hot::bodies(&mut tx, &[(request.tenant, request.body_hash.clone())])
                .await?;
        let origin = crate::store::queue::origin(&mut tx, request.command).await?;
        tx.rollback().await?;
        let keys = self.store().keys(request.tenant).await?;
        let body = match sealed.into_values().next() {
            Some(sealed) => keys.open(
                crate::writer::places::body_place(&request.body_hash),
                &sealed,
            )?,
            None => return Err(Error::internal("reading a command body", "it is missing")),
        };
        let (actor, break_glass) = origin;
        if let Some(seen) = seen.filter(|_| request.told) {
            as_told(&mut snapshot, seen, now);
        }
        let command = command_dictionary(&body);
        let refused = match request.moved {
            true => refused_now(&snapshot, &request.request_type, &command),
            false => None,
        };
        let verdict = if let Some(reason) = refused {
            Verdict::Refuse { reason }
        } else if break_glass {
            // A lifeline, before which no hook is put.
            Verdict::Allow {
                until: now + MINUTE,
            }
        } else {
            let draft = CommandDraft {
                request_type: request.request_type.clone(),
                command,
                actor,
                kinds: None,
            };
            let said = hooks
                .validate(Stage::Delivery, now, &snapshot, &draft)
                .await;
            match said {
                CommandVerdict::Allow { valid_until } => Verdict::Allow { until: valid_until },
                CommandVerdict::Veto(reason) => Verdict::Refuse { reason },
                CommandVerdict::Defer(until, reason) => Verdict::Hold { until, reason },
            }
        };
        if let Verdict::Allow { until } = verdict {
            // For a second sending, and for a device that was busy.
            let allowed = Allowed {
                device_revision: snapshot.revision,
                judges,
                said_at: now,
                until,
            };
            let shared = self.shared();
            shared
                .allowed
                .remember(request.enrollment, request.command, allowed);
        }
        Ok(Judged {
            seq: request.seq,
            device_revision: snapshot.revision,
            judges,
            verdict,
        })
    }

    /// Counts and logs a refusal; writes it into the timeline of the certificate's own device, at most once a minute.
    pub(super) fn refused(
        &self,
        identity: &Identity,
        refusal: Refusal,
        device: Option<DeviceId>,
        message: &'static str,
    ) {
        metrics::counter!("pomona_identity_refused_total", "code" => refusal.code()).increment(1);
        tracing::warn!(
            tenant.id = %identity.tenant,
            certificate.fingerprint = hex::encode(identity.fingerprint),
            code = refusal.code(),
            message,
            "a request was refused"
        );
        let Some(device) = device else {
            return;
        };
        if !self.shared().refusals.first_in_a_while(device, self.now()) {
            return;
        }
        let event = NewEvent {
            tenant: identity.tenant,
            device,
            enrollment: None,
            kind: EventKind::IdentityRefused,
            command: None,
            actor: Actor::device(device),
            cause: Default::default(),
            body: json!({ "code": refusal.code(), "message": message }),
        };
        let engine = self.clone();
        tokio::spawn(async move {
            let readers = engine.shared().hooks.clone();
            match engine.store().append_events(vec![event], &readers).await {
                Ok(written) => engine.announce(written),
                Err(error) => tracing::warn!(error = %error, "a refusal could not be written down"),
            }
        });
    }

    async fn foreign(
        &self,
        identity: &Identity,
        message: &CheckInMessage,
    ) -> Result<Option<ForeignCertificate>> {
        let Some(found) =
            crate::identity::foreign(self.store(), identity.tenant, &identity.certificate).await?
        else {
            return Ok(None);
        };
        let serial = match &message.message {
            CheckIn::Authenticate(message) => message.serial_number.as_deref(),
            _ => None,
        };
        let ident = message.ids.device.canonical();
        let Some(named) = found.admits(ident, serial) else {
            return Ok(None);
        };
        let now = self.now();
        let random = self.store().random();
        Ok(Some(ForeignCertificate {
            grant: random.uuid(now),
            certificate: random.uuid(now),
            ca: found.ca_id,
            subject: found.subject,
            not_before: found.not_before,
            not_after: found.not_after,
            der: identity.certificate.to_vec(),
            named,
        }))
    }
}

/// The device as it is by what it tells now, which is kept together with what it is handed.
fn as_told(snapshot: &mut DeviceSnapshot, seen: &Seen, now: Micros) {
    if !snapshot.user_key.is_empty() {
        return;
    }
    if let Some(told) = seen.value.as_object().filter(|_| seen.of_facts()) {
        snapshot::tell_section(snapshot, seen.section, told, now);
    }
    snapshot.marks = snapshot.marks.with(seen);
    let product = || seen.own("ProductName").map(str::to_owned);
    snapshot.product_name = snapshot.product_name.take().or_else(product);
    if let Some(version) = seen.own("OSVersion") {
        snapshot.os_version = Some(version.to_owned());
    }
}

/// The command's own dictionary out of a whole command.
pub(super) fn command_dictionary(body: &[u8]) -> plist::Dictionary {
    plist::Value::from_reader(std::io::Cursor::new(body))
        .ok()
        .and_then(plist::Value::into_dictionary)
        .and_then(|mut whole| whole.remove("Command"))
        .and_then(plist::Value::into_dictionary)
        .unwrap_or_default()
}

/// Two verdicts for the same delivery: the first went stale before it could be used.
fn stale(judged: &[Judged]) -> bool {
    let mut seen = std::collections::HashMap::new();
    for one in judged {
        *seen.entry(one.seq).or_insert(0usize) += 1;
    }
    seen.values().any(|count| *count > ROUNDS)
}

/// The claimed identifiers in the form in which they are stored.
fn ask(identity: &Identity, ids: &EnrollmentIds) -> Ask {
    let (ident_kind, ident) = match &ids.device {
        ProtocolDevice::Udid(udid) => (0, udid.canonical()),
        ProtocolDevice::EnrollmentId(id) => (1, id.canonical()),
    };
    let (channel, user_key) = match &ids.channel {
        Channel::Device => (0, String::new()),
        Channel::User { user_id } => (1, user_id.canonical().to_owned()),
        Channel::SharedIpadUser { short_name } => (2, short_name.clone()),
        Channel::EnrollmentUser { user_id } => (3, user_id.canonical().to_owned()),
    };
    Ask {
        tenant: identity.tenant,
        fingerprint: identity.fingerprint,
        ident_kind,
        ident: ident.to_owned(),
        channel,
        user_key,
    }
}

/// The error chain as it stands in history and events: codes and domains, no texts.
fn error_chain(chain: &[pomona_protocol::report::ErrorChainItem]) -> Option<String> {
    if chain.is_empty() {
        return None;
    }
    let items: Vec<_> = chain
        .iter()
        .take(16)
        .map(|item| json!({ "code": item.error_code, "domain": item.error_domain }))
        .collect();
    Some(serde_json::Value::from(items).to_string())
}

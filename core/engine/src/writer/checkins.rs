//! One check-in inside the writer's transaction.
//!
//! Owns: the way from the scene that was loaded, through the pure rules of `enrollment`, to the statements. An
//! enrollment hook is never asked here: where one must be, the answer is `Answer::Decide` and nothing was changed.

use pomona_protocol::checkin::{Authenticate, Endpoint, SetBootstrapToken, TokenUpdate};
use pomona_protocol::{CheckIn, CheckInMessage};
use serde_json::json;

use super::transitions::{self, Aftermath, Subject, authenticate_place};
use super::{Answer, Shared};
use crate::actor::Actor;
use crate::clock::Micros;
use crate::enrollment::{
    Certificate, CertificateState, Enabling, EnrollmentState, Opening, Refusal, Standing,
    authenticate, bind, token_update,
};
use crate::error::Result;
use crate::event::EventKind;
use crate::ids::{DeviceId, EnrollmentId, GrantId};
use crate::seal::{Place, TenantKeys};
use crate::store::certificates::{self, ForeignCertificate, Which};
use crate::store::checkin::{self, Freshness, HolderRow, NewEnrollment, Scene, Tokens, Traits};
use crate::store::hot::Ask;
use crate::store::sql::Tx;

/// One check-in on its way to the writer.
#[derive(Clone, Debug)]
pub(crate) struct CheckInJob {
    pub(crate) ask: Ask,
    pub(crate) message: CheckInMessage,
    /// The certificate, when an external authority issued it and the tenant trusts that authority.
    pub(crate) foreign: Option<ForeignCertificate>,
    /// What the enrollment hooks said.
    pub(crate) decision: Option<Decision>,
}

/// What the enrollment hooks said of an `Authenticate`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    /// Enroll it.
    Allow,
    /// Enroll it into quarantine, for this reason.
    Hold(String),
    /// Refuse it.
    Deny,
}

/// What a check-in is answered with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum CheckInAnswer {
    /// 200, nothing more.
    Done,
    /// The enrollment may ask; the engine answers (declarations, tokens of services, users).
    Stands {
        enrollment: EnrollmentId,
        device: DeviceId,
        quarantined: bool,
    },
    /// The bootstrap token, if there is one.
    BootstrapToken(Option<Vec<u8>>),
}

/// A check-in with what it is judged by.
struct Visit<'a> {
    shared: &'a Shared,
    keys: &'a TenantKeys,
    now: Micros,
    job: &'a CheckInJob,
    /// A foreign certificate that is seen for the first time.
    stranger: Option<&'a ForeignCertificate>,
    scene: Scene,
}

/// Runs one check-in.
pub(super) async fn run(
    shared: &Shared,
    tx: &mut Tx,
    now: Micros,
    job: &CheckInJob,
    out: &mut Aftermath,
) -> Result<Answer> {
    let serial = match &job.message.message {
        CheckIn::Authenticate(message) => message.serial_number.clone(),
        _ => None,
    };
    let mut scene = checkin::scene(tx, now, &job.ask, serial.as_deref()).await?;
    let mut stranger = None;
    if let (None, Some(foreign), CheckIn::Authenticate(_)) =
        (&scene.certificate, &job.foreign, &job.message.message)
    {
        // Judged as if it were known; written only when it is let in.
        scene.certificate = Some(foreign.as_certificate(now, &job.ask));
        scene.grant = Some(GrantId(foreign.grant));
        scene.same_device = true;
        scene.names_device = foreign.named;
        scene.not_after = foreign.not_after;
        stranger = Some(foreign);
    }
    if shared
        .journal
        .contains(job.ask.tenant, &job.ask.fingerprint)
        && let Some(certificate) = &mut scene.certificate
    {
        certificate.state = CertificateState::Revoked;
    }
    let keys = shared.store.keys(job.ask.tenant).await?;
    let visit = Visit {
        shared,
        keys: &keys,
        now,
        job,
        stranger,
        scene,
    };
    let device = visit.scene.certificate_device;
    match visit.answer(tx, out).await? {
        Ok(answer) => Ok(answer),
        Err(refusal) => Ok(Answer::Refused { refusal, device }),
    }
}

impl Visit<'_> {
    async fn answer(
        &self,
        tx: &mut Tx,
        out: &mut Aftermath,
    ) -> Result<std::result::Result<Answer, Refusal>> {
        match &self.job.message.message {
            CheckIn::Authenticate(message) => self.authenticate(tx, message, out).await,
            CheckIn::TokenUpdate(message) if self.job.ask.channel == 0 => {
                self.token_update(tx, message, out).await
            }
            CheckIn::TokenUpdate(message) => self.user_token_update(tx, message, out).await,
            CheckIn::CheckOut(_) => self.check_out(tx, out).await,
            CheckIn::SetBootstrapToken(message) => self.set_bootstrap_token(tx, message, out).await,
            CheckIn::GetBootstrapToken(_) => self.bootstrap_token(tx, out).await,
            CheckIn::DeclarativeManagement(message) => {
                let stands = self.stands(tx).await?;
                if let (
                    Ok(Answer::CheckIn(CheckInAnswer::Stands {
                        enrollment, device, ..
                    })),
                    Endpoint::Status,
                ) = (&stands, &message.endpoint)
                    && let Some(data) = &message.data
                {
                    self.keep_status(tx, *enrollment, *device, data.expose(), out)
                        .await?;
                }
                Ok(stands)
            }
            CheckIn::UserAuthenticate(_) | CheckIn::GetToken(_) | CheckIn::ReturnToService(_) => {
                self.stands(tx).await
            }
        }
    }

    fn subject(&self, device: DeviceId) -> Subject {
        Subject {
            tenant: self.job.ask.tenant,
            device,
            actor: Actor::device(device),
            now: self.now,
        }
    }

    fn standing(&self) -> std::result::Result<(Standing, &Certificate, &HolderRow), Refusal> {
        let certificate = self.scene.certificate.as_ref();
        let standing = bind(
            certificate.map(|c| c.state),
            self.scene.same_device,
            self.scene.holder.as_ref().map(|h| h.state),
        )?;
        match (certificate, &self.scene.holder) {
            (Some(certificate), Some(holder)) => {
                if self.scene.not_after <= self.now {
                    self.shared.note_expired(holder.id);
                }
                Ok((standing, certificate, holder))
            }
            _ => Err(Refusal::NotEnrolled),
        }
    }

    async fn authenticate(
        &self,
        tx: &mut Tx,
        message: &Authenticate,
        out: &mut Aftermath,
    ) -> Result<std::result::Result<Answer, Refusal>> {
        let opening = match authenticate(
            self.scene.certificate.as_ref(),
            &self.scene.facts,
            self.scene.same_device,
            self.scene.names_device,
            self.now,
            self.shared.silence,
        ) {
            Ok(opening) => opening,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let Some(certificate) = &self.scene.certificate else {
            return Ok(Err(Refusal::UnknownCertificate));
        };
        let done = Ok(Ok(Answer::CheckIn(CheckInAnswer::Done)));
        match opening {
            Opening::Repeated { .. } => done,
            Opening::Renewal { enrollment } => {
                let Some(device) = self.scene.device else {
                    return Ok(Err(Refusal::NotEnrolled));
                };
                if !self.renewal_topic(tx, enrollment, &message.topic).await? {
                    return Ok(Err(Refusal::ForeignTopic));
                }
                certificates::bind_certificate(tx, self.now, certificate.id, device, enrollment)
                    .await?;
                checkin::describe_device(tx, device, &traits(message)).await?;
                let which = Which::PendingBut(enrollment, certificate.id);
                out.revoked
                    .extend(certificates::revoke(tx, self.now, which, "replaced").await?);
                let body = json!({ "renewal": true });
                out.events.push(self.subject(device).event(
                    enrollment,
                    EventKind::Authenticated,
                    body,
                ));
                done
            }
            Opening::Generation { generation } | Opening::Quarantine { generation } => {
                if !checkin::knows_topic(tx, self.job.ask.tenant, &message.topic).await? {
                    return Ok(Err(Refusal::ForeignTopic));
                }
                let mut quarantined = matches!(opening, Opening::Quarantine { .. });
                let mut reason = None;
                if self
                    .shared
                    .hooks
                    .of(self.job.ask.tenant)
                    .decides_enrollment()
                {
                    match &self.job.decision {
                        None => {
                            return Ok(Ok(Answer::Decide {
                                quarantine: quarantined,
                            }));
                        }
                        Some(Decision::Deny) => return Ok(Err(Refusal::Denied)),
                        Some(Decision::Hold(why)) => {
                            quarantined = true;
                            reason = Some(why.as_str());
                        }
                        Some(Decision::Allow) => {}
                    }
                }
                let standing = (generation, quarantined, reason);
                self.open(tx, message, certificate, standing, out).await?;
                done
            }
        }
    }

    /// E11 for a renewal: the topic of a generation never changes.
    async fn renewal_topic(
        &self,
        tx: &mut Tx,
        enrollment: EnrollmentId,
        topic: &str,
    ) -> Result<bool> {
        Ok(checkin::topic(tx, enrollment).await?.as_deref() == Some(topic))
    }

    async fn open(
        &self,
        tx: &mut Tx,
        message: &Authenticate,
        certificate: &Certificate,
        (generation, quarantined, reason): (i64, bool, Option<&str>),
        out: &mut Aftermath,
    ) -> Result<()> {
        let random = self.shared.random();
        let known = self.scene.device;
        let device = known.unwrap_or_else(|| DeviceId(random.uuid(self.now)));
        if known.is_none() {
            checkin::create_device(tx, self.now, &self.job.ask, device).await?;
        }
        let subject = self.subject(device);
        let enabled = self
            .scene
            .facts
            .current
            .iter()
            .any(|current| current.state == EnrollmentState::Enabled);
        if !enabled {
            // With an enabled enrollment the device's description waits for the TokenUpdate (E4).
            checkin::describe_device(tx, device, &traits(message)).await?;
        }
        if !quarantined {
            for current in &self.scene.facts.current {
                if current.state == EnrollmentState::Pending {
                    transitions::end(tx, subject, current.id, "replaced", EventKind::Ended, out)
                        .await?;
                }
            }
        }
        if let Some(foreign) = self.stranger {
            certificates::admit_foreign(tx, self.now, &self.job.ask, foreign).await?;
        }
        let id = EnrollmentId(random.uuid(self.now));
        let sealed = self
            .keys
            .seal(random, authenticate_place(&id), &self.job.message.raw)?;
        let state = if quarantined {
            EnrollmentState::Quarantined
        } else {
            EnrollmentState::Pending
        };
        checkin::open_enrollment(
            tx,
            self.now,
            NewEnrollment {
                id,
                tenant: self.job.ask.tenant,
                device,
                parent: None,
                channel: 0,
                user_key: "",
                generation,
                state,
                grant: self.scene.grant,
                topic: Some(&message.topic),
                authenticate_sealed: Some(sealed),
            },
        )
        .await?;
        certificates::bind_certificate(tx, self.now, certificate.id, device, id).await?;
        let kind = if quarantined {
            EventKind::Quarantined
        } else {
            EventKind::Authenticated
        };
        let mut body = json!({ "generation": generation });
        if let Some(reason) = reason {
            body["reason"] = json!(reason);
        }
        out.events.push(subject.event(id, kind, body));
        Ok(())
    }

    async fn token_update(
        &self,
        tx: &mut Tx,
        message: &TokenUpdate,
        out: &mut Aftermath,
    ) -> Result<std::result::Result<Answer, Refusal>> {
        let (standing, certificate, holder) = match self.standing() {
            Ok(found) => found,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let same_topic = holder.topic.as_deref() == Some(message.topic.as_str());
        let enabling = match token_update(standing, certificate.state, holder.state, same_topic) {
            Ok(enabling) => enabling,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let Some(device) = self.scene.certificate_device else {
            return Ok(Err(Refusal::NotEnrolled));
        };
        let freshness = self.store_tokens(tx, holder.id, message).await?;
        let subject = self.subject(device);
        match enabling {
            Enabling::Generation => {
                let others: Vec<_> = self
                    .scene
                    .facts
                    .current
                    .iter()
                    .map(|current| (current.id, current.state))
                    .collect();
                transitions::enable_generation(
                    tx,
                    self.keys,
                    subject,
                    holder.id,
                    Some(certificate.id),
                    &others,
                    out,
                )
                .await?;
            }
            Enabling::Renewal => {
                certificates::supersede(tx, holder.id, certificate.id).await?;
                certificates::set_certificate(tx, certificate.id, CertificateState::Active).await?;
                out.events.push(subject.event(
                    holder.id,
                    EventKind::Renewed,
                    serde_json::Value::Null,
                ));
            }
            Enabling::Tokens if freshness == Freshness::New => {
                out.events.push(subject.event(
                    holder.id,
                    EventKind::TokenUpdated,
                    serde_json::Value::Null,
                ));
            }
            Enabling::Tokens | Enabling::Quarantined => {}
        }
        Ok(Ok(Answer::CheckIn(CheckInAnswer::Done)))
    }

    /// Stores the tokens unless this message is a replay of one that a later one has replaced (T12).
    async fn store_tokens(
        &self,
        tx: &mut Tx,
        enrollment: EnrollmentId,
        message: &TokenUpdate,
    ) -> Result<Freshness> {
        let digest = self.keys.hash("token update", &self.job.message.raw);
        let (freshness, digests) = checkin::freshness(tx, enrollment, &digest).await?;
        if freshness != Freshness::New {
            return Ok(freshness);
        }
        let seal = |column: &'static str, plain: &[u8]| {
            let place = Place {
                table: "enrollment",
                column,
                row: enrollment.0.as_bytes(),
            };
            self.keys.seal(self.shared.random(), place, plain)
        };
        let tokens = Tokens {
            push_token: seal("push_token_sealed", message.token.expose())?,
            push_magic: seal("push_magic_sealed", message.push_magic.expose().as_bytes())?,
            push_token_hash: self
                .keys
                .hash("push token", message.token.expose())
                .to_vec(),
            unlock_token: message
                .unlock_token
                .as_ref()
                .map(|token| seal("unlock_token_sealed", token.expose()))
                .transpose()?,
            awaiting_configuration: message.awaiting_configuration.map(i64::from),
            user_short_name: self.job.message.ids.user_short_name.clone(),
            user_long_name: self.job.message.ids.user_long_name.clone(),
            raw: seal("token_update_sealed", &self.job.message.raw)?,
            digest: digests,
        };
        checkin::store_tokens(tx, self.now, enrollment, tokens).await?;
        Ok(freshness)
    }

    async fn user_token_update(
        &self,
        tx: &mut Tx,
        message: &TokenUpdate,
        out: &mut Aftermath,
    ) -> Result<std::result::Result<Answer, Refusal>> {
        let (standing, _, holder) = match self.standing() {
            Ok(found) => found,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let done = Ok(Ok(Answer::CheckIn(CheckInAnswer::Done)));
        match standing {
            Standing::Pending => return Ok(Err(Refusal::NotEnrolled)),
            // A user channel of a quarantined device waits with it.
            Standing::Quarantined => return done,
            Standing::Enabled { .. } => {}
        }
        if holder.topic.as_deref() != Some(message.topic.as_str()) {
            return Ok(Err(Refusal::ForeignTopic));
        }
        let Some(device) = self.scene.certificate_device else {
            return Ok(Err(Refusal::NotEnrolled));
        };
        let ask = &self.job.ask;
        let found =
            checkin::user_channel(tx, device, ask.channel, &ask.user_key, holder.generation)
                .await?;
        let (id, kind) = match found {
            Some((id, EnrollmentState::Enabled)) => (id, EventKind::TokenUpdated),
            Some(_) => return Ok(Err(Refusal::NotEnrolled)),
            None => {
                let id = EnrollmentId(self.shared.random().uuid(self.now));
                checkin::open_enrollment(
                    tx,
                    self.now,
                    NewEnrollment {
                        id,
                        tenant: ask.tenant,
                        device,
                        parent: Some(holder.id),
                        channel: ask.channel,
                        user_key: &ask.user_key,
                        generation: holder.generation,
                        state: EnrollmentState::Enabled,
                        grant: None,
                        topic: holder.topic.as_deref(),
                        authenticate_sealed: None,
                    },
                )
                .await?;
                (id, EventKind::Enrolled)
            }
        };
        let freshness = self.store_tokens(tx, id, message).await?;
        if freshness == Freshness::New {
            out.events.push(
                self.subject(device)
                    .event(id, kind, json!({ "user": true })),
            );
        }
        done
    }

    async fn check_out(
        &self,
        tx: &mut Tx,
        out: &mut Aftermath,
    ) -> Result<std::result::Result<Answer, Refusal>> {
        let holder = match self.standing() {
            Ok((_, _, holder)) => holder,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let Some(device) = self.scene.certificate_device else {
            return Ok(Err(Refusal::NotEnrolled));
        };
        let subject = self.subject(device);
        transitions::end(
            tx,
            subject,
            holder.id,
            "checked_out",
            EventKind::CheckedOut,
            out,
        )
        .await?;
        if holder.state == EnrollmentState::Enabled {
            checkin::mark_left(tx, self.now, device).await?;
        }
        Ok(Ok(Answer::CheckIn(CheckInAnswer::Done)))
    }

    async fn set_bootstrap_token(
        &self,
        tx: &mut Tx,
        message: &SetBootstrapToken,
        out: &mut Aftermath,
    ) -> Result<std::result::Result<Answer, Refusal>> {
        let holder = match self.standing() {
            Ok((Standing::Pending, _, _)) => return Ok(Err(Refusal::NotEnrolled)),
            Ok((_, _, holder)) => holder,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let Some(device) = self.scene.certificate_device else {
            return Ok(Err(Refusal::NotEnrolled));
        };
        let token = message
            .bootstrap_token
            .as_ref()
            .map(|token| token.expose())
            .filter(|token| !token.is_empty());
        let sealed = token
            .map(|token| {
                self.keys
                    .seal(self.shared.random(), bootstrap_place(&holder.id), token)
            })
            .transpose()?;
        let body = json!({ "deleted": sealed.is_none() });
        checkin::set_bootstrap_token(tx, holder.id, sealed).await?;
        out.events.push(
            self.subject(device)
                .event(holder.id, EventKind::BootstrapTokenSet, body),
        );
        Ok(Ok(Answer::CheckIn(CheckInAnswer::Done)))
    }

    async fn bootstrap_token(
        &self,
        tx: &mut Tx,
        out: &mut Aftermath,
    ) -> Result<std::result::Result<Answer, Refusal>> {
        let none = Ok(Ok(Answer::CheckIn(CheckInAnswer::BootstrapToken(None))));
        let holder = match self.standing() {
            Ok((Standing::Pending, _, _)) => return Ok(Err(Refusal::NotEnrolled)),
            Ok((Standing::Quarantined, _, _)) => return none,
            Ok((Standing::Enabled { .. }, _, holder)) => holder,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let (Some(device), Some(sealed)) = (
            self.scene.certificate_device,
            checkin::bootstrap_token(tx, holder.id).await?,
        ) else {
            return none;
        };
        let token = self.keys.open(bootstrap_place(&holder.id), &sealed)?;
        out.events.push(self.subject(device).event(
            holder.id,
            EventKind::BootstrapTokenRead,
            serde_json::Value::Null,
        ));
        Ok(Ok(Answer::CheckIn(CheckInAnswer::BootstrapToken(Some(
            token,
        )))))
    }

    /// For messages that the engine answers after the commit: who is asking?
    async fn stands(&self, tx: &mut Tx) -> Result<std::result::Result<Answer, Refusal>> {
        let (standing, holder) = match self.standing() {
            Ok((standing, _, holder)) => (standing, holder),
            Err(refusal) => return Ok(Err(refusal)),
        };
        let Some(device) = self.scene.certificate_device else {
            return Ok(Err(Refusal::NotEnrolled));
        };
        let quarantined = match standing {
            Standing::Pending => return Ok(Err(Refusal::NotEnrolled)),
            Standing::Quarantined => true,
            Standing::Enabled { .. } => false,
        };
        let ask = &self.job.ask;
        let new_user = matches!(self.job.message.message, CheckIn::UserAuthenticate(_));
        let enrollment = if ask.channel == 0 || quarantined || new_user {
            holder.id
        } else {
            match checkin::user_channel(tx, device, ask.channel, &ask.user_key, holder.generation)
                .await?
            {
                Some((id, EnrollmentState::Enabled)) => id,
                _ => return Ok(Err(Refusal::NotEnrolled)),
            }
        };
        Ok(Ok(Answer::CheckIn(CheckInAnswer::Stands {
            enrollment,
            device,
            quarantined,
        })))
    }

    async fn keep_status(
        &self,
        tx: &mut Tx,
        enrollment: EnrollmentId,
        device: DeviceId,
        report: &[u8],
        out: &mut Aftermath,
    ) -> Result<()> {
        let place = Place {
            table: "declarative_status",
            column: "report_sealed",
            row: enrollment.0.as_bytes(),
        };
        let sealed = self.keys.seal(self.shared.random(), place, report)?;
        checkin::keep_status(
            tx,
            self.now,
            self.job.ask.tenant,
            device,
            enrollment,
            sealed,
        )
        .await?;
        let body = json!({ "size_bytes": report.len() });
        out.events.push(
            self.subject(device)
                .event(enrollment, EventKind::DeclarativeStatus, body),
        );
        Ok(())
    }
}

fn traits(message: &Authenticate) -> Traits {
    Traits {
        serial_number: message.serial_number.clone(),
        device_name: message.device_name.clone(),
        model: message.model.clone(),
        product_name: message.product_name.clone(),
        os_version: message.os_version.clone(),
        build_version: message.build_version.clone(),
    }
}

/// Where a sealed bootstrap token stands.
pub(crate) fn bootstrap_place(enrollment: &EnrollmentId) -> Place<'_> {
    Place {
        table: "enrollment",
        column: "bootstrap_token_sealed",
        row: enrollment.0.as_bytes(),
    }
}

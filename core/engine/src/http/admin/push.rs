//! `/api/v1/tenants/{tenant}/push`: ringing devices, and the push certificates.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};

use super::super::error::Problem;
use super::AdminState;
use super::extract::{InTenant, TopicName};
use super::json::JsonBody;
use super::reply::{List, Reply};
use crate::admin::{Instant, Rung, Targets, ring};
use crate::push::{PushCertificateView, import_certificate, resume_topic, show_certificates};

/// Rings devices: they connect and ask for commands.
#[utoipa::path(post, path = "/api/v1/tenants/{tenant}/push", tag = "Push", request_body = Targets,
    responses((status = 202, body = Rung)))]
pub(crate) async fn ring_now(
    State(state): State<AdminState>,
    call: InTenant,
    JsonBody(targets): JsonBody<Targets>,
) -> Result<(StatusCode, Json<Rung>), Problem> {
    let rung = ring::ring(state.store(), &call.caller, call.tenant, &targets).await?;
    state.engine.push().wake();
    Ok((StatusCode::ACCEPTED, Json(rung)))
}

/// A push certificate, without its key.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(crate) struct PushCertificate {
    /// Changes with every import and resumption.
    id: uuid::Uuid,
    /// The topic, which the profiles of its devices name.
    topic: String,
    /// New enrollments get this topic.
    current: bool,
    /// The subject.
    subject: String,
    /// The issuer.
    issuer: String,
    /// The serial number, in hexadecimal.
    serial_number: String,
    /// From when it counts.
    not_before: Instant,
    /// When it ends.
    not_after: Instant,
    /// When the topic was first imported.
    created_at: Instant,
    /// Since when nothing is pushed under this topic.
    stopped_at: Option<Instant>,
    /// Why nothing is pushed.
    stopped_reason: Option<String>,
}

impl From<PushCertificateView> for PushCertificate {
    fn from(view: PushCertificateView) -> Self {
        Self {
            id: view.id,
            topic: view.topic,
            current: view.current,
            subject: view.subject,
            issuer: view.issuer,
            serial_number: view.serial_number,
            not_before: Instant(view.not_before),
            not_after: Instant(view.not_after),
            created_at: Instant(view.created_at),
            stopped_at: view.stopped_at.map(Instant),
            stopped_reason: view.stopped_reason,
        }
    }
}

/// Lists the push certificates, the one that new enrollments use first.
#[utoipa::path(get, path = "/api/v1/tenants/{tenant}/push/certificates", tag = "Push",
    responses((status = 200, body = List<PushCertificate>)))]
pub(crate) async fn certificates(
    State(state): State<AdminState>,
    call: InTenant,
) -> Reply<List<PushCertificate>> {
    let all = show_certificates(state.store(), call.tenant).await?;
    Ok(Json(List {
        items: all.into_iter().map(PushCertificate::from).collect(),
        next_cursor: None,
    }))
}

/// A push certificate to import.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewPushCertificate {
    /// The certificate and its private key, PEM, in any order.
    pem: String,
    /// Take a topic that the tenant does not have yet, although it has another. Devices enrolled under the other topic
    /// go on with that.
    #[serde(default)]
    accept_other_topic: bool,
}

/// Imports a push certificate with its key, for use at once.
#[utoipa::path(post, path = "/api/v1/tenants/{tenant}/push/certificates", tag = "Push",
    request_body = NewPushCertificate, responses((status = 201, body = PushCertificate)))]
pub(crate) async fn import(
    State(state): State<AdminState>,
    call: InTenant,
    JsonBody(new): JsonBody<NewPushCertificate>,
) -> Result<(StatusCode, Json<PushCertificate>), Problem> {
    let (store, actor, pem) = (state.store(), call.actor(), new.pem.as_bytes());
    let view = import_certificate(store, call.tenant, actor, pem, new.accept_other_topic).await?;
    state.engine.push().wake();
    Ok((StatusCode::CREATED, Json(view.into())))
}

/// Whether something was stopped.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(crate) struct Resumed {
    /// Whether the topic was stopped before.
    resumed: bool,
}

/// Lets a stopped topic push again with the certificate that it has.
#[utoipa::path(post, path = "/api/v1/tenants/{tenant}/push/certificates/{topic}/resume", tag = "Push",
    responses((status = 200, body = Resumed)))]
pub(crate) async fn resume(
    State(state): State<AdminState>,
    call: InTenant,
    TopicName(topic): TopicName,
) -> Reply<Resumed> {
    let resumed = resume_topic(state.store(), call.tenant, call.actor(), &topic).await?;
    state.engine.push().wake();
    Ok(Json(Resumed { resumed }))
}

//! `/api/v1/tenants/{tenant}/enrollment-links` and `/api/v1/tenants/{tenant}/cas`.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};

use super::super::error::Problem;
use super::AdminState;
use super::extract::{Asked, InTenant, Paging, Segment};
use super::json::JsonBody;
use super::reply::{List, Reply, list as page};
use crate::admin::{Instant, PageRequest, links};
use crate::clock::DAY;
use crate::identity::{
    Authority, ExternalPolicy, Link, NewLink, add_external, create_link, list_authorities,
    retire_external, revoke_link,
};
use crate::ids::{CaId, LinkId};

/// A link to make.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewEnrollmentLink {
    /// What it is called in lists.
    name: String,
    /// How many devices it may enroll, 1 to 1,000,000; 1 when absent.
    #[serde(default = "once")]
    max_uses: u32,
    /// When it ends, in one minute to 366 days; in 7 days when absent.
    expires_at: Option<Instant>,
    /// The UDID of the only device it is for, if any.
    device_udid: Option<String>,
    /// The serial number of the only device it is for, if any.
    device_serial: Option<String>,
}

fn once() -> u32 {
    1
}

/// A link just made, with its address.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(crate) struct MadeLink {
    /// The link.
    #[serde(flatten)]
    link: Link,
    /// The address to open on the device. It is shown this once and not kept.
    url: String,
}

/// Lists enrollment links, without their addresses.
#[utoipa::path(get, path = "/api/v1/tenants/{tenant}/enrollment-links", tag = "Enrollment", params(Paging),
    responses((status = 200, body = List<Link>)))]
pub(crate) async fn list_links(
    State(state): State<AdminState>,
    call: InTenant,
    Asked(paging): Asked<Paging>,
) -> Reply<List<Link>> {
    let paging: PageRequest = paging.into();
    Ok(page(
        links::links(state.store(), call.tenant, &paging).await?,
    ))
}

/// Makes an enrollment link.
#[utoipa::path(post, path = "/api/v1/tenants/{tenant}/enrollment-links", tag = "Enrollment",
    request_body = NewEnrollmentLink, responses((status = 201, body = MadeLink)))]
pub(crate) async fn create(
    State(state): State<AdminState>,
    call: InTenant,
    JsonBody(new): JsonBody<NewEnrollmentLink>,
) -> Result<(StatusCode, Json<MadeLink>), Problem> {
    let now = state.store().clock().now();
    let expires_in = new
        .expires_at
        .map_or(7 * DAY, |at| at.0.saturating_sub(now));
    let wanted = NewLink {
        name: new.name,
        max_uses: new.max_uses,
        expires_in,
        device_udid: new.device_udid,
        device_serial: new.device_serial,
    };
    let made = create_link(state.store(), call.tenant, call.actor(), wanted).await?;
    let base = state.engine.options().public_url.as_str();
    let url = format!("{}/enroll/{}", base.trim_end_matches('/'), made.url_token);
    let link = made.link;
    Ok((StatusCode::CREATED, Json(MadeLink { link, url })))
}

/// Shows an enrollment link, without its address.
#[utoipa::path(get, path = "/api/v1/tenants/{tenant}/enrollment-links/{link}", tag = "Enrollment",
    responses((status = 200, body = Link)))]
pub(crate) async fn show(
    State(state): State<AdminState>,
    call: InTenant,
    Segment(id): Segment<LinkId>,
) -> Reply<Link> {
    Ok(Json(
        crate::identity::link(state.store(), call.tenant, id).await?,
    ))
}

/// Takes a link back. Devices that it enrolled stay.
#[utoipa::path(post, path = "/api/v1/tenants/{tenant}/enrollment-links/{link}/revoke", tag = "Enrollment",
    responses((status = 204)))]
pub(crate) async fn revoke(
    State(state): State<AdminState>,
    call: InTenant,
    Segment(id): Segment<LinkId>,
) -> Result<StatusCode, Problem> {
    revoke_link(state.store(), call.tenant, call.actor(), id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Lists the certificate authorities of a tenant, the oldest first.
#[utoipa::path(get, path = "/api/v1/tenants/{tenant}/cas", tag = "Enrollment",
    responses((status = 200, body = List<Authority>)))]
pub(crate) async fn list_cas(
    State(state): State<AdminState>,
    call: InTenant,
) -> Reply<List<Authority>> {
    let items = list_authorities(state.store(), call.tenant).await?;
    Ok(Json(List {
        items,
        next_cursor: None,
    }))
}

/// An authority of one's own whose devices may enroll.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewExternalCa {
    /// What it is called.
    name: String,
    /// The certificate that signs the devices' certificates, PEM.
    certificate_pem: String,
    /// Which of its devices may enroll.
    policy: ExternalPolicy,
}

/// The authority just added.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(crate) struct AddedCa {
    /// Its id.
    id: CaId,
}

/// Lets devices enroll that hold a certificate of this authority.
#[utoipa::path(post, path = "/api/v1/tenants/{tenant}/cas", tag = "Enrollment",
    request_body = NewExternalCa, responses((status = 201, body = AddedCa)))]
pub(crate) async fn add_ca(
    State(state): State<AdminState>,
    call: InTenant,
    JsonBody(new): JsonBody<NewExternalCa>,
) -> Result<(StatusCode, Json<AddedCa>), Problem> {
    let id = add_external(
        state.store(),
        call.tenant,
        call.actor(),
        &new.name,
        &new.certificate_pem,
        new.policy,
    )
    .await?;
    Ok((StatusCode::CREATED, Json(AddedCa { id })))
}

/// No further device enrolls with a certificate of this authority. Devices that did stay.
#[utoipa::path(post, path = "/api/v1/tenants/{tenant}/cas/{ca}/retire", tag = "Enrollment",
    responses((status = 204)))]
pub(crate) async fn retire_ca(
    State(state): State<AdminState>,
    call: InTenant,
    Segment(id): Segment<CaId>,
) -> Result<StatusCode, Problem> {
    retire_external(state.store(), call.tenant, call.actor(), id).await?;
    Ok(StatusCode::NO_CONTENT)
}

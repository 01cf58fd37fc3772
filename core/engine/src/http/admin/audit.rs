//! `/api/v1/audit` and `/api/v1/tenants/{tenant}/audit`.

use axum::Json;
use axum::extract::State;
use serde::Serialize;

use super::AdminState;
use super::extract::{Asked, InTenant, Paging};
use super::reply::{List, Reply, list as page};
use crate::admin::{AuditRecord, audit};
use crate::ids::TenantId;

/// The result of walking a chain.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(crate) struct Verified {
    /// How many records follow from one another, from the first to the last.
    records: i64,
}

/// Reads the audit log of a tenant, the oldest record first.
#[utoipa::path(get, path = "/api/v1/tenants/{tenant}/audit", tag = "Audit", params(Paging),
    responses((status = 200, body = List<AuditRecord>)))]
pub(crate) async fn list(
    State(state): State<AdminState>,
    call: InTenant,
    Asked(paging): Asked<Paging>,
) -> Reply<List<AuditRecord>> {
    read(&state, Some(call.tenant), paging).await
}

/// Walks the chain of a tenant's audit log and says how long it is. A break is answered as a failure.
#[utoipa::path(get, path = "/api/v1/tenants/{tenant}/audit/verify", tag = "Audit",
    responses((status = 200, body = Verified)))]
pub(crate) async fn verify(State(state): State<AdminState>, call: InTenant) -> Reply<Verified> {
    let records = state.store().verify_audit(Some(call.tenant)).await?;
    Ok(Json(Verified { records }))
}

/// Reads the audit log of what the operator did outside any tenant.
#[utoipa::path(get, path = "/api/v1/audit", tag = "Audit", params(Paging),
    responses((status = 200, body = List<AuditRecord>)))]
pub(crate) async fn list_operator(
    State(state): State<AdminState>,
    Asked(paging): Asked<Paging>,
) -> Reply<List<AuditRecord>> {
    read(&state, None, paging).await
}

/// Walks the chain of the operator's audit log and says how long it is. A break is answered as a failure.
#[utoipa::path(get, path = "/api/v1/audit/verify", tag = "Audit",
    responses((status = 200, body = Verified)))]
pub(crate) async fn verify_operator(State(state): State<AdminState>) -> Reply<Verified> {
    let records = state.store().verify_audit(None).await?;
    Ok(Json(Verified { records }))
}

async fn read(
    state: &AdminState,
    tenant: Option<TenantId>,
    paging: Paging,
) -> Reply<List<AuditRecord>> {
    Ok(page(
        audit::records(state.store(), tenant, &paging.into()).await?,
    ))
}

//! `/api/v1/audit` and `/api/v1/tenants/{tenant}/audit`.

use axum::Json;
use axum::extract::State;

use super::AdminState;
use super::extract::{Asked, InTenant, Paging};
use super::reply::{List, Reply, list as page};
use crate::admin::{AuditCheck, AuditRecord, audit};
use crate::ids::TenantId;

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

/// Walks the chain of a tenant's audit log and says whether it is whole.
#[utoipa::path(get, path = "/api/v1/tenants/{tenant}/audit/verify", tag = "Audit",
    responses((status = 200, body = AuditCheck)))]
pub(crate) async fn verify(State(state): State<AdminState>, call: InTenant) -> Reply<AuditCheck> {
    Ok(Json(state.store().check_audit(Some(call.tenant)).await?))
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

/// Walks the chain of the operator's audit log and says whether it is whole.
#[utoipa::path(get, path = "/api/v1/audit/verify", tag = "Audit",
    responses((status = 200, body = AuditCheck)))]
pub(crate) async fn verify_operator(State(state): State<AdminState>) -> Reply<AuditCheck> {
    Ok(Json(state.store().check_audit(None).await?))
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

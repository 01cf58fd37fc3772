//! Principals and their tokens.
//!
//! Owns: making, listing and ending them. The rule of who may make what is in `token`.

use serde::Serialize;

use super::caller::Caller;
use super::instant::Instant;
use super::page::{Page, PageRequest, Position};
use super::scope::Scopes;
use super::text;
use super::token::{LONGEST_LIFE, TokenSecret, WantedToken, narrow};
use crate::actor::Actor;
use crate::clock::Micros;
use crate::error::{Error, Result};
use crate::ids::{PrincipalId, TenantId, TokenId};
use crate::store::Store;
use crate::store::admin_access::{PrincipalRow, TokenRow};
use crate::store::entity::{api_token, principal};

/// Someone who acts: a person or a program of theirs.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct Principal {
    /// Its id, which stands on everything it does.
    pub id: PrincipalId,
    /// The tenant; none for the operator's.
    pub tenant_id: Option<TenantId>,
    /// `person` or `plugin`.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// Who made it.
    pub created_by: Option<PrincipalId>,
    /// When it was made.
    pub created_at: Instant,
    /// When it was disabled, with all its tokens.
    pub disabled_at: Option<Instant>,
}

impl From<principal::Model> for Principal {
    fn from(row: principal::Model) -> Self {
        Self {
            id: PrincipalId(row.id),
            tenant_id: row.tenant_id.map(TenantId),
            kind: row.kind,
            name: row.name,
            created_by: row.created_by.map(PrincipalId),
            created_at: Instant(row.created_at),
            disabled_at: row.disabled_at.map(Instant),
        }
    }
}

/// A token as it is shown; never its secret.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct Token {
    /// Its id.
    pub id: TokenId,
    /// The tenant it is bound to; none: good in every tenant.
    pub tenant_id: Option<TenantId>,
    /// Whose it is.
    pub principal_id: PrincipalId,
    /// The token that made it; when that one ends, this one does.
    pub parent_id: Option<TokenId>,
    /// What it is called.
    pub name: String,
    /// Its rights.
    pub scopes: Vec<String>,
    /// When it was made.
    pub created_at: Instant,
    /// When it ends.
    pub expires_at: Instant,
    /// When it was revoked.
    pub revoked_at: Option<Instant>,
    /// When it was last used, to the minute.
    pub last_used_at: Option<Instant>,
}

impl From<api_token::Model> for Token {
    fn from(row: api_token::Model) -> Self {
        Self {
            id: TokenId(row.id),
            tenant_id: row.tenant_id.map(TenantId),
            principal_id: PrincipalId(row.principal_id),
            parent_id: row.parent_id.map(TokenId),
            name: row.name,
            scopes: words(&Scopes::from_json(&row.scopes)),
            created_at: Instant(row.created_at),
            expires_at: Instant(row.expires_at),
            revoked_at: row.revoked_at.map(Instant),
            last_used_at: row.last_used_at.map(Instant),
        }
    }
}

fn words(scopes: &Scopes) -> Vec<String> {
    scopes.words().into_iter().map(str::to_owned).collect()
}

/// Makes a principal who is a person, or a program that acts for one.
///
/// # Errors
/// [`Error::Invalid`] for a bad name.
pub async fn create_principal(
    store: &Store,
    actor: Actor,
    tenant: Option<TenantId>,
    name: &str,
) -> Result<Principal> {
    let name = text::name("the name", name)?;
    let now = store.clock().now();
    let row = PrincipalRow {
        id: PrincipalId(store.random().uuid(now)),
        tenant,
        kind: "person",
        name: name.clone(),
        created_by: actor.id.map(PrincipalId),
    };
    store.insert_principal(actor, &row).await?;
    Ok(Principal {
        id: row.id,
        tenant_id: tenant,
        kind: row.kind.to_owned(),
        name,
        created_by: row.created_by,
        created_at: Instant(now),
        disabled_at: None,
    })
}

/// Makes a token that no other token stands above: for `pomona init` and for an operator who has none left.
///
/// # Errors
/// [`Error::Invalid`] for a bad name.
pub async fn create_first_token(
    store: &Store,
    principal: &Principal,
    name: &str,
    scopes: Scopes,
) -> Result<(Token, TokenSecret)> {
    let expires_at = store.clock().now().saturating_add(LONGEST_LIFE);
    let wanted = WantedToken {
        name: name.to_owned(),
        scopes,
        tenant: principal.tenant_id,
        principal: principal.id,
        expires_at: None,
    };
    write_token(store, Actor::SYSTEM, None, wanted, expires_at).await
}

/// Makes a token under the caller's own.
///
/// # Errors
/// As the rules of making one: never wider than the maker. [`Error::NotFound`] when the principal is not one of
/// this tenant or of the operator; [`Error::Conflict`] when it is disabled.
pub(crate) async fn create_token(
    store: &Store,
    caller: &Caller,
    wanted: WantedToken,
) -> Result<(Token, TokenSecret)> {
    let expires_at = narrow(caller, &wanted, store.clock().now())?;
    if wanted.principal != caller.principal {
        let owner = store
            .find_principal(wanted.tenant, wanted.principal)
            .await?
            .ok_or(Error::NotFound("the principal"))?;
        if owner.disabled_at.is_some() {
            return Err(Error::Conflict(
                "the principal is disabled; make the token for another".into(),
            ));
        }
    }
    write_token(
        store,
        caller.actor(),
        Some(caller.token),
        wanted,
        expires_at,
    )
    .await
}

async fn write_token(
    store: &Store,
    actor: Actor,
    parent: Option<TokenId>,
    wanted: WantedToken,
    expires_at: Micros,
) -> Result<(Token, TokenSecret)> {
    let name = text::name("the name", &wanted.name)?;
    let now = store.clock().now();
    let secret = TokenSecret::generate(store.random().as_ref());
    let row = TokenRow {
        id: TokenId(store.random().uuid(now)),
        tenant: wanted.tenant,
        principal: wanted.principal,
        parent,
        name,
        hash: secret.hash(),
        scopes: wanted.scopes,
        expires_at,
    };
    store.insert_token(actor, &row).await?;
    let token = Token {
        id: row.id,
        tenant_id: row.tenant,
        principal_id: row.principal,
        parent_id: row.parent,
        name: row.name,
        scopes: words(&row.scopes),
        created_at: Instant(now),
        expires_at: Instant(expires_at),
        revoked_at: None,
        last_used_at: None,
    };
    Ok((token, secret))
}

/// The principals of a tenant, or of the operator.
pub(crate) async fn principals(
    store: &Store,
    tenant: Option<TenantId>,
    page: &PageRequest,
) -> Result<Page<Principal>> {
    let keys = super::cursor_keys(store, tenant).await?;
    let after = page.position(keys.get(), "principals")?.map(|at| at.id);
    let limit = page.limit()?;
    let rows = store.principal_page(tenant, after, limit + 1).await?;
    let seal = |last: &principal::Model| Position::id(last.id).seal(keys.get(), "principals");
    Ok(Page::cut(rows, limit, seal).map(Principal::from))
}

/// One principal of a tenant, or of the operator.
pub(crate) async fn principal(
    store: &Store,
    tenant: Option<TenantId>,
    id: PrincipalId,
) -> Result<Principal> {
    store
        .find_principal(tenant, id)
        .await?
        .map(Principal::from)
        .ok_or(Error::NotFound("the principal"))
}

/// Disables a principal with all its tokens, and all that those made.
pub(crate) async fn disable_principal(
    store: &Store,
    caller: &Caller,
    tenant: Option<TenantId>,
    id: PrincipalId,
) -> Result<()> {
    if id == caller.principal {
        return Err(Error::Conflict(
            "a principal cannot disable itself; ask another".into(),
        ));
    }
    match store.disable_principal(caller.actor(), tenant, id).await? {
        true => Ok(()),
        false => Err(Error::NotFound("the principal")),
    }
}

/// The tokens of a tenant, or those bound to none.
pub(crate) async fn tokens(
    store: &Store,
    tenant: Option<TenantId>,
    page: &PageRequest,
) -> Result<Page<Token>> {
    let keys = super::cursor_keys(store, tenant).await?;
    let after = page.position(keys.get(), "tokens")?.map(|at| at.id);
    let limit = page.limit()?;
    let rows = store.token_page(tenant, after, limit + 1).await?;
    let seal = |last: &api_token::Model| Position::id(last.id).seal(keys.get(), "tokens");
    Ok(Page::cut(rows, limit, seal).map(Token::from))
}

/// Revokes a token, and with it all that it made.
pub(crate) async fn revoke_token(
    store: &Store,
    caller: &Caller,
    tenant: Option<TenantId>,
    id: TokenId,
) -> Result<()> {
    match store.revoke_token(caller.actor(), tenant, id).await? {
        true => Ok(()),
        false => Err(Error::NotFound("the token")),
    }
}

/// Who shows this token; nobody when it, or one above it, is not good any more.
///
/// # Errors
/// [`Error::Unavailable`] when the database does not answer.
pub(crate) async fn authenticate(store: &Store, secret: &TokenSecret) -> Result<Option<Caller>> {
    store.caller(secret.hash()).await
}

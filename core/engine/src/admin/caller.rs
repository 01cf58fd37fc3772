//! Who is calling the admin API.
//!
//! Owns: what an authenticated token amounts to. Read by the permission check of each route and by the
//! operations that depend on who asks.

use super::scope::{Scope, Scopes};
use crate::actor::Actor;
use crate::clock::Micros;
use crate::ids::{PrincipalId, TenantId, TokenId};

/// An authenticated caller.
#[derive(Clone, Debug)]
pub struct Caller {
    /// The token that was shown.
    pub token: TokenId,
    /// Whose token it is.
    pub principal: PrincipalId,
    /// The principal's name.
    pub principal_name: String,
    /// The tenant the token is bound to; none: the operator's, good in every tenant.
    pub tenant: Option<TenantId>,
    /// Its rights.
    pub scopes: Scopes,
    /// When it ends.
    pub expires_at: Micros,
    /// How many tokens stand above it.
    pub depth: u32,
}

impl Caller {
    /// The actor that this caller is on commands, events and in the audit log.
    pub fn actor(&self) -> Actor {
        Actor::person(self.principal)
    }

    /// Whether the caller may act in `tenant` at all.
    pub fn reaches(&self, tenant: TenantId) -> bool {
        self.tenant.is_none_or(|own| own == tenant)
    }

    /// Whether the caller holds `scope`.
    pub fn holds(&self, scope: Scope) -> bool {
        self.scopes.allows(scope)
    }
}

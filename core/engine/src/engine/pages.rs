//! Asks plugins for pages and panels.
//!
//! Owns: the time that an answer may take, and that its effects are committed before it leaves. Knows no HTTP.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::Engine;
use super::effects::Origin;
use crate::error::{Error, Result};
use crate::hooks::{HookError, Occasion, PageReply, PageRequest, PanelHook, PanelInfo, RouteHook};
use crate::ids::TenantId;

/// An answer to a request, waiting included.
const PAGE_BUDGET: Duration = Duration::from_millis(5_200);
/// A panel, waiting included.
const PANEL_BUDGET: Duration = Duration::from_millis(2_200);

impl Engine {
    /// The plugin of this name that answers requests in a tenant.
    pub(crate) fn route_hook(&self, tenant: TenantId, name: &str) -> Option<Arc<dyn RouteHook>> {
        let hooks = self.hooks().of(tenant);
        hooks
            .routes
            .iter()
            .find(|hook| hook.name() == name)
            .cloned()
    }

    /// Asks a plugin for a page and carries out what it returns.
    ///
    /// # Errors
    /// The hook's own error when there is no answer; [`Error`] inside when its effects cannot be carried out.
    pub(crate) async fn ask_for_page(
        &self,
        tenant: TenantId,
        hook: &Arc<dyn RouteHook>,
        request: PageRequest,
    ) -> std::result::Result<PageReply, HookError> {
        let occasion = Occasion {
            now: self.now(),
            attempt: 1,
            dry_run: false,
        };
        let mut reply = tokio::time::timeout(PAGE_BUDGET, hook.handle(occasion, request))
            .await
            .unwrap_or(Err(HookError::Budget))?;
        let effects = std::mem::take(&mut reply.effects);
        if !effects.is_empty() {
            let origin = Origin {
                tenant,
                name: hook.name(),
                principal: hook.principal(),
                depth: 1,
            };
            self.carry_out(&origin, effects)
                .await
                .map_err(|error| HookError::Permanent(error.to_string()))?;
        }
        Ok(reply)
    }

    /// The panels of a plugin in a tenant.
    ///
    /// # Errors
    /// [`Error::NotFound`] when it has none.
    pub(crate) fn panels(&self, tenant: TenantId, name: &str) -> Result<Vec<PanelInfo>> {
        Ok(self.panel_hook(tenant, name)?.panels())
    }

    /// A panel of a plugin.
    ///
    /// # Errors
    /// [`Error::NotFound`] when there is no such panel, [`Error::Conflict`] when the plugin gives no answer.
    pub(crate) async fn panel(
        &self,
        tenant: TenantId,
        name: &str,
        panel: &str,
        parameters: &Value,
    ) -> Result<Value> {
        let hook = self.panel_hook(tenant, name)?;
        if !hook.panels().iter().any(|one| one.id == panel) {
            return Err(Error::NotFound("the panel"));
        }
        tokio::time::timeout(PANEL_BUDGET, hook.render(self.now(), panel, parameters))
            .await
            .unwrap_or(Err(HookError::Budget))
            .map_err(|error| Error::Conflict(format!("the plugin shows nothing: {error}")))
    }

    fn panel_hook(&self, tenant: TenantId, name: &str) -> Result<Arc<dyn PanelHook>> {
        let hooks = self.hooks().of(tenant);
        let found = hooks.panels.iter().find(|hook| hook.name() == name);
        found
            .cloned()
            .ok_or(Error::NotFound("a plugin with panels"))
    }
}

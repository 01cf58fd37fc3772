//! Hooks that work by themselves or answer people, answered by a plugin.
//!
//! Owns: jobs, routes and panels.

use async_trait::async_trait;
use pomona_engine::PrincipalId;
use pomona_engine::clock::Micros;
use pomona_engine::hooks::{
    HookError, JobHook, JobInfo, JobStep, Occasion, PageReply, PageRequest, PanelHook, PanelInfo,
    RouteHook,
};
use serde_json::Value;

use super::{absent, told};
use crate::bindings::exports::pomona::hooks::routes;
use crate::convert;
use crate::enabled::Enabled;
use crate::manifest::{HookName, Job};

#[async_trait]
impl JobHook for Enabled {
    fn name(&self) -> &str {
        self.id()
    }

    fn principal(&self) -> Option<PrincipalId> {
        Some(self.principal)
    }

    fn jobs(&self) -> Vec<JobInfo> {
        let every = |job: &Job| job.every.as_deref().and_then(crate::manifest::interval);
        self.manifest
            .jobs
            .iter()
            .map(|job| JobInfo {
                name: job.name.clone(),
                every: every(job),
            })
            .collect()
    }

    async fn run(
        &self,
        occasion: Occasion,
        job: &str,
        cursor: Option<&str>,
    ) -> Result<JobStep, HookError> {
        let places = self.places(HookName::Jobs).map_err(told)?;
        let place = places.jobs.as_ref().ok_or_else(absent)?;
        let mut context = self.context(HookName::Jobs, occasion.now);
        context.attempt = occasion.attempt;
        context.dry_run = occasion.dry_run;
        let step = self
            .ask(HookName::Jobs, &context, 0, async |store, instance| {
                let hook = place.load(&mut *store, &instance)?;
                hook.call_run(store, &context, job, cursor).await
            })
            .await
            .map_err(told)?
            .map_err(|error| self.refused(HookName::Jobs, error))?;
        Ok(JobStep {
            effects: self.carried(HookName::Jobs, step.effects)?,
            cursor: step.cursor,
            again: step
                .again_in_ms
                .map(|after| convert::micros(u64::from(after))),
        })
    }
}

#[async_trait]
impl RouteHook for Enabled {
    fn name(&self) -> &str {
        self.id()
    }

    fn principal(&self) -> Option<PrincipalId> {
        Some(self.principal)
    }

    fn open(&self, path: &str) -> bool {
        self.manifest.routes.open.iter().any(|open| open == path)
    }

    async fn handle(
        &self,
        occasion: Occasion,
        request: PageRequest,
    ) -> Result<PageReply, HookError> {
        let places = self.places(HookName::Routes).map_err(told)?;
        let place = places.routes.as_ref().ok_or_else(absent)?;
        let mut context = self.context(HookName::Routes, occasion.now);
        context.attempt = occasion.attempt;
        context.dry_run = occasion.dry_run;
        let asked = routes::Request {
            method: request.method,
            path: request.path,
            query: request.query,
            headers: request.headers,
            body: request.body,
            actor: request.actor,
            roles: request.roles,
        };
        let reply = self
            .ask(HookName::Routes, &context, 0, async |store, instance| {
                let hook = place.load(&mut *store, &instance)?;
                hook.call_handle(store, &context, &asked).await
            })
            .await
            .map_err(told)?
            .map_err(|error| self.refused(HookName::Routes, error))?;
        Ok(PageReply {
            effects: self.carried(HookName::Routes, reply.effects)?,
            status: reply.status,
            headers: reply.headers,
            body: reply.body,
        })
    }
}

#[async_trait]
impl PanelHook for Enabled {
    fn name(&self) -> &str {
        self.id()
    }

    fn panels(&self) -> Vec<PanelInfo> {
        self.manifest
            .panels
            .iter()
            .map(|panel| PanelInfo {
                id: panel.id.clone(),
                title: panel.title.clone(),
            })
            .collect()
    }

    async fn render(
        &self,
        now: Micros,
        panel: &str,
        parameters: &Value,
    ) -> Result<Value, HookError> {
        let places = self.places(HookName::Panels).map_err(told)?;
        let place = places.panels.as_ref().ok_or_else(absent)?;
        let context = self.context(HookName::Panels, now);
        let parameters = parameters.to_string();
        let shown = self
            .ask(HookName::Panels, &context, 0, async |store, instance| {
                let hook = place.load(&mut *store, &instance)?;
                hook.call_render(store, &context, panel, &parameters).await
            })
            .await
            .map_err(told)?
            .map_err(|error| self.refused(HookName::Panels, error))?;
        serde_json::from_str(&shown)
            .map_err(|error| HookError::Permanent(format!("the panel is no JSON: {error}")))
    }
}

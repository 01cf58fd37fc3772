//! Hooks that look at a device and change nothing, answered by a plugin.
//!
//! Owns: compliance and declarations, on the engine that counts instructions. The name of the question is the engine's, so that the
//! same question draws the same random numbers.

use async_trait::async_trait;
use pomona_engine::clock::Micros;
use pomona_engine::hooks::{
    ComplianceHook, Declaration, DeclarationHook, DeviceSnapshot, Finding, HookError, Question,
    RuleInfo,
};

use super::{absent, told};
use crate::convert::{self, short};
use crate::enabled::Enabled;
use crate::manifest::HookName;

#[async_trait]
impl ComplianceHook for Enabled {
    fn name(&self) -> &str {
        self.id()
    }

    fn stamp(&self) -> String {
        self.stamp.clone()
    }

    fn interval(&self) -> Option<Micros> {
        self.again_after(HookName::Compliance)
    }

    fn concerns(&self, device: &DeviceSnapshot) -> bool {
        self.concerned(HookName::Compliance, device)
    }

    async fn rules(&self) -> Result<Vec<RuleInfo>, HookError> {
        let places = self.places(HookName::Compliance).map_err(told)?;
        let place = places.compliance.as_ref().ok_or_else(absent)?;
        let context = self.context(HookName::Compliance, 0);
        let rules = self
            .ask(
                HookName::Compliance,
                &context,
                0,
                async |store, instance| {
                    let hook = place.load(&mut *store, &instance)?;
                    hook.call_rules(store).await
                },
            )
            .await
            .map_err(told)?;
        Ok(rules.into_iter().map(convert::rule).collect())
    }

    async fn evaluate(&self, question: &Question) -> Result<Vec<Finding>, HookError> {
        let name = HookName::Compliance;
        let places = self.places(name).map_err(told)?;
        let place = places.compliance.as_ref().ok_or_else(absent)?;
        let context = self.context_as(name, question.now, question.call_id.clone());
        let (device, size) = self.seen(&question.device);
        self.ask(name, &context, size, async |store, instance| {
            let hook = place.load(&mut *store, &instance)?;
            hook.call_evaluate(store, &context, &device).await
        })
        .await
        .map_err(told)?
        .map_err(|error| self.refused(name, error))?
        .into_iter()
        .map(|finding| {
            convert::finding(finding).map_err(|problem| HookError::Permanent(short(&problem)))
        })
        .collect()
    }
}

#[async_trait]
impl DeclarationHook for Enabled {
    fn name(&self) -> &str {
        self.id()
    }

    fn stamp(&self) -> String {
        self.stamp.clone()
    }

    fn interval(&self) -> Option<Micros> {
        self.again_after(HookName::Declarations)
    }

    fn concerns(&self, device: &DeviceSnapshot) -> bool {
        self.concerned(HookName::Declarations, device)
    }

    async fn contribute(&self, question: &Question) -> Result<Vec<Declaration>, HookError> {
        let name = HookName::Declarations;
        let places = self.places(name).map_err(told)?;
        let place = places.declarations.as_ref().ok_or_else(absent)?;
        let context = self.context_as(name, question.now, question.call_id.clone());
        let (device, size) = self.seen(&question.device);
        self.ask(name, &context, size, async |store, instance| {
            let hook = place.load(&mut *store, &instance)?;
            hook.call_contribute(store, &context, &device).await
        })
        .await
        .map_err(told)?
        .map_err(|error| self.refused(name, error))?
        .into_iter()
        .map(|one| {
            convert::declaration(one).map_err(|problem| HookError::Permanent(short(&problem)))
        })
        .collect()
    }
}

//! Hooks that work in the background.
//!
//! Owns: the trait of jobs and what a step gives back. When a job runs is for `engine::jobs`.

use async_trait::async_trait;

use super::{HookError, KeyedEffect, Occasion};
use crate::clock::Micros;

/// A job, as its hook describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobInfo {
    /// Its name within the hook.
    pub name: String,
    /// How often it runs; none: when an effect schedules it.
    pub every: Option<Micros>,
}

/// What a step of a job did.
#[derive(Clone, Debug, Default)]
pub struct JobStep {
    /// What is to be done, committed together with the progress.
    pub effects: Vec<KeyedEffect>,
    /// Where the next step begins; none: the job is done for now.
    pub cursor: Option<String>,
    /// When the next step runs, from now.
    pub again: Option<Micros>,
}

/// Works in the background, a step at a time, on one node at a time. On error, time-out or absence: the step is tried again later.
#[async_trait]
pub trait JobHook: Send + Sync {
    /// Who it is; names its progress, so it must stay the same.
    fn name(&self) -> &str;
    /// The principal that stands as actor on its effects.
    fn principal(&self) -> Option<crate::PrincipalId> {
        None
    }
    /// Its jobs.
    fn jobs(&self) -> Vec<JobInfo>;
    /// Runs one step.
    async fn run(
        &self,
        occasion: Occasion,
        job: &str,
        cursor: Option<&str>,
    ) -> Result<JobStep, HookError>;
}

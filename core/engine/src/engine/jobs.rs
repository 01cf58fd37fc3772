//! Runs jobs, a step at a time.
//!
//! Owns: when a job's next step runs, on which node, and what becomes of its progress: it is committed with the step's effects. A
//! node that dies leaves a lease that ends.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;

use super::Engine;
use super::effects::{Difference, Origin};
use crate::clock::{HOUR, MINUTE, Micros, SECOND};
use crate::error::{Error, Result};
use crate::hooks::{HookError, JobHook, JobStep, Occasion};
use crate::ids::TenantId;
use crate::store::values::{self, DueJob};

/// One step, waiting included.
const BUDGET: Duration = Duration::from_secs(31);
/// A step that is not over by then may be taken by another node.
const LEASE: Micros = 2 * MINUTE;
/// Between two steps at least.
const PAUSE: Micros = SECOND / 10;
/// A next step that is not further away is waited for.
const SOON: Micros = 2 * SECOND;
/// Bytes of a cursor, at most.
const MAX_CURSOR: usize = 64 << 10;

impl Engine {
    /// Runs what is due, for as long as the engine runs. Each hook has its turn by itself, so that none waits for another.
    pub(super) async fn run_jobs(&self) {
        let mut changes = self.shared().hooks.changes();
        let mut running: JoinSet<(TenantId, String)> = JoinSet::new();
        let mut busy: HashSet<(TenantId, String)> = HashSet::new();
        loop {
            changes.mark_unchanged();
            for (tenant, hook) in self.job_hooks() {
                let key = (tenant, hook.name().to_owned());
                if !busy.insert(key.clone()) {
                    continue;
                }
                let engine = self.clone();
                running.spawn(async move {
                    if let Err(error) = engine.work_off(tenant, &hook).await {
                        tracing::warn!(hook.name = hook.name(), %error, "jobs wait");
                    }
                    key
                });
            }
            tokio::select! {
                () = self.0.cancel.cancelled() => break,
                Ok(()) = changes.changed() => {}
                () = tokio::time::sleep(self.0.options.poll_interval) => {}
            }
            while let Some(Ok(key)) = running.try_join_next() {
                busy.remove(&key);
            }
        }
        running.shutdown().await;
    }

    fn job_hooks(&self) -> Vec<(TenantId, Arc<dyn JobHook>)> {
        let tenants = self.shared().hooks.tenants();
        tenants
            .into_iter()
            .flat_map(|(tenant, hooks)| {
                hooks
                    .jobs
                    .iter()
                    .map(move |hook| (tenant, hook.clone()))
                    .collect::<Vec<_>>()
            })
            .collect()
    }

    /// The hook of this name that has jobs in a tenant.
    pub(crate) fn job_hook(&self, tenant: TenantId, name: &str) -> Option<Arc<dyn JobHook>> {
        self.job_hooks()
            .into_iter()
            .find(|(of, hook)| *of == tenant && hook.name() == name)
            .map(|(_, hook)| hook)
    }

    /// Runs the steps of a hook that are due now.
    async fn work_off(&self, tenant: TenantId, hook: &Arc<dyn JobHook>) -> Result<()> {
        self.plan(tenant, hook).await?;
        loop {
            if self.0.cancel.is_cancelled() {
                return Ok(());
            }
            let mut tx = self.store().begin().await?;
            let due = values::claim(&mut tx, self.now(), tenant, hook.name(), LEASE).await?;
            tx.commit().await?;
            let Some(due) = due else {
                return Ok(());
            };
            let next = self.step(tenant, hook, &due).await?;
            let soon = next.saturating_sub(self.now());
            if soon <= SOON {
                // A job that goes on at once does not wait for the next round.
                let wait = Duration::from_micros(u64::try_from(soon).unwrap_or(0));
                tokio::select! {
                    () = self.0.cancel.cancelled() => return Ok(()),
                    () = tokio::time::sleep(wait) => {}
                }
            }
        }
    }

    /// Sees to it that each job that runs by itself has its row.
    async fn plan(&self, tenant: TenantId, hook: &Arc<dyn JobHook>) -> Result<()> {
        let known: Vec<String> = self
            .store()
            .plugin_jobs(tenant)
            .await?
            .into_iter()
            .filter(|row| row.plugin == hook.name())
            .map(|row| row.job)
            .collect();
        let missing: Vec<_> = hook
            .jobs()
            .into_iter()
            .filter(|job| job.every.is_some() && !known.contains(&job.name))
            .collect();
        if missing.is_empty() {
            return Ok(());
        }
        let mut tx = self.store().begin().await?;
        for job in missing {
            values::schedule(&mut tx, tenant, hook.name(), &job.name, self.now()).await?;
        }
        tx.commit().await
    }

    /// Runs one step; says when the next is due.
    async fn step(
        &self,
        tenant: TenantId,
        hook: &Arc<dyn JobHook>,
        due: &DueJob,
    ) -> Result<Micros> {
        let every = hook
            .jobs()
            .into_iter()
            .find(|job| job.name == due.job)
            .map(|job| job.every);
        let outcome = match every {
            // A version before had this job.
            None => Ok(JobStep::default()),
            Some(_) => {
                let occasion = Occasion {
                    now: self.now(),
                    attempt: u32::try_from(due.attempts + 1).unwrap_or(u32::MAX),
                    dry_run: false,
                };
                self.ask_job(hook, occasion, &due.job, due.cursor.as_deref())
                    .await
            }
        };
        let outcome = match outcome {
            Ok(step) => {
                self.commit_step(tenant, hook, due, every.flatten(), step)
                    .await
            }
            Err(error) => Err(Error::internal("a job", error)),
        };
        let error = match outcome {
            Ok(next) => return Ok(next),
            Err(error) => error,
        };
        let text = std::error::Error::source(&error)
            .map_or_else(|| error.to_string(), ToString::to_string);
        tracing::warn!(hook.name = hook.name(), job = due.job, error = %text, "a job failed and will be tried again");
        metrics::counter!("pomona_hook_failures_total", "hook" => "jobs").increment(1);
        let now = self.now();
        let again = now + backoff(due.attempts + 1);
        let mut tx = self.store().begin().await?;
        let (whose, cursor) = ((tenant, hook.name()), due.cursor.as_deref());
        values::stepped(&mut tx, now, whose, due, cursor, again, Some(&text)).await?;
        tx.commit().await?;
        Ok(again)
    }

    async fn ask_job(
        &self,
        hook: &Arc<dyn JobHook>,
        occasion: Occasion,
        job: &str,
        cursor: Option<&str>,
    ) -> std::result::Result<JobStep, HookError> {
        let step = tokio::time::timeout(BUDGET, hook.run(occasion, job, cursor))
            .await
            .unwrap_or(Err(HookError::Budget))?;
        match &step.cursor {
            Some(cursor) if cursor.len() > MAX_CURSOR => Err(HookError::Permanent(format!(
                "a cursor has at most {MAX_CURSOR} bytes"
            ))),
            _ => Ok(step),
        }
    }

    async fn commit_step(
        &self,
        tenant: TenantId,
        hook: &Arc<dyn JobHook>,
        due: &DueJob,
        every: Option<Micros>,
        step: JobStep,
    ) -> Result<Micros> {
        let origin = Origin {
            tenant,
            name: hook.name(),
            principal: hook.principal(),
            depth: 1,
        };
        let prepared = self.prepare_effects(&origin, step.effects).await?;
        let mut tx = self.store().begin().await?;
        self.lock_for(&mut tx, tenant, &prepared, None).await?;
        let now = self.now();
        let next = match (&step.cursor, step.again, every) {
            (_, Some(again), _) => now.saturating_add(again.max(PAUSE)),
            (Some(_), None, _) => now + PAUSE,
            (None, None, Some(every)) => now.saturating_add(every),
            (None, None, None) => Micros::MAX,
        };
        let (whose, cursor) = ((tenant, hook.name()), step.cursor.as_deref());
        if !values::stepped(&mut tx, now, whose, due, cursor, next, None).await? {
            // Another node has taken it over.
            tx.rollback().await?;
            return Ok(Micros::MAX);
        }
        let done = self.apply_effects(&mut tx, &origin, prepared).await?;
        tx.commit().await?;
        self.announce(done.events);
        (self.shared().wake_push)();
        Ok(next)
    }

    /// What the next step of a job would do, without doing it.
    pub(crate) async fn rehearse_job(
        &self,
        tenant: TenantId,
        hook: &Arc<dyn JobHook>,
        job: &str,
        cursor: Option<&str>,
    ) -> Result<Vec<Difference>> {
        let occasion = Occasion {
            now: self.now(),
            attempt: 1,
            dry_run: true,
        };
        let step = self
            .ask_job(hook, occasion, job, cursor)
            .await
            .map_err(|error| Error::Conflict(format!("the plugin gives no answer: {error}")))?;
        let origin = Origin {
            tenant,
            name: hook.name(),
            principal: hook.principal(),
            depth: 1,
        };
        self.rehearse(&origin, None, step.effects).await
    }
}

/// Ten seconds, then twice as long each time, six hours at most.
fn backoff(attempts: i64) -> Micros {
    let doubled = u32::try_from(attempts.clamp(1, 16) - 1).unwrap_or(0);
    ((10 * SECOND) << doubled).min(6 * HOUR)
}

//! What deterministic hooks have said of devices.
//!
//! Owns: the rows of assessments, findings and contributed declarations. A device is due when it has changed, when the plugin
//! or its settings have, or when its time has come; that is read from the rows alone, so that no signal can be missed.

use std::collections::BTreeMap;

use super::sql::{Row, Tx, args};
use super::{Store, sql};
use crate::clock::Micros;
use crate::enrollment::EnrollmentState;
use crate::error::Result;
use crate::hooks::{Declaration, RuleVerdict};
use crate::ids::{DeviceId, EnrollmentId, TenantId};

/// A device that is to be asked about, by its device channel.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Due {
    pub(crate) tenant: TenantId,
    pub(crate) device: DeviceId,
    pub(crate) enrollment: EnrollmentId,
    /// How often in a row there was no answer.
    pub(crate) attempts: i64,
}

/// What was asked, and whether there was an answer.
#[derive(Clone, Debug)]
pub(crate) struct Assessment {
    /// The plugin.
    pub(crate) plugin: String,
    /// The hook: `compliance` or `declarations`.
    pub(crate) hook: String,
    /// The tenant.
    pub(crate) tenant: TenantId,
    /// The device.
    pub(crate) device: DeviceId,
    /// Names the code and the settings that answered.
    pub(crate) stamp: String,
    /// The device's revision that the answer rests on.
    pub(crate) revision: i64,
    /// When it was asked.
    pub(crate) assessed_at: Micros,
    /// When it is asked again at the latest.
    pub(crate) due_at: Micros,
    /// How often in a row there was no answer.
    pub(crate) attempts: i64,
    /// Why there was no answer the last time.
    pub(crate) error: Option<String>,
    /// The name of the question.
    pub(crate) call_id: String,
    /// The device as the hook was told of it, as JSON.
    pub(crate) snapshot: String,
}

/// A finding as it is kept.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct KeptFinding {
    /// The device.
    pub(crate) device: DeviceId,
    /// The plugin.
    pub(crate) plugin: String,
    /// The rule.
    pub(crate) rule: String,
    /// What it says.
    pub(crate) verdict: RuleVerdict,
    /// The rule's severity, as a word.
    pub(crate) severity: String,
    /// The rule's name.
    pub(crate) title: String,
    /// Why.
    pub(crate) message: String,
    /// What it rests on, as JSON.
    pub(crate) evidence: String,
    /// What would mend it, as JSON.
    pub(crate) remedies: String,
    /// Until when a failure is borne with.
    pub(crate) grace_until: Option<Micros>,
    /// Since when the verdict is this one.
    pub(crate) since: Micros,
    /// When it was last said.
    pub(crate) observed_at: Micros,
}

const FINDING: &str = "device_id, plugin_id, rule, verdict, severity, title, message, evidence, remedies, grace_until, since, observed_at";

fn finding(row: &Row) -> Result<KeptFinding> {
    Ok(KeptFinding {
        device: DeviceId(row.uuid(0)?),
        plugin: row.text(1)?,
        rule: row.text(2)?,
        verdict: RuleVerdict::from_word(&row.text(3)?).unwrap_or(RuleVerdict::Unknown),
        severity: row.text(4)?,
        title: row.text(5)?,
        message: row.text(6)?,
        evidence: row.text(7)?,
        remedies: row.text(8)?,
        grace_until: row.opt_int(9)?,
        since: row.int(10)?,
        observed_at: row.int(11)?,
    })
}

const ASSESSMENT: &str = "plugin_id, hook, tenant_id, device_id, stamp, revision, assessed_at, due_at, attempts, error, call_id, device";

fn assessment(row: &Row) -> Result<Assessment> {
    Ok(Assessment {
        plugin: row.text(0)?,
        hook: row.text(1)?,
        tenant: TenantId(row.uuid(2)?),
        device: DeviceId(row.uuid(3)?),
        stamp: row.text(4)?,
        revision: row.int(5)?,
        assessed_at: row.int(6)?,
        due_at: row.int(7)?,
        attempts: row.int(8)?,
        error: row.opt_text(9)?,
        call_id: row.text(10)?,
        snapshot: row.text(11)?,
    })
}

/// Some enrolled devices that are due, of one tenant or of all.
pub(crate) async fn due(
    tx: &mut Tx,
    plugin: &str,
    hook: &str,
    tenant: Option<TenantId>,
    stamp: &str,
    now: Micros,
    limit: i64,
) -> Result<Vec<Due>> {
    let sql = |only: &str| {
        format!(
            "SELECT d.tenant_id, d.id, e.id, COALESCE(a.attempts, 0)
             FROM device d JOIN enrollment e ON e.device_id = d.id AND e.user_key = '' AND e.state = ?
             LEFT JOIN assessment a ON a.plugin_id = ? AND a.hook = ? AND a.device_id = d.id
             WHERE (a.device_id IS NULL OR a.revision <> d.revision OR a.stamp <> ? OR a.due_at <= ?) {only}
             LIMIT ?"
        )
    };
    let enabled = EnrollmentState::Enabled.code();
    let rows = match tenant {
        Some(tenant) => {
            let sql = sql("AND d.tenant_id = ?");
            let args = args![enabled, plugin, hook, stamp, now, tenant, limit];
            tx.query(&sql, args).await?
        }
        None => {
            let args = args![enabled, plugin, hook, stamp, now, limit];
            tx.query(&sql(""), args).await?
        }
    };
    rows.iter()
        .map(|row| {
            Ok(Due {
                tenant: TenantId(row.uuid(0)?),
                device: DeviceId(row.uuid(1)?),
                enrollment: EnrollmentId(row.uuid(2)?),
                attempts: row.int(3)?,
            })
        })
        .collect()
}

/// Writes what was asked in the place of what was asked before. The caller holds the lock of the device's head row.
pub(crate) async fn keep(tx: &mut Tx, of: &Assessment) -> Result<()> {
    tx.execute(
        "INSERT INTO assessment (plugin_id, hook, device_id, tenant_id, stamp, revision, assessed_at, due_at, attempts,
                                 state, error, call_id, device)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
         ON CONFLICT (plugin_id, hook, device_id) DO UPDATE SET stamp = excluded.stamp, revision = excluded.revision,
            assessed_at = excluded.assessed_at, due_at = excluded.due_at, attempts = excluded.attempts,
            state = excluded.state, error = excluded.error, call_id = excluded.call_id, device = excluded.device",
        args![
            of.plugin.as_str(),
            of.hook.as_str(),
            of.device,
            of.tenant,
            of.stamp.as_str(),
            of.revision,
            of.assessed_at,
            of.due_at,
            of.attempts,
            i64::from(of.error.is_some()),
            of.error.clone(),
            of.call_id.as_str(),
            of.snapshot.as_str()
        ],
    )
    .await?;
    Ok(())
}

/// What a plugin's rules say of a device, by rule.
pub(crate) async fn findings(
    tx: &mut Tx,
    device: DeviceId,
    plugin: &str,
) -> Result<BTreeMap<String, KeptFinding>> {
    let sql = format!("SELECT {FINDING} FROM finding WHERE device_id = ? AND plugin_id = ?");
    let rows = tx.query(&sql, args![device, plugin]).await?;
    rows.iter()
        .map(|row| finding(row).map(|finding| (finding.rule.clone(), finding)))
        .collect()
}

/// Writes a finding in the place of the one that is there.
pub(crate) async fn put_finding(tx: &mut Tx, tenant: TenantId, of: &KeptFinding) -> Result<()> {
    tx.execute(
        "INSERT INTO finding (device_id, plugin_id, rule, tenant_id, verdict, severity, title, message, evidence, remedies,
                              grace_until, since, observed_at)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
         ON CONFLICT (device_id, plugin_id, rule) DO UPDATE SET verdict = excluded.verdict, severity = excluded.severity,
            title = excluded.title, message = excluded.message, evidence = excluded.evidence,
            remedies = excluded.remedies, grace_until = excluded.grace_until, since = excluded.since,
            observed_at = excluded.observed_at",
        args![
            of.device,
            of.plugin.as_str(),
            of.rule.as_str(),
            tenant,
            of.verdict.as_str(),
            of.severity.as_str(),
            of.title.as_str(),
            of.message.as_str(),
            of.evidence.as_str(),
            of.remedies.as_str(),
            of.grace_until,
            of.since,
            of.observed_at
        ],
    )
    .await?;
    Ok(())
}

/// Takes a finding away.
pub(crate) async fn drop_finding(
    tx: &mut Tx,
    device: DeviceId,
    plugin: &str,
    rule: &str,
) -> Result<()> {
    tx.execute(
        "DELETE FROM finding WHERE device_id = ? AND plugin_id = ? AND rule = ?",
        args![device, plugin, rule],
    )
    .await?;
    Ok(())
}

/// The declarations that a plugin has for a device: their tokens, by identifier.
pub(crate) async fn contributed(
    tx: &mut Tx,
    device: DeviceId,
    plugin: &str,
) -> Result<BTreeMap<String, String>> {
    let rows = tx
        .query(
            "SELECT identifier, server_token FROM contribution WHERE device_id = ? AND plugin_id = ?",
            args![device, plugin],
        )
        .await?;
    rows.iter()
        .map(|row| Ok((row.text(0)?, row.text(1)?)))
        .collect()
}

/// Writes a declaration in the place of the one with its identifier.
pub(crate) async fn put_contribution(
    tx: &mut Tx,
    now: Micros,
    (tenant, device, plugin): (TenantId, DeviceId, &str),
    declaration: &Declaration,
    token: &str,
) -> Result<()> {
    tx.execute(
        "INSERT INTO contribution (device_id, identifier, plugin_id, tenant_id, kind, payload, server_token, changed_at)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?)
         ON CONFLICT (device_id, identifier) DO UPDATE SET plugin_id = excluded.plugin_id, kind = excluded.kind,
            payload = excluded.payload, server_token = excluded.server_token, changed_at = excluded.changed_at",
        args![
            device,
            declaration.identifier.as_str(),
            plugin,
            tenant,
            declaration.kind.as_str(),
            declaration.payload.to_string(),
            token,
            now
        ],
    )
    .await?;
    Ok(())
}

/// Takes a declaration away.
pub(crate) async fn drop_contribution(
    tx: &mut Tx,
    device: DeviceId,
    plugin: &str,
    identifier: &str,
) -> Result<()> {
    tx.execute(
        "DELETE FROM contribution WHERE device_id = ? AND plugin_id = ? AND identifier = ?",
        args![device, plugin, identifier],
    )
    .await?;
    Ok(())
}

/// A declaration as it is kept.
#[derive(Clone, Debug)]
pub(crate) struct KeptDeclaration {
    pub(crate) plugin: String,
    pub(crate) identifier: String,
    pub(crate) kind: String,
    pub(crate) payload: String,
    pub(crate) server_token: String,
    pub(crate) changed_at: Micros,
}

/// Which findings are wanted; none: any.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wanted {
    pub(crate) verdict: Option<RuleVerdict>,
    pub(crate) plugin: Option<String>,
    pub(crate) rule: Option<String>,
}

impl Store {
    /// The findings of a device, by plugin and rule.
    pub(crate) async fn device_findings(&self, device: DeviceId) -> Result<Vec<KeptFinding>> {
        let mut tx = self.begin_read().await?;
        let sql =
            format!("SELECT {FINDING} FROM finding WHERE device_id = ? ORDER BY plugin_id, rule");
        let rows = tx.query(&sql, args![device]).await?;
        tx.rollback().await?;
        rows.iter().map(finding).collect()
    }

    /// Findings of a tenant by device, plugin and rule, from this device on.
    pub(crate) async fn tenant_findings(
        &self,
        tenant: TenantId,
        wanted: &Wanted,
        from: DeviceId,
        limit: i64,
    ) -> Result<Vec<KeptFinding>> {
        let mut sql =
            format!("SELECT {FINDING} FROM finding WHERE tenant_id = ? AND device_id >= ?");
        let mut values = args![tenant, from];
        for (column, value) in [
            ("verdict", wanted.verdict.map(RuleVerdict::as_str)),
            ("plugin_id", wanted.plugin.as_deref()),
            ("rule", wanted.rule.as_deref()),
        ] {
            if let Some(value) = value {
                sql.push_str(&format!(" AND {column} = ?"));
                values.push(sql::Arg::from(value));
            }
        }
        sql.push_str(" ORDER BY device_id, plugin_id, rule LIMIT ?");
        values.push(sql::Arg::from(limit));
        let mut tx = self.begin_read().await?;
        let rows = tx.query(&sql, values).await?;
        tx.rollback().await?;
        rows.iter().map(finding).collect()
    }

    /// What was asked about a device.
    pub(crate) async fn assessments(&self, device: DeviceId) -> Result<Vec<Assessment>> {
        let mut tx = self.begin_read().await?;
        let sql = format!(
            "SELECT {ASSESSMENT} FROM assessment WHERE device_id = ? ORDER BY plugin_id, hook"
        );
        let rows = tx.query(&sql, args![device]).await?;
        tx.rollback().await?;
        rows.iter().map(assessment).collect()
    }

    /// The declarations that plugins have for a device.
    pub(crate) async fn contributions(&self, device: DeviceId) -> Result<Vec<KeptDeclaration>> {
        let mut tx = self.begin_read().await?;
        let rows = tx
            .query(
                "SELECT plugin_id, identifier, kind, payload, server_token, changed_at FROM contribution
                 WHERE device_id = ? ORDER BY identifier",
                args![device],
            )
            .await?;
        tx.rollback().await?;
        rows.iter()
            .map(|row| {
                Ok(KeptDeclaration {
                    plugin: row.text(0)?,
                    identifier: row.text(1)?,
                    kind: row.text(2)?,
                    payload: row.text(3)?,
                    server_token: row.text(4)?,
                    changed_at: row.int(5)?,
                })
            })
            .collect()
    }
}

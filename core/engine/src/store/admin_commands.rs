//! Reads commands and their deliveries for administration.
//!
//! Owns: the queries over the open queue and the history together. Always within one tenant.

use std::collections::{BTreeMap, HashMap};

use sea_orm::sea_query::{Query, SelectStatement};
use sea_orm::{ColumnTrait, Condition, EntityTrait, QueryFilter, QueryOrder, QuerySelect};
use uuid::Uuid;

use super::Store;
use super::entity::{command, delivery};
use super::sql::{Arg, Column, Row, args};
use crate::admin::targets::Candidate;
use crate::clock::{DAY, Micros};
use crate::enrollment::EnrollmentState;
use crate::error::Result;
use crate::ids::{CommandId, DeviceId, EnrollmentId, TenantId};

/// A delivery finishes after its command was made; nodes' clocks are not further apart than this. It lets PostgreSQL leave
/// out the partitions of earlier months.
const CLOCKS_APART: Micros = DAY;

/// Which commands, before which.
#[derive(Clone, Debug, Default)]
pub(crate) struct CommandFilter {
    pub(crate) request_type: Option<String>,
    pub(crate) open: Option<bool>,
    pub(crate) since: Option<Micros>,
    pub(crate) before: Option<Uuid>,
}

/// How many deliveries of a command are how far. Of the finished ones, what counts is how they were finished:
/// an answer that came after a withdrawal does not make it acknowledged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// By state: queued, sent, NotNow.
    pub(crate) open: [i64; 3],
    pub(crate) acknowledged: i64,
    pub(crate) failed: i64,
    pub(crate) cancelled: i64,
    pub(crate) withdrawn: i64,
    pub(crate) expired: i64,
}

/// A delivery of either table.
#[derive(Clone, Debug)]
pub(crate) struct DeliveryRow {
    pub(crate) enrollment: EnrollmentId,
    pub(crate) seq: i64,
    pub(crate) device: DeviceId,
    pub(crate) command: CommandId,
    pub(crate) command_uuid: String,
    pub(crate) request_type: String,
    pub(crate) state: i64,
    pub(crate) reason: Option<String>,
    pub(crate) outcome: i64,
    pub(crate) outcome_at: Option<Micros>,
    pub(crate) error_chain: Option<String>,
    pub(crate) sends: i64,
    pub(crate) not_now_count: i64,
    pub(crate) first_sent_at: Option<Micros>,
    pub(crate) last_sent_at: Option<Micros>,
    pub(crate) created_at: Micros,
    pub(crate) finished_at: Option<Micros>,
}

const OPEN: &str = "SELECT d.enrollment_id, d.seq, d.device_id, d.command_id, d.command_uuid, d.request_type,
        d.state AS state, NULL AS reason, 0 AS outcome, NULL AS outcome_at, NULL AS error_chain, d.sends,
        d.notnow_count, d.first_sent_at, d.last_sent_at, d.created_at, NULL AS finished_at
    FROM delivery d";
const FINISHED: &str =
    "SELECT d.enrollment_id, d.seq, d.device_id, d.command_id, d.command_uuid, d.request_type,
        d.disposition AS state, d.reason, d.outcome, d.outcome_at, d.error_chain, d.sends,
        d.notnow_count, d.first_sent_at, d.last_sent_at, d.created_at, d.finished_at
    FROM delivery_history d";
/// Follows either, to read by command.
const OF_COMMAND: &str =
    "JOIN command_target t ON t.enrollment_id = d.enrollment_id AND t.seq = d.seq
    WHERE t.command_id = ? AND d.tenant_id = ?";

fn delivery_row(row: &Row) -> Result<DeliveryRow> {
    Ok(DeliveryRow {
        enrollment: EnrollmentId(row.uuid(0)?),
        seq: row.int(1)?,
        device: DeviceId(row.uuid(2)?),
        command: CommandId(row.uuid(3)?),
        command_uuid: row.text(4)?,
        request_type: row.text(5)?,
        state: row.int(6)?,
        reason: row.opt_text(7)?,
        outcome: row.int(8)?,
        outcome_at: row.opt_int(9)?,
        error_chain: row.opt_text(10)?,
        sends: row.int(11)?,
        not_now_count: row.int(12)?,
        first_sent_at: row.opt_int(13)?,
        last_sent_at: row.opt_int(14)?,
        created_at: row.int(15)?,
        finished_at: row.opt_int(16)?,
    })
}

impl Store {
    /// Commands of a tenant, the newest first.
    pub(crate) async fn command_page(
        &self,
        tenant: TenantId,
        filter: &CommandFilter,
        limit: u64,
    ) -> Result<Vec<command::Model>> {
        let mut all = Condition::all().add(command::Column::TenantId.eq(tenant.0));
        if let Some(kind) = &filter.request_type {
            all = all.add(command::Column::RequestType.eq(kind.as_str()));
        }
        if let Some(since) = filter.since {
            all = all.add(command::Column::CreatedAt.gte(since));
        }
        if let Some(before) = filter.before {
            all = all.add(command::Column::Id.lt(before));
        }
        match filter.open {
            None => {}
            Some(true) => {
                all = all.add(command::Column::Id.in_subquery(open_commands(tenant)));
            }
            Some(false) => {
                all = all.add(command::Column::Id.not_in_subquery(open_commands(tenant)));
            }
        }
        Ok(command::Entity::find()
            .filter(all)
            .order_by_desc(command::Column::Id)
            .limit(limit)
            .all(self.orm())
            .await?)
    }

    /// The command with this id or `CommandUUID`; of several with one UUID the newest.
    pub(crate) async fn find_command(
        &self,
        tenant: TenantId,
        name: &str,
    ) -> Result<Option<command::Model>> {
        let ours = || command::Entity::find().filter(command::Column::TenantId.eq(tenant.0));
        if let Ok(id) = Uuid::parse_str(name) {
            let row = ours()
                .filter(command::Column::Id.eq(id))
                .one(self.orm())
                .await?;
            if row.is_some() {
                return Ok(row);
            }
        }
        Ok(ours()
            .filter(command::Column::CommandUuid.eq(name))
            .order_by_desc(command::Column::Id)
            .one(self.orm())
            .await?)
    }

    /// How far the deliveries of each command are.
    pub(crate) async fn command_counts(
        &self,
        commands: Vec<Uuid>,
    ) -> Result<HashMap<Uuid, Counts>> {
        let mut counts: HashMap<Uuid, Counts> = HashMap::new();
        if commands.is_empty() {
            return Ok(counts);
        }
        let wanted = || vec![("id", Column::Uuid(commands.clone()))];
        let mut tx = self.begin_read().await?;
        let open = tx
            .query_over(
                wanted(),
                "SELECT t.command_id, d.state, count(*) FROM i JOIN command_target t ON t.command_id = i.id
                 JOIN delivery d ON d.enrollment_id = t.enrollment_id AND d.seq = t.seq
                 GROUP BY t.command_id, d.state",
                args![],
            )
            .await?;
        let finished = tx
            .query_over(
                wanted(),
                "SELECT t.command_id, d.disposition, d.outcome, count(*)
                 FROM i JOIN command c ON c.id = i.id JOIN command_target t ON t.command_id = c.id
                 JOIN delivery_history d ON d.enrollment_id = t.enrollment_id AND d.seq = t.seq
                   AND d.finished_at >= c.created_at - ?
                 GROUP BY t.command_id, d.disposition, d.outcome",
                args![CLOCKS_APART],
            )
            .await?;
        tx.rollback().await?;
        for row in open {
            let state = usize::try_from(row.int(1)?).unwrap_or_default();
            let counts = counts.entry(row.uuid(0)?).or_default();
            if let Some(open) = counts.open.get_mut(state) {
                *open += row.int(2)?;
            }
        }
        for row in finished {
            let counts = counts.entry(row.uuid(0)?).or_default();
            let counter = match (row.int(1)?, row.int(2)?) {
                (3, 1) => &mut counts.acknowledged,
                (3, _) => &mut counts.failed,
                (4, _) => &mut counts.cancelled,
                (5, _) => &mut counts.withdrawn,
                _ => &mut counts.expired,
            };
            *counter += row.int(3)?;
        }
        Ok(counts)
    }

    /// The deliveries of a command in the order of their channels.
    pub(crate) async fn deliveries_of_command(
        &self,
        tenant: TenantId,
        command: Uuid,
        after: Option<Uuid>,
        limit: u64,
    ) -> Result<Vec<DeliveryRow>> {
        let which = format!("{OF_COMMAND} AND t.enrollment_id > ?");
        let after = after.unwrap_or(Uuid::nil());
        let half = || args![command, tenant, after];
        let sql = format!("{OPEN} {which} UNION ALL {FINISHED} {which} ORDER BY 1 LIMIT ?");
        let mut all = half();
        all.extend(half());
        all.push(Arg::Int(i64::try_from(limit).unwrap_or(i64::MAX)));
        self.delivery_rows(&sql, all).await
    }

    /// The delivery of a command to one channel.
    pub(crate) async fn delivery_of_command(
        &self,
        tenant: TenantId,
        command: Uuid,
        enrollment: EnrollmentId,
    ) -> Result<Option<DeliveryRow>> {
        let which = format!("{OF_COMMAND} AND t.enrollment_id = ?");
        let half = || args![command, tenant, enrollment];
        let sql = format!("{OPEN} {which} UNION ALL {FINISHED} {which} LIMIT 1");
        let mut all = half();
        all.extend(half());
        Ok(self.delivery_rows(&sql, all).await?.into_iter().next())
    }

    /// The deliveries of a device, the newest first.
    pub(crate) async fn deliveries_of_device(
        &self,
        tenant: TenantId,
        device: DeviceId,
        open: Option<bool>,
        before: Option<(Micros, Uuid, i64)>,
        limit: u64,
    ) -> Result<Vec<DeliveryRow>> {
        let which = "WHERE d.enrollment_id IN (SELECT id FROM enrollment WHERE device_id = ?) AND d.tenant_id = ?
                     AND (d.created_at < ? OR (d.created_at = ?
                          AND (d.enrollment_id < ? OR (d.enrollment_id = ? AND d.seq < ?))))";
        let (number, id, seq) = before.unwrap_or((i64::MAX, Uuid::max(), i64::MAX));
        let half = || args![device, tenant, number, number, id, id, seq];
        let (sql, mut all) = match open {
            Some(true) => (format!("{OPEN} {which}"), half()),
            Some(false) => (format!("{FINISHED} {which}"), half()),
            None => {
                let mut all = half();
                all.extend(half());
                (format!("{OPEN} {which} UNION ALL {FINISHED} {which}"), all)
            }
        };
        let sql = format!("{sql} ORDER BY created_at DESC, enrollment_id DESC, seq DESC LIMIT ?");
        all.push(Arg::Int(i64::try_from(limit).unwrap_or(i64::MAX)));
        self.delivery_rows(&sql, all).await
    }

    async fn delivery_rows(&self, sql: &str, args: Vec<Arg>) -> Result<Vec<DeliveryRow>> {
        let mut tx = self.begin_read().await?;
        let rows = tx.query(sql, args).await?;
        tx.rollback().await?;
        rows.iter().map(delivery_row).collect()
    }

    /// The sealed report of a finished delivery: none when there is none, `Some(None)` when it has more than `most` bytes.
    pub(crate) async fn sealed_report(
        &self,
        enrollment: EnrollmentId,
        seq: i64,
        most: usize,
    ) -> Result<Option<Option<Vec<u8>>>> {
        let mut tx = self.begin_read().await?;
        let which = "FROM delivery_history WHERE enrollment_id = ? AND seq = ?";
        let size = tx
            .query_one(
                &format!("SELECT CAST(length(report_sealed) AS bigint) {which}"),
                args![enrollment, seq],
            )
            .await?;
        let size = match size {
            Some(row) => row.opt_int(0)?,
            None => None,
        };
        let Some(size) = size else {
            tx.rollback().await?;
            return Ok(None);
        };
        if usize::try_from(size).unwrap_or(usize::MAX) > most {
            tx.rollback().await?;
            return Ok(Some(None));
        }
        let row = tx
            .query_one(
                &format!("SELECT report_sealed {which}"),
                args![enrollment, seq],
            )
            .await?;
        tx.rollback().await?;
        Ok(match row {
            Some(row) => row.opt_bytes(0)?.map(Some),
            None => None,
        })
    }

    /// The channels of devices, as far as choosing one needs it.
    pub(crate) async fn channels_of(
        &self,
        tenant: TenantId,
        devices: &[DeviceId],
    ) -> Result<BTreeMap<DeviceId, Vec<Candidate>>> {
        let ids = Column::Uuid(devices.iter().map(|device| device.0).collect());
        let mut tx = self.begin_read().await?;
        let rows = tx
            .query_over(
                vec![("id", ids)],
                "SELECT e.device_id, e.id, e.state, e.user_key, e.user_short_name
                 FROM i JOIN enrollment e ON e.device_id = i.id WHERE e.tenant_id = ?",
                args![tenant],
            )
            .await?;
        tx.rollback().await?;
        let mut channels: BTreeMap<DeviceId, Vec<Candidate>> = BTreeMap::new();
        for row in rows {
            let candidate = Candidate {
                enrollment: EnrollmentId(row.uuid(1)?),
                state: EnrollmentState::from_code(row.int(2)?),
                user_key: row.text(3)?,
                short_name: row.opt_text(4)?,
            };
            channels
                .entry(DeviceId(row.uuid(0)?))
                .or_default()
                .push(candidate);
        }
        Ok(channels)
    }
}

/// The commands that are open anywhere. The open queue is what is small here: a finished command may have thousands of
/// targets.
fn open_commands(tenant: TenantId) -> SelectStatement {
    Query::select()
        .column(delivery::Column::CommandId)
        .from(delivery::Entity)
        .and_where(delivery::Column::TenantId.eq(tenant.0))
        .to_owned()
}

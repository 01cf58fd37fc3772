//! The rows that say when plugins are asked.
//!
//! Owns: those rows, each change in one transaction with its audit record. Sorts nothing.

use std::collections::HashMap;

use serde_json::json;

use super::plugins::{self, operator};
use super::sql::args;
use super::{Store, admin_audit};
use crate::actor::Actor;
use crate::admin::plugin_order::{Phase, PluginOrder};
use crate::error::{Error, Result};

impl Store {
    /// The places of those plugins that have one of their own.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the database does not answer.
    pub async fn plugin_orders(&self) -> Result<HashMap<String, PluginOrder>> {
        let mut tx = self.begin_read().await?;
        let sql = "SELECT plugin_id, phase, priority FROM plugin_order";
        let rows = tx.query(sql, args![]).await?;
        tx.rollback().await?;
        rows.iter()
            .map(|row| {
                let order = PluginOrder {
                    phase: Phase::from_number(row.int(1)?),
                    priority: row.int(2)?,
                };
                Ok((row.text(0)?, order))
            })
            .collect()
    }

    /// Sets the place of an installed plugin.
    pub(crate) async fn order_plugin(
        &self,
        actor: Actor,
        id: &str,
        order: PluginOrder,
    ) -> Result<()> {
        let now = self.clock().now();
        let mut tx = self.begin().await?;
        plugins::lock(&mut tx, id)
            .await?
            .ok_or(Error::NotFound("the plugin"))?;
        let sql = "SELECT phase, priority FROM plugin_order WHERE plugin_id = ?";
        let row = tx.query_one(sql, args![id]).await?;
        let before = match row {
            Some(row) => PluginOrder {
                phase: Phase::from_number(row.int(0)?),
                priority: row.int(1)?,
            },
            None => PluginOrder::default(),
        };
        tx.execute(
            "INSERT INTO plugin_order (plugin_id, phase, priority) VALUES (?, ?, ?)
             ON CONFLICT (plugin_id) DO UPDATE SET phase = excluded.phase, priority = excluded.priority",
            args![id, order.phase.number(), order.priority],
        )
        .await?;
        let entry = operator(
            actor,
            "plugin.order",
            id,
            json!({ "order": order, "before": before }),
        );
        admin_audit::append(&mut tx, now, entry).await?;
        tx.commit().await
    }
}

//! A long history, written by SQL while the server is down.
//!
//! Owns the one statement for each back end. The rows look like answered commands of the past; their sequence numbers are
//! negative, so that none meets a real one.

use anyhow::{Context, Result, bail};
use pomona_tests::{BackEnd, TestDatabase};

/// Gives every device channel `entries` finished commands, the newest a minute old.
pub(super) fn fill(database: &TestDatabase, entries: usize) -> Result<()> {
    let (numbers, now, zeros, id) = match database.back_end() {
        BackEnd::Sqlite => (
            format!(
                "(with recursive n(n) as (select 1 union all select n + 1 from n where n < {entries}) select n from n)"
            ),
            "cast(strftime('%s','now') as integer) * 1000000",
            "zeroblob(32)",
            "cast(printf('%016d', n.n) as blob)",
        ),
        BackEnd::Postgres => (
            format!("(select n from generate_series(1, {entries}) n)"),
            "(extract(epoch from now()) * 1000000)::bigint",
            "decode(repeat('00', 32), 'hex')",
            "lpad(n.n::text, 32, '0')::uuid",
        ),
    };
    let sql = format!(
        "insert into delivery_history (enrollment_id, seq, finished_at, tenant_id, device_id, command_id, command_uuid, \
         request_type, body_hash, priority, disposition, reason, outcome, outcome_at, report_hash, report_sealed, \
         error_chain, sends, notnow_count, first_sent_at, last_sent_at, created_at) \
         select e.id, -n.n, {now} - 60000000 - n.n * 1000, e.tenant_id, e.device_id, {id}, 'history-' || n.n, \
         'DeviceInformation', {zeros}, 0, 3, null, 1, {now} - 60000000 - n.n * 1000, {zeros}, null, \
         null, 1, 0, {now} - 61000000, {now} - 61000000, {now} - 62000000 \
         from enrollment e cross join {numbers} n where e.channel = 0"
    );
    database.query(&sql).context("fill the history")?;
    let sql = format!(
        "insert into command (id, tenant_id, command_uuid, request_type, body_hash, priority, not_before, actor_kind, \
         cause, correlation_id, depth, break_glass, targets, created_at) \
         select {id}, t.id, 'history-' || n.n, 'DeviceInformation', {zeros}, 0, 0, 'person', '', {id}, 0, 0, 1, \
         {now} - 62000000 from tenant t cross join {numbers} n"
    );
    database.query(&sql).context("fill the commands")?;
    let sql = format!(
        "insert into command_target (command_id, enrollment_id, seq, tenant_id) \
         select {id}, e.id, -n.n, e.tenant_id from {numbers} n cross join enrollment e where e.channel = 0"
    );
    database.query(&sql).context("fill the targets")?;
    if database.back_end() == BackEnd::Postgres {
        // As the server's own housekeeping would have done long since.
        database
            .query("vacuum analyze")
            .context("refresh the statistics")?;
    }
    let rows = database.query("select count(*) from delivery_history")?;
    let count = rows.first().and_then(|row| row.first());
    if !count.is_some_and(|count| count.parse::<usize>().is_ok_and(|count| count >= entries)) {
        bail!("the history was not filled: {count:?} rows");
    }
    Ok(())
}

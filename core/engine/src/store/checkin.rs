//! The statements of enrollment: what a check-in reads, and how it changes devices and enrollments.
//!
//! Owns: every write to `enrollment`; certificates are changed in `certificates`. All of it runs under the lock of the
//! device's head row, inside the writer's transaction. Decides nothing; the rules are in `enrollment`. Long, since
//! each check-in has its few statements, and they share the rows they are about.

use super::hot::{self, Ask, Delivery, Leaving};
use super::sql::{Batch, Row, Tx, args};
use super::upkeep;
use crate::clock::Micros;
use crate::enrollment::{Certificate, CertificateState, Current, Device, EnrollmentState, Origin};
use crate::error::Result;
use crate::ids::{CertificateId, DeviceId, EnrollmentId, GrantId, TenantId};
use crate::queue;

/// Everything that the rules need to judge a check-in.
#[derive(Debug, Default)]
pub(crate) struct Scene {
    pub(crate) certificate: Option<Certificate>,
    pub(crate) grant: Option<GrantId>,
    pub(crate) certificate_device: Option<DeviceId>,
    /// The identifiers in the body are those of the certificate's device; true while it is not bound.
    pub(crate) same_device: bool,
    /// The grant names exactly the device that the body names.
    pub(crate) names_device: bool,
    pub(crate) not_after: Micros,
    /// The device that the body names.
    pub(crate) device: Option<DeviceId>,
    pub(crate) facts: Device,
    /// The enrollment that the certificate is bound to.
    pub(crate) holder: Option<HolderRow>,
}

/// The enrollment that a certificate is bound to.
#[derive(Clone, Debug)]
pub(crate) struct HolderRow {
    pub(crate) id: EnrollmentId,
    pub(crate) generation: i64,
    pub(crate) state: EnrollmentState,
    pub(crate) topic: Option<String>,
}

/// Loads the scene of one check-in. `serial_number` is what an Authenticate claims.
pub(crate) async fn scene(
    tx: &mut Tx,
    now: Micros,
    ask: &Ask,
    serial_number: Option<&str>,
) -> Result<Scene> {
    let mut scene = Scene::default();
    if let Some(row) = tx
        .query_one(
            "SELECT c.id, c.state, c.device_id, c.enrollment_id, c.not_after, g.id, g.kind, g.device_ident,
                    g.device_serial, g.enrollment_id, g.expires_at, g.ended_at, v.ident_kind, v.ident,
                    p.generation, p.state, p.topic, rv.ident_kind, rv.ident
             FROM certificate c
             JOIN identity_grant g ON g.id = c.grant_id
             LEFT JOIN device v ON v.id = c.device_id
             LEFT JOIN enrollment p ON p.id = c.enrollment_id
             LEFT JOIN enrollment r ON r.id = g.enrollment_id
             LEFT JOIN device rv ON rv.id = r.device_id
             WHERE c.tenant_id = ? AND c.fingerprint = ?",
            args![ask.tenant, ask.fingerprint],
        )
        .await?
    {
        read_certificate(&row, now, ask, serial_number, &mut scene)?;
    }
    let Some(row) = tx
        .query_one(
            "SELECT d.id, d.left_at FROM device d
             WHERE d.tenant_id = ? AND d.ident_kind = ? AND d.ident = ?",
            args![ask.tenant, ask.ident_kind, ask.ident.as_str()],
        )
        .await?
    else {
        return Ok(scene);
    };
    let device = DeviceId(row.uuid(0)?);
    scene.device = Some(device);
    scene.facts.known = true;
    scene.facts.left_at = row.opt_int(1)?;
    let rows = tx
        .query(
            // Heard of on any channel of the generation, by a report or by a new token.
            "SELECT e.id, e.generation, e.state,
                    (SELECT max(CASE WHEN u.token_updated_at > ch.last_seen_at THEN u.token_updated_at
                                     ELSE ch.last_seen_at END)
                     FROM enrollment u JOIN channel ch ON ch.enrollment_id = u.id
                     WHERE u.device_id = e.device_id AND u.generation = e.generation)
             FROM enrollment e WHERE e.device_id = ? AND e.channel = 0 ORDER BY e.generation",
            args![device],
        )
        .await?;
    for row in rows {
        let current = Current {
            id: EnrollmentId(row.uuid(0)?),
            generation: row.int(1)?,
            state: EnrollmentState::from_code(row.int(2)?),
        };
        scene.facts.generation = scene.facts.generation.max(current.generation);
        if current.state == EnrollmentState::Enabled {
            scene.facts.last_seen_at = row.opt_int(3)?;
        }
        if current.state != EnrollmentState::Ended {
            scene.facts.current.push(current);
        }
    }
    Ok(scene)
}

fn read_certificate(
    row: &Row,
    now: Micros,
    ask: &Ask,
    serial_number: Option<&str>,
    scene: &mut Scene,
) -> Result<()> {
    let named_ident = row.opt_text(7)?;
    let named_serial = row.opt_text(8)?;
    let renewal = row.text(6)? == "renewal";
    let origin = match (renewal, row.opt_uuid(9)?) {
        (true, Some(enrollment)) => Origin::Renewal {
            enrollment: EnrollmentId(enrollment),
        },
        _ => Origin::Enrollment {
            ident: named_ident.clone(),
            serial_number: named_serial.clone(),
        },
    };
    let is_claimed = |kind: Option<i64>, ident: Option<String>| {
        kind == Some(ask.ident_kind) && ident.as_deref() == Some(ask.ident.as_str())
    };
    scene.grant = Some(GrantId(row.uuid(5)?));
    scene.certificate_device = row.opt_uuid(2)?.map(DeviceId);
    scene.same_device = if scene.certificate_device.is_some() {
        is_claimed(row.opt_int(12)?, row.opt_text(13)?)
    } else if renewal {
        is_claimed(row.opt_int(17)?, row.opt_text(18)?)
    } else {
        true
    };
    scene.names_device = match (&named_ident, &named_serial) {
        (None, None) => false,
        (ident, serial) => {
            ident
                .as_deref()
                .is_none_or(|ident| ident.eq_ignore_ascii_case(&ask.ident))
                && serial
                    .as_deref()
                    .is_none_or(|serial| serial_number == Some(serial))
        }
    };
    scene.not_after = row.int(4)?;
    scene.certificate = Some(Certificate {
        id: CertificateId(row.uuid(0)?),
        state: CertificateState::from_code(row.int(1)?),
        origin,
        grant_open: row.opt_int(11)?.is_none() && row.int(10)? > now,
        enrollment: row.opt_uuid(3)?.map(EnrollmentId),
    });
    if let (Some(id), Some(generation), Some(state)) =
        (row.opt_uuid(3)?, row.opt_int(14)?, row.opt_int(15)?)
    {
        scene.holder = Some(HolderRow {
            id: EnrollmentId(id),
            generation,
            state: EnrollmentState::from_code(state),
            topic: row.opt_text(16)?,
        });
    }
    Ok(())
}

/// Makes the device and its head row.
pub(crate) async fn create_device(
    tx: &mut Tx,
    now: Micros,
    ask: &Ask,
    device: DeviceId,
) -> Result<()> {
    tx.execute(
        "INSERT INTO device (id, tenant_id, ident_kind, ident, created_at, revision) VALUES (?, ?, ?, ?, ?, 1)",
        args![device, ask.tenant, ask.ident_kind, ask.ident.as_str(), now],
    )
    .await?;
    tx.execute(
        "INSERT INTO device_head (device_id, tenant_id, event_seq) VALUES (?, ?, 0)",
        args![device, ask.tenant],
    )
    .await?;
    Ok(())
}

/// What a device says of itself when it authenticates.
#[derive(Clone, Debug, Default)]
pub(crate) struct Traits {
    pub(crate) serial_number: Option<String>,
    pub(crate) device_name: Option<String>,
    pub(crate) model: Option<String>,
    pub(crate) product_name: Option<String>,
    pub(crate) os_version: Option<String>,
    pub(crate) build_version: Option<String>,
}

/// Writes what the device says of itself; what it leaves out stays.
pub(crate) async fn describe_device(tx: &mut Tx, device: DeviceId, traits: &Traits) -> Result<()> {
    tx.execute(
        "UPDATE device SET serial_number = COALESCE(?, serial_number), device_name = COALESCE(?, device_name),
            model = COALESCE(?, model), product_name = COALESCE(?, product_name),
            os_version = COALESCE(?, os_version), build_version = COALESCE(?, build_version),
            footing = footing + 1, revision = revision + 1 WHERE id = ?",
        args![
            traits.serial_number.clone(),
            traits.device_name.clone(),
            traits.model.clone(),
            traits.product_name.clone(),
            traits.os_version.clone(),
            traits.build_version.clone(),
            device
        ],
    )
    .await?;
    Ok(())
}

/// A new enrollment of a channel.
#[derive(Clone, Debug)]
pub(crate) struct NewEnrollment<'a> {
    pub(crate) id: EnrollmentId,
    pub(crate) tenant: TenantId,
    pub(crate) device: DeviceId,
    pub(crate) parent: Option<EnrollmentId>,
    pub(crate) channel: i64,
    pub(crate) user_key: &'a str,
    pub(crate) generation: i64,
    pub(crate) state: EnrollmentState,
    pub(crate) grant: Option<GrantId>,
    pub(crate) topic: Option<&'a str>,
    pub(crate) authenticate_sealed: Option<Vec<u8>>,
}

/// Writes it, with its channel row.
pub(crate) async fn open_enrollment(
    tx: &mut Tx,
    now: Micros,
    new: NewEnrollment<'_>,
) -> Result<()> {
    let enabled_at = (new.state == EnrollmentState::Enabled).then_some(now);
    tx.execute(
        "INSERT INTO enrollment (id, tenant_id, device_id, parent_id, channel, user_key, generation, state, grant_id,
            topic, authenticate_sealed, created_at, enabled_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        args![
            new.id,
            new.tenant,
            new.device,
            new.parent,
            new.channel,
            new.user_key,
            new.generation,
            new.state.code(),
            new.grant,
            new.topic.map(str::to_owned),
            new.authenticate_sealed,
            now,
            enabled_at
        ],
    )
    .await?;
    tx.execute(
        "INSERT INTO channel (enrollment_id, device_id, tenant_id, next_seq, poll, sent_seq, last_seen_at,
            session_started_at, session_requests, session_commands, session_not_now)
         VALUES (?, ?, ?, 1, 0, 0, ?, 0, 0, 0, 0)",
        args![new.id, new.device, new.tenant, now],
    )
    .await?;
    if new.state == EnrollmentState::Enabled {
        upkeep::mark_channel(tx, now, new.id).await?;
    }
    Ok(())
}

/// What a `TokenUpdate` stores, sealed.
#[derive(Clone, Debug)]
pub(crate) struct Tokens {
    pub(crate) push_token: Vec<u8>,
    pub(crate) push_magic: Vec<u8>,
    pub(crate) push_token_hash: Vec<u8>,
    pub(crate) unlock_token: Option<Vec<u8>>,
    pub(crate) awaiting_configuration: Option<i64>,
    pub(crate) user_short_name: Option<String>,
    pub(crate) user_long_name: Option<String>,
    pub(crate) raw: Vec<u8>,
    pub(crate) digest: Vec<u8>,
}

/// How a `TokenUpdate` compares with those that came before in its generation (T12).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Freshness {
    /// New.
    New,
    /// The same as the one that is stored.
    Same,
    /// One that a later one has replaced: a replay.
    Stale,
}

/// Digests that are remembered of one generation.
const MAX_DIGESTS: usize = 64;
const DIGEST: usize = 16;

/// Compares, and returns the list of digests to store.
pub(crate) async fn freshness(
    tx: &mut Tx,
    enrollment: EnrollmentId,
    digest: &[u8],
) -> Result<(Freshness, Vec<u8>)> {
    let row = tx
        .query_one(
            "SELECT token_update_digests FROM enrollment WHERE id = ?",
            args![enrollment],
        )
        .await?;
    let mut known = match row {
        Some(row) => row.opt_bytes(0)?.unwrap_or_default(),
        None => Vec::new(),
    };
    let short = digest.get(..DIGEST).unwrap_or(digest);
    let latest = known.chunks(DIGEST).next_back() == Some(short);
    let seen = known.chunks(DIGEST).any(|old| old == short);
    let freshness = match (latest, seen) {
        (true, _) => Freshness::Same,
        (false, true) => Freshness::Stale,
        (false, false) => Freshness::New,
    };
    if freshness == Freshness::New {
        known.extend_from_slice(short);
        let excess = (known.len() / DIGEST).saturating_sub(MAX_DIGESTS) * DIGEST;
        known.drain(..excess);
    }
    Ok((freshness, known))
}

/// Stores tokens; what is absent stays as it is (E6).
pub(crate) async fn store_tokens(
    tx: &mut Tx,
    now: Micros,
    enrollment: EnrollmentId,
    tokens: Tokens,
) -> Result<()> {
    tx.execute(
        "UPDATE enrollment SET push_token_sealed = ?, push_magic_sealed = ?, push_token_hash = ?,
            unlock_token_sealed = COALESCE(?, unlock_token_sealed),
            awaiting_configuration = COALESCE(?, awaiting_configuration),
            user_short_name = COALESCE(?, user_short_name), user_long_name = COALESCE(?, user_long_name),
            token_update_sealed = ?, token_update_digests = ?, token_updated_at = ? WHERE id = ?",
        args![
            tokens.push_token,
            tokens.push_magic,
            tokens.push_token_hash,
            tokens.unlock_token,
            tokens.awaiting_configuration,
            tokens.user_short_name,
            tokens.user_long_name,
            tokens.raw,
            tokens.digest,
            now,
            enrollment
        ],
    )
    .await?;
    Ok(())
}

/// An enrollment becomes enabled, and the device counts as present.
pub(crate) async fn enable(
    tx: &mut Tx,
    now: Micros,
    device: DeviceId,
    enrollment: EnrollmentId,
) -> Result<()> {
    tx.execute(
        "UPDATE enrollment SET state = 2, enabled_at = ? WHERE id = ?",
        args![now, enrollment],
    )
    .await?;
    tx.execute(
        "UPDATE channel SET last_seen_at = ? WHERE enrollment_id = ?",
        args![now, enrollment],
    )
    .await?;
    tx.execute(
        "UPDATE device SET left_at = NULL, marks = 0, footing = footing + 1, revision = revision + 1 WHERE id = ?",
        args![device],
    )
    .await?;
    upkeep::mark_channel(tx, now, enrollment).await
}

/// An enrollment that has ended, for its event.
#[derive(Clone, Debug)]
pub(crate) struct EndedEnrollment {
    pub(crate) id: EnrollmentId,
    pub(crate) was: EnrollmentState,
    pub(crate) cancelled: usize,
}

/// Ends a device-channel enrollment and its user channels (E4, E7): open commands leave the queue, tokens become
/// unreadable, declarative state goes, nobody is rung any more. Certificates are the caller's.
pub(crate) async fn end_enrollment(
    tx: &mut Tx,
    now: Micros,
    tenant: TenantId,
    device: DeviceId,
    enrollment: EnrollmentId,
    reason: &str,
) -> Result<Vec<EndedEnrollment>> {
    let rows = tx
        .query(
            "SELECT id, state FROM enrollment WHERE (id = ? OR parent_id = ?) AND state <> 3",
            args![enrollment, enrollment],
        )
        .await?;
    let mut ended = Vec::new();
    for row in rows {
        let id = EnrollmentId(row.uuid(0)?);
        let open = open_deliveries(tx, id).await?;
        let cancelled = open.len();
        let leaving: Vec<Leaving> = open
            .into_iter()
            .map(|delivery| Leaving {
                tenant,
                device,
                enrollment: id,
                // What had been sent may have been run: it is never called cancelled (Q10).
                disposition: queue::cancel(&delivery.open).disposition(),
                delivery,
                reason: Some(reason.to_owned()),
                outcome: None,
                report_hash: None,
                report_sealed: None,
                error_chain: None,
            })
            .collect();
        let mut batch = Batch::default();
        hot::finish(&mut batch, now, &leaving);
        tx.run(batch).await?;
        tx.execute(
            "UPDATE enrollment SET state = 3, ended_at = ?, end_reason = ?, push_token_sealed = NULL,
                push_magic_sealed = NULL, push_token_hash = NULL, unlock_token_sealed = NULL,
                bootstrap_token_sealed = NULL WHERE id = ?",
            args![now, reason, id],
        )
        .await?;
        tx.execute(
            "UPDATE channel SET sent_seq = 0 WHERE enrollment_id = ?",
            args![id],
        )
        .await?;
        tx.execute("DELETE FROM push_state WHERE enrollment_id = ?", args![id])
            .await?;
        tx.execute(
            "DELETE FROM declarative_status WHERE enrollment_id = ?",
            args![id],
        )
        .await?;
        ended.push(EndedEnrollment {
            id,
            was: EnrollmentState::from_code(row.int(1)?),
            cancelled,
        });
    }
    Ok(ended)
}

/// The device is known to have left.
pub(crate) async fn mark_left(tx: &mut Tx, now: Micros, device: DeviceId) -> Result<()> {
    tx.execute(
        "UPDATE device SET left_at = ?, revision = revision + 1 WHERE id = ?",
        args![now, device],
    )
    .await?;
    Ok(())
}

/// The open deliveries of an enrollment, whole.
pub(crate) async fn open_deliveries(
    tx: &mut Tx,
    enrollment: EnrollmentId,
) -> Result<Vec<Delivery>> {
    hot::open_of(tx, enrollment).await
}

/// The user channel of a generation.
pub(crate) async fn user_channel(
    tx: &mut Tx,
    device: DeviceId,
    channel: i64,
    user_key: &str,
    generation: i64,
) -> Result<Option<(EnrollmentId, EnrollmentState)>> {
    let row = tx
        .query_one(
            "SELECT id, state FROM enrollment WHERE device_id = ? AND channel = ? AND user_key = ? AND generation = ?",
            args![device, channel, user_key, generation],
        )
        .await?;
    row.map(|row| {
        Ok((
            EnrollmentId(row.uuid(0)?),
            EnrollmentState::from_code(row.int(1)?),
        ))
    })
    .transpose()
}

/// Stores, replaces or (with none) deletes the bootstrap token.
pub(crate) async fn set_bootstrap_token(
    tx: &mut Tx,
    enrollment: EnrollmentId,
    sealed: Option<Vec<u8>>,
) -> Result<()> {
    tx.execute(
        "UPDATE enrollment SET bootstrap_token_sealed = ? WHERE id = ?",
        args![sealed, enrollment],
    )
    .await?;
    Ok(())
}

/// Reads the sealed bootstrap token.
pub(crate) async fn bootstrap_token(
    tx: &mut Tx,
    enrollment: EnrollmentId,
) -> Result<Option<Vec<u8>>> {
    match tx
        .query_one(
            "SELECT bootstrap_token_sealed FROM enrollment WHERE id = ?",
            args![enrollment],
        )
        .await?
    {
        Some(row) => row.opt_bytes(0),
        None => Ok(None),
    }
}

/// Reads the sealed `Authenticate` that opened an enrollment.
pub(crate) async fn authenticate_raw(
    tx: &mut Tx,
    enrollment: EnrollmentId,
) -> Result<Option<Vec<u8>>> {
    match tx
        .query_one(
            "SELECT authenticate_sealed FROM enrollment WHERE id = ?",
            args![enrollment],
        )
        .await?
    {
        Some(row) => row.opt_bytes(0),
        None => Ok(None),
    }
}

/// The topic of an enrollment's profile.
pub(crate) async fn topic(tx: &mut Tx, enrollment: EnrollmentId) -> Result<Option<String>> {
    match tx
        .query_one(
            "SELECT topic FROM enrollment WHERE id = ?",
            args![enrollment],
        )
        .await?
    {
        Some(row) => row.opt_text(0),
        None => Ok(None),
    }
}

/// Whether the tenant has ever had this push topic.
pub(crate) async fn knows_topic(tx: &mut Tx, tenant: TenantId, topic: &str) -> Result<bool> {
    let row = tx
        .query_one(
            "SELECT topic FROM push_certificate WHERE tenant_id = ? AND topic = ?",
            args![tenant, topic],
        )
        .await?;
    Ok(row.is_some())
}

/// Status reports that are kept of one channel.
const MAX_STATUS: i64 = 10;

/// Keeps a declarative status report; the oldest beyond a bound go.
pub(crate) async fn keep_status(
    tx: &mut Tx,
    now: Micros,
    tenant: TenantId,
    device: DeviceId,
    enrollment: EnrollmentId,
    sealed: Vec<u8>,
) -> Result<()> {
    tx.execute(
        "INSERT INTO declarative_status (enrollment_id, received_at, tenant_id, device_id, report_sealed)
         VALUES (?, ?, ?, ?, ?)
         ON CONFLICT (enrollment_id, received_at) DO UPDATE SET report_sealed = excluded.report_sealed",
        args![enrollment, now, tenant, device, sealed],
    )
    .await?;
    tx.execute(
        "DELETE FROM declarative_status WHERE enrollment_id = ? AND received_at NOT IN
           (SELECT received_at FROM declarative_status WHERE enrollment_id = ? ORDER BY received_at DESC LIMIT ?)",
        args![enrollment, enrollment, MAX_STATUS],
    )
    .await?;
    Ok(())
}

/// The device-channel enrollments of a device, whatever their state.
pub(crate) async fn device_enrollments(
    tx: &mut Tx,
    device: DeviceId,
) -> Result<Vec<(EnrollmentId, EnrollmentState)>> {
    let rows = tx
        .query(
            "SELECT id, state FROM enrollment WHERE device_id = ? AND channel = 0 AND state <> 3 ORDER BY generation",
            args![device],
        )
        .await?;
    rows.iter()
        .map(|row| {
            Ok((
                EnrollmentId(row.uuid(0)?),
                EnrollmentState::from_code(row.int(1)?),
            ))
        })
        .collect()
}

/// Whether the tenant has this device.
pub(crate) async fn device_exists(tx: &mut Tx, tenant: TenantId, device: DeviceId) -> Result<bool> {
    Ok(tx
        .query_one(
            "SELECT id FROM device WHERE id = ? AND tenant_id = ?",
            args![device, tenant],
        )
        .await?
        .is_some())
}

/// Device, state, and whether a `TokenUpdate` is stored.
pub(crate) async fn enrollment_state(
    tx: &mut Tx,
    tenant: TenantId,
    enrollment: EnrollmentId,
) -> Result<Option<(DeviceId, EnrollmentState, bool)>> {
    let row = tx
        .query_one(
            "SELECT device_id, state, push_token_hash FROM enrollment WHERE id = ? AND tenant_id = ?",
            args![enrollment, tenant],
        )
        .await?;
    row.map(|row| {
        Ok((
            DeviceId(row.uuid(0)?),
            EnrollmentState::from_code(row.int(1)?),
            row.opt_bytes(2)?.is_some(),
        ))
    })
    .transpose()
}

/// A released enrollment waits for its `TokenUpdate`.
pub(crate) async fn make_pending(tx: &mut Tx, enrollment: EnrollmentId) -> Result<()> {
    tx.execute(
        "UPDATE enrollment SET state = 0 WHERE id = ?",
        args![enrollment],
    )
    .await?;
    Ok(())
}

/// Pending enrollments that were opened, or released from quarantine, before `before`, at most `limit`.
pub(crate) async fn stale_pending(
    tx: &mut Tx,
    before: Micros,
    limit: i64,
) -> Result<Vec<(TenantId, DeviceId, EnrollmentId)>> {
    let rows = tx
        .query(
            "SELECT e.tenant_id, e.device_id, e.id FROM enrollment e WHERE e.state = 0 AND e.created_at < ?
               AND NOT EXISTS (SELECT 1 FROM event v WHERE v.device_id = e.device_id AND v.enrollment_id = e.id
                               AND v.kind = 'released' AND v.at >= ?) LIMIT ?",
            args![before, before, limit],
        )
        .await?;
    rows.iter()
        .map(|row| {
            Ok((
                TenantId(row.uuid(0)?),
                DeviceId(row.uuid(1)?),
                EnrollmentId(row.uuid(2)?),
            ))
        })
        .collect()
}

/// The tenant and device of an enrollment.
pub(crate) async fn whose(
    tx: &mut Tx,
    enrollment: EnrollmentId,
) -> Result<Option<(TenantId, DeviceId)>> {
    let row = tx
        .query_one(
            "SELECT tenant_id, device_id FROM enrollment WHERE id = ?",
            args![enrollment],
        )
        .await?;
    row.map(|row| Ok((TenantId(row.uuid(0)?), DeviceId(row.uuid(1)?))))
        .transpose()
}

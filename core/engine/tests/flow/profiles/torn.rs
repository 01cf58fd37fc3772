//! Rounds in the middle of which something happens: another node takes the channels, a profile is deleted, a hook panics; and marks that were missed.

use std::sync::Arc;

use async_trait::async_trait;
use axum::http::StatusCode;
use parking_lot::Mutex;
use pomona_engine::TenantId;
use pomona_engine::clock::Micros;
use pomona_engine::hooks::{
    CommandDraft, CommandValidateHook, CommandVerdict, DeviceSnapshot, HookError, Hooks,
    Stage as Moment,
};
use serde_json::json;

use super::desk::{Desk, Phone, look_after, profile, settle};
use crate::support::*;

const A: &str = "00000000-0000-0000-0000-00000000000A";
const B: &str = "00000000-0000-0000-0000-00000000000B";
const MINUTE: i64 = 60_000_000;

/// What happens while a hook is asked about an installation.
#[derive(Clone)]
enum Meddling {
    Nothing,
    Statement(Sql, String),
    /// In this tenant.
    Panic(TenantId),
    Veto,
}

struct Meddler(Mutex<Meddling>);

#[async_trait]
impl CommandValidateHook for Meddler {
    fn name(&self) -> &str {
        "meddler"
    }

    fn matches(&self, request_type: &str, stage: Moment) -> bool {
        request_type == "InstallProfile" && stage == Moment::Enqueue
    }

    async fn validate(
        &self,
        _: Moment,
        _: Micros,
        device: &DeviceSnapshot,
        _: &CommandDraft,
    ) -> Result<CommandVerdict, HookError> {
        let meddling = self.0.lock().clone();
        match meddling {
            Meddling::Statement(sql, statement) => sql.run(&statement).await,
            Meddling::Panic(tenant) => assert_ne!(device.tenant, Some(tenant), "the hook panics"),
            Meddling::Veto => return Ok(CommandVerdict::Veto("not today".into())),
            Meddling::Nothing => {}
        }
        Ok(CommandVerdict::Allow {
            valid_until: Micros::MAX,
        })
    }
}

async fn stage_with(backend: Backend) -> (Stage, Arc<Meddler>) {
    let meddler = Arc::new(Meddler(Mutex::new(Meddling::Nothing)));
    let mut hooks = Hooks::default();
    hooks.validate.push(meddler.clone());
    (Stage::with_hooks(backend, hooks).await, meddler)
}

async fn queued(stage: &Stage) -> i64 {
    stage
        .sql
        .number("SELECT COUNT(*) FROM delivery WHERE request_type = 'InstallProfile'")
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_round_that_has_lost_its_channels_or_a_profile_writes_nothing() {
    for backend in backends() {
        let (stage, meddler) = stage_with(backend).await;
        let desk = Desk::open(&stage).await;
        let mut phone = Phone::enroll(&stage, A).await;
        desk.upload(&profile("org.example.torn", 1, "T")).await;
        desk.post(
            "profiles/org.example.torn/assign",
            json!({ "everything": true }),
        )
        .await;
        // Another node has the channel by the time that the round would write.
        let taken = "UPDATE upkeep SET leased_until = leased_until + 1".to_owned();
        *meddler.0.lock() = Meddling::Statement(stage.sql.clone(), taken);
        look_after(&stage).await;
        assert_eq!(queued(&stage).await, 0, "another node has it");
        *meddler.0.lock() = Meddling::Nothing;
        stage.clock.advance(11 * MINUTE);
        assert_eq!(
            settle(&stage, &mut phone).await,
            ["InstallProfile", "ProfileList"]
        );

        // A profile is gone by then.
        desk.upload(&profile("org.example.gone", 2, "G")).await;
        desk.post(
            "profiles/org.example.gone/assign",
            json!({ "everything": true }),
        )
        .await;
        let gone = "DELETE FROM profile WHERE identifier = 'org.example.gone'".to_owned();
        *meddler.0.lock() = Meddling::Statement(stage.sql.clone(), gone);
        look_after(&stage).await;
        assert_eq!(queued(&stage).await, 0, "nobody would know of it any more");
        assert_eq!(
            stage.sql.number("SELECT COUNT(*) FROM profile_state").await,
            1
        );
        stage.engine.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_panics_in_one_tenant_keeps_nothing_from_another() {
    for backend in backends() {
        let (stage, meddler) = stage_with(backend).await;
        let other = stage.add_tenant().await;
        Phone::enroll(&stage, A).await;
        let card = stage.card_in(other, "link", None, None).await;
        for body in [authenticate(B), token_update(B, "02")] {
            let (status, told) = send_to(&stage.engine, other, &card, true, body).await;
            assert_eq!(status, StatusCode::OK, "{told}");
        }
        for tenant in [stage.tenant, other] {
            let desk = Desk::of(&stage, tenant).await;
            desk.upload(&profile("org.example.torn", 1, "T")).await;
            desk.post(
                "profiles/org.example.torn/assign",
                json!({ "everything": true }),
            )
            .await;
        }
        // Whichever of the two is looked after first.
        for (tenant, sent) in [(stage.tenant, 1), (other, 2)] {
            *meddler.0.lock() = Meddling::Panic(tenant);
            stage.clock.advance(11 * MINUTE);
            let round = stage.engine.keep_up().await;
            assert_eq!(round.is_err(), sent == 1, "{round:?}");
            assert_eq!(queued(&stage).await, sent);
        }
        stage.engine.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_channel_whose_mark_was_missed_is_found() {
    for backend in backends() {
        let stage = Stage::new(backend).await;
        let desk = Desk::open(&stage).await;
        let mut phone = Phone::enroll(&stage, A).await;
        let scope = "<key>PayloadScope</key><string>User</string>";
        let of_user = profile("org.example.user", 2, "U");
        let of_user = of_user.replacen("<dict>", &format!("<dict>{scope}"), 1);
        let kept = desk.upload(&of_user).await;
        assert_eq!(kept["channel"], json!("user"), "{kept}");
        desk.post(
            "profiles/org.example.user/assign",
            json!({ "everything": true }),
        )
        .await;
        look_after(&stage).await;
        // A device without users has nothing to be looked after for: it is not entered again and again.
        assert_eq!(stage.engine.seed_upkeep().await.unwrap(), 0);
        desk.upload(&profile("org.example.missed", 1, "M")).await;
        desk.post(
            "profiles/org.example.missed/assign",
            json!({ "everything": true }),
        )
        .await;
        stage.sql.run("DELETE FROM upkeep").await;
        assert!(settle(&stage, &mut phone).await.is_empty());
        assert_eq!(stage.engine.seed_upkeep().await.unwrap(), 1);
        assert_eq!(
            settle(&stage, &mut phone).await,
            ["InstallProfile", "ProfileList"]
        );
        assert_eq!(stage.engine.seed_upkeep().await.unwrap(), 0);
        stage.engine.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_marked_while_a_round_has_it_stays_due() {
    for backend in backends() {
        let (stage, meddler) = stage_with(backend).await;
        let desk = Desk::open(&stage).await;
        Phone::enroll(&stage, A).await;
        desk.upload(&profile("org.example.torn", 1, "T")).await;
        desk.post(
            "profiles/org.example.torn/assign",
            json!({ "everything": true }),
        )
        .await;
        let marked = "UPDATE upkeep SET due_at = 7".to_owned();
        *meddler.0.lock() = Meddling::Statement(stage.sql.clone(), marked);
        assert_eq!(stage.engine.keep_up().await.unwrap(), 1);
        assert_eq!(queued(&stage).await, 1);
        *meddler.0.lock() = Meddling::Nothing;
        assert_eq!(
            stage
                .sql
                .number("SELECT COUNT(*) FROM upkeep WHERE due_at = 7 AND leased_until = 0")
                .await,
            1
        );
        assert_eq!(
            stage.engine.keep_up().await.unwrap(),
            1,
            "it is looked at again"
        );
        assert_eq!(stage.engine.keep_up().await.unwrap(), 0);
        assert_eq!(queued(&stage).await, 1, "and nothing is sent twice");
        stage.engine.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_hook_refuses_is_not_asked_about_again_at_once() {
    for backend in backends() {
        let (stage, meddler) = stage_with(backend).await;
        let desk = Desk::open(&stage).await;
        let mut phone = Phone::enroll(&stage, A).await;
        *meddler.0.lock() = Meddling::Veto;
        desk.upload(&profile("org.example.torn", 1, "T")).await;
        desk.post(
            "profiles/org.example.torn/assign",
            json!({ "everything": true }),
        )
        .await;
        assert!(settle(&stage, &mut phone).await.is_empty());
        let (state, reason) = desk.states("org.example.torn").await.remove(0);
        assert_eq!(state, "refused");
        assert!(reason.contains("not today"), "{reason}");
        let refused = "SELECT COUNT(*) FROM event WHERE kind = 'command_refused'";
        assert_eq!(stage.sql.number(refused).await, 1);
        // Whatever marks the channel meanwhile.
        stage.sql.run("UPDATE upkeep SET due_at = 0").await;
        assert!(settle(&stage, &mut phone).await.is_empty());
        assert_eq!(stage.sql.number(refused).await, 1);
        *meddler.0.lock() = Meddling::Nothing;
        stage.clock.advance(61 * MINUTE);
        assert_eq!(
            settle(&stage, &mut phone).await,
            ["InstallProfile", "ProfileList"]
        );
        stage.engine.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn profiles_that_are_filled_in_go_so_many_at_a_time() {
    for backend in backends() {
        let stage = Stage::new(backend).await;
        let desk = Desk::open(&stage).await;
        for n in 0..70 {
            stage
                .enroll(&format!("00000000-0000-0000-0000-{n:012}"))
                .await;
        }
        desk.upload(&profile("org.example.each", 1, "{{device.udid}}"))
            .await;
        desk.post(
            "profiles/org.example.each/assign",
            json!({ "everything": true }),
        )
        .await;
        for sent in [64, 70, 70] {
            stage.engine.keep_up().await.unwrap();
            assert_eq!(queued(&stage).await, sent);
        }
        assert_eq!(
            stage
                .sql
                .number("SELECT COUNT(DISTINCT body_hash) FROM delivery")
                .await,
            70
        );
        stage.engine.stop().await;
    }
}

//! Devices are asked on schedule what they are: after they have enrolled, then every day, and only what they may answer.

use std::sync::Arc;

use axum::http::StatusCode;
use pomona_engine::hooks::Hooks;

use super::support::*;

const A: &str = "00000000-0000-0000-0000-00000000000A";
const B: &str = "00000000-0000-0000-0000-00000000000B";
const MINUTE: i64 = 60_000_000;
const DAY: i64 = 24 * 60 * MINUTE;
const ALL: [&str; 4] = [
    "DeviceInformation",
    "SecurityInfo",
    "ProfileList",
    "InstalledApplicationList",
];

/// The questions that are waiting for a device; it answers each without telling anything.
async fn asked(stage: &Stage, card: &Card, udid: &str) -> Vec<String> {
    let mut told = Vec::new();
    let (status, mut body) = stage.send(card, false, idle(udid)).await;
    assert_eq!(status, StatusCode::OK);
    while let Some(uuid) = command_uuid(&body) {
        let value = plist::Value::from_reader_xml(body.as_bytes()).unwrap();
        let command = value.as_dictionary().unwrap()["Command"]
            .as_dictionary()
            .unwrap();
        told.push(command["RequestType"].as_string().unwrap().to_owned());
        body = stage
            .send(card, false, answer(udid, "Acknowledged", &uuid))
            .await
            .1;
    }
    told
}

async fn rounds(stage: &Stage) -> usize {
    let mut all = 0;
    loop {
        match stage.engine.ask_due().await.unwrap() {
            0 => return all,
            some => all += some,
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_is_asked_once_a_day_and_nothing_piles_up_while_it_is_off() {
    for backend in backends() {
        let tune: Tune = Arc::new(|options| options.inventory_every = Some(DAY));
        let stage = Stage::tuned(backend, Hooks::default(), tune).await;
        let (a, _) = stage.enroll(A).await;
        let (b, channel) = stage.enroll(B).await;
        // What the background has begun when the server started is over before there was a device.
        assert_eq!(rounds(&stage).await, 0, "not before ten minutes");
        stage.clock.advance(11 * MINUTE);
        assert_eq!(rounds(&stage).await, 2);
        assert_eq!(asked(&stage, &a, A).await, ALL);
        assert_eq!(rounds(&stage).await, 0);
        stage.clock.advance(DAY - MINUTE);
        assert_eq!(rounds(&stage).await, 0, "not before the day is over");

        // The other one is off for a week: it has what was asked last, and no more.
        for _ in 0..7 {
            stage.clock.advance(DAY);
            assert_eq!(rounds(&stage).await, 2);
            stage.engine.expire().await.unwrap();
            assert_eq!(asked(&stage, &a, A).await, ALL);
        }
        let waiting = format!(
            "SELECT COUNT(*) FROM delivery WHERE enrollment_id = {}",
            stage.sql.id(channel.0)
        );
        assert_eq!(stage.sql.number(&waiting).await, 4);
        assert_eq!(asked(&stage, &b, B).await, ALL);

        // What has left is not asked any more.
        let left = simple_check_in("CheckOut", A);
        assert_eq!(stage.send(&a, true, left).await.0, StatusCode::OK);
        stage.clock.advance(DAY);
        assert_eq!(rounds(&stage).await, 1);
        assert_eq!(
            stage
                .sql
                .number("SELECT COUNT(*) FROM inventory_round")
                .await,
            1
        );
        stage.engine.stop().await;
    }
}

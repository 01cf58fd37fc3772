use super::*;
#[test]
fn perf() {
    on_both(|world| async move {
        world.import(TOPIC).await;
        let n = 20_000usize;
        let t = std::time::Instant::now();
        let now = world.now();
        let keys = world.store.keys(world.tenant).await.unwrap();
        let mut ids = Vec::new();
        let mut tx = world.store.begin().await.unwrap();
        for k in 0..n {
            let id = EnrollmentId(Uuid::now_v7());
            let device = DeviceId(Uuid::now_v7());
            let seal = |column, plain: &[u8]| {
                keys.seal(
                    &**world.store.random(),
                    Place {
                        table: "enrollment",
                        column,
                        row: id.0.as_bytes(),
                    },
                    plain,
                )
                .unwrap()
            };
            tx.execute(
                "INSERT INTO device_head (device_id, tenant_id, event_seq) VALUES (?, ?, 0)",
                args![device, world.tenant],
            )
            .await
            .unwrap();
            tx.execute("INSERT INTO enrollment (id, tenant_id, device_id, channel, user_key, generation, state, topic,
             push_token_sealed, push_magic_sealed, push_token_hash, created_at, enabled_at, token_updated_at)
             VALUES (?, ?, ?, 0, '', 1, 2, ?, ?, ?, ?, ?, ?, ?)", args![id, world.tenant, device, TOPIC, seal("push_token_sealed", &k.to_be_bytes()), seal("push_magic_sealed", b"magic"), vec![1u8;32], now-DAY, now-DAY, now-DAY]).await.unwrap();
            ids.push(id);
        }
        tx.commit().await.unwrap();
        println!("insert {:?}", t.elapsed());
        let t = std::time::Instant::now();
        world.due(&ids).await;
        println!("mark_due {n}: {:?}", t.elapsed());
        let t = std::time::Instant::now();
        let mut tx = world.store.begin_read().await.unwrap();
        rows::census(&mut tx, now).await.unwrap();
        tx.rollback().await.unwrap();
        println!("census {:?}", t.elapsed());
        let t = std::time::Instant::now();
        let mut tx = world.store.begin().await.unwrap();
        let d = rows::due(&mut tx, now, world.tenant, TOPIC, 100)
            .await
            .unwrap();
        tx.rollback().await.unwrap();
        println!("due {} {:?}", d.len(), t.elapsed());
        let cancel = tokio_util::sync::CancellationToken::new();
        let t = std::time::Instant::now();
        let handle = Pusher::start(
            world.store.clone(),
            world.apns.clone(),
            PushOptions {
                per_second: 1_000_000,
                burst: 1_000_000,
                ..PushOptions::default()
            },
            |_| (),
            cancel.clone(),
        );
        loop {
            tokio::time::sleep(Duration::from_millis(20)).await;
            if world.apns.heard.lock().len() >= n {
                break;
            }
        }
        println!("pushed {n} in {:?}", t.elapsed());
        cancel.cancel();
        handle.stopped().await;
        println!("written {:?}", t.elapsed());
    });
}

//! Verdicts about commands: how long they hold, what they rest on, and what becomes of a command that is refused or has to wait.

use std::time::Duration;

use pomona_engine::hooks::{CommandVerdict, Hooks, Stage as Moment};
use pomona_engine::{Actor, Cause};

use super::stubs::{Act, Judge};
use super::support::*;
use super::{
    A, HOUR, SECOND, ask, enqueue, events, history, judges, person, queue, report, request,
};

#[tokio::test]
async fn what_was_allowed_holds_for_its_time_and_for_the_device_as_it_is() {
    for backend in backends() {
        let judge = Judge::lenient();
        let stage = Stage::with_hooks(backend, judges(&judge)).await;
        let (card, enrollment) = stage.enroll(A).await;
        let uuid = queue(&stage, "Settings", enrollment).await;
        let sent = Some(uuid.as_str());
        // Sent, sent again, and sent once more after the device was busy.
        assert_eq!(ask(&stage, &card).await.as_deref(), sent);
        assert_eq!(ask(&stage, &card).await.as_deref(), sent);
        report(&stage, &card, "NotNow", &uuid).await;
        stage.clock.advance(HOUR - 1);
        assert_eq!(ask(&stage, &card).await.as_deref(), sent);
        assert_eq!(judge.questions(Moment::Enqueue), 1);
        assert_eq!(judge.questions(Moment::Delivery), 0);
        stage.clock.advance(1);
        assert_eq!(ask(&stage, &card).await.as_deref(), sent);
        assert_eq!(judge.questions(Moment::Delivery), 1, "its time is over");
        let changed = "UPDATE device SET revision = revision + 1";
        stage.sql.run(changed).await;
        assert_eq!(ask(&stage, &card).await.as_deref(), sent);
        assert_eq!(judge.questions(Moment::Delivery), 2, "another device");
        assert_eq!(ask(&stage, &card).await.as_deref(), sent);
        assert_eq!(judge.questions(Moment::Delivery), 2);
    }
}

/// Answers the query that waits with this word about supervision, and gives what the device is handed then.
async fn tells(stage: &Stage, card: &Card, uuid: &str, supervised: bool) -> Option<String> {
    let report = message(&format!(
        "<key>Status</key><string>Acknowledged</string><key>UDID</key><string>{A}</string>\
         <key>CommandUUID</key><string>{uuid}</string>\
         <key>QueryResponses</key><dict><key>IsSupervised</key><{supervised}/></dict>"
    ));
    command_uuid(&stage.send(card, false, report).await.1)
}

#[tokio::test]
async fn what_was_allowed_is_judged_again_when_the_very_answer_before_it_tells_of_another_device() {
    for backend in backends() {
        // A hook that allows it for an hour does not speak for the catalogue.
        let judge = Judge::lenient();
        let stage = Stage::with_hooks(backend, judges(&judge)).await;
        let (card, enrollment) = stage.enroll(A).await;
        let asked = queue(&stage, "DeviceInformation", enrollment).await;
        let lost = queue(&stage, "DeviceLocation", enrollment).await;
        assert_eq!(ask(&stage, &card).await, Some(asked.clone()));
        assert_eq!(tells(&stage, &card, &asked, false).await, None);
        let ended = history(&stage, &lost).await;
        assert!(ended[0].contains("needs a supervised device"), "{ended:?}");
    }
}

#[tokio::test]
async fn hooks_judge_the_device_as_it_has_just_told_to_be() {
    for backend in backends() {
        let judge = Judge::new(|q| match q.supervised {
            Some(false) => Act::Say(CommandVerdict::Veto("not this one".into())),
            _ => Act::Say(q.allow()),
        });
        let stage = Stage::with_hooks(backend, judges(&judge)).await;
        let (card, enrollment) = stage.enroll(A).await;
        let asked = queue(&stage, "DeviceInformation", enrollment).await;
        let settings = queue(&stage, "Settings", enrollment).await;
        assert_eq!(ask(&stage, &card).await, Some(asked.clone()));
        assert_eq!(tells(&stage, &card, &asked, false).await, None);
        assert_eq!(history(&stage, &settings).await, ["4 judge: not this one"]);
    }
}

#[tokio::test]
async fn other_hooks_are_asked_about_what_the_former_ones_allowed() {
    for backend in backends() {
        let stage = Stage::with_hooks(backend, Hooks::default()).await;
        let (card, enrollment) = stage.enroll(A).await;
        let former = Judge::lenient();
        let table = stage.engine.hooks();
        table.replace([(stage.tenant, judges(&former))].into());
        let uuid = queue(&stage, "Settings", enrollment).await;
        let next = Judge::new(|_| Act::Say(CommandVerdict::Veto("not any more".into())));
        table.replace([(stage.tenant, judges(&next))].into());
        assert_eq!(ask(&stage, &card).await, None);
        assert_eq!(history(&stage, &uuid).await, ["4 judge: not any more"]);
        assert_eq!(former.questions(Moment::Delivery), 0);
    }
}

#[tokio::test]
async fn what_was_said_by_hooks_that_are_replaced_while_they_think_does_not_count() {
    for backend in backends() {
        let stage = Stage::with_hooks(backend, Hooks::default()).await;
        let (card, enrollment) = stage.enroll(A).await;
        let (table, tenant) = (stage.engine.hooks().clone(), stage.tenant);
        let next = Judge::new(|_| Act::Say(CommandVerdict::Veto("not any more".into())));
        let in_its_place = next.clone();
        let former = Judge::new(move |q| {
            if q.moment == Moment::Delivery {
                table.replace([(tenant, judges(&in_its_place))].into());
            }
            Act::Say(q.allow())
        });
        let table = stage.engine.hooks();
        table.replace([(tenant, judges(&former))].into());
        let uuid = queue(&stage, "Settings", enrollment).await;
        assert_eq!(ask(&stage, &card).await, None);
        assert_eq!(history(&stage, &uuid).await, ["4 judge: not any more"]);
        assert_eq!(next.questions(Moment::Delivery), 1);
    }
}

#[tokio::test]
async fn a_tenant_whose_hooks_stay_the_same_is_not_asked_again_for_another_tenants_change() {
    for backend in backends() {
        let stage = Stage::with_hooks(backend, Hooks::default()).await;
        let other = stage.add_tenant().await;
        let (card, enrollment) = stage.enroll(A).await;
        let own = Judge::lenient();
        let table = stage.engine.hooks();
        table.replace([(stage.tenant, judges(&own))].into());
        let uuid = queue(&stage, "Settings", enrollment).await;
        let theirs = Judge::new(|q| Act::Say(q.allow()));
        let both = [(stage.tenant, judges(&own)), (other, judges(&theirs))];
        table.replace(both.into());
        assert_eq!(ask(&stage, &card).await, Some(uuid));
        assert_eq!(own.questions(Moment::Delivery), 0);
    }
}

#[tokio::test]
async fn what_a_judge_holds_goes_with_it_also_when_the_device_had_no_time() {
    for backend in backends() {
        let stage = Stage::with_hooks(backend, Hooks::default()).await;
        let (card, enrollment) = stage.enroll(A).await;
        // Lets it go once, and holds it when it is to go again.
        let holder = Judge::new(|q| {
            Act::Say(match (q.moment, q.before) {
                (Moment::Delivery, 2..) => CommandVerdict::Defer(q.now + HOUR, "class".into()),
                _ => q.allow(),
            })
        });
        let table = stage.engine.hooks();
        table.replace([(stage.tenant, judges(&holder))].into());
        let uuid = queue(&stage, "Settings", enrollment).await;
        stage.clock.advance(SECOND);
        assert_eq!(ask(&stage, &card).await.as_deref(), Some(uuid.as_str()));
        assert_eq!(report(&stage, &card, "NotNow", &uuid).await, None);
        stage.clock.advance(SECOND);
        assert_eq!(ask(&stage, &card).await, None);
        assert_eq!(events(&stage, "command_held").await, 1);
        let mut both = judges(&holder);
        both.validate.push(Judge::lenient());
        table.replace([(stage.tenant, both)].into());
        assert_eq!(ask(&stage, &card).await, None, "the holder still has a say");
        table.replace([(stage.tenant, Hooks::default())].into());
        let released = async {
            loop {
                if let Some(sent) = ask(&stage, &card).await {
                    return sent;
                }
            }
        };
        let sent = tokio::time::timeout(Duration::from_secs(30), released).await;
        assert_eq!(sent.ok(), Some(uuid), "nobody holds it any more");
    }
}

#[tokio::test]
async fn who_judges_deliveries_alone_is_asked_whatever_the_others_have_allowed() {
    for backend in backends() {
        let early = Judge::lenient();
        let late = Judge::at_delivery(|_| Act::Say(CommandVerdict::Veto("too late".into())));
        let mut hooks = judges(&early);
        hooks.validate.push(late.clone());
        let stage = Stage::with_hooks(backend, hooks).await;
        let (card, enrollment) = stage.enroll(A).await;
        let uuid = queue(&stage, "Settings", enrollment).await;
        assert_eq!(late.questions(Moment::Enqueue), 0);
        assert_eq!(ask(&stage, &card).await, None);
        assert_eq!(history(&stage, &uuid).await, ["4 judge: too late"]);
    }
}

#[tokio::test]
async fn a_deferral_whose_time_has_come_allows_nothing_beyond() {
    for backend in backends() {
        let judge = Judge::new(|q| {
            Act::Say(match q.moment {
                Moment::Enqueue => CommandVerdict::Defer(q.now, "until now".into()),
                Moment::Delivery => CommandVerdict::Veto("no".into()),
            })
        });
        let stage = Stage::with_hooks(backend, judges(&judge)).await;
        let (card, enrollment) = stage.enroll(A).await;
        let uuid = queue(&stage, "Settings", enrollment).await;
        assert_eq!(ask(&stage, &card).await, None);
        assert_eq!(history(&stage, &uuid).await, ["4 judge: no"]);
    }
}

#[tokio::test]
async fn a_node_does_not_send_on_an_older_word_what_another_node_has_held() {
    for backend in backends() {
        let here = Judge::new(|q| {
            Act::Say(match q.moment {
                Moment::Enqueue => CommandVerdict::Allow {
                    valid_until: q.now + HOUR,
                },
                Moment::Delivery => CommandVerdict::Veto("class has begun".into()),
            })
        });
        let stage = Stage::with_hooks(backend, judges(&here)).await;
        let (card, enrollment) = stage.enroll(A).await;
        let uuid = queue(&stage, "Settings", enrollment).await;
        let there = Judge::new(|q| Act::Say(CommandVerdict::Defer(q.now + SECOND, "class".into())));
        let node = stage.with_other_hooks(judges(&there)).await;
        let (_, body) = send_to(&node, stage.tenant, &card, false, idle(A)).await;
        assert_eq!(command_uuid(&body), None);
        stage.clock.advance(SECOND);
        assert_eq!(ask(&stage, &card).await, None);
        assert_eq!(history(&stage, &uuid).await, ["4 judge: class has begun"]);
        node.stop().await;
    }
}

#[tokio::test]
async fn a_hook_that_could_not_be_asked_while_queueing_is_asked_before_the_sending() {
    for backend in backends() {
        let judge = Judge::new(|q| match q.moment {
            Moment::Enqueue => Act::Fail,
            Moment::Delivery => Act::Say(CommandVerdict::Veto("no".into())),
        });
        let stage = Stage::with_hooks(backend, judges(&judge)).await;
        let (card, enrollment) = stage.enroll(A).await;
        let uuid = queue(&stage, "Settings", enrollment).await;
        assert_eq!(ask(&stage, &card).await, None);
        assert_eq!(history(&stage, &uuid).await, ["4 judge: no"]);
    }
}

#[tokio::test]
async fn a_command_is_judged_again_at_delivery_and_at_each_sending() {
    for backend in backends() {
        let judge = Judge::new(|q| {
            // The first sending is let through, the second is not.
            let deny =
                q.moment == Moment::Delivery && q.before >= 3 && q.request_type == "Settings";
            Act::Say(if deny {
                CommandVerdict::Veto("class has begun".into())
            } else {
                q.allow()
            })
        });
        let stage = Stage::with_hooks(backend, judges(&judge)).await;
        let (card, enrollment) = stage.enroll(A).await;
        let first = queue(&stage, "Settings", enrollment).await;
        let second = queue(&stage, "SecurityInfo", enrollment).await;
        assert_eq!(judge.questions(Moment::Enqueue), 2);
        assert_eq!(ask(&stage, &card).await.as_deref(), Some(first.as_str()));
        assert_eq!(judge.questions(Moment::Delivery), 1);
        stage.clock.advance(SECOND);
        // Q9: a re-sending that is refused is withdrawn, and no longer in the way.
        assert_eq!(ask(&stage, &card).await.as_deref(), Some(second.as_str()));
        assert_eq!(history(&stage, &first).await, ["5 judge: class has begun"]);
        // What the device did after all is kept (Q5).
        assert_eq!(
            report(&stage, &card, "Acknowledged", &first)
                .await
                .as_deref(),
            Some(second.as_str())
        );
        let late = "SELECT outcome FROM delivery_history WHERE disposition = 5";
        assert_eq!(stage.sql.number(late).await, 1);
    }
}

#[tokio::test]
async fn a_veto_before_the_first_sending_cancels_and_the_next_command_goes() {
    for backend in backends() {
        let judge = Judge::new(|q| {
            Act::Say(match (q.moment, q.request_type.as_str()) {
                (Moment::Delivery, "Settings") => CommandVerdict::Veto("no".into()),
                _ => q.allow(),
            })
        });
        let stage = Stage::with_hooks(backend, judges(&judge)).await;
        let (card, enrollment) = stage.enroll(A).await;
        let mut refused = Vec::new();
        for _ in 0..30 {
            refused.push(queue(&stage, "Settings", enrollment).await);
        }
        let good = queue(&stage, "SecurityInfo", enrollment).await;
        // However many are refused before it: it is offered now, or the device is rung again for it (Q4, Q14).
        let mut polls = 0;
        while ask(&stage, &card).await.as_deref() != Some(good.as_str()) {
            polls += 1;
            assert!(polls < 5, "it is never offered");
            let due = stage
                .sql
                .number("SELECT count(*) FROM push_state WHERE due_at IS NOT NULL")
                .await;
            assert_eq!(due, 1, "the device was given nothing and is not rung");
        }
        for uuid in refused {
            assert_eq!(history(&stage, &uuid).await, ["4 judge: no"]);
        }
    }
}

#[tokio::test]
async fn a_deferral_at_delivery_lets_others_pass_and_comes_back() {
    for backend in backends() {
        let judge = Judge::new(|q| {
            let early = q.now < NEW_YEAR + HOUR;
            Act::Say(
                if q.moment == Moment::Delivery && q.request_type == "Settings" && early {
                    CommandVerdict::Defer(NEW_YEAR + HOUR, "class".into())
                } else {
                    q.allow()
                },
            )
        });
        let stage = Stage::with_hooks(backend, judges(&judge)).await;
        let (card, enrollment) = stage.enroll(A).await;
        let held = queue(&stage, "Settings", enrollment).await;
        let other = queue(&stage, "SecurityInfo", enrollment).await;
        assert_eq!(ask(&stage, &card).await.as_deref(), Some(other.as_str()));
        assert_eq!(events(&stage, "command_held").await, 1);
        assert_eq!(report(&stage, &card, "Acknowledged", &other).await, None);
        let due = format!(
            "SELECT count(*) FROM push_state WHERE due_at <= {}",
            NEW_YEAR + HOUR
        );
        assert_eq!(
            stage.sql.number(&due).await,
            1,
            "the device is rung when it may go"
        );
        stage.clock.advance(HOUR);
        assert_eq!(ask(&stage, &card).await.as_deref(), Some(held.as_str()));
    }
}

#[tokio::test]
async fn a_resending_that_is_deferred_stays_outstanding_and_the_device_is_rung_again() {
    for backend in backends() {
        let judge = Judge::new(|q| {
            Act::Say(if q.moment == Moment::Delivery && q.before == 3 {
                CommandVerdict::Defer(q.now + HOUR, "class".into())
            } else {
                q.allow()
            })
        });
        let stage = Stage::with_hooks(backend, judges(&judge)).await;
        let (card, enrollment) = stage.enroll(A).await;
        let first = queue(&stage, "Settings", enrollment).await;
        queue(&stage, "SecurityInfo", enrollment).await;
        assert_eq!(ask(&stage, &card).await.as_deref(), Some(first.as_str()));
        stage.clock.advance(SECOND);
        // One on a channel: nothing else goes instead.
        assert_eq!(ask(&stage, &card).await, None);
        let due = "SELECT count(*) FROM push_state WHERE due_at IS NOT NULL";
        assert_eq!(stage.sql.number(due).await, 1);
        assert_eq!(ask(&stage, &card).await.as_deref(), Some(first.as_str()));
    }
}

#[tokio::test]
async fn a_verdict_that_has_run_out_is_asked_for_again() {
    for backend in backends() {
        let judge = Judge::new(|q| {
            // Good for no time at all, twice; then for a second.
            let valid_until = if q.before < 2 { q.now } else { q.now + SECOND };
            Act::Say(CommandVerdict::Allow { valid_until })
        });
        let stage = Stage::with_hooks(backend, judges(&judge)).await;
        let (card, enrollment) = stage.enroll(A).await;
        let uuid = queue(&stage, "Settings", enrollment).await;
        assert_eq!(ask(&stage, &card).await, Some(uuid));
        assert_eq!(judge.questions(Moment::Delivery), 2);
    }
}

#[tokio::test]
async fn when_every_verdict_is_stale_nothing_goes_and_the_device_is_rung_again() {
    for backend in backends() {
        let judge = Judge::new(|q| Act::Say(CommandVerdict::Allow { valid_until: q.now }));
        let stage = Stage::with_hooks(backend, judges(&judge)).await;
        let (card, enrollment) = stage.enroll(A).await;
        queue(&stage, "Settings", enrollment).await;
        assert_eq!(ask(&stage, &card).await, None);
        assert!(judge.questions(Moment::Delivery) <= 4, "and not for ever");
        let due = "SELECT count(*) FROM push_state WHERE due_at IS NOT NULL";
        assert_eq!(stage.sql.number(due).await, 1);
        assert_eq!(stage.sql.number("SELECT state FROM delivery").await, 0);
        assert_eq!(events(&stage, "command_delivered").await, 0);
    }
}

#[tokio::test]
async fn a_hook_that_fails_closes_the_way_for_destruction_by_automation_only() {
    let table = [
        ("EraseDevice", Actor::SYSTEM, false),
        ("EraseDevice", person(), true),
        ("Settings", Actor::SYSTEM, true),
    ];
    for act in [|| Act::Fail, || Act::Hang] {
        for (request_type, actor, open) in table {
            // While queueing.
            let judge = Judge::new(move |_| act());
            let stage = Stage::with_hooks(Backend::Sqlite, judges(&judge)).await;
            let (_, enrollment) = stage.enroll(A).await;
            let done = enqueue(&stage, actor, request(request_type, enrollment)).await;
            assert_eq!(
                done.targets[0].accepted, open,
                "{request_type} by {actor:?}"
            );
            // At delivery.
            let judge = Judge::new(move |q| match q.moment {
                Moment::Enqueue => Act::Say(q.allow()),
                Moment::Delivery => act(),
            });
            let stage = Stage::with_hooks(Backend::Sqlite, judges(&judge)).await;
            let (card, enrollment) = stage.enroll(A).await;
            let done = enqueue(&stage, actor, request(request_type, enrollment)).await;
            let sent = ask(&stage, &card).await;
            assert_eq!(sent.is_some(), open, "{request_type} by {actor:?}");
            if !open {
                assert_eq!(
                    history(&stage, &done.command_uuid).await,
                    ["4 judge could not be asked"]
                );
            }
        }
    }
}

#[tokio::test]
async fn a_command_with_break_glass_is_put_before_no_judge() {
    for backend in backends() {
        let judge = Judge::new(|_| Act::Say(CommandVerdict::Veto("never".into())));
        let stage = Stage::with_hooks(backend, judges(&judge)).await;
        let (card, enrollment) = stage.enroll(A).await;
        let mut glass = request("EraseDevice", enrollment);
        glass.break_glass = true;
        let done = enqueue(&stage, person(), glass).await;
        assert!(done.targets[0].accepted);
        for _ in 0..2 {
            assert_eq!(
                ask(&stage, &card).await.as_deref(),
                Some(done.command_uuid.as_str())
            );
        }
        assert!(judge.asked.lock().is_empty());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_verdict_about_a_device_that_has_changed_since_is_asked_for_again() {
    for backend in backends() {
        let stage = Stage::new(backend).await;
        let sql = stage.sql.clone();
        let judge = Judge::new(move |q| {
            if q.moment == Moment::Delivery && q.before == 1 {
                // The device changes while the hook thinks.
                let sql = sql.clone();
                tokio::task::block_in_place(|| {
                    tokio::runtime::Handle::current()
                        .block_on(sql.run("UPDATE device SET revision = revision + 1"));
                });
            }
            Act::Say(q.allow())
        });
        // The stage's own engine has no hooks; this one shares its database.
        let engine = stage.with_other_hooks(judges(&judge)).await;
        let (card, enrollment) = stage.enroll(A).await;
        let done = engine
            .enqueue(
                stage.tenant,
                Actor::SYSTEM,
                Cause::default(),
                request("Settings", enrollment),
            )
            .await
            .unwrap();
        let (_, body) = send_to(&engine, stage.tenant, &card, false, idle(A)).await;
        assert_eq!(command_uuid(&body), Some(done.command_uuid));
        assert_eq!(judge.questions(Moment::Delivery), 2);
        engine.stop().await;
    }
}

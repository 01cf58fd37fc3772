//! Tables for the rules of the queue.

use uuid::Uuid;

use super::cancel::Cancellation;
use super::*;

fn open(seq: i64) -> Open {
    Open {
        footing: NEVER,
        braking: brake::Braking::No,
        seq,
        command: CommandId(Uuid::from_u128(seq as u128)),
        request_type: "DeviceInformation".into(),
        priority: 0,
        not_before: 0,
        not_after: None,
        waits: false,
        state: OpenState::Queued,
        sends: 0,
        notnow_poll: 0,
    }
}

fn sent(seq: i64) -> Open {
    Open {
        state: OpenState::Sent,
        sends: 1,
        ..open(seq)
    }
}

const RULES: Rules = Rules {
    now: 1_000,
    poll: 5,
    max_sendings: 3,
};

fn pick(open: &[Open]) -> Choice {
    choose(RULES, open, |_| false, &Verdicts::new())
}

fn finished(outcome: Option<(Outcome, [u8; 32])>, disposition: Disposition, sends: i64) -> Known {
    Known::Finished {
        disposition,
        outcome,
        sends,
    }
}

#[test]
fn a_report_is_judged_by_what_is_known_of_its_command() {
    use Hearing::*;
    let ack = Heard::Final {
        outcome: Outcome::Acknowledged,
        digest: [1; 32],
    };
    let err = Heard::Final {
        outcome: Outcome::Error,
        digest: [2; 32],
    };
    let acked = Some((Outcome::Acknowledged, [1; 32]));
    let deferred = Open {
        state: OpenState::NotNow,
        ..sent(1)
    };
    let table: Vec<(&str, Heard, Known, Hearing)> = vec![
        ("idle begins a poll", Heard::Idle, Known::Nothing, Polled),
        (
            "sent, then acknowledged",
            ack,
            Known::Open(sent(1)),
            Finished(Outcome::Acknowledged),
        ),
        (
            "sent, then an error",
            err,
            Known::Open(sent(1)),
            Finished(Outcome::Error),
        ),
        (
            "deferred, then acknowledged after all",
            ack,
            Known::Open(deferred.clone()),
            Finished(Outcome::Acknowledged),
        ),
        (
            "sent, then NotNow",
            Heard::NotNow,
            Known::Open(sent(1)),
            Deferred,
        ),
        (
            "NotNow twice",
            Heard::NotNow,
            Known::Open(deferred),
            Repeated,
        ),
        ("queued but never sent", ack, Known::Open(open(1)), Orphan),
        (
            "queued but never sent, NotNow",
            Heard::NotNow,
            Known::Open(open(1)),
            Orphan,
        ),
        ("never queued", ack, Known::Nothing, Orphan),
        (
            "never queued, NotNow",
            Heard::NotNow,
            Known::Nothing,
            Orphan,
        ),
        (
            "the same report again",
            ack,
            finished(acked, Disposition::Done, 1),
            Repeated,
        ),
        (
            "another report after the first",
            err,
            finished(acked, Disposition::Done, 1),
            Conflict(Outcome::Error),
        ),
        (
            "NotNow after the outcome",
            Heard::NotNow,
            finished(acked, Disposition::Done, 1),
            Repeated,
        ),
        (
            "an outcome after the withdrawal",
            ack,
            finished(None, Disposition::Withdrawn, 1),
            Late(Outcome::Acknowledged),
        ),
        (
            "an outcome after the expiry",
            err,
            finished(None, Disposition::Expired, 2),
            Late(Outcome::Error),
        ),
        (
            "cancelled before it was sent",
            ack,
            finished(None, Disposition::Cancelled, 0),
            Orphan,
        ),
    ];
    for (name, heard, known, expected) in table {
        assert_eq!(hear(heard, &known), expected, "{name}");
    }
}

#[test]
fn the_outstanding_command_is_sent_again_before_any_other() {
    assert_eq!(pick(&[sent(7), open(1)]).send, Some(7));
}

#[test]
fn what_cannot_go_yet_is_passed_over() {
    let later = Open {
        not_before: 1_001,
        ..open(1)
    };
    let waiting = Open {
        waits: true,
        ..open(2)
    };
    let deferred_now = Open {
        state: OpenState::NotNow,
        sends: 1,
        notnow_poll: 5,
        ..open(3)
    };
    let deferred_before = Open {
        state: OpenState::NotNow,
        sends: 1,
        notnow_poll: 4,
        ..open(4)
    };
    let choice = pick(&[later, waiting, deferred_now, deferred_before]);
    assert_eq!(choice.send, Some(4));
    assert_eq!(choice.drops, vec![]);
}

#[test]
fn nothing_is_sent_at_or_after_its_end() {
    for (end, sent_seq) in [(999, None), (1_000, None), (1_001, Some(1))] {
        let choice = pick(&[Open {
            not_after: Some(end),
            ..open(1)
        }]);
        assert_eq!(choice.send, sent_seq, "end {end}");
        assert_eq!(choice.drops.len(), usize::from(sent_seq.is_none()));
    }
    let choice = pick(&[
        Open {
            not_after: Some(10),
            ..sent(1)
        },
        open(2),
    ]);
    assert_eq!(choice.drops[0].disposition, Disposition::Expired);
    assert_eq!(choice.send, Some(2));
}

#[test]
fn a_command_that_is_never_answered_is_set_aside() {
    let stuck = Open {
        sends: 3,
        ..sent(1)
    };
    let choice = pick(&[stuck, open(2)]);
    assert_eq!(choice.drops[0].disposition, Disposition::Withdrawn);
    assert_eq!(choice.send, Some(2));
    let bounded = Open {
        sends: 3,
        not_after: Some(5_000),
        ..sent(1)
    };
    assert_eq!(pick(&[bounded]).send, Some(1));
}

#[test]
fn a_judged_command_needs_a_verdict_that_still_holds() {
    let judge = |verdict: Option<Verdict>, first: Open| {
        let mut verdicts = Verdicts::new();
        if let Some(verdict) = verdict {
            verdicts.insert(1, verdict);
        }
        choose(
            RULES,
            &[first, open(2)],
            |delivery| delivery.seq == 1,
            &verdicts,
        )
    };
    assert_eq!(judge(None, open(1)).judge, Some(1));
    assert_eq!(
        judge(Some(Verdict::Allow { until: 1_000 }), open(1)).judge,
        Some(1)
    );
    assert_eq!(
        judge(Some(Verdict::Allow { until: 1_001 }), open(1)).send,
        Some(1)
    );
    let refused = Verdict::Refuse {
        reason: "lesson".into(),
    };
    let choice = judge(Some(refused.clone()), open(1));
    assert_eq!(
        (choice.send, choice.drops[0].disposition),
        (Some(2), Disposition::Cancelled)
    );
    let choice = judge(Some(refused), sent(1));
    assert_eq!(
        (choice.send, choice.drops[0].disposition),
        (Some(2), Disposition::Withdrawn)
    );
    let held = Verdict::Hold {
        until: 9_000,
        reason: "lesson".into(),
    };
    let choice = judge(Some(held.clone()), open(1));
    assert_eq!((choice.send, choice.holds[0].1), (Some(2), 9_000));
    let choice = judge(Some(held), sent(1));
    assert_eq!((choice.send, choice.holds.len()), (None, 0));
}

#[test]
fn cancelling_never_claims_more_than_is_known() {
    assert_eq!(cancel(&open(1)), Cancellation::Cancelled);
    assert_eq!(cancel(&sent(1)), Cancellation::Withdrawn);
    let deferred = Open {
        state: OpenState::NotNow,
        ..sent(1)
    };
    assert_eq!(cancel(&deferred), Cancellation::Cancelled);
}

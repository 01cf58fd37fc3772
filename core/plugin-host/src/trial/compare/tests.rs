use pomona_engine::hooks::{Channel, RuleVerdict};
use serde_json::json;

use super::*;

fn two(active: &str, trial: &str) -> Two {
    Some((active.into(), trial.into()))
}

#[test]
fn decisions_and_verdicts_are_the_same_with_the_same_words() {
    use EnrollmentDecision::{Allow, Deny, Hold};
    for (one, other, expected) in [
        (Allow, Allow, None),
        (Hold("a".into()), Hold("a".into()), None),
        (Allow, Hold("a".into()), two("allow", "hold: a")),
        (
            Hold("a".into()),
            Hold("b".into()),
            two("hold: a", "hold: b"),
        ),
        (
            Deny("a".into()),
            Hold("a".into()),
            two("deny: a", "hold: a"),
        ),
    ] {
        assert_eq!(decisions(&one, &other), expected);
    }
    use CommandVerdict::{Defer, Veto};
    let now = 5_000_000;
    let allow = |seconds: i64| CommandVerdict::Allow {
        valid_until: now + seconds * 1_000_000,
    };
    let year = 365 * 86_400;
    for (one, other, expected) in [
        (allow(year), allow(year), None),
        (allow(year), allow(60), two("allow", "allow for 60 s")),
        (allow(year), Veto("no".into()), two("allow", "veto: no")),
        (
            Defer(now + 9_000_000, "a".into()),
            Defer(now, "a".into()),
            two("defer for 9 s: a", "defer for 0 s: a"),
        ),
    ] {
        assert_eq!(verdicts(&(now, one), &(now, other)), expected);
    }
}

#[test]
fn changes_are_named_and_their_values_are_not() {
    let set = |key: &str, value: &str| Change::Set(key.into(), value.into());
    let remove = |key: &str| Change::Remove(key.into());
    for (one, other, expected) in [
        (vec![], vec![], None),
        (
            vec![set("PIN", "1234"), set("B", "x")],
            vec![set("B", "x"), set("PIN", "1234")],
            None,
        ),
        (
            vec![set("PIN", "1234")],
            vec![set("PIN", "9876")],
            two("sets PIN", "sets PIN (with other content)"),
        ),
        (
            vec![],
            vec![set("PIN", "1234"), remove("B")],
            two("changes nothing", "removes B; sets PIN"),
        ),
        (
            vec![set("A", "1"), remove("B")],
            vec![set("A", "1")],
            two("removes B", "none of these"),
        ),
        // The last one holds.
        (
            vec![set("A", "1"), set("A", "2")],
            vec![set("A", "2")],
            None,
        ),
    ] {
        let told = changes(&one, &other);
        assert_eq!(told, expected);
        let shown = format!("{told:?}");
        assert!(
            !shown.contains("1234") && !shown.contains("9876"),
            "{shown}"
        );
    }
}

fn finding(rule: &str, verdict: RuleVerdict, message: &str) -> Finding {
    Finding {
        rule: rule.into(),
        verdict,
        message: message.into(),
        evidence: Vec::new(),
        remedies: Vec::new(),
        grace: None,
    }
}

#[test]
fn findings_are_compared_rule_by_rule() {
    use RuleVerdict::{Fail, Pass};
    let both = [finding("a", Pass, "fine"), finding("b", Fail, "old")];
    let turned = [both[1].clone(), both[0].clone()];
    assert_eq!(findings(&both, &turned), None);
    let other = [both[0].clone(), finding("b", Fail, "older")];
    let expected = two("b: fail: old", "b: fail: older");
    assert_eq!(findings(&both, &other), expected);
    let expected = two("a: pass: fine; b: fail: old", "no finding");
    assert_eq!(findings(&both, &[]), expected);
    let many = |verdict| (0..20).map(move |n| finding(&format!("r{n:02}"), verdict, "m"));
    let [passes, fails] = [Pass, Fail].map(|verdict| many(verdict).collect::<Vec<_>>());
    let (active, _) = findings(&passes, &fails).unwrap();
    assert!(active.ends_with("; and 8 more places"), "{active}");
}

#[test]
fn declarations_are_compared_by_identifier_and_payload() {
    let one = |payload: Value| Declaration {
        identifier: "org.a.x".into(),
        kind: "k".into(),
        payload,
    };
    let (a, b) = (json!({"p": 1, "q": 2}), json!({"q": 2, "p": 1}));
    assert_eq!(declarations(&[one(a.clone())], &[one(b)]), None);
    let told = declarations(&[one(a.clone())], &[one(json!({"p": "secret"}))]);
    assert_eq!(told, two("org.a.x (k)", "org.a.x (k) (with other content)"));
    let told = declarations(&[], &[one(a)]);
    assert_eq!(told, two("no declaration", "org.a.x (k)"));
}

#[test]
fn effects_are_compared_by_key_and_item_and_shown_without_their_values() {
    let device = pomona_engine::DeviceId(uuid::Uuid::nil());
    let channel = Channel::Of {
        device,
        user_key: String::new(),
    };
    let mut command = plist::Dictionary::new();
    command.insert("RequestType".into(), "DeviceLock".into());
    command.insert("PIN".into(), "1234".into());
    let lock = |command: &plist::Dictionary, key: &str| KeyedEffect {
        key: key.into(),
        effect: Effect::Enqueue {
            channel: channel.clone(),
            not_after: None,
            reason: String::new(),
            command: command.clone(),
        },
    };
    let fact = |value: Value| KeyedEffect {
        key: "f".into(),
        effect: Effect::SetFact {
            device,
            user_key: String::new(),
            name: "org.a.f".into(),
            value,
        },
    };
    let mut other = command.clone();
    other.insert("PIN".into(), "9876".into());
    for (one, two_of, expected) in [
        (vec![], vec![], None),
        (
            vec![lock(&command, "l"), fact(json!(1))],
            vec![fact(json!(1)), lock(&command, "l")],
            None,
        ),
        (
            vec![lock(&command, "l")],
            vec![lock(&other, "l")],
            two(
                "l: enqueue DeviceLock",
                "l: enqueue DeviceLock (with other content)",
            ),
        ),
        (
            vec![lock(&command, "l"), fact(json!("hush"))],
            vec![lock(&command, "m"), fact(json!("hush"))],
            two("l: enqueue DeviceLock", "m: enqueue DeviceLock"),
        ),
        (
            vec![],
            vec![fact(json!("hush"))],
            two("nothing", "f: set-fact org.a.f"),
        ),
    ] {
        let told = effects(&one, &two_of);
        assert_eq!(told, expected);
        let shown = format!("{told:?}");
        let secret = ["1234", "9876", "hush"]
            .iter()
            .any(|value| shown.contains(value));
        assert!(!secret, "{shown}");
    }
}

#[test]
fn a_text_is_cut_and_stays_on_its_line() {
    assert_eq!(bounded("a\nb\tc"), "a b c");
    assert_eq!(bounded(&"ä".repeat(LONGEST)), "ä".repeat(LONGEST));
    let cut = bounded(&"ä".repeat(LONGEST + 1));
    assert_eq!(cut.chars().count(), LONGEST + 1);
    assert!(cut.ends_with('…'));
}

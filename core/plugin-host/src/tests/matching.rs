//! What a manifest wants to see, as the hooks hold to it: what does not match is not asked about, and counts as allowed.

use pomona_engine::hooks::{
    CommandDraft, CommandValidateHook, CommandVerdict, DeviceSnapshot, EnrollmentDecision,
    EnrollmentHook, EnrollmentRequest, KnownFact, MOST_FACTS, Stage,
};
use pomona_engine::{ActorKind, PrincipalId, TenantId};
use uuid::Uuid;

use crate::enabled::{Enabled, Switch};
use crate::error::PluginError;
use crate::manifest::Manifest;
use crate::rights::Capabilities;

/// A plugin that gives no answer when it is asked, with all that it asks for or with nothing.
fn asked(hooks: &str, granted: bool) -> Enabled {
    let manifest = Manifest::parse(&format!(
        "id = \"org.example.match\"\nversion = \"1.0.0\"\napi = \"0.9\"\ntitle = \"Match\"\n{hooks}\
         [capabilities.devices]\nread = [\"core\", \"fact:room.*\"]\n"
    ))
    .unwrap();
    let switch = Switch {
        tenant: TenantId(Uuid::nil()),
        principal: PrincipalId(Uuid::nil()),
        settings: "{}".into(),
        granted: match granted {
            true => manifest.capabilities.clone(),
            false => Capabilities::default(),
        },
    };
    let broken = Err(PluginError::Unfit("asked".into()));
    Enabled::new(manifest, "digest", broken, switch, None)
}

fn device(product: &str, group: &str, facts: usize) -> DeviceSnapshot {
    let fact = |n: usize| KnownFact {
        name: format!("room.{n}"),
        value: serde_json::json!(n),
        source: "device".into(),
        observed_at: 0,
    };
    DeviceSnapshot {
        product_name: Some(product.to_owned()).filter(|name| !name.is_empty()),
        groups: vec![group.into()],
        facts: (0..facts).map(fact).collect(),
        ..DeviceSnapshot::default()
    }
}

async fn judged(enabled: &Enabled, device: &DeviceSnapshot) -> bool {
    let draft = CommandDraft {
        request_type: "DeviceLock".into(),
        command: plist::Dictionary::new(),
        actor: ActorKind::Person,
        kinds: None,
    };
    let verdict = enabled.validate(Stage::Enqueue, 0, device, &draft).await;
    match verdict {
        Err(_) => true,
        Ok(CommandVerdict::Allow { .. }) => false,
        Ok(other) => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_command_is_judged_where_platform_group_and_fact_match() {
    let cases = [
        ("platforms = [\"ipados\"]", device("iPad13,18", "", 0), true),
        ("platforms = [\"ipados\"]", device("Mac14,2", "", 0), false),
        // Whose family cannot be told is not let past a judge.
        ("platforms = [\"ipados\"]", device("", "", 0), true),
        ("platforms = [\"ipados\"]", device("Car1,1", "", 0), true),
        ("groups = [\"a\", \"b\"]", device("Mac14,2", "b", 0), true),
        ("groups = [\"a\", \"b\"]", device("Mac14,2", "c", 0), false),
        ("facts = [\"room.*\"]", device("Mac14,2", "", 1), true),
        ("facts = [\"room.7\"]", device("Mac14,2", "", 1), false),
        // Beyond what a snapshot carries nobody knows.
        (
            "facts = [\"room.x\"]",
            device("Mac14,2", "", MOST_FACTS as usize),
            true,
        ),
        (
            "groups = [\"a\"]\nfacts = [\"room.0\"]",
            device("Mac14,2", "a", 1),
            true,
        ),
        (
            "groups = [\"a\"]\nfacts = [\"room.0\"]",
            device("Mac14,2", "b", 1),
            false,
        ),
        (
            "request-types = [\"EraseDevice\"]\ngroups = [\"a\"]",
            device("Mac14,2", "b", 0),
            false,
        ),
    ];
    for (matching, device, expected) in cases {
        let plugin = asked(&format!("[hooks.command-validate]\n{matching}\n"), true);
        assert_eq!(
            judged(&plugin, &device).await,
            expected,
            "{matching} {device:?}"
        );
    }
    // What it may not see here tells it nothing: it is asked about all.
    for matching in ["groups = [\"a\"]", "facts = [\"room.0\"]"] {
        let plugin = asked(&format!("[hooks.command-validate]\n{matching}\n"), false);
        assert!(judged(&plugin, &device("Mac14,2", "c", 0)).await);
    }
}

#[tokio::test]
async fn an_enrollment_is_decided_where_the_platform_matches() {
    let plugin = asked("[hooks.enrollment]\nplatforms = [\"ipados\"]\n", true);
    for (product, expected) in [("iPad13,18", true), ("Mac14,2", false), ("", true)] {
        let request = EnrollmentRequest {
            device: device(product, "", 0),
            quarantine: false,
            now: 0,
        };
        match plugin.decide(&request).await {
            Err(_) => assert!(expected, "{product}"),
            Ok(EnrollmentDecision::Allow) => assert!(!expected, "{product}"),
            Ok(other) => panic!("{other:?}"),
        }
    }
}

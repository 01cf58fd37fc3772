//! What plugins ask of the catalogue: in the words of the catalogue itself, within bounds, in every hook.

use std::sync::Arc;

use pomona_catalogue::{Catalogue, Class, Form, Platform as Family, Target};
use pomona_engine::TenantId;
use pomona_engine::hooks::{
    CommandAmendHook, CommandDraft, ComplianceHook, DeviceKind, DeviceSnapshot, Question,
};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::bindings::pomona::host::catalogue::{
    Host as _, Judgement, Objection, Subject, Verdict, Weight,
};
use crate::bindings::pomona::host::errors::AccessError;
use crate::bindings::pomona::host::recipients;
use crate::bindings::pomona::types::device::Platform;
use crate::call::{CallPlan, CallState, Whose, store};
use crate::limits::{Budget, Limits};
use crate::manifest::{HookName, Manifest};
use crate::meter::Meter;
use crate::rights::Capabilities;
use crate::runtime::Runtime;

fn subject(platform: Platform) -> Subject {
    Subject {
        platform,
        os_version: "17.4".into(),
        user_channel: false,
        user_enrollment: false,
        supervised: Some(false),
        automated: None,
        user_approved: None,
        shared_ipad: None,
        access_rights: None,
    }
}

/// The state of a call of this hook.
fn state(runtime: &Runtime, hook: HookName, rights: &str) -> CallState {
    let granted: Capabilities = toml::from_str(rights).unwrap();
    let plan = CallPlan {
        limits: Limits::of(&super::manifest()),
        budget: Budget::of_settings(),
        plugin: "org.example.guest".into(),
        call_id: "call".into(),
        whose: Arc::new(Whose::of(
            "org.example.guest",
            TenantId(Uuid::nil()),
            "{}",
            granted,
            None,
        )),
        hook: Some(hook),
        meter: Meter::default(),
    };
    store(runtime, plan).into_data()
}

fn asked(state: &mut CallState, subject: Subject, what: (&str, &str), body: &str) -> Judgement {
    let (class, name) = what;
    let told = state.preflight(subject, class.into(), name.into(), body.into());
    told.unwrap().unwrap()
}

#[test]
fn what_is_judged_is_what_the_catalogue_says_in_every_hook() {
    let runtime = Runtime::new().unwrap();
    for hook in HookName::ALL {
        let mut state = state(&runtime, hook, "");
        let told = asked(
            &mut state,
            subject(Platform::Ipados),
            ("command", "EnableLostMode"),
            r#"{"Message": "Call us"}"#,
        );
        assert_eq!(told.verdict, Verdict::Refused, "{}", hook.as_str());
        let Objection {
            cause,
            weight,
            message,
            fix,
            alternative,
            ..
        } = &told.objections[0];
        let target = Target {
            version: Some("17.4".parse().unwrap()),
            supervised: Some(false),
            ..Target::of(Family::Ios)
        };
        let body = json!({ "Message": "Call us" });
        let own = Catalogue::shipped().preflight(
            &target,
            Class::Command,
            "EnableLostMode",
            body.as_object().unwrap(),
            Form::Marked,
        );
        assert_eq!(
            (cause.as_str(), *weight, message, fix, alternative),
            (
                "supervision",
                Weight::Refuses,
                &own.findings[0].message,
                &own.findings[0].fix,
                &own.findings[0].alternative
            )
        );
    }
}

#[test]
fn a_device_is_judged_as_the_server_judges_it() {
    let runtime = Runtime::new().unwrap();
    let mut state = state(&runtime, HookName::CommandValidate, "");
    let of = |platform| subject(platform);
    let token = r#"{"UnlockToken": {"data": "AAEC"}}"#;
    let wrapped = r#"{"UnlockToken": {"dict": {"data": "AAEC"}}}"#;
    let user = Subject {
        user_enrollment: true,
        ..of(Platform::Ios)
    };
    let shared = Subject {
        shared_ipad: Some(true),
        ..of(Platform::Ipados)
    };
    // That a phone is shared is not so, whoever says it.
    let shared_phone = Subject {
        shared_ipad: Some(true),
        ..of(Platform::Ios)
    };
    let car = of(Platform::Other("Car1,1".into()));
    for (subject, what, body, expected) in [
        (
            of(Platform::Ios),
            ("command", "EraseDevice"),
            "{}",
            Verdict::Allowed,
        ),
        (user, ("command", "EraseDevice"), "{}", Verdict::Refused),
        (
            of(Platform::Ios),
            ("command", "ClearPasscode"),
            token,
            Verdict::Allowed,
        ),
        (
            of(Platform::Ios),
            ("command", "ClearPasscode"),
            wrapped,
            Verdict::Refused,
        ),
        (
            of(Platform::Ipados),
            ("command", "ClearPasscode"),
            token,
            Verdict::Unknown,
        ),
        (
            shared,
            ("command", "ClearPasscode"),
            token,
            Verdict::Refused,
        ),
        (
            shared_phone,
            ("command", "ClearPasscode"),
            token,
            Verdict::Allowed,
        ),
        (
            of(Platform::Ios),
            ("command", "Zap"),
            "{}",
            Verdict::Unknown,
        ),
        (car, ("command", "EraseDevice"), "{}", Verdict::Unknown),
        (
            of(Platform::Ios),
            ("profile", "com.apple.app.lock"),
            r#"{"App": {"Identifier": "org.example"}}"#,
            Verdict::Refused,
        ),
        (
            of(Platform::Ios),
            ("declaration", "com.apple.configuration.passcode.settings"),
            r#"{"RequirePasscode": true}"#,
            Verdict::Allowed,
        ),
        // What a blank will be is not known: the text around it is no fault.
        (
            of(Platform::Ios),
            ("command", "DeviceLock"),
            r#"{"PhoneNumber": 7}"#,
            Verdict::Refused,
        ),
        (
            of(Platform::Ios),
            ("command", "DeviceInformation"),
            r#"{"Queries": "{{input:queries}}"}"#,
            Verdict::Allowed,
        ),
    ] {
        let told = asked(&mut state, subject, what, body);
        assert_eq!(told.verdict, expected, "{what:?} {body}: {told:?}");
    }
}

/// Kinds of devices in the contract's words and in the catalogue's, written down apart from each other.
fn archetypes() -> Vec<(Subject, Target)> {
    let of = |platform: Platform, family: Family, version: &str| {
        let subject = Subject {
            os_version: version.into(),
            supervised: None,
            ..subject(platform)
        };
        let target = Target {
            version: version.parse().ok(),
            shared_ipad: Some(false),
            ..Target::of(family)
        };
        (subject, target)
    };
    let mut all = vec![
        of(Platform::Ios, Family::Ios, "18.3"),
        of(Platform::Ios, Family::Ios, ""),
        of(Platform::Macos, Family::Macos, "15.3"),
        of(Platform::Tvos, Family::Tvos, "18.3"),
        of(Platform::Visionos, Family::Visionos, "2.3"),
        of(Platform::Watchos, Family::Watchos, "11.3"),
    ];
    let mut more = |base: (Platform, Family), change: &dyn Fn(&mut Subject, &mut Target)| {
        let (mut subject, mut target) = of(base.0, base.1, "26.1");
        change(&mut subject, &mut target);
        all.push((subject, target));
    };
    let ipad = || (Platform::Ipados, Family::Ios);
    let mac = || (Platform::Macos, Family::Macos);
    more(ipad(), &|_, target| target.shared_ipad = None);
    more(ipad(), &|subject, target| {
        (subject.shared_ipad, target.shared_ipad) = (Some(true), Some(true));
        (subject.supervised, target.supervised) = (Some(true), Some(true));
        (subject.user_channel, target.channel) = (true, pomona_catalogue::Channel::User);
    });
    more(ipad(), &|subject, target| {
        (subject.user_enrollment, target.enrollment) =
            (true, pomona_catalogue::EnrollmentKind::User);
    });
    more(mac(), &|subject, target| {
        (subject.user_approved, target.user_approved) = (Some(false), Some(false));
        (subject.supervised, target.supervised) = (Some(false), Some(false));
    });
    more(mac(), &|subject, target| {
        (subject.automated, target.ade) = (Some(true), Some(true));
        (subject.user_channel, target.channel) = (true, pomona_catalogue::Channel::User);
    });
    more(ipad(), &|subject, target| {
        (subject.shared_ipad, target.shared_ipad) = (Some(false), Some(false));
        (subject.automated, target.ade) = (Some(false), Some(false));
        (subject.access_rights, target.rights) = (Some(1), Some(1));
    });
    all
}

#[test]
fn everything_is_judged_for_every_kind_of_device_as_the_catalogue_judges_it() {
    let runtime = Runtime::new().unwrap();
    let mut judged = 0;
    for class in [Class::Command, Class::Profile, Class::Declaration] {
        let form = match class {
            Class::Declaration => Form::Plain,
            _ => Form::Marked,
        };
        let objects = Catalogue::shipped().objects().iter();
        for object in objects.filter(|object| object.class == class) {
            let mut state = state(&runtime, HookName::Compliance, "");
            for (subject, target) in archetypes() {
                let told = asked(&mut state, subject, (class.as_str(), &object.id), "{}");
                let body = serde_json::Map::new();
                let own = Catalogue::shipped().preflight(&target, class, &object.id, &body, form);
                let said: Vec<&String> = told.objections.iter().map(|one| &one.message).collect();
                let wanted: Vec<&String> = own.findings.iter().map(|one| &one.message).collect();
                assert_eq!(said, wanted, "{} for {target:?}", object.id);
                judged += 1;
            }
        }
    }
    assert!(judged > 2_000, "{judged}");
}

#[test]
fn questions_are_bounded_and_counted() {
    let runtime = Runtime::new().unwrap();
    let mut state = state(&runtime, HookName::Compliance, "");
    let mut ask = |class: &str, body: &str| {
        let device = subject(Platform::Ios);
        let told = state.preflight(device, class.into(), "DeviceLock".into(), body.into());
        told.map(|told| match told {
            Ok(judgement) => format!("{:?}", judgement.verdict),
            Err(AccessError::Invalid(why)) => format!("invalid: {why}"),
            Err(AccessError::Quota(why)) => format!("quota: {why}"),
            Err(other) => format!("{other:?}"),
        })
    };
    let long = format!("{{\"Message\": \"{}\"}}", "x".repeat(64 << 10));
    let most = format!(
        "{{\"Message\": \"{}\"}}",
        "x".repeat((64 << 10) - r#"{"Message": ""}"#.len())
    );
    for (class, body, expected) in [
        ("command", "{}", "Verdict::Allowed"),
        ("commands", "{}", "invalid: \"commands\" is no class"),
        ("command", "[]", "invalid: the body is no JSON object"),
        ("command", "", "Verdict::Allowed"),
        ("command", "{", "invalid: the body is no JSON object"),
        (
            "command",
            &long,
            "invalid: the body has more than 65536 bytes",
        ),
        ("command", &most, "Verdict::Allowed"),
    ] {
        let told = ask(class, body).unwrap();
        assert!(told.starts_with(expected), "{told}");
    }
    let quota = (0..64).map(|_| ask("command", &most).unwrap());
    let first = quota.into_iter().position(|told| told.starts_with("quota"));
    assert!(first.is_some_and(|n| n > 20), "{first:?}");
    let mut ended = false;
    for _ in 0..1_000 {
        ended |= ask("command", "{}").is_err();
    }
    assert!(ended, "calls of it are calls of the host");
}

#[test]
fn names_lead_to_what_the_catalogue_tells() {
    let runtime = Runtime::new().unwrap();
    let mut state = state(&runtime, HookName::Declarations, "");
    let names = state.names("command".into()).unwrap().unwrap();
    assert!(names.is_sorted() && names.len() > 40, "{names:?}");
    for name in &names {
        let told = state
            .lookup("command".into(), name.clone())
            .unwrap()
            .unwrap();
        let told: Value = serde_json::from_str(&told.unwrap()).unwrap();
        let own = Catalogue::shipped().tell(name, Some(Class::Command), None);
        assert_eq!(told, Value::Array(own));
    }
    let absent = state.lookup("profile".into(), "EraseDevice".into());
    assert_eq!(absent.unwrap().unwrap(), None);
    assert!(state.names("things".into()).unwrap().is_err());
}

/// A guest with one hook and no right that asks for the names of commands, and traps where it is given none.
fn asking(hook: &str, result: &str) -> (Manifest, String) {
    let manifest = Manifest::parse(&format!(
        "id = \"org.example.guest\"\nversion = \"1.0.0\"\napi = \"0.9\"\ntitle = \"Guest\"\n[hooks.{hook}]\n"
    ))
    .unwrap();
    let text = format!(
        r#"(module
          (import "pomona:host/catalogue@0.9.0" "names" (func $names (param i32 i32 i32)))
          (memory (export "memory") 4)
          (data (i32.const 64) "command")
          (global $top (mut i32) (i32.const 4096))
          (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
            (local $at i32)
            (local.set $at (i32.and (i32.add (global.get $top) (i32.const 15)) (i32.const -16)))
            (global.set $top (i32.add (local.get $at) (local.get 3)))
            (local.get $at))
          (func $ask
            (call $names (i32.const 64) (i32.const 7) (i32.const 128))
            (if (i32.load8_u (i32.const 128)) (then (unreachable)))
            (if (i32.lt_u (i32.load (i32.const 136)) (i32.const 40)) (then (unreachable))))
          {result})"#
    );
    (manifest, text)
}

#[tokio::test]
async fn a_deterministic_hook_asks_without_a_right() {
    let runtime = Runtime::new().unwrap();
    let (manifest, text) = asking(
        "compliance",
        r#"(func (export "pomona:hooks/compliance@0.9.0#rules") (result i32) (i32.const 1024))
           (func (export "pomona:hooks/compliance@0.9.0#evaluate") (param i32) (result i32)
             (call $ask) (i32.const 1024))"#,
    );
    let component = super::component_of(&manifest, &text).unwrap();
    let plugin = super::load_as(&runtime, manifest.clone(), &component).await;
    let enabled = super::switched_on(manifest, plugin.unwrap(), None);
    let question = Question {
        call_id: "the same".into(),
        now: super::NOW,
        device: DeviceSnapshot::default(),
    };
    assert_eq!(enabled.evaluate(&question).await.unwrap(), Vec::new());
}

#[tokio::test]
async fn whoever_changes_a_command_hears_for_which_kinds_it_is() {
    let runtime = Runtime::new().unwrap();
    let kinds = vec![
        DeviceKind {
            target: Target {
                supervised: Some(true),
                ..Target::of(Family::Ios)
            },
            ipad: true,
        },
        DeviceKind {
            target: Target::of(Family::Macos),
            ipad: false,
        },
    ];
    const CORE: &str = "[devices]\nread = [\"core\"]\n";
    let mut amending = state(&runtime, HookName::CommandAmend, CORE);
    let unknown = recipients::Host::kinds(&mut amending).await.unwrap();
    assert!(
        matches!(unknown, Err(AccessError::Unavailable(_))),
        "nothing serves it: {unknown:?}"
    );
    amending.kinds = Some(kinds.clone());
    let told = recipients::Host::kinds(&mut amending)
        .await
        .unwrap()
        .unwrap();
    assert!(matches!(told[0].platform, Platform::Ipados));
    assert_eq!(told[0].supervised, Some(true));
    assert!(matches!(told[1].platform, Platform::Macos));
    let mut other = state(&runtime, HookName::CommandValidate, CORE);
    other.kinds = Some(kinds.clone());
    let told = recipients::Host::kinds(&mut other).await.unwrap();
    assert!(matches!(told, Err(AccessError::Invalid(_))), "{told:?}");

    // Through the hook: the list has two entries.
    let manifest = Manifest::parse(
        "id = \"org.example.guest\"\nversion = \"1.0.0\"\napi = \"0.9\"\ntitle = \"Guest\"\n[hooks.command-amend]\n[capabilities.devices]\nread = [\"core\"]\n",
    )
    .unwrap();
    let text = r#"(module
          (import "pomona:host/recipients@0.9.0" "kinds" (func $kinds (param i32)))
          (memory (export "memory") 4)
          (global $top (mut i32) (i32.const 4096))
          (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
            (local $at i32)
            (local.set $at (i32.and (i32.add (global.get $top) (i32.const 15)) (i32.const -16)))
            (global.set $top (i32.add (local.get $at) (local.get 3)))
            (local.get $at))
          (func (export "pomona:hooks/command-amend@0.9.0#amend") (param i32) (result i32)
            (call $kinds (i32.const 128))
            (if (i32.load8_u (i32.const 128)) (then (unreachable)))
            (if (i32.ne (i32.load (i32.const 136)) (i32.const 2)) (then (unreachable)))
            (i32.const 1024)))"#;
    let component = super::component_of(&manifest, text).unwrap();
    let plugin = super::load_as(&runtime, manifest.clone(), &component).await;
    let enabled = super::switched_on(manifest, plugin.unwrap(), None);
    let draft = CommandDraft {
        request_type: "Settings".into(),
        command: plist::Dictionary::new(),
        actor: pomona_engine::ActorKind::Person,
        kinds: Some(kinds),
    };
    let changes = enabled.amend(super::NOW, &draft).await;
    assert_eq!(changes.unwrap(), Vec::new());
}

//! Verdicts as an administrator meets them, and what holds of all of them.
//!
//! Owns: the cases, and the kinds of devices that every command is tried on.
#![allow(clippy::unwrap_used, missing_docs)]

use pomona_catalogue::{
    Catalogue, Cause, Class, Form, Key, KeyType, Preflight, Target, Verdict, Weight,
};
use serde_json::{Map, Value, json};

fn of(class: Class, target: Value, id: &str, body: Value) -> Preflight {
    let target: Target = serde_json::from_value(target).unwrap();
    let Value::Object(body) = body else {
        unreachable!("cases are written as objects")
    };
    Catalogue::shipped().preflight(&target, class, id, &body, Form::Plain)
}

fn command(target: Value, id: &str, body: Value) -> Preflight {
    of(Class::Command, target, id, body)
}

/// What is told, in short: the gravest first.
fn short(told: &Preflight) -> Vec<String> {
    let line = |finding: &pomona_catalogue::Finding| {
        let cause = serde_json::to_value(finding.cause).unwrap();
        format!("{} {}", cause.as_str().unwrap(), finding.key)
            .trim()
            .to_owned()
    };
    told.findings.iter().map(line).collect()
}

#[test]
fn a_command_is_judged_with_its_keys_and_their_rules() {
    let ipad = |more: Value| {
        let mut target = json!({ "platform": "iOS", "version": "17.4" });
        target
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        target
    };
    let mac = json!({ "platform": "macOS", "version": "15.0", "supervised": true, "ade": true });
    let shared = ipad(json!({ "supervised": true, "ade": true, "shared_ipad": true }));
    for (target, id, body, verdict, expected) in [
        (
            ipad(json!({})),
            "DeviceLock",
            json!({}),
            Verdict::Allowed,
            vec![],
        ),
        (
            ipad(json!({})),
            "DeviceLock",
            json!({ "Message": "Call us" }),
            Verdict::Allowed,
            vec![],
        ),
        (
            shared.clone(),
            "DeviceLock",
            json!({ "Message": "Call us" }),
            Verdict::AllowedWithWarning,
            vec!["ignored-by-shared-ipad Message"],
        ),
        (
            ipad(json!({})),
            "DeviceLock",
            json!({ "PIN": "123456" }),
            Verdict::AllowedWithWarning,
            vec!["platform PIN"],
        ),
        // What a device does not know it takes no notice of, whatever its value.
        (
            ipad(json!({ "supervised": true })),
            "RestartDevice",
            json!({ "NotifyUser": "yes" }),
            Verdict::AllowedWithWarning,
            vec!["platform NotifyUser"],
        ),
        (
            ipad(json!({})),
            "EraseDevice",
            json!({ "PIN": "1" }),
            Verdict::AllowedWithWarning,
            vec!["platform PIN"],
        ),
        // What stands in the way of the whole is not said of its keys.
        (
            json!({ "platform": "macOS", "version": "10.12", "supervised": true }),
            "RestartDevice",
            json!({ "NotifyUser": true }),
            Verdict::Refused,
            vec!["version"],
        ),
        // But not of what it means to be another command.
        (
            json!({ "platform": "macOS", "version": "11.0" }),
            "EraseDevice",
            json!({ "ObliterationBehavior": "DoNotObliterate" }),
            Verdict::Refused,
            vec!["version ObliterationBehavior"],
        ),
        (
            mac.clone(),
            "DeviceLock",
            json!({ "PIN": "123456" }),
            Verdict::Allowed,
            vec![],
        ),
        (
            mac.clone(),
            "DeviceLock",
            json!({ "PIN": "12345" }),
            Verdict::Refused,
            vec!["value PIN"],
        ),
        (
            mac.clone(),
            "DeviceLock",
            json!({ "PIN": 123_456 }),
            Verdict::Refused,
            vec!["value PIN"],
        ),
        (
            ipad(json!({ "supervised": false })),
            "EnableLostMode",
            json!({ "Message": "Lost" }),
            Verdict::Refused,
            vec!["supervision"],
        ),
        (
            ipad(json!({ "supervised": true })),
            "EnableLostMode",
            json!({}),
            Verdict::Refused,
            vec!["value Message"],
        ),
        (
            ipad(json!({})),
            "EnableLostMode",
            json!({ "PhoneNumber": "1" }),
            Verdict::Unknown,
            vec!["supervision"],
        ),
        (
            ipad(json!({})),
            "EraseDevice",
            json!({ "ReturnToService": { "Enabled": true } }),
            Verdict::Allowed,
            vec![],
        ),
        (
            ipad(json!({ "ade": false })),
            "EraseDevice",
            json!({ "ReturnToService": { "Enabled": true } }),
            Verdict::Refused,
            vec!["value ReturnToService/MDMProfileData"],
        ),
        (
            ipad(json!({})),
            "EraseDevice",
            json!({ "ReturnToService": {} }),
            Verdict::Refused,
            vec!["missing ReturnToService/Enabled"],
        ),
        (
            ipad(json!({})),
            "EraseDevice",
            json!({ "ReturnToService": { "Enabled": true, "BootstrapToken": "AAAA" } }),
            Verdict::AllowedWithWarning,
            vec!["version ReturnToService/BootstrapToken"],
        ),
        (
            json!({ "platform": "iOS", "version": "16.7" }),
            "EraseDevice",
            json!({ "ReturnToService": { "Enabled": true } }),
            Verdict::Refused,
            vec!["version ReturnToService"],
        ),
        (
            mac.clone(),
            "EraseDevice",
            json!({ "ObliterationBehavior": "Never" }),
            Verdict::Refused,
            vec!["value ObliterationBehavior"],
        ),
        (
            shared.clone(),
            "ClearPasscode",
            json!({ "UnlockToken": "AAAA" }),
            Verdict::Refused,
            vec!["shared-ipad"],
        ),
        (
            ipad(json!({ "shared_ipad": false })),
            "UserList",
            json!({}),
            Verdict::Refused,
            vec!["no-shared-ipad"],
        ),
        (
            shared.clone(),
            "DeleteUser",
            json!({}),
            Verdict::Refused,
            vec!["value UserName"],
        ),
        (
            shared.clone(),
            "DeleteUser",
            json!({ "DeleteAllUsers": true }),
            Verdict::Allowed,
            vec![],
        ),
        (
            shared.clone(),
            "DeleteUser",
            json!({ "DeleteAllUsers": true, "UserName": "a" }),
            Verdict::Allowed,
            vec![],
        ),
        (
            json!({ "platform": "iOS", "version": "27.0", "supervised": true }),
            "ScheduleOSUpdate",
            json!({ "Updates": [] }),
            Verdict::Refused,
            vec!["removed"],
        ),
        (
            json!({ "platform": "iOS", "version": "26.1", "supervised": true }),
            "OSUpdateStatus",
            json!({}),
            Verdict::AllowedWithWarning,
            vec!["deprecated"],
        ),
        (
            ipad(json!({ "enrollment": "user" })),
            "EraseDevice",
            json!({}),
            Verdict::Refused,
            vec!["user-enrollment"],
        ),
        (
            ipad(json!({ "rights": 4 })),
            "EraseDevice",
            json!({}),
            Verdict::Refused,
            vec!["access-right"],
        ),
        (
            json!({ "platform": "tvOS", "version": "17.0" }),
            "DeviceLock",
            json!({ "Message": "a" }),
            Verdict::Refused,
            vec!["platform"],
        ),
        (
            mac.clone(),
            "InstallApplication",
            json!({ "InstallAsManaged": true }),
            Verdict::Refused,
            vec!["value Identifier"],
        ),
        (
            mac.clone(),
            "InstallApplication",
            json!({ "ManifestURL": "http://a/b" }),
            Verdict::Refused,
            vec!["value ManifestURL"],
        ),
        (
            mac.clone(),
            "RotateFileVaultKey",
            json!({ "KeyType": "institutional", "FileVaultUnlock": { "Password": "a" } }),
            Verdict::Refused,
            vec!["value NewCertificate"],
        ),
        (
            mac.clone(),
            "SetFirmwarePassword",
            json!({ "NewPassword": "Blümchen" }),
            Verdict::Refused,
            vec!["value NewPassword"],
        ),
        (
            mac.clone(),
            "AccountConfiguration",
            json!({ "SkipPrimarySetupAccountCreation": true }),
            Verdict::Refused,
            vec!["value AutoSetupAdminAccounts"],
        ),
        (
            ipad(json!({})),
            "DeviceInformation",
            json!({ "Queries": ["OSVersion", "IsSupervised"] }),
            Verdict::Allowed,
            vec![],
        ),
        (
            ipad(json!({})),
            "DeviceInformation",
            json!({ "Queries": ["OSVersion", "Mood"] }),
            Verdict::Unknown,
            vec!["unknown Queries/1/Mood"],
        ),
        (
            ipad(json!({})),
            "DeviceInformation",
            json!({}),
            Verdict::Refused,
            vec!["missing Queries"],
        ),
        (
            json!({ "platform": "iOS", "version": "27.1" }),
            "DeviceInformation",
            json!({ "Queries": ["SoftwareUpdateSettings"] }),
            Verdict::Refused,
            vec!["removed Queries/0/SoftwareUpdateSettings"],
        ),
        (
            ipad(json!({ "supervised": false })),
            "Settings",
            json!({ "Settings": [{ "Item": "DeviceName", "DeviceName": "a" }, { "Item": "VoiceRoaming", "Enabled": true }] }),
            Verdict::AllowedWithWarning,
            vec!["supervision Settings/0", "deprecated Settings/1"],
        ),
        (
            ipad(json!({})),
            "Settings",
            json!({ "Settings": [{ "Item": "Mood" }] }),
            Verdict::Unknown,
            vec!["unknown Settings/0"],
        ),
        (
            shared.clone(),
            "Settings",
            json!({ "Settings": [{ "Item": "SharedDeviceConfiguration", "QuotaSize": 1, "ResidentUsers": 2, "UserSessionTimeout": 29 }] }),
            Verdict::Refused,
            vec!["value Settings/SharedDeviceConfiguration/UserSessionTimeout"],
        ),
        // What a device does one by one it does as far as it can.
        (
            json!({ "platform": "iOS", "version": "27.1" }),
            "DeviceInformation",
            json!({ "Queries": ["OSVersion", "SoftwareUpdateSettings"] }),
            Verdict::AllowedWithWarning,
            vec!["removed Queries/1/SoftwareUpdateSettings"],
        ),
        (
            ipad(json!({})),
            "ClearPasscode",
            json!({ "UnlockToken": "AAAA" }),
            Verdict::Unknown,
            vec!["shared-ipad"],
        ),
        (
            ipad(json!({})),
            "NoSuchCommand",
            json!({}),
            Verdict::Unknown,
            vec!["unknown"],
        ),
        (
            ipad(json!({})),
            "DeviceLock",
            json!({ "RequestType": "DeviceLock", "Mood": 1 }),
            Verdict::Unknown,
            vec!["unknown Mood"],
        ),
    ] {
        let told = command(target.clone(), id, body.clone());
        assert_eq!(
            (told.verdict, short(&told)),
            (
                verdict,
                expected.iter().map(|one| (*one).to_owned()).collect()
            ),
            "{target} {id} {body}"
        );
    }
}

#[test]
fn payloads_and_declarations_are_judged_too() {
    let phone = json!({ "platform": "iOS", "version": "27.0", "supervised": false });
    let lock = json!({ "App": { "Identifier": "org.example.exam" } });
    let told = of(Class::Profile, phone.clone(), "com.apple.app.lock", lock);
    assert_eq!(short(&told), ["supervision"]);
    let siri = of(
        Class::Profile,
        phone.clone(),
        "com.apple.applicationaccess",
        json!({ "allowSiriAI": true }),
    );
    assert_eq!(
        (siri.verdict, short(&siri)),
        (Verdict::Unknown, vec!["name-only allowSiriAI".to_owned()])
    );
    let known_by_name = of(
        Class::Declaration,
        phone.clone(),
        "com.apple.configuration.accessibility.settings",
        json!({}),
    );
    assert_eq!(known_by_name.verdict, Verdict::Unknown);
    let settings = of(
        Class::Declaration,
        phone,
        "com.apple.configuration.app.settings",
        json!({}),
    );
    assert_eq!(short(&settings), ["supervision"]);
}

#[test]
fn what_is_refused_says_why_how_to_mend_it_and_what_works_instead() {
    let target = json!({ "platform": "iOS", "version": "17.0", "supervised": false });
    let told = command(target, "EnableLostMode", json!({ "Message": "Lost" }));
    let finding = told.findings.first().unwrap();
    assert!(finding.message.contains("supervised"), "{finding:?}");
    assert!(
        finding
            .fix
            .as_ref()
            .unwrap()
            .contains("Automated Device Enrollment"),
        "{finding:?}"
    );
    assert!(
        finding.alternative.as_ref().unwrap().contains("DeviceLock"),
        "{finding:?}"
    );
    let open = command(json!({ "platform": "iOS" }), "RestartDevice", json!({}));
    assert!(
        open.findings
            .iter()
            .all(|one| one.weight == Weight::Open && one.ask.is_some()),
        "{open:?}"
    );
}

/// The kinds of devices that a fleet has.
fn archetypes() -> Vec<Value> {
    vec![
        json!({ "platform": "iOS", "supervised": true, "ade": true, "shared_ipad": false, "rights": 8191 }),
        json!({ "platform": "iOS", "supervised": false, "ade": false, "shared_ipad": false, "rights": 8191 }),
        json!({ "platform": "iOS", "supervised": false, "ade": false, "shared_ipad": false, "enrollment": "user" }),
        json!({ "platform": "iOS", "supervised": true, "ade": true, "shared_ipad": true, "rights": 8191 }),
        json!({ "platform": "iOS", "supervised": true, "ade": true, "shared_ipad": true, "rights": 8191, "channel": "user" }),
        json!({ "platform": "macOS", "supervised": true, "ade": true, "user_approved": true, "rights": 8191 }),
        json!({ "platform": "macOS", "supervised": false, "ade": false, "user_approved": false, "rights": 8191 }),
        json!({ "platform": "macOS", "supervised": true, "ade": true, "user_approved": true, "rights": 8191, "channel": "user" }),
        json!({ "platform": "macOS", "supervised": false, "ade": false, "enrollment": "user" }),
        json!({ "platform": "tvOS", "supervised": true, "ade": true, "rights": 8191 }),
        json!({ "platform": "visionOS", "supervised": true, "ade": true, "rights": 8191 }),
        json!({ "platform": "watchOS", "supervised": true, "ade": false, "rights": 8191 }),
    ]
}

/// The least body that a command's keys ask for.
fn least(keys: &[Key]) -> Map<String, Value> {
    let required = keys
        .iter()
        .filter(|key| key.required && key.name != Key::FREE);
    required
        .map(|key| (key.name.clone(), a_value(key)))
        .collect()
}

fn a_value(key: &Key) -> Value {
    if let Some(value) = key.values.first() {
        return value.clone();
    }
    match key.kind {
        KeyType::String | KeyType::Any => json!("text"),
        KeyType::Integer | KeyType::Real => json!(key.min.clone().map_or(json!(1), Value::Number)),
        KeyType::Boolean => json!(true),
        KeyType::Date => json!("2026-09-01T08:00:00Z"),
        KeyType::Data => json!("AAAA"),
        KeyType::Array => Value::Array(match key.keys.as_slice() {
            [one] if one.kind == KeyType::String && !one.keys.is_empty() => Vec::new(),
            [one] => vec![a_value(one)],
            _ => Vec::new(),
        }),
        KeyType::Dictionary => Value::Object(least(&key.keys)),
    }
}

/// Every command on every kind of device on five releases: what is fully known is never open, and knowing less never turns a refusal
/// into an allowance or the other way round.
#[test]
fn verdicts_are_consistent_over_all_kinds_of_devices() {
    let mut tried = 0;
    let mut refused = 0;
    for object in Catalogue::shipped().objects() {
        if object.class != Class::Command {
            continue;
        }
        let body = Value::Object(least(&object.keys));
        for archetype in archetypes() {
            for (release, versions) in [
                (16, [16, 13, 16, 1, 9]),
                (17, [17, 14, 17, 1, 10]),
                (18, [18, 15, 18, 2, 11]),
                (26, [26; 5]),
                (27, [27; 5]),
            ] {
                let place = ["iOS", "macOS", "tvOS", "visionOS", "watchOS"];
                let place = place
                    .iter()
                    .position(|one| archetype["platform"] == *one)
                    .unwrap();
                let mut whole = archetype.clone();
                whole["version"] = json!(format!("{}.0", versions[place]));
                let told = command(whole.clone(), &object.id, body.clone());
                assert!(
                    told.findings.iter().all(|one| one.weight != Weight::Open),
                    "{release} {whole} {} {told:?}",
                    object.id
                );
                assert!(
                    told.findings
                        .iter()
                        .all(|one| !matches!(one.cause, Cause::Missing | Cause::Unknown)),
                    "{whole} {} {told:?}",
                    object.id
                );
                tried += 1;
                refused += usize::from(told.verdict == Verdict::Refused);
                for name in [
                    "supervised",
                    "ade",
                    "user_approved",
                    "shared_ipad",
                    "version",
                    "rights",
                ] {
                    let mut less = whole.clone();
                    less.as_object_mut().unwrap().remove(name);
                    let open = command(less.clone(), &object.id, body.clone());
                    let refuses = |told: &Preflight| told.verdict == Verdict::Refused;
                    assert!(
                        !refuses(&open) || refuses(&told),
                        "{less} {} {open:?}",
                        object.id
                    );
                }
            }
        }
    }
    assert_eq!(tried, 68 * 12 * 5);
    assert!(
        refused > tried / 4 && refused < tried * 3 / 4,
        "{refused} of {tried}"
    );
}

/// Whatever is sent, there is a verdict.
#[test]
fn odd_bodies_end_in_a_verdict() {
    let phone =
        json!({ "platform": "iOS", "version": "27.0", "supervised": true, "shared_ipad": false });
    let folders = |deep: u32| {
        let inner = (0..deep).fold(
            json!({ "Type": "App" }),
            |inner, _| json!({ "Type": "Folder", "Pages": [[inner]] }),
        );
        let layout = json!({ "Dock": [inner], "Pages": [[]] });
        of(
            Class::Profile,
            phone.clone(),
            "com.apple.homescreenlayout",
            layout,
        )
    };
    assert_eq!(folders(3).verdict, Verdict::Allowed, "{:?}", folders(3));
    let told = folders(200);
    assert_eq!(
        told.verdict,
        Verdict::Unknown,
        "what lies too deep is not let through unseen"
    );
    let many: Vec<Value> = (0..50_000)
        .map(|_| json!({ "Item": "DeviceName", "DeviceName": "a" }))
        .collect();
    let told = command(phone.clone(), "Settings", json!({ "Settings": many }));
    assert!(told.findings.len() < 200, "{}", told.findings.len());
    for value in [
        json!(null),
        json!([]),
        json!({}),
        json!(-1),
        json!(1e300),
        json!("\u{0}"),
        json!("a/b"),
    ] {
        for key in ["Message", "PIN", "", "/", "a/b", "ANY", "*"] {
            let told = command(phone.clone(), "DeviceLock", json!({ key: value }));
            assert!(
                told.verdict != Verdict::Allowed || key == "Message",
                "{key} {value}"
            );
        }
    }
}

#[test]
fn what_may_have_changed_since_is_worth_asking_again() {
    for (target, id, asks) in [
        (
            json!({ "platform": "iOS", "version": "16.0", "supervised": true }),
            "DeviceConfigured",
            None,
        ),
        (
            json!({ "platform": "macOS", "version": "10.12", "supervised": true }),
            "RestartDevice",
            Some("OSVersion"),
        ),
        (
            json!({ "platform": "iOS", "version": "17.4", "supervised": false }),
            "EnableLostMode",
            None,
        ),
    ] {
        let told = command(target.clone(), id, json!({ "Message": "a" }));
        let ask = told.findings.iter().find_map(|finding| {
            let refuses = finding.weight == Weight::Refuses;
            finding.ask.as_deref().filter(|_| refuses)
        });
        match asks {
            Some(query) => assert!(
                ask.is_some_and(|ask| ask.contains(query)),
                "{target} {id}: {ask:?}"
            ),
            None => assert_eq!(ask, None, "{target} {id}"),
        }
    }
}

//! What an administrator is told of a command before it is sent.

use serde_json::{Value, json};

use crate::stage::Stage;

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_tells_what_stands_in_the_way_and_what_helps() {
    let mut stage = Stage::open(&[]).await;
    let fleet = stage.fleet_of(1, |options| options.supervised = 0.0).await;
    let device = stage.lab.tenant.devices().await.unwrap().remove(0).id;
    let lost = [
        "command",
        "send",
        "EnableLostMode",
        "--parameter",
        "Message=Call the school",
        "--device",
        &device,
        "--dry-run",
    ];
    let told = stage.json(&lost).await;
    let preflight = &told["preflight"][0];
    assert_eq!(
        preflight["enrollment_id"],
        told["targets"][0]["enrollment_id"]
    );
    assert_eq!(
        preflight["verdict"], "unknown",
        "nobody has asked the device: {told}"
    );
    let ask = preflight["findings"][0]["ask"].as_str().unwrap();
    assert!(ask.contains("IsSupervised"), "{ask}");

    // What it says of itself is known from then on, and what it refuses is not sent.
    let asked = [
        "command",
        "send",
        "DeviceInformation",
        "--parameter",
        "Queries=[\"IsSupervised\",\"OSVersion\"]",
        "--device",
        &device,
        "--wait",
    ];
    stage.good(&asked).await;
    let told = stage.json(&lost).await;
    let preflight = &told["preflight"][0];
    assert_eq!(preflight["verdict"], "refused", "{told}");
    assert_eq!(preflight["findings"][0]["cause"], "supervision");
    let said = stage.good(&lost).await;
    assert!(
        said.contains("needs a supervised device; this one is not"),
        "{said}"
    );
    assert!(said.contains("Automated Device Enrollment"), "{said}");
    assert!(said.contains("DeviceLock with a message"), "{said}");
    let really = &lost[..lost.len() - 1];
    let refused = stage.bad(really).await;
    assert!(
        refused.contains("needs a supervised device; this one is not"),
        "{refused}"
    );
    let timeline = stage.good(&["device", "timeline", &device]).await;
    assert!(timeline.contains("command_refused"), "{timeline}");
    assert!(timeline.contains("device_told"), "{timeline}");

    // By force it goes, and the device says what the catalogue said.
    let forced = stage
        .good(&[really, &["--force", "--wait", "60"]].concat())
        .await;
    assert!(forced.contains("Error"), "{forced}");
    let known = stage
        .json(&["device", "inventory", &device, "device"])
        .await;
    assert_eq!(known[0]["value"]["IsSupervised"], json!(false), "{known}");
    let none = stage
        .bad(&["device", "inventory", &device, "security"])
        .await;
    assert!(none.contains("send a query"), "{none}");

    // A value is read as its key wants it: a token is data, a number that is a text stays one.
    for (name, set) in [
        ("ClearPasscode", "UnlockToken=AAEC"),
        ("DeviceLock", "PhoneNumber=123456"),
    ] {
        let told = stage
            .json(&[
                "command",
                "send",
                name,
                "--set",
                set,
                "--device",
                &device,
                "--dry-run",
            ])
            .await;
        assert_eq!(told["preflight"][0]["verdict"], "allowed", "{told}");
    }

    // A blank is filled later: what stands in it is no fault.
    let blank = [
        "command",
        "send",
        "DeviceInformation",
        "--parameter",
        "Queries=[\"{{input:query}}\"]",
        "--device",
        &device,
        "--dry-run",
    ];
    let told = stage.json(&blank).await;
    assert_ne!(told["preflight"][0]["verdict"], "refused", "{told}");
    // A mistyped command goes nowhere; the one that was meant is named.
    let refused = stage
        .bad(&["command", "send", "RestartDevices", "--device", &device])
        .await;
    assert!(refused.contains("did you mean RestartDevice?"), "{refused}");
    let refused = stage
        .bad(&["command", "send", "Zap", "--device", &device])
        .await;
    assert!(
        refused.contains("there is no command \"Zap\"."),
        "{refused}"
    );
    // Nothing was queued by any of these but the query and what was forced.
    let all = stage.json(&["command", "list"]).await;
    let kinds: Vec<&str> = all
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|one| one["request_type"].as_str())
        .collect();
    assert_eq!(kinds, ["EnableLostMode", "DeviceInformation"]);
    fleet.stop().await;
    stage.lab.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_tells_the_same_of_the_catalogue_as_the_program() {
    let mut stage = Stage::open(&[]).await;
    let binary = pomona_tests::pomona_binary().unwrap();
    let program = |arguments: &[&str]| -> Value {
        let mut command = std::process::Command::new(&binary);
        command.arg("catalogue").args(arguments).arg("--json");
        serde_json::from_slice(&command.output().unwrap().stdout).unwrap()
    };
    let admin = stage.lab.tenant.admin();
    for (path, arguments) in [
        ("?name=EraseDevice", &["show", "EraseDevice"][..]),
        (
            "?name=EraseDevice&key=ReturnToService/Enabled",
            &["show", "EraseDevice", "ReturnToService/Enabled"],
        ),
        ("?word=LostMode", &["search", "lostmode"]),
        (
            "?word=wifi&class=profile",
            &["search", "wifi", "--class", "profile"],
        ),
        ("/diff", &["diff", "18.3", "27.2", "--objects"]),
        (
            "/diff?from=26&to=27&class=declaration&keys=true",
            &["diff", "26", "27", "--class", "declaration"],
        ),
        ("/matrix?class=profile", &["matrix", "--class", "profile"]),
    ] {
        let told = admin
            .get(&format!("/api/v1/catalogue{path}"))
            .await
            .unwrap();
        assert_eq!(told["items"], program(arguments), "{path}");
        assert!(!told["items"].as_array().unwrap().is_empty(), "{path}");
        assert_eq!(told["more"], false, "{path}");
    }
    for (path, said) in [
        ("?name=EraseDevices", "look for a part of it"),
        ("?name=EraseDevice&key=Pin", "look for a part of it"),
        ("?key=PIN", "key belongs to a name"),
        ("?name=a&word=b", "either name or word"),
        ("?class=commands", "is no class"),
        ("/diff?from=27&to=18.3", "not later than"),
        ("/diff?from=new", "is no version"),
        ("/matrix?class=x", "is no class"),
        ("/matrix?word=x", "word"),
    ] {
        let error = admin
            .get(&format!("/api/v1/catalogue{path}"))
            .await
            .unwrap_err();
        let error = format!("{error:#}");
        assert!(error.contains(said), "{path}: {error}");
    }
    stage.lab.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_catalogue_is_told_without_a_server_and_wrong_words_are_answered() {
    let binary = pomona_tests::pomona_binary().unwrap();
    let said = |arguments: &[&str]| {
        let mut command = std::process::Command::new(&binary);
        let output = command.arg("catalogue").args(arguments).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (
            output.status.code(),
            text(&output.stdout),
            text(&output.stderr),
        )
    };
    for (arguments, expected) in [
        (
            &["show", "EraseDevice"][..],
            "ReturnToService/ShouldRetryEnrollment",
        ),
        (
            &["show", "EraseDevice", "ReturnToService/BootstrapToken"],
            "26.0",
        ),
        (&["search", "lostmode"], "PlayLostModeSound"),
        (
            &["diff", "18.3", "27", "--objects"],
            "com.apple.configuration.app.settings",
        ),
        (&["matrix", "--class", "profile"], "com.apple.wifi.managed"),
        (
            &[
                "check",
                "DeviceLock",
                "--platform",
                "macOS",
                "--os",
                "15.0",
                "--set",
                "PIN=123456",
            ],
            "DeviceLock: allowed",
        ),
    ] {
        let (code, out, err) = said(arguments);
        assert_eq!(code, Some(0), "{arguments:?}: {err}");
        assert!(out.contains(expected), "{arguments:?}: {out}");
    }
    for (arguments, code, expected) in [
        (&["show", "EraseDevices"][..], 1, "pomona catalogue search"),
        (&["show", "EraseDevice", "Pin"], 1, "it has no key \"Pin\""),
        (&["search", "zzz"], 1, "nothing in the catalogue"),
        (&["diff", "27", "18.3"], 2, "not later than"),
        (&["diff", "18.3", "new"], 2, "is no version"),
        (&["matrix", "--class", "commands"], 2, "is no class"),
        (
            &["check", "DeviceLock", "--platform", "carOS"],
            2,
            "is no platform",
        ),
        (
            &["check", "DeviceLock", "--platform", "iOS", "--os", "x"],
            2,
            "is no version",
        ),
        (
            &["check", "DeviceLock", "--platform", "macOS", "--set", "PIN"],
            2,
            "is not KEY=VALUE",
        ),
        (
            &[
                "check",
                "DeviceLock",
                "--platform",
                "macOS",
                "--set",
                "PIN=1",
            ],
            1,
            "a device of this kind refuses it",
        ),
        (
            &[
                "check",
                "DeviceLock",
                "--platform",
                "macOS",
                "--body",
                "/nowhere.json",
            ],
            1,
            "/nowhere.json",
        ),
    ] {
        let (said_code, out, err) = said(arguments);
        assert_eq!(said_code, Some(code), "{arguments:?}: {out}{err}");
        assert!(err.contains(expected), "{arguments:?}: {err}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_taken_back_goes_to_several_devices_only_when_that_is_said() {
    let mut stage = Stage::open(&[]).await;
    let fleet = stage.fleet(2).await;
    let devices = stage.lab.tenant.devices().await.unwrap();
    let (first, second) = (devices[0].id.as_str(), devices[1].id.as_str());
    let both = [
        "command",
        "send",
        "ClearPasscode",
        "--set",
        "UnlockToken=AAEC",
        "--device",
        first,
        "--device",
        second,
    ];
    let refused = stage.bad(&both).await;
    assert!(refused.contains("ClearPasscode 2"), "{refused}");
    let wrong = [&both[..], &["--confirm", "ClearPasscode 3"]].concat();
    assert!(stage.bad(&wrong).await.contains("ClearPasscode 2"));
    assert_eq!(stage.json(&["command", "list"]).await, json!([]));
    let dry = stage.json(&[&both[..], &["--dry-run"]].concat()).await;
    assert_eq!(dry["preflight"].as_array().unwrap().len(), 2, "{dry}");
    let sent = stage
        .json(&[&both[..], &["--confirm", "ClearPasscode 2"]].concat())
        .await;
    let id = sent["command_id"].as_str().unwrap();
    let refused = stage.bad(&["command", "approve", id]).await;
    assert!(refused.contains("a second person"), "{refused}");
    let one = &both[..both.len() - 2];
    stage.good(one).await;
    fleet.stop().await;
    stage.lab.stop().await.unwrap();
}

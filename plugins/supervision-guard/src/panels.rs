//! What the console shows: what a device takes, how ready the fleet is, and what has been lost.
//!
//! Owns: the three tables. Everything in them is asked for when somebody looks.

use pomona_sdk::host::catalogue::{self, Objection, Verdict};
use pomona_sdk::host::{AccessError, devices};
use pomona_sdk::serde_json::{self, Value, json};
use pomona_sdk::{HookError, Snapshot};

use crate::drift;
use crate::readiness;
use crate::settings::Settings;

/// Devices that a table of the fleet looks at, at most.
const MOST: usize = 2_000;
/// What is judged without its keys says nothing of these.
const OF_KEYS: [&str; 2] = ["missing", "value"];

/// A panel as JSON.
pub(crate) fn render(
    settings: &Settings,
    panel: &str,
    parameters_json: &str,
) -> Result<String, HookError> {
    let asked: Value = serde_json::from_str(parameters_json).unwrap_or_default();
    let table = match panel {
        "sendable" => sendable(&asked)?,
        "readiness" => {
            let rows = readiness::rows(settings, &fleet()?);
            let columns = ["Required", "Devices", "Met", "Unmet", "Not known", "Ready"];
            json!({ "kind": "table", "columns": columns, "rows": rows })
        }
        "drift" => lost(&fleet()?),
        other => return Err(HookError::Permanent(format!("there is no panel {other}"))),
    };
    Ok(table.to_string())
}

/// What a device takes of a class: `{"device": "ID", "class": "command"}`.
fn sendable(asked: &Value) -> Result<Value, HookError> {
    let Some(id) = asked["device"].as_str() else {
        let help = r#"name a device: {"device": "ID", "class": "command"}"#;
        return Err(HookError::Permanent(help.into()));
    };
    let class = asked["class"].as_str().unwrap_or("command");
    let subject = devices::get(id).map_err(told)?.subject();
    let mut rows: Vec<(Verdict, Value)> = Vec::new();
    for name in catalogue::names(class).map_err(told)? {
        let told = catalogue::preflight(&subject, class, &name, "{}").map_err(told)?;
        let objections = told.objections.iter();
        let objections = objections.filter(|one| !OF_KEYS.contains(&one.cause.as_str()));
        // Not the verdict of the whole: without its keys much would be refused.
        let first = objections.max_by_key(|one| verdict(one) as u8);
        let verdict = first.map_or(Verdict::Allowed, verdict);
        let said = |text: fn(&Objection) -> Option<&str>| first.and_then(text).unwrap_or_default();
        let row = json!([
            name,
            word(verdict),
            said(|one| Some(&one.message)),
            said(|one| one.fix.as_deref().or(one.ask.as_deref())),
            said(|one| one.alternative.as_deref()),
        ]);
        rows.push((verdict, row));
    }
    rows.sort_by_key(|(verdict, _)| *verdict as u8);
    let rows: Vec<Value> = rows.into_iter().map(|(_, row)| row).collect();
    let columns = ["Name", "Verdict", "Why", "To mend or to ask", "Instead"];
    Ok(json!({ "kind": "table", "columns": columns, "rows": rows }))
}

fn verdict(one: &Objection) -> Verdict {
    match one.weight {
        catalogue::Weight::Warns => Verdict::AllowedWithWarning,
        catalogue::Weight::Open => Verdict::Unknown,
        catalogue::Weight::Refuses => Verdict::Refused,
    }
}

fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Allowed => "allowed",
        Verdict::AllowedWithWarning => "allowed, with something to know",
        Verdict::Unknown => "cannot be told",
        Verdict::Refused => "refused",
    }
}

/// Devices that are not what they were.
fn lost(fleet: &[Snapshot]) -> Value {
    let rows: Vec<Value> = fleet
        .iter()
        .filter_map(|device| {
            let lost = drift::lost(device);
            let told: Vec<&str> = lost.iter().map(|state| state.told()).collect();
            (!told.is_empty()).then(|| json!([device.serial, device.model, told.join(", ")]))
        })
        .collect();
    let columns = ["Serial number", "Model", "Is not any more"];
    json!({ "kind": "table", "columns": columns, "rows": rows })
}

/// The devices of the tenant, as many as a table looks at.
fn fleet() -> Result<Vec<Snapshot>, HookError> {
    let mut all = Vec::new();
    let mut after = None;
    while all.len() < MOST {
        let page = devices::search(None, after.as_deref(), 100).map_err(told)?;
        all.extend(page.items);
        match page.next {
            Some(next) => after = Some(next),
            None => break,
        }
    }
    Ok(all)
}

fn told(error: AccessError) -> HookError {
    match error {
        AccessError::NotFound => HookError::Permanent("there is no such device".into()),
        AccessError::Denied(why) => HookError::Misconfigured(why),
        AccessError::Invalid(why) => HookError::Permanent(why),
        other => HookError::Retryable(format!("{other:?}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pomona_sdk::host::catalogue::{Judgement, Weight};
    use pomona_sdk::testing::{self, Host, fact, objection};

    fn panel(host: Host, name: &str, asked: Value) -> Result<Value, HookError> {
        let settings = Settings::default();
        let (told, _) = host.run(|| render(&settings, name, &asked.to_string()));
        told.map(|text| serde_json::from_str(&text).unwrap())
    }

    #[test]
    fn a_device_is_shown_with_what_it_takes_first() {
        let told = |objections| Judgement {
            verdict: Verdict::Refused,
            objections,
        };
        let host = Host::default()
            .device(testing::device())
            .named("command", &["A", "B", "C"])
            .judged(
                "command",
                "A",
                told(vec![objection("supervision", Weight::Refuses, "")]),
            )
            .judged(
                "command",
                "B",
                told(vec![objection("missing", Weight::Refuses, "Key")]),
            );
        let table = panel(host.clone(), "sendable", json!({ "device": "d" })).unwrap();
        let row = |n: usize| (table["rows"][n][0].clone(), table["rows"][n][1].clone());
        assert_eq!(row(0), (json!("B"), json!("allowed")));
        assert_eq!(row(1), (json!("C"), json!("cannot be told")));
        assert_eq!(row(2), (json!("A"), json!("refused")));
        assert!(panel(host.clone(), "sendable", json!({})).is_err());
        assert!(panel(host.clone(), "sendable", json!({ "device": "x" })).is_err());
        assert!(panel(host, "zap", json!({})).is_err());
    }

    #[test]
    fn devices_that_have_lost_something_are_listed() {
        let device = |id: &str, now| Snapshot {
            id: id.into(),
            serial: Some(id.into()),
            supervised: Some(now),
            facts_json: testing::facts(&[fact(
                "org.pomona.supervision-guard.best",
                &json!(["supervised"]),
            )]),
            ..testing::device()
        };
        let host = Host::default()
            .device(device("a", true))
            .device(device("b", false));
        let table = panel(host, "drift", json!({})).unwrap();
        assert_eq!(table["rows"], json!([["b", "iPad13,18", "supervised"]]));
    }
}

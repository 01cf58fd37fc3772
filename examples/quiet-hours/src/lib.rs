//! Quiet hours: a command that interrupts people waits for a window of time, in the device's own time zone.
//!
//! Judged while it is queued, and again before it is sent when the window has closed since, so that a device that comes back late
//! waits for the next one. A restart is changed as the house wants it: at once, or when its user
//! likes.
#![forbid(unsafe_code)]

use jiff::{Timestamp, ToSpan, civil::Time, tz::TimeZone};
use pomona_sdk::{
    CallContext, Change, CommandAmend, CommandValidate, Diagnostic, Draft, HookError, Settings,
    Snapshot, Stage, Verdict, allow_until, host, refuse,
};
use serde::Deserialize;

struct QuietHours;
pomona_sdk::export!(QuietHours: CommandAmend, CommandValidate, Settings);

#[derive(Deserialize)]
struct Rules {
    #[serde(default = "utc")]
    time_zone: String,
    windows: Vec<Window>,
    notify_user: Option<bool>,
}

#[derive(Deserialize)]
struct Window {
    group: Option<String>,
    from: String,
    to: String,
}

fn utc() -> String {
    "UTC".into()
}

impl CommandAmend for QuietHours {
    fn amend(_context: &CallContext, command: &Draft) -> Result<Vec<Change>, HookError> {
        Ok(notify(&host::settings()?, command))
    }
}

/// What a restart must be changed by; nothing once it is as the house wants it.
fn notify(rules: &Rules, command: &Draft) -> Vec<Change> {
    let Some(wanted) = rules.notify_user else {
        return Vec::new();
    };
    let asked = command
        .payload("NotifyUser")
        .and_then(|value| value.as_bool());
    match asked == Some(wanted) {
        true => Vec::new(),
        false => vec![Change::Set(("/NotifyUser".into(), wanted.to_string()))],
    }
}

impl CommandValidate for QuietHours {
    fn validate(
        context: &CallContext,
        _stage: Stage,
        device: &Snapshot,
        _command: &Draft,
    ) -> Result<Verdict, HookError> {
        judge(&host::settings()?, context.now_ms, device)
    }
}

/// The window that is open now lets the command go until it closes; else the command waits for the next to open.
fn judge(rules: &Rules, now_ms: u64, device: &Snapshot) -> Result<Verdict, HookError> {
    let name = device.time_zone.as_ref().unwrap_or(&rules.time_zone);
    let zone = TimeZone::get(name).map_err(|_| wrong(&format!("no time zone is named {name}")))?;
    let millis = i64::try_from(now_ms).map_err(|_| wrong("the time is out of range"))?;
    let now = Timestamp::from_millisecond(millis).map_err(|_| wrong("the time is out of range"))?;
    let today = now.to_zoned(zone.clone()).date();
    let mut next: Option<Timestamp> = None;
    for window in rules.windows.iter().filter(|w| w.is_for(device)) {
        let (from, to) = (time(&window.from)?, time(&window.to)?);
        // Yesterday's window may reach into today; tomorrow's is the next when today's is over.
        for day in -1..=1 {
            let opening = today.saturating_add(day.days());
            let closing = if to > from {
                opening
            } else {
                opening.saturating_add(1.day())
            };
            let at = |date: jiff::civil::Date, time: Time| {
                date.to_datetime(time)
                    .to_zoned(zone.clone())
                    .map(|zoned| zoned.timestamp())
            };
            let (Ok(open), Ok(close)) = (at(opening, from), at(closing, to)) else {
                continue;
            };
            if open <= now && now < close {
                return Ok(allow_until(millis_of(close)));
            }
            if open > now {
                next = Some(next.map_or(open, |known| known.min(open)));
            }
        }
    }
    Ok(match next {
        Some(open) => Verdict::Defer((millis_of(open), format!("quiet hours until {open}"))),
        None => Verdict::Veto("no window is set for this device's groups".into()),
    })
}

impl Window {
    fn is_for(&self, device: &Snapshot) -> bool {
        self.group
            .as_ref()
            .is_none_or(|group| device.groups.contains(group))
    }
}

fn time(text: &str) -> Result<Time, HookError> {
    Time::strptime("%H:%M", text).map_err(|_| wrong(&format!("{text} is no time such as 07:30")))
}

fn millis_of(time: Timestamp) -> u64 {
    u64::try_from(time.as_millisecond()).unwrap_or(0)
}

fn wrong(message: &str) -> HookError {
    HookError::Misconfigured(message.into())
}

impl Settings for QuietHours {
    fn validate(json: &str) -> Vec<Diagnostic> {
        let rules: Rules = match host::read_settings(json) {
            Ok(rules) => rules,
            Err(error) => return vec![refuse("", &format!("{error:?}"))],
        };
        let mut remarks = Vec::new();
        if TimeZone::get(&rules.time_zone).is_err() {
            remarks.push(refuse(
                "/time_zone",
                "use an IANA name such as Europe/Berlin",
            ));
        }
        for (n, window) in rules.windows.iter().enumerate() {
            for (key, text) in [("from", &window.from), ("to", &window.to)] {
                if time(text).is_err() {
                    remarks.push(refuse(
                        &format!("/windows/{n}/{key}"),
                        "use a time such as 07:30",
                    ));
                }
            }
        }
        remarks
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pomona_sdk::serde_json::json;
    use pomona_sdk::testing;

    #[test]
    fn a_restart_is_as_the_house_wants_it_and_then_stays() {
        let rules = |notify_user| Rules {
            time_zone: utc(),
            windows: Vec::new(),
            notify_user,
        };
        for (wanted, asked, changes) in [
            (None, json!({}), 0),
            (Some(true), json!({}), 1),
            (Some(true), json!({"NotifyUser": true}), 0),
            (Some(true), json!({"NotifyUser": false}), 1),
            (Some(false), json!({"NotifyUser": true}), 1),
        ] {
            let command = testing::draft("RestartDevice", &asked);
            let told = notify(&rules(wanted), &command);
            assert_eq!(told.len(), changes, "{wanted:?} {asked}");
        }
    }

    fn device(zone: Option<&str>, groups: &[&str]) -> Snapshot {
        Snapshot {
            time_zone: zone.map(Into::into),
            groups: groups.iter().map(|g| (*g).into()).collect(),
            ..testing::device()
        }
    }

    fn verdict(now: &str, zone: Option<&str>, groups: &[&str]) -> Verdict {
        let rules: Rules = host::read_settings(
            r#"{"windows": [{"from": "22:00", "to": "05:00"}, {"group": "labs", "from": "12:00", "to": "13:00"}]}"#,
        )
        .unwrap();
        let now: Timestamp = now.parse().unwrap();
        judge(&rules, millis_of(now), &device(zone, groups)).unwrap()
    }

    fn at(text: &str) -> u64 {
        millis_of(text.parse().unwrap())
    }

    #[test]
    fn an_open_window_lets_it_go_until_it_closes() {
        let berlin = Some("Europe/Berlin");
        assert_eq!(
            verdict("2026-11-24T23:00:00Z", None, &[]),
            allow_until(at("2026-11-25T05:00:00Z"))
        );
        assert_eq!(
            verdict("2026-11-25T03:59:59Z", berlin, &[]),
            allow_until(at("2026-11-25T04:00:00Z"))
        );
        assert_eq!(
            verdict("2026-11-24T12:30:00Z", None, &["labs"]),
            allow_until(at("2026-11-24T13:00:00Z"))
        );
    }

    #[test]
    fn outside_of_it_the_command_waits_for_the_next_in_the_devices_zone() {
        let Verdict::Defer((until, _)) = verdict("2026-11-24T12:30:00Z", Some("Asia/Tokyo"), &[])
        else {
            panic!("it must wait");
        };
        assert_eq!(until, at("2026-11-24T13:00:00Z"));
    }

    #[test]
    fn the_night_in_which_clocks_change_is_an_hour_longer() {
        // On 25 October 2026 Berlin goes from 3:00 back to 2:00.
        let berlin = Some("Europe/Berlin");
        assert_eq!(
            verdict("2026-10-24T20:00:00Z", berlin, &[]),
            allow_until(at("2026-10-25T04:00:00Z"))
        );
    }
}

//! Locks and lost mode.
//!
//! Owns DeviceLock, ClearPasscode, and the lost mode commands. Source: Apple's pages of these
//! commands.

use super::{DOMAIN, Reply};
use crate::clock::{plist_date, unix_seconds};
use crate::device::Device;
use crate::reading::Command;
use crate::xml;

impl Device {
    pub(super) fn lock(&mut self) -> Reply {
        self.state.locked = true;
        let result = match self.state.passcode {
            true => "Success",
            false => "NoPasscodeSet",
        };
        Reply::acknowledged(xml::string("MessageResult", result))
    }

    pub(super) fn clear_passcode(&mut self, command: &Command) -> Reply {
        match (command.data("UnlockToken"), &self.state.unlock_token) {
            (None, _) => Reply::malformed(),
            (Some(sent), Some(own)) if sent == own => {
                self.state.passcode = false;
                self.state.locked = false;
                Reply::done()
            }
            _ => Reply::error(
                5009,
                "MCPasscodeErrorDomain",
                "The unlock token is invalid.",
            ),
        }
    }

    pub(super) fn enable_lost_mode(&mut self, command: &Command) -> Reply {
        if command.text("Message").is_none() && command.text("PhoneNumber").is_none() {
            let text = "Either a message or a phone number is required.";
            return Reply::error(12066, DOMAIN, text);
        }
        self.state.lost_mode = true;
        Reply::done()
    }

    pub(super) fn disable_lost_mode(&mut self) -> Reply {
        if !self.state.lost_mode {
            return self.lost_mode_only();
        }
        self.state.lost_mode = false;
        Reply::done()
    }

    pub(super) fn lost_mode_only(&self) -> Reply {
        match self.state.lost_mode {
            true => Reply::done(),
            false => Reply::error(12067, DOMAIN, "The device is not in MDM Lost Mode."),
        }
    }

    pub(super) fn location(&self) -> Reply {
        if !self.state.lost_mode {
            return self.lost_mode_only();
        }
        let now = plist_date(unix_seconds());
        Reply::acknowledged(format!(
            "\t<key>Latitude</key>\n\t<real>52.5163</real>\n\
             \t<key>Longitude</key>\n\t<real>13.3777</real>\n\
             \t<key>HorizontalAccuracy</key>\n\t<real>65</real>\n\
             \t<key>VerticalAccuracy</key>\n\t<real>10</real>\n\
             \t<key>Altitude</key>\n\t<real>34.5</real>\n\
             \t<key>Speed</key>\n\t<real>-1</real>\n\
             \t<key>Course</key>\n\t<real>-1</real>\n\
             \t<key>Timestamp</key>\n\t<string>{now}</string>\n"
        ))
    }
}

//! The people on a Mac or a Shared iPad.
//!
//! Owns UserList, LogOutUser, DeleteUser. Source: Apple's pages of these commands.

use super::{DOMAIN, Reply};
use crate::device::Device;
use crate::device::hardware::Platform;
use crate::reading::Command;
use crate::xml;

impl Device {
    pub(super) fn user_list(&self) -> Reply {
        let mac = self.hardware.platform == Platform::Mac;
        let users: Vec<String> = self
            .channels
            .iter()
            .filter_map(|channel| channel.user.as_ref())
            .map(|user| {
                let mut keys = xml::string("UserName", &user.short_name);
                keys.push_str(&xml::boolean("IsLoggedIn", user.logged_in));
                if mac {
                    keys.push_str(&xml::string("FullName", &user.long_name));
                    keys.push_str(&xml::string("UserGUID", &user.id));
                    keys.push_str(&xml::integer("UID", 501));
                    keys.push_str(&xml::boolean("MobileAccount", false));
                } else {
                    keys.push_str(&xml::boolean("HasDataToSync", false));
                    keys.push_str(&xml::integer("DataQuota", 4_000_000_000));
                    keys.push_str(&xml::integer("DataUsed", 120_000_000));
                }
                xml::item(&keys)
            })
            .collect();
        Reply::acknowledged(xml::array("Users", &users))
    }

    pub(super) fn log_out_user(&mut self) -> Reply {
        let users = self
            .channels
            .iter_mut()
            .filter_map(|channel| channel.user.as_mut());
        let mut anybody = false;
        for user in users {
            anybody |= user.logged_in;
            user.logged_in = false;
        }
        match anybody {
            true => Reply::done(),
            false => Reply::error(12082, DOMAIN, "No user is logged in."),
        }
    }

    /// The account goes; its channel falls silent, and its record stays.
    pub(super) fn delete_user(&mut self, command: &Command) -> Reply {
        let everybody = command.flag("DeleteAllUsers");
        let name = command.text("UserName");
        if name.is_none() && !everybody {
            return Reply::malformed();
        }
        let force = command.flag("ForceDeletion");
        let mut found = false;
        for channel in &mut self.channels {
            let Some(user) = &channel.user else { continue };
            if !everybody && Some(user.short_name.as_str()) != name {
                continue;
            }
            found = true;
            if user.logged_in && !everybody && !force {
                return Reply::error(12071, DOMAIN, "The user is logged in.");
            }
            channel.user = None;
            channel.wipe();
        }
        match found || everybody {
            true => Reply::done(),
            false => Reply::error(12070, DOMAIN, "There is no such user."),
        }
    }
}

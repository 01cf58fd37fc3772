//! Apps: what is installed, what is managed, what comes and goes.
//!
//! Owns InstalledApplicationList, ManagedApplicationList, InstallApplication, RemoveApplication.
//! Downloads nothing: an app is there when it was asked for. Source: Apple's pages of these
//! commands.

use super::{DOMAIN, Reply};
use crate::device::Device;
use crate::device::state::App;
use crate::reading::Command;
use crate::xml;

impl Device {
    pub(super) fn installed_applications(&self, command: &Command) -> Reply {
        let wanted = command.texts("Identifiers");
        let managed_only = command.flag("ManagedAppsOnly");
        let items: Vec<String> = self
            .state
            .apps
            .iter()
            .filter(|app| wanted.is_empty() || wanted.contains(&app.identifier.as_str()))
            .filter(|app| app.managed || !managed_only)
            .map(|app| {
                let keys = [
                    xml::string("Identifier", &app.identifier),
                    xml::string("Name", &app.name),
                    xml::string("ShortVersion", &app.version),
                    xml::string("Version", &app.version),
                    xml::integer("BundleSize", app.size_bytes),
                    xml::integer("DynamicSize", 0),
                    xml::boolean("IsValidated", true),
                    xml::boolean("Installing", false),
                ];
                xml::item(&keys.concat())
            })
            .collect();
        Reply::acknowledged(xml::array("InstalledApplicationList", &items))
    }

    pub(super) fn managed_applications(&self, command: &Command) -> Reply {
        let wanted = command.texts("Identifiers");
        let apps: String = self
            .state
            .apps
            .iter()
            .filter(|app| app.managed)
            .filter(|app| wanted.is_empty() || wanted.contains(&app.identifier.as_str()))
            .map(|app| {
                let keys = [
                    xml::string("Status", "Managed"),
                    xml::integer("ManagementFlags", 1),
                    xml::boolean("HasConfiguration", false),
                    xml::boolean("HasFeedback", false),
                    xml::boolean("IsValidated", true),
                ];
                xml::dict(&xml::escape(&app.identifier), &keys.concat())
            })
            .collect();
        Reply::acknowledged(xml::dict("ManagedApplicationList", &apps))
    }

    pub(super) fn install_app(&mut self, command: &Command) -> Reply {
        let store_id = command.body.get("iTunesStoreID");
        let store_id = store_id.and_then(plist::Value::as_signed_integer);
        let from_url = command.text("ManifestURL").is_some()
            || command
                .body
                .get("Manifest")
                .is_some_and(|m| m.as_dictionary().is_some());
        let identifier = match (command.text("Identifier"), store_id) {
            (Some(identifier), _) => identifier.to_owned(),
            (None, Some(id)) => format!("com.example.store.app{id}"),
            (None, None) if from_url => {
                let tail = command
                    .text("ManifestURL")
                    .and_then(|url| url.rsplit('/').next());
                format!("com.example.enterprise.{}", tail.unwrap_or("app"))
            }
            (None, None) => return Reply::malformed(),
        };
        let apps = &mut self.state.apps;
        if let Some(app) = apps.iter_mut().find(|app| app.identifier == identifier) {
            if app.managed && command.request_type == "InstallApplication" {
                return Reply::error(12026, DOMAIN, "The app is already installed.");
            }
            app.managed = true;
        } else {
            apps.push(App {
                name: identifier.rsplit('.').next().unwrap_or("App").to_owned(),
                identifier: identifier.clone(),
                version: "1.0".to_owned(),
                size_bytes: 12_345_678,
                managed: true,
            });
        }
        let keys = [
            xml::string("Identifier", &identifier),
            xml::string("State", "Installing"),
        ];
        Reply::acknowledged(keys.concat())
    }

    pub(super) fn remove_app(&mut self, command: &Command) -> Reply {
        let Some(identifier) = command.text("Identifier") else {
            return Reply::malformed();
        };
        let apps = &mut self.state.apps;
        let before = apps.len();
        apps.retain(|app| !(app.managed && app.identifier == identifier));
        match apps.len() == before {
            true => Reply::error(12061, DOMAIN, "The app is not managed."),
            false => Reply::acknowledged(xml::string("Identifier", identifier)),
        }
    }
}

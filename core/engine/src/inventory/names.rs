//! The names under which hooks and rules know what a device tells.

use super::read::DEVICE;

/// Keys that are known under a plain name as well, since the contract with plugins has them as members of a device.
const PLAIN: &[(&str, &str)] = &[
    ("IsSupervised", "supervised"),
    ("IsMultiUser", "shared-ipad"),
    ("TimeZone", "time-zone"),
    ("BuildVersion", "os-build"),
];

/// The plain name of a key of the section `device`, if it has one.
pub(crate) fn plain_name(section: &str, key: &str) -> Option<&'static str> {
    let named = PLAIN.iter().find(|(named, _)| *named == key);
    named.filter(|_| section == DEVICE).map(|(_, plain)| *plain)
}

/// Words of Apple's that are one word, however they are written.
const WORDS: &[&str] = &["iOS", "iTunes", "iCloud", "eSIM", "WiFi", "MacOS"];

/// The fact that a key of a section is: `security`, `PasscodePresent` is `security.passcode-present`, and `FDE_Enabled` is
/// `security.fde-enabled`. A new word begins at a capital letter after a small one, at the last capital of several, and at an underscore.
pub(crate) fn fact_name(section: &str, key: &str) -> String {
    let mut name = String::with_capacity(section.len() + key.len() + 8);
    name.push_str(section);
    name.push('.');
    let begun = name.len();
    let mut rest = key;
    while let Some(first) = rest.chars().next() {
        let (word, after) = next_word(rest);
        let letters = word.chars().filter(char::is_ascii_alphanumeric);
        let letters: String = letters.map(|c| c.to_ascii_lowercase()).collect();
        if !letters.is_empty() {
            if name.len() > begun {
                name.push('-');
            }
            name.push_str(&letters);
        }
        rest = match after.len() < rest.len() {
            true => after,
            false => &rest[first.len_utf8()..],
        };
    }
    name
}

fn next_word(text: &str) -> (&str, &str) {
    if let Some(word) = WORDS.iter().find(|word| text.starts_with(**word)) {
        return text.split_at(word.len());
    }
    let letters: Vec<(usize, char)> = text.char_indices().collect();
    let end = (1..letters.len()).find(|n| {
        let (at, now) = letters[*n];
        let before = letters[n - 1].1;
        let follows = letters.get(n + 1).map(|(_, c)| *c);
        let begins = now.is_ascii_uppercase()
            && (!before.is_ascii_uppercase() || follows.is_some_and(|c| c.is_ascii_lowercase()));
        let known = *n > 0 && WORDS.iter().any(|word| text[at..].starts_with(*word));
        begins || known || !now.is_ascii_alphanumeric()
    });
    text.split_at(end.map_or(text.len(), |n| letters[n].0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_of_a_device_have_plain_names() {
        assert_eq!(plain_name("device", "TimeZone"), Some("time-zone"));
        assert_eq!(plain_name("device", "OSVersion"), None);
        assert_eq!(plain_name("security", "TimeZone"), None);
    }

    #[test]
    fn keys_are_read_in_their_words() {
        for (key, name) in [
            ("PasscodePresent", "passcode-present"),
            ("FDE_Enabled", "fde-enabled"),
            ("IsSupervised", "is-supervised"),
            ("OSVersion", "os-version"),
            ("UDID", "udid"),
            ("IsMDMLostModeEnabled", "is-mdm-lost-mode-enabled"),
            ("WiFiMAC", "wifi-mac"),
            ("SupportsiOSAppInstalls", "supports-ios-app-installs"),
            (
                "iTunesStoreAccountIsActive",
                "itunes-store-account-is-active",
            ),
            ("IsiTunesOn", "is-itunes-on"),
            ("EIDs", "ei-ds"),
            ("PIN2", "pin2"),
            ("a b/c", "a-b-c"),
            ("Ä", ""),
            ("", ""),
        ] {
            assert_eq!(fact_name("x", key), format!("x.{name}"), "{key}");
        }
    }
}

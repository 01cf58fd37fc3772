//! Property lists as text: the pieces that device messages are put together from.
//!
//! Owns escaping and the frame. Never parses. The messages themselves stand in the `device`
//! folder as literal text, so that they owe nothing to a serializer that a server might share.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// A whole document around the keys of its dictionary.
pub(crate) fn document(inner: &str) -> String {
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
         <!DOCTYPE plist PUBLIC \"-//Apple//DTD PLIST 1.0//EN\" \
         \"http://www.apple.com/DTDs/PropertyList-1.0.dtd\">\n\
         <plist version=\"1.0\">\n<dict>\n{inner}</dict>\n</plist>\n"
    )
}

/// A key with a string.
pub(crate) fn string(key: &str, value: &str) -> String {
    format!("\t<key>{key}</key>\n\t<string>{}</string>\n", escape(value))
}

/// A key with an integer.
pub(crate) fn integer(key: &str, value: i64) -> String {
    format!("\t<key>{key}</key>\n\t<integer>{value}</integer>\n")
}

/// A key with a boolean.
pub(crate) fn boolean(key: &str, value: bool) -> String {
    format!("\t<key>{key}</key>\n\t<{value}/>\n")
}

/// A key with bytes.
pub(crate) fn data(key: &str, value: &[u8]) -> String {
    let encoded = STANDARD.encode(value);
    format!("\t<key>{key}</key>\n\t<data>\n\t{encoded}\n\t</data>\n")
}

/// A key with a dictionary of these keys.
pub(crate) fn dict(key: &str, inner: &str) -> String {
    format!("\t<key>{key}</key>\n\t<dict>\n{inner}\t</dict>\n")
}

/// A key with an array of elements that are XML already.
pub(crate) fn array(key: &str, elements: &[String]) -> String {
    format!(
        "\t<key>{key}</key>\n\t<array>\n{}\t</array>\n",
        elements.concat()
    )
}

/// An array element: a dictionary.
pub(crate) fn item(inner: &str) -> String {
    format!("\t<dict>\n{inner}\t</dict>\n")
}

/// Text for use inside an element.
pub(crate) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            // Control characters are not allowed in XML at all.
            c if c.is_control() && !matches!(c, '\n' | '\t') => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_are_property_lists() {
        let text = document(
            &[
                string("A", "<&>\u{1}"),
                integer("B", -4),
                boolean("C", true),
                data("D", b"xyz"),
                dict("E", &string("F", "g")),
                array("H", &[item(&integer("I", 1))]),
            ]
            .concat(),
        );
        let value = plist::Value::from_reader_xml(text.as_bytes()).unwrap();
        let dict = value.as_dictionary().unwrap();
        assert_eq!(dict["A"].as_string(), Some("<&> "));
        assert_eq!(dict["B"].as_signed_integer(), Some(-4));
        assert_eq!(dict["C"].as_boolean(), Some(true));
        assert_eq!(dict["D"].as_data(), Some(&b"xyz"[..]));
        assert_eq!(
            dict["E"].as_dictionary().unwrap()["F"].as_string(),
            Some("g")
        );
        assert_eq!(dict["H"].as_array().unwrap().len(), 1);
    }
}

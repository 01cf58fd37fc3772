//! Properties of the guard over generated input: it never panics, and what it lets through loses nothing in the reader behind it.

#![expect(clippy::unwrap_used, reason = "a failing test may panic")]

use plist::{Dictionary, Value};
use pomona_protocol::guard::{self, Guarded};
use pomona_protocol::{CommandEnvelope, GuardLimits, ParseError, parse_check_in, parse_report};
use proptest::prelude::*;

const GOLDEN: [&str; 4] = [
    include_str!("../testdata/token_update_mac_user.plist"),
    include_str!("../testdata/report_error.plist"),
    include_str!("../testdata/report_certificates.plist"),
    include_str!("../testdata/command_device_lock.plist"),
];

const FRAGMENTS: [&str; 48] = [
    "<plist>",
    "</plist>",
    "<plist version=\"1.0\">",
    "<dict>",
    "</dict>",
    "<dict/>",
    "<array>",
    "</array>",
    "<key>",
    "</key>",
    "<key>a</key>",
    "<key>b</key>",
    "<string>",
    "</string>",
    "<string/>",
    "<string>x</string>",
    "<true/>",
    "<true>",
    "</true>",
    "<integer>1</integer>",
    "<integer>",
    "</integer>",
    "<real>1e5</real>",
    "<date>2026-01-01T00:00:00Z</date>",
    "<data>AAAA</data>",
    "<data>",
    "</data>",
    "&amp;",
    "&#65;",
    "&#x1b;",
    "&x;",
    "&",
    "<!--",
    "-->",
    "<!-- a -->",
    "<![CDATA[",
    "]]>",
    "<!DOCTYPE plist>",
    "<!DOCTYPE plist [",
    "<!ENTITY a \"b\">",
    "]>",
    "<?xml version=\"1.0\"?>",
    "<?a b?>",
    "\u{feff}",
    "\0",
    " ",
    "text",
    "<",
];

/// How many elements a value has in XML.
fn elements(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(elements).sum::<usize>(),
        Value::Dictionary(entries) => {
            1 + entries
                .values()
                .map(|entry| 1 + elements(entry))
                .sum::<usize>()
        }
        _ => 1,
    }
}

/// What must hold for everything that the guard lets through.
fn nothing_is_lost(guarded: &Guarded<'_>) -> Result<(), TestCaseError> {
    let value = guarded.value();
    prop_assert!(value.is_ok(), "the reader refused what the guard took");
    let value = value.unwrap();
    prop_assert_eq!(guarded.elements(), 1 + elements(&value));
    let whole = Value::from_reader_xml(guarded.xml().as_bytes()).unwrap();
    prop_assert_eq!(&whole, &value);
    let root = format!("<plist>{}</plist>", guarded.root());
    let limits = GuardLimits {
        control_characters_in_strings: true,
        ..GuardLimits::default()
    };
    let again = guard::check(root.as_bytes(), &limits)
        .unwrap()
        .value()
        .unwrap();
    prop_assert_eq!(&again, &value);
    let mut written = Vec::new();
    value.to_writer_xml(&mut written).unwrap();
    let again = guard::check(&written, &limits).unwrap().value().unwrap();
    prop_assert_eq!(again, value);
    Ok(())
}

fn feed_everything(body: &[u8]) -> Result<(), TestCaseError> {
    let limits = GuardLimits::default();
    for limits in [
        limits,
        GuardLimits {
            control_characters_in_strings: true,
            ..limits
        },
    ] {
        if let Ok(guarded) = guard::check(body, &limits) {
            nothing_is_lost(&guarded)?;
        }
    }
    let refusals = [
        parse_check_in(body, &limits).err(),
        parse_report(body, &limits).err(),
        CommandEnvelope::parse(body).err(),
    ];
    prop_assert!(!refusals.contains(&Some(ParseError::Plist)));
    Ok(())
}

/// A value whose strings and keys hold anything that XML can say.
fn values() -> impl Strategy<Value = Value> {
    let text = prop_oneof![
        any::<String>(),
        "[a-z<>&'\"\\]\\r\\n\\t ]{0,12}",
        "[\u{80}-\u{ffff}]{0,6}"
    ]
    .prop_map(|text| {
        text.chars()
            .filter(|&character| {
                (character >= ' ' || "\t\r\n".contains(character))
                    && !matches!(character, '\u{fffe}' | '\u{ffff}')
            })
            .collect::<String>()
    });
    let scalar = prop_oneof![
        text.clone().prop_map(Value::String),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<bool>().prop_map(Value::Boolean),
        (-1e12..1e12).prop_map(Value::Real),
        prop::collection::vec(any::<u8>(), 0..40).prop_map(Value::Data),
    ];
    scalar.prop_recursive(5, 80, 24, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::Array),
            prop::collection::btree_map(text.clone(), inner, 0..24)
                .prop_map(|entries| Value::Dictionary(entries.into_iter().collect::<Dictionary>())),
        ]
    })
}

/// Writes a value in an unusual but legal way, steered by a stream of bytes.
fn write(value: &Value, whim: &mut impl FnMut() -> u8, xml: &mut String) {
    let blank = |whim: &mut dyn FnMut() -> u8, xml: &mut String| {
        xml.push_str(["", "\n\t", "<!-- <key> & -->", " "][usize::from(whim() % 4)]);
    };
    blank(whim, xml);
    match value {
        Value::Dictionary(entries) => {
            xml.push_str("<dict>");
            for (key, entry) in entries {
                blank(whim, xml);
                xml.push_str("<key>");
                escape(key, whim, xml);
                xml.push_str("</key >");
                write(entry, whim, xml);
            }
            xml.push_str("</dict>");
        }
        Value::Array(items) => {
            xml.push_str("<array >");
            for item in items {
                write(item, whim, xml);
            }
            xml.push_str("</array>");
        }
        Value::String(text) => {
            xml.push_str("<string>");
            escape(text, whim, xml);
            xml.push_str("</string>");
        }
        Value::Boolean(true) => xml.push_str(["<true/>", "<true></true>"][usize::from(whim() % 2)]),
        Value::Boolean(false) => xml.push_str("<false />"),
        Value::Integer(number) => *xml += &format!("<integer>{number}</integer>"),
        Value::Real(number) => *xml += &format!("<real>{number:?}</real>"),
        Value::Data(bytes) => {
            let text = plist::Data::new(bytes.clone()).to_xml_format();
            *xml += &format!("<data>\n{text}\t</data>");
        }
        _ => unreachable!("no other value is generated"),
    }
    blank(whim, xml);
}

fn escape(text: &str, whim: &mut impl FnMut() -> u8, xml: &mut String) {
    for character in text.chars() {
        let code = u32::from(character);
        match whim() % 4 {
            0 => *xml += &format!("&#{code};"),
            1 => *xml += &format!("&#x{code:X};"),
            _ => match character {
                '<' => xml.push_str("&lt;"),
                '&' => xml.push_str("&amp;"),
                '>' => xml.push_str("&gt;"),
                '"' => xml.push_str("&quot;"),
                '\'' => xml.push_str("&apos;"),
                other => xml.push(other),
            },
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_bytes_make_a_decoder_panic(body in prop::collection::vec(any::<u8>(), 0..400)) {
        feed_everything(&body)?;
    }

    #[test]
    fn no_bytes_inside_a_property_list_make_a_decoder_panic(inner in ".{0,60}", element in "[a-z]{1,7}") {
        feed_everything(format!("<plist><{element}>{inner}</{element}></plist>").as_bytes())?;
        feed_everything(format!("<plist><string>{inner}</string></plist>").as_bytes())?;
        feed_everything(format!("<!DOCTYPE {inner}><plist><string/></plist>").as_bytes())?;
    }

    #[test]
    fn no_heap_of_fragments_gets_through_with_a_loss(picks in prop::collection::vec(0..FRAGMENTS.len(), 0..24)) {
        let heap: String = picks.into_iter().map(|pick| FRAGMENTS[pick]).collect();
        feed_everything(heap.as_bytes())?;
        feed_everything(format!("<plist><array>{heap}</array></plist>").as_bytes())?;
        feed_everything(format!("<plist><dict><key>k</key>{heap}</dict></plist>").as_bytes())?;
    }

    #[test]
    fn no_damage_to_a_message_gets_through_with_a_loss(
        file in 0..GOLDEN.len(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..FRAGMENTS.len(), 0..4u8), 1..5),
    ) {
        let mut body = GOLDEN[file].as_bytes().to_vec();
        for (place, byte, fragment, kind) in damage {
            let at = place.index(body.len());
            match kind {
                0 => body[at] = byte,
                1 => drop(body.remove(at)),
                2 => body.insert(at, byte),
                _ => drop(body.splice(at..at, FRAGMENTS[fragment].bytes())),
            }
        }
        feed_everything(&body)?;
    }

    #[test]
    fn dates_numbers_and_data_agree_with_the_reader(
        digits in "[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(Z|[+-][0-9]{2}:[0-9]{2}|\\.[0-9]{1,3}Z)",
        number in "[-+0-9.eExXa-f]{0,24}",
        base64 in "[A-Za-z0-9+/= \\n]{0,16}",
    ) {
        for scalar in [
            format!("<date>{digits}</date>"),
            format!("<integer>{number}</integer>"),
            format!("<real>{number}</real>"),
            format!("<data>{base64}</data>"),
        ] {
            feed_everything(format!("<plist>{scalar}</plist>").as_bytes())?;
        }
    }

    #[test]
    fn every_value_written_in_any_legal_way_comes_back_whole(
        value in values(),
        whims in prop::collection::vec(any::<u8>(), 64),
    ) {
        let mut next = 0;
        let mut whim = || {
            next += 1;
            whims[next % whims.len()]
        };
        let mut xml = String::from("<plist version=\"1.0\">");
        write(&value, &mut whim, &mut xml);
        xml.push_str("</plist>");
        let guarded = guard::check(xml.as_bytes(), &GuardLimits::default());
        prop_assert!(guarded.is_ok(), "{:?}: {}", guarded.err(), xml);
        let guarded = guarded.unwrap();
        prop_assert_eq!(guarded.value().unwrap(), value);
        nothing_is_lost(&guarded)?;
    }
}

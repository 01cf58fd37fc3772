use super::{GuardError, GuardLimits, check};

fn plist(inner: &str) -> String {
    format!("<plist version=\"1.0\">{inner}</plist>")
}

fn refusal(inner: &str) -> Option<GuardError> {
    check(plist(inner).as_bytes(), &GuardLimits::default()).err()
}

#[test]
fn every_type_is_let_through() {
    let xml = plist(
        "<dict><key>a</key><string>x &amp; y &#x1F600;</string><key>b</key><data> AAEC </data>\
         <key>c</key><date>9999-12-31T23:59:59Z</date><key>d</key><integer>-9223372036854775808</integer>\
         <key>e</key><integer>18446744073709551615</integer><key>f</key><real>-1.5e3</real><key>g</key><true/>\
         <key>h</key><false></false><key>i</key><array><string/><data/><dict/><array/></array><key/><string/></dict>",
    );
    let guarded = check(xml.as_bytes(), &GuardLimits::default()).unwrap();
    assert_eq!(guarded.elements(), 26);
    assert!(guarded.root().starts_with("<dict><key>a") && guarded.root().ends_with("</dict>"));
    assert_eq!(guarded.dictionary().unwrap().len(), 10);
}

#[test]
fn the_root_is_found_for_scalars_and_empty_elements() {
    for root in [
        "<dict/>",
        "<string>x</string>",
        "<true/>",
        "<array></array>",
    ] {
        let xml = plist(root);
        assert_eq!(
            check(xml.as_bytes(), &GuardLimits::default())
                .unwrap()
                .root(),
            root
        );
    }
}

#[test]
fn a_broken_rule_has_its_own_name() {
    use GuardError::*;
    let table = [
        ("", NoRoot),
        ("<dict/><dict/>", TwoRoots),
        ("<key>a</key>", MisplacedElement),
        ("<array><key>a</key></array>", MisplacedElement),
        ("<dict><string>a</string></dict>", ValueWithoutKey),
        ("<dict><key>a</key></dict>", KeyWithoutValue),
        (
            "<dict><key>a</key><key>b</key><true/></dict>",
            KeyWithoutValue,
        ),
        (
            "<dict><key>a</key><true/><key>a</key><true/></dict>",
            DuplicateKey,
        ),
        (
            "<dict><key>a</key><true/><key>&#97;</key><true/></dict>",
            DuplicateKey,
        ),
        ("<string><string>a</string></string>", MisplacedElement),
        ("<true>x</true>", Boolean),
        ("<true> </true>", Boolean),
        ("<true><string/></true>", MisplacedElement),
        ("<string a='b'>x</string>", Attribute),
        ("<x:string>x</x:string>", UnknownElement),
        ("<String>x</String>", UnknownElement),
        ("<plist><dict/></plist>", MisplacedElement),
        ("<integer/>", Integer),
        ("<integer> 1</integer>", Integer),
        ("<integer>+1</integer>", Integer),
        ("<integer>0x10</integer>", Integer),
        ("<integer>18446744073709551616</integer>", Integer),
        ("<integer>-9223372036854775809</integer>", Integer),
        ("<integer>&#49;</integer>", Integer),
        ("<real>nan</real>", Real),
        ("<real>Infinity</real>", Real),
        ("<real>1e999</real>", Real),
        ("<real/>", Real),
        ("<date>2026-13-01T00:00:00Z</date>", Date),
        ("<date>2026-02-30T00:00:00Z</date>", Date),
        ("<date>2026-01-01T00:00:00.5Z</date>", Date),
        ("<date>9999-12-31T23:59:59-23:59</date>", Date),
        ("<date>2026-06-30T23:59:60Z</date>", Date),
        ("<data>A</data>", Data),
        ("<data>AA</data>", Data),
        ("<data>AB==</data>", Data),
        ("<data>AAB=</data>", Data),
        ("<data>A===</data>", Data),
        ("<data>AA==AA==</data>", Data),
        ("<data>AA_-</data>", Data),
        ("<string>&nbsp;</string>", Entity),
        ("<string>&#xD800;</string>", Entity),
        ("<string>&#x110000;</string>", Entity),
        ("<string>&#+65;</string>", Entity),
        ("<string>&#;</string>", Entity),
        ("<string>&#0;</string>", ControlCharacter),
        ("<string>&#27;</string>", ControlCharacter),
        ("<string>\u{1b}</string>", ControlCharacter),
        ("<string>&#xFFFE;</string>", ControlCharacter),
        ("<string>a & b</string>", Malformed),
        ("<string>a</key>", Malformed),
        ("<string><![CDATA[a]]></string>", CData),
        ("<string>a<!-- b --></string>", Comment),
        ("<string>a<?b c?></string>", ProcessingInstruction),
        ("text", StrayText),
        ("<array>text</array>", StrayText),
        ("<array>&#32;</array>", StrayText),
    ];
    for (inner, expected) in table {
        assert_eq!(refusal(inner), Some(expected), "{inner}");
    }
}

#[test]
fn a_wide_dictionary_still_finds_its_duplicate() {
    for twin in [0, 7, 15, 16, 17, 99] {
        let mut inner = String::from("<dict>");
        for number in 0..100 {
            inner += &format!("<key>{number}</key><dict><key>{number}</key><true/></dict>");
        }
        assert_eq!(refusal(&format!("{inner}</dict>")), None);
        inner += &format!("<key>{twin}</key><true/></dict>");
        assert_eq!(refusal(&inner), Some(GuardError::DuplicateKey), "{twin}");
    }
}

#[test]
fn limits_hold_at_their_edge() {
    let limits = GuardLimits {
        max_depth: 3,
        max_elements: 8,
        max_attributes: 1,
        max_key_bytes: 4,
        max_string_bytes: 5,
        control_characters_in_strings: false,
    };
    let table = [
        ("<array><array><array/></array></array>", None),
        (
            "<array><array><array><array/></array></array></array>",
            Some(GuardError::TooDeep),
        ),
        (
            "<array><true/><true/><true/><true/><true/><true/></array>",
            None,
        ),
        (
            "<array><true/><true/><true/><true/><true/><true/><true/></array>",
            Some(GuardError::TooManyElements),
        ),
        ("<dict><key>abcd</key><string>abcde</string></dict>", None),
        (
            "<dict><key>abcde</key><true/></dict>",
            Some(GuardError::KeyTooLong),
        ),
        (
            "<dict><key>&lt;&lt;&lt;&lt;&lt;</key><true/></dict>",
            Some(GuardError::KeyTooLong),
        ),
        ("<string>abcdef</string>", Some(GuardError::ValueTooLong)),
        ("<data>AAAAAAAAAAAAAAAA</data>", None),
    ];
    for (inner, expected) in table {
        let result = check(plist(inner).as_bytes(), &limits).err();
        assert_eq!(result, expected, "{inner}");
    }
    let two = "<plist version=\"1.0\" a=\"b\"><dict/></plist>";
    assert_eq!(
        check(two.as_bytes(), &limits).err(),
        Some(GuardError::Attribute)
    );
    assert!(check(two.as_bytes(), &GuardLimits::default()).is_ok());
}

#[test]
fn control_characters_pass_in_strings_alone_where_they_are_allowed() {
    let limits = GuardLimits {
        control_characters_in_strings: true,
        ..GuardLimits::default()
    };
    let table = [
        ("<string>\u{1b}[31m&#27;</string>", None),
        ("<string>\0</string>", Some(GuardError::ControlCharacter)),
        ("<string>&#0;</string>", Some(GuardError::ControlCharacter)),
        (
            "<dict><key>\u{1b}</key><true/></dict>",
            Some(GuardError::ControlCharacter),
        ),
        (
            "<dict><key>&#27;</key><true/></dict>",
            Some(GuardError::ControlCharacter),
        ),
        ("<array>\u{1b}</array>", Some(GuardError::StrayText)),
        (
            "<!-- \u{1b} --><array/>",
            Some(GuardError::ControlCharacter),
        ),
    ];
    for (inner, expected) in table {
        let xml = plist(inner);
        let result = check(xml.as_bytes(), &limits);
        assert_eq!(result.as_ref().err(), expected.as_ref(), "{inner}");
        if let Ok(guarded) = result {
            assert_eq!(
                guarded.value().unwrap().as_string(),
                Some("\u{1b}[31m\u{1b}")
            );
        }
    }
}

#[test]
fn the_prolog_is_read_strictly() {
    let good = [
        "<plist><dict/></plist>",
        "\u{feff}<plist><dict/></plist>",
        "\n<plist><dict/></plist>\n",
        "<?xml version=\"1.0\"?><plist><dict/></plist>",
        "<?xml version=\"1.0\" encoding=\"utf-8\" standalone=\"yes\"?><plist><dict/></plist>",
        "<?xml version='1.0' encoding='US-ASCII'?><plist><dict/></plist>",
        "<!DOCTYPE plist PUBLIC \"-//Apple//DTD PLIST 1.0//EN\" \"http://www.apple.com/DTDs/PropertyList-1.0.dtd\"><plist><dict/></plist>",
        "<!DOCTYPE plist PUBLIC \"-//Apple Computer//DTD PLIST 1.0//EN\"\n 'https://www.apple.com/DTDs/PropertyList-1.0.dtd' ><plist><dict/></plist>",
        "<!-- a comment --><plist><!-- another --><dict/></plist>",
    ];
    for xml in good {
        assert_eq!(
            check(xml.as_bytes(), &GuardLimits::default()).err(),
            None,
            "{xml}"
        );
    }
    use GuardError::*;
    let bad: [(&str, GuardError); 22] = [
        ("", Empty),
        (" \n", Empty),
        ("\u{feff}", Empty),
        ("bplist00", Binary),
        ("{ a = b; }", NotXml),
        (
            " <?xml version=\"1.0\"?><plist><dict/></plist>",
            Declaration,
        ),
        ("<?xml version=\"1.1\"?><plist><dict/></plist>", Declaration),
        (
            "<?xml encoding=\"utf-8\"?><plist><dict/></plist>",
            Declaration,
        ),
        (
            "<?xml version=\"1.0\" encoding=\"latin1\"?><plist><dict/></plist>",
            Encoding,
        ),
        (
            "<?xml version=\"1.0\" encoding=\"us-ascii\"?><plist><string>ü</string></plist>",
            Encoding,
        ),
        ("<plist><?xml version=\"1.0\"?><dict/></plist>", Declaration),
        ("<!DOCTYPE plist><plist><dict/></plist>", Doctype),
        (
            "<!DOCTYPE plist [<!ENTITY a \"b\">]><plist><dict/></plist>",
            Doctype,
        ),
        (
            "<!DOCTYPE plist SYSTEM \"file:///etc/passwd\"><plist><dict/></plist>",
            Doctype,
        ),
        ("<!DOCTYPE html><plist><dict/></plist>", Doctype),
        (
            "<plist><dict/></plist><plist><dict/></plist>",
            TrailingContent,
        ),
        ("<plist><dict/></plist>x", TrailingContent),
        ("<plist><dict/></plist><!-- x -->", TrailingContent),
        ("<dict/>", NoPlist),
        ("x<plist/>", NotXml),
        ("<plist/>", NoRoot),
        ("<plist><dict>", Incomplete),
    ];
    for (xml, expected) in bad {
        assert_eq!(
            check(xml.as_bytes(), &GuardLimits::default()).err(),
            Some(expected),
            "{xml}"
        );
    }
    let bytes: [(&[u8], GuardError); 6] = [
        (b"\0", ControlCharacter),
        (b"\xFF\xFE<\0p\0", Encoding),
        (b"\xFE\xFF\0<\0p", Encoding),
        (b"<\0p\0l\0", Encoding),
        (b"\0<\0p\0l", Encoding),
        (b"<plist><string>\xE9</string></plist>", Utf8),
    ];
    for (xml, expected) in bytes {
        assert_eq!(
            check(xml, &GuardLimits::default()).err(),
            Some(expected),
            "{xml:?}"
        );
    }
}

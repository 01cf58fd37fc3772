//! The BER pass on generated trees: what it must leave alone, what it must undo, and that it never panics.

use pomona_cms::ber::{BerError, Limits, MAX_DEPTH, normalize, require_definite};
use proptest::prelude::*;

use crate::build::tlv;
use crate::lab::fastest;

#[derive(Clone, Debug)]
enum Tree {
    Leaf(u8, Vec<u8>),
    Node(u8, Vec<Tree>),
}

/// How one element is written in BER.
#[derive(Clone, Copy, Debug)]
enum Form {
    Definite,
    Indefinite,
    /// Octet strings in pieces of this size, of indefinite length.
    Pieces(usize),
}

fn tree() -> impl Strategy<Value = Tree> {
    let leaf = (
        prop::sample::select(vec![0x02u8, 0x04, 0x05, 0x06, 0x0C, 0x13, 0x80, 0x81, 0x43]),
        prop::collection::vec(any::<u8>(), 0..200),
    )
        .prop_map(|(tag, body)| Tree::Leaf(tag, body));
    leaf.prop_recursive(6, 60, 6, |inner| {
        (
            prop::sample::select(vec![0x30u8, 0x31, 0xA1, 0xA3, 0x61]),
            prop::collection::vec(inner, 0..6),
        )
            .prop_map(|(tag, members)| Tree::Node(tag, members))
    })
}

fn der(tree: &Tree) -> Vec<u8> {
    match tree {
        Tree::Leaf(tag, body) => tlv(*tag, &[body]),
        Tree::Node(tag, members) => {
            let members: Vec<u8> = members.iter().flat_map(der).collect();
            tlv(*tag, &[&members])
        }
    }
}

fn ber(tree: &Tree, forms: &mut impl Iterator<Item = Form>) -> Vec<u8> {
    let form = forms.next().unwrap_or(Form::Definite);
    match (tree, form) {
        (Tree::Leaf(4, body), Form::Pieces(size)) => {
            let mut out = vec![0x24, 0x80];
            for piece in body.chunks(size.max(1)) {
                out.extend(tlv(4, &[piece]));
            }
            out.extend([0, 0]);
            out
        }
        (Tree::Leaf(4, body), Form::Indefinite) => tlv(0x24, &[&tlv(0x24, &[&tlv(4, &[body])])]),
        (Tree::Leaf(tag, body), _) => tlv(*tag, &[body]),
        (Tree::Node(tag, members), Form::Definite) => {
            let members: Vec<u8> = members.iter().flat_map(|one| ber(one, forms)).collect();
            tlv(*tag, &[&members])
        }
        (Tree::Node(tag, members), _) => {
            let mut out = vec![*tag, 0x80];
            for one in members {
                out.extend(ber(one, forms));
            }
            out.extend([0, 0]);
            out
        }
    }
}

fn form() -> impl Strategy<Value = Form> {
    prop_oneof![
        Just(Form::Definite),
        Just(Form::Indefinite),
        (1usize..60).prop_map(Form::Pieces)
    ]
}

const LIMITS: Limits = Limits::for_bytes(1 << 20);

proptest! {
    #[test]
    fn der_comes_back_borrowed_and_unchanged(tree in tree()) {
        let bytes = der(&tree);
        let out = normalize(&bytes, LIMITS).unwrap();
        prop_assert!(matches!(out, std::borrow::Cow::Borrowed(_)));
        prop_assert_eq!(&*out, &bytes[..]);
        prop_assert_eq!(require_definite(&bytes, LIMITS), Ok(()));
    }

    #[test]
    fn every_ber_form_becomes_the_one_der_form(
        tree in tree(),
        forms in prop::collection::vec(form(), 60),
    ) {
        let bytes = ber(&tree, &mut forms.into_iter());
        let out = normalize(&bytes, LIMITS).unwrap();
        prop_assert_eq!(&*out, &der(&tree)[..]);
        let again = normalize(&out, LIMITS).unwrap();
        prop_assert!(matches!(again, std::borrow::Cow::Borrowed(_)));
    }

    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = normalize(&bytes, LIMITS);
    }

    #[test]
    fn no_damaged_message_panics(
        tree in tree(),
        forms in prop::collection::vec(form(), 60),
        at in any::<prop::sample::Index>(),
        value in any::<u8>(),
    ) {
        let mut bytes = ber(&tree, &mut forms.into_iter());
        let at = at.index(bytes.len());
        bytes[at] = value;
        if let Ok(out) = normalize(&bytes, LIMITS) {
            prop_assert_eq!(require_definite(&out, LIMITS), Ok(()));
        }
    }

    #[test]
    fn readers_of_every_kind_survive_any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        use pomona_cms::{scep, signed, x509};
        let _ = x509::Certificate::from_der(&bytes);
        let _ = x509::CertificationRequest::from_der(&bytes, true);
        let _ = x509::Name::from_der(&bytes);
        let _ = pomona_cms::key::key_kind(&bytes);
        let _ = signed::verify_attached(&bytes, &signed::Policy::machine_info());
        let _ = scep::parse_pki_message(&bytes, &scep::ScepPolicy::compatible());
        let _ = x509::pem::certificates(&String::from_utf8_lossy(&bytes));
        let _ = pomona_cms::KeyPair::from_pkcs8(&bytes);
        let _ = pomona_cms::KeyPair::from_sec1(&bytes);
    }
}

#[test]
fn each_broken_rule_has_its_own_error() {
    let cases: [(&str, &[u8], BerError); 18] = [
        ("empty", &[], BerError::Empty),
        ("tag only", &[0x30], BerError::Truncated),
        ("body cut", &[0x30, 2, 5], BerError::Truncated),
        (
            "member past its container",
            &[0x30, 2, 4, 5],
            BerError::Truncated,
        ),
        ("trailing", &[5, 0, 5, 0], BerError::TrailingBytes),
        (
            "end behind the end",
            &[0x30, 0x80, 0, 0, 0, 0],
            BerError::TrailingBytes,
        ),
        ("no end", &[0x30, 0x80, 5, 0], BerError::Truncated),
        (
            "end in a definite container",
            &[0x30, 2, 0, 0],
            BerError::StrayEnd,
        ),
        (
            "end with a length",
            &[0x30, 0x80, 0, 1, 0],
            BerError::StrayEnd,
        ),
        ("end as the message", &[0, 0], BerError::StrayEnd),
        ("long tag", &[0x1F, 0x81, 1, 0], BerError::MultiByteTag),
        (
            "primitive without a length",
            &[4, 0x80, 0, 0],
            BerError::IndefinitePrimitive,
        ),
        (
            "length 5 in two bytes",
            &[4, 0x81, 5, 1, 2, 3, 4, 5],
            BerError::NonMinimalLength,
        ),
        (
            "length with a leading nought",
            &[4, 0x82, 0, 0x80],
            BerError::NonMinimalLength,
        ),
        ("length 255 reserved", &[0x30, 0xFF], BerError::Truncated),
        ("primitive sequence", &[0x10, 0], BerError::WrongForm),
        ("constructed integer", &[0x22, 0], BerError::WrongForm),
        (
            "a null among string pieces",
            &[0x24, 4, 4, 0, 5, 0],
            BerError::WrongForm,
        ),
    ];
    for (name, bytes, error) in cases {
        assert_eq!(normalize(bytes, LIMITS).map(drop), Err(error), "{name}");
    }
}

#[test]
fn depth_and_counts_end_where_they_say() {
    let nest = |depth: usize| (0..depth).fold(vec![5u8, 0], |inner, _| tlv(0x30, &[&inner]));
    assert!(normalize(&nest(MAX_DEPTH), LIMITS).is_ok());
    assert_eq!(
        normalize(&nest(MAX_DEPTH + 1), LIMITS).map(drop),
        Err(BerError::TooDeep)
    );
    let set = |members: usize| tlv(0x31, &[&[5, 0].repeat(members)]);
    assert!(normalize(&set(64), LIMITS).is_ok());
    assert_eq!(
        normalize(&set(65), LIMITS).map(drop),
        Err(BerError::TooManyMembers)
    );
    let few = Limits {
        bytes: 1_000,
        elements: 10,
    };
    let list = |members: usize| tlv(0x30, &[&[5, 0].repeat(members)]);
    assert!(normalize(&list(9), few).is_ok());
    assert_eq!(
        normalize(&list(10), few).map(drop),
        Err(BerError::TooManyElements)
    );
    assert_eq!(
        normalize(&tlv(4, &[&[0; 1_000]]), few).map(drop),
        Err(BerError::TooLarge)
    );
}

/// Twice the input takes about twice the time: 200,000 pieces of one byte must be far from quadratic.
#[test]
fn many_small_pieces_take_linear_time() {
    let mut bytes = vec![0x24, 0x80];
    bytes.extend([4, 1, 9].repeat(200_000));
    bytes.extend([0, 0]);
    let limits = Limits {
        bytes: 1 << 20,
        elements: 300_000,
    };
    let took = fastest(|| {
        assert_eq!(normalize(&bytes, limits).unwrap().len(), 200_000 + 1 + 4);
    });
    assert!(took < std::time::Duration::from_secs(2), "{took:?}");
}

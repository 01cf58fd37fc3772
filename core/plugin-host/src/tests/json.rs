//! JSON in, through a guest that gives back what it is given, and JSON out.

use serde_json::{Value, json};
use wasmtime::component::types::{ComponentItem, Type};
use wasmtime::component::{Component, Linker, Val};
use wasmtime::{Engine, Store};
use wit_component::{ComponentEncoder, StringEncoding};
use wit_parser::Resolve;

use crate::json::{Style, lift, lower, plainest};

const WIT: &str = "
package t:t;
interface echo {
  record inner { name: string, seen-ms: u64 }
  variant choice { nothing, text(string), pair(tuple<u32, string>), until(option<u64>) }
  enum word { one, two }
  flags marks { left, right }
  record all {
    truth: bool, small: u8, signed: s32, big: u64, half: f64, letter: char, text: string, body-json: string,
    bytes: list<u8>, items: list<inner>, choice: choice, word: word, marks: marks, maybe: option<string>,
    outcome: result<u32, string>, until-ms: option<u64>,
  }
  same: func(value: all) -> all;
}
world echoes { export echo; }
";

/// Record in, record out: both are passed by their place in memory, so the same place will do.
const GUEST: &str = r#"(module
  (memory (export "memory") 2)
  (global $top (mut i32) (i32.const 1024))
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
    (local $at i32)
    (local.set $at (i32.and (i32.add (global.get $top) (i32.const 15)) (i32.const -16)))
    (global.set $top (i32.add (local.get $at) (local.get 3)))
    (local.get $at))
  (func (export "t:t/echo#same") (param i32) (result i32) (local.get 0)))"#;

struct Echo {
    engine: Engine,
    component: Component,
    ty: Type,
}

impl Echo {
    fn new() -> Self {
        let mut resolve = Resolve::default();
        let package = resolve.push_str("t.wit", WIT).unwrap();
        let world = resolve.select_world(&[package], Some("echoes")).unwrap();
        let mut module = wat::parse_str(GUEST).unwrap();
        wit_component::embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8)
            .unwrap();
        let mut encoder = ComponentEncoder::default().module(&module).unwrap();
        let engine = Engine::default();
        let component = Component::new(&engine, encoder.encode().unwrap()).unwrap();
        let exports = component.component_type();
        let ComponentItem::ComponentInstance(echo) =
            exports.get_export(&engine, "t:t/echo").unwrap().ty
        else {
            panic!("it exports an interface");
        };
        let ComponentItem::ComponentFunc(same) = echo.get_export(&engine, "same").unwrap().ty
        else {
            panic!("it exports a function");
        };
        let (_, ty) = same.params().next().unwrap();
        Self {
            engine,
            component,
            ty,
        }
    }

    /// What the guest gives back for `value`.
    fn same(&self, value: Val) -> Val {
        let mut store = Store::new(&self.engine, ());
        let linker = Linker::new(&self.engine);
        let instance = linker.instantiate(&mut store, &self.component).unwrap();
        let echo = instance
            .get_export_index(&mut store, None, "t:t/echo")
            .unwrap();
        let same = instance
            .get_export_index(&mut store, Some(&echo), "same")
            .unwrap();
        let same = instance.get_func(&mut store, same).unwrap();
        let mut results = [Val::Bool(false)];
        same.call(&mut store, &[value], &mut results).unwrap();
        let [result] = results;
        result
    }
}

fn plain() -> Value {
    json!({
        "truth": true, "small": 255, "signed": -2_147_483_648_i64, "big": u64::MAX, "half": 0.5, "letter": "ß",
        "text": "a\u{0}b", "body-json": { "a": [1, null] }, "bytes": { "base64": "/wA=" },
        "items": [{ "name": "x", "seen-ms": 1 }], "choice": { "pair": [7, "y"] }, "word": "two",
        "marks": ["right"], "maybe": "z", "outcome": { "err": "no" }, "until-ms": 5,
    })
}

#[test]
fn what_is_written_goes_through_a_guest_and_is_read_again() {
    let echo = Echo::new();
    let through =
        |value: &Value, style| lift(&echo.same(lower(value, &echo.ty, "").unwrap()), style);
    assert_eq!(through(&plain(), Style::Readable), plain());
    let exact = through(&plain(), Style::Exact);
    assert_eq!(exact["body-json"], json!("{\"a\":[1,null]}"));

    // Several ways to write a value, and the one in which it is read.
    for (member, written, read) in [
        ("choice", json!("nothing"), json!("nothing")),
        ("choice", json!({ "nothing": null }), json!("nothing")),
        ("choice", json!("until"), json!({ "until": null })),
        ("choice", json!({ "until": 7 }), json!({ "until": 7 })),
        ("outcome", json!({ "ok": 3 }), json!({ "ok": 3 })),
        ("maybe", json!(null), json!(null)),
        (
            "bytes",
            json!({ "text": "hé\n" }),
            json!({ "text": "hé\n" }),
        ),
        ("bytes", json!([104, 105]), json!({ "text": "hi" })),
        (
            "bytes",
            json!({ "base64": "aGk=" }),
            json!({ "text": "hi" }),
        ),
        ("bytes", json!([]), json!([])),
        (
            "until-ms",
            json!("2026-11-25T07:30:00.250Z"),
            json!(1_795_591_800_250_u64),
        ),
        ("body-json", json!("{ \"a\": 1 }"), json!({ "a": 1 })),
        // What would be read back as another text stays one.
        ("body-json", json!("\"x\""), json!("\"x\"")),
        ("body-json", json!("no json"), json!("no json")),
        ("marks", json!([]), json!([])),
    ] {
        let mut value = plain();
        value[member] = written.clone();
        let back = through(&value, Style::Readable);
        assert_eq!(back[member], read, "{member}: {written}");
        assert_eq!(through(&back, Style::Readable), back, "{member}: {written}");
    }
}

#[test]
fn what_is_left_out_is_plain() {
    let echo = Echo::new();
    let given = json!({ "letter": "a", "outcome": { "ok": 1 }, "items": [{}] });
    let read = lift(&lower(&given, &echo.ty, "").unwrap(), Style::Readable);
    let expected = json!({
        "truth": false, "small": 0, "signed": 0, "big": 0, "half": 0.0, "letter": "a", "text": "", "body-json": "",
        "bytes": [], "items": [{ "name": "", "seen-ms": 0 }], "choice": "nothing", "word": "one", "marks": [],
        "maybe": null, "outcome": { "ok": 1 }, "until-ms": null,
    });
    assert_eq!(read, expected);
    // A result has no plain side.
    let told = plainest(&echo.ty, "/value").unwrap_err();
    assert_eq!(told.pointer, "/value/letter");
}

#[test]
fn what_does_not_fit_is_told_with_its_place() {
    let echo = Echo::new();
    for (member, written, pointer, problem) in [
        ("truth", json!(1), "/truth", "expected true or false, got 1"),
        ("small", json!(256), "/small", "a number from 0 to 255"),
        ("small", json!(-1), "/small", "got -1"),
        (
            "big",
            json!(1.5),
            "/big",
            "a whole number that is not negative",
        ),
        ("letter", json!("ab"), "/letter", "one character"),
        ("text", json!({}), "/text", "expected a text, got {}"),
        (
            "bytes",
            json!({ "base64": "?" }),
            "/bytes",
            "{\"base64\": …}",
        ),
        ("bytes", json!([1, 256]), "/bytes", "bytes"),
        (
            "items",
            json!([{}, { "nam": 1 }]),
            "/items/1/nam",
            "there are name, seen-ms",
        ),
        (
            "items",
            json!([{ "seen-ms": "soon" }]),
            "/items/0/seen-ms",
            "2026-11-25T07:30:00Z",
        ),
        (
            "choice",
            json!("other"),
            "/choice",
            "\"nothing\", {\"text\": a text}",
        ),
        ("choice", json!("text"), "/choice", "{\"text\": …}"),
        (
            "choice",
            json!({ "nothing": 1 }),
            "/choice",
            "write \"nothing\"",
        ),
        (
            "choice",
            json!({ "pair": [1] }),
            "/choice/pair",
            "expected 2 items, got 1",
        ),
        (
            "choice",
            json!({ "pair": [1, 2] }),
            "/choice/pair/1",
            "expected a text",
        ),
        ("word", json!("three"), "/word", "one of \"one\", \"two\""),
        ("marks", json!(["up"]), "/marks", "\"left\", \"right\""),
        ("outcome", json!({ "ok": "x" }), "/outcome/ok", "a number"),
        ("outcome", json!(1), "/outcome", "{\"ok\": …}"),
        ("a/b", json!(1), "/a~1b", "no such member"),
    ] {
        let mut value = plain();
        value[member] = written.clone();
        let told = lower(&value, &echo.ty, "").unwrap_err();
        assert_eq!(told.pointer, pointer, "{member}: {written}: {told}");
        assert!(
            told.problem.contains(problem),
            "{member}: {written}: {told}"
        );
    }
    let told = lower(&json!([]), &echo.ty, "/value").unwrap_err();
    assert!(
        told.to_string()
            .starts_with("/value: expected an object with truth"),
        "{told}"
    );
}

//! Hostile guests: each is refused, ends normally, or ends as a reported error of that call; and the host goes on.

use super::{ask, component, enabled, load, module};
use crate::runtime::Runtime;

const ALLOW: &str = "(i32.const 1024)";

/// Name, further fields, body of `validate`, what the error must tell.
const KILLED: &[(&str, &str, &str, &str)] = &[
    (
        "endless loop",
        "",
        "(loop $l (br $l)) (unreachable)",
        "processor time",
    ),
    (
        "endless loop of host calls",
        "",
        "(loop $l (call $settings (i32.const 64)) (br $l)) (unreachable)",
        "host calls",
    ),
    (
        "endless recursion",
        "(func $r (call $r) (call $r))",
        "(call $r) (unreachable)",
        "call stack exhausted",
    ),
    ("unreachable", "", "(unreachable)", "unreachable"),
    (
        "an endless loop after the answer",
        "(func (export \"cabi_post_pomona:hooks/command-validate@0.9.0#validate\") (param i32) (loop $l (br $l)))",
        ALLOW,
        "processor time",
    ),
    (
        "a trap after the answer",
        "(func (export \"cabi_post_pomona:hooks/command-validate@0.9.0#validate\") (param i32) (unreachable))",
        ALLOW,
        "unreachable",
    ),
    (
        "random bytes in an endless loop",
        "",
        "(loop $l (call $random (i32.const 1024) (i32.const 64)) (global.set $top (i32.const 4096)) (br $l)) (unreachable)",
        "used up its",
    ),
    (
        "copy from beyond memory",
        "",
        "(memory.copy (i32.const 0) (i32.const 131000) (i32.const 4096)) (i32.const 1024)",
        "out of bounds memory access",
    ),
    (
        "settings laid over the end of memory",
        "(func $push (global.set $top (i32.const 131071)))",
        "(call $push) (call $settings (i32.const 64)) (i32.const 1024)",
        "beyond end of memory",
    ),
    (
        "division by zero",
        "",
        "(i32.div_s (i32.const 1) (i32.const 0))",
        "divide by zero",
    ),
    (
        "integer overflow",
        "",
        "(i32.div_s (i32.const -2147483648) (i32.const -1))",
        "integer overflow",
    ),
    (
        "not a number as an integer",
        "",
        "(i32.trunc_f32_s (f32.const nan))",
        "invalid conversion to integer",
    ),
    (
        "load beyond memory",
        "",
        "(i32.load (i32.const -4))",
        "out of bounds memory access",
    ),
    (
        "fill beyond memory",
        "",
        "(memory.fill (i32.const 0) (i32.const 1) (i32.const -1)) (i32.const 1024)",
        "out of bounds memory access",
    ),
    (
        "call of an empty slot",
        "(table 1 funcref) (type $t (func))",
        "(call_indirect (type $t) (i32.const 0)) (unreachable)",
        "uninitialized element",
    ),
    (
        "call of a slot that is not there",
        "(table 1 funcref) (type $t (func))",
        "(call_indirect (type $t) (i32.const 9)) (unreachable)",
        "undefined element",
    ),
    (
        "call of another type",
        "(table 1 funcref) (elem (i32.const 0) $other) (func $other (param i64)) (type $t (func))",
        "(call_indirect (type $t) (i32.const 0)) (unreachable)",
        "indirect call type mismatch",
    ),
    ("result beyond memory", "", "(i32.const -16)", "pointer"),
    (
        "result that is misaligned",
        "",
        "(i32.const 1025)",
        "pointer not aligned",
    ),
    (
        "result of an unknown case",
        "",
        "(i32.store8 (i32.const 1024) (i32.const 7)) (i32.const 1024)",
        "invalid",
    ),
    (
        "verdict of an unknown case",
        "",
        "(i32.store8 (i32.const 1032) (i32.const 99)) (i32.const 1024)",
        "unexpected discriminant",
    ),
    (
        "reason of two gigabytes",
        "",
        "(i32.store8 (i32.const 1032) (i32.const 1)) (i32.store (i32.const 1040) (i32.const 64))
         (i32.store (i32.const 1044) (i32.const 2147483647)) (i32.const 1024)",
        "out of bounds",
    ),
    (
        "reason that is no UTF-8",
        "(data (i32.const 64) \"\\ff\\fe\")",
        "(i32.store8 (i32.const 1032) (i32.const 1)) (i32.store (i32.const 1040) (i32.const 64))
         (i32.store (i32.const 1044) (i32.const 2)) (i32.const 1024)",
        "utf-8",
    ),
    (
        "log line from beyond memory",
        "",
        "(call $log (i32.const 1) (i32.const -8) (i32.const 64) (i32.const 0) (i32.const 0)) (i32.const 1024)",
        "out of bounds",
    ),
    (
        "log of an unknown level",
        "",
        "(call $log (i32.const 77) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)) (i32.const 1024)",
        "unexpected discriminant",
    ),
    (
        "host result to beyond memory",
        "",
        "(call $settings (i32.const -4)) (i32.const 1024)",
        "out of bounds",
    ),
    (
        "log line of four gigabytes",
        "",
        "(call $log (i32.const 1) (i32.const 0) (i32.const -1) (i32.const 0) (i32.const 0)) (i32.const 1024)",
        "out of bounds",
    ),
];

/// Name, further fields, body of `validate`: strange, and allowed.
const HARMLESS: &[(&str, &str, &str)] = &[
    ("nothing", "", ALLOW),
    (
        "memory that is never given back",
        "(func (export \"cabi_post_pomona:hooks/command-validate@0.9.0#validate\") (param i32) (loop $l (br_if $l (i32.const 0))))",
        ALLOW,
    ),
    (
        "settings asked for as often as is allowed",
        "(global $n (mut i32) (i32.const 999))",
        "(loop $l (call $settings (i32.const 64)) (global.set $top (i32.const 4096))
           (global.set $n (i32.sub (global.get $n) (i32.const 1))) (br_if $l (global.get $n))) (i32.const 1024)",
    ),
    (
        "an answer that is written over by the next host call",
        "",
        "(call $settings (i32.const 1032)) (i64.store (i32.const 1032) (i64.const 0)) (i32.const 1024)",
    ),
    (
        "memory growth until it is refused",
        "",
        "(loop $l (br_if $l (i32.ne (memory.grow (i32.const 16)) (i32.const -1)))) (i32.const 1024)",
    ),
    (
        "table growth until it is refused",
        "(table $t 1 funcref)",
        "(loop $l (br_if $l (i32.ne (table.grow $t (ref.null func) (i32.const 512)) (i32.const -1)))) (i32.const 1024)",
    ),
    (
        "more random bytes than are given",
        "",
        "(call $random (i32.const -1) (i32.const 64)) (i32.const 1024)",
    ),
    (
        "a flood of log lines",
        "(global $n (mut i32) (i32.const 900))",
        "(loop $l (call $log (i32.const 0) (i32.const 0) (i32.const 8) (i32.const 0) (i32.const 0))
           (global.set $n (i32.sub (global.get $n) (i32.const 1))) (br_if $l (global.get $n))) (i32.const 1024)",
    ),
    (
        "log lines of control characters",
        "(data (i32.const 64) \"\\1b[2J\\0d\\0aevil\")",
        "(call $log (i32.const 0) (i32.const 64) (i32.const 10) (i32.const 64) (i32.const 10)) (i32.const 1024)",
    ),
];

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_that_misbehaves_ends_as_an_error_of_its_call() {
    let runtime = Runtime::new().unwrap();
    let good = enabled(&runtime, &module("", ALLOW)).await;
    let mut wrong = Vec::new();
    for (name, fields, body, expected) in KILLED {
        let hostile = enabled(&runtime, &module(fields, body)).await;
        let told = ask(&hostile).await.map(|verdict| format!("{verdict:?}"));
        let told = told.unwrap_or_else(|error| error.to_string());
        if !told.contains(expected) {
            wrong.push(format!("{name}: {told:?} should hold {expected:?}"));
        }
        ask(&good)
            .await
            .unwrap_or_else(|error| panic!("after {name}: {error}"));
        assert_eq!(hostile.figures().failures, 1, "{name}");
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_that_is_only_strange_gets_its_answer_through() {
    let runtime = Runtime::new().unwrap();
    for (name, fields, body) in HARMLESS {
        let guest = enabled(&runtime, &module(fields, body)).await;
        for _ in 0..3 {
            ask(&guest)
                .await
                .unwrap_or_else(|error| panic!("{name}: {error}"));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_run_is_refused_before_it_is_installed() {
    let runtime = Runtime::new().unwrap();
    let good = component(&module("", ALLOW)).unwrap();
    let text = |text: &str| wat::parse_str(text).unwrap();
    let cases: Vec<(&str, Vec<u8>, &str)> = vec![
        ("empty", Vec::new(), "no WebAssembly binary"),
        (
            "wrong magic",
            b"MZ\x90\0".repeat(64),
            "no WebAssembly binary",
        ),
        (
            "an ELF file",
            b"\x7fELF\x02\x01\x01\0".repeat(64),
            "no WebAssembly binary",
        ),
        (
            "text format",
            b"(component)".to_vec(),
            "no WebAssembly binary",
        ),
        ("core module", text("(module)"), "component"),
        (
            "precompiled image",
            compiled(&good),
            "no WebAssembly binary",
        ),
        (
            "import of a clock of WASI",
            text(
                r#"(component (import "wasi:clocks/monotonic-clock@0.2.0" (instance (export "now" (func (result u64))))))"#,
            ),
            "it imports wasi:clocks/monotonic-clock@0.2.0",
        ),
        (
            "import of files",
            text(r#"(component (import "wasi:filesystem/types@0.2.0" (instance)))"#),
            "it imports wasi:filesystem/types",
        ),
        (
            "import of a capability that is not offered",
            text(r#"(component (import "pomona:host/http-out@0.9.0" (instance)))"#),
            "it imports pomona:host/http-out@0.9.0",
        ),
        (
            "import of a newer contract",
            text(
                r#"(component (import "pomona:host/log@0.9.7" (instance (export "flush" (func)))))"#,
            ),
            "this server speaks 0.9.0",
        ),
        (
            "import of another type",
            text(
                r#"(component (import "pomona:host/clock@0.9.0" (instance (export "elapsed-ms" (func (result string))))))"#,
            ),
            "elapsed-ms",
        ),
        (
            "no hook at all",
            text("(component)"),
            "names the hook command-validate",
        ),
        (
            "a hook of another type",
            text(
                r#"(component (core module $m (func (export "f"))) (core instance $i (instantiate $m))
                    (func $f (canon lift (core func $i "f")))
                    (instance $h (export "validate" (func $f)))
                    (export "pomona:hooks/command-validate@0.9.0" (instance $h)))"#,
            ),
            "its hook command-validate is of another type",
        ),
        (
            "64-bit memory",
            text("(component (core module (memory i64 1)))"),
            "memory64",
        ),
        (
            "shared memory",
            text("(component (core module (memory 1 1 shared)))"),
            "threads",
        ),
        (
            "garbage-collected types",
            text("(component (core module (type (struct (field i32)))))"),
            "gc",
        ),
        (
            "exceptions",
            text("(component (core module (tag)))"),
            "exceptions",
        ),
        (
            "start that traps",
            component(&module("(func $s (unreachable)) (start $s)", ALLOW)).unwrap(),
            "unreachable",
        ),
        (
            "start that loops",
            component(&module("(func $s (loop $l (br $l))) (start $s)", ALLOW)).unwrap(),
            "processor time",
        ),
        (
            "more memory than it may have at the start",
            component(&module("", ALLOW).replace(
                "(memory (export \"memory\") 2)",
                "(memory (export \"memory\") 1024)",
            ))
            .unwrap(),
            "memory",
        ),
        (
            "all the memory there is",
            component(&module("", ALLOW).replace(
                "(memory (export \"memory\") 2)",
                "(memory (export \"memory\") 65536)",
            ))
            .unwrap(),
            "memory",
        ),
        (
            "a table of four billion",
            component(&module("(table 4294967295 funcref)", ALLOW)).unwrap(),
            "table",
        ),
        (
            "more tables than it may have",
            component(&module(&"(table 1 funcref)".repeat(70), ALLOW)).unwrap(),
            "tables",
        ),
        (
            "seventy memories",
            text(&format!(
                "(component (core module $m {}) (core instance (instantiate $m)))",
                "(memory 1)".repeat(70)
            )),
            "memor",
        ),
        (
            "seventy instances",
            text(&format!(
                "(component (core module $m (memory 1)) {})",
                "(core instance (instantiate $m))".repeat(70)
            )),
            "instances",
        ),
        (
            "a hundred thousand locals",
            text(&format!(
                "(component (core module (func {})))",
                "(local i32)".repeat(100_000)
            )),
            "locals",
        ),
        (
            "ten thousand parameters",
            text(&format!(
                "(component (core module (type (func {}))))",
                "(param i32)".repeat(10_000)
            )),
            "params",
        ),
        (
            "a function of ten megabytes",
            text(&format!(
                "(component (core module (func {})))",
                "(drop (i32.const 1))".repeat(3_000_000)
            )),
            "size",
        ),
        (
            "components within components, five hundred deep",
            nested(500),
            "names the hook command-validate",
        ),
        (
            "a name that is no UTF-8",
            with_custom_section(&good, b"\x02\xff\xfe"),
            "malformed UTF-8",
        ),
        (
            "relaxed SIMD",
            text(
                "(component (core module (func (param v128 v128) (result v128)
                   (i8x16.relaxed_swizzle (local.get 0) (local.get 1)))))",
            ),
            "relaxed SIMD",
        ),
        (
            "data beyond memory at the start",
            component(&module("(data (i32.const 131070) \"abcdef\")", ALLOW)).unwrap(),
            "out of bounds memory access",
        ),
        (
            "elements beyond the table at the start",
            component(&module(
                "(table 1 funcref) (elem (i32.const 1) $validate)",
                ALLOW,
            ))
            .unwrap(),
            "out of bounds table access",
        ),
        (
            "an import of an import of a stranger",
            text(
                r#"(component (import "evil:host/run@1.0.0" (instance (export "exec" (func (param "command" string))))))"#,
            ),
            "it imports evil:host/run@1.0.0",
        ),
        (
            "an import without a version",
            text(r#"(component (import "pomona:host/log" (instance (export "write" (func)))))"#),
            "pomona:host/log",
        ),
        (
            "a component as an import",
            text(r#"(component (import "pomona:host/log@0.9.0" (component)))"#),
            "component imports are not supported",
        ),
    ];
    let mut wrong = Vec::new();
    for (name, bytes, expected) in cases {
        let told = match load(&runtime, &bytes).await {
            Ok(_) => "it was loaded".to_owned(),
            Err(error) => error.to_string(),
        };
        if !told.contains(expected) {
            wrong.push(format!("{name}: {told:?} should hold {expected:?}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    // Cut anywhere, it is refused, and nothing panics.
    for length in (0..good.len()).step_by(61) {
        assert!(
            load(&runtime, &good[..length]).await.is_err(),
            "{length} bytes"
        );
    }
    load(&runtime, &good).await.unwrap();
}

/// So many components within each other.
fn nested(depth: usize) -> Vec<u8> {
    let empty = wasm_encoder::Component::new();
    let wrapped = |inner, _| {
        let mut outer = wasm_encoder::Component::new();
        outer.section(&wasm_encoder::NestedComponentSection(&inner));
        outer
    };
    (0..depth).fold(empty, wrapped).finish()
}

/// The component with a further custom section at its end.
fn with_custom_section(component: &[u8], content: &[u8]) -> Vec<u8> {
    let size = u8::try_from(content.len()).unwrap();
    [component, &[0, size], content].concat()
}

fn compiled(component: &[u8]) -> Vec<u8> {
    crate::compile::compile_here(component, crate::kind::Kind::Interactive).unwrap()
}

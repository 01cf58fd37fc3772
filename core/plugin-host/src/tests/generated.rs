//! A thousand generated guests: each is refused, ends normally, or ends as a reported error of its call.
//!
//! Owns: how a generated core module becomes a plugin: the hook is put into it by hand, which runs a function of the module,
//! whatever that does to the memory, and then allows.

use std::collections::BTreeMap;

use arbitrary::Unstructured;
use wasm_encoder::{Encode, ExportKind, ExportSection, Function, Module, RawSection};
use wasm_smith::Config;
use wasmparser::{Parser, Payload};
use wit_parser::{Resolve, WorldId};

use super::*;

const GUESTS: u64 = 1_000;
/// Choices that a guest is made of.
const BYTES: usize = 4_096;

/// Numbers that are the same at every run (xorshift64*, Vigna 2016).
fn choices(seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(BYTES);
    while bytes.len() < BYTES {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        bytes.extend(state.wrapping_mul(0x2545_f491_4f6c_dd1d).to_le_bytes());
    }
    bytes
}

fn config() -> Config {
    let shape = wat::parse_str(r#"(module (func (export "f")))"#).unwrap();
    Config {
        exports: Some(shape),
        allow_start_export: false,
        max_imports: 0,
        min_funcs: 3,
        min_memories: 1,
        max_memories: 1,
        max_memory32_bytes: 16 << 20,
        max_table_elements: 1_000,
        memory64_enabled: false,
        shared_everything_threads_enabled: false,
        custom_page_sizes_enabled: false,
        exceptions_enabled: false,
        gc_enabled: false,
        reference_types_enabled: false,
        tail_call_enabled: false,
        threads_enabled: false,
        wide_arithmetic_enabled: false,
        relaxed_simd_enabled: false,
        custom_descriptors_enabled: false,
        ..Config::default()
    }
}

/// A section with a few more entries at its end.
fn longer(section: &[u8], more: u32, entries: &[u8]) -> Vec<u8> {
    let end = section.iter().position(|byte| byte & 0x80 == 0).unwrap() + 1;
    let count = wasmparser::BinaryReader::new(section, 0)
        .read_var_u32()
        .unwrap();
    let mut out = Vec::new();
    (count + more).encode(&mut out);
    out.extend_from_slice(&section[end..]);
    out.extend_from_slice(entries);
    out
}

/// The module with the hook and what the hook needs of memory. Each of the two takes a page of its own: what stands there is
/// nothing, and that is the verdict `allow`.
fn with_hook(module: &[u8]) -> Vec<u8> {
    let fresh_page = |f: &mut wasm_encoder::InstructionSink<'_>| {
        f.i32_const(1).memory_grow(0).i32_const(16).i32_shl().end();
    };
    let (mut types, mut functions, mut start) = (0, 0, 0);
    let mut out = Module::new();
    for payload in Parser::new(0).parse_all(module) {
        let payload = payload.unwrap();
        let Some((id, range)) = payload.as_section() else {
            continue;
        };
        let data = &module[range];
        let data = match &payload {
            Payload::TypeSection(section) => {
                types = section.count();
                // (i32 i32 i32 i32) -> i32 and (i32) -> i32 (WebAssembly Core Specification, "Function Types").
                longer(
                    data,
                    2,
                    b"\x60\x04\x7f\x7f\x7f\x7f\x01\x7f\x60\x01\x7f\x01\x7f",
                )
            }
            Payload::FunctionSection(section) => {
                functions = section.count();
                let mut entries = Vec::new();
                types.encode(&mut entries);
                (types + 1).encode(&mut entries);
                longer(data, 2, &entries)
            }
            Payload::ExportSection(exports) => {
                start = exports.clone().into_iter().next().unwrap().unwrap().index;
                let mut section = ExportSection::new();
                section.export("memory", ExportKind::Memory, 0);
                section.export("cabi_realloc", ExportKind::Func, functions);
                section.export(
                    "pomona:hooks/command-validate@0.9.0#validate",
                    ExportKind::Func,
                    functions + 1,
                );
                out.section(&section);
                continue;
            }
            Payload::CodeSectionStart { .. } => {
                let (mut realloc, mut validate) = (Function::new([]), Function::new([]));
                fresh_page(&mut realloc.instructions());
                fresh_page(validate.instructions().call(start));
                let mut entries = Vec::new();
                realloc.encode(&mut entries);
                validate.encode(&mut entries);
                longer(data, 2, &entries)
            }
            _ => data.to_vec(),
        };
        out.section(&RawSection { id, data: &data });
    }
    out.finish()
}

/// The component of a seed, or what kept it from being one.
fn guest(seed: u64, (resolve, world): &(Resolve, WorldId)) -> Result<Vec<u8>, String> {
    let bytes = choices(seed);
    let mut choices = Unstructured::new(&bytes);
    let module =
        wasm_smith::Module::new(config(), &mut choices).map_err(|error| error.to_string())?;
    let mut module = with_hook(&module.to_bytes());
    wit_component::embed_component_metadata(&mut module, resolve, *world, StringEncoding::UTF8)
        .map_err(|error| format!("{error:#}"))?;
    ComponentEncoder::default()
        .module(&module)
        .and_then(|mut encoder| encoder.encode())
        .map_err(|error| format!("{error:#}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_generated_guests_do_no_harm() {
    let runtime = Runtime::new().unwrap();
    let good = enabled(&runtime, &module("", "(i32.const 1024)")).await;
    let world = world_of(&manifest(), false).unwrap();
    let mut why = BTreeMap::<String, u32>::new();
    let (mut no_component, mut refused, mut answered, mut failed) = (0, 0, 0, 0);
    for seed in 0..GUESTS {
        let component = match guest(seed, &world) {
            Ok(component) => component,
            Err(error) => {
                *why.entry(error.chars().take(70).collect::<String>())
                    .or_insert(0) += 1;
                no_component += 1;
                continue;
            }
        };
        let plugin = match load(&runtime, &component).await {
            Ok(plugin) => plugin,
            Err(error) => {
                let error = error.to_string();
                assert!(!error.is_empty(), "seed {seed}");
                *why.entry(error.chars().take(70).collect::<String>())
                    .or_insert(0) += 1;
                refused += 1;
                continue;
            }
        };
        let guest = switched_on(manifest(), plugin, None);
        match ask(&guest).await {
            Ok(_) => answered += 1,
            Err(error) => {
                assert!(!error.to_string().is_empty(), "seed {seed}");
                failed += 1;
            }
        }
        if seed % 50 == 0 {
            let verdict = ask(&good).await;
            verdict.unwrap_or_else(|error| panic!("after seed {seed}: {error}"));
        }
    }
    ask(&good).await.unwrap();
    let seen = format!(
        "{no_component} were no components, {refused} refused, {answered} answered, {failed} failed: {why:#?}"
    );
    // Most are really run, and some of them in each way.
    assert!(
        answered + failed > 500 && failed > 50 && answered > 50,
        "{seen}"
    );
}

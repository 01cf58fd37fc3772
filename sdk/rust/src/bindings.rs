//! The contract, as Rust types and calls.
//!
//! Generated from the contract's text; authors use what the crate root re-exports.
#![allow(missing_docs, clippy::all)]

wit_bindgen::generate!({
    path: "../wit/0.9",
    world: "everything",
    generate_all,
    pub_export_macro: true,
    default_bindings_module: "pomona_sdk::bindings",
    additional_derives: [PartialEq, Clone],
});

//! The contract, as Rust types and calls.
//!
//! Generated from the contract's text. Host functions behind a right may wait; a host function that fails ends the call.
#![allow(
    missing_docs,
    clippy::all,
    clippy::pedantic,
    unreachable_pub,
    dead_code
)]

wasmtime::component::bindgen!({
    path: "../../sdk/wit/0.9",
    world: "everything",
    imports: {
        "pomona:host/log": trappable,
        "pomona:host/config": trappable,
        "pomona:host/catalogue": trappable,
        "pomona:host/clock": trappable,
        "pomona:host/random": trappable,
        default: async | trappable,
    },
    exports: { default: async },
});

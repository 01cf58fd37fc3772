//! What a plugin may import.
//!
//! Owns: which interfaces of the host each right links. What an import does is for `imports` and `call`.

use wasmtime::Engine;
use wasmtime::component::{HasSelf, Linker};

use crate::bindings::pomona::host;
use crate::call::CallState;

/// What a plugin with these rights may import: each interface that is not granted is not there.
pub(crate) fn linker(engine: &Engine, granted: &[&str]) -> wasmtime::Result<Linker<CallState>> {
    let mut linker = Linker::new(engine);
    host::log::add_to_linker::<_, HasSelf<CallState>>(&mut linker, |state| state)?;
    host::config::add_to_linker::<_, HasSelf<CallState>>(&mut linker, |state| state)?;
    host::catalogue::add_to_linker::<_, HasSelf<CallState>>(&mut linker, |state| state)?;
    host::clock::add_to_linker::<_, HasSelf<CallState>>(&mut linker, |state| state)?;
    host::random::add_to_linker::<_, HasSelf<CallState>>(&mut linker, |state| state)?;
    for interface in granted {
        match *interface {
            "pomona:host/devices" => {
                host::devices::add_to_linker::<_, HasSelf<CallState>>(&mut linker, |state| state)?;
            }
            "pomona:host/recipients" => {
                host::recipients::add_to_linker::<_, HasSelf<CallState>>(&mut linker, |state| {
                    state
                })?;
            }
            "pomona:host/kv" => {
                host::kv::add_to_linker::<_, HasSelf<CallState>>(&mut linker, |state| state)?;
            }
            "pomona:host/http-out" => {
                host::http_out::add_to_linker::<_, HasSelf<CallState>>(&mut linker, |state| state)?;
            }
            "pomona:host/secrets" => {
                host::secrets::add_to_linker::<_, HasSelf<CallState>>(&mut linker, |state| state)?;
            }
            "pomona:host/metrics" => {
                host::metrics::add_to_linker::<_, HasSelf<CallState>>(&mut linker, |state| state)?;
            }
            _ => {}
        }
    }
    Ok(linker)
}

//! The black-box suites, in one binary: what holds for the whole project, seen from outside.
#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test program: a panic is its way to fail"
)]

mod architecture;
mod authors;
mod distribution;
mod guard;
mod kill_loop;
mod languages;
mod outside;
mod plugins;
mod posture;
mod preflight;
mod profiles;
mod projects;
mod regressions;
mod renewal;
mod scep_foreign;
mod stage;
mod tidiness;
mod trials;
mod upgrade;

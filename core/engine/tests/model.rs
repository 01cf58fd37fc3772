//! Enrollment and queue of the real engine against a reference model, on both back ends.
//!
//! Each case is a run of random steps: check-ins, reports, orders, cancellations, time, crashes. After each step the
//! answers are compared, and from time to time all that is stored. `POMONA_MODEL_CASES` sets the number of cases.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test program: a panic is its way to fail"
)]

#[path = "model/compare.rs"]
mod compare;
#[path = "model/step.rs"]
mod step;
mod support;
#[path = "model/system.rs"]
mod system;
#[path = "model/world.rs"]
mod world;

use proptest::test_runner::{Config, FileFailurePersistence, TestRunner};
use proptest_state_machine::{ReferenceStateMachine, StateMachineTest};

use step::Model;
use support::{Backend, backends};
use system::{Site, System};

/// Steps of one case.
const STEPS: std::ops::Range<usize> = 50..70;

fn run(backend: Backend, cases: u32) {
    if !backends().contains(&backend) {
        return;
    }
    let asked = std::env::var("POMONA_MODEL_CASES")
        .ok()
        .and_then(|text| text.parse().ok());
    let config = Config {
        cases: asked.unwrap_or(cases),
        max_shrink_iters: 400,
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/proptest-regressions/model.txt"
        )))),
        ..Config::default()
    };
    Site::set(backend);
    let mut runner = TestRunner::new(config.clone());
    let steps = Model::sequential_strategy(STEPS);
    let outcome = runner.run(&steps, |(world, steps, seen)| {
        System::test_sequential(config.clone(), world, steps, seen);
        Ok(())
    });
    if let Err(failure) = outcome {
        panic!("{failure}");
    }
}

#[test]
fn the_engine_does_what_the_model_says_on_sqlite() {
    run(Backend::Sqlite, 128);
}

#[test]
fn the_engine_does_what_the_model_says_on_postgres() {
    run(Backend::Postgres, 32);
}

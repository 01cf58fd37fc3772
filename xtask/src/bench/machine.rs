//! How fast this machine is at the moment: a shared one may be twice as fast now as in ten minutes.
//!
//! Owns two small loops whose work is always the same: arithmetic on one processor, and a word handed to another thread and
//! back, which is what a server with several threads does all the time. They measure nothing of ours; they say beside a
//! figure in which state of the machine it was taken.

use std::{
    hint::black_box,
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use super::flush::at;

/// Steps of the arithmetic.
const STEPS: u64 = 20_000_000;
/// Words that are handed over and back.
const WORDS: usize = 4_000;

/// The state of the machine.
#[derive(Debug, Clone, Copy)]
pub(super) struct State {
    /// Millions of steps a second on one processor.
    pub(super) steps: f64,
    /// Microseconds for a word to another thread and back, the median.
    pub(super) hand_over: f64,
}

/// Measures for about a tenth of a second.
pub(super) fn state() -> State {
    let started = Instant::now();
    black_box(work(black_box(1)));
    let steps = STEPS as f64 / started.elapsed().as_secs_f64() / 1e6;
    State {
        steps,
        hand_over: hand_over().as_secs_f64() * 1e6,
    }
}

/// A chain of multiplications, each of which needs the one before.
fn work(seed: u64) -> u64 {
    (0..STEPS).fold(seed, |state, step| {
        (state ^ (state >> 29))
            .wrapping_mul(0xbf58_476d_1ce4_e5b9)
            .wrapping_add(step)
    })
}

fn hand_over() -> Duration {
    let (there, inbox) = mpsc::channel::<usize>();
    let (back, answers) = mpsc::channel::<usize>();
    let echo = thread::spawn(move || {
        for word in inbox {
            if back.send(word).is_err() {
                return;
            }
        }
    });
    let mut times: Vec<Duration> = (0..WORDS)
        .map_while(|word| {
            let started = Instant::now();
            there.send(word).ok()?;
            answers.recv().ok()?;
            Some(started.elapsed())
        })
        .collect();
    drop(there);
    // It ends when the way to it is gone.
    let _ = echo.join();
    times.sort_unstable();
    at(&times, 0.5)
}

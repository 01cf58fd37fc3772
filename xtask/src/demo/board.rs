//! The live board of the demo: progress bars in a terminal, lines in a log.
//!
//! Owns how figures are shown, and the rate, which it takes from two looks. It judges nothing.

use std::{
    io::IsTerminal,
    time::{Duration, Instant},
};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use pomona_simulator::Figures;

use crate::readable;

/// How often a line is printed where there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(2);
/// The stretch over which the rate is taken.
const RATE_OVER: Duration = Duration::from_secs(2);

/// The figures at one moment.
pub(super) struct Live {
    pub(super) figures: Figures,
    /// Deliveries that the server took.
    pub(super) accepted: u64,
    /// Of those, the ones that are not finished, by the server.
    pub(super) open: u64,
    pub(super) elapsed: Duration,
}

pub(super) struct Board {
    devices: usize,
    phase: &'static str,
    face: Face,
    /// When the rate was last taken, the answers by then, and the rate.
    looked: (Instant, u64, f64),
}

enum Face {
    Lines { last: Option<Instant> },
    Bars(Bars),
}

struct Bars {
    all: MultiProgress,
    enrolled: ProgressBar,
    answered: ProgressBar,
    status: ProgressBar,
}

impl Board {
    pub(super) fn new(plain: bool, devices: usize, seconds: u64) -> Self {
        let face = if plain || !std::io::stdout().is_terminal() {
            println!("{devices} devices, commands for {seconds} s");
            Face::Lines { last: None }
        } else {
            Face::Bars(Bars::new(devices))
        };
        Self {
            devices,
            phase: "starting",
            face,
            looked: (Instant::now(), 0, 0.0),
        }
    }

    /// Names what is going on.
    pub(super) fn phase(&mut self, phase: &'static str) {
        self.phase = phase;
        match &mut self.face {
            Face::Lines { last } => {
                println!("{phase}");
                *last = None;
            }
            Face::Bars(bars) => bars.status.set_prefix(phase),
        }
    }

    /// Prints text that stays.
    pub(super) fn say(&self, text: &str) {
        match &self.face {
            Face::Lines { .. } => println!("{text}"),
            // A terminal that went away is no reason to stop.
            Face::Bars(bars) => drop(bars.all.println(text)),
        }
    }

    pub(super) fn draw(&mut self, live: &Live) {
        self.take_rate(live.figures.round_trips);
        let status = status(live, self.looked.2);
        match &mut self.face {
            Face::Lines { last } => {
                if last.is_none_or(|last| last.elapsed() >= LINE_EVERY) {
                    *last = Some(Instant::now());
                    println!(
                        "{:>8}  {}: {}/{} enrolled, {}/{} answered, {status}",
                        readable(live.elapsed),
                        self.phase,
                        live.figures.enrolled,
                        self.devices,
                        live.accepted.saturating_sub(live.open),
                        live.accepted,
                    );
                }
            }
            Face::Bars(bars) => {
                bars.enrolled.set_position(live.figures.enrolled);
                bars.answered.set_length(live.accepted);
                bars.answered
                    .set_position(live.accepted.saturating_sub(live.open));
                bars.status.set_message(status);
                bars.status.tick();
            }
        }
    }

    /// Takes the bars away and leaves the terminal as it was.
    pub(super) fn end(&self) {
        if let Face::Bars(bars) = &self.face {
            for bar in [&bars.enrolled, &bars.answered, &bars.status] {
                bar.finish();
            }
        }
    }

    fn take_rate(&mut self, answered: u64) {
        let (at, before, _) = self.looked;
        let passed = at.elapsed();
        if passed >= RATE_OVER {
            #[expect(
                clippy::cast_precision_loss,
                reason = "a count of seconds' worth of answers"
            )]
            let rate = answered.saturating_sub(before) as f64 / passed.as_secs_f64();
            self.looked = (Instant::now(), answered, rate);
        }
    }
}

impl Bars {
    fn new(devices: usize) -> Self {
        let all = MultiProgress::with_draw_target(ProgressDrawTarget::stdout_with_hz(10));
        let bar = |label: &str, length: u64| {
            // A template that does not parse would only cost the looks.
            let style =
                ProgressStyle::with_template("{prefix:>9} {bar:40.green} {pos:>7}/{len:<7}")
                    .unwrap_or_else(|_| ProgressStyle::default_bar());
            let bar = all.add(ProgressBar::new(length).with_style(style));
            bar.set_prefix(label.to_owned());
            bar
        };
        let enrolled = bar("enrolled", devices as u64);
        let answered = bar("answered", 0);
        let style = ProgressStyle::with_template("{spinner} {elapsed:>5} {prefix}: {msg}")
            .unwrap_or_else(|_| ProgressStyle::default_spinner());
        let status = all.add(ProgressBar::new_spinner().with_style(style));
        Self {
            all,
            enrolled,
            answered,
            status,
        }
    }
}

fn status(live: &Live, rate: f64) -> String {
    let figures = &live.figures;
    format!(
        "{rate:.0} round trips/s, {} open, {} online, {} pushes, {} NotNow{}",
        live.open,
        figures.online,
        figures.pushes,
        figures.not_now,
        match figures.faults {
            0 => String::new(),
            faults => format!(", {faults} FAULTS"),
        }
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_shown_only_when_there_are_any() {
        let mut live = Live {
            figures: Figures {
                round_trips: 7,
                ..Figures::default()
            },
            accepted: 9,
            open: 2,
            elapsed: Duration::ZERO,
        };
        assert_eq!(
            status(&live, 12.4),
            "12 round trips/s, 2 open, 0 online, 0 pushes, 0 NotNow"
        );
        live.figures.faults = 1;
        assert!(status(&live, 0.0).ends_with("1 FAULTS"));
    }
}

//! Prints what decoding costs: nanoseconds for ordinary messages, and milliseconds for hostile ones of full size.
//!
//! `cargo run --release -p pomona-protocol --example parse_speed`

use std::hint::black_box;
use std::time::{Duration, Instant};

use pomona_protocol::guard;
use pomona_protocol::{CommandEnvelope, GuardLimits, parse_check_in, parse_report};

const IDLE: &[u8] = include_bytes!("../testdata/report_idle.plist");
const ACKNOWLEDGED: &[u8] = include_bytes!("../testdata/report_acknowledged.plist");
const INVENTORY: &[u8] = include_bytes!("../testdata/report_inventory.plist");
const TOKEN_UPDATE: &[u8] = include_bytes!("../testdata/token_update_device.plist");
const COMMAND: &[u8] = include_bytes!("../testdata/command_device_lock.plist");

fn main() {
    let limits = GuardLimits::default();
    println!("{:<44}{:>10}{:>12}", "ordinary", "bytes", "ns");
    ordinary("guard alone, report", ACKNOWLEDGED, |body| {
        guard::check(body, &limits).is_ok()
    });
    ordinary("guard and tree, report", ACKNOWLEDGED, |body| {
        guard::check(body, &limits).is_ok_and(|guarded| guarded.value().is_ok())
    });
    ordinary("report, Idle", IDLE, |body| {
        parse_report(body, &limits).is_ok()
    });
    ordinary("report, Acknowledged", ACKNOWLEDGED, |body| {
        parse_report(body, &limits).is_ok()
    });
    ordinary("report, five applications", INVENTORY, |body| {
        parse_report(body, &limits).is_ok()
    });
    ordinary("TokenUpdate", TOKEN_UPDATE, |body| {
        parse_check_in(body, &limits).is_ok()
    });
    ordinary("command envelope", COMMAND, |body| {
        CommandEnvelope::parse(body).is_ok()
    });

    println!(
        "\n{:<44}{:>10}{:>12}",
        "hostile, guard alone", "bytes", "ms"
    );
    let keys = |count: usize, key: fn(usize) -> String| -> String {
        (0..count)
            .map(|number| format!("<key>{}</key><true/>", key(number)))
            .collect()
    };
    hostile(
        "keys that differ at their end",
        &limits,
        &keys(99_000, |number| format!("{number:0>120}")),
    );
    hostile(
        "short keys",
        &limits,
        &keys(99_000, |number| number.to_string()),
    );
    hostile(
        "references",
        &limits,
        &format!(
            "<key>k</key><array>{}</array>",
            format!("<string>{}</string>", "&lt;".repeat(200_000)).repeat(15)
        ),
    );
    hostile(
        "data",
        &limits,
        &format!("<key>k</key><data>{}</data>", "AAAA".repeat(4 << 20)),
    );
    hostile("comments", &limits, &"<!---->".repeat(2 << 20));
    hostile("open brackets", &limits, &"<".repeat(16 << 20));
    hostile("open comments", &limits, &"<!--".repeat(4 << 20));
    hostile(
        "attributes",
        &limits,
        &format!("<dict{}>", " a=\"\"".repeat(2 << 20)),
    );
    hostile("nesting", &limits, &"<key>a</key><dict>".repeat(800_000));
}

fn ordinary(name: &str, body: &[u8], decode: impl Fn(&[u8]) -> bool) {
    let mut best = Duration::MAX;
    for _ in 0..20 {
        let begin = Instant::now();
        for _ in 0..5_000 {
            assert!(decode(black_box(body)));
        }
        best = best.min(begin.elapsed());
    }
    println!(
        "{name:<44}{:>10}{:>12}",
        body.len(),
        best.as_nanos() / 5_000
    );
}

fn hostile(name: &str, limits: &GuardLimits, inner: &str) {
    let body = format!("<plist version=\"1.0\"><dict>{inner}</dict></plist>");
    let begin = Instant::now();
    let outcome = guard::check(black_box(body.as_bytes()), limits)
        .map_or_else(|error| error.code(), |_| "taken");
    let elapsed = begin.elapsed();
    println!(
        "{name:<44}{:>10}{:>12.1}  {outcome}",
        body.len(),
        elapsed.as_secs_f64() * 1e3
    );
}

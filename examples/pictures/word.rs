//! The word: its fields, and what its full time says, by three calls of a limiter.

use super::canvas::{Canvas, MARGIN, WIDTH};
use sluicegate::{Denied, Grant, ManualClock, Quota, RateLimiter};
use std::time::Duration;

const RATE: u64 = 100;
const BURST: u64 = 20;
/// The moment of the calls: 300.5 tokens have flowed.
const NOW: Duration = Duration::from_millis(3_005);

const HEIGHT: f64 = 500.0;
/// A bit's width and height, the gap between fields, and where the bits stand.
const BIT: (f64, f64) = (12.3, 24.0);
const GAP: f64 = 8.0;
const BITS: f64 = 110.0;
/// Bits of full time; the other 8 are tokens.
const VALUE: u32 = 56;

/// Where token time's axis begins, with which token, how wide a token is, and how many there are.
const ORIGIN: f64 = 150.0;
const FIRST: f64 = 298.0;
const TOKEN: f64 = 21.0;
const SHOWN: f64 = 32.0;
/// The heights of the lines' names, of the first call's bar and of the axis.
const NAMES: f64 = 266.0;
const BARS: f64 = 278.0;
const AXIS: f64 = 392.0;
/// How far bars are apart, and how high one is.
const APART: f64 = 37.0;
const THICK: f64 = 26.0;

/// A call's cost, and what it was told.
struct Call {
    cost: u64,
    answer: Result<Grant, Denied>,
    /// The full time after it, in tokens.
    full: f64,
    /// The word after it.
    word: u64,
}

/// Draws it.
pub(crate) fn draw() -> String {
    let calls = run();
    let fraction = fraction();
    let mut canvas = Canvas::new(
        HEIGHT,
        "The word",
        "All of a bucket's state, changed by one compare-and-swap; here after the second call.",
        "The 64 bits of a bucket's word: 8 of tokens, 56 of full time in fixed-point tokens. \
         Beneath them token time, on which full time lies ahead of now by the tokens that are \
         missing.",
    );
    bits(&mut canvas, calls[1].word, fraction);
    fields(&mut canvas, calls[1].full, fraction);
    axis(&mut canvas);
    let now = now();
    let full = calls[2].full;
    let ends = [
        (now, "ink", "middle f-ink", format!("now: {now}")),
        (full, "blue", "end strong f-blue", format!("full time: {full}")),
        (now + BURST as f64, "gold", "f-gold", "now + burst".to_owned()),
    ];
    for (token, colour, class, name) in ends {
        let right = if class.starts_with("end") { 4.0 } else { 0.0 };
        canvas.line((place(token), BARS - 6.0), (place(token), AXIS), &format!("thin s-{colour}"));
        canvas.text((place(token) + right, NAMES), class, &name);
    }
    let mut before = now;
    for (row, call) in calls.iter().enumerate() {
        bar(&mut canvas, BARS + APART * row as f64, before, call);
        before = call.full;
    }
    let laws = [
        (0.0, 42.0, "missing = max(0, full time \u{2212} now)"),
        (400.0, 42.0, "left = burst \u{2212} missing"),
        (0.0, 21.0, "taking n: full time = max(full time, now) + n"),
        (400.0, 21.0, "denied, if that is later than now + burst"),
    ];
    for (right, up, law) in laws {
        canvas.text((MARGIN + right, HEIGHT - up), "f-soft", law);
    }
    canvas.finish()
}

fn limiter(now: Duration) -> RateLimiter {
    let clock = ManualClock::new();
    let builder = RateLimiter::builder(Quota::per_second(RATE).burst(BURST)).clock(clock.clone());
    let limiter = builder.build().expect("the quota is valid");
    clock.set(now);
    limiter
}

/// Takes 12 tokens, then 5, then asks for 4, all at one moment.
fn run() -> [Call; 3] {
    let (limiter, fraction) = (limiter(NOW), fraction());
    [12, 5, 4].map(|cost| {
        let answer = limiter.check_n(cost);
        let rest = limiter.peek(0).expect("nothing is asked for").reset_after();
        // Nanoseconds of full time, as tokens and as units.
        let full = (NOW + rest).as_nanos() * u128::from(RATE);
        let word = (full << fraction) / 1_000_000_000;
        let word = u64::try_from(word).expect("the run is short");
        Call { cost, answer, full: full as f64 / 1e9, word }
    })
}

/// Finds how many bits of full time are a token's fraction.
///
/// The limiter counts time in units of a token's fraction. A token that is taken within a unit is
/// back a part of that unit sooner, and the largest such part tells how long a unit is.
fn fraction() -> u32 {
    let token = 1_000_000_000 / u128::from(RATE);
    let sooner = |nanos| {
        let grant = limiter(NOW + Duration::from_nanos(nanos)).check().expect("the bucket is full");
        token - grant.reset_after().as_nanos()
    };
    let unit = (0..1_000).map(sooner).max().expect("there are moments") + 1;
    // A unit is a token over a power of two, and here rounded up to a nanosecond.
    (token / unit).next_power_of_two().ilog2()
}

/// Returns where a bit begins.
fn left(bit: u32, fraction: u32) -> f64 {
    let gaps = u32::from(bit < VALUE) + u32::from(bit < fraction);
    let margin = (WIDTH - 64.0 * BIT.0 - 2.0 * GAP) / 2.0;
    margin + f64::from(63 - bit) * BIT.0 + f64::from(gaps) * GAP
}

fn bits(canvas: &mut Canvas, word: u64, fraction: u32) {
    for bit in (0..64).rev() {
        let set = word >> bit & 1 == 1;
        let (fill, stroke) = match bit {
            _ if bit >= VALUE => ("coin", "gold"),
            _ if bit >= fraction => ("water", "blue"),
            _ => ("mist", "plum"),
        };
        let class = if set { format!("f-{stroke} s-paper") } else { format!("f-{fill} s-paper") };
        canvas.rounded((left(bit, fraction), BITS), BIT, 2.5, &class);
        let class = if set { "bit strong middle f-paper" } else { "bit middle f-soft" };
        let digit = if set { "1" } else { "0" };
        canvas.text((left(bit, fraction) + BIT.0 / 2.0, BITS + 16.0), class, digit);
    }
    for bit in [63, VALUE, VALUE - 1, fraction, fraction - 1, 0] {
        let middle = left(bit, fraction) + BIT.0 / 2.0;
        canvas.text((middle, BITS - 7.0), "bit middle f-soft", &bit.to_string());
    }
}

fn fields(canvas: &mut Canvas, full: f64, fraction: u32) {
    let lower = BITS + BIT.1 + 8.0;
    for (from, to, colour) in
        [(63, VALUE, "gold"), (VALUE - 1, fraction, "blue"), (fraction - 1, 0, "plum")]
    {
        let (from, to) = (left(from, fraction) + 1.0, left(to, fraction) + BIT.0 - 1.0);
        let bracket = [(from, lower - 4.0), (from, lower), (to, lower), (to, lower - 4.0)];
        canvas.polyline(&bracket, &format!("thin s-{colour}"));
    }
    let middle = |from, to| f64::midpoint(left(from, fraction), left(to, fraction) + BIT.0);
    let (first, second) = (lower + 19.0, lower + 37.0);
    let tokens = middle(63, VALUE);
    canvas.text((tokens, first), "middle strong f-gold", "tokens");
    canvas.text((tokens, second), "middle f-soft", "drawn, unspent");
    let time = middle(VALUE - 1, fraction);
    canvas.text((time, first), "middle strong f-blue", "full time: when the bucket is full again");
    let whole = format!("{} whole tokens of time", full.trunc());
    canvas.text((time, second), "middle f-soft", &whole);
    let parts = middle(fraction - 1, 0);
    let note = format!("and {} of a token", full.fract());
    canvas.text((parts, first), "middle strong f-plum", "its fraction");
    canvas.text((parts, second), "middle f-soft", &note);
}

/// Returns the moment of the calls in token time.
fn now() -> f64 {
    NOW.as_secs_f64() * RATE as f64
}

fn place(token: f64) -> f64 {
    ORIGIN + (token - FIRST) * TOKEN
}

fn axis(canvas: &mut Canvas) {
    let period = 1_000 / RATE;
    let title = format!("Token time: at {RATE} tokens a second, one token is {period} ms");
    canvas.text((MARGIN, 228.0), "strong f-ink", &title);
    canvas.line((ORIGIN, AXIS), (place(FIRST + SHOWN), AXIS), "thin s-soft");
    canvas.text((MARGIN, AXIS + 20.0), "f-soft", "tokens");
    canvas.text((MARGIN, AXIS + 38.0), "f-soft", "seconds");
    for token in FIRST as u64..=(FIRST + SHOWN) as u64 {
        let (x, long) = (place(token as f64), if token % 5 == 0 { 6.0 } else { 3.0 });
        canvas.line((x, AXIS), (x, AXIS + long), "thin s-soft");
        if token % 5 == 0 {
            let seconds = format!("{:.2}", token as f64 / RATE as f64);
            canvas.text((x, AXIS + 20.0), "middle f-soft", &token.to_string());
            canvas.text((x, AXIS + 38.0), "middle f-soft", &seconds);
        }
    }
}

/// Draws what was missing before a call, what it takes, and what it leaves.
fn bar(canvas: &mut Canvas, top: f64, before: f64, call: &Call) {
    let text = top + 18.0;
    canvas.text((MARGIN, text), "code f-ink", &format!("check_n({})", call.cost));
    let now = now();
    let mut part = |from: f64, to: f64, class: &str, ink: &str, label: &str| {
        let width = (to - from) * TOKEN;
        if width > 0.0 {
            canvas.rounded((place(from), top), (width, THICK), 3.0, class);
            // Left of the end of what may be taken.
            let middle = f64::midpoint(from, to.min(now + BURST as f64));
            canvas.text((place(middle), text), &format!("middle {ink}"), label);
        }
    };
    let cost = format!("take {}", call.cost);
    let missing = format!("{} missing", before - now);
    part(now, before, "f-water", "f-ink", &missing);
    match call.answer {
        Ok(grant) => {
            part(before, call.full, "f-blue", "strong f-paper", &cost);
            let left = format!("{} left", grant.remaining());
            part(call.full, now + BURST as f64, "f-sand", "f-gold", &left);
            canvas.text((place(now + BURST as f64) + 34.0, text), "f-green", "admitted");
        }
        Err(denied) => {
            let end = before + call.cost as f64;
            part(before, end, "thin dashed s-red", "f-red", &cost);
            let wait = denied.retry_after().expect("the cost fits").as_millis();
            let note = format!("denied: retry after {wait} ms");
            canvas.text((place(now + BURST as f64) + 34.0, text), "f-red", &note);
        }
    }
}

//! The token bucket and the leaky bucket over time: the same requests sent to both.

use super::canvas::{Canvas, MARGIN, WIDTH};
use super::vessel;
use sluicegate::{ManualClock, Quota, RateLimiter};
use std::time::Duration;

const RATE: u64 = 2;
const BURST: u64 = 5;
/// The seconds that are drawn.
const SECONDS: f64 = 12.0;

const HEIGHT: f64 = 384.0;
/// Where the chart begins and ends, and where its level is full and empty.
const LEFT: f64 = 306.0;
const RIGHT: f64 = WIDTH - MARGIN;
const FULL: f64 = 104.0;
const EMPTY: f64 = 274.0;
/// Where admitted and denied requests stand, and the labels of the seconds.
const ADMITTED: f64 = 299.0;
const DENIED: f64 = 321.0;
const LABELS: f64 = 355.0;

/// When requests come, in milliseconds.
fn arrivals() -> Vec<u64> {
    let calm = [500, 1_500, 2_300];
    let burst = (0..10).map(|i| 3_000 + 150 * i);
    let overload = (0..8).map(|i| 4_900 + 250 * i);
    let again = (0..7).map(|i| 9_800 + 150 * i);
    calm.into_iter().chain(burst).chain(overload).chain(again).chain([11_300]).collect()
}

/// What a limiter did with the requests.
struct Run {
    /// Seconds and what the bucket holds: tokens, or water.
    level: Vec<(f64, f64)>,
    requests: Vec<Request>,
}

struct Request {
    at: f64,
    /// What the bucket holds after it.
    level: f64,
    /// How long until a denied request would be admitted.
    denied: Option<Duration>,
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Token,
    Leaky,
}

/// Draws both.
pub(crate) fn draw() -> [String; 2] {
    let [token, leaky] = [Kind::Token, Kind::Leaky].map(|kind| (kind, run(kind)));
    // The leaky bucket is the token bucket read from the other side.
    for (token, leaky) in token.1.requests.iter().zip(&leaky.1.requests) {
        assert_eq!(token.denied, leaky.denied, "both decide alike");
    }
    [token, leaky].map(|(kind, run)| picture(kind, &run))
}

/// Sends the requests to a limiter on a clock that is set by hand.
fn run(kind: Kind) -> Run {
    let clock = ManualClock::new();
    let builder = RateLimiter::builder(Quota::per_second(RATE).burst(BURST)).clock(clock.clone());
    let builder = if kind == Kind::Leaky { builder.leaky_bucket() } else { builder };
    let limiter = builder.build().expect("the quota is valid");

    // The time until the bucket is full of tokens, or empty of water, tells parts of tokens too.
    let rest = || limiter.peek(0).expect("nothing is asked for").reset_after().as_secs_f64();
    let level = || {
        let missing = RATE as f64 * rest();
        if kind == Kind::Leaky { missing } else { BURST as f64 - missing }
    };
    let mut run = Run { level: vec![(0.0, level())], requests: Vec::new() };
    let mut last = 0.0;
    for at in arrivals() {
        // The line bends where the level comes to rest, between two requests.
        let (rests, seconds) = (last + rest(), at as f64 / 1e3);
        if (last..seconds).contains(&rests) {
            clock.set(Duration::from_secs_f64(rests));
            run.level.push((rests, level()));
        }
        clock.set(Duration::from_millis(at));
        run.level.push((seconds, level()));
        let denied = limiter.check().err().and_then(|denied| denied.retry_after());
        run.level.push((seconds, level()));
        run.requests.push(Request { at: seconds, level: level(), denied });
        last = seconds;
    }
    clock.set(Duration::from_secs_f64(SECONDS));
    run.level.push((SECONDS, level()));
    run
}

fn x(seconds: f64) -> f64 {
    LEFT + seconds / SECONDS * (RIGHT - LEFT)
}

fn y(level: f64) -> f64 {
    EMPTY - level / BURST as f64 * (EMPTY - FULL)
}

fn picture(kind: Kind, run: &Run) -> String {
    let denied = run.requests.iter().filter(|request| request.denied.is_some()).count();
    let admitted = run.requests.len() - denied;
    let (title, line, description) = match kind {
        Kind::Token => (
            "Token bucket",
            "It holds up to 5 tokens, and 2 a second flow in. A request takes one, or is denied.",
            format!(
                "The tokens in a bucket over 12 seconds: {admitted} requests find a token and are \
                 admitted, {denied} find none and are denied."
            ),
        ),
        Kind::Leaky => (
            "Leaky bucket",
            "It has room for 5, and leaks 2 a second. A request pours one in, or is denied.",
            format!(
                "The level of a leaky bucket over 12 seconds: {admitted} requests find room and \
                 are admitted, {denied} find none and are denied."
            ),
        ),
    };
    let mut canvas = Canvas::new(HEIGHT, title, line, &description);
    match kind {
        Kind::Token => vessel::tokens(&mut canvas),
        Kind::Leaky => vessel::water(&mut canvas),
    }
    area(&mut canvas, kind, run);
    scales(&mut canvas, kind);
    curve(&mut canvas, kind, run);
    marks(&mut canvas, run, admitted, denied);
    notes(&mut canvas, kind, run);
    canvas.finish()
}

fn scales(canvas: &mut Canvas, kind: Kind) {
    for level in 0..=BURST {
        let (height, class) = (y(level as f64), if level == 0 { "soft" } else { "grid" });
        canvas.line((LEFT, height), (RIGHT, height), &format!("thin s-{class}"));
        canvas.text((LEFT - 10.0, height + 4.5), "end f-soft", &level.to_string());
    }
    let unit = if kind == Kind::Token { "tokens" } else { "level" };
    canvas.text((LEFT - 10.0, FULL - 14.0), "end f-soft", unit);
    for second in 0..=SECONDS as u64 {
        let place = x(second as f64);
        canvas.line((place, DENIED + 12.0), (place, DENIED + 17.0), "thin s-soft");
        if second % 2 == 0 {
            let label = if second == 0 { "0 s".to_owned() } else { second.to_string() };
            canvas.text((place, LABELS), "middle f-soft", &label);
        }
    }
    canvas.line((LEFT, DENIED + 12.0), (RIGHT, DENIED + 12.0), "thin s-soft");
}

fn points(run: &Run) -> Vec<(f64, f64)> {
    run.level.iter().map(|(at, level)| (x(*at), y(*level))).collect()
}

fn area(canvas: &mut Canvas, kind: Kind, run: &Run) {
    let mut area = points(run);
    area.extend([(RIGHT, EMPTY), (LEFT, EMPTY)]);
    canvas.polyline(&area, if kind == Kind::Token { "f-sand" } else { "f-water" });
}

fn curve(canvas: &mut Canvas, kind: Kind, run: &Run) {
    let (threshold, note) = match kind {
        Kind::Token => (1.0, (7.25, 0.36, "under 1: denied")),
        Kind::Leaky => (BURST as f64 - 1.0, (7.25, 4.36, "over 4: denied")),
    };
    canvas.line((LEFT, y(threshold)), (RIGHT, y(threshold)), "thin dashed s-red");
    canvas.text((x(note.0), y(note.1)), "f-red", note.2);
    canvas.polyline(&points(run), if kind == Kind::Token { "line s-gold" } else { "line s-blue" });
}

fn marks(canvas: &mut Canvas, run: &Run, admitted: usize, denied: usize) {
    let admitted = format!("{admitted} admitted");
    canvas.text((LEFT - 10.0, ADMITTED + 4.5), "end strong f-green", &admitted);
    let denied = format!("{denied} denied");
    canvas.text((LEFT - 10.0, DENIED + 4.5), "end strong f-red", &denied);
    for request in &run.requests {
        let place = x(request.at);
        if request.denied.is_some() {
            canvas.cross((place, DENIED), 3.2, "line s-red");
        } else {
            canvas.circle((place, ADMITTED), 3.4, "f-green");
        }
    }
}

/// Says beside the curve what happens there.
fn notes(canvas: &mut Canvas, kind: Kind, run: &Run) {
    let notes = match kind {
        Kind::Token => [
            (3.5, 4.36, "a burst takes what was saved"),
            (5.0, 2.36, "then 2 a second"),
            (7.95, 2.36, "idle: it fills"),
        ],
        Kind::Leaky => [
            (0.45, 2.36, "a burst fills it"),
            (4.6, 2.36, "then 2 a second"),
            (7.55, 3.36, "idle: it runs dry"),
        ],
    };
    for (at, level, note) in notes {
        canvas.text((x(at), y(level)), "f-ink", note);
    }
    // The first denial says when to come again.
    let first = run.requests.iter().find_map(|request| Some((request, request.denied?)));
    let (request, retry_after) = first.expect("a request is denied");
    let place = x(request.at);
    let note = format!("denied: retry after {} ms", retry_after.as_millis());
    let (text, from) = match kind {
        Kind::Token => (y(3.36), y(3.25)),
        Kind::Leaky => (FULL - 14.0, FULL - 9.0),
    };
    canvas.text((place - 4.0, text), "f-red", &note);
    canvas.line((place, from), (place, y(request.level) - 3.0), "thin s-red");
    canvas.circle((place, y(request.level)), 3.0, "f-red");
}

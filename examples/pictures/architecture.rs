//! The limiters and where each decides: at a core, in a process, on a machine, in Redis.

use super::canvas::{Canvas, MARGIN, WIDTH};

const HEIGHT: f64 = 636.0;
/// The upper ends of the floors, from the application's down.
const FLOORS: [f64; 6] = [84.0, 150.0, 250.0, 338.0, 436.0, 524.0];
/// Where the columns' middles are: one for each limiter.
const COLUMNS: [f64; 6] = [182.0, 303.0, 420.0, 536.0, 654.0, 772.0];

/// Draws it.
pub(crate) fn draw() -> String {
    let mut canvas = Canvas::new(
        HEIGHT,
        "Where a request is decided",
        "Leased tokens are debited below before they are spent above, so none is spent twice.",
        "An application calls limiters. A striped limiter leases tokens from its word to each \
         core; a direct limiter is one word in the process; a keyed limiter is a table of words \
         in the process, or in a file that all processes of a machine map; a leased limiter \
         fetches tokens from Redis ahead; a Redis limiter decides in Redis.",
    );
    legend(&mut canvas);
    application(&mut canvas);
    floors(&mut canvas);
    striped(&mut canvas, COLUMNS[0]);
    direct(&mut canvas, COLUMNS[1]);
    keyed(&mut canvas, COLUMNS[2]);
    shared(&mut canvas, COLUMNS[3]);
    leased(&mut canvas, COLUMNS[4]);
    redis(&mut canvas, COLUMNS[5]);
    canvas.finish()
}

fn legend(canvas: &mut Canvas) {
    let y = 36.0;
    canvas.arrow((586.0, y), (614.0, y), "ink");
    canvas.text((622.0, y + 4.5), "f-ink", "requests");
    canvas.arrow((698.0, y), (726.0, y), "gold");
    canvas.text((734.0, y + 4.5), "f-gold", "leased tokens");
}

fn application(canvas: &mut Canvas) {
    let size = (WIDTH - 2.0 * MARGIN, 52.0);
    canvas.rounded((MARGIN, FLOORS[0]), size, 8.0, "f-water s-blue");
    canvas.text((MARGIN + 16.0, FLOORS[0] + 31.0), "strong f-ink", "your application");
    let verbs = "check \u{b7} reserve \u{b7} acquire \u{b7} charge \u{b7} refund";
    canvas.text((WIDTH - MARGIN - 16.0, FLOORS[0] + 31.0), "code end f-ink", verbs);
    let helpers = [
        ("Combined", "all of several limits, or none"),
        ("Tiers", "quotas by name"),
        ("AnyLimiter", "a store by its URL"),
    ];
    let mut left = MARGIN;
    for ((name, note), width) in helpers.into_iter().zip([318.0, 198.0, 272.0]) {
        canvas.rounded((left, FLOORS[1]), (width, 34.0), 8.0, "f-band s-edge");
        canvas.text((left + 12.0, FLOORS[1] + 22.0), "code strong f-ink", name);
        canvas.text((left + width - 12.0, FLOORS[1] + 22.0), "end f-soft", note);
        left += width + 8.0;
    }
}

/// Draws the floors that decisions are made on.
fn floors(canvas: &mut Canvas) {
    for (top, height, name) in [
        (FLOORS[2], 80.0, "a core"),
        (FLOORS[3], 90.0, "a process"),
        (FLOORS[4], 80.0, "a machine"),
        (FLOORS[5], 84.0, "all machines"),
    ] {
        let size = (WIDTH - 2.0 * MARGIN, height);
        canvas.rounded((MARGIN, top), size, 8.0, "f-band");
        canvas.text((MARGIN + 12.0, top + 22.0), "strong f-soft", name);
    }
}

/// Names a limiter and draws the way of a request down to where it is decided.
fn limiter(canvas: &mut Canvas, x: f64, name: &str, more: &str, to: f64) {
    canvas.text((x, FLOORS[1] + 60.0), "code strong middle f-ink", name);
    canvas.text((x, FLOORS[1] + 77.0), "code middle f-ink", more);
    canvas.arrow((x, FLOORS[1] + 86.0), (x, to), "ink");
}

fn note(canvas: &mut Canvas, x: f64, y: f64, text: &str) {
    canvas.text((x, y), "small middle f-soft", text);
}

/// Draws a word around its middle: its two fields.
fn word(canvas: &mut Canvas, x: f64, y: f64) {
    canvas.rounded((x - 42.0, y - 9.0), (84.0, 18.0), 3.0, "f-water s-blue");
    canvas.rounded((x - 42.0, y - 9.0), (14.0, 18.0), 3.0, "f-coin s-gold");
}

/// Draws a table of words around its middle; some are taken.
fn table(canvas: &mut Canvas, x: f64, y: f64, taken: (&str, &str)) {
    for row in 0..3 {
        for column in 0..5 {
            let corner = (x - 42.0 + 17.0 * f64::from(column), y - 20.0 + 14.0 * f64::from(row));
            let full = [0, 3, 4, 6, 7, 9, 11, 13].contains(&(5 * row + column));
            let class =
                if full { format!("f-{} s-{}", taken.0, taken.1) } else { "f-paper s-edge".into() };
            canvas.rounded(corner, (15.0, 12.0), 2.0, &class);
        }
    }
}

fn striped(canvas: &mut Canvas, x: f64) {
    let y = FLOORS[2] + 30.0;
    limiter(canvas, x, "RateLimiter", ".striped()", y - 12.0);
    for (left, coins) in [(x - 49.0, 3), (x - 15.0, 2), (x + 19.0, 1)] {
        canvas.rounded((left, y - 10.0), (30.0, 20.0), 4.0, "f-paper s-gold");
        for coin in 0..coins {
            canvas.circle((left + 7.0 + 8.0 * f64::from(coin), y), 3.0, "f-coin s-gold");
        }
    }
    note(canvas, x, y + 29.0, "a cache line each");
    let word_at = FLOORS[3] + 36.0;
    canvas.arrow((x, word_at - 10.0), (x, y + 38.0), "gold");
    word(canvas, x, word_at);
    note(canvas, x, word_at + 30.0, "one word");
}

fn direct(canvas: &mut Canvas, x: f64) {
    let y = FLOORS[3] + 36.0;
    limiter(canvas, x, "RateLimiter", "", y - 12.0);
    word(canvas, x, y);
    note(canvas, x, y + 30.0, "one word");
}

fn keyed(canvas: &mut Canvas, x: f64) {
    let y = FLOORS[3] + 36.0;
    limiter(canvas, x, "KeyedLimiter", "", y - 23.0);
    table(canvas, x, y, ("water", "blue"));
    note(canvas, x, y + 40.0, "a word for each key");
}

fn shared(canvas: &mut Canvas, x: f64) {
    let y = FLOORS[4] + 32.0;
    limiter(canvas, x, "KeyedLimiter", "::open_shared", y - 23.0);
    table(canvas, x, y, ("water", "blue"));
    note(canvas, x, y + 38.0, "a mapped file");
    canvas.text((x - 172.0, y + 4.5), "end f-soft", "its other processes");
    canvas.arrow((x - 162.0, y), (x - 50.0, y), "ink");
}

fn leased(canvas: &mut Canvas, x: f64) {
    let y = FLOORS[3] + 36.0;
    limiter(canvas, x, "LeasedLimiter", "", y - 23.0);
    table(canvas, x, y, ("coin", "gold"));
    note(canvas, x, y + 40.0, "leased tokens");
    canvas.arrow((x, FLOORS[5] + 16.0), (x, y + 48.0), "gold");
}

fn redis(canvas: &mut Canvas, x: f64) {
    let y = FLOORS[3] + 44.0;
    limiter(canvas, x, "RedisLimiter", "", y - 25.0);
    canvas.rounded((x - 48.0, y - 22.0), (96.0, 44.0), 6.0, "f-paper s-edge");
    note(canvas, x, y - 4.0, "Redis away:");
    note(canvas, x, y + 12.0, "a local share");
    let (top, left, right) = (FLOORS[5] + 24.0, COLUMNS[4] - 46.0, x + 46.0);
    canvas.arrow((x, y + 22.0), (x, top - 10.0), "ink");
    canvas.text((COLUMNS[3] - 172.0, top + 24.5), "end f-soft", "other machines");
    canvas.arrow((COLUMNS[3] - 162.0, top + 20.0), (left - 8.0, top + 20.0), "ink");
    // A cylinder.
    let (wide, lower) = ((right - left) / 2.0, top + 38.0);
    let front = format!("M{left},{top} V{lower} A{wide},8 0 0 0 {right},{lower} V{top}");
    let side = format!("{front} A{wide},8 0 0 1 {left},{top} Z");
    canvas.path(&side, "f-mist s-plum coin");
    let lid = format!("M{left},{top} A{wide},8 0 0 1 {right},{top} A{wide},8 0 0 1 {left},{top} Z");
    canvas.path(&lid, "f-mist s-plum coin");
    canvas.text((left + wide, top + 30.0), "strong middle f-plum", "Redis");
}

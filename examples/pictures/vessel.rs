//! The buckets themselves, beside their charts.

use super::canvas::{Canvas, number};

/// The middle of a bucket.
const CENTRE: f64 = 122.0;
/// The heights of its rim and of its bottom.
const RIM: f64 = 168.0;
const BOTTOM: f64 = 284.0;
/// Half of its width at the rim, and how much narrower it is at the bottom.
const HALF: f64 = 60.0;
const TAPER: f64 = 16.0;

/// Draws a bucket of tokens, with room for two more.
pub(crate) fn tokens(canvas: &mut Canvas) {
    canvas.text((CENTRE, 104.0), "middle f-ink", "2 tokens a second");
    for (height, radius) in [(122.0, 7.0), (145.0, 9.0)] {
        coin(canvas, (CENTRE, height), radius, true);
    }
    canvas.polyline(&outline(RIM), "f-band");
    // From the bottom up; the last two are missing.
    let places = [(-17.0, 265.0), (17.0, 265.0), (-19.0, 231.5), (19.0, 231.5), (0.0, 201.0)];
    for (i, (right, height)) in places.into_iter().enumerate() {
        coin(canvas, (CENTRE + right, height), 15.5, i < 3);
    }
    canvas.polyline(&outline(RIM), "line s-ink");
    canvas.arrow((CENTRE, BOTTOM + 8.0), (CENTRE, BOTTOM + 32.0), "gold");
    canvas.text((CENTRE, 335.0), "middle f-ink", "a request takes one");
    canvas.text((CENTRE, 355.0), "middle f-red", "none left: denied");
}

/// Draws a bucket of water, with room for two more.
pub(crate) fn water(canvas: &mut Canvas) {
    canvas.text((CENTRE, 104.0), "middle f-ink", "a request pours one in");
    drop(canvas, (CENTRE, 127.0), 6.0);
    drop(canvas, (CENTRE, 152.0), 7.5);
    canvas.polyline(&outline(RIM), "f-band");
    let level = BOTTOM - (BOTTOM - RIM) * 3.0 / 5.0;
    canvas.polyline(&outline(level), "f-water");
    let [left, .., right] = outline(level);
    let wave = (right.0 - left.0) / 4.0;
    let (half, height) = (wave / 2.0, number(level));
    let surface = format!(
        "M{},{height} q{half},-6 {wave},0 t{wave},0 t{wave},0 t{wave},0",
        number(left.0),
        half = number(half),
        wave = number(wave),
    );
    canvas.path(&surface, "line s-blue");
    canvas.polyline(&outline(RIM), "line s-ink");
    // The hole.
    canvas.line((CENTRE - 5.0, BOTTOM), (CENTRE + 5.0, BOTTOM), "hole s-paper");
    drop(canvas, (CENTRE, BOTTOM + 13.0), 4.0);
    drop(canvas, (CENTRE, BOTTOM + 29.0), 4.0);
    canvas.text((CENTRE, 335.0), "middle f-ink", "2 a second leak out");
    canvas.text((CENTRE, 355.0), "middle f-red", "no room left: denied");
}

/// Returns the corners of the bucket up to a height, from the upper left to the upper right.
fn outline(height: f64) -> [(f64, f64); 4] {
    let half = HALF - TAPER + TAPER * (BOTTOM - height) / (BOTTOM - RIM);
    let bottom = HALF - TAPER;
    [
        (CENTRE - half, height),
        (CENTRE - bottom, BOTTOM),
        (CENTRE + bottom, BOTTOM),
        (CENTRE + half, height),
    ]
}

fn coin(canvas: &mut Canvas, at: (f64, f64), radius: f64, there: bool) {
    canvas.circle(at, radius, if there { "f-coin s-gold coin" } else { "thin dashed s-soft" });
}

/// Draws a drop around its round part's middle.
fn drop(canvas: &mut Canvas, (x, y): (f64, f64), radius: f64) {
    let path = format!(
        "M{x},{top} C{x},{neck} {right},{shoulder} {right},{y} A{r},{r} 0 1 1 {left},{y} \
         C{left},{shoulder} {x},{neck} {x},{top} Z",
        x = number(x),
        y = number(y),
        r = number(radius),
        top = number(y - 2.1 * radius),
        neck = number(y - 1.5 * radius),
        shoulder = number(y - 0.7 * radius),
        left = number(x - radius),
        right = number(x + radius),
    );
    canvas.path(&path, "f-blue");
}

//! A card to draw on: what all pictures share, over the crate `svg`.

use super::palette;
use svg::node::element::{
    Circle, Description, Line, Path, Rectangle, Style, Text as TextElement, Title,
};
use svg::{Document, Node};

/// The width of every picture, about that of a README's column.
pub(crate) const WIDTH: f64 = 860.0;
/// The space between a card's edge and what is on it.
pub(crate) const MARGIN: f64 = 28.0;

/// A picture that is being drawn. Later shapes lie over earlier ones.
pub(crate) struct Canvas {
    document: Document,
}

impl Canvas {
    /// Starts a card with its title, a line beneath it, and words for those who cannot see it.
    pub(crate) fn new(height: f64, title: &str, line: &str, description: &str) -> Self {
        let document = Document::new()
            .set("viewBox", format!("0 0 {} {}", number(WIDTH), number(height)))
            .set("width", number(WIDTH))
            .set("height", number(height))
            .set("role", "img")
            .set("aria-labelledby", "title description")
            .add(Title::new(title).set("id", "title"))
            .add(Description::new().set("id", "description").add(svg::node::Text::new(description)))
            .add(Style::new(palette::sheet()));
        let mut canvas = Self { document };
        canvas.rounded((0.5, 0.5), (WIDTH - 1.0, height - 1.0), 12.0, "f-paper s-edge");
        canvas.text((MARGIN, 40.0), "title f-ink", title);
        canvas.text((MARGIN, 62.0), "f-soft", line);
        canvas
    }

    pub(crate) fn text(&mut self, (x, y): (f64, f64), class: &str, text: &str) {
        let element = TextElement::new(text).set("x", number(x)).set("y", number(y));
        self.add(element.set("class", class));
    }

    pub(crate) fn rounded(
        &mut self,
        (x, y): (f64, f64),
        (width, height): (f64, f64),
        radius: f64,
        class: &str,
    ) {
        let mut element = Rectangle::new()
            .set("x", number(x))
            .set("y", number(y))
            .set("width", number(width))
            .set("height", number(height));
        if radius > 0.0 {
            element = element.set("rx", number(radius));
        }
        self.add(element.set("class", class));
    }

    pub(crate) fn circle(&mut self, (x, y): (f64, f64), radius: f64, class: &str) {
        let element = Circle::new().set("cx", number(x)).set("cy", number(y));
        self.add(element.set("r", number(radius)).set("class", class));
    }

    pub(crate) fn line(&mut self, (x1, y1): (f64, f64), (x2, y2): (f64, f64), class: &str) {
        let element = Line::new()
            .set("x1", number(x1))
            .set("y1", number(y1))
            .set("x2", number(x2))
            .set("y2", number(y2));
        self.add(element.set("class", class));
    }

    /// Draws a path, written as in SVG.
    pub(crate) fn path(&mut self, path: &str, class: &str) {
        self.add(Path::new().set("d", path).set("class", class));
    }

    /// Draws a line through all points; a filled class closes it.
    pub(crate) fn polyline(&mut self, points: &[(f64, f64)], class: &str) {
        let points: Vec<_> =
            points.iter().map(|(x, y)| format!("{},{}", number(*x), number(*y))).collect();
        self.path(&format!("M{}", points.join(" L")), class);
    }

    /// Draws an upright or level line with a head at its end, in one colour.
    pub(crate) fn arrow(&mut self, from: (f64, f64), to: (f64, f64), colour: &str) {
        let length = (to.0 - from.0).abs() + (to.1 - from.1).abs();
        // One step along the line.
        let (x, y) = ((to.0 - from.0) / length, (to.1 - from.1) / length);
        let neck = (to.0 - 7.0 * x, to.1 - 7.0 * y);
        self.line(from, neck, &format!("line s-{colour}"));
        let (left, right) =
            ((neck.0 + 4.5 * y, neck.1 - 4.5 * x), (neck.0 - 4.5 * y, neck.1 + 4.5 * x));
        self.polyline(&[left, right, to], &format!("f-{colour}"));
    }

    /// Draws a cross: a denied request.
    pub(crate) fn cross(&mut self, (x, y): (f64, f64), arm: f64, class: &str) {
        self.line((x - arm, y - arm), (x + arm, y + arm), class);
        self.line((x - arm, y + arm), (x + arm, y - arm), class);
    }

    /// Returns the picture's text.
    pub(crate) fn finish(self) -> String {
        format!("{}\n", self.document)
    }

    fn add(&mut self, node: impl Node) {
        self.document.append(node);
    }
}

/// Writes a coordinate to a tenth, and without it where it is whole.
pub(crate) fn number(value: f64) -> String {
    let text = format!("{value:.1}");
    text.strip_suffix(".0").map_or_else(|| text.clone(), str::to_owned)
}

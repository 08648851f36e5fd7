//! Colours and letters, as one style sheet that a picture carries with it.
//!
//! Each picture has a background of its own, so that it stays legible where the page and the
//! viewer's colour scheme disagree. Every colour is a class, `f-` to fill and `s-` to stroke, and
//! not a CSS variable, because several renderers of SVG know no variables.

/// A colour's name, and its value on a light and on a dark background.
const COLOURS: [(&str, &str, &str); 15] = [
    ("paper", "#ffffff", "#0d1117"),
    ("edge", "#d1d9e0", "#30363d"),
    ("band", "#f3f5f8", "#161b22"),
    ("grid", "#e4e8ed", "#262c35"),
    ("ink", "#1f2328", "#f0f6fc"),
    ("soft", "#59636e", "#9da7b3"),
    ("blue", "#0969da", "#58a6ff"),
    ("water", "#dcedff", "#10294a"),
    ("green", "#1a7f37", "#3fb950"),
    ("red", "#cf222e", "#ff7b72"),
    ("gold", "#9a6700", "#e3b341"),
    ("coin", "#ffdf80", "#6b5313"),
    ("sand", "#fff4d1", "#302810"),
    ("plum", "#8250df", "#c297ff"),
    ("mist", "#efe6fd", "#33244f"),
];

const LETTERS: &str = "\
text { font-family: system-ui, -apple-system, 'Segoe UI', Helvetica, Arial, sans-serif }
text { font-size: 13px }
.title { font-size: 18px; font-weight: 600 }
.strong { font-weight: 600 }
.code, .bit { font-family: ui-monospace, SFMono-Regular, Menlo, Consolas, monospace }
.code { font-size: 12.5px }
.bit { font-size: 10.5px }
.middle { text-anchor: middle }
.end { text-anchor: end }
.thin { fill: none; stroke-width: 1 }
.line { fill: none; stroke-width: 2; stroke-linejoin: round; stroke-linecap: round }
.small { font-size: 12px }
.coin { stroke-width: 1.5 }
.hole { stroke-width: 4 }
.dashed { stroke-dasharray: 4 4 }
";

/// Writes the style sheet.
pub(crate) fn sheet() -> String {
    let light: String = COLOURS.iter().map(|(name, light, _)| rule(name, light)).collect();
    let dark: String = COLOURS.iter().map(|(name, _, dark)| rule(name, dark)).collect();
    format!("\n{LETTERS}{light}@media (prefers-color-scheme: dark) {{\n{dark}}}\n")
}

fn rule(name: &str, value: &str) -> String {
    format!(".f-{name} {{ fill: {value} }}\n.s-{name} {{ stroke: {value} }}\n")
}

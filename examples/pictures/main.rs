//! Draws the pictures of the README and of the chapters, from runs of the library itself.
//!
//! `cargo run --example pictures` writes them to `images/`. The same run always draws the same
//! bytes, and `tests/pictures.rs` checks that the committed files are those.

mod architecture;
mod bucket;
mod canvas;
mod embed;
mod palette;
mod vessel;
mod word;

use std::io;
use std::path::Path;

/// Returns each file's name and its text.
pub(crate) fn files() -> Vec<(&'static str, String)> {
    let [token, leaky] = bucket::draw();
    let mut files =
        vec![("token-bucket.svg", token), ("leaky-bucket.svg", leaky), ("word.svg", word::draw())];
    // The chapters show these three.
    let definitions = embed::definitions(&files);
    files.extend([("architecture.svg", architecture::draw()), ("rustdoc.md", definitions)]);
    files
}

fn main() -> io::Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("images");
    for (name, text) in files() {
        std::fs::write(folder.join(name), text)?;
        println!("drawn: images/{name}");
    }
    Ok(())
}

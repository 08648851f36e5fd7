//! The committed pictures are those that `cargo run --example pictures` draws.

#[expect(dead_code, reason = "the example's `main` writes files")]
#[path = "../examples/pictures/main.rs"]
mod pictures;

use std::path::Path;

#[test]
fn committed_pictures_are_those_that_the_example_draws() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("images");
    for (name, drawn) in pictures::files() {
        let committed = std::fs::read_to_string(folder.join(name)).expect("the picture is there");
        // Not `assert_eq!`, which would print both.
        assert!(committed == drawn, "{name} is stale: cargo run --example pictures");
    }
}

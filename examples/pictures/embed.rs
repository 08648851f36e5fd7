//! The pictures of the chapters as data, since rustdoc copies no files.
//!
//! Chapters name pictures by reference and define the references as files. `src/lib.rs` puts these
//! definitions before a chapter, and of two definitions Markdown takes the first.

/// Writes a definition of a reference for each picture.
pub(crate) fn definitions(pictures: &[(&str, String)]) -> String {
    let define = |(name, svg): &(&str, String)| {
        let name = name.strip_suffix(".svg").unwrap_or(name);
        let data: String = svg.bytes().map(escaped).collect();
        format!("[{name}]: data:image/svg+xml,{data}\n")
    };
    pictures.iter().map(define).collect()
}

/// Writes a byte as a URL and Markdown both take it.
fn escaped(byte: u8) -> String {
    match byte {
        b'a'..=b'z'
        | b'A'..=b'Z'
        | b'0'..=b'9'
        | b'-'
        | b'.'
        | b'/'
        | b':'
        | b';'
        | b'='
        | b',' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    }
}

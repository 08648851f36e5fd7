//! The requests of a log, read from its bytes.

use crate::Key;
use crate::line::{Lines, Request};
use flate2::read::MultiGzDecoder;
use indicatif::{ProgressBar, ProgressStyle};
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Cursor, Read};
use std::path::Path;

/// The most bytes of a line that can be a request.
const LONGEST: u64 = 64 * 1024;
/// The number of lines that don't parse and are reported one by one.
const TOLD: usize = 5;

/// The requests of a log, in order of time.
#[derive(Debug, Default)]
pub(crate) struct Log {
    /// Times in seconds since 1970 in UTC, and numbers of keys.
    pub(crate) requests: Vec<(i64, u32)>,
    pub(crate) keys: Vec<String>,
    pub(crate) lines: u64,
    /// The number of lines that did not parse, and the first of them: number and reason.
    pub(crate) skipped: u64,
    pub(crate) told: Vec<(u64, String)>,
    /// The number of lines that were out of order, and by how many seconds at most.
    pub(crate) late: u64,
    pub(crate) late_by: i64,
    /// The number of requests whose client is one of a forwarded list.
    pub(crate) listed: u64,
}

impl Log {
    /// Reads a file, or standard input if the path is `-`.
    pub(crate) fn read(path: &Path, key: Key) -> Result<Self, String> {
        let name = if path.as_os_str() == "-" {
            "standard input".into()
        } else {
            path.display().to_string()
        };
        let fail = |why: io::Error| format!("cannot read {name}: {why}");
        let (bytes, bar) = open(path).map_err(fail)?;
        let mut log = Self::default();
        let read = unpacked(bytes).and_then(|mut lines| log.read_lines(&mut lines, key));
        bar.finish_and_clear();
        match read {
            Err(why) if why.kind() == io::ErrorKind::UnexpectedEof => {
                return Err(format!(
                    "{name} ends in the middle of its gzip data, after {} whole lines",
                    log.lines
                ));
            }
            read => read.map_err(fail)?,
        }
        for (line, why) in &log.told {
            eprintln!("line {line}: {why}");
        }
        if log.skipped as usize > TOLD {
            eprintln!("... and {} lines more that don't parse", log.skipped as usize - TOLD);
        }
        if log.requests.is_empty() {
            return Err(match log.lines {
                0 => format!("no requests in {name}: it is empty"),
                lines => format!("no requests in {name}: none of its {lines} lines parses"),
            });
        }
        // The sort is stable: requests of one second stay in the log's order.
        log.requests.sort_by_key(|(at, _)| *at);
        Ok(log)
    }

    /// The seconds from the first request to the last.
    pub(crate) fn span(&self) -> u64 {
        match &self.requests[..] {
            [(first, _), .., (last, _)] => last.abs_diff(*first),
            _ => 0,
        }
    }

    fn read_lines(&mut self, lines: &mut dyn BufRead, key: Key) -> io::Result<()> {
        let (mut line, mut numbers) = (Vec::new(), HashMap::new());
        let parser = Lines::new(key).map_err(io::Error::other)?;
        let mut newest = i64::MIN;
        loop {
            line.clear();
            if (&mut *lines).take(LONGEST + 1).read_until(b'\n', &mut line)? == 0 {
                return Ok(());
            }
            self.lines += 1;
            if line.len() as u64 > LONGEST && line.last() != Some(&b'\n') {
                lines.skip_until(b'\n')?;
                self.skip(format!("longer than {LONGEST} bytes"));
                continue;
            }
            let Ok(text) = std::str::from_utf8(&line) else {
                self.skip("not UTF-8".into());
                continue;
            };
            let text = text.trim_start_matches('\u{feff}').trim_end();
            if text.is_empty() {
                continue;
            }
            match parser.parse(text) {
                Ok(Request { at, key, listed }) => {
                    self.listed += u64::from(listed);
                    if at < newest {
                        self.late += 1;
                        self.late_by = self.late_by.max(newest - at);
                    }
                    newest = newest.max(at);
                    let number = *numbers.entry(key).or_insert_with_key(|key| {
                        self.keys.push(key.clone());
                        self.keys.len() as u32 - 1
                    });
                    self.requests.push((at, number));
                }
                Err(why) => self.skip(why),
            }
        }
    }

    fn skip(&mut self, why: String) {
        self.skipped += 1;
        if self.told.len() < TOLD {
            self.told.push((self.lines, why));
        }
    }
}

/// Opens the bytes, and on a terminal a bar that shows how many of them have been read.
fn open(path: &Path) -> io::Result<(Box<dyn Read>, ProgressBar)> {
    let style = |template| {
        ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
    };
    if path.as_os_str() == "-" {
        let bar = ProgressBar::new_spinner().with_style(style("{spinner} {bytes} read"));
        return Ok((Box::new(bar.wrap_read(io::stdin())), bar));
    }
    let file = File::open(path)?;
    let meta = file.metadata()?;
    if meta.is_dir() {
        return Err(io::Error::new(io::ErrorKind::IsADirectory, "it is a folder"));
    }
    let bar = ProgressBar::new(meta.len())
        .with_style(style("{wide_bar} {bytes} of {total_bytes}, {eta} to go"));
    Ok((Box::new(bar.wrap_read(file)), bar))
}

/// Unpacks gzip, which it knows by the first two bytes, whatever the file's name.
fn unpacked(mut bytes: Box<dyn Read>) -> io::Result<Box<dyn BufRead>> {
    let mut start = Vec::new();
    (&mut bytes).take(2).read_to_end(&mut start)?;
    let packed = start == [0x1f, 0x8b];
    let bytes = Cursor::new(start).chain(bytes);
    Ok(if packed {
        Box::new(BufReader::new(MultiGzDecoder::new(bytes)))
    } else {
        Box::new(BufReader::new(bytes))
    })
}

//! A replay of an access log through the real limiter: what a limit would have done to yesterday's
//! traffic.
//!
//! ```sh
//! cargo run --release --example replay -- access.log --limit 10/minute --burst 20 --key ip
//! cargo run --release --example replay -- access.log.gz --limit 10/minute --compare --plot out.svg
//! ```
//!
//! The program reads the common and the combined log format, plain or gzip, from a file or from
//! standard input (`-`). It replays the log on its own timestamps, in order of time.
//!
//! A server's own words may come before the client's address: a virtual host, a time, what syslog
//! adds, a forwarded list (whose first public address is the client). A line whose client is not
//! certain is left out, and the reason is printed. All spellings of an address are one client.

mod client;
mod line;
mod log;
mod plot;
mod report;
mod run;

use clap::{Parser, ValueEnum};
use log::Log;
use sluicegate::{Algorithm, Quota};
use std::error::Error;
use std::fmt;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

/// Shows what a limit would have done to the requests of an access log.
#[derive(Debug, Parser)]
struct Flags {
    /// The log, in common or combined format, plain or gzip; - is standard input.
    log: PathBuf,
    /// The limit of each key, as in "10/minute" or "100/hour burst 20".
    #[arg(long)]
    limit: Quota,
    /// The burst, if not the limit's own. Windows have none.
    #[arg(long)]
    burst: Option<u64>,
    /// The part of a request that is limited.
    #[arg(long, value_enum, default_value_t = Key::Ip)]
    key: Key,
    /// The algorithm: token, leaky, fixed or sliding.
    #[arg(long, default_value = "token-bucket")]
    algorithm: Algorithm,
    /// Compares all four algorithms, side by side.
    #[arg(long)]
    compare: bool,
    /// The number of the worst clients to name.
    #[arg(long, default_value_t = 10)]
    top: usize,
    /// Draws allowed and denied over time, and the worst clients, as SVG.
    #[arg(long)]
    plot: Option<PathBuf>,
}

/// The part of a request that is its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Key {
    /// The client's address, or its host's name in a log that has names.
    Ip,
    /// The user that the server has authenticated; the address of requests without one.
    User,
    /// The path, without its query.
    Path,
    /// The user agent.
    Agent,
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ip => "ip",
            Self::User => "user",
            Self::Path => "path",
            Self::Agent => "agent",
        })
    }
}

/// The longest log, thirty years, in seconds.
const LONGEST: u64 = 30 * 31_557_600;

const ALL: [Algorithm; 4] = [
    Algorithm::TokenBucket,
    Algorithm::LeakyBucket,
    Algorithm::FixedWindow,
    Algorithm::SlidingWindow,
];

fn main() -> ExitCode {
    match replay(&Flags::parse(), &mut std::io::stdout().lock()) {
        Ok(()) => ExitCode::SUCCESS,
        // The reader of the output, such as `head`, has closed it.
        Err(why) if is_closed_pipe(&*why) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("error: {why}");
            ExitCode::FAILURE
        }
    }
}

fn is_closed_pipe(why: &(dyn Error + 'static)) -> bool {
    why.downcast_ref::<io::Error>().is_some_and(|why| why.kind() == io::ErrorKind::BrokenPipe)
}

fn replay(flags: &Flags, out: &mut impl Write) -> Result<(), Box<dyn Error>> {
    let limit = match flags.burst {
        Some(burst) => flags.limit.try_burst(burst)?,
        None => flags.limit,
    };
    if flags.burst.is_some() && run::is_window(flags.algorithm) && !flags.compare {
        return Err(format!("a {} has no burst: leave out --burst", flags.algorithm).into());
    }
    // Reject an impossible limit before a long log is read.
    run::limiter(limit, flags.algorithm, 1)?;
    let log = Log::read(&flags.log, flags.key)?;
    write!(out, "{}", report::about(&log, flags.key))?;
    if log.span() > LONGEST {
        return Err("the log spans over 30 years, for which no limiter's time is made".into());
    }
    let outcome = run::replay(&log, limit, flags.algorithm)?;
    if flags.compare {
        let row = |algorithm| {
            let outcome = run::replay(&log, limit, algorithm)?;
            Ok((outcome, run::tightest_count(&log, limit, algorithm)?))
        };
        // Other algorithms may hold a limit that one cannot.
        let rows = ALL.map(|algorithm| (algorithm, row(algorithm)));
        write!(out, "{}", report::compared(&log, limit, &rows))?;
    } else {
        write!(out, "{}", report::outcome(&log, limit, flags.algorithm, &outcome, flags.top))?;
        let burst = run::tightest_burst(&log, limit, flags.algorithm)?;
        let count = run::tightest_count(&log, limit, flags.algorithm)?;
        write!(out, "{}", report::tightest(limit, flags.algorithm, burst, count))?;
    }
    if let Some(file) = &flags.plot {
        let title = format!("{} by {}, for each {}", limit, flags.algorithm, flags.key);
        plot::draw(file, &log, &outcome, &title)
            .map_err(|why| format!("cannot draw {}: {why}", file.display()))?;
        writeln!(out, "\ndrawn: {}", file.display())?;
    }
    Ok(())
}

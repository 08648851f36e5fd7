//! The URL of a store, and its options.

use super::error::AnyError;
use crate::algorithm::Algorithm;
#[cfg(feature = "redis")]
use crate::redis::Fallback;
use alloc::borrow::Cow;
use alloc::string::{String, ToString};
use core::str::FromStr;
use core::time::Duration;

/// The options of a URL. An option that the store does not know is an error, so that no option is
/// ignored.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Options {
    pub(super) algorithm: Option<Algorithm>,
    pub(super) capacity: Option<usize>,
    pub(super) max_debt: Option<u64>,
    pub(super) lease: bool,
    pub(super) nodes: Option<u64>,
    pub(super) prefix: Option<String>,
    pub(super) deadline: Option<Duration>,
    pub(super) round_trips: Option<u32>,
    pub(super) start_away: bool,
    #[cfg(feature = "redis")]
    pub(super) fallback: Option<Fallback>,
}

/// A URL without its options.
pub(super) struct Place<'a> {
    pub(super) scheme: &'a str,
    /// The text between the scheme and the options.
    pub(super) rest: &'a str,
    /// The URL without the options, as the Redis client takes it.
    #[cfg_attr(not(feature = "redis"), expect(dead_code, reason = "there is no client"))]
    pub(super) url: Cow<'a, str>,
}

/// The options of each kind of store.
const OF_MEMORY: &[&str] = &["algorithm", "capacity", "max_debt"];
const OF_REDIS: &[&str] = &[
    "algorithm",
    "capacity",
    "max_debt",
    "mode",
    "nodes",
    "prefix",
    "deadline",
    "round_trips",
    "fallback",
    "start_away",
];

pub(super) fn parse(url: &str) -> Result<(Place<'_>, Options), AnyError> {
    let Some((scheme, whole)) = url.split_once("://") else {
        return Err(wrong(
            "the URL has no scheme: it must begin with memory://, shm://, redis:// or the like",
        ));
    };
    // The fragment (`#insecure`) is the client's, so it stays in the URL.
    let (before, fragment) = match whole.split_once('#') {
        Some((before, fragment)) => (before, Some(fragment)),
        None => (whole, None),
    };
    let (rest, query) = before.split_once('?').unwrap_or((before, ""));
    let of_redis = scheme.contains("redis") || scheme.contains("unix");
    if !of_redis && fragment.is_some() {
        return Err(wrong(
            "the URL has a `#`, and this store reads nothing after it: in a path it is written %23",
        ));
    }
    let known = if of_redis { OF_REDIS } else { OF_MEMORY };
    let options = read_options(scheme, query, known).map_err(|error| {
        // The option may be a part of a password.
        let login = whole.strip_prefix(rest).is_some_and(|after| after.contains('@'));
        if login {
            return wrong(
                "the URL has an unknown option, or its login has a raw `?` or `#`: `?` is written \
                 %3F and `#` is written %23",
            );
        }
        error
    })?;
    let url = match fragment {
        None if query.is_empty() && !before.ends_with('?') => Cow::Borrowed(url),
        None => Cow::Owned(alloc::format!("{scheme}://{rest}")),
        Some(fragment) => Cow::Owned(alloc::format!("{scheme}://{rest}#{fragment}")),
    };
    Ok((Place { scheme, rest, url }, options))
}

fn read_options(scheme: &str, query: &str, known: &[&str]) -> Result<Options, AnyError> {
    let mut options = Options::default();
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        if !known.contains(&&*name) {
            let known = known.join(", ");
            return Err(wrong(&alloc::format!(
                "the URL has an option {name:?}; {scheme}:// has {known}"
            )));
        }
        options.set(&name, &value)?;
    }
    Ok(options)
}

impl Options {
    fn set(&mut self, name: &str, value: &str) -> Result<(), AnyError> {
        match name {
            "algorithm" => self.algorithm = Some(read(name, value, "a name such as token-bucket")?),
            "capacity" => self.capacity = Some(read(name, value, "a number of keys")?),
            "max_debt" => self.max_debt = Some(read(name, value, "a number of tokens")?),
            "nodes" => self.nodes = Some(read(name, value, "a number of processes")?),
            "prefix" => self.prefix = Some(value.to_string()),
            "mode" => {
                self.lease = match value {
                    "exact" => false,
                    "lease" => true,
                    _ => return Err(odd(name, value, "exact or lease")),
                }
            }
            "deadline" => {
                let time = humantime::parse_duration(value);
                self.deadline = Some(time.map_err(|_| odd(name, value, "a time such as 5ms"))?);
            }
            "round_trips" => {
                self.round_trips = Some(read(name, value, "a number of round trips")?);
            }
            "start_away" => self.start_away = read(name, value, "true or false")?,
            #[cfg(feature = "redis")]
            "fallback" => {
                self.fallback = Some(match value {
                    "local" => Fallback::Local,
                    "open" => Fallback::Open,
                    "closed" => Fallback::Closed,
                    "error" => Fallback::Error,
                    _ => return Err(odd(name, value, "local, open, closed or error")),
                });
            }
            _ => {}
        }
        Ok(())
    }
}

fn read<T: FromStr>(name: &str, value: &str, expected: &str) -> Result<T, AnyError> {
    value.parse().map_err(|_| odd(name, value, expected))
}

fn odd(name: &str, value: &str, expected: &str) -> AnyError {
    wrong(&alloc::format!("the URL's option {name} must be {expected}, not {value:?}"))
}

pub(super) fn wrong(text: &str) -> AnyError {
    AnyError::Url(text.to_string())
}

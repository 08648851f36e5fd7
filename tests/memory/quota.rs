//! Quotas: the text form, every error, the permitted ranges at both ends, and what the small public
//! types promise by their shape.

use proptest::prelude::*;
use sluicegate::{Denied, Grant, ManualClock, Quota, QuotaError, RateLimiter};
use std::error::Error;
use std::panic::catch_unwind;
use std::time::Duration;

const MAX_PERIOD: Duration = Duration::from_secs(3_660 * 86_400);
const COUNT: &str = "count must be at least 1";
const RATE: &str = "count must be at most 2^40 (1,099,511,627,776) tokens a second";
const PERIOD: &str = "period must be from 1 ns to 3,660 days";
const BURST: &str =
    "burst must be from 1 to 2^48 (281,474,976,710,656) tokens; it is the count unless set";

/// Where the error says to look, and its text.
fn error<T>(result: Result<T, QuotaError>) -> (&'static str, Option<usize>, String) {
    let error = result.err().expect("an error");
    (error.field(), error.position(), error.to_string())
}

fn parse(text: &str) -> Result<Quota, QuotaError> {
    text.parse()
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 2048, failure_persistence: None, ..ProptestConfig::default()
    })]

    #[test]
    fn text_form_parses_back_to_the_same_quota(
        count in 1..u64::MAX, bits in 0..64_u32, burst in 1..=1_u64 << 48, many in 1..5_000_u64,
        unit in 0..8_usize,
    ) {
        let unit = [1, 1_000, 1_000_000, 1_000_000_000, 60_000_000_000, 3_600_000_000_000,
            86_400_000_000_000, 604_800_000_000_000][unit];
        let period = (many * unit).min(MAX_PERIOD.as_nanos() as u64);
        let most = (u128::from(period) << 40) / 1_000_000_000;
        let count = u128::from(count >> bits).clamp(1, most) as u64;
        let text = format!("{count}/{period} ns burst {burst}");
        let quota: Quota = parse(&text).map_err(|e| TestCaseError::fail(e.to_string()))?;
        prop_assert_eq!((quota.count(), quota.burst_size()), (count, burst));
        prop_assert_eq!(quota.period(), Duration::from_nanos(period));
        prop_assert_eq!(parse(&quota.to_string()), Ok(quota), "{}", quota);
        prop_assert_eq!(format!("{quota:?}"), format!("Quota({quota})"));
    }

    #[test]
    fn any_text_is_a_quota_or_an_error_with_a_place(text in "\\PC{0,24}") {
        if let Err(error) = parse(&text) {
            prop_assert!(error.position().is_none_or(|at| text.is_char_boundary(at)), "{text:?}");
        }
    }

    #[test]
    fn nearly_a_quota_never_panics(
        text in "[0-9_]{0,22} ?(/|per) ?[0-9_]{0,21} ?[a-zµ]{0,8} ?(burst)? ?[0-9_]{0,22}"
    ) {
        if let Err(error) = parse(&text) {
            prop_assert!(error.position().is_none_or(|at| at <= text.len()));
        }
    }
}

#[test]
fn text_forms_that_mean_the_same() {
    for (text, quota, printed) in [
        ("100/minute burst 20", Quota::per_minute(100).burst(20), "100/minute burst 20"),
        ("100/min", Quota::per_minute(100), "100/minute"),
        ("  100 / 1 Minutes  ", Quota::per_minute(100), "100/minute"),
        ("100 per m BURST 100", Quota::per_minute(100), "100/minute"),
        ("100/60s", Quota::per_minute(100), "100/minute"),
        ("1_000/s", Quota::per_second(1_000), "1000/second"),
        ("5 PER 2 hours", Quota::new(5, Duration::from_secs(7_200)).unwrap(), "5/2 hours"),
        ("1/30 days", Quota::new(1, Duration::from_secs(30 * 86_400)).unwrap(), "1/30 days"),
        ("7/24h", Quota::per_day(7), "7/day"),
        ("7/7 d", Quota::new(7, Duration::from_secs(7 * 86_400)).unwrap(), "7/week"),
        ("3/1500ms", Quota::new(3, Duration::from_millis(1_500)).unwrap(), "3/1500 ms"),
        ("3/10us", Quota::new(3, Duration::from_micros(10)).unwrap(), "3/10 us"),
        ("1000/ns", Quota::new(1_000, Duration::from_nanos(1)).unwrap(), "1000/ns"),
    ] {
        assert_eq!(parse(text), Ok(quota), "{text}");
        assert_eq!(quota.to_string(), printed, "{text}");
    }
}

#[test]
fn text_that_does_not_parse_says_where_and_what_was_expected() {
    const NUMBER: &str = "a whole number of tokens, as in \"100/minute\"";
    const UNIT: &str = "a unit: ns, us, ms, second, minute, hour, day or week";
    const MORE: &str = "\"burst\" and a number, or the end";
    const AFTER: &str = "a whole number of tokens after \"burst\"";
    const PER: &str = "\"/\" or \"per\" after the count";
    for (text, at, expected) in [
        ("", 0, NUMBER),
        ("  ", 2, NUMBER),
        ("minute", 0, NUMBER),
        ("-5/minute", 0, NUMBER),
        ("18446744073709551616/day", 0, "a number under 2^64"),
        ("5/18446744073709551616 ns", 2, "a number under 2^64"),
        ("5/", 2, UNIT),
        ("5/2", 3, UNIT),
        ("5/fortnight", 2, UNIT),
        ("5/2  moons", 5, UNIT),
        ("5.5/second", 1, PER),
        ("5/second,", 8, MORE),
        ("5/second  boost 3", 10, MORE),
        ("5/second burst", 14, AFTER),
        ("5/second burst x", 15, AFTER),
        ("5/second burst 3 4", 17, "the end of the quota"),
        ("5/µs", 2, UNIT),
    ] {
        let told = format!("quota text, byte {at}: expected {expected}");
        assert_eq!(error(parse(text)), ("text", Some(at), told), "{text:?}");
    }
}

/// A word in the place of `per` is what is wrong, and where it begins is where to look.
#[test]
fn text_with_another_word_for_per_points_at_that_word() {
    for text in ["5 each minute", "5 minute"] {
        assert_eq!(error(parse(text)).1, Some(2), "{text:?}");
    }
}

#[test]
fn numbers_out_of_range_name_the_field_and_the_range() {
    let second = Duration::from_secs(1);
    let over = |field: &'static str, text: &str| (field, None, text.to_string());
    let nanosecond = Duration::from_nanos(1);
    assert_eq!(error(Quota::new(0, second)), over("count", COUNT));
    assert_eq!(error(Quota::new(1, Duration::ZERO)), over("period", PERIOD));
    assert_eq!(error(Quota::new(1, MAX_PERIOD + nanosecond)), over("period", PERIOD));
    assert_eq!(error(Quota::new(1, Duration::MAX)), over("period", PERIOD));
    assert_eq!(error(Quota::new((1 << 40) + 1, second)), over("count", RATE));
    assert_eq!(error(Quota::new(u64::MAX, nanosecond)), over("count", RATE));
    assert_eq!(error(Quota::per_second(1).try_burst(0)), over("burst", BURST));
    assert_eq!(error(Quota::per_second(1).try_burst((1 << 48) + 1)), over("burst", BURST));
    assert_eq!(error(parse("0/second")), over("count", COUNT));
    assert_eq!(error(parse("0/second burst 5")), over("count", COUNT));
    assert_eq!(error(parse("5/0 seconds")), over("period", PERIOD));
    assert_eq!(error(parse("5/0 seconds burst 1")), over("period", PERIOD));
    assert_eq!(error(parse("5/18446744073709551615 weeks")), over("period", PERIOD));
    assert_eq!(error(parse("1099511627777/second burst 1")), over("count", RATE));
    assert_eq!(error(parse("5/second burst 0")), over("burst", BURST));
    assert_eq!(error(parse("5/second burst 281474976710657")), over("burst", BURST));
}

#[test]
fn limiters_that_cannot_be_built_name_the_field_and_the_range() {
    let quota = Quota::per_second(10);
    let builder = |quota| RateLimiter::builder(quota).clock(ManualClock::new());
    let of = |built: Result<RateLimiter, QuotaError>| {
        let (field, position, text) = error(built);
        assert_eq!(position, None);
        format!("{field}: {text}")
    };
    let window = "burst: burst must be left out of a window's quota: a window admits its count";
    assert_eq!(of(builder(quota.burst(11)).fixed_window().build()), window);
    assert_eq!(of(builder(quota.burst(9)).sliding_window().build()), window);
    let initial = "initial: initial must be left out: a window starts empty";
    assert_eq!(of(builder(quota).fixed_window().initial(1).build()), initial);
    let initial = "initial: initial must be at most the limiter's burst";
    assert_eq!(of(builder(quota).initial(11).build()), initial);
    let batch = "batch: batch must be left out: a window has no tokens to draw ahead";
    assert_eq!(of(builder(quota).sliding_window().batch(2).build()), batch);
    let batch = "batch: batch must be at least 1, and with this burst at most 6";
    assert_eq!(of(builder(quota).batch(0).build()), batch);
    assert_eq!(of(builder(quota).batch(7).build()), batch);
    let batch = "batch: batch must be at least 1, and with this burst at most 255";
    assert_eq!(of(builder(Quota::per_second(1_000)).batch(256).build()), batch);
    let packing = "count: count must fit the window's state: at this period it must be at most";
    let built = builder(Quota::per_second(131_072)).sliding_window().build();
    assert_eq!(of(built), format!("{packing} 131071"));
    let built = builder(Quota::per_second(1 << 34)).fixed_window().build();
    assert_eq!(of(built), format!("{packing} 17179869183"));
}

#[test]
fn limiters_at_the_ends_of_the_permitted_are_built() {
    let builder = |quota| RateLimiter::builder(quota).clock(ManualClock::new());
    assert!(builder(Quota::per_second(131_071)).sliding_window().build().is_ok());
    assert!(builder(Quota::per_second((1 << 34) - 1)).fixed_window().build().is_ok());
    assert!(builder(Quota::per_second(10)).batch(6).build().is_ok());
    assert!(builder(Quota::per_second(10)).batch(1).build().is_ok());
    assert!(builder(Quota::per_second(1_000)).batch(255).build().is_ok());
    assert!(builder(Quota::per_second(10)).initial(10).build().is_ok());
    assert!(builder(Quota::per_second(1)).fixed_window().build().is_ok());
}

#[test]
fn ranges_are_permitted_up_to_both_ends() {
    let nanosecond = Duration::from_nanos(1);
    assert_eq!(Quota::new(1, nanosecond).unwrap().count(), 1);
    assert_eq!(Quota::new(1, MAX_PERIOD).unwrap().period(), MAX_PERIOD);
    assert_eq!(Quota::new(1099, nanosecond).unwrap().burst_size(), 1099);
    assert_eq!(Quota::per_second(1 << 40).count(), 1 << 40);
    assert_eq!(Quota::per_second(1).burst(1 << 48).burst_size(), 1 << 48);
    assert_eq!(Quota::per_second(7).burst(1).burst_size(), 1);
    let most = parse("18446744073709551615/3660 days burst 1").unwrap();
    assert_eq!(most.count(), u64::MAX);
}

#[test]
fn shorthands_panic_with_the_text_of_the_error() {
    let of = |call: fn() -> Quota| {
        let payload = catch_unwind(call).unwrap_err();
        payload
            .downcast_ref::<String>()
            .cloned()
            .or_else(|| payload.downcast_ref::<&str>().map(|text| (*text).to_string()))
    };
    assert_eq!(of(|| Quota::per_second(0)).as_deref(), Some(COUNT));
    assert_eq!(of(|| Quota::per_minute(0)).as_deref(), Some(COUNT));
    assert_eq!(of(|| Quota::per_hour(u64::MAX)).as_deref(), Some(RATE));
    assert_eq!(of(|| Quota::per_day(u64::MAX)).as_deref(), Some(RATE));
    assert_eq!(of(|| Quota::per_day(1).burst(0)).as_deref(), Some(BURST));
    assert_eq!(of(|| Quota::per_day(1).burst(u64::MAX)).as_deref(), Some(BURST));
}

#[test]
fn quota_is_a_constant_that_is_copied() {
    fn plain<T: Copy + Eq + std::hash::Hash + Send + Sync + 'static>(value: T) -> T {
        value
    }
    const LIMIT: Quota = Quota::per_second(100).burst(20);
    assert_eq!(plain(LIMIT), LIMIT);
    assert_eq!((LIMIT.count(), LIMIT.burst_size()), (100, 20));
}

/// An answer is returned by value on every check: one cache line is the most it may be.
#[test]
fn sizes_of_public_types_are_frozen() {
    assert!(size_of::<Quota>() <= 24);
    assert!(size_of::<Grant>() <= 64);
    assert!(size_of::<Denied>() <= 64);
}

#[test]
fn limiters_and_answers_go_between_threads() {
    fn shared<T: Send + Sync + 'static>() {}
    shared::<RateLimiter>();
    shared::<Denied>();
    shared::<Grant>();
    shared::<QuotaError>();
}

#[test]
fn denials_and_quota_errors_are_errors_that_say_why() {
    let builder = RateLimiter::builder(Quota::per_second(4)).clock(ManualClock::new());
    let limiter = builder.build().unwrap();
    let never: Box<dyn Error + Send + Sync> = Box::new(limiter.check_n(5).unwrap_err());
    assert_eq!(never.to_string(), "a request of 5 exceeds the limit of 4");
    assert!(limiter.check_n(4).is_ok());
    let later: Box<dyn Error> = Box::new(limiter.check().unwrap_err());
    assert_eq!(later.to_string(), "rate limit exceeded, retry after 250ms");
    let error: Box<dyn Error> = Box::new(parse("x").unwrap_err());
    assert!(error.to_string().starts_with("quota text, byte 0: expected"));
}

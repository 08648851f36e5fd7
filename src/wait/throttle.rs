//! Streams and sinks that a limiter slows down.

use super::held::{Held, Holds};
use super::{Acquire, Of};
use crate::bucket::Whose;
use crate::keyed::KeyedLimiter;
use crate::limiter::RateLimiter;
use alloc::boxed::Box;
use core::fmt;
use core::future::Future;
use core::hash::Hash;
use core::pin::Pin;
use core::task::{Context, Poll, ready};
use core::time::Duration;
use futures_core::Stream;
use futures_sink::Sink;
use pin_project_lite::pin_project;
use tokio::time::{Sleep, sleep};

/// Takes one token after the other.
struct Permit<'a> {
    bucket: Of<'a>,
    whose: Whose,
    acquire: Option<Acquire<'a>>,
    pause: Option<Pin<Box<Sleep>>>,
}

impl<'a> Permit<'a> {
    fn new(bucket: Of<'a>, whose: Whose) -> Self {
        Self { bucket, whose, acquire: None, pause: None }
    }

    /// Waits for a token. Where a line or a table is full, it waits until there may be room.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Held<'a>> {
        loop {
            if let Some(pause) = &mut self.pause {
                ready!(pause.as_mut().poll(cx));
                self.pause = None;
            }
            let new = || Acquire::new(self.bucket.clone(), self.whose, 1);
            let answer = ready!(self.acquire.get_or_insert_with(new).poll_held(cx));
            self.acquire = None;
            match answer {
                Ok(held) => return Poll::Ready(held),
                // One token never exceeds a limit.
                Err(denied) => {
                    let pause = denied.retry_after().unwrap_or(Duration::from_secs(1));
                    self.pause = Some(Box::pin(sleep(pause)));
                }
            }
        }
    }
}

pin_project! {
    /// A stream that takes a token for each item: see [`RateLimiter::throttle`].
    #[must_use = "streams do nothing unless they are polled"]
    pub struct Throttle<'a, S: Stream> {
        #[pin]
        stream: S,
        item: Option<S::Item>,
        permit: Permit<'a>,
    }
}

impl<'a, S: Stream> Throttle<'a, S> {
    fn new(bucket: impl Into<Of<'a>>, whose: Whose, stream: S) -> Self {
        Self { stream, item: None, permit: Permit::new(bucket.into(), whose) }
    }
}

impl<S: Stream> Stream for Throttle<'_, S> {
    type Item = S::Item;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<S::Item>> {
        let this = self.project();
        if this.item.is_none() {
            match ready!(this.stream.poll_next(cx)) {
                Some(item) => *this.item = Some(item),
                None => return Poll::Ready(None),
            }
        }
        let _ = ready!(this.permit.poll(cx)).spend();
        Poll::Ready(this.item.take())
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let held = usize::from(self.item.is_some());
        let (least, most) = self.stream.size_hint();
        (least.saturating_add(held), most.and_then(|most| most.checked_add(held)))
    }
}

impl<S: Stream + fmt::Debug> fmt::Debug for Throttle<'_, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Throttle").field("stream", &self.stream).finish_non_exhaustive()
    }
}

pin_project! {
    /// A sink that takes a token for each item: see [`RateLimiter::throttle_sink`].
    #[must_use = "sinks do nothing unless they are polled"]
    pub struct ThrottleSink<'a, S> {
        #[pin]
        sink: S,
        // The token of the next item. Dropping the sink hands it on to the next caller.
        held: Option<Held<'a>>,
        permit: Permit<'a>,
    }
}

impl<'a, S> ThrottleSink<'a, S> {
    fn new(bucket: impl Into<Of<'a>>, whose: Whose, sink: S) -> Self {
        Self { sink, held: None, permit: Permit::new(bucket.into(), whose) }
    }
}

impl<S: Sink<T>, T> Sink<T> for ThrottleSink<'_, S> {
    type Error = S::Error;

    fn poll_ready(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        let this = self.project();
        ready!(this.sink.poll_ready(cx))?;
        if this.held.is_none() {
            *this.held = Some(ready!(this.permit.poll(cx)));
        }
        Poll::Ready(Ok(()))
    }

    fn start_send(self: Pin<&mut Self>, item: T) -> Result<(), S::Error> {
        let this = self.project();
        if let Some(mut held) = this.held.take() {
            let _ = held.spend();
        }
        this.sink.start_send(item)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.project().sink.poll_flush(cx)
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.project().sink.poll_close(cx)
    }
}

impl<S: fmt::Debug> fmt::Debug for ThrottleSink<'_, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ThrottleSink").field("sink", &self.sink).finish_non_exhaustive()
    }
}

impl RateLimiter {
    /// Makes a stream of the same items, each of which waits for a token, behind all callers that
    /// wait already.
    ///
    /// The stream is polled for an item first, and the item then waits, so an idle stream holds no
    /// place. If [`max_waiting`](crate::RateLimiterBuilder::max_waiting) leaves no place, the item
    /// waits and tries again. No item is lost.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use futures_util::{StreamExt, stream};
    /// use sluicegate::{Quota, RateLimiter, TokioClock};
    ///
    /// let quota = Quota::per_second(10).burst(1);
    /// let limiter = RateLimiter::builder(quota).clock(TokioClock::new()).build()?;
    /// let start = tokio::time::Instant::now();
    /// let items: Vec<u32> = limiter.throttle(stream::iter(0..11)).collect().await;
    /// assert_eq!((items.len(), start.elapsed().as_secs()), (11, 1));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Panics
    ///
    /// Polling the stream panics outside of a tokio runtime with its time enabled.
    pub fn throttle<S: Stream>(&self, stream: S) -> Throttle<'_, S> {
        Throttle::new(self, Whose::default(), stream)
    }

    /// Makes a sink of the same items that is ready for each item when it has a token for it.
    ///
    /// # Panics
    ///
    /// Those of [`throttle`](Self::throttle).
    pub fn throttle_sink<S>(&self, sink: S) -> ThrottleSink<'_, S> {
        ThrottleSink::new(self, Whose::default(), sink)
    }
}

impl<K: Hash + ?Sized> KeyedLimiter<K> {
    /// Makes a stream whose items wait for tokens in the key's line. See [`RateLimiter::throttle`].
    ///
    /// # Panics
    ///
    /// Those of [`RateLimiter::throttle`].
    pub fn throttle<S: Stream>(&self, key: &K, stream: S) -> Throttle<'_, S> {
        Throttle::new(self, self.whose(key), stream)
    }

    /// Makes a sink whose items wait for tokens in the key's line. See
    /// [`RateLimiter::throttle_sink`].
    ///
    /// # Panics
    ///
    /// Those of [`RateLimiter::throttle`].
    pub fn throttle_sink<S>(&self, key: &K, sink: S) -> ThrottleSink<'_, S> {
        ThrottleSink::new(self, self.whose(key), sink)
    }
}

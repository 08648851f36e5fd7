//! An HTTP API with a limit for each user: in memory, in a file for all processes of a machine, or
//! in Redis.
//!
//! ```sh
//! cargo run --release --example server
//! curl -i 'http://127.0.0.1:3000/api?user=alice'
//! ```
//!
//! The first five requests of a user print `{"message":"Request allowed"}`. The sixth is answered
//! with status 429, `Retry-After: 1` and `{"error":"Rate limit exceeded"}`, and leaves a line of
//! log.
//!
//! `--features redis` adds `--store`, which names where the limits are: `memory://`,
//! `shm:///dev/shm/limits`, `redis://127.0.0.1:6379`, `redis://127.0.0.1:6379?mode=lease`. Servers
//! with one store have one limit.
//!
//! The limited user is the query's `user`. Requests without one, or with an empty one, share the
//! bucket of the user `anonymous`. A name of over 128 bytes or with control characters, a name that
//! is given twice, and a query that is not UTF-8 are answered with 400 and count against no user.

use axum::extract::{Query, State};
use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use clap::Parser;
use serde_json::json;
use sluicegate::{Algorithm, AnyLimiter, Quota};
use std::error::Error;
use std::io::IsTerminal;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;
use tokio::sync::oneshot;

/// The longest user name, in bytes.
const LONGEST_USER: usize = 128;

/// An HTTP API that limits each user.
#[derive(Parser)]
struct Flags {
    /// The address to listen at; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:3000")]
    listen: SocketAddr,
    /// The limit of each user, as in "100/minute burst 20".
    #[arg(long, default_value = "1/second burst 5")]
    limit: Quota,
    /// The algorithm: token, leaky, fixed or sliding.
    #[arg(long, default_value = "token-bucket")]
    algorithm: Algorithm,
    /// The most active users that are tracked, 24 bytes each.
    #[arg(long, default_value_t = 100_000)]
    capacity: usize,
    /// The store of the limits: memory://, shm:///path, redis://host.
    #[cfg(feature = "url")]
    #[arg(long, default_value = "memory://")]
    store: String,
    /// Seconds that open connections get to finish when the server is told to stop.
    #[arg(long, default_value_t = 10)]
    grace: u64,
}

#[tokio::main]
async fn main() -> ExitCode {
    let flags = Flags::parse();
    let stderr = std::io::stderr;
    let colours = stderr().is_terminal();
    tracing_subscriber::fmt().with_target(false).with_ansi(colours).with_writer(stderr).init();
    match run(flags).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(flags: Flags) -> Result<(), Box<dyn Error>> {
    let users = limiter(&flags).await?;
    let app = Router::new()
        .route("/api", get(api))
        .fallback(|| async { refuse(StatusCode::NOT_FOUND, "No such path") })
        .method_not_allowed_fallback(|| async {
            refuse(StatusCode::METHOD_NOT_ALLOWED, "Only GET is allowed here")
        })
        .with_state(users.clone());
    let listener = tokio::net::TcpListener::bind(flags.listen);
    let listener =
        listener.await.map_err(|why| format!("cannot listen on {}: {why}", flags.listen))?;
    println!(
        "listening on http://{}, {} by {} for each user",
        listener.local_addr()?,
        flags.limit,
        flags.algorithm
    );
    let (stopping, stop) = oneshot::channel();
    let served = axum::serve(listener, app).with_graceful_shutdown(async {
        told_to_stop().await;
        // The receiver is gone only when the server has ended.
        let _ = stopping.send(());
    });
    // A client that never finishes its request must not keep the server from ending.
    let given_up = async {
        if stop.await.is_err() {
            std::future::pending::<()>().await;
        }
        tokio::time::sleep(Duration::from_secs(flags.grace)).await;
    };
    tokio::select! {
        served = served.into_future() => served?,
        () = given_up => tracing::warn!("gave up on the connections that were still open"),
    }
    // Leased tokens go back, so that other servers can use them.
    users.shutdown().await;
    tracing::info!("stopped");
    Ok(())
}

/// The limits of all users, in the store that the flags name.
#[cfg(feature = "url")]
async fn limiter(flags: &Flags) -> Result<AnyLimiter, Box<dyn Error>> {
    let users = AnyLimiter::builder(flags.limit).algorithm(flags.algorithm);
    Ok(users.capacity(flags.capacity).open(&flags.store).await?)
}

/// The limits of all users, in memory.
#[cfg(not(feature = "url"))]
async fn limiter(flags: &Flags) -> Result<AnyLimiter, Box<dyn Error>> {
    let users = sluicegate::KeyedLimiter::builder(flags.limit, flags.capacity);
    Ok(users.algorithm(flags.algorithm).build()?.into())
}

async fn api(State(users): State<AnyLimiter>, uri: Uri) -> Response {
    let user = match user(&uri) {
        Ok(user) => user,
        Err(why) => return refuse(StatusCode::BAD_REQUEST, why),
    };
    let Err(error) = users.check(&user).await else {
        return Json(json!({"message": "Request allowed"})).into_response();
    };
    let Some(denied) = error.denied() else {
        // An operator must mend the set-up. The client is told no more than that.
        tracing::error!(%error, "no answer from the store");
        return refuse(StatusCode::SERVICE_UNAVAILABLE, "Rate limiter unavailable");
    };
    // Debug formatting escapes control characters, so that no user forges a line of log.
    tracing::warn!(?user, retry_after = ?denied.retry_after(), by = ?denied.source(), "denied");
    let mut response = refuse(StatusCode::TOO_MANY_REQUESTS, "Rate limit exceeded");
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, header::HeaderValue::from_static("no-store"));
    if let Some(wait) = denied.retry_after() {
        // Whole seconds, rounded up, and never zero.
        let seconds = wait.as_nanos().div_ceil(1_000_000_000).max(1);
        headers.insert(header::RETRY_AFTER, (seconds.min(u64::MAX.into()) as u64).into());
    }
    response
}

/// The user that the query names.
fn user(uri: &Uri) -> Result<String, &'static str> {
    // Pairs, not a map: a name given twice must be seen.
    let pairs = Query::<Vec<(String, String)>>::try_from_uri(uri);
    let Query(pairs) = pairs.map_err(|_| "The query does not parse")?;
    let mut users = pairs.into_iter().filter(|(name, _)| name == "user").map(|(_, user)| user);
    let user = users.next().unwrap_or_default();
    if users.next().is_some() {
        return Err("user is given twice");
    }
    if user.len() > LONGEST_USER {
        return Err("user is longer than 128 bytes");
    }
    if user.chars().any(|c| c.is_control() || c == char::REPLACEMENT_CHARACTER) {
        return Err("user has control characters or is not UTF-8");
    }
    Ok(if user.is_empty() { "anonymous".into() } else { user })
}

fn refuse(status: StatusCode, why: &str) -> Response {
    (status, Json(json!({ "error": why }))).into_response()
}

/// Waits for Ctrl-C, or for the signal that a service manager sends.
async fn told_to_stop() {
    let interrupt = tokio::signal::ctrl_c();
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        if let Ok(mut terminate) = signal(SignalKind::terminate()) {
            tokio::select! {
                _ = interrupt => {}
                _ = terminate.recv() => {}
            }
            tracing::info!("stopping: finishing the requests at hand");
            return;
        }
    }
    // Without a handler for it, Ctrl-C ends the process by itself.
    if interrupt.await.is_err() {
        std::future::pending::<()>().await;
    }
    tracing::info!("stopping: finishing the requests at hand");
}

//! Whether the bucket of a queue is there, which is looked up when nobody takes its writes.
//!
//! A stream without a leader, for a moment, looks to a writer like one that is gone. Only the second is a reason to give writes up. A
//! bucket in memory that a restart of the server has lost is made again, if the policy of the server lets it make buckets.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::{Instant, timeout};

use crate::descriptor::bucket::StoreKind;
use crate::descriptor::declared::DeclaredBucket;
use crate::error::chain;
use crate::log::warn_limited;
use crate::store::bucket::jetstream::JetStream;
use crate::store::bucket::provision::{ProvisionOptions, provision};
use crate::store::bucket::shape::check_is_writable;
use crate::store::error::{StoreError, StoreErrorKind};
use crate::store::kv::bucket::KvBucket;
use crate::store::object::bucket::ObjectBucket;

/// For how long the result of a look stands for those that follow.
const LOOK_INTERVAL: Duration = Duration::from_millis(250);
/// How long a look may take, for which writes wait. A stream without a leader is not answered for, and soon has one.
const LOOK_TIMEOUT: Duration = Duration::from_millis(500);
/// How long making a bucket again may take.
const RECREATE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a bucket must be missing before its writes are given up.
const MIN_MISSING: Duration = Duration::from_millis(500);
/// How often a bucket in memory is checked for a new connection, after which it may be gone.
const CONNECTION_INTERVAL: Duration = Duration::from_millis(250);

/// What a look has found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    There,
    /// There is no such bucket, or its stream is none any more, and it is not made again.
    Missing,
    /// The server did not say, or the bucket may yet come back.
    Unknown,
}

pub(crate) struct Presence {
    jetstream: Arc<JetStream>,
    kind: StoreKind,
    bucket: &'static str,
    /// How the bucket is made again; `None` if it is not.
    declared: Option<(DeclaredBucket, ProvisionOptions)>,
    /// Held while somebody looks, so that many writes that need to know look once.
    last: tokio::sync::Mutex<Look>,
    recreated: AtomicU64,
}

#[derive(Default)]
struct Look {
    at: Option<(Instant, Found)>,
    missing_since: Option<Instant>,
}

impl Presence {
    pub(crate) fn new(
        jetstream: Arc<JetStream>,
        kind: StoreKind,
        bucket: &'static str,
        declared: Option<(DeclaredBucket, ProvisionOptions)>,
    ) -> Self {
        Self {
            jetstream,
            kind,
            bucket,
            declared,
            last: tokio::sync::Mutex::default(),
            recreated: AtomicU64::new(0),
        }
    }

    /// How often the bucket was made again.
    pub(crate) fn recreated(&self) -> u64 {
        self.recreated.load(Ordering::Relaxed)
    }

    /// Looks for the bucket, and makes it again if it is missing and may be.
    pub(crate) async fn look(&self) -> Found {
        let mut last = self.last.lock().await;
        if let Some((at, found)) = last.at
            && at.elapsed() < LOOK_INTERVAL
        {
            return found;
        }
        let found = self.find(&mut last.missing_since).await;
        last.at = Some((Instant::now(), found));
        found
    }

    async fn find(&self, missing_since: &mut Option<Instant>) -> Found {
        let info = self.jetstream.info(self.kind, self.bucket);
        let missing = match timeout(LOOK_TIMEOUT, info).await {
            Ok(Ok(info)) => match check_is_writable(self.kind, self.bucket, &info.config) {
                Ok(()) => {
                    *missing_since = None;
                    return Found::There;
                }
                Err(error) => return self.missing(missing_since, &error),
            },
            Ok(Err(error)) if *error.kind() == StoreErrorKind::BucketNotFound => error,
            Ok(Err(error)) if *error.kind() == StoreErrorKind::NotABucket => {
                return self.missing(missing_since, &error);
            }
            Ok(Err(_)) | Err(_) => return Found::Unknown,
        };
        if let Some((declared, options)) = &self.declared {
            let provisioned = provision(&self.jetstream, declared, *options);
            // Boxed: the future is large and seldom created.
            let provisioned = timeout(RECREATE_TIMEOUT, Box::pin(provisioned)).await;
            return match provisioned.unwrap_or_else(|_| Err(StoreError::timed_out())) {
                Ok(()) => {
                    *missing_since = None;
                    self.recreated.fetch_add(1, Ordering::Relaxed);
                    warn_limited!(
                        bucket = self.bucket,
                        "the bucket, which is in memory, was gone with all entries, and was made again"
                    );
                    Found::There
                }
                Err(error) => self.missing(missing_since, &error),
            };
        }
        self.missing(missing_since, &missing)
    }

    fn missing(&self, since: &mut Option<Instant>, error: &StoreError) -> Found {
        let is_new = since.is_none();
        let since = since.get_or_insert_with(Instant::now);
        if is_new {
            warn_limited!(
                bucket = self.bucket,
                error = chain(error),
                "the bucket that is written to is gone"
            );
        }
        if since.elapsed() < MIN_MISSING {
            Found::Unknown
        } else {
            Found::Missing
        }
    }

    /// Keeps what is known of the bucket recent, and makes it again after a reconnect if it is one that is made again.
    pub(crate) async fn follow(self: Arc<Self>) {
        tokio::join!(self.keep_recent(), self.follow_connection());
    }

    async fn keep_recent(&self) {
        // They were opened before their queue, and are not opened again.
        match self.kind {
            StoreKind::Kv => {
                if let Ok(bucket) = self.jetstream.open::<KvBucket>(self.bucket).await {
                    bucket.facts().keep_recent().await;
                }
            }
            StoreKind::Object => {
                if let Ok(bucket) = self.jetstream.open::<ObjectBucket>(self.bucket).await {
                    bucket.facts().keep_recent().await;
                }
            }
        }
    }

    /// Looks for a bucket in memory after each reconnect, since its clients may need it before the next write does.
    async fn follow_connection(&self) {
        if self.declared.is_none() {
            return;
        }
        let gate = &self.jetstream.gate;
        let mut seen = gate.connection_epoch();
        let mut check = tokio::time::interval(CONNECTION_INTERVAL);
        loop {
            check.tick().await;
            if let Some(epoch) = gate.connected_epoch()
                && epoch != seen
                && self.look().await == Found::There
            {
                seen = epoch;
            }
        }
    }
}

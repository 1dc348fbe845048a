//! The attempts of one call: whether there is another one, and when.
//!
//! Invariant: another attempt follows a failure of a call that is not idempotent only if that was [`FailedBy::Nobody`].

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_nats::Subject;
use tokio::time::Instant;
use tower::retry::budget::{Budget, TpsBudget};

use crate::backoff::Backoff;
use crate::client::retry::settings::{Retry, RetryStats};
use crate::status::{Code, Status};
use crate::transport::gate::Gate;

/// How long a call gives room to retries.
const BUDGET_PERIOD: Duration = Duration::from_secs(10);
/// As many retries per second as no client makes.
const MAX_MIN_PER_SECOND: u32 = 1_000_000_000;
/// No pause is longer than this, whatever the settings say.
const MAX_PAUSE: Duration = Duration::from_secs(24 * 60 * 60);

/// The settings of a client, and what it shares with its clones.
#[derive(Debug)]
pub(crate) struct Retries {
    retry: Retry,
    budget: TpsBudget,
    counters: Counters,
}

/// The budget of the settings, within the bounds that tower's has.
fn budget(retry: &Retry) -> TpsBudget {
    let min_per_second = retry.budget_min_per_second.min(MAX_MIN_PER_SECOND);
    let percent = u16::try_from(retry.budget_percent).unwrap_or(u16::MAX);
    TpsBudget::new(BUDGET_PERIOD, min_per_second, f32::from(percent) / 100.0)
}

#[derive(Debug, Default)]
struct Counters {
    retries: AtomicU64,
    recovered: AtomicU64,
    exhausted: AtomicU64,
    over_budget: AtomicU64,
}

impl Retries {
    pub(crate) fn new(retry: Retry) -> Arc<Self> {
        Arc::new(Self {
            budget: budget(&retry),
            retry,
            counters: Counters::default(),
        })
    }

    pub(crate) fn stats(&self) -> RetryStats {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        RetryStats {
            retries: read(&self.counters.retries),
            recovered: read(&self.counters.recovered),
            exhausted: read(&self.counters.exhausted),
            over_budget: read(&self.counters.over_budget),
        }
    }
}

/// How one call is retried.
#[derive(Clone, Debug)]
pub(crate) struct RetryPolicy {
    pub(crate) retries: Arc<Retries>,
    pub(crate) is_idempotent: bool,
    /// When the callers of a shared call stop to wait for it.
    pub(crate) until: Option<Instant>,
}

impl RetryPolicy {
    /// Fails if the settings of the client are wrong.
    pub(crate) fn check(&self) -> Result<(), Status> {
        self.retries.retry.check()
    }
}

/// Who has failed an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FailedBy {
    /// The NATS server: no service has received the request.
    Nobody,
    /// The connection, the client, or a lost peer. The service may have received the request.
    Client,
    /// The service, with its answer.
    Service,
}

/// A failed attempt.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    pub(crate) status: Status,
    pub(crate) by: FailedBy,
}

impl From<Status> for Failure {
    fn from(status: Status) -> Self {
        let by = FailedBy::Client;
        Self { status, by }
    }
}

/// The attempts of one call.
#[derive(Debug)]
pub(crate) struct Attempts {
    policy: RetryPolicy,
    backoff: Backoff,
    /// When all attempts end.
    deadline: Instant,
    /// The attempts after the first one.
    retries: u32,
}

impl Attempts {
    /// The first attempt of a call that ends at `deadline`.
    pub(crate) fn new(policy: RetryPolicy, deadline: Instant) -> Self {
        policy.retries.budget.deposit();
        let retry = &policy.retries.retry;
        Self {
            backoff: Backoff::new(retry.first_pause, retry.max_pause.min(MAX_PAUSE)),
            policy,
            deadline,
            retries: 0,
        }
    }

    /// The time that is left to the call.
    pub(crate) fn remaining(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    /// Waits until the call is to be sent again; false if this failure is its result.
    pub(crate) async fn again(
        &mut self,
        failure: &Failure,
        subject: &Subject,
        gate: &Gate,
    ) -> bool {
        if !self.may_be_repeated(failure) || gate.is_closed() {
            return false;
        }
        let Retries {
            retry,
            budget,
            counters,
            ..
        } = &*self.policy.retries;
        let now = Instant::now();
        let pause = self.backoff.next_random_pause(retry.jitter_percent);
        let end = self
            .policy
            .until
            .map_or(self.deadline, |until| until.min(self.deadline));
        if self.retries >= retry.max_retries || now + pause >= end {
            counters.exhausted.fetch_add(1, Ordering::Relaxed);
            return false;
        }
        if !budget.withdraw() {
            counters.over_budget.fetch_add(1, Ordering::Relaxed);
            tracing::debug!(%subject, error = %failure.status, "the budget of the client has no retry left");
            return false;
        }
        self.retries += 1;
        counters.retries.fetch_add(1, Ordering::Relaxed);
        let attempt = self.retries.saturating_add(1);
        tracing::debug!(%subject, attempt, ?pause, error = %failure.status, "a call is retried");
        tokio::time::sleep(pause).await;
        true
    }

    /// Notes that the call has succeeded.
    pub(crate) fn succeeded(&self) {
        if self.retries > 0 {
            let counters = &self.policy.retries.counters;
            counters.recovered.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn may_be_repeated(&self, failure: &Failure) -> bool {
        let code = failure.status.code();
        match failure.by {
            FailedBy::Nobody => true,
            _ if !self.policy.is_idempotent => false,
            FailedBy::Client => *code == Code::Unavailable,
            FailedBy::Service => {
                *code == Code::Unavailable || self.policy.retries.retry.codes.contains(code)
            }
        }
    }
}

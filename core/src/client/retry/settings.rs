//! The settings of retries, and what was counted: the public names.

use std::time::Duration;

use crate::status::{Code, Status};

/// When the calls of a [`Client`](crate::Client) that have failed are sent again; for [`Client::with_retry`](crate::Client::with_retry).
///
/// ```
/// use std::time::Duration;
///
/// use natsmicro::{Code, Retry};
///
/// # fn example(nats: natsmicro::async_nats::Client) {
/// let retry = Retry::exponential(5)
///     .on([Code::ResourceExhausted])
///     .first_pause(Duration::from_millis(50))
///     .max_pause(Duration::from_secs(2));
/// let client = natsmicro::Client::new(nats).with_retry(retry);
/// # }
/// ```
///
/// # What is retried
///
/// * A call of **any** method that ends with `UNAVAILABLE` because nobody listens on its subject, as while the only instance of a service
///   restarts. The NATS server reports that, so that nobody has received the request.
/// * A call of an **idempotent** method, one with `#[endpoint(idempotent)]`, that ends with any other `UNAVAILABLE`, or that the service
///   answers with one of the codes of [`on`](Self::on). The first attempt may have been handled, in part or as a whole.
///
/// Nothing else is. A service that stops, and cuts a call off or refuses one that still waits, answers `UNAVAILABLE` in both cases, so
/// that only an idempotent method is retried then. A call without an answer ends with its timeout, and there is no time left for another
/// attempt. When the connection is closed for good, nothing is retried.
///
/// A stream is retried until it is open: for a stream of responses until the service has returned it or sent its first message, for one of
/// requests until the service has accepted the call. A [cached call](crate::CachedCall) retries its call of the service.
///
/// # How long
///
/// The timeout of the call, or the deadline of its context, bounds all attempts and pauses together, and each attempt sends the service
/// the time that is left. A call whose next pause would end later fails at once, with the error of its last attempt. A call that is dropped
/// makes no further attempt.
///
/// The pauses double from [`first_pause`](Self::first_pause) to [`max_pause`](Self::max_pause), less a random part
/// ([`jitter`](Self::jitter)), so that callers that have failed together do not come back together. A [`budget`](Self::budget) keeps the
/// retries of a client from multiplying the load of a service that is overloaded or gone.
///
/// [`Client::retry_stats`](crate::Client::retry_stats) counts the retries, and each is logged at the level `debug`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "retries are given to `Client::with_retry`"]
pub struct Retry {
    pub(super) max_retries: u32,
    pub(super) codes: Vec<Code>,
    pub(super) first_pause: Duration,
    pub(super) max_pause: Duration,
    pub(super) jitter_percent: u32,
    pub(super) budget_percent: u32,
    pub(super) budget_min_per_second: u32,
}

impl Retry {
    /// Retries a call up to `max_retries` times, so that it is sent up to `max_retries + 1` times, with pauses that double. With zero,
    /// nothing is retried. With [`u32::MAX`], the timeout of the call is the only bound, besides the [budget](Self::budget).
    pub const fn exponential(max_retries: u32) -> Self {
        Self {
            max_retries,
            codes: Vec::new(),
            first_pause: Duration::from_millis(100),
            max_pause: Duration::from_secs(5),
            jitter_percent: 50,
            budget_percent: 20,
            budget_min_per_second: 10,
        }
    }

    /// Retries calls of idempotent methods also if the service answers with one of these codes; adds to those of earlier calls of this
    /// function. `UNAVAILABLE` is always among them.
    ///
    /// # Errors
    ///
    /// Some codes say that the same request is wrong at any time: `CANCELLED`, `INVALID_ARGUMENT`, `ALREADY_EXISTS`, `PERMISSION_DENIED`,
    /// `FAILED_PRECONDITION`, `OUT_OF_RANGE`, `UNIMPLEMENTED` and `UNAUTHENTICATED`. With one of them here, each call of the client fails
    /// with `INVALID_ARGUMENT`, and nothing is sent.
    ///
    /// ```
    /// use natsmicro::{Code, Retry};
    ///
    /// let retry = Retry::exponential(3).on([Code::Aborted, Code::ResourceExhausted]).on(["ROW_LOCKED"]);
    /// ```
    pub fn on<C: Into<Code>>(mut self, codes: impl IntoIterator<Item = C>) -> Self {
        self.codes.extend(codes.into_iter().map(Into::into));
        self
    }

    /// The pause before the first retry: 100 milliseconds by default. With zero there are no pauses.
    pub const fn first_pause(mut self, pause: Duration) -> Self {
        self.first_pause = pause;
        self
    }

    /// The longest pause: 5 seconds by default. A first pause that is longer is shortened to it.
    pub const fn max_pause(mut self, pause: Duration) -> Self {
        self.max_pause = pause;
        self
    }

    /// How much of each pause is random, in percent: 50 by default, so that a pause of 100 milliseconds takes 50 to 100. With zero, the
    /// pauses are exact; above 100 is the same as 100.
    pub const fn jitter(mut self, percent: u32) -> Self {
        self.jitter_percent = if percent > 100 { 100 } else { percent };
        self
    }

    /// How many retries all calls of the client and its clones may make together: within ten seconds about `percent` for each 100 calls,
    /// and `min_per_second` for each second in any case. 20 and 10 by default. Above that, calls fail with the error of their last
    /// attempt.
    ///
    /// With zero for both, nothing is retried; with [`u32::MAX`] for the second there is no bound.
    pub const fn budget(mut self, percent: u32, min_per_second: u32) -> Self {
        self.budget_percent = percent;
        self.budget_min_per_second = min_per_second;
        self
    }

    /// Fails if a code of [`on`](Self::on) is never retried.
    pub(super) fn check(&self) -> Result<(), Status> {
        match self.codes.iter().find(|code| is_final(code)) {
            Some(code) => Err(Status::invalid_argument(format!(
                "`Retry::on` cannot have `{code}`: the same request would fail again"
            ))),
            None => Ok(()),
        }
    }
}

/// Whether a code says that the same request fails at any time.
fn is_final(code: &Code) -> bool {
    match code {
        Code::Cancelled
        | Code::InvalidArgument
        | Code::AlreadyExists
        | Code::PermissionDenied
        | Code::FailedPrecondition
        | Code::OutOfRange
        | Code::Unimplemented
        | Code::Unauthenticated => true,
        Code::Unknown
        | Code::DeadlineExceeded
        | Code::NotFound
        | Code::ResourceExhausted
        | Code::Aborted
        | Code::Internal
        | Code::Unavailable
        | Code::DataLoss
        | Code::Custom(_) => false,
    }
}

/// What the retries of a client came to, since [`Client::with_retry`](crate::Client::with_retry); of
/// [`Client::retry_stats`](crate::Client::retry_stats).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RetryStats {
    /// The attempts after the first one of a call.
    pub retries: u64,
    /// The calls that were retried and have succeeded.
    pub recovered: u64,
    /// The calls that have failed although another attempt was allowed by their error: they had used up their attempts or their time.
    pub exhausted: u64,
    /// The calls that have failed because the budget had no retry left.
    pub over_budget: u64,
}

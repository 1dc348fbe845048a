//! Whether an endpoint has room for its streams.

use std::time::Duration;

use tokio::time::Instant;

use crate::sync::Mutex;

/// How long a refusal is taken for a sign of pressure.
const MEMORY: Duration = Duration::from_secs(20);

/// The pressure on the room of an endpoint, which its streams share: while streams are refused, or end because their messages have no
/// room, one whose caller is silent is not kept as long as otherwise.
#[derive(Debug, Default)]
pub(crate) struct Pressure {
    last_refusal: Mutex<Option<Instant>>,
}

impl Pressure {
    pub(crate) fn record_refusal(&self) {
        *self.last_refusal.lock() = Some(Instant::now());
    }

    pub(crate) fn is_high(&self) -> bool {
        self.last_refusal
            .lock()
            .is_some_and(|refusal| refusal.elapsed() < MEMORY)
    }
}

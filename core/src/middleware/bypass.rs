//! What passes the layers of a server by: the response headers of a call that fails, and the opening of a stream.

use async_nats::HeaderMap;
use tokio::sync::watch;

use crate::status::Status;
use crate::sync::Mutex;

/// Shared by the dispatcher and the pipeline of one call that has layers between them.
#[derive(Debug)]
pub(crate) struct Bypass {
    /// The response headers that the handler of a failed call has set. They travel with whatever error the layers make of it.
    headers: Mutex<HeaderMap>,
    /// `None` for a call that needs no opening.
    opening: Option<watch::Sender<Opening>>,
}

/// The stages of a stream. A stream is opened when its request has passed the layers.
#[derive(Clone, Debug)]
enum Opening {
    InLayers,
    Requested,
    Opened(Result<(), Status>),
}

impl Bypass {
    /// For a call whose request has been accepted already, or needs no acceptance.
    pub(crate) fn of_open_call() -> Self {
        Self {
            headers: Mutex::default(),
            opening: None,
        }
    }

    /// For a stream that the dispatcher opens when its request has passed the layers.
    pub(crate) fn of_stream() -> Self {
        Self {
            headers: Mutex::default(),
            opening: Some(watch::Sender::new(Opening::InLayers)),
        }
    }

    pub(crate) fn keep_headers(&self, headers: HeaderMap) {
        *self.headers.lock() = headers;
    }

    pub(crate) fn take_headers(&self) -> HeaderMap {
        std::mem::take(&mut self.headers.lock())
    }

    /// Lets the dispatcher open the stream, and waits until it has. At once for a call that is open.
    pub(crate) async fn open(&self) -> Result<(), Status> {
        let Some(sender) = &self.opening else {
            return Ok(());
        };
        sender.send_if_modified(|opening| {
            let is_first = matches!(opening, Opening::InLayers);
            if is_first {
                *opening = Opening::Requested;
            }
            is_first
        });
        let mut opening = sender.subscribe();
        let is_opened = |opening: &Opening| matches!(opening, Opening::Opened(_));
        match opening.wait_for(is_opened).await.as_deref() {
            Ok(Opening::Opened(result)) => result.clone(),
            // Cannot be: the sender is in `self`.
            _ => Ok(()),
        }
    }

    /// Waits until the request has passed the layers.
    pub(crate) async fn requested(&self) {
        let Some(sender) = &self.opening else {
            return;
        };
        let mut opening = sender.subscribe();
        let is_requested = |opening: &Opening| !matches!(opening, Opening::InLayers);
        // Cannot fail: the sender is in `self`.
        let _ = opening.wait_for(is_requested).await;
    }

    /// Tells the pipeline that the stream is open, or why it cannot be opened.
    pub(crate) fn opened(&self, result: Result<(), Status>) {
        if let Some(sender) = &self.opening {
            sender.send_replace(Opening::Opened(result));
        }
    }

    pub(crate) fn is_open(&self) -> bool {
        let is_opened =
            |sender: &watch::Sender<Opening>| matches!(*sender.borrow(), Opening::Opened(Ok(())));
        self.opening.as_ref().is_none_or(is_opened)
    }
}

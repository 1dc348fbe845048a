//! What is left of a call for a layer that is an async function.

use crate::middleware::inner::{Inner, ReplyFuture};
use crate::middleware::reply::Reply;
use crate::middleware::request::Request;
use crate::status::Status;

/// The rest of a call: the layers further in, and the handler or the connection. A function for [`from_fn`](super::from_fn) gets one.
///
/// A clone runs a request again; see [`Request::try_clone`].
#[derive(Clone, Debug)]
pub struct Next(Inner);

impl Next {
    pub(super) fn new(inner: Inner) -> Self {
        Self(inner)
    }

    /// One that runs `handler`, for tests of a layer; [`Request::new`] has an example.
    pub fn from_fn<F, Fut>(handler: F) -> Self
    where
        F: Fn(Request) -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output = Result<Reply, Status>> + Send + 'static,
    {
        let handler = super::from_fn(move |request, _: Self| handler(request));
        Self(Inner::new(tower_layer::Layer::layer(
            &handler,
            Inner::destination(),
        )))
    }

    /// Runs the rest of the call. A layer that does not answers the call itself.
    ///
    /// For a method that streams, it returns when the stream is open; see [`Reply::on_end`].
    pub fn run(self, request: Request) -> ReplyFuture {
        self.0.run(request)
    }
}

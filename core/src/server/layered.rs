//! Layers around the handlers of endpoints.
//!
//! The pipeline of a call becomes the destination of its request, and the layers run in front of it in the same future. A service with
//! layers of its own is the destination of what has passed those of the server. Handlers without layers stay as they are.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;

use futures::FutureExt;
use tokio::time::Instant;

use crate::middleware::body::Answer;
use crate::middleware::bypass::Bypass;
use crate::middleware::inner::{Destination, Inner, ReplyFuture};
use crate::middleware::layers::Layers;
use crate::middleware::on_end::OnEnd;
use crate::middleware::reply::Reply;
use crate::middleware::request::Request;
use crate::server::call::{self, Handled, deadline_exceeded};
use crate::server::dispatch::reply::Failure;
use crate::server::endpoint::Endpoint;
use crate::server::router::Handler;
use crate::status::Status;

/// Puts layers around the handler of an endpoint, the first ones innermost.
pub(crate) fn layered(endpoint: &Arc<Endpoint>, handler: Handler, layers: [&Layers; 2]) -> Handler {
    if layers.iter().all(|layers| layers.is_empty()) {
        return handler;
    }
    let endpoint = Arc::clone(endpoint);
    let mut destination: Arc<dyn Destination> = Arc::new(Pipeline { endpoint, handler });
    for layers in layers.into_iter().filter(|layers| !layers.is_empty()) {
        destination = Arc::new(Layered {
            layers: layers.applied(),
            destination,
        });
    }
    Arc::new(move |endpoint, request| Box::pin(run(&*destination, endpoint, request)))
}

/// The pipeline of an endpoint, behind all layers.
struct Pipeline {
    endpoint: Arc<Endpoint>,
    handler: Handler,
}

impl Destination for Pipeline {
    fn call(&self, request: Request) -> ReplyFuture {
        let bypass = request.bypass.clone();
        let endpoint = Arc::clone(&self.endpoint);
        let handled = (self.handler)(Arc::clone(&endpoint), request);
        Box::pin(async move {
            let reply = async { handled.await.reply().await };
            let (result, headers) = tokio::select! {
                biased;
                reply = reply => (reply.result, reply.headers),
                // The layers see that the stop cuts off the call, with what its caller gets.
                () = endpoint.context.drain_over() => {
                    let (status, headers) = Failure::stopping().into_parts();
                    (Err(status), headers)
                }
            };
            match result {
                Ok(answer) => Ok(Reply::of(headers, answer)),
                Err(status) => {
                    if let Some(bypass) = bypass {
                        bypass.keep_headers(headers);
                    }
                    Err(status)
                }
            }
        })
    }
}

/// Layers in front of a destination.
struct Layered {
    layers: Inner,
    destination: Arc<dyn Destination>,
}

impl Destination for Layered {
    fn call(&self, mut request: Request) -> ReplyFuture {
        request.destination = Some(Arc::clone(&self.destination));
        self.layers.run(request)
    }
}

/// Runs a call with layers to its reply. The pipeline has the same deadline, so that the layers see that it has passed; a layer that itself
/// waits is dropped.
///
/// No `async fn`: the request would take space in its future, which moves with the call.
fn run(
    destination: &dyn Destination,
    endpoint: Arc<Endpoint>,
    mut request: Request,
) -> impl Future<Output = Handled> + use<> {
    let deadline = request.deadline;
    let streams_responses = request.id.kind.streams_responses();
    let bypass = request
        .bypass
        .get_or_insert_with(|| Arc::new(Bypass::of_open_call()));
    let bypass = Arc::clone(bypass);
    // The clone of a layer's service may panic.
    let called = catch_unwind(AssertUnwindSafe(|| destination.call(request)));
    async move {
        let result = match called {
            Ok(call) => until(deadline, AssertUnwindSafe(call).catch_unwind()).await,
            Err(panic) => Err(panic),
        };
        let result = result.unwrap_or_else(|panic| Err(endpoint.panicked(panic.as_ref())));
        replied(result, &bypass, streams_responses)
    }
}

/// The reply that the layers have made of a call.
fn replied(result: Result<Reply, Status>, bypass: &Bypass, streams_responses: bool) -> Handled {
    Handled::replied(match result {
        Ok(Reply {
            headers,
            answer,
            on_end,
            ..
        }) => call::Reply {
            result: Ok(if streams_responses {
                Answer::Stream(answer.into_messages())
            } else {
                answer
            }),
            headers,
            on_end,
        },
        Err(status) => call::Reply {
            result: Err(status),
            headers: bypass.take_headers(),
            on_end: OnEnd::default(),
        },
    })
}

type Caught = std::thread::Result<Result<Reply, Status>>;

/// Runs layers until the deadline. At that moment they are polled once more: the timer of the pipeline within may end later than this one.
async fn until(deadline: Option<Instant>, call: impl Future<Output = Caught>) -> Caught {
    let Some(deadline) = deadline else {
        return call.await;
    };
    let mut call = pin!(call);
    if let Ok(result) = tokio::time::timeout_at(deadline, &mut call).await {
        return result;
    }
    tokio::task::yield_now().await;
    call.now_or_never()
        .unwrap_or_else(|| Ok(Err(deadline_exceeded())))
}

//! The headers that a handler sets before it returns its stream, as `Call::response` gives them.

use std::time::Duration;

use futures::StreamExt;
use natsmicro::{Client, Code, Context, RunningServer, Status, Streaming};
use tokio::sync::mpsc;

use natsmicro_tests::common::{Nats, OnDrop, code_of, soon};
use natsmicro_tests::streams::{Number, Range, all, numbers, range};

#[natsmicro::service]
trait Headers {
    /// Streams the numbers of the range, if there are any.
    async fn count(&self, cx: &Context, range: Range) -> Result<Streaming<Number>, Status>;
    /// Has no message.
    async fn silent(&self, cx: &Context, range: Range) -> Result<Streaming<Number>, Status>;
    /// Returns its stream before it reads.
    async fn echo(
        &self,
        cx: &Context,
        numbers: Streaming<Number>,
    ) -> Result<Streaming<Number>, Status>;
    /// Returns its stream after the first request, whose number is the header.
    async fn after_first(
        &self,
        cx: &Context,
        numbers: Streaming<Number>,
    ) -> Result<Streaming<Number>, Status>;
    /// Fails after the first request.
    async fn fail(&self, numbers: Streaming<Number>) -> Result<Streaming<Number>, Status>;
    async fn never(&self, numbers: Streaming<Number>) -> Result<Streaming<Number>, Status>;
}

struct Impl {
    dropped: mpsc::UnboundedSender<()>,
}

async fn first(numbers: &mut Streaming<Number>) -> Result<u64, Status> {
    let first = numbers.message().await?;
    let first = first.ok_or_else(|| Status::invalid_argument("no number"))?;
    Ok(first.n)
}

impl Headers for Impl {
    async fn count(&self, cx: &Context, range: Range) -> Result<Streaming<Number>, Status> {
        cx.insert_response_header("X-Resp", "count")?;
        Ok(numbers(range.from..range.to))
    }

    async fn silent(&self, cx: &Context, _range: Range) -> Result<Streaming<Number>, Status> {
        cx.insert_response_header("X-Resp", "silent")?;
        Ok(Streaming::new(futures::stream::pending()))
    }

    async fn echo(
        &self,
        cx: &Context,
        numbers: Streaming<Number>,
    ) -> Result<Streaming<Number>, Status> {
        cx.insert_response_header("X-Resp", "echo")?;
        Ok(numbers)
    }

    async fn after_first(
        &self,
        cx: &Context,
        mut numbers: Streaming<Number>,
    ) -> Result<Streaming<Number>, Status> {
        let first = first(&mut numbers).await?;
        cx.insert_response_header("X-Resp", &first.to_string())?;
        Ok(numbers)
    }

    async fn fail(&self, mut numbers: Streaming<Number>) -> Result<Streaming<Number>, Status> {
        let first = first(&mut numbers).await?;
        Err(Status::not_found(format!("no {first}")).with_details("details"))
    }

    async fn never(&self, _numbers: Streaming<Number>) -> Result<Streaming<Number>, Status> {
        let _guard = OnDrop(self.dropped.clone());
        std::future::pending().await
    }
}

struct Fixture {
    nats: Nats,
    _server: RunningServer,
    client: HeadersClient,
    dropped: mpsc::UnboundedReceiver<()>,
}

impl Fixture {
    async fn start() -> Self {
        let nats = Nats::start().await;
        let (sender, dropped) = mpsc::unbounded_channel();
        let server = nats
            .server()
            .add_service(HeadersServer::new(Impl { dropped: sender }))
            .start()
            .await
            .unwrap();
        let client = HeadersClient::new(nats.caller.clone());
        Self {
            nats,
            _server: server,
            client,
            dropped,
        }
    }
}

/// The header of the handler, and the stream.
async fn opened(
    call: natsmicro::Call<Streaming<Number>, Status>,
) -> (Option<String>, Streaming<Number>) {
    let (stream, headers) = soon(call.response()).await.unwrap().into_parts();
    let header = headers.get("X-Resp").map(ToString::to_string);
    assert_eq!(headers.len(), usize::from(header.is_some()), "{headers:?}");
    (header, stream)
}

#[tokio::test]
async fn of_a_service_that_streams() {
    let fixture = Fixture::start().await;
    for to in [0, 1, 3000] {
        let (header, stream) = opened(fixture.client.count(range(0, to))).await;
        assert_eq!(header.as_deref(), Some("count"), "{to} messages");
        assert_eq!(all(stream).await, (0..to).collect::<Vec<_>>());
    }
    let (header, _stream) = opened(fixture.client.silent(range(0, 0))).await;
    assert_eq!(header.as_deref(), Some("silent"));
}

#[tokio::test]
async fn of_a_conversation() {
    let fixture = Fixture::start().await;
    for to in [0, 1, 3000] {
        let (header, stream) = opened(fixture.client.echo(numbers(0..to))).await;
        assert_eq!(header.as_deref(), Some("echo"), "{to} messages");
        assert_eq!(all(stream).await, (0..to).collect::<Vec<_>>());
    }
}

/// The handler has returned its stream, which has no message before the first request.
#[tokio::test]
async fn of_a_conversation_that_has_not_begun() {
    let fixture = Fixture::start().await;
    let (sender, lines) = Streaming::channel(1);
    let (header, mut stream) = opened(fixture.client.echo(lines)).await;
    assert_eq!(header.as_deref(), Some("echo"));
    for n in 0..10 {
        soon(sender.send(n.into())).await.unwrap();
        assert_eq!(soon(stream.message()).await.unwrap().unwrap().n, n);
    }
    drop(sender);
    assert_eq!(soon(stream.message()).await, Ok(None));
}

/// The requests are sent while the call waits for the handler.
#[tokio::test]
async fn of_a_handler_that_reads_the_first_request() {
    let fixture = Fixture::start().await;
    let (header, stream) = opened(fixture.client.after_first(numbers(7..3000))).await;
    assert_eq!(header.as_deref(), Some("7"));
    assert_eq!(all(stream).await, (8..3000).collect::<Vec<_>>());
}

/// Awaiting the call itself does not wait for the handler, which waits for the first request.
#[tokio::test]
async fn a_call_without_headers_does_not_wait_for_the_handler() {
    let fixture = Fixture::start().await;
    let (sender, lines) = Streaming::channel(1);
    let call = fixture.client.after_first(lines);
    let mut stream = soon(call.into_future()).await.unwrap();
    soon(sender.send(1.into())).await.unwrap();
    soon(sender.send(2.into())).await.unwrap();
    assert_eq!(soon(stream.message()).await.unwrap().unwrap().n, 2);
}

#[tokio::test]
async fn a_handler_that_fails_fails_the_call() {
    let fixture = Fixture::start().await;
    let call = fixture.client.fail(numbers(3..3000));
    let error = soon(call.response()).await.unwrap_err();
    assert_eq!(error.code(), &Code::NotFound);
    assert_eq!(error.message(), "no 3");
    assert_eq!(error.details(), "details");
}

/// A client whose calls must be open within this time.
fn impatient(nats: &Nats) -> HeadersClient {
    HeadersClient::new(Client::new(nats.caller.clone()).with_timeout(Duration::from_secs(1)))
}

#[tokio::test]
async fn a_handler_that_returns_no_stream_is_given_up() {
    let mut fixture = Fixture::start().await;
    let client = impatient(&fixture.nats);
    let (sender, lines) = Streaming::channel(1);
    let call = client.never(lines);
    assert_eq!(code_of(soon(call.response()).await), "DEADLINE_EXCEEDED");
    soon(fixture.dropped.recv()).await.unwrap();
    soon(sender.closed()).await;
}

#[tokio::test]
async fn the_timeout_of_the_opening_ends_with_it() {
    let fixture = Fixture::start().await;
    let client = impatient(&fixture.nats);
    let (sender, lines) = Streaming::channel(1);
    let (header, mut stream) = opened(client.echo(lines)).await;
    assert_eq!(header.as_deref(), Some("echo"));
    tokio::time::sleep(Duration::from_millis(1500)).await;
    soon(sender.send(1.into())).await.unwrap();
    assert_eq!(soon(stream.message()).await.unwrap().unwrap().n, 1);
}

#[tokio::test]
async fn a_call_that_is_dropped_while_it_waits_for_the_handler() {
    let mut fixture = Fixture::start().await;
    let (sender, lines) = Streaming::channel(1);
    let call = tokio::spawn(fixture.client.never(lines).response());
    // The second is taken when the first is on its way: the service has accepted the request.
    for n in 0..3 {
        soon(sender.send(n.into())).await.unwrap();
    }
    call.abort();
    soon(fixture.dropped.recv()).await.unwrap();
    soon(sender.closed()).await;
}

/// Nothing is lost of a stream whose headers came with its first message.
#[tokio::test]
async fn many_streams_at_once() {
    let fixture = Fixture::start().await;
    let calls = (0..200_u64).map(|n| opened(fixture.client.after_first(numbers(n..n + 100))));
    let opened: Vec<_> = futures::stream::iter(calls).buffered(50).collect().await;
    for (n, (header, stream)) in (0..).zip(opened) {
        assert_eq!(header, Some(n.to_string()));
        assert_eq!(all(stream).await, (n + 1..n + 100).collect::<Vec<_>>());
    }
}

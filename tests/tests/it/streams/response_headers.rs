//! Headers that a handler sets before it returns its stream, or its response, reach the caller.

use futures::StreamExt;
use natsmicro::{Context, Response, Status, Streaming};
use natsmicro_tests::common::{Nats, Text, soon, text};

#[natsmicro::service(subject_prefix = "headers")]
trait Headers {
    async fn feed(&self, cx: &Context, request: Text) -> Result<Streaming<Text>, Status>;
    async fn sum(&self, cx: &Context, requests: Streaming<Text>) -> Result<Text, Status>;
    async fn chat(
        &self,
        cx: &Context,
        requests: Streaming<Text>,
    ) -> Result<Streaming<Text>, Status>;
    /// Returns its stream when it has read a message.
    async fn late_chat(
        &self,
        cx: &Context,
        requests: Streaming<Text>,
    ) -> Result<Streaming<Text>, Status>;
}

struct Service;

impl Headers for Service {
    async fn feed(&self, cx: &Context, request: Text) -> Result<Streaming<Text>, Status> {
        cx.insert_response_header("X-Of-Handler", "feed")?;
        Ok(Streaming::iter([request]))
    }

    async fn sum(&self, cx: &Context, mut requests: Streaming<Text>) -> Result<Text, Status> {
        cx.insert_response_header("X-Of-Handler", "sum")?;
        while requests.message().await?.is_some() {}
        Ok(text("sum"))
    }

    async fn chat(
        &self,
        cx: &Context,
        requests: Streaming<Text>,
    ) -> Result<Streaming<Text>, Status> {
        cx.insert_response_header("X-Of-Handler", "chat")?;
        Ok(requests)
    }

    async fn late_chat(
        &self,
        cx: &Context,
        mut requests: Streaming<Text>,
    ) -> Result<Streaming<Text>, Status> {
        let first = requests.message().await?;
        cx.insert_response_header("X-Of-Handler", "late_chat")?;
        Ok(Streaming::new(
            futures::stream::iter(first.map(Ok)).chain(requests),
        ))
    }
}

async fn start() -> (Nats, natsmicro::RunningServer, HeadersClient) {
    let nats = Nats::start().await;
    let server = nats.server().add_service(HeadersServer::new(Service));
    let server = server.start().await.unwrap();
    let client = HeadersClient::new(nats.caller.clone());
    (nats, server, client)
}

fn of_handler<T>(response: &Response<T>) -> Option<&str> {
    let header = response.headers().get("X-Of-Handler")?;
    Some(header.as_str())
}

#[tokio::test]
async fn of_a_stream_of_responses() {
    let (_nats, _server, client) = start().await;
    let response = soon(client.feed(text("a")).response()).await.unwrap();
    assert_eq!(of_handler(&response), Some("feed"));
}

#[tokio::test]
async fn of_a_stream_of_requests() {
    let (_nats, _server, client) = start().await;
    let requests = Streaming::iter([text("a")]);
    let response = soon(client.sum(requests).response()).await.unwrap();
    assert_eq!(of_handler(&response), Some("sum"));
}

/// They come with the stream, whose first message may be a long time off, and not with that message.
#[tokio::test]
async fn of_streams_in_both_directions() {
    let (_nats, _server, client) = start().await;
    let (sender, requests) = Streaming::channel(1);
    let response = soon(client.chat(requests).response()).await.unwrap();
    assert_eq!(of_handler(&response), Some("chat"));
    let mut responses = response.into_inner();
    sender.send(text("a")).await.unwrap();
    assert_eq!(soon(responses.message()).await.unwrap(), Some(text("a")));
    drop(sender);
    assert_eq!(soon(responses.message()).await.unwrap(), None);
}

/// A handler that reads before it returns its stream gets what it waits for, though the caller has no headers yet.
#[tokio::test]
async fn of_streams_in_both_directions_that_begin_with_the_caller() {
    let (_nats, _server, client) = start().await;
    let (sender, requests) = Streaming::channel(1);
    let (response, sent) = soon(async {
        tokio::join!(
            client.late_chat(requests).response(),
            sender.send(text("a"))
        )
    })
    .await;
    sent.unwrap();
    let response = response.unwrap();
    assert_eq!(of_handler(&response), Some("late_chat"));
    let mut responses = response.into_inner();
    assert_eq!(soon(responses.message()).await.unwrap(), Some(text("a")));
}

//! Streams of JSON messages, between our own and with peers of the plain protocol.

use futures::StreamExt;
use natsmicro::{Server, Status, Streaming};
use serde::{Deserialize, Serialize};

use natsmicro_tests::common::{Nats, soon};
use natsmicro_tests::streams::{PlainCaller, data, end};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[derive(Default)]
struct Line {
    full_name: String,
}

#[natsmicro::service(subject_prefix = "json.v1", codec = "json")]
trait Lines {
    async fn spell(&self, line: Line) -> Result<Streaming<Line>, Status>;
    async fn join(&self, lines: Streaming<Line>) -> Result<Line, Status>;
    async fn echo(&self, lines: Streaming<Line>) -> Result<Streaming<Line>, Status>;
    /// Streams without a request.
    async fn alphabet(&self) -> Result<Streaming<char>, Status>;
}

struct Impl;

fn line(text: impl Into<String>) -> Line {
    Line {
        full_name: text.into(),
    }
}

impl Lines for Impl {
    async fn spell(&self, spelled: Line) -> Result<Streaming<Line>, Status> {
        let letters: Vec<_> = spelled.full_name.chars().map(line).collect();
        Ok(Streaming::iter(letters))
    }

    async fn join(&self, mut lines: Streaming<Line>) -> Result<Line, Status> {
        let mut joined = String::new();
        while let Some(line) = lines.message().await? {
            joined += &line.full_name;
        }
        Ok(line(joined))
    }

    async fn echo(&self, lines: Streaming<Line>) -> Result<Streaming<Line>, Status> {
        Ok(lines)
    }

    async fn alphabet(&self) -> Result<Streaming<char>, Status> {
        Ok(Streaming::iter('a'..='z'))
    }
}

async fn serve(nats: &Nats) -> natsmicro::RunningServer {
    let server = Server::new(nats.service.clone()).add_service(LinesServer::new(Impl));
    server.start().await.unwrap()
}

#[tokio::test]
async fn between_our_own() {
    let nats = Nats::start().await;
    let _server = serve(&nats).await;
    let client = LinesClient::new(nats.caller.clone());
    let letters = soon(client.spell(line("ada")).into_future()).await.unwrap();
    let letters: Vec<_> = soon(letters.map(Result::unwrap).collect()).await;
    assert_eq!(letters, ["a", "d", "a"].map(line));
    let joined = client.join(Streaming::iter(letters.clone()));
    assert_eq!(soon(joined.into_future()).await.unwrap(), line("ada"));
    let echo = client.echo(Streaming::iter(letters.clone()));
    let echo = soon(echo.into_future()).await.unwrap();
    let echoed: Vec<_> = soon(echo.map(Result::unwrap).collect()).await;
    assert_eq!(echoed, letters);
    let alphabet = soon(client.alphabet().into_future()).await.unwrap();
    let alphabet: String = soon(alphabet.map(Result::unwrap).collect()).await;
    assert_eq!(alphabet, "abcdefghijklmnopqrstuvwxyz");
}

#[tokio::test]
async fn with_a_plain_caller() {
    let nats = Nats::start().await;
    let _server = serve(&nats).await;
    let mut caller = PlainCaller::new(&nats.caller).await;
    caller.open("json.v1.spell", r#"{"fullName":"ad"}"#).await;
    assert_eq!(caller.next().await, data(1, r#"{"fullName":"a"}"#));
    assert_eq!(caller.next().await, data(2, r#"{"fullName":"d"}"#));
    assert_eq!(caller.next().await, end());

    let inbox = caller.handshake("json.v1.join").await;
    caller.send(&inbox, data(1, r#"{"fullName":"a"}"#)).await;
    caller.send(&inbox, data(2, "{}")).await;
    caller.send(&inbox, data(3, r#"{"fullName":"b"}"#)).await;
    caller.send(&inbox, end()).await;
    let (headers, payload) = caller.next().await;
    assert_eq!(
        (headers.len(), &*payload),
        (0, &br#"{"fullName":"ab"}"#[..])
    );

    caller.open("json.v1.spell", "{").await;
    let (headers, _) = caller.next().await;
    assert_eq!(headers[1].1, "INVALID_ARGUMENT");
    assert_eq!(headers[2].0, "Nats-Stream-End");
}

//! A service with a stream of each kind, and a peer that speaks the plain protocol only, written on async-nats.

use std::sync::Arc;
use std::time::Duration;

use async_nats::{HeaderMap, Message, Subscriber};
use bytes::Bytes;
use futures::{FutureExt, StreamExt};
use natsmicro::{Context, RunningServer, Status, Streaming};
use prost::Message as _;
use tokio::sync::{Notify, mpsc};

use crate::common::{Nats, OnDrop, soon};

#[derive(Clone, PartialEq, prost::Message)]
pub struct Range {
    #[prost(uint64, tag = "1")]
    pub from: u64,
    #[prost(uint64, tag = "2")]
    pub to: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Number {
    #[prost(uint64, tag = "1")]
    pub n: u64,
    #[prost(bytes = "bytes", tag = "2")]
    pub padding: Bytes,
}

impl From<u64> for Number {
    fn from(n: u64) -> Self {
        let padding = Bytes::new();
        Self { n, padding }
    }
}

impl Number {
    pub fn bytes(&self) -> Bytes {
        self.encode_to_vec().into()
    }
}

#[natsmicro::service(subject_prefix = "s", timeout = "2s")]
pub trait Streams {
    /// Fails with `NOT_FOUND` if it would count down, before there is a stream.
    async fn count(&self, cx: &Context, range: Range) -> Result<Streaming<Number>, Status>;
    async fn sum(&self, cx: &Context, numbers: Streaming<Number>) -> Result<Number, Status>;
    /// Answers each number with its double.
    async fn double(&self, numbers: Streaming<Number>) -> Result<Streaming<Number>, Status>;

    /// Sends its first `from` numbers at once, and then nothing until it is dropped.
    async fn feed(&self, range: Range) -> Result<Streaming<Number>, Status>;
    /// Never answers.
    async fn sink(&self, numbers: Streaming<Number>) -> Result<Number, Status>;
    /// Numbers, then an error with details.
    async fn fail(&self, range: Range) -> Result<Streaming<Number>, Status>;
    /// Answers after the first number.
    async fn first(&self, numbers: Streaming<Number>) -> Result<Number, Status>;
    async fn panics(&self, range: Range) -> Result<Streaming<Number>, Status>;
    #[endpoint(max_in_flight = 2)]
    async fn two(&self, range: Range) -> Result<Streaming<Number>, Status>;
    #[endpoint(timeout = "300ms")]
    async fn short(&self, range: Range) -> Result<Streaming<Number>, Status>;
    /// One at a time.
    #[endpoint(max_in_flight = 1, timeout = "1s")]
    async fn alone(&self, numbers: Streaming<Number>) -> Result<Number, Status>;
    /// Fails, and what it leaves behind panics when it is dropped.
    async fn bomb(&self, range: Range) -> Result<Streaming<Number>, Status>;
    #[stream(window = 16)]
    async fn narrow(&self, numbers: Streaming<Number>) -> Result<Streaming<Number>, Status>;
    /// A number every 20 ms, until it is dropped.
    async fn tick(&self, range: Range) -> Result<Streaming<Number>, Status>;
    async fn ping(&self, range: Range) -> Result<Range, Status>;
}

/// Tells when one of its endless streams is opened and when it is dropped.
pub struct Impl {
    pub opened: mpsc::UnboundedSender<()>,
    pub dropped: mpsc::UnboundedSender<()>,
    /// What `fail` reads before it ends, and `narrow` waits for before it reads.
    pub go: Arc<Notify>,
}

impl Impl {
    fn on_drop(&self) -> OnDrop {
        let _ = self.opened.send(());
        OnDrop(self.dropped.clone())
    }

    fn endless(&self, first: u64) -> Streaming<Number> {
        let guard = self.on_drop();
        let numbers = futures::stream::iter((0..first).map(|n| Ok(n.into())));
        Streaming::new(numbers.chain(futures::stream::pending()).map(move |item| {
            let _ = &guard;
            item
        }))
    }
}

impl Streams for Impl {
    async fn count(&self, cx: &Context, range: Range) -> Result<Streaming<Number>, Status> {
        if range.to < range.from {
            return Err(Status::not_found("no such number").with_details("down"));
        }
        if let Some(value) = cx.header("X-Req") {
            cx.insert_response_header("X-Resp", value)?;
        }
        Ok(Streaming::iter((range.from..range.to).map(Number::from)))
    }

    async fn sum(&self, cx: &Context, mut numbers: Streaming<Number>) -> Result<Number, Status> {
        if let Some(value) = cx.header("X-Req") {
            cx.insert_response_header("X-Resp", value)?;
        }
        let mut sum = 0;
        while let Some(number) = numbers.message().await? {
            sum += number.n;
        }
        Ok(sum.into())
    }

    async fn double(&self, numbers: Streaming<Number>) -> Result<Streaming<Number>, Status> {
        Ok(Streaming::new(numbers.map(|number| {
            let mut number = number?;
            number.n *= 2;
            Ok(number)
        })))
    }

    async fn feed(&self, range: Range) -> Result<Streaming<Number>, Status> {
        Ok(self.endless(range.from))
    }

    async fn sink(&self, mut numbers: Streaming<Number>) -> Result<Number, Status> {
        let _guard = self.on_drop();
        while let Some(number) = numbers.next().await {
            number?;
        }
        std::future::pending().await
    }

    async fn fail(&self, range: Range) -> Result<Streaming<Number>, Status> {
        let numbers = (range.from..range.to).map(|n| Ok(n.into()));
        let end = Status::new("OUT_OF_NUMBERS", "no more").with_details("details");
        Ok(Streaming::new(futures::stream::iter(
            numbers.chain([Err(end), Ok(7.into())]),
        )))
    }

    async fn first(&self, mut numbers: Streaming<Number>) -> Result<Number, Status> {
        let first = numbers.message().await?;
        first.ok_or_else(|| Status::invalid_argument("no number"))
    }

    async fn panics(&self, range: Range) -> Result<Streaming<Number>, Status> {
        assert!(range.from > 0, "in the handler");
        Ok(Streaming::iter((0..).map(|n: u64| {
            assert!(n < 3, "in the stream");
            n.into()
        })))
    }

    async fn two(&self, _range: Range) -> Result<Streaming<Number>, Status> {
        Ok(self.endless(1))
    }

    async fn short(&self, _range: Range) -> Result<Streaming<Number>, Status> {
        Ok(self.endless(1))
    }

    async fn alone(&self, mut numbers: Streaming<Number>) -> Result<Number, Status> {
        while numbers.message().await?.is_some() {}
        Ok(0.into())
    }

    async fn bomb(&self, _range: Range) -> Result<Streaming<Number>, Status> {
        struct Bomb;
        impl Drop for Bomb {
            fn drop(&mut self) {
                panic!("dropped");
            }
        }
        let bomb = Bomb;
        let failed = futures::stream::iter([Err(Status::aborted("no"))]);
        Ok(Streaming::new(failed.inspect(move |_| {
            let _ = &bomb;
        })))
    }

    async fn narrow(&self, numbers: Streaming<Number>) -> Result<Streaming<Number>, Status> {
        self.go.notified().await;
        Ok(numbers)
    }

    async fn tick(&self, _range: Range) -> Result<Streaming<Number>, Status> {
        let guard = self.on_drop();
        let numbers = futures::stream::iter(0_u64..);
        Ok(Streaming::new(numbers.then(move |n| {
            let _ = &guard;
            async move {
                tokio::time::sleep(Duration::from_millis(20)).await;
                Ok(n.into())
            }
        })))
    }

    async fn ping(&self, range: Range) -> Result<Range, Status> {
        Ok(range)
    }
}

/// The service on a server, with a client.
pub struct Fixture {
    pub nats: Nats,
    pub server: RunningServer,
    pub client: StreamsClient,
    pub opened: mpsc::UnboundedReceiver<()>,
    pub dropped: mpsc::UnboundedReceiver<()>,
    pub go: Arc<Notify>,
}

impl Fixture {
    pub async fn start() -> Self {
        Self::on(Nats::start().await).await
    }

    pub async fn on(nats: Nats) -> Self {
        let (opened_sender, opened) = mpsc::unbounded_channel();
        let (dropped_sender, dropped) = mpsc::unbounded_channel();
        let go = Arc::new(Notify::new());
        let service = Impl {
            opened: opened_sender,
            dropped: dropped_sender,
            go: Arc::clone(&go),
        };
        let server = nats
            .server()
            .with_drain_timeout(Duration::from_millis(500))
            .add_service(StreamsServer::new(service))
            .start()
            .await
            .unwrap();
        let client = StreamsClient::new(nats.caller.clone());
        Self {
            nats,
            server,
            client,
            opened,
            dropped,
            go,
        }
    }
}

pub fn range(from: u64, to: u64) -> Range {
    Range { from, to }
}

pub fn numbers(range: std::ops::Range<u64>) -> Streaming<Number> {
    Streaming::iter(range.map(Number::from))
}

/// All numbers of a stream that ends well.
pub async fn all(stream: Streaming<Number>) -> Vec<u64> {
    let items: Vec<_> = soon(stream.collect()).await;
    items.into_iter().map(|item| item.unwrap().n).collect()
}

/// A message of the plain protocol as it is to be sent or was received: its headers in alphabetical order, and its payload.
pub type Plain = (Vec<(String, String)>, Bytes);

pub fn plain(message: &Message) -> Plain {
    let headers = message.headers.clone().unwrap_or_default();
    let mut headers: Vec<_> = headers
        .iter()
        .flat_map(|(name, values)| values.iter().map(|v| (name.to_string(), v.to_string())))
        .collect();
    headers.sort();
    (headers, message.payload.clone())
}

pub fn data(seq: u64, payload: impl Into<Bytes>) -> Plain {
    let headers = vec![("Nats-Stream-Seq".to_owned(), seq.to_string())];
    (headers, payload.into())
}

pub fn end() -> Plain {
    let headers = vec![("Nats-Stream-End".to_owned(), "true".to_owned())];
    (headers, Bytes::new())
}

/// The end of a stream that failed.
pub fn failed(code: &str, message: &str, details: impl Into<Bytes>) -> Plain {
    let headers = [
        ("Nats-Service-Error", message),
        ("Nats-Service-Error-Code", code),
        ("Nats-Stream-End", "true"),
    ];
    let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned()));
    (headers.into(), details.into())
}

pub fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        headers.append(*name, *value);
    }
    headers
}

/// A caller that knows nothing of this crate.
pub struct PlainCaller {
    pub nats: async_nats::Client,
    pub inbox: String,
    pub messages: Subscriber,
}

impl PlainCaller {
    pub async fn new(nats: &async_nats::Client) -> Self {
        let inbox = nats.new_inbox();
        let messages = nats.subscribe(inbox.clone()).await.unwrap();
        Self {
            nats: nats.clone(),
            inbox,
            messages,
        }
    }

    /// Opens a stream of responses, with no reply subject, as peers do.
    pub async fn open(&self, subject: &str, payload: impl Into<Bytes>) {
        let headers = headers(&[("Reply-To", &self.inbox)]);
        let payload = payload.into();
        self.nats
            .publish_with_headers(subject.to_owned(), headers, payload)
            .await
            .unwrap();
    }

    /// Opens a stream of requests; gives the inbox of the service.
    pub async fn handshake(&self, subject: &str) -> String {
        let headers = headers(&[("Reply-To", &self.inbox)]);
        let reply = self
            .nats
            .request_with_headers(subject.to_owned(), headers, Bytes::new());
        let reply = soon(reply).await.unwrap();
        let (headers, payload) = plain(&reply);
        assert_eq!(payload, "");
        assert_eq!(headers.len(), 1, "{headers:?}");
        assert_eq!(headers[0].0, "Nats-Stream-Inbox");
        headers[0].1.clone()
    }

    pub async fn send(&self, to: &str, (pairs, payload): Plain) {
        let pairs: Vec<_> = pairs.iter().map(|(n, v)| (&**n, &**v)).collect();
        self.nats
            .publish_with_headers(to.to_owned(), headers(&pairs), payload)
            .await
            .unwrap();
    }

    pub async fn next(&mut self) -> Plain {
        plain(&soon(self.messages.next()).await.unwrap())
    }

    /// Nothing more comes before an answer to a later request.
    pub async fn no_more(&mut self) {
        let ping = self
            .nats
            .request("s.ping", range(0, 0).encode_to_vec().into());
        soon(ping).await.unwrap();
        let more = self.messages.next().now_or_never().flatten();
        assert!(more.is_none(), "{more:?}");
    }
}

//! Slow readers lose nothing, and hold up their senders.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use natsmicro::{Server, Status, Streaming};

use natsmicro_tests::common::{Nats, soon};
use natsmicro_tests::streams::{Number, Range, range};

const MESSAGES: u64 = 200_000;
const PAUSE: Duration = Duration::from_secs(3);
/// The window, and as much again for what is in a batch on its way out.
const AHEAD: u64 = 2 * 1024;

/// How many numbers were made and how many read.
#[derive(Clone, Default)]
struct Progress(Arc<(AtomicU64, AtomicU64)>);

impl Progress {
    /// Numbers that count themselves, and may not be too far ahead of the reader.
    fn numbers(&self) -> Streaming<Number> {
        let progress = self.clone();
        Streaming::iter((0..MESSAGES).map(move |n| {
            let (made, read) = &*progress.0;
            let made = made.fetch_add(1, Ordering::SeqCst) + 1;
            let ahead = made - read.load(Ordering::SeqCst);
            assert!(ahead <= AHEAD, "{ahead} messages ahead of the reader");
            n.into()
        }))
    }

    /// Reads all numbers, with a pause after some of them.
    async fn read(&self, numbers: &mut Streaming<Number>) -> Result<(), Status> {
        let (made, read) = &*self.0;
        for expected in 0..MESSAGES {
            if expected == 1000 {
                tokio::time::sleep(PAUSE).await;
                assert!(made.load(Ordering::SeqCst) < MESSAGES);
            }
            let number = numbers.message().await?;
            let number =
                number.ok_or_else(|| Status::data_loss(format!("{expected} is missing")))?;
            assert_eq!(number.n, expected);
            read.fetch_add(1, Ordering::SeqCst);
        }
        assert_eq!(numbers.message().await?, None);
        Ok(())
    }
}

/// The window in bytes of the methods that set it, and a message of which four fill it.
const WINDOW_BYTES: usize = 16 * 1024;
const MESSAGE_BYTES: usize = 4 * 1024;
/// The messages that fill the window, one that was taken from its source and waits, and one that the reader has and has not counted.
const AHEAD_BY_BYTES: u64 = (WINDOW_BYTES / MESSAGE_BYTES) as u64 + 2;
const LARGE_MESSAGES: u64 = 200;

impl Progress {
    /// Messages that count themselves, and of which no more may be ahead of the reader than fit into the window in bytes.
    fn large_numbers(&self) -> Streaming<Number> {
        let progress = self.clone();
        let padding = Bytes::from(vec![0; MESSAGE_BYTES]);
        Streaming::iter((0..LARGE_MESSAGES).map(move |n| {
            let (made, read) = &*progress.0;
            let made = made.fetch_add(1, Ordering::SeqCst) + 1;
            let ahead = made - read.load(Ordering::SeqCst);
            assert!(
                ahead <= AHEAD_BY_BYTES,
                "{ahead} messages ahead of the reader"
            );
            Number {
                n,
                padding: padding.clone(),
            }
        }))
    }

    /// Reads all of these messages, after as many were made as fill the window.
    async fn read_large(&self, numbers: &mut Streaming<Number>) -> Result<(), Status> {
        let (made, read) = &*self.0;
        let full = (WINDOW_BYTES / MESSAGE_BYTES) as u64;
        soon(async {
            while made.load(Ordering::SeqCst) < full {
                tokio::task::yield_now().await;
            }
        })
        .await;
        for expected in 0..LARGE_MESSAGES {
            let number = numbers.message().await?;
            assert_eq!(number.map(|number| number.n), Some(expected));
            read.fetch_add(1, Ordering::SeqCst);
        }
        assert_eq!(numbers.message().await?, None);
        Ok(())
    }
}

#[natsmicro::service]
trait Slow {
    async fn responses(&self, range: Range) -> Result<Streaming<Number>, Status>;
    async fn requests(&self, numbers: Streaming<Number>) -> Result<Number, Status>;
    async fn both(&self, numbers: Streaming<Number>) -> Result<Streaming<Number>, Status>;
    /// Reads all before it answers with one.
    async fn read_first(&self, numbers: Streaming<Number>) -> Result<Streaming<Number>, Status>;
    #[stream(window_bytes = "16KiB")]
    async fn large_responses(&self, range: Range) -> Result<Streaming<Number>, Status>;
    #[stream(window_bytes = 16_384)]
    async fn large_requests(&self, numbers: Streaming<Number>) -> Result<Number, Status>;
}

struct Impl(Progress);

impl Slow for Impl {
    async fn responses(&self, _range: Range) -> Result<Streaming<Number>, Status> {
        Ok(self.0.numbers())
    }

    async fn requests(&self, mut numbers: Streaming<Number>) -> Result<Number, Status> {
        self.0.read(&mut numbers).await?;
        Ok(1.into())
    }

    async fn both(&self, numbers: Streaming<Number>) -> Result<Streaming<Number>, Status> {
        Ok(numbers)
    }

    async fn read_first(
        &self,
        mut numbers: Streaming<Number>,
    ) -> Result<Streaming<Number>, Status> {
        self.0.read(&mut numbers).await?;
        Ok(Streaming::iter([1.into()]))
    }

    async fn large_responses(&self, _range: Range) -> Result<Streaming<Number>, Status> {
        Ok(self.0.large_numbers())
    }

    async fn large_requests(&self, mut numbers: Streaming<Number>) -> Result<Number, Status> {
        self.0.read_large(&mut numbers).await?;
        Ok(1.into())
    }
}

type Task = Pin<Box<dyn Future<Output = Result<(), Status>> + Send>>;

async fn with_service(work: impl FnOnce(SlowClient, Progress) -> Task) {
    let nats = Nats::start().await;
    let progress = Progress::default();
    let server = Server::new(nats.service.clone())
        .add_service(SlowServer::new(Impl(progress.clone())))
        .start()
        .await
        .unwrap();
    let work = work(SlowClient::new(nats.caller.clone()), progress);
    tokio::time::timeout(Duration::from_secs(60), work)
        .await
        .unwrap()
        .unwrap();
    soon(server.stop()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_caller_of_a_service_that_streams() {
    with_service(|client, progress| {
        Box::pin(async move {
            let mut numbers = client.responses(range(0, 0)).await?;
            progress.read(&mut numbers).await
        })
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_service_and_a_caller_that_streams() {
    with_service(|client, progress| {
        Box::pin(async move {
            let done = client.requests(progress.numbers()).await?;
            assert_eq!(done.n, 1);
            Ok(())
        })
    })
    .await;
}

#[tokio::test]
async fn a_slow_service_in_a_conversation() {
    with_service(|client, progress| {
        Box::pin(async move {
            let mut answers = client.read_first(progress.numbers()).await?;
            assert_eq!(answers.message().await?, Some(1.into()));
            assert_eq!(answers.message().await?, None);
            Ok(())
        })
    })
    .await;
}

/// The service reads no faster than it can answer, so the pause of the caller holds up the caller's own requests.
#[tokio::test]
async fn a_slow_caller_in_a_conversation() {
    with_service(|client, progress| {
        Box::pin(async move {
            let made = Arc::new(AtomicU64::new(0));
            let counted = Arc::clone(&made);
            let numbers = (0..MESSAGES).map(move |n| {
                counted.fetch_add(1, Ordering::SeqCst);
                Number::from(n)
            });
            let mut doubled = client.both(Streaming::iter(numbers)).await?;
            let reads = progress.read(&mut doubled);
            let held_up = async {
                tokio::time::sleep(PAUSE - Duration::from_millis(500)).await;
                let made = made.load(Ordering::SeqCst);
                // Two windows lie between them.
                assert!(made <= 1000 + 2 * AHEAD, "{made} messages were made");
            };
            progress.0.0.store(0, Ordering::SeqCst);
            futures::future::join(reads, held_up).await.0
        })
    })
    .await;
}

/// Large messages are bounded by their bytes.
#[tokio::test]
async fn large_messages_are_held_by_their_bytes() {
    let fixture = natsmicro_tests::streams::Fixture::start().await;
    let made = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&made);
    let numbers = Streaming::iter((0..100).map(move |n| {
        counted.fetch_add(1, Ordering::SeqCst);
        let padding = vec![0; 256 * 1024].into();
        Number { n, padding }
    }));
    let mut doubled = fixture.client.double(numbers).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    // A megabyte in each direction, and one that is on its way at either end.
    let held = made.load(Ordering::SeqCst);
    assert!((4..=14).contains(&held), "{held} messages were made");
    for n in 0..100 {
        assert_eq!(soon(doubled.next()).await.unwrap().unwrap().n, 2 * n);
    }
    assert!(soon(doubled.next()).await.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_window_in_bytes_bounds_a_service_that_streams() {
    with_service(|client, progress| {
        Box::pin(async move {
            let mut numbers = client.large_responses(range(0, 0)).await?;
            progress.read_large(&mut numbers).await
        })
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_window_in_bytes_bounds_a_caller_that_streams() {
    with_service(|client, progress| {
        Box::pin(async move {
            let done = client.large_requests(progress.large_numbers()).await?;
            assert_eq!(done.n, 1);
            Ok(())
        })
    })
    .await;
}

#[tokio::test]
async fn a_window_of_the_method() {
    let fixture = natsmicro_tests::streams::Fixture::start().await;
    let (sender, numbers) = Streaming::channel(1);
    let call = fixture.client.narrow(numbers).await.unwrap();
    let mut sent = 0;
    while let Ok(result) =
        tokio::time::timeout(Duration::from_millis(500), sender.send(sent.into())).await
    {
        result.unwrap();
        sent += 1;
    }
    // The window, the channel, and one that was taken out and waits.
    assert!((16..=18).contains(&sent), "{sent} messages were sent");
    fixture.go.notify_one();
    drop(sender);
    assert_eq!(
        natsmicro_tests::streams::all(call).await.len(),
        sent as usize
    );
}

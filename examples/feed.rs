//! A feed without end, and consumers that are slow, fast, and gone: the producer keeps to their pace, and nothing is lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use natsmicro::testing::NatsServer;
use natsmicro::{Server, Status, Streaming};
use tokio::sync::Notify;

#[derive(Clone, PartialEq, prost::Message)]
pub struct Event {
    #[prost(uint64, tag = "1")]
    pub number: u64,
    #[prost(string, tag = "2")]
    pub text: String,
}

/// Tells what happens.
#[natsmicro::service]
pub trait Feed {
    /// Events for as long as somebody reads them.
    ///
    /// The window says how many of them the service may be ahead of the reader. It is 1,024 where nothing is said.
    #[stream(window = 100)]
    async fn events(&self) -> Result<Streaming<Event>, Status>;
}

/// Counts its events, with which the consumers below compare what they have: here both are in one process.
#[derive(Clone, Default)]
struct Producer {
    produced: Arc<AtomicU64>,
    stopped: Arc<Notify>,
}

impl Feed for Producer {
    async fn events(&self) -> Result<Streaming<Event>, Status> {
        let (sender, events) = Streaming::channel(1);
        let Producer { produced, stopped } = self.clone();
        produced.store(0, Ordering::Relaxed);
        tokio::spawn(async move {
            for number in 1.. {
                let text = format!("event {number}");
                // As fast as it can, and no faster than the consumer reads.
                if sender.send(Event { number, text }).await.is_err() {
                    println!("   the producer stops: nobody reads event {number}");
                    break;
                }
                produced.store(number, Ordering::Relaxed);
            }
            stopped.notify_one();
        });
        Ok(events)
    }
}

/// Reads so many events, with a pause after each, and checks that none is missing.
async fn consume(
    events: &mut Streaming<Event>,
    count: u32,
    pause: Option<Duration>,
    producer: &Producer,
) -> Result<(), Status> {
    let start = Instant::now();
    let mut most_ahead = 0;
    for expected in 1..=u64::from(count) {
        let Some(event) = events.message().await? else {
            return Err(Status::data_loss("the feed has ended"));
        };
        assert_eq!(event.number, expected, "events came out of order");
        let produced = producer.produced.load(Ordering::Relaxed);
        most_ahead = most_ahead.max(produced.saturating_sub(expected));
        if let Some(pause) = pause {
            tokio::time::sleep(pause).await;
        }
    }
    let rate = f64::from(count) / start.elapsed().as_secs_f64();
    println!("   {count} events in order, none lost, {rate:.0} a second");
    println!("   the producer was at most {most_ahead} events ahead");
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let nats_server = NatsServer::from_env_or_start().await?;
    let producer = Producer::default();
    // A connection for each side, as if they were two processes.
    let server = Server::new(nats_server.connect().await?)
        .add_service(FeedServer::new(producer.clone()))
        .start()
        .await?;
    let client = FeedClient::new(nats_server.connect().await?);

    println!("1. a consumer that takes a millisecond for each event");
    let mut events = client.events().await?;
    let pause = Some(Duration::from_millis(1));
    consume(&mut events, 1000, pause, &producer).await?;

    println!("2. it drops the stream");
    drop(events);
    producer.stopped.notified().await;

    println!("3. a consumer that does nothing but read");
    let mut events = client.events().await?;
    consume(&mut events, 20_000, None, &producer).await?;
    drop(events);
    producer.stopped.notified().await;

    server.stop().await?;
    Ok(())
}

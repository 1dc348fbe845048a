//! Streams: the service streams, the caller streams, or both do at the same time.

use std::time::Duration;

use futures::StreamExt;
use natsmicro::testing::NatsServer;
use natsmicro::{Server, Status, Streaming};

#[derive(Clone, PartialEq, prost::Message)]
pub struct Number {
    #[prost(uint64, tag = "1")]
    pub value: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Line {
    #[prost(string, tag = "1")]
    pub text: String,
}

/// A stream of each kind.
#[natsmicro::service]
pub trait Streams {
    /// The service streams.
    async fn count_up(&self, to: Number) -> Result<Streaming<Number>, Status>;
    /// The caller streams.
    async fn sum(&self, numbers: Streaming<Number>) -> Result<Number, Status>;
    /// Both stream, and neither waits for the end of the other.
    async fn chat(&self, lines: Streaming<Line>) -> Result<Streaming<Line>, Status>;
}

struct Service;

impl Streams for Service {
    /// A task of its own fills the stream. `send` waits while nobody reads, and fails when nobody ever will.
    async fn count_up(&self, to: Number) -> Result<Streaming<Number>, Status> {
        let (sender, numbers) = Streaming::channel(1);
        tokio::spawn(async move {
            for value in 1..=to.value {
                tokio::time::sleep(Duration::from_millis(100)).await;
                if sender.send(Number { value }).await.is_err() {
                    return;
                }
            }
        });
        Ok(numbers)
    }

    /// Reads until the caller has sent all. The `?` after `await` is for a stream that fails: then there is no sum.
    async fn sum(&self, mut numbers: Streaming<Number>) -> Result<Number, Status> {
        let mut sum = 0_u64;
        while let Some(number) = numbers.message().await? {
            sum = sum
                .checked_add(number.value)
                .ok_or_else(|| Status::out_of_range("the sum is too large"))?;
        }
        Ok(Number { value: sum })
    }

    /// Any stream will do as an answer, here the one of the requests with its items changed.
    async fn chat(&self, lines: Streaming<Line>) -> Result<Streaming<Line>, Status> {
        Ok(Streaming::new(lines.map(|line| {
            let text = format!("{}, you say?", line?.text);
            Ok(Line { text })
        })))
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let nats_server = NatsServer::from_env_or_start().await?;
    let nats = nats_server.connect().await?;
    let server = Server::new(nats.clone())
        .add_service(StreamsServer::new(Service))
        .start()
        .await?;
    let client = StreamsClient::new(nats);

    println!("1. the service counts");
    let mut numbers = client.count_up(Number { value: 5 }).await?;
    while let Some(number) = numbers.message().await? {
        println!("   {}", number.value);
    }

    println!("2. the caller sends the numbers from 1 to 100,000");
    let numbers = (1..=100_000).map(|value| Number { value });
    let sum = client.sum(Streaming::iter(numbers)).await?;
    println!("   their sum is {}", sum.value);

    println!("3. and two that are too large");
    let numbers = [u64::MAX, 1].map(|value| Number { value });
    let error = client.sum(Streaming::iter(numbers)).await.unwrap_err();
    println!("   {error}");

    println!("4. they chat");
    let (sender, lines) = Streaming::channel(1);
    let mut answers = client.chat(lines).await?;
    for text in ["Hello", "It rains", "I have to go"] {
        println!("   > {text}");
        let text = text.to_owned();
        sender.send(Line { text }).await?;
        if let Some(answer) = answers.message().await? {
            println!("   < {}", answer.text);
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    // This ends the requests, and so the answers.
    drop(sender);
    assert_eq!(answers.message().await?, None);

    server.stop().await?;
    println!("5. all streams have ended, and the service with them");
    Ok(())
}

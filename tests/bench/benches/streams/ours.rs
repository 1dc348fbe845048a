//! Streams as this crate has them.

use futures::StreamExt;
use natsmicro::{RunningServer, Server, Status, Streaming};
use natsmicro_bench::{Calling, Sample, timed};

use crate::{Item, Order};

#[natsmicro::service(subject_prefix = "ours")]
trait Streams {
    async fn responses(&self, order: Order) -> Result<Streaming<Item>, Status>;
    async fn requests(&self, items: Streaming<Item>) -> Result<Item, Status>;
    async fn both(&self, items: Streaming<Item>) -> Result<Streaming<Item>, Status>;
}

struct Service;

impl Streams for Service {
    async fn responses(&self, order: Order) -> Result<Streaming<Item>, Status> {
        Ok(Streaming::iter(order.items()))
    }

    async fn requests(&self, items: Streaming<Item>) -> Result<Item, Status> {
        let number = count(items).await?;
        Ok(Item {
            number,
            ..Item::default()
        })
    }

    async fn both(&self, items: Streaming<Item>) -> Result<Streaming<Item>, Status> {
        Ok(items)
    }
}

async fn count(mut items: Streaming<Item>) -> Result<u64, Status> {
    let mut received = 0;
    while let Some(item) = items.next().await {
        assert_eq!(item?.number, received);
        received += 1;
    }
    Ok(received)
}

pub(crate) async fn serve(nats: &async_nats::Client) -> RunningServer {
    let server = Server::new(nats.clone()).add_service(StreamsServer::new(Service));
    server.start().await.unwrap()
}

pub(crate) async fn responses(calling: Calling, size: u64) -> Sample {
    let client = StreamsClient::new(calling.nats);
    let order = Order::of(calling.seconds, size, String::new());
    timed(async { count(client.responses(order).await?).await }).await
}

pub(crate) async fn requests(calling: Calling, size: u64) -> Sample {
    let client = StreamsClient::new(calling.nats);
    let items = Streaming::iter(Order::of(calling.seconds, size, String::new()).items());
    timed(async { Ok::<_, Status>(client.requests(items).await?.number) }).await
}

pub(crate) async fn both(calling: Calling, size: u64) -> Sample {
    let client = StreamsClient::new(calling.nats);
    let items = Streaming::iter(Order::of(calling.seconds, size, String::new()).items());
    timed(async { count(client.both(items).await?).await }).await
}

//! Key-Value stores: what a service writes, and all that a client can do with the bucket.

use futures::StreamExt;
use natsmicro::store::{Entry, Operation, StoreErrorKind, WatchEvent};
use natsmicro::testing::NatsServer;
use natsmicro::{Client, Server, Status};

#[derive(Clone, PartialEq, prost::Message)]
pub struct Item {
    #[prost(string, tag = "1")]
    pub sku: String,
    #[prost(uint32, tag = "2")]
    pub count: u32,
}

/// Knows what is in the warehouse.
#[natsmicro::service]
pub trait Stock {
    /// Sets a count. The reply is sent first, and the response is stored behind it: the fastest way.
    #[kv_store(bucket = "stock", key = "item.<sku>", ttl = "1h", max_history = 5)]
    async fn set(&self, item: Item) -> Result<Item, Status>;

    /// Doubles a count. The reply waits until the response is stored: whoever has it can rely on that.
    ///
    /// It shares the bucket with `set`, and must then say the same of the bucket.
    #[kv_store(
        bucket = "stock",
        key = "item.<sku>",
        ttl = "1h",
        max_history = 5,
        persist = "before_response"
    )]
    async fn double(&self, item: Item) -> Result<Item, Status>;

    /// Takes an item out of the range, and its entry out of the bucket.
    #[kv_delete(bucket = "stock", key = "item.<sku>", persist = "before_response")]
    async fn discontinue(&self, item: Item) -> Result<(), Status>;
}

struct Warehouse;

impl Stock for Warehouse {
    async fn set(&self, item: Item) -> Result<Item, Status> {
        Ok(item)
    }

    async fn double(&self, Item { sku, count }: Item) -> Result<Item, Status> {
        let count = count
            .checked_mul(2)
            .ok_or_else(|| Status::out_of_range("that is too many"))?;
        Ok(Item { sku, count })
    }

    async fn discontinue(&self, _item: Item) -> Result<(), Status> {
        Ok(())
    }
}

fn item(sku: &str, count: u32) -> Item {
    let sku = sku.to_owned();
    Item { sku, count }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let nats_server = NatsServer::from_env_or_start().await?;
    let nats = nats_server.connect().await?;
    let jetstream = async_nats::jetstream::new(nats.clone());
    let server = Server::new(nats.clone())
        .with_jetstream(jetstream.clone())
        .on_lost_write(|lost| eprintln!("gave up on the {lost}"))
        .add_service(StockServer::new(Warehouse))
        .start()
        .await?;

    let client = StockClient::new(Client::new(nats).with_jetstream(jetstream.clone()));
    let stock = client.set_kv();

    println!("what the service writes");
    // A watch begins with what is there, says when that is all, and goes on with the changes.
    let mut changes = stock.watch("item.*").await?;
    while let Some(WatchEvent::Entry(_)) = changes.next().await.transpose()? {}
    let reply = client.set(item("bolt", 10)).await?;
    if let Some(WatchEvent::Entry(entry)) = changes.next().await.transpose()? {
        println!("  after_response: the watch shows {}", shown(&entry));
        assert_eq!(entry.value, Some(reply));
    }
    let reply = client.double(item("bolt", 10)).await?;
    let key = StockClient::double_key("bolt")?;
    let stored = client.get_double_from_kv(&key).await?;
    println!("  before_response: stored as soon as the reply is here: {stored:?}");
    assert_eq!(stored, Some(reply));

    println!("what the service deletes");
    client.discontinue(item("bolt", 0)).await?;
    assert_eq!(stock.get(&key).await?, None);
    println!("  before_response: gone as soon as the reply is here");

    println!("what cannot be a key");
    let refused = client.set(item("bolt.secret", 1)).await.unwrap_err();
    println!("  in a request, before the handler runs: {refused}");
    let refused = StockClient::set_key("*").unwrap_err();
    println!("  in a client, before anything is sent: {refused}");
    let refused = client.get_set_from_kv("item.>").await.unwrap_err();
    println!("  as plain text: {refused}");

    println!("create and update");
    let revision = stock.create("item.nut", &item("nut", 1)).await?;
    println!("  created item.nut at revision {revision}");
    let conflict = stock.create("item.nut", &item("nut", 2)).await.unwrap_err();
    assert_eq!(*conflict.kind(), StoreErrorKind::AlreadyExists);
    println!("  created it again: {conflict}");
    let newer = stock.update("item.nut", &item("nut", 2), revision).await?;
    println!("  updated revision {revision} to revision {newer}");
    let conflict = stock
        .update("item.nut", &item("nut", 3), revision)
        .await
        .unwrap_err();
    assert_eq!(*conflict.kind(), StoreErrorKind::WrongRevision);
    println!("  updated revision {revision} again: {conflict}");

    println!("delete and purge");
    stock.delete("item.nut").await?;
    assert_eq!(stock.get("item.nut").await?, None);
    println!("  item.nut has no value; {}", history(&jetstream).await?);
    stock.purge("item.nut").await?;
    let marker = stock.entry("item.nut").await?;
    assert!(marker.is_some_and(|entry| entry.operation == Operation::Purge));
    println!("  item.nut is purged;   {}", history(&jetstream).await?);

    println!("what the watch saw meanwhile");
    while let Some(event) = changes.next().await {
        let WatchEvent::Entry(entry) = event? else {
            continue;
        };
        println!("  {}", shown(&entry));
        if entry.key == "item.nut" && entry.operation == Operation::Purge && entry.revision > newer
        {
            break;
        }
    }

    let stats = server.stats();
    for endpoint in stats.iter().flat_map(|service| &service.endpoints) {
        if let Some(writes) = &endpoint.persistence {
            println!("`{}`: {} writes", endpoint.name, writes.persisted);
        }
    }
    server.stop().await?;
    Ok(())
}

fn shown(entry: &Entry<Item>) -> String {
    let count = entry.value.as_ref().map(|item| item.count);
    format!(
        "{} at revision {}: {:?}, count {count:?}",
        entry.key, entry.revision, entry.operation
    )
}

/// The bucket is an ordinary one: whatever reads NATS reads it, here async-nats.
async fn history(
    jetstream: &async_nats::jetstream::Context,
) -> Result<String, Box<dyn std::error::Error>> {
    let bucket = jetstream.get_key_value("stock").await?;
    let mut revisions = bucket.history("item.nut").await?;
    let mut text = "its history is".to_owned();
    while let Some(entry) = revisions.next().await.transpose()? {
        text.push_str(&format!(" {:?}", entry.operation));
    }
    Ok(text)
}

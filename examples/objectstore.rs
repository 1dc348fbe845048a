//! Object stores: responses of any size, also those that do not fit into a message.

use bytes::Bytes;
use natsmicro::testing::NatsServer;
use natsmicro::{Client, Server, Status};

#[derive(Clone, PartialEq, prost::Message)]
pub struct ReportRequest {
    #[prost(string, tag = "1")]
    pub id: String,
    #[prost(uint64, tag = "2")]
    pub size: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Report {
    #[prost(string, tag = "1")]
    pub title: String,
    #[prost(bytes = "bytes", tag = "2")]
    pub content: Bytes,
}

/// Generates reports.
#[natsmicro::service]
pub trait Reports {
    /// Generates a report, and stores it.
    #[endpoint(timeout = "60s")]
    #[object_store(bucket = "reports", key = "report.<id>", ttl = "1d")]
    async fn generate(&self, request: ReportRequest) -> Result<Report, Status>;
}

struct Generator;

impl Reports for Generator {
    async fn generate(&self, request: ReportRequest) -> Result<Report, Status> {
        let size = usize::try_from(request.size)
            .map_err(|_| Status::out_of_range("that is too large for this machine"))?;
        Ok(Report {
            title: format!("Report {}", request.id),
            content: vec![b'.'; size].into(),
        })
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let nats_server = NatsServer::from_env_or_start().await?;
    let nats = nats_server.connect().await?;
    let jetstream = async_nats::jetstream::new(nats.clone());
    let server = Server::new(nats.clone())
        .with_jetstream(jetstream.clone())
        .add_service(ReportsServer::new(Generator))
        .start()
        .await?;
    let max_payload = nats.server_info().max_payload;
    println!("the NATS server takes messages of up to {max_payload} bytes");

    let client = ReportsClient::new(Client::new(nats).with_jetstream(jetstream));

    // The reply and the object are the same bytes.
    let (id, size) = ("daily".to_owned(), 1000);
    let report = client.generate(ReportRequest { id, size }).await?;
    println!(
        "`{}` came as a reply of {} bytes",
        report.title,
        report.content.len()
    );

    // A response that is too large for a reply is stored first, and then fetched: the call just gives it.
    let (id, size) = ("yearly".to_owned(), 64 * max_payload as u64);
    let mut report = client.generate(ReportRequest { id, size }).await?;
    println!(
        "`{}` did not fit into a reply, and came as an object of {} bytes",
        report.title,
        report.content.len()
    );

    // It can be read again without a call.
    let key = ReportsClient::generate_key("yearly")?;
    let stored = client.get_generate_from_object_store(&key).await?;
    assert_eq!(stored.as_ref(), Some(&report));

    // The client writes to the same store.
    let reports = client.generate_object_store();
    report.title.push_str(", revised");
    reports.put(&key, &report).await?;
    let revised = reports.get(&key).await?;
    println!("replaced it: {:?}", revised.map(|report| report.title));

    reports.delete(&key).await?;
    println!("deleted it: {:?}", reports.get(&key).await?);

    server.stop().await?;
    Ok(())
}

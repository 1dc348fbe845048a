// The default codec without the feature `protobuf`.

use bytes::Bytes;
use natsmicro::Status;

#[natsmicro::service]
pub trait Files {
    async fn save(&self, request: Bytes) -> Result<Bytes, Status>;
}

struct InMemory;

impl Files for InMemory {
    async fn save(&self, request: Bytes) -> Result<Bytes, Status> {
        Ok(request)
    }
}

async fn use_it(nats: async_nats::Client) -> Result<(), Status> {
    let server = natsmicro::Server::new(nats.clone()).add_service(FilesServer::new(InMemory));
    let client = FilesClient::new(nats);
    let file: Bytes = client.save(Bytes::new()).await?;
    drop((server, client, file));
    Ok(())
}

fn main() {}

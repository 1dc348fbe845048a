// A codec of one's own needs no feature.

#![deny(warnings)]

use bytes::Bytes;
use natsmicro::Status;

#[natsmicro::service(codec = natsmicro_ui_tests_without_codecs::Raw)]
pub trait Files {
    async fn save(&self, request: Bytes) -> Result<Bytes, Status>;
}

pub struct InMemory;

impl Files for InMemory {
    async fn save(&self, request: Bytes) -> Result<Bytes, Status> {
        Ok(request)
    }
}

pub async fn use_it(nats: async_nats::Client) -> Result<(), Status> {
    let server = natsmicro::Server::new(nats.clone()).add_service(FilesServer::new(InMemory));
    let client = FilesClient::new(nats);
    let file: Bytes = client.save(Bytes::new()).await?;
    drop((server, client, file));
    Ok(())
}

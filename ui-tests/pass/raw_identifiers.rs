//! Keywords as names.
#![deny(warnings)]

use natsmicro::Status;

#[derive(Clone, PartialEq, prost::Message)]
pub struct Request {
    #[prost(string, tag = "1")]
    pub r#type: String,
    #[prost(string, tag = "2")]
    pub r#gen: String,
}

#[allow(non_camel_case_types)]
#[natsmicro::service(name = "trait")]
pub trait r#trait {
    #[kv_store(bucket = "b", key = "<type>.<r#gen>.{response.type}")]
    async fn r#await(&self, r#in: Request) -> Result<Request, Status>;
}

pub struct Implementation;

impl r#trait for Implementation {
    async fn r#await(&self, r#in: Request) -> Result<Request, Status> {
        Ok(r#in)
    }
}

pub async fn use_it(client: &traitClient) -> Result<(), Box<dyn std::error::Error>> {
    let request: Request = client.r#await(Request::default()).await?;
    client.put_await_to_kv("a.b.c", &request).await?;
    drop(traitServer::new(Implementation));
    Ok(())
}

//! JSON, and a codec of one's own.
#![deny(warnings)]

use natsmicro::{Codec, CodecError, Status};

#[derive(serde::Serialize, serde::Deserialize)]
pub struct Message {
    pub id: u64,
}

#[natsmicro::service(codec = "json")]
pub trait Json {
    #[kv_store(bucket = "b", key = "<id>")]
    async fn echo(&self, message: Message) -> Result<Message, Status>;
    async fn words(
        &self,
        words: Vec<String>,
    ) -> Result<std::collections::HashMap<String, u64>, Status>;
    async fn ping(&self) -> Result<(), Status>;
}

pub struct Text;

impl<T> Codec<T> for Text
where
    T: std::fmt::Display + std::str::FromStr<Err: std::error::Error + Send + Sync + 'static>,
{
    fn encode(message: &T) -> Result<bytes_of::Bytes, CodecError> {
        Ok(message.to_string().into())
    }

    fn decode(payload: bytes_of::Bytes) -> Result<T, CodecError> {
        let text = std::str::from_utf8(&payload).map_err(CodecError::new)?;
        text.parse().map_err(CodecError::new)
    }
}

/// Where the payload's type is, for a crate that does not depend on `bytes`.
mod bytes_of {
    pub(crate) use prost::bytes::Bytes;
}

#[natsmicro::service(codec = crate::Text)]
pub trait Numbers {
    async fn double(&self, number: u64) -> Result<u64, Status>;
}

//! The message and the codec that the cases of `pass/` and `fail/` speak of.

use bytes::Bytes;
use natsmicro::{Codec, CodecError};

/// Messages that are bytes already.
#[derive(Debug)]
pub struct Raw;

impl Codec<Bytes> for Raw {
    fn encode(message: &Bytes) -> Result<Bytes, CodecError> {
        Ok(message.clone())
    }

    fn decode(payload: Bytes) -> Result<Bytes, CodecError> {
        Ok(payload)
    }
}

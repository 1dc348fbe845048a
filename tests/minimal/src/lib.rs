//! A service per codec, with natsmicro's default features switched off: checked by
//! `cargo check -p natsmicro-minimal --features protobuf`, the same with `json`, and with none at all.

/// The default codec.
#[cfg(feature = "protobuf")]
pub mod protobuf {
    use natsmicro::{Context, Status};

    /// A message.
    #[derive(Clone, PartialEq, prost::Message)]
    pub struct Text {
        /// What it says.
        #[prost(string, tag = "1")]
        pub text: String,
    }

    /// Answers with what it is asked.
    #[natsmicro::service]
    pub trait Echo {
        /// Answers with the same text.
        async fn echo(&self, cx: &Context, request: Text) -> Result<Text, Status>;
    }
}

/// Messages by serde.
#[cfg(feature = "json")]
pub mod json {
    use natsmicro::Status;

    /// A message.
    #[derive(Debug, serde::Serialize, serde::Deserialize)]
    pub struct Text {
        /// What it says.
        pub text: String,
    }

    /// Answers with what it is asked.
    #[natsmicro::service(codec = "json")]
    pub trait Echo {
        /// Answers with the same text.
        async fn echo(&self, request: Text) -> Result<Text, Status>;
    }
}

/// A codec of one's own needs none of the features.
pub mod own {
    use bytes::Bytes;
    use natsmicro::{Client, Codec, CodecError, Server, StartError, Status};

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

    /// Answers with what it is asked.
    #[natsmicro::service(codec = Raw)]
    pub trait Echo {
        /// Answers with the same bytes.
        async fn echo(&self, request: Bytes) -> Result<Bytes, Status>;
    }

    struct Same;

    impl Echo for Same {
        async fn echo(&self, request: Bytes) -> Result<Bytes, Status> {
            Ok(request)
        }
    }

    /// Starts the service and makes a client of it.
    pub async fn start(
        nats: async_nats::Client,
    ) -> Result<(natsmicro::RunningServer, EchoClient), StartError> {
        let client = EchoClient::new(Client::new(nats.clone()));
        let server = Server::new(nats)
            .add_service(EchoServer::new(Same))
            .start()
            .await?;
        Ok((server, client))
    }
}

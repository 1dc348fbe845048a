//! User types with the names that generated code could rely on.
#![deny(warnings)]
#![allow(dead_code)]

macro_rules! shadows {
    ($($name:ident)*) => { $(#[derive(Clone, Debug)] pub struct $name;)* };
}

shadows!(Result Ok Err Some None Option Vec Send Sync Future Into AsRef Error Call Key Json Protobuf Context Client Server);

/// Neither std's nor ours.
#[derive(Clone, PartialEq, prost::Message)]
pub struct String {
    #[prost(uint64, tag = "1")]
    pub id: u64,
}

pub enum Status {}

/// A message: there is no type of messages behind its name.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Streaming {}

#[natsmicro::service]
pub trait Users {
    #[kv_store(bucket = "users", key = "user.<id>")]
    #[object_store(bucket = "users", key = "user.<response.id>")]
    #[endpoint(validate = request)]
    async fn save(&self, request: String) -> natsmicro::Result<String>;
    #[endpoint(validate = into_status)]
    async fn stop(&self, request: Streaming) -> natsmicro::Result<Streaming>;
    async fn all(
        &self,
        strings: natsmicro::Streaming<String>,
    ) -> natsmicro::Result<natsmicro::Streaming<Streaming>>;
}

fn request(_: &String) -> core::result::Result<(), natsmicro::Status> {
    core::result::Result::Ok(())
}

fn into_status(_: &Streaming) -> core::result::Result<(), natsmicro::Status> {
    core::result::Result::Ok(())
}

pub struct S;

impl Users for S {
    async fn save(&self, request: String) -> natsmicro::Result<String> {
        core::result::Result::Ok(request)
    }

    async fn stop(&self, request: Streaming) -> natsmicro::Result<Streaming> {
        core::result::Result::Ok(request)
    }

    async fn all(
        &self,
        strings: natsmicro::Streaming<String>,
    ) -> natsmicro::Result<natsmicro::Streaming<Streaming>> {
        drop(strings);
        core::result::Result::Err(natsmicro::Status::internal("none"))
    }
}

pub fn server() -> UsersServer<S> {
    UsersServer::new(S)
}

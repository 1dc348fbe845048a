//! Requests to the API of JetStream for which async-nats has no function of its own.

use async_nats::jetstream::response::Response;
use async_nats::jetstream::{Context, Error};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::store::error::StoreError;
use crate::transport::gate::Gate;
use crate::transport::refused::unless_refused;

/// Makes a request, whose `name` is the subject below the prefix of the API. The inner error is the answer of the server.
pub(crate) async fn request<T: DeserializeOwned>(
    gate: &Gate,
    context: &Context,
    name: &str,
    payload: &(impl Serialize + ?Sized),
    failed: &'static str,
) -> Result<Result<T, Error>, StoreError> {
    let answer = context.request::<_, _, Response<T>>(name.to_owned(), payload);
    let answer = unless_refused(gate, name, answer).await?;
    match answer.map_err(|error| StoreError::nats(failed, error))? {
        Response::Ok(answer) => Ok(Ok(answer)),
        Response::Err { error } => Ok(Err(error)),
    }
}

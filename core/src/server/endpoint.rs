//! What all calls of one endpoint share: names, settings, counters and stores; and the deadline of a call.
//!
//! An endpoint has no connection, so the pipeline can run without one.

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use async_nats::HeaderMap;
use tokio::time::Instant;

use crate::context::{EndpointContext, Names};
use crate::descriptor::method::MethodSettings;
use crate::descriptor::service::DEFAULT_TIMEOUT;
use crate::log::error_limited;
use crate::persist::Stores;
use crate::server::stats::Counters;
use crate::status::Status;
use crate::transport::headers;

/// One method of a running service. The dispatcher sends and receives for it.
#[derive(Debug)]
pub(crate) struct Endpoint {
    pub(crate) context: Arc<EndpointContext>,
    pub(crate) subject: String,
    pub(crate) queue_group: Option<&'static str>,
    pub(crate) settings: MethodSettings,
    /// The timeout of the method, or else that of the service, which does not apply to streams.
    pub(crate) timeout: Option<Duration>,
    pub(crate) counters: Counters,
    pub(crate) stores: Stores,
}

impl Endpoint {
    pub(crate) fn names(&self) -> &Arc<Names> {
        &self.context.names
    }

    /// When a request must be answered: the timeout of the endpoint or that of the caller after its arrival, whichever is shorter. If
    /// neither has a timeout, a call that has started has no deadline, and a request expires when it has waited for the default timeout.
    pub(crate) fn deadline(
        &self,
        received: Instant,
        now: Instant,
        headers: Option<&HeaderMap>,
    ) -> Option<Instant> {
        let announced = headers
            .and_then(|headers| headers.get(headers::TIMEOUT))
            .and_then(|value| value.as_str().parse().ok())
            .map(Duration::from_millis);
        let timeout = match (self.timeout, announced) {
            (Some(own), Some(announced)) => own.min(announced),
            (None, None) if now - received < DEFAULT_TIMEOUT => return None,
            (own, announced) => own.or(announced).unwrap_or(DEFAULT_TIMEOUT),
        };
        received.checked_add(timeout)
    }

    /// Logs a panic and returns the status for it, without the text of the panic: that may hold data of the service.
    pub(crate) fn panicked(&self, panic: &(dyn Any + Send)) -> Status {
        let text = panic
            .downcast_ref::<&str>()
            .copied()
            .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
            .unwrap_or("(no text)");
        error_limited!(
            service = self.names().service,
            endpoint = self.names().endpoint,
            panic = text,
            "a handler panicked"
        );
        Status::internal("the service failed to handle the request")
    }
}

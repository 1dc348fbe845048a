//! A server for as long as a program wants it: start, wait for a signal or the loss of the connection, stop.

use crate::error::Error;
use crate::server::Server;
use crate::server::losses::{ConnectionLost, Losses};
use crate::transport::gate::Gate;
use crate::transport::subject::ReplySubjects;

/// Why [`Server::serve_until`] ended otherwise than by its signal, or lost something.
pub type ServeError = Error<ServeErrorKind>;

/// The kinds of [`ServeError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ServeErrorKind {
    /// The server did not start; the source is a [`StartError`](crate::StartError).
    Start,
    /// The connection was lost for good, perhaps while the server started; the source is a [`ConnectionLost`]. Connect and serve again.
    ConnectionLost,
    /// The stop has lost something; the source is a [`StopError`](crate::StopError).
    Stop,
}

impl ServeError {
    /// What was lost with the connection, if the kind is [`ConnectionLost`](ServeErrorKind::ConnectionLost).
    #[must_use]
    pub fn connection_lost(&self) -> Option<&ConnectionLost> {
        std::error::Error::source(self)?.downcast_ref()
    }
}

impl Server {
    /// Starts the server, waits for `signal`, and stops it: what most programs do. Ends within a second when the connection is lost for
    /// good, in which case only a new connection helps. An interrupted connection is not lost; async-nats connects again.
    ///
    /// A signal that comes before the server has started ends the start.
    ///
    /// A program that is to go on whatever happens serves in a loop:
    ///
    /// ```no_run
    /// use natsmicro::{Server, ServeErrorKind};
    /// # use natsmicro::Status;
    /// # #[natsmicro::service]
    /// # pub trait Users { async fn ping(&self) -> Result<(), Status>; }
    /// # #[derive(Clone)]
    /// # struct Impl;
    /// # impl Users for Impl { async fn ping(&self) -> Result<(), Status> { Ok(()) } }
    ///
    /// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
    /// loop {
    ///     // While NATS is away, the program ends here, and whoever runs it starts it again.
    ///     let nats = async_nats::connect("localhost").await?;
    ///     let server = Server::new(nats).add_service(UsersServer::new(Impl));
    ///     match server.serve_until(tokio::signal::ctrl_c()).await {
    ///         Err(error) if *error.kind() == ServeErrorKind::ConnectionLost => {
    ///             eprintln!("{error}, serving again");
    ///         }
    ///         ended => return Ok(ended?),
    ///     }
    /// }
    /// # }
    /// ```
    pub async fn serve_until<F: Future>(self, signal: F) -> Result<(), ServeError> {
        let mut signal = std::pin::pin!(signal);
        let gate = Gate::new(self.nats.clone(), ReplySubjects::default(), None);
        let started = tokio::select! {
            started = self.start() => started,
            _ = &mut signal => return Ok(()),
        };
        let server = started.map_err(|error| {
            if gate.is_closed() {
                let lost = Losses::default().into_connection_lost();
                failed(ServeErrorKind::ConnectionLost, lost)
            } else {
                failed(ServeErrorKind::Start, error)
            }
        })?;
        tokio::select! {
            closed = server.closed() => {
                closed.map_err(|lost| failed(ServeErrorKind::ConnectionLost, lost))
            }
            _ = &mut signal => {
                let stopped = server.stop().await;
                stopped.map_err(|losses| failed(ServeErrorKind::Stop, losses))
            }
        }
    }
}

fn failed(
    kind: ServeErrorKind,
    source: impl std::error::Error + Send + Sync + 'static,
) -> ServeError {
    let text = match kind {
        ServeErrorKind::Start => "the server did not start",
        ServeErrorKind::ConnectionLost => "the connection to NATS is lost",
        ServeErrorKind::Stop => "the server stopped with losses",
    };
    Error::new(kind, text).with_source(source)
}

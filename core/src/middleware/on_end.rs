//! The functions that are told how a reply, or its stream, has ended.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures::{Stream, StreamExt};

use crate::log::error_limited;
use crate::status::Status;

type Told = Box<dyn FnOnce(&Result<(), Status>) + Send>;

/// Invariant: each function is called once, at the latest when this is dropped.
#[derive(Default)]
pub(crate) struct OnEnd(Vec<Told>);

impl OnEnd {
    pub(crate) fn push(&mut self, told: impl FnOnce(&Result<(), Status>) + Send + 'static) {
        self.0.push(Box::new(told));
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Tells the outcome. Costs nothing if nobody is to be told.
    pub(crate) fn end<T>(&mut self, result: &Result<T, Status>) {
        if self.is_empty() {
            return;
        }
        let result = result.as_ref().map(drop).map_err(Status::clone);
        for told in std::mem::take(&mut self.0) {
            if catch_unwind(AssertUnwindSafe(|| told(&result))).is_err() {
                error_limited!("a function given to `Reply::on_end` panicked");
            }
        }
    }

    /// Passes on `messages`, and tells their end.
    pub(crate) fn watch<T: 'static>(
        self,
        messages: impl Stream<Item = Result<T, Status>> + Send + Unpin + 'static,
    ) -> impl Stream<Item = Result<T, Status>> + Send + Unpin + 'static {
        Watched {
            messages,
            on_end: self,
            failed: None,
        }
    }
}

impl Drop for OnEnd {
    fn drop(&mut self) {
        if !self.is_empty() {
            self.end::<()>(&Err(Status::cancelled("the reply was dropped")));
        }
    }
}

impl fmt::Debug for OnEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} functions", self.0.len())
    }
}

/// A stream whose end is told.
struct Watched<S> {
    messages: S,
    on_end: OnEnd,
    /// The last item, if it was an error. A stream may go on after one, so only its end tells whether it was the last.
    failed: Option<Status>,
}

impl<T, S: Stream<Item = Result<T, Status>> + Unpin> Stream for Watched<S> {
    type Item = Result<T, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let item = ready!(self.messages.poll_next_unpin(cx));
        match &item {
            Some(Ok(_)) => self.failed = None,
            Some(Err(status)) => self.failed = Some(status.clone()),
            None => {
                let result = self.failed.take().map_or(Ok(()), Err);
                self.on_end.end(&result);
            }
        }
        Poll::Ready(item)
    }
}

impl<S> Drop for Watched<S> {
    fn drop(&mut self) {
        // Many readers stop at the first error.
        if let Some(failed) = self.failed.take() {
            self.on_end.end::<()>(&Err(failed));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    type Ends = Arc<Mutex<Vec<Result<(), Status>>>>;

    fn recorded() -> (OnEnd, Ends) {
        let (mut on_end, ends) = (OnEnd::default(), Ends::default());
        let record = Arc::clone(&ends);
        on_end.push(|_| panic!("the others are told all the same"));
        on_end.push(move |result| record.lock().unwrap().push(result.clone()));
        (on_end, ends)
    }

    fn ends(ends: &Ends) -> Vec<Result<(), Status>> {
        ends.lock().unwrap().clone()
    }

    #[tokio::test]
    async fn the_end_of_a_stream_is_told_once() {
        let failed = Status::data_loss("lost");
        let items = |items: Vec<Result<u8, Status>>| futures::stream::iter(items);

        let (on_end, told) = recorded();
        let mut read = on_end.watch(items(vec![Ok(1), Ok(2)]));
        while read.next().await.is_some() {
            assert_eq!(ends(&told), []);
        }
        assert!(read.next().await.is_none());
        drop(read);
        assert_eq!(ends(&told), [Ok(())]);

        let (on_end, told) = recorded();
        let mut failing = on_end.watch(items(vec![Ok(1), Err(failed.clone())]));
        failing.next().await;
        failing.next().await;
        drop(failing);
        assert_eq!(ends(&told), [Err(failed.clone())]);

        let (on_end, told) = recorded();
        let mut goes_on = on_end.watch(items(vec![Err(failed), Ok(1)]));
        while goes_on.next().await.is_some() {}
        assert_eq!(ends(&told), [Ok(())]);

        let (on_end, told) = recorded();
        drop(on_end.watch(items(vec![Ok(1)])));
        assert_eq!(ends(&told).len(), 1);
        assert_eq!(
            ends(&told)[0].as_ref().unwrap_err().code(),
            &crate::status::Code::Cancelled
        );
    }
}

//! How the error of a layer becomes a [`Status`].

use std::error::Error;

use crate::error::chain;
use crate::log::error_limited;
use crate::status::Status;

/// Any error of a layer.
pub type BoxError = Box<dyn Error + Send + Sync + 'static>;

/// The status of an error: the first one in its chain of sources that has one.
pub(super) fn status(error: impl Into<BoxError>) -> Status {
    let error = error.into();
    let error = match error.downcast::<Status>() {
        Ok(status) => return *status,
        Err(error) => error,
    };
    let mut next: Option<&(dyn Error + 'static)> = Some(&*error);
    while let Some(source) = next {
        if let Some(status) = known(source) {
            return status;
        }
        next = source.source();
    }
    error_limited!(error = chain(&*error), "a layer failed");
    // Without the text, which may hold data of the service.
    Status::internal("the call failed in a layer")
}

fn known(error: &(dyn Error + 'static)) -> Option<Status> {
    if let Some(status) = error.downcast_ref::<Status>() {
        return Some(status.clone());
    }
    if error.is::<tower::timeout::error::Elapsed>() {
        let text = "the call took longer than a layer allows";
        return Some(Status::deadline_exceeded(text));
    }
    if error.is::<tower::load_shed::error::Overloaded>() {
        let text = "too many calls: a layer sheds load";
        return Some(Status::resource_exhausted(text));
    }
    None
}

#[cfg(test)]
mod tests {
    use std::{fmt, io};

    use super::*;
    use crate::status::Code;

    #[derive(Debug)]
    struct Wrapped(BoxError);

    impl fmt::Display for Wrapped {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("wrapped")
        }
    }

    impl Error for Wrapped {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            Some(&*self.0)
        }
    }

    #[test]
    fn a_status_is_found_in_the_chain_of_sources() {
        let locked = Status::new("USER_LOCKED", "try later").with_details("tomorrow");
        assert_eq!(status(locked.clone()), locked);
        let deep = Wrapped(Box::new(Wrapped(Box::new(locked.clone()))));
        assert_eq!(status(deep), locked);
    }

    #[test]
    fn the_errors_of_tower_have_a_code_and_others_tell_nothing() {
        let elapsed = tower::timeout::error::Elapsed::new();
        assert_eq!(status(elapsed).code(), &Code::DeadlineExceeded);
        let overloaded = Wrapped(Box::new(tower::load_shed::error::Overloaded::new()));
        assert_eq!(status(overloaded).code(), &Code::ResourceExhausted);
        let other = status(io::Error::other("password=1234"));
        assert_eq!(other.code(), &Code::Internal);
        assert!(!other.message().contains("1234"), "{other}");
    }
}

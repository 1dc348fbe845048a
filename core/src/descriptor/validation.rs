//! What `#[endpoint(validate = ..)]` calls, and what its error is for the caller.

use std::any::Any;
use std::error::Error;

use crate::status::Status;

/// Validates a request. The second argument turns the error of the method into a status.
pub(crate) type Validation<Req, E> = fn(&Req, fn(E) -> Status) -> Result<(), Status>;

/// What a function that `validate` names returns.
#[diagnostic::on_unimplemented(
    message = "the function of `validate` must return a `Result<(), E>`, not `{Self}`",
    label = "this function returns no `Result<(), E>`",
    note = "write a function that is not `async` and returns `Result<(), E>`, where `E` implements `std::error::Error`"
)]
pub trait Validated {
    /// Why a request is refused.
    type Error: ValidationError;

    /// As the `Result` that it is.
    fn into_result(self) -> Result<(), Self::Error>;
}

impl<V: ValidationError> Validated for Result<(), V> {
    type Error = V;

    fn into_result(self) -> Self {
        self
    }
}

/// The error of a function that `validate` names.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be the error of `validate`",
    label = "this function fails with `{Self}`",
    note = "return the error of the method, `natsmicro::Status`, or a type that implements `std::error::Error`"
)]
pub trait ValidationError: 'static {
    /// What the caller is told if the error is of no type that has a status.
    fn text(&self) -> String;
}

#[diagnostic::do_not_recommend]
impl<V: Error + 'static> ValidationError for V {
    fn text(&self) -> String {
        self.to_string()
    }
}

/// What the caller is told of a validation. The error `E` of the method and a [`Status`] are told as they are.
pub fn validated<E: 'static>(
    validated: impl Validated,
    into_status: fn(E) -> Status,
) -> Result<(), Status> {
    validated.into_result().map_err(|error| {
        let mut error = Some(error);
        if let Some(error) = take::<E>(&mut error) {
            return into_status(error);
        }
        if let Some(status) = take::<Status>(&mut error) {
            return status;
        }
        let text = error.map(|error| error.text()).unwrap_or_default();
        // A report ends each of its lines.
        Status::invalid_argument(text.trim_end())
    })
}

/// Takes the value if it is a `T`.
fn take<T: 'static>(value: &mut dyn Any) -> Option<T> {
    value.downcast_mut::<Option<T>>()?.take()
}

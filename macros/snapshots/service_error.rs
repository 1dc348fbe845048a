#[allow(deprecated)]
impl ::natsmicro::ServiceError for OrderError {
    fn into_status(self) -> ::natsmicro::Status {
        let message = <Self as ::natsmicro::__private::ErrorText>::text(&self);
        match self {
            Self::NotFound {} => {
                ::natsmicro::__private::ErrorBody::new()
                    .into_status("NOT_FOUND", message)
            }
            Self::Expired { id: field_0, hours: field_1 } => {
                ::natsmicro::__private::ErrorBody::new()
                    .field(
                        "id",
                        <String as ::natsmicro::__private::ErrorField>::write(&field_0),
                    )
                    .field(
                        "hours",
                        <u32 as ::natsmicro::__private::ErrorField>::write(&field_1),
                    )
                    .into_status("ORDER_EXPIRED", message)
            }
            #[cfg(feature = "limits")]
            Self::TooMany { 0: field_0, 1: field_1 } => {
                ::natsmicro::__private::ErrorBody::new()
                    .field(
                        "0",
                        <u32 as ::natsmicro::__private::ErrorField>::write(&field_0),
                    )
                    .field(
                        "1",
                        <u32 as ::natsmicro::__private::ErrorField>::write(&field_1),
                    )
                    .into_status("TOO_MANY_ORDERS", message)
            }
            Self::Other(status) => {
                <Status as ::natsmicro::__private::AnyStatus>::into_status(status)
            }
        }
    }
    fn from_status(status: ::natsmicro::Status) -> Self {
        let decoded: ::core::option::Option<Self> = match ::natsmicro::Code::as_str(
            ::natsmicro::Status::code(&status),
        ) {
            "NOT_FOUND" => ::core::option::Option::Some(Self::NotFound {}),
            "ORDER_EXPIRED" => {
                ::natsmicro::__private::ErrorFields::parse(&status)
                    .and_then(|fields| ::core::option::Option::Some(Self::Expired {
                        id: <String as ::natsmicro::__private::ErrorField>::read(
                            &fields,
                            "id",
                        )?,
                        hours: <u32 as ::natsmicro::__private::ErrorField>::read(
                            &fields,
                            "hours",
                        )?,
                    }))
            }
            #[cfg(feature = "limits")]
            "TOO_MANY_ORDERS" => {
                ::natsmicro::__private::ErrorFields::parse(&status)
                    .and_then(|fields| ::core::option::Option::Some(Self::TooMany {
                        0: <u32 as ::natsmicro::__private::ErrorField>::read(
                            &fields,
                            "0",
                        )?,
                        1: <u32 as ::natsmicro::__private::ErrorField>::read(
                            &fields,
                            "1",
                        )?,
                    }))
            }
            _ => ::core::option::Option::None,
        };
        match decoded {
            ::core::option::Option::Some(error) => error,
            ::core::option::Option::None => {
                Self::Other(
                    <Status as ::natsmicro::__private::AnyStatus>::from_status(status),
                )
            }
        }
    }
}

//! The macros of `natsmicro`. Depend on `natsmicro`, which exports them and explains their settings.
//!
//! # How `#[service]` works
//!
//! Two token streams come in, the settings and the trait, and go through these phases, one module each. No phase stops at a mistake:
//! each takes `&mut Diagnostics` and returns what it could make out. A file uses files of its own phase and of those before it, never
//! one of a later phase, and there is no circle among the files; a test says so.
//!
//! 1. `diag` (mistakes), `names` (the grammar of names), `krate` (the path of the runtime), `attribute` (the attributes by name), `key`
//!    (templates of store keys), `description` (the documentation of the trait) and `placement` (attributes in the wrong place) use nothing
//!    but each other.
//! 2. `args` reads the settings of one attribute, each by itself.
//! 3. `model` is what the macro knows of a service: checked settings as plain values, stores, and the functions that are generated for
//!    them.
//! 4. `parse` makes the model of the trait, and holds the rules between two settings of one attribute.
//! 5. `validate` holds the rules between two attributes and between two methods.
//! 6. `expand` writes the trait, the descriptor, the server and the client. After a mistake it writes the same signatures with
//!    nothing behind them, so that one mistake is one error.
//!
//! At the end `diag` adds a `compile_error!` for each mistake, in the order of the source. `service_error` is the derive macro, with
//! phases of its own; of the above it uses `args` and what stands before it.
//!
//! With `NATSMICRO_DEBUG=1` in the environment of the compiler, every expansion is printed to stderr.

#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]
#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::too_many_lines
    )
)]

mod args;
mod attribute;
#[cfg(test)]
mod circles_tests;
mod description;
mod diag;
mod expand;
mod key;
mod krate;
mod model;
mod names;
mod parse;
mod placement;
mod service_error;
#[cfg(test)]
mod snapshot_tests;
mod validate;

use proc_macro::TokenStream;
use proc_macro2::TokenStream as TokenStream2;
use syn::ItemTrait;

use attribute::{AttrName, StoreKind};
use diag::Diagnostics;

/// Makes a NATS micro-service of a trait.
///
/// The trait stays as it is written and is implemented with plain `async fn`s. Next to a trait `UserService` there are then
///
/// * `UserServiceServer<S>`, which serves an implementation: `Server::new(nats).add_service(UserServiceServer::new(users))`,
/// * `UserServiceClient`, which calls the service, implements `UserService` itself, and reads and writes its stores,
/// * `UserServiceDescriptor`, the names, settings and message types that both are made from.
///
/// ```
/// use natsmicro::{Context, Status};
///
/// # #[derive(Clone, PartialEq, prost::Message)] pub struct SaveProfileRequest { #[prost(string, tag = "1")] pub id: String }
/// # #[derive(Clone, PartialEq, prost::Message)] pub struct Profile { #[prost(string, tag = "1")] pub id: String }
/// # #[derive(Clone, PartialEq, prost::Message)] pub struct ReportRequest { #[prost(string, tag = "1")] pub id: String }
/// # #[derive(Clone, PartialEq, prost::Message)] pub struct Report { #[prost(string, tag = "1")] pub text: String }
/// /// Stores user profiles.
/// #[natsmicro::service(subject_prefix = "api.v1", version = "1.2.0", timeout = "30s")]
/// pub trait UserService {
///     /// Saves a profile.
///     #[kv_store(bucket = "user_profiles", key = "user.<id>", ttl = "1h")]
///     async fn save_profile(&self, request: SaveProfileRequest) -> Result<Profile, Status>;
///
///     #[endpoint(timeout = "60s")]
///     async fn report(&self, cx: &Context, request: ReportRequest) -> Result<Report, Status>;
/// }
/// ```
///
/// # Methods
///
/// A method is `async`, takes `&self`, then a `&Context` if it wants one, then at most one request, and returns a `Result` of a
/// response and an error that implements `ServiceError`. Request and response are each a message or a `Streaming` of messages:
///
/// | signature | who streams |
/// | --- | --- |
/// | `async fn save(&self, request: User) -> Result<Saved, Status>` | nobody |
/// | `async fn ping(&self) -> Result<(), Status>` | nobody; neither has anything to say |
/// | `async fn count_up(&self, request: CountRequest) -> Result<Streaming<Count>, Status>` | the service |
/// | `async fn sum(&self, numbers: Streaming<Number>) -> Result<Total, Status>` | the client |
/// | `async fn chat(&self, lines: Streaming<Line>) -> Result<Streaming<Line>, Status>` | both, at the same time |
///
/// A stream is known by its name: it is written `Streaming<T>`, not as an alias. [`#[stream]`](macro@stream) sets its window.
/// The response of a method that streams cannot be stored.
///
/// # Default bodies
///
/// A method may have a body. An implementation that leaves the method out serves that body, so that a method which is added to a trait
/// later breaks no implementation of it, and a fake in a test implements only what the test calls. The body may call the other methods of
/// the trait, and take its request apart in its parameters.
///
/// ```
/// # use natsmicro::Status;
/// # #[derive(Clone, PartialEq, prost::Message)] pub struct FindUser { #[prost(string, tag = "1")] pub id: String }
/// # #[derive(Clone, PartialEq, prost::Message)] pub struct User { #[prost(string, tag = "1")] pub name: String }
/// #[natsmicro::service]
/// pub trait Users {
///     async fn find(&self, request: FindUser) -> Result<User, Status>;
///
///     /// Added in version 1.3.
///     async fn delete(&self, _request: FindUser) -> Result<(), Status> {
///         Err(Status::unimplemented("users cannot be deleted here"))
///     }
/// }
///
/// struct Fake;
///
/// impl Users for Fake {
///     async fn find(&self, request: FindUser) -> Result<User, Status> {
///         Ok(User { name: request.id })
///     }
/// }
/// ```
///
/// The client calls the service also for a method with a body. Where all instances were built before the method was added, the call fails
/// with `UNAVAILABLE`, since nobody listens on its subject. Only the body of a method with `#[endpoint(skip)]` runs in the client.
///
/// # Settings
///
/// | setting | default | meaning |
/// | --- | --- | --- |
/// | `name = "Users"` | the trait's name | the name under which the service is discovered |
/// | `version = "1.2.0"` | `"1.0.0"` | its semantic version |
/// | `description = ".."` | the first paragraph of the trait's documentation | what it says about itself |
/// | `subject_prefix = "api.v1"` | the trait's name in snake case | what the subjects of its endpoints begin with |
/// | `timeout = "30s"` | none | how long a handler may take |
/// | `codec = "json"` | `"protobuf"` | how messages become bytes: `"protobuf"`, `"json"` or the path of a type |
/// | `metadata(team = "platform")` | none | what discovery shows besides |
/// | `queue_group = "workers"` | `"q"` | which group shares the requests; `false`: every instance gets each |
/// | `skip` | off | declare the trait and generate nothing else |
/// | `crate = ::natsmicro` | `::natsmicro` | where the runtime is |
///
/// The methods take [`#[endpoint]`](macro@endpoint), [`#[stream]`](macro@stream), [`#[kv_store]`](macro@kv_store),
/// [`#[object_store]`](macro@object_store) and [`#[kv_delete]`](macro@kv_delete), which need not be imported.
///
/// A method `save` with a store also gets functions of the client that read and write it, and `save_cached(request)`, which takes
/// the response from the store if it is there and calls the service otherwise. There is no `save_cached` if the keys of its stores
/// have fields of the response, `<response.id>`: what is not known before the call cannot be looked up.
///
/// What compiles but can hardly be meant, such as a store in which every response overwrites the last, is a warning. Stable macros
/// can only warn of something `deprecated`; `#[allow(deprecated)]` on the method says that it is meant.
///
/// Other attribute macros on the trait, such as `#[mockall::automock]`, go below `#[service]`, which must read the methods as they are
/// written. `#[async_trait]` goes neither on the trait nor on its implementations.
///
/// The trait is not `dyn` compatible, because its methods are `async`; write `impl UserService` or a type parameter instead.
#[proc_macro_attribute]
pub fn service(args: TokenStream, item: TokenStream) -> TokenStream {
    debug(expand_service(args.into(), &item.into())).into()
}

/// Settings of one method of a [`#[service]`](macro@service) trait.
///
/// ```
/// # use natsmicro::Status;
/// # #[derive(Clone, PartialEq, prost::Message)] pub struct SaveProfileRequest { #[prost(string, tag = "1")] pub id: String }
/// # #[derive(Clone, PartialEq, prost::Message)] pub struct Profile { #[prost(string, tag = "1")] pub id: String }
/// # #[natsmicro::service] pub trait Service {
/// #[endpoint(name = "save", timeout = "60s", metadata(operation = "write"))]
/// async fn save_profile(&self, request: SaveProfileRequest) -> Result<Profile, Status>;
/// # }
/// ```
///
/// | setting | default | meaning |
/// | --- | --- | --- |
/// | `name = "save"` | the method's name | the last token of the subject |
/// | `proto_name = "SaveProfile"` | none | the name as a `.proto` file has it; the endpoint gets it in snake case |
/// | `timeout = "60s"` | the service's; none for a stream | how long the handler may take; a stream is over with it |
/// | `metadata(operation = "write")` | none | what discovery shows besides |
/// | `queue_group = "workers"` | the service's | which group shares the requests; `false`: every instance gets each |
/// | `max_in_flight = 64` | 1024, or 10,000 streams | how many requests are handled, or streams open, at once; `1`: in order |
/// | `idempotent` | off | a call may be handled more than once, so that a client with a `Retry` may send it again after a failure |
/// | `skip` | off | keep the method off NATS; through the client it runs its default body, or answers `UNIMPLEMENTED` without one |
/// | `validate = check` | none | the function that refuses requests before the handler, `fn(&Request) -> Result<(), E>` |
///
/// The timeout counts from the arrival of a request. What waits for its turn until then, because of `max_in_flight`, gets
/// `DEADLINE_EXCEEDED` without a handler; where neither the method nor the caller says how long, it waits for 10 seconds, as callers
/// do. Give a method whose requests may wait for longer a `timeout`.
///
/// # Validation
///
/// The function that `validate` names is called by the service, never by the client, with each decoded request. What it refuses reaches
/// neither the handler nor the stores. It is called for each message of a `Streaming`, when the handler reads it, and the first message
/// that is refused ends the stream: the handler reads the error as its last item.
///
/// The error implements `std::error::Error`. If it is the error of the method or a `Status`, the caller gets it as it is, a `ServiceError`
/// with its code and fields. Any other becomes `INVALID_ARGUMENT` with its text. A panic is `INTERNAL`, as that of a handler.
///
/// ```
/// # use natsmicro::Status;
/// # #[derive(Clone, PartialEq, prost::Message)] pub struct Profile { #[prost(string, tag = "1")] pub id: String }
/// #[derive(Clone, PartialEq, prost::Message)]
/// pub struct SaveProfileRequest {
///     #[prost(string, tag = "1")]
///     pub id: String,
/// }
///
/// fn check(request: &SaveProfileRequest) -> Result<(), Status> {
///     if request.id.is_empty() {
///         return Err(Status::invalid_argument("a profile needs an id"));
///     }
///     Ok(())
/// }
///
/// #[natsmicro::service]
/// pub trait Profiles {
///     #[endpoint(validate = check)]
///     async fn save_profile(&self, request: SaveProfileRequest) -> Result<Profile, Status>;
/// }
/// ```
///
/// The rules of [`garde`](https://docs.rs/garde):
///
/// ```
/// # use natsmicro::Status;
/// # #[derive(Clone, PartialEq, prost::Message)] pub struct Profile { #[prost(string, tag = "1")] pub id: String }
/// #[derive(Clone, PartialEq, prost::Message, garde::Validate)]
/// pub struct SaveProfileRequest {
///     #[prost(string, tag = "1")]
///     #[garde(ascii, length(min = 1, max = 64))]
///     pub id: String,
/// }
///
/// #[natsmicro::service]
/// pub trait Profiles {
///     #[endpoint(validate = garde::Validate::validate)]
///     async fn save_profile(&self, request: SaveProfileRequest) -> Result<Profile, Status>;
/// }
/// ```
///
/// Those of [`validator`](https://docs.rs/validator):
///
/// ```
/// # use natsmicro::Status;
/// # #[derive(Clone, PartialEq, prost::Message)] pub struct Profile { #[prost(string, tag = "1")] pub id: String }
/// #[derive(Clone, PartialEq, prost::Message, validator::Validate)]
/// pub struct SaveProfileRequest {
///     #[prost(string, tag = "1")]
///     #[validate(length(min = 1, max = 64))]
///     pub id: String,
/// }
///
/// #[natsmicro::service]
/// pub trait Profiles {
///     #[endpoint(validate = validator::Validate::validate)]
///     async fn save_profile(&self, request: SaveProfileRequest) -> Result<Profile, Status>;
/// }
/// ```
#[proc_macro_attribute]
pub fn endpoint(_args: TokenStream, item: TokenStream) -> TokenStream {
    placement::helper_elsewhere(AttrName::Endpoint, &item.into()).into()
}

/// How a method of a [`#[service]`](macro@service) trait streams.
///
/// ```
/// # use natsmicro::{Status, Streaming};
/// # #[derive(Clone, PartialEq, prost::Message)] pub struct CountRequest { #[prost(uint64, tag = "1")] pub up_to: u64 }
/// # #[derive(Clone, PartialEq, prost::Message)] pub struct Count { #[prost(uint64, tag = "1")] pub number: u64 }
/// # #[natsmicro::service] pub trait Counter {
/// #[stream(window = 4096, window_bytes = "4MiB")]
/// async fn count_up(&self, request: CountRequest) -> Result<Streaming<Count>, Status>;
/// # }
/// ```
///
/// The window bounds how far the sender may be ahead of the reader: in messages and in bytes of encoded messages, whichever is reached
/// first. It holds for each stream of the method, in each direction. The client sets the window of the responses and the service that
/// of the requests, each as its own trait says. Peers that do not speak the flow control of this crate are not bound by it.
///
/// A larger window is faster where the other side is far away, and holds more messages where it is slow. How many streams of a
/// method are open at once is [`#[endpoint(max_in_flight = ..)]`](macro@endpoint).
///
/// | setting | default | meaning |
/// | --- | --- | --- |
/// | `window = 4096` | 1024 | how many messages the sender may be ahead of the reader: 1 to 65,536 |
/// | `window_bytes = "4MiB"` | `"1MiB"` | how many bytes the sender may be ahead of the reader, the last message of any size: 1 KiB to 64 MiB; a number is in bytes |
#[proc_macro_attribute]
pub fn stream(_args: TokenStream, item: TokenStream) -> TokenStream {
    placement::helper_elsewhere(AttrName::Stream, &item.into()).into()
}

/// Stores the responses of a method of a [`#[service]`](macro@service) trait in a NATS key-value store.
///
/// ```
/// # use natsmicro::Status;
/// # #[derive(Clone, PartialEq, prost::Message)] pub struct SaveProfileRequest { #[prost(string, tag = "1")] pub id: String }
/// # #[derive(Clone, PartialEq, prost::Message)] pub struct Profile { #[prost(string, tag = "1")] pub id: String }
/// # #[natsmicro::service] pub trait Service {
/// #[kv_store(bucket = "user_profiles", key = "user.<id>", ttl = "1h", max_history = 5)]
/// async fn save_profile(&self, request: SaveProfileRequest) -> Result<Profile, Status>;
/// # }
/// ```
///
/// The client then has `save_profile_kv()`, `get_save_profile_from_kv(key)`, `put_save_profile_to_kv(key, &value)`,
/// `save_profile_key(id)`, `save_profile_pattern(id)`, which also takes `natsmicro::store::Any` to leave a field open, and
/// `save_profile_cached(request)`, which asks the service only for what the bucket does not have. That one needs the key before the
/// call: there is none if the key has a field of the response.
///
/// In a key, `<id>` or `{id}` stands for a field of the request, `<response.id>` for one of the response.
///
/// | setting | default | meaning |
/// | --- | --- | --- |
/// | `bucket = ".."` | required | the bucket; methods that share one agree on its settings |
/// | `key = ".."` | required | the key of a response |
/// | `description = ".."` | none | what the bucket says about itself |
/// | `max_history = 5` | 1 | how many values a key keeps, up to 64 |
/// | `ttl = "1h"` | forever | how long an entry lives |
/// | `key_ttl = "10m"` | none | how long each entry that this method writes lives; needs a history of 1 |
/// | `purge_ttl`, `marker_ttl` | none | how long the markers of purges and of expiries stay |
/// | `client_only` | off | the service neither writes to the bucket nor makes it; the client still has the functions, and `create_bucket` |
/// | `persist = "before_response"` | `"after_response"` | whether the reply waits for the write, which is then not begun after the deadline of the call |
/// | `write = "create"` | `"put"` | `"create"` never overwrites, `"update"` compares the revision that the key, made from the request alone, had when the call began |
/// | `compression` | off | compress the bucket |
/// | `storage = "memory"` | `"file"` | where the bucket is kept |
/// | `replicas = 3` | 1 | how many servers keep it, up to 5 |
/// | `max_bytes = "1GiB"` | no bound | how large the bucket may become |
/// | `max_consumers = 100` | no bound of the bucket | how many consumers it may have: each open watch is one, and each cache |
/// | `max_value_size = "64KiB"` | no bound | how large a value may be |
/// | `metadata(team = "platform")` | none | what the bucket shows besides |
#[proc_macro_attribute]
pub fn kv_store(_args: TokenStream, item: TokenStream) -> TokenStream {
    placement::helper_elsewhere(AttrName::Store(StoreKind::Kv), &item.into()).into()
}

/// Stores the responses of a method of a [`#[service]`](macro@service) trait in a NATS object store.
///
/// ```
/// # use natsmicro::Status;
/// # #[derive(Clone, PartialEq, prost::Message)] pub struct ReportRequest { #[prost(string, tag = "1")] pub id: String }
/// # #[derive(Clone, PartialEq, prost::Message)] pub struct Report { #[prost(string, tag = "1")] pub text: String }
/// # #[natsmicro::service] pub trait Service {
/// #[object_store(bucket = "reports", key = "report.<id>")]
/// async fn generate_report(&self, request: ReportRequest) -> Result<Report, Status>;
/// # }
/// ```
///
/// The client then has `generate_report_object_store()`, `get_generate_report_from_object_store(key)`,
/// `put_generate_report_to_object_store(key, &value)`, `generate_report_key(id)` and `generate_report_cached(request)`, as with
/// [`#[kv_store]`](macro@kv_store).
///
/// In a key, `<id>` or `{id}` stands for a field of the request, `<response.id>` for one of the response.
///
/// | setting | default | meaning |
/// | --- | --- | --- |
/// | `bucket = ".."` | required | the bucket; methods that share one agree on its settings |
/// | `key = ".."` | required | the name of the object |
/// | `description = ".."` | none | what the bucket says about itself |
/// | `ttl = "1h"` | forever | how long an object lives |
/// | `client_only` | off | the service neither writes to the bucket nor makes it; the client still has the functions, and `create_bucket` |
/// | `persist = "before_response"` | `"after_response"` | whether the reply waits for the write, which is then not begun after the deadline of the call |
/// | `compression` | off | compress the bucket |
/// | `storage = "memory"` | `"file"` | where the bucket is kept |
/// | `replicas = 3` | 1 | how many servers keep it, up to 5 |
/// | `max_bytes = "1GiB"` | no bound | how large the bucket may become |
/// | `max_consumers = 100` | no bound of the bucket | how many consumers it may have: each open watch is one, and each cache |
///
/// # Large responses
///
/// A response that is too large for one message (1 MiB with its headers, unless `max_payload` of the NATS server says something
/// else) is stored before the reply is sent, whatever `persist` says, and the reply refers to the object. A client that was given
/// JetStream by `Client::with_jetstream` fetches it: the call gives the response as if it had come in the reply, with its headers. The
/// statistics count a success.
///
/// * The timeout of the call is for all of it, the store and the fetch included. The default of 10 seconds is enough for some hundred
///   megabytes on a fast network; where responses are that large or networks slow, give the method a `timeout`.
/// * The client holds the response in memory, and takes up to 256 MiB; `Client::with_max_response_size` changes that. Where it need
///   not be in one piece, return a stream, or put the object from a reader and return its name.
/// * The response is told from others by its digest: a call never gives the response of another one. If a later call has replaced the
///   object by another response before it was fetched, or somebody has deleted it, the call fails with `ABORTED`. Where large calls with
///   the same key overlap and their responses differ, give each its own key, by a `<response.id>` for example.
/// * Whoever does not know of this (a generated client, a client without JetStream) gets `RESOURCE_EXHAUSTED` with the bucket and the
///   name of the object in the message. So does, without an object, every client where the response is not stored: by
///   `Context::do_not_store`, in a service without JetStream, or with `client_only`.
/// * A `#[kv_store]` of the same method cannot hold such a response, so that write fails like any that its bucket refuses: it is
///   counted and reported as lost, or with `persist = "before_response"` fails the call.
#[proc_macro_attribute]
pub fn object_store(_args: TokenStream, item: TokenStream) -> TokenStream {
    placement::helper_elsewhere(AttrName::Store(StoreKind::Object), &item.into()).into()
}

/// Deletes entries of a NATS key-value store that a success of a method of a [`#[service]`](macro@service) trait makes stale.
///
/// ```
/// # use natsmicro::Status;
/// # #[derive(Clone, PartialEq, prost::Message)] pub struct SaveProfileRequest { #[prost(string, tag = "1")] pub id: String }
/// # #[derive(Clone, PartialEq, prost::Message)] pub struct DeleteProfileRequest { #[prost(string, tag = "1")] pub id: String }
/// # #[derive(Clone, PartialEq, prost::Message)] pub struct Profile {
/// #     #[prost(string, tag = "1")] pub id: String, #[prost(string, tag = "2")] pub team: String,
/// # }
/// # #[natsmicro::service] pub trait Service {
/// #[kv_store(bucket = "user_profiles", key = "user.<id>")]
/// async fn save_profile(&self, request: SaveProfileRequest) -> Result<Profile, Status>;
///
/// #[kv_delete(bucket = "user_profiles", key = "user.<id>")]
/// #[kv_delete(bucket = "teams", key = "members.<response.team>")]
/// async fn delete_profile(&self, request: DeleteProfileRequest) -> Result<Profile, Status>;
/// # }
/// ```
///
/// A method may have several, also next to a store. As with the responses of a store, nothing happens for an error; the
/// deletions and the writes of one server to one key are made in the order in which the handlers finished; what has no
/// acknowledgement is tried again, and reported if it is given up. Where a call deletes the very entry that it stores, as can
/// be when two fields have the same value, the entry is stored and not deleted.
///
/// The bucket is one that a method of the same server stores into, or one of another service. The latter must be there when
/// the server starts, which neither makes nor checks it.
///
/// In a key, `<id>` or `{id}` stands for a field of the request, `<response.id>` for one of the response.
///
/// | setting | default | meaning |
/// | --- | --- | --- |
/// | `bucket = ".."` | required | the bucket that holds the entry |
/// | `key = ".."` | required | the key of the entry |
/// | `persist = "before_response"` | `"after_response"` | whether the reply waits for the deletion |
/// | `purge` | off | delete the older values of the key too, which otherwise stay in its history |
#[proc_macro_attribute]
pub fn kv_delete(_args: TokenStream, item: TokenStream) -> TokenStream {
    placement::helper_elsewhere(AttrName::KvDelete, &item.into()).into()
}

/// Makes an enum the error of service methods: each variant travels under its code, with its fields in the body of the error reply.
///
/// ```
/// #[derive(Debug, thiserror::Error, natsmicro::ServiceError)]
/// enum OrderError {
///     #[error("order {id} expired")]
///     #[code("ORDER_EXPIRED")]
///     Expired { id: String },
///     #[error("no order {0}")]
///     #[code("NOT_FOUND")]
///     NotFound(String),
///     #[error(transparent)]
///     Other(#[from] natsmicro::Status),
/// }
/// ```
///
/// The client gets the same variant back. The variant without a code takes every other status, also one of another code or with a
/// body that does not fit. The text of the error comes from `Display`; fields are written as JSON with serde, as the codec `"json"`
/// writes messages: a map with keys that JSON cannot write, such as tuples, does not travel, and the client gets the plain status.
///
/// `#[service_error(crate = ::path)]` on the enum says where the runtime is, if not at `::natsmicro`.
#[proc_macro_derive(ServiceError, attributes(code, service_error))]
pub fn derive_service_error(input: TokenStream) -> TokenStream {
    debug(service_error::expand(input.into())).into()
}

fn expand_service(args: TokenStream2, item: &TokenStream2) -> TokenStream2 {
    let (mut expansion, diags) = match syn::parse2::<ItemTrait>(item.clone()) {
        Ok(item) => service_trait(args, item),
        Err(_) => return placement::service_elsewhere(item),
    };
    expansion.extend(diags.into_compile_errors());
    expansion
}

/// The phases, in order.
fn service_trait(args: TokenStream2, item: ItemTrait) -> (TokenStream2, Diagnostics) {
    let mut diags = Diagnostics::default();
    let mut service = parse::service(args, item, &mut diags);
    validate::service(&mut service, &mut diags);
    let expansion = expand::service(&service, diags.has_errors());
    (expansion, diags)
}

fn debug(expansion: TokenStream2) -> TokenStream2 {
    if std::env::var_os("NATSMICRO_DEBUG").is_some_and(|value| value == "1") {
        eprintln!("{expansion}");
    }
    expansion
}

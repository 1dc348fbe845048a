//! Object Stores: values in chunks, and their metadata.
//!
//! [`bucket`](self::bucket) has the single operations on a bucket, [`publish_subjects`](self::publish_subjects) where it publishes to,
//! [`change`](self::change), [`read`](self::read) and [`write`](self::write) the protocols above them, and [`handle`](self::handle) the
//! typed public interface.
//!
//! May use the other folders of `store`. Guarantees that an object is read whole and verified or not at all, and that a put or delete
//! that fails leaves no chunks behind once the server can be reached.

pub(crate) mod bucket;
pub(crate) mod change;
pub(crate) mod handle;
pub(crate) mod info;
pub(crate) mod publish_subjects;
pub(crate) mod put_from;
pub(crate) mod read;
pub(crate) mod stream;
pub(crate) mod write;

//! The description of a service as a compiler makes it of the documentation.

use natsmicro::__private::Describe;
use natsmicro::Status;

/// Stores *users*
/// in [`String`]s.
///
/// And more.
#[natsmicro::service]
trait Lines {
    async fn ping(&self) -> Result<(), Status>;
}

/**
 * Stores users
 * in a block.
 *
 * And more.
 */
#[natsmicro::service]
trait Block {
    async fn ping(&self) -> Result<(), Status>;
}

#[natsmicro::service]
#[doc = include_str!("description.md")]
trait File {
    async fn ping(&self) -> Result<(), Status>;
}

#[natsmicro::service(description = "Keeps files, it says.")]
#[doc = include_str!("description.md")]
trait Set {
    async fn ping(&self) -> Result<(), Status>;
}

fn describes<D: Describe>(expected: &str) {
    let service = format!("{:?}", D::SERVICE);
    let description = format!("description: {expected:?}");
    assert!(service.contains(&description), "{service}");
}

#[test]
fn the_first_paragraph() {
    describes::<LinesDescriptor>("Stores users in Strings.");
    describes::<BlockDescriptor>("Stores users in a block.");
    describes::<FileDescriptor>("Keeps files of all kinds.");
    describes::<SetDescriptor>("Keeps files, it says.");
}

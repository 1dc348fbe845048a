//! From a [`Service`] to code.
//!
//! Assumes the model, and `broken` if any error was reported. Guarantees, for a sound model, the trait, the descriptor, the server and
//! the client; for a broken one the same names with the same signatures and nothing behind them, so that code that uses them gets no
//! second error. All paths start at `::core` or at the runtime; nothing relies on a prelude or an import of the user's. Methods are called
//! by their path, or take `self` as it is and are inherent, so that no trait of the user's that has methods for everything is asked.
//!
//! Its files, each using those before it: `expander`, `broken` (what stands in when there were errors), `signature`, `store`,
//! `declaration`, `descriptor`, `warnings`, `server`, `accessors` and `client`.

mod accessors;
mod broken;
mod client;
mod declaration;
mod descriptor;
mod expander;
mod server;
mod signature;
mod store;
mod warnings;

use proc_macro2::TokenStream;

use crate::model::service::Service;
use expander::Expander;

/// Everything that `#[service]` emits but the errors.
pub(crate) fn service(service: &Service, broken: bool) -> TokenStream {
    let expander = Expander::new(service, broken);
    let declaration = declaration::service_trait(&expander);
    if service.settings.skipped {
        return declaration;
    }
    let (described, implementation) = if broken {
        (broken::descriptor(&expander), broken::client(&expander))
    } else {
        let described = [
            descriptor::constants(&expander),
            descriptor::describe(&expander),
            warnings::all(&expander),
            server::dispatch(&expander),
        ];
        (
            described.into_iter().collect(),
            client::implementation(&expander),
        )
    };
    let items = [
        declaration,
        descriptor::type_(&expander),
        described,
        server::alias(&expander),
        client::type_(&expander),
        client::methods(&expander),
        implementation,
    ];
    items.into_iter().collect()
}

#[cfg(test)]
#[path = "expand_tests.rs"]
mod tests;

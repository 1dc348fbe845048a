//! A list of layers, as it is set on a server, a service or a client, and their application.

use std::fmt;
use std::sync::{Arc, OnceLock};

use crate::middleware::inner::Inner;
use crate::middleware::layer::CallLayer;

/// Layers, the outermost first. Cheap to clone; clones share the services that the layers make.
#[derive(Clone, Default)]
pub(crate) struct Layers(Option<Arc<List>>);

struct List {
    layers: Vec<Arc<Apply>>,
    /// Made once, since a limit of a layer holds for all calls together.
    applied: OnceLock<Inner>,
}

type Apply = dyn Fn(Inner) -> Inner + Send + Sync;

impl Layers {
    /// Adds a layer inside the others.
    pub(crate) fn push(&mut self, layer: impl CallLayer) {
        let mut layers = self
            .0
            .as_ref()
            .map_or_else(Vec::new, |list| list.layers.clone());
        layers.push(Arc::new(move |inner| layer.apply(inner)));
        self.0 = Some(Arc::new(List {
            layers,
            applied: OnceLock::new(),
        }));
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// The layers around the destination of a request.
    pub(crate) fn applied(&self) -> Inner {
        let Some(list) = &self.0 else {
            return Inner::destination();
        };
        let applied = list.applied.get_or_init(|| {
            let outwards = list.layers.iter().rev();
            outwards.fold(Inner::destination(), |inner, apply| apply(inner))
        });
        applied.clone()
    }
}

impl fmt::Debug for Layers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let layers = self.0.as_ref().map_or(0, |list| list.layers.len());
        write!(f, "{layers} layers")
    }
}

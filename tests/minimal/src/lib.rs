//! Nothing but tests and examples live here.

//! (to be written)

#[derive(Debug, Default)]
pub struct Clients {}

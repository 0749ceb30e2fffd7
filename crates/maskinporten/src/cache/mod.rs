//! (identity, request) → slot: every token that is held, each under all that tells it apart.
//!
//! The key is the whole identity: issuer, client, kind, and everything the request would send. Two
//! requests that differ in anything never share a token. The signing key is not part of it, so that
//! a rotated key leaves tokens as they are.

mod flight;
mod registry;
mod slot;
mod stripe;
mod window;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use parking_lot::RwLock;

use crate::clock::AnyClock;
use crate::request::TokenRequest;
use crate::source::{SourceIdentity, TokenSource};

pub(crate) use flight::{ATTEMPT_TIMEOUT, attempts};
pub(crate) use registry::find;
pub(crate) use slot::{NO_TOKEN, Slot};
pub(crate) use stripe::{STRIPES, of_this_thread};
pub(crate) use window::Window;

/// All that tells one token from another.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Identity {
    pub(crate) source: SourceIdentity,
    pub(crate) request: TokenRequest,
    /// The address of the exchange, its query included, for an Altinn token.
    pub(crate) exchange: Option<Arc<str>>,
}

/// The slots of one client. Off the path of a layer, which finds its slot once, when it is built.
#[derive(Default)]
pub(crate) struct Cache {
    slots: RwLock<HashMap<Arc<Identity>, Arc<Slot>>>,
}

impl Cache {
    /// The slot of an identity; made, with the source it will ask, where there is none yet.
    pub(crate) fn slot(
        &self,
        identity: Identity,
        clock: &AnyClock,
        source: impl FnOnce() -> Arc<dyn TokenSource>,
    ) -> Arc<Slot> {
        // Neither lock is held across an await: this function is not async.
        let slots = self.slots.read();
        if let Some(slot) = slots.get(&identity) {
            return Arc::clone(slot);
        }
        drop(slots);
        // Made before the second lock is taken: a source may look into this cache itself.
        let source = source();
        let identity = Arc::new(identity);
        let mut slots = self.slots.write();
        let slot = slots
            .entry(Arc::clone(&identity))
            .or_insert_with(|| Slot::new(identity, source, clock.clone()));
        Arc::clone(slot)
    }
}

impl fmt::Debug for Cache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let slots = self.slots.read();
        f.debug_struct("Cache")
            .field("slots", &slots.len())
            .finish()
    }
}

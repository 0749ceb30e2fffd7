//! [`Origins`]: who may see a token, also for a response that comes after its layer is gone.
//!
//! A response carries numbers and no reference, since a reference would be counted up and down on each request.
//! A layer may be made for one call and dropped before the response is there, so the origins of layers are
//! interned: each layer is given a number once, and equal origins have one number.

use std::collections::{HashMap, VecDeque};
use std::hash::{Hash, Hasher};
use std::num::NonZeroU32;
use std::ptr;
use std::sync::Arc;

use http::{Extensions, Uri};
use parking_lot::Mutex;

use crate::origin::{Origin, Target};

/// The origins of one layer, and how a response shows where it came from.
#[derive(Clone, Debug)]
pub(super) struct Origins {
    pub(super) listed: Vec<Origin>,
    pub(super) any_https: bool,
    /// One of the listed, if a request whose address has no host goes there.
    pub(super) assumed: Option<Origin>,
    pub(super) final_uri: Vec<fn(&Extensions) -> Option<Uri>>,
}

impl Origins {
    pub(super) fn new(listed: Vec<Origin>) -> Self {
        Self {
            listed,
            any_https: false,
            assumed: None,
            final_uri: Vec::new(),
        }
    }

    /// Whether a request to this address may have the token.
    pub(super) fn admit(&self, target: Target<'_>) -> bool {
        if self.listed.iter().any(|origin| origin.admits(target)) {
            return true;
        }
        if target.has_host() {
            self.any_https && Origin::of(target).is_ok()
        } else {
            self.assumed.is_some()
        }
    }

    /// Whether a request to this address goes to this origin.
    pub(super) fn leads_to(&self, origin: &Origin, target: Target<'_>) -> bool {
        if target.has_host() {
            origin.admits(target)
        } else {
            self.assumed.as_ref() == Some(origin)
        }
    }

    /// Whether a response with these extensions may reject the token: none of the addresses they show is
    /// unlisted.
    pub(super) fn trust(&self, extensions: &Extensions) -> bool {
        let mut shown = self.final_uri.iter().filter_map(|show| show(extensions));
        shown.all(|uri| self.admit(Target::from(&uri)))
    }
}

impl PartialEq for Origins {
    fn eq(&self, other: &Self) -> bool {
        // Two that compare equal do the same. The reverse need not hold: then both are kept.
        let same = |(one, other): (&fn(&_) -> _, &fn(&_) -> _)| ptr::fn_addr_eq(*one, *other);
        self.listed == other.listed
            && (self.any_https, &self.assumed) == (other.any_https, &other.assumed)
            && self.final_uri.len() == other.final_uri.len()
            && self.final_uri.iter().zip(&other.final_uri).all(same)
    }
}

impl Eq for Origins {}

impl Hash for Origins {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (&self.listed, self.any_https, &self.assumed).hash(state);
    }
}

/// Interned origins: the number by which a response finds them again.
#[derive(Clone, Debug)]
pub(super) struct Interned {
    pub(super) number: NonZeroU32,
    /// Shared by every layer with equal origins: while one lives, they are found.
    _origins: Arc<Origins>,
}

/// Numbers the origins of a layer. Called once for each layer that authorises anything.
pub(super) fn intern(origins: &Origins) -> Interned {
    INTERNED.lock().get_or_insert_default().intern(origins)
}

/// The origins of a number: of a layer that lives, or of one of the last that are gone.
pub(super) fn find(number: NonZeroU32) -> Option<Arc<Origins>> {
    let interned = INTERNED.lock();
    interned.as_ref()?.by_number.get(&number).map(Arc::clone)
}

// Taken when a layer is first used, and for a response that rejects a token; by functions that are not async.
static INTERNED: Mutex<Option<Interner>> = Mutex::new(None);

/// How many origins of layers that are gone are kept for responses that are still to come.
const GONE_AT_MOST: usize = 1_024;

struct Interner {
    by_number: HashMap<NonZeroU32, Arc<Origins>>,
    numbers: HashMap<Arc<Origins>, NonZeroU32>,
    /// The oldest first.
    order: VecDeque<NonZeroU32>,
    last: NonZeroU32,
}

/// No origins have this number: they are counted from 2.
pub(super) const NO_ORIGINS: NonZeroU32 = NonZeroU32::MIN;

impl Default for Interner {
    fn default() -> Self {
        Self {
            by_number: HashMap::new(),
            numbers: HashMap::new(),
            order: VecDeque::new(),
            last: NO_ORIGINS,
        }
    }
}

impl Interner {
    fn intern(&mut self, origins: &Origins) -> Interned {
        if let Some((origins, number)) = self.numbers.get_key_value(origins) {
            return Interned {
                number: *number,
                _origins: Arc::clone(origins),
            };
        }
        // The last number would be shared, after four thousand million layers.
        self.last = self.last.saturating_add(1);
        let (number, origins) = (self.last, Arc::new(origins.clone()));
        self.by_number.insert(number, Arc::clone(&origins));
        self.numbers.insert(Arc::clone(&origins), number);
        self.order.push_back(number);
        // Each newcomer looks at two of the oldest, so that those of layers that live are passed over at a
        // constant cost.
        for _ in 0..2 {
            if self.order.len() > GONE_AT_MOST {
                self.forget_the_oldest();
            }
        }
        Interned {
            number,
            _origins: origins,
        }
    }

    /// Forgets the oldest, or passes it over if its layer lives.
    fn forget_the_oldest(&mut self) {
        let Some(number) = self.order.pop_front() else {
            return;
        };
        let Some(origins) = self.by_number.get(&number) else {
            return;
        };
        // One for each of the two maps; a layer holds a third.
        if Arc::strong_count(origins) > 2 {
            self.order.push_back(number);
        } else if let Some(origins) = self.by_number.remove(&number) {
            self.numbers.remove(&origins);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origins(origin: &str) -> Origins {
        Origins::new(vec![origin.parse().unwrap()])
    }

    #[test]
    fn equal_origins_have_one_number() {
        let mut interner = Interner::default();
        let first = interner.intern(&origins("https://a.example"));
        assert_eq!(
            interner.intern(&origins("https://a.example")).number,
            first.number
        );
        let other = interner.intern(&origins("https://b.example"));
        assert_ne!(other.number, first.number);
        let mut wider = origins("https://a.example");
        wider.any_https = true;
        assert_ne!(interner.intern(&wider).number, first.number);
    }

    #[test]
    fn origins_of_layers_that_are_gone_are_bounded_and_those_of_layers_that_live_are_kept() {
        let mut interner = Interner::default();
        let living = interner.intern(&origins("https://living.example"));
        for host in 0..3 * GONE_AT_MOST {
            interner.intern(&origins(&format!("https://t{host}.example")));
            assert!(interner.by_number.len() <= GONE_AT_MOST + 1);
            assert_eq!(interner.by_number.len(), interner.numbers.len());
            assert_eq!(interner.by_number.len(), interner.order.len());
        }
        let again = interner.intern(&origins("https://living.example"));
        assert_eq!(again.number, living.number);
        assert!(interner.by_number.contains_key(&living.number));
    }
}

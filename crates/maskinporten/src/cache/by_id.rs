//! Map by number, for the one response in thousands that must report to its entry.
//!
//! A response future that carried an `Arc` would write to a count all threads share, on every
//! request. It carries numbers instead, and only a rejected token is looked up here.

use std::collections::HashMap;
use std::sync::Weak;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use crate::cache::entry::{Entry, Held};

// Taken for one look-up, by functions that are not async. An entry is never dropped under it: `find`
// takes its reference along.
static ENTRIES: Mutex<Option<HashMap<u64, Weak<Entry>>>> = Mutex::new(None);

/// Notes an entry and gives it its number, counted from 1.
pub(crate) fn enter(entry: Weak<Entry>) -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let id = NEXT.fetch_add(1, Ordering::Relaxed);
    ENTRIES.lock().get_or_insert_default().insert(id, entry);
    id
}

/// The entry of a number, until it is retired or dropped.
pub(crate) fn find(id: u64) -> Option<Held> {
    let entry = ENTRIES.lock().as_ref()?.get(&id)?.upgrade()?;
    Held::try_new(&entry)
}

pub(crate) fn leave(id: u64) {
    if let Some(entries) = ENTRIES.lock().as_mut() {
        entries.remove(&id);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::provider::TokenHandle;
    use crate::source::FixedToken;

    #[test]
    fn an_entry_that_is_gone_leaves_nothing_behind() {
        let is_noted = |id| ENTRIES.lock().as_ref().unwrap().contains_key(&id);
        let source = FixedToken::new("token", Duration::from_secs(60)).unwrap();
        let (entry, _) = TokenHandle::from_source(source).unwrap().into_parts();
        let id = entry.id();
        assert!(is_noted(id) && find(id).is_some());
        drop(entry);
        assert!(!is_noted(id));
    }
}

//! [`Guard`]: who may see a token, also for an answer that comes when the layer is gone.
//!
//! A response carries numbers and no reference: see [`cache::find`]. A layer may be made for one call
//! and dropped before the answer is there, so a entry's guards are kept beside it for as long as it
//! lives, each of them once.

use std::collections::HashMap;
use std::ptr;
use std::sync::Arc;

use http::{Extensions, Uri};
use parking_lot::Mutex;

use crate::cache::{self, Held};
use crate::origin::{Origin, Target};

/// The origins of one layer, and how an answer tells where it came from.
#[derive(Clone, Debug)]
pub(super) struct Guard {
    pub(super) origins: Vec<Origin>,
    pub(super) any_https: bool,
    /// One of the origins, where a request whose address has no host goes to it.
    pub(super) assumed: Option<Origin>,
    pub(super) final_uri: Vec<fn(&Extensions) -> Option<Uri>>,
}

impl Guard {
    pub(super) fn new(origins: Vec<Origin>) -> Self {
        Self {
            origins,
            any_https: false,
            assumed: None,
            final_uri: Vec::new(),
        }
    }

    /// Whether what goes to this address may have the token.
    pub(super) fn lists(&self, target: Target<'_>) -> bool {
        if self.origins.iter().any(|origin| origin.admits(target)) {
            return true;
        }
        match target.has_host() {
            false => self.assumed.is_some(),
            true => self.any_https && Origin::of(target).is_ok(),
        }
    }

    /// Whether what goes to this address goes to this origin.
    pub(super) fn leads_to(&self, origin: &Origin, target: Target<'_>) -> bool {
        match target.has_host() {
            false => self.assumed.as_ref() == Some(origin),
            true => origin.admits(target),
        }
    }

    /// Whether an answer with these extensions may speak of the token: none of them tells an address
    /// that is not listed.
    pub(super) fn believes(&self, extensions: &Extensions) -> bool {
        let mut told = self.final_uri.iter().filter_map(|told| told(extensions));
        told.all(|uri| self.lists(Target::from(&uri)))
    }
}

impl PartialEq for Guard {
    fn eq(&self, other: &Self) -> bool {
        // Two that compare equal do the same. The reverse need not hold: then one is kept twice.
        let same = |(one, other): (&fn(&_) -> _, &fn(&_) -> _)| ptr::fn_addr_eq(*one, *other);
        self.origins == other.origins
            && (self.any_https, &self.assumed) == (other.any_https, &other.assumed)
            && self.final_uri.len() == other.final_uri.len()
            && self.final_uri.iter().zip(&other.final_uri).all(same)
    }
}

/// Notes a guard of a entry, and gives it a number by which both are found.
pub(super) fn enter(entry: u64, guard: &Arc<Guard>) -> u64 {
    BOOK.lock().get_or_insert_default().enter(entry, guard)
}

/// What a number stands for, while the entry lives.
pub(super) fn find(number: u64) -> Option<(Held, Arc<Guard>)> {
    let book = BOOK.lock();
    let Noted { entry, guard } = book.as_ref()?.entries.get(&number)?;
    let (entry, guard) = (*entry, Arc::clone(guard));
    drop(book);
    Some((cache::find(entry)?, guard))
}

#[derive(Default)]
struct Book {
    entries: HashMap<u64, Noted>,
    of_entry: HashMap<u64, Vec<u64>>,
    /// Numbers are counted from 1.
    last: u64,
    sweep_at: usize,
}

struct Noted {
    entry: u64,
    guard: Arc<Guard>,
}

impl Book {
    fn enter(&mut self, entry: u64, guard: &Arc<Guard>) -> u64 {
        if !self.of_entry.contains_key(&entry) && self.of_entry.len() >= self.sweep_at {
            self.sweep();
        }
        let Self {
            entries, of_entry, ..
        } = self;
        let numbers = of_entry.entry(entry).or_default();
        let is_same = |number: &&u64| entries.get(number).is_some_and(|e| e.guard == *guard);
        if let Some(known) = numbers.iter().find(is_same) {
            return *known;
        }
        if numbers.len() >= GUARDS_AT_MOST {
            // Those of layers that are gone: what still comes to one of them says nothing.
            numbers.retain(|number| {
                let entry = entries.get(number);
                let lives = entry.is_some_and(|entry| Arc::strong_count(&entry.guard) > 1);
                if !lives {
                    entries.remove(number);
                }
                lives
            });
        }
        self.last += 1;
        numbers.push(self.last);
        let guard = Arc::clone(guard);
        entries.insert(self.last, Noted { entry, guard });
        self.last
    }

    /// Forgets the guards of entries that are gone. Done when there are twice as many entries as the last
    /// time, so that each layer pays for a constant share of it.
    fn sweep(&mut self) {
        let Self {
            entries, of_entry, ..
        } = self;
        of_entry.retain(|entry, numbers| {
            let lives = cache::find(*entry).is_some();
            if !lives {
                numbers
                    .iter()
                    .for_each(|number| drop(entries.remove(number)));
            }
            lives
        });
        self.sweep_at = SWEEP_AT_LEAST.max(self.of_entry.len().saturating_mul(2));
    }
}

const SWEEP_AT_LEAST: usize = 64;

/// How many guards of a entry are kept for layers that may be gone.
const GUARDS_AT_MOST: usize = 64;

// Held for one look-up, by functions that are not async. A entry that is dropped under it takes the
// lock of the entries and no other.
static BOOK: Mutex<Option<Book>> = Mutex::new(None);

#[cfg(test)]
mod tests {
    use super::*;

    fn guard(origin: &str) -> Arc<Guard> {
        Arc::new(Guard::new(vec![origin.parse().unwrap()]))
    }

    #[test]
    fn a_guard_of_an_entry_is_kept_once() {
        let mut book = Book::default();
        let number = book.enter(1, &guard("https://a.example"));
        assert_eq!(book.enter(1, &guard("https://a.example")), number);
        assert_ne!(book.enter(1, &guard("https://b.example")), number);
        assert_ne!(book.enter(2, &guard("https://a.example")), number);
    }

    #[test]
    fn guards_of_entries_that_are_gone_are_forgotten() {
        // No entry has these numbers: entries are counted from 1.
        let mut book = Book::default();
        for entry in 0..10 * SWEEP_AT_LEAST as u64 {
            book.enter(u64::MAX - entry, &guard("https://c.example"));
        }
        assert!(book.of_entry.len() <= 2 * SWEEP_AT_LEAST);
        assert!(book.entries.len() <= 2 * SWEEP_AT_LEAST);
    }

    #[test]
    fn guards_of_layers_that_are_gone_are_bounded_and_those_in_use_are_kept() {
        let mut book = Book::default();
        let in_use = guard("https://in-use.example");
        let number = book.enter(1, &in_use);
        for host in 0..10 * GUARDS_AT_MOST {
            book.enter(1, &guard(&format!("https://t{host}.example")));
            assert!(book.entries.len() <= GUARDS_AT_MOST + 1);
        }
        assert_eq!(book.enter(1, &in_use), number);
    }
}

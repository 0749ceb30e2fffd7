//! What the sources of this machine have in common: they answer at once, where blocking is allowed.

use std::time::Duration;

use crate::blocking::on_blocking_pool;
use crate::error::Result;
use crate::signer::BoxFuture;

use super::{Finding, SettingsSource};

/// How often a file is read again. Kubernetes takes up to a minute to change one; .NET looks every four
/// seconds.
pub(super) const POLL_INTERVAL: Duration = Duration::from_secs(5);

/// A source that needs no network.
pub(crate) trait LocalSource: SettingsSource {
    /// Looks now, blocking.
    fn look_now(&self) -> Result<Finding>;

    /// What it holds that may have been meant as settings, where it holds none.
    fn instead(&self) -> Option<String> {
        None
    }
}

/// Looks on the pool for what blocks: a file may lie on a disk that is far away.
pub(super) fn looked_for<'a, S: LocalSource>(source: S) -> BoxFuture<'a, Result<Finding>> {
    Box::pin(on_blocking_pool(
        "there is no Tokio runtime to read files on",
        move || source.look_now(),
    ))
}

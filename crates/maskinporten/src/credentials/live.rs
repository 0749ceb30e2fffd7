//! The credentials of a client while it lives: the state that signs now, and what replaces it.
//!
//! - A source that may change is looked at again every interval by one task, which starts with the first
//!   grant, on the runtime it finds, and ends with the client.
//! - What is new is taken when it was seen twice alike, a second apart. It is checked whole and every key
//!   signs before it is swapped in, at once and for all.
//! - Secrets are written one after the other, and people take longer than a second: another client id
//!   beside a key of the client before is half of a change, told and left until the key has come too.
//! - What is gone, incomplete or unusable changes nothing: the client goes on with what it has, and tells.
//! - Another key leaves tokens as they are. Another client id or authority drops them. Another environment
//!   is refused: the origins that layers were built with, and Altinn, are of the old one.
//! - A grant that is refused for its key has the source looked at at once, so that a rotation without
//!   overlap costs that one refusal.

use std::fmt;
use std::future::Future as _;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, SystemTime};

use parking_lot::{Mutex, RwLock};
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use crate::advice;
use crate::blocking::on_blocking_pool;
use crate::clock::Moment;
use crate::error::{Error, Result};
use crate::settings::{Finding, MaskinportenSettings, SettingsSource};
use crate::signer::Signer;
use crate::single_flight::{Lease, SingleFlight};

use super::expiry::Warnings;
use super::material::{Material, Parts};

/// How long what is new must stay as it is before it is taken.
const SETTLED_AFTER: Duration = Duration::from_secs(1);

/// How often a source that keeps changing is read in one look.
const READINGS: u32 = 4;

/// How long one reading of a source may take.
const READING: Duration = Duration::from_secs(30);

/// The shortest interval there is: a source that asks for less would be asked without a pause.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(100);

/// The same trouble is told of again after this time.
const TOLD_AGAIN_AFTER: Duration = Duration::from_secs(10 * 60);

/// Another trouble is told of at most this often: a file that grows ends elsewhere each time.
const NEWS_EVERY: Duration = Duration::from_secs(30);

/// How late a task may be before it counts as lost: its runtime is not driven.
const LATE: Duration = Duration::from_millis(500);

/// How long a closing client waits for its watch to end.
const GRACE: Duration = Duration::from_secs(1);

/// What a client proves itself by now.
pub(crate) struct Live {
    // Taken to clone or replace one `Arc` by functions that are not async; the one that is replaced is dropped
    // after it.
    material: RwLock<Arc<Material>>,
    revision: AtomicU64,
    parts: Parts,
    warnings: Warnings,
    watch: Option<Watch>,
    new_client: OnceLock<Box<dyn Fn() + Send + Sync>>,
}

struct Watch {
    source: Arc<dyn SettingsSource>,
    interval: Duration,
    // None of these locks is held across an await, since the runtime of the holder may stop, or while foreign
    // code is called: clocks are read and tasks spawned before or after, and settings, errors and ended tasks
    // dropped after.
    looks: Mutex<Looks>,
    task: Mutex<Task>,
    trouble: Mutex<Option<Trouble>>,
    /// A look is wanted before the interval is over.
    wanted: Arc<Notify>,
}

struct Looks {
    /// The settings that were taken last.
    taken: Arc<MaskinportenSettings>,
    /// The last look that has begun: only that one may take what it finds.
    last: Arc<Look>,
    /// The look that begins next. Its lease is the task's, which renews it as it moves on.
    next: Arc<Look>,
    /// When a look was done last.
    done_at: Moment,
    /// What was seen and may not have settled yet, and since when it is so.
    seen: Option<(MaskinportenSettings, Moment)>,
}

/// One look. It lands when it has ended, also without an outcome.
type Look = SingleFlight<()>;

/// The task that looks.
#[derive(Default)]
enum Task {
    #[default]
    Idle,
    /// One is being spawned.
    Starting,
    Started(JoinHandle<()>),
    Closed,
}

/// Lands a look when it is dropped, also where a panic or an abort ends it.
struct EndsLook(Arc<Look>);

impl Drop for EndsLook {
    fn drop(&mut self) {
        self.0.land(());
    }
}

struct Trouble {
    error: Error,
    told_at: Moment,
}

impl Live {
    /// Takes settings for the first time; what `source` gives later replaces them.
    pub(crate) fn new(
        settings: MaskinportenSettings,
        source: Option<Arc<dyn SettingsSource>>,
        parts: Parts,
    ) -> Result<Arc<Self>> {
        let material = Material::of(&settings, &parts)?;
        let watch = source.and_then(|source| {
            let interval = source.interval()?.max(SHORTEST_INTERVAL);
            let last = Arc::new(Look::new(Lease::unlimited()));
            last.land(());
            let looks = Looks {
                taken: Arc::new(settings),
                last,
                next: Arc::new(Look::new(Lease::unlimited())),
                done_at: parts.clock.now(),
                seen: None,
            };
            Some(Watch {
                source,
                interval,
                looks: Mutex::new(looks),
                task: Mutex::default(),
                wanted: Arc::default(),
                trouble: Mutex::new(None),
            })
        });
        let live = Self {
            material: RwLock::new(Arc::new(material)),
            revision: AtomicU64::new(0),
            parts,
            warnings: Warnings::default(),
            watch,
            new_client: OnceLock::new(),
        };
        live.warn();
        Ok(Arc::new(live))
    }

    /// Has `drop_tokens` called whenever the credentials become those of another client.
    pub(crate) fn on_new_client(&self, drop_tokens: impl Fn() + Send + Sync + 'static) {
        // Set once, by the client that was made with it.
        let _ = self.new_client.set(Box::new(drop_tokens));
    }

    /// The state that signs now. A grant takes it once and is made of nothing else.
    pub(crate) fn material(&self) -> Arc<Material> {
        Arc::clone(&self.material.read())
    }

    /// Another number whenever the state is another.
    pub(crate) fn revision(&self) -> u64 {
        self.revision.load(Ordering::Acquire)
    }

    /// Why the source cannot be read from at present.
    pub(crate) fn trouble(&self) -> Option<Error> {
        let watch = self.watch.as_ref()?;
        let trouble = watch.trouble.lock();
        trouble.as_ref().map(|trouble| trouble.error.clone())
    }

    /// When the last of its keys ends, where that is known of each.
    pub(crate) fn ends_at(&self) -> Option<SystemTime> {
        let material = self.material();
        let ends = material
            .keys
            .signers()
            .iter()
            .map(|signer| signer.expires_at());
        ends.collect::<Option<Vec<_>>>()?.into_iter().max()
    }

    /// Tells of keys that end soon.
    pub(crate) fn warn(&self) {
        let material = self.material();
        let signers = material.keys.signers().iter();
        let signers = signers.map(|signer| &**signer as &dyn Signer);
        self.warnings.tell(signers, self.parts.clock.wall());
    }

    /// Sees to it that the source is watched from here on.
    pub(crate) fn keep_watch(self: &Arc<Self>) {
        let Some(watch) = &self.watch else { return };
        let now = self.parts.clock.now();
        // Where runtimes come and go, the time since the last look counts.
        let due = watch.looks.lock().done_at.after(watch.interval);
        self.start(watch, now, now.until(due), now);
    }

    /// Starts the task, on the runtime that is here and now, unless there is one. One whose lease ends at
    /// `lost` or before is replaced. It looks for the first time after `first_in`.
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the room that watches, on the runtime it finds here and now"
    )]
    fn start(self: &Arc<Self>, watch: &Watch, now: Moment, first_in: Duration, lost: Moment) {
        let Ok(runtime) = Handle::try_current() else {
            return;
        };
        let before = {
            let mut task = watch.task.lock();
            let runs = match &*task {
                Task::Closed => return,
                Task::Idle => false,
                Task::Starting => true,
                Task::Started(task) => !task.is_finished(),
            };
            let looks = watch.looks.lock();
            let lease = looks.next.lease();
            if runs && lease.ends() > lost {
                return;
            }
            lease.renew(now.after(watch.interval).after(LATE));
            task.replace(Task::Starting)
        };
        if let Some(lost) = &before {
            lost.abort();
        }
        let (live, interval) = (Arc::downgrade(self), watch.interval);
        let wanted = Arc::clone(&watch.wanted);
        let started = runtime.spawn(async move {
            let mut pause = first_in;
            loop {
                let _ = timeout(pause, wanted.notified()).await;
                pause = interval;
                let Some(live) = live.upgrade() else { return };
                live.look_again().await;
                live.warn();
            }
        });
        let superseded = match &mut *watch.task.lock() {
            Task::Closed => Some(started),
            task => task.replace(Task::Started(started)),
        };
        if let Some(superseded) = superseded {
            superseded.abort();
        }
        if before.is_some_and(has_panicked) {
            let name = watch.source.name();
            self.troubled(
                watch,
                Error::unavailable(format!("a look at {name} panicked")),
            );
        }
    }

    /// Has the watch look at the source now, and waits for it: `patience` at most, and the watch goes on.
    /// True where the state is another than that of `revision`, whoever has brought it.
    pub(crate) async fn look_again_since(
        self: &Arc<Self>,
        revision: u64,
        patience: Duration,
    ) -> bool {
        if let Some(watch) = &self.watch
            && self.revision() == revision
        {
            let (is_idle, next, lease) = {
                let looks = watch.looks.lock();
                // One that has begun may have read what was there before.
                let next = Arc::clone(&looks.next);
                let lease = next.lease().ends();
                (looks.last.outcome().is_some(), next, lease)
            };
            watch.wanted.notify_one();
            let look = async {
                // It begins at once, unless its runtime is not driven: then another task goes on here.
                if is_idle && timeout(LATE, next.ended()).await.is_err() {
                    let now = self.parts.clock.now();
                    self.start(watch, now, Duration::ZERO, lease);
                }
                next.ended().await;
            };
            let _ = timeout(patience, look).await;
        }
        self.revision() != revision
    }

    async fn look_again(&self) {
        let Some(watch) = &self.watch else { return };
        let now = self.parts.clock.now();
        let lease = Lease::until(now.after(READING * (READINGS + 1)).after(LATE));
        let next = Arc::new(Look::new(lease));
        let (ends_look, taken) = {
            let mut looks = watch.looks.lock();
            looks.last = std::mem::replace(&mut looks.next, next);
            (EndsLook(Arc::clone(&looks.last)), Arc::clone(&looks.taken))
        };
        match self.changed(watch, &taken).await {
            Ok(None) => self.mended(watch),
            Ok(Some((settings, material))) => {
                if self.swap(watch, &ends_look.0, settings, material) {
                    self.mended(watch);
                }
            }
            Err(error) => self.troubled(watch, error),
        }
        let now = self.parts.clock.now();
        let lease = now.after(watch.interval).after(LATE);
        let mut looks = watch.looks.lock();
        looks.done_at = now;
        looks.next.lease().renew(lease);
    }

    /// What is new, checked; none where all is as it was.
    async fn changed(
        &self,
        watch: &Watch,
        taken: &MaskinportenSettings,
    ) -> Result<Option<(MaskinportenSettings, Material)>> {
        let mut seen = watch.read().await?;
        let mut readings = 1;
        while !self.has_settled(watch, &seen, taken) {
            if seen.is_same(taken) {
                return Ok(None);
            }
            if readings == READINGS {
                let message = format!("{} keeps changing", watch.source.name());
                return Err(Error::unavailable(message));
            }
            sleep(SETTLED_AFTER).await;
            seen = watch.read().await?;
            readings += 1;
        }
        if seen.is_from_elsewhere_than(taken) {
            let (old, new) = (taken.source(), seen.source());
            let message =
                format!("the credentials were read from {old} and are now found in {new}");
            return Err(Error::settings(message).with_advice(&advice::SOURCE_GONE));
        }
        let parts = self.parts.clone();
        let (seen, material) = on_blocking_pool("there is no Tokio runtime to read keys on", {
            move || {
                let material = Material::of(&seen, &parts)?;
                Ok((seen, material))
            }
        })
        .await?;
        let (old, new) = (
            self.material().authority.environment(),
            material.authority.environment(),
        );
        if old != new {
            let shown = |environment: Option<crate::Environment>| match environment {
                Some(environment) => environment.to_string(),
                None => "an authority of its own".to_owned(),
            };
            let (old, new) = (shown(old), shown(new));
            let message = format!("the credentials were of {old} and are now of {new}");
            return Err(Error::settings(message).with_advice(&advice::ENVIRONMENT_CHANGED));
        }
        check_keys(&self.material(), &material)?;
        let signed = timeout(READING, material.try_signers()).await;
        signed.unwrap_or_else(|_elapsed| {
            let name = watch.source.name();
            let message = format!("what {name} names to sign with did not sign in time");
            Err(Error::unavailable(message))
        })?;
        Ok(Some((seen, material)))
    }

    /// Whether what was seen is new and stands still: it was seen before, and long enough ago. That may
    /// have been in a look that was broken off.
    fn has_settled(
        &self,
        watch: &Watch,
        seen: &MaskinportenSettings,
        taken: &MaskinportenSettings,
    ) -> bool {
        let now = self.parts.clock.now();
        let mut looks = watch.looks.lock();
        let new = match &looks.seen {
            _ if seen.is_same(taken) => None,
            Some((before, since)) if before.is_same(seen) => {
                return now >= since.after(SETTLED_AFTER);
            }
            _ => Some((seen.clone(), now)),
        };
        let before = std::mem::replace(&mut looks.seen, new);
        drop(looks);
        drop(before);
        false
    }

    /// From here on every grant is made of the new state; unless a later look has begun, which decides.
    fn swap(
        &self,
        watch: &Watch,
        look: &Arc<Look>,
        settings: MaskinportenSettings,
        material: Material,
    ) -> bool {
        let (settings, material) = (Arc::new(settings), Arc::new(material));
        let (taken, old) = {
            let mut looks = watch.looks.lock();
            if !Arc::ptr_eq(&looks.last, look) {
                return false;
            }
            let taken = std::mem::replace(&mut looks.taken, Arc::clone(&settings));
            let new = Arc::clone(&material);
            (taken, std::mem::replace(&mut *self.material.write(), new))
        };
        drop(taken);
        self.revision.fetch_add(1, Ordering::AcqRel);
        let is_new_client = old.identity != material.identity;
        // After the swap: what is fetched from now on is the new client's.
        if is_new_client && let Some(drop_tokens) = self.new_client.get() {
            drop_tokens();
        }
        self.parts.reloads.note(true);
        tracing::info!(
            target: "maskinporten::settings",
            source = settings.source(),
            client_id = material.identity.client_id(),
            authority = material.identity.issuer(),
            tokens_dropped = is_new_client,
            "new credentials are in use"
        );
        true
    }

    /// Remembers why there is nothing new, and tells where that is news.
    fn troubled(&self, watch: &Watch, error: Error) {
        self.parts.reloads.note(false);
        let now = self.parts.clock.now();
        let mut trouble = watch.trouble.lock();
        let is_told = trouble.as_ref().is_some_and(|trouble| {
            let is_same = trouble.error.to_string() == error.to_string();
            let again = if is_same {
                TOLD_AGAIN_AFTER
            } else {
                NEWS_EVERY
            };
            now < trouble.told_at.after(again)
        });
        let told_at = match trouble.as_ref() {
            Some(trouble) if is_told => trouble.told_at,
            _ => now,
        };
        let shown = error.to_string();
        let hint = error.hint();
        let before = trouble.replace(Trouble { error, told_at });
        drop(trouble);
        drop(before);
        if !is_told {
            tracing::warn!(
                target: "maskinporten::settings",
                source = watch.source.name(),
                error = shown,
                hint,
                "the credentials cannot be read again; those in use stay in use"
            );
        }
    }

    fn mended(&self, watch: &Watch) {
        let before = watch.trouble.lock().take();
        if before.is_some() {
            tracing::info!(
                target: "maskinporten::settings",
                source = watch.source.name(),
                "the credentials can be read again"
            );
        }
    }

    /// Ends the watch.
    pub(crate) fn stop(&self) -> Option<JoinHandle<()>> {
        let task = &self.watch.as_ref()?.task;
        let ended = task.lock().replace(Task::Closed)?;
        ended.abort();
        Some(ended)
    }

    /// Ends the watch and waits until it has ended: a second at most, for one whose runtime stands still
    /// never does.
    pub(crate) async fn close(&self) {
        if let Some(task) = self.stop() {
            let _ = timeout(GRACE, task).await;
        }
    }
}

impl Task {
    /// Gives the task before, which is dropped under no lock: it may hold the payload of a panic.
    fn replace(&mut self, state: Self) -> Option<JoinHandle<()>> {
        match std::mem::replace(self, state) {
            Self::Started(task) => Some(task),
            Self::Idle | Self::Starting | Self::Closed => None,
        }
    }
}

/// Another client has other keys. Where one of the old ones came along, the secrets are being written one
/// after the other, and what was seen is half of one client and half of another.
fn check_keys(old: &Material, new: &Material) -> Result<()> {
    if old.identity.client_id() == new.identity.client_id() {
        return Ok(());
    }
    let signs = |key: &Arc<dyn Signer>| {
        let mut signers = old.keys.signers().iter();
        signers.any(|signer| signer.key_reference() == key.key_reference())
    };
    if new.keys.signers().iter().any(signs) {
        let message = "the client id has changed, and the key is still that of the client before";
        return Err(Error::settings(message).with_advice(&advice::HALF_CHANGED));
    }
    Ok(())
}

/// Asked of a task that may have ended.
fn has_panicked(mut task: JoinHandle<()>) -> bool {
    let mut context = Context::from_waker(Waker::noop());
    match Pin::new(&mut task).poll(&mut context) {
        Poll::Ready(Err(end)) => end.is_panic(),
        Poll::Ready(Ok(())) | Poll::Pending => false,
    }
}

impl Watch {
    /// One reading: settings, or why there are none.
    async fn read(&self) -> Result<MaskinportenSettings> {
        let name = self.source.name();
        let found = timeout(READING, self.source.look()).await;
        let found = found.unwrap_or_else(|_elapsed| {
            Err(Error::unavailable(format!("{name} did not answer in time")))
        });
        match found? {
            Finding::Complete(settings) => Ok(*settings),
            Finding::Incomplete(missing) | Finding::Misnamed(missing) => {
                let message = format!("{name} lacks {}", missing.join(", "));
                Err(Error::settings(message).with_advice(&advice::SOURCE_GONE))
            }
            Finding::Nothing => {
                let message = format!("{name} holds nothing any more");
                Err(Error::settings(message).with_advice(&advice::SOURCE_GONE))
            }
        }
    }
}

impl fmt::Debug for Live {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("Live");
        out.field("material", &self.material());
        if let Some(watch) = &self.watch {
            out.field("source", &watch.source);
        }
        out.finish_non_exhaustive()
    }
}

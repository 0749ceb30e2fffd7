//! The credentials of a client while it lives: the state that signs now, and what replaces it.
//!
//! - A source that may change is looked at again every interval by one task, which starts with the first
//!   grant, on the runtime it finds, and ends with the client.
//! - What is new is taken when it was seen twice alike, a second apart: files and secrets that are
//!   written one after the other have settled by then. It is checked whole and every key signs before it is
//!   swapped in, at once and for all.
//! - What is gone, incomplete or unusable changes nothing: the client goes on with what it has, and tells.
//! - Another key leaves tokens as they are. Another client id or authority drops them. Another environment
//!   is refused: the origins that layers were built with, and Altinn, are of the old one.
//! - A grant that is refused for its key has the source looked at at once, so that a rotation without
//!   overlap costs that one refusal.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use parking_lot::{Mutex, RwLock};
use tokio::runtime::Handle;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use crate::advice;
use crate::blocking::on_blocking_pool;
use crate::clock::Moment;
use crate::error::{Error, Result};
use crate::settings::{Finding, MaskinportenSettings, SettingsSource};
use crate::signer::Signer;

use super::expiry::Warnings;
use super::material::{Material, Parts};

/// How long what is new must stay as it is before it is taken.
const SETTLED_AFTER: Duration = Duration::from_secs(1);

/// How often a source that keeps changing is read in one look.
const READINGS: usize = 4;

/// How long one reading of a source may take.
const READING: Duration = Duration::from_secs(30);

/// The shortest interval there is: a source that asks for less would be asked without a pause.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(100);

/// The same trouble is told of again after this time.
const TOLD_AGAIN_AFTER: Duration = Duration::from_secs(10 * 60);

/// How long a grant that was refused for its key waits for a look at the source: the flight that it is of
/// has ten seconds.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long a closing client waits for its watch to end.
const GRACE: Duration = Duration::from_secs(1);

/// What a client proves itself by now.
pub(crate) struct Live {
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
    /// The settings that were taken last. Whoever looks holds it, across an await: one at a time.
    taken: tokio::sync::Mutex<MaskinportenSettings>,
    task: Mutex<Option<JoinHandle<()>>>,
    /// A look is wanted before the interval is over.
    wanted: Arc<Notify>,
    /// How many looks have begun, and the number of the last that is done.
    begun: AtomicU64,
    done: watch::Sender<u64>,
    trouble: Mutex<Option<Trouble>>,
    closed: AtomicBool,
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
            Some(Watch {
                source,
                interval,
                taken: tokio::sync::Mutex::new(settings),
                task: Mutex::new(None),
                wanted: Arc::default(),
                begun: AtomicU64::new(0),
                done: watch::Sender::new(0),
                trouble: Mutex::new(None),
                closed: AtomicBool::new(false),
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
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the room that watches, on the runtime it finds here and now"
    )]
    pub(crate) fn keep_watch(self: &Arc<Self>) {
        let Some(watch) = &self.watch else { return };
        let mut task = watch.task.lock();
        let runs = task.as_ref().is_some_and(|task| !task.is_finished());
        if runs || watch.closed.load(Ordering::SeqCst) {
            return;
        }
        let Ok(runtime) = Handle::try_current() else {
            return;
        };
        let (live, interval) = (Arc::downgrade(self), watch.interval);
        let wanted = Arc::clone(&watch.wanted);
        *task = Some(runtime.spawn(async move {
            loop {
                let _ = timeout(interval, wanted.notified()).await;
                let Some(live) = live.upgrade() else { return };
                live.look_again().await;
                live.warn();
            }
        }));
    }

    /// Has the watch look at the source now, and waits for it: [`PATIENCE`] at most, and the watch goes on.
    /// True where the state is another than that of `revision`, whoever has brought it.
    pub(crate) async fn look_again_since(&self, revision: u64) -> bool {
        if let Some(watch) = &self.watch
            && self.revision() == revision
        {
            // One that has begun may have read what was there before.
            let next = watch.begun.load(Ordering::SeqCst) + 1;
            let mut done = watch.done.subscribe();
            watch.wanted.notify_one();
            let _ = timeout(PATIENCE, done.wait_for(|done| *done >= next)).await;
        }
        self.revision() != revision
    }

    async fn look_again(&self) {
        let Some(watch) = &self.watch else { return };
        let mut taken = watch.taken.lock().await;
        let number = watch.begun.fetch_add(1, Ordering::SeqCst) + 1;
        match self.changed(watch, &taken).await {
            Ok(None) => self.mended(watch),
            Ok(Some((settings, material))) => {
                self.swap(material, settings.source());
                *taken = settings;
                self.mended(watch);
            }
            Err(error) => self.troubled(watch, error),
        }
        watch.done.send_replace(number);
    }

    /// What is new, checked; none where all is as it was.
    async fn changed(
        &self,
        watch: &Watch,
        taken: &MaskinportenSettings,
    ) -> Result<Option<(MaskinportenSettings, Material)>> {
        let mut seen = watch.read().await?;
        if seen.is_same(taken) {
            return Ok(None);
        }
        let mut readings = 1;
        loop {
            sleep(SETTLED_AFTER).await;
            let again = watch.read().await?;
            if again.is_same(&seen) {
                break;
            }
            if again.is_same(taken) {
                return Ok(None);
            }
            seen = again;
            readings += 1;
            if readings == READINGS {
                let message = format!("{} keeps changing", watch.source.name());
                return Err(Error::unavailable(message));
            }
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
        material.try_signers().await?;
        Ok(Some((seen, material)))
    }

    /// From here on every grant is made of the new state.
    fn swap(&self, material: Material, source: &str) {
        let (client_id, authority) = {
            let identity = &material.identity;
            (
                identity.client_id().to_owned(),
                identity.issuer().to_owned(),
            )
        };
        let old = std::mem::replace(&mut *self.material.write(), Arc::new(material));
        self.revision.fetch_add(1, Ordering::AcqRel);
        let is_new_client =
            (old.identity.client_id(), old.identity.issuer()) != (&*client_id, &*authority);
        // After the swap: what is fetched from now on is the new client's.
        if is_new_client && let Some(drop_tokens) = self.new_client.get() {
            drop_tokens();
        }
        tracing::info!(
            target: "maskinporten::settings",
            source,
            client_id,
            authority,
            tokens_dropped = is_new_client,
            "new credentials are in use"
        );
    }

    /// Remembers why there is nothing new, and tells where that is news.
    fn troubled(&self, watch: &Watch, error: Error) {
        let now = self.parts.clock.now();
        let mut trouble = watch.trouble.lock();
        let is_told = trouble.as_ref().is_some_and(|trouble| {
            trouble.error.to_string() == error.to_string()
                && now < trouble.told_at.after(TOLD_AGAIN_AFTER)
        });
        let told_at = match trouble.as_ref() {
            Some(trouble) if is_told => trouble.told_at,
            _ => now,
        };
        let shown = error.to_string();
        let hint = error.hint();
        *trouble = Some(Trouble { error, told_at });
        drop(trouble);
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
        let was_in_trouble = watch.trouble.lock().take().is_some();
        if was_in_trouble {
            tracing::info!(
                target: "maskinporten::settings",
                source = watch.source.name(),
                "the credentials can be read again"
            );
        }
    }

    /// Ends the watch.
    pub(crate) fn stop(&self) -> Option<JoinHandle<()>> {
        let watch = self.watch.as_ref()?;
        watch.closed.store(true, Ordering::SeqCst);
        let task = watch.task.lock().take()?;
        task.abort();
        Some(task)
    }

    /// Ends the watch and waits until it has ended: a second at most, for one whose runtime stands still
    /// never does.
    pub(crate) async fn close(&self) {
        if let Some(task) = self.stop() {
            let _ = timeout(GRACE, task).await;
        }
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
            Finding::Incomplete(missing) => {
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

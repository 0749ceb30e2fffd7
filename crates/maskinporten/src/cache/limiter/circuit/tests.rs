//! The circuits against a model: a list of tenants, and what each has met since the last answer.

use proptest::prelude::*;
use proptest::sample::Index;

use super::*;

/// When a test begins.
const START: Moment = Moment::from_nanoseconds(1_000_000_000_000);

/// The same for all who hold it: how many do is counted.
type Failure = Arc<()>;

#[derive(Default)]
struct Model {
    tenants: Vec<Known>,
    /// The authority's circuit.
    open: Option<OpenSince>,
    /// The identity that was given the last refusal of the credentials, if none has succeeded since.
    refused: Option<Identity>,
}

/// From when on a tenant may be probed, by those of its identities whose last fetch succeeded and by others.
struct ProbedFrom {
    proven: Moment,
    others: Moment,
}

struct Known {
    id: TenantId,
    identities: Vec<u64>,
    /// Those that have failed since the last answer to one of them, each once.
    failed: Vec<u64>,
    /// Whether it counts against the authority: since no tenant was answered.
    is_failing: bool,
    /// Its circuit, and when it was opened or last probed.
    open: Option<ProbedFrom>,
    /// Whether it knows that the authority does not answer it.
    is_told: bool,
    recoveries: Arc<AtomicU64>,
    /// How often its own circuit has closed.
    closings: u64,
}

struct OpenSince {
    about: About,
    at: Moment,
    probed_at: Option<Moment>,
    probes: u32,
}

impl Model {
    fn tenant(&mut self, id: TenantId) -> &mut Known {
        let tenant = self.tenants.iter_mut().find(|tenant| tenant.id == id);
        tenant.expect("it is known")
    }

    fn close_all(&mut self) {
        self.open = None;
        for tenant in &mut self.tenants {
            tenant.failed.clear();
            (tenant.is_failing, tenant.open) = (false, None);
        }
    }

    fn open(&mut self, about: About, now: Moment) -> Change {
        self.open = Some(OpenSince {
            about,
            at: now,
            probed_at: None,
            probes: 0,
        });
        self.tenants
            .iter_mut()
            .for_each(|tenant| tenant.is_told = false);
        Change::Opened(about)
    }

    fn answered(&mut self, of: Identity, is_served: bool) -> Change {
        self.tenants
            .iter_mut()
            .for_each(|tenant| tenant.is_failing = false);
        if is_served {
            self.refused = None;
        }
        let closes = |open: &OpenSince| is_served || open.about == About::Server;
        if self.open.as_ref().is_some_and(closes) {
            self.close_all();
            return Change::Closed;
        }
        let tenant = self.tenant(of.tenant);
        tenant.failed.clear();
        if tenant.open.take().is_none() {
            return Change::Nothing;
        }
        tenant.closings += 1;
        Change::ClosedOfTenant
    }

    fn server_failed(&mut self, of: Identity, now: Moment) -> Change {
        let is_alone = self.tenants.len() == 1;
        let tenant = self.tenant(of.tenant);
        if !tenant.failed.contains(&of.number) {
            tenant.failed.push(of.number);
        }
        let have_two_failed = tenant.failed.len() > 1;
        let opens = have_two_failed && tenant.open.is_none();
        if opens {
            tenant.open = Some(ProbedFrom {
                proven: now.after(Duration::from_millis(250)),
                others: now.after(Duration::from_secs(30)),
            });
        }
        tenant.is_failing = true;
        let failing = self
            .tenants
            .iter()
            .filter(|tenant| tenant.is_failing)
            .count();
        match (&self.open, failing) {
            (None, 2..) => self.open(About::Server, now),
            (None, _) if is_alone && have_two_failed => self.open(About::Server, now),
            (None, _) if opens => Change::OpenedOfTenant,
            _ => Change::Nothing,
        }
    }

    fn credentials_failed(&mut self, of: Identity, now: Moment) -> Change {
        let change = self.answered(of, false);
        let before = self.refused.replace(of);
        if self.open.is_some() {
            self.tenant(of.tenant).is_told = true;
            return change;
        }
        let is_alone = self.tenants.len() == 1;
        let is_another = |before: &Identity| match is_alone {
            true => before.number != of.number,
            false => before.tenant != of.tenant,
        };
        let Some(before) = before.filter(is_another) else {
            return change;
        };
        let change = self.open(About::Credentials, now);
        self.tenant(before.tenant).is_told = true;
        self.tenant(of.tenant).is_told = true;
        change
    }
}

struct World {
    circuits: Circuits<Failure>,
    model: Model,
    now: Moment,
    identities: u64,
    failure: Failure,
}

impl World {
    fn new() -> Self {
        Self {
            circuits: Circuits::new(),
            model: Model::default(),
            now: START,
            identities: 0,
            failure: Failure::default(),
        }
    }

    fn play(&mut self, step: Step) {
        match step {
            Step::Tenant => {
                let recoveries = Arc::new(AtomicU64::new(0));
                let id = self.circuits.add(Arc::clone(&recoveries));
                assert!(self.model.tenants.iter().all(|tenant| tenant.id != id));
                let known = Known {
                    id,
                    identities: Vec::new(),
                    failed: Vec::new(),
                    is_failing: false,
                    open: None,
                    is_told: false,
                    recoveries,
                    closings: 0,
                };
                self.model.tenants.push(known);
                self.join(id);
            }
            Step::Join(at) => {
                if let Some(of) = self.pick(at) {
                    self.join(of.tenant);
                }
            }
            Step::Leave(at) => {
                if let Some(of) = self.pick(at) {
                    self.leave(of);
                }
            }
            Step::Ask(at, is_proven) => {
                if let Some(of) = self.pick(at) {
                    self.ask(of, is_proven);
                }
            }
            Step::End(at, ending) => {
                if let Some(of) = self.pick(at) {
                    self.end(of, ending);
                }
            }
            Step::Tell(at) => {
                if let Some(of) = self.pick(at) {
                    self.circuits.tell(of.tenant);
                    self.model.tenant(of.tenant).is_told = true;
                }
            }
            Step::Reset => {
                drop(self.circuits.reset());
                self.model.close_all();
                self.model.refused = None;
            }
            Step::Pass(milliseconds) => {
                self.now = self.now.after(Duration::from_millis(milliseconds));
            }
        }
        self.check();
    }

    fn pick(&self, at: Index) -> Option<Identity> {
        let all = self.model.tenants.iter();
        let identities = all.flat_map(|tenant| {
            let number = tenant.identities.iter();
            number.map(|number| Identity {
                tenant: tenant.id,
                number: *number,
            })
        });
        let all: Vec<Identity> = identities.collect();
        (!all.is_empty()).then(|| all[at.index(all.len())])
    }

    fn join(&mut self, tenant: TenantId) {
        self.identities += 1;
        self.circuits.join(tenant);
        let identity = self.identities;
        self.model.tenant(tenant).identities.push(identity);
    }

    fn leave(&mut self, of: Identity) {
        let tenant = self.model.tenant(of.tenant);
        tenant.identities.retain(|number| *number != of.number);
        let is_last = tenant.identities.is_empty();
        assert_eq!(self.circuits.leave(of.tenant, &mut Vec::new()), is_last);
        if is_last {
            self.model.tenants.retain(|tenant| tenant.id != of.tenant);
            // What it has met is about no other that is given its place.
            self.model.refused = self
                .model
                .refused
                .filter(|before| before.tenant != of.tenant);
        }
    }

    fn ask(&mut self, of: Identity, is_proven: bool) {
        let now = self.now;
        let gate = self.circuits.gate(of.tenant, is_proven, now);
        if self.model.open.is_some() {
            self.ask_authority(of, is_proven, gate);
            return;
        }
        let tenant = self.model.tenant(of.tenant);
        let Some(from) = &mut tenant.open else {
            assert_eq!(gate, Gate::Pass);
            return;
        };
        let due = if is_proven { from.proven } else { from.others };
        match gate {
            Gate::Probe(Probe::Other) if now >= due => {
                from.proven = now.after(Duration::from_secs(1));
                if !is_proven {
                    from.others = now.after(Duration::from_secs(30));
                }
            }
            Gate::Park(Waits::ForTelling, at) => assert!(is_proven && at == due && now < due),
            Gate::Refuse(_, until) => assert!(!is_proven && until == due && now < due),
            gate => panic!("{gate:?} while the tenant's circuit is open"),
        }
    }

    fn ask_authority(&mut self, of: Identity, is_proven: bool, gate: Gate<Failure>) {
        let now = self.now;
        let tenant = self.model.tenant(of.tenant);
        let is_unscathed = tenant.failed.is_empty() && !tenant.is_told;
        let is_unaware = is_proven || is_unscathed;
        let open = self.model.open.as_mut().expect("it is open");
        let last = open.probed_at.unwrap_or(open.at);
        match gate {
            Gate::Probe(probe) => {
                let pause = match open.probed_at {
                    None if is_unaware => Duration::from_millis(250),
                    _ => Duration::from_secs(1),
                };
                assert!(
                    last.until(now) >= pause,
                    "{probe:?} {:?} after another",
                    last.until(now)
                );
                assert_eq!(probe == Probe::Telling, is_unscathed);
                open.probed_at = Some(now);
                open.probes += 1;
            }
            Gate::Park(waits, until) => {
                assert!(now < until && now.until(until) <= Duration::from_secs(60));
                assert_eq!(waits == Waits::ForTelling, is_unscathed);
                assert!(is_unaware || open.probed_at.is_some());
            }
            Gate::Refuse(_, until) => {
                assert!(!is_unaware, "it has met no failure");
                assert!(now < until && now.until(until) <= Duration::from_secs(60));
            }
            Gate::Pass => panic!("the authority's circuit is open"),
        }
        // A second after the last probe the next one may go: at once of those who have met no failure, and where
        // the server failed of any.
        if open.probed_at != Some(now) {
            let is_due = last.until(now) >= Duration::from_secs(1);
            assert!(
                !(is_due && (is_unaware || open.about == About::Server)),
                "a probe is due"
            );
        }
    }

    fn end(&mut self, of: Identity, ending: End) {
        let error = Arc::clone(&self.failure);
        let (ending, expected) = match ending {
            End::Served => (Ending::Served, self.model.answered(of, true)),
            End::Answered => (Ending::Answered, self.model.answered(of, false)),
            End::ServerFailed => {
                let expected = self.model.server_failed(of, self.now);
                (Ending::Failed(About::Server, error), expected)
            }
            End::CredentialsFailed => {
                let expected = self.model.credentials_failed(of, self.now);
                (Ending::Failed(About::Credentials, error), expected)
            }
            End::Unknown => (Ending::Unknown, Change::Nothing),
        };
        let is_probing = self
            .model
            .open
            .as_ref()
            .is_some_and(|open| open.probed_at.is_some());
        let change = self.circuits.note(of, ending, self.now, &mut Vec::new());
        assert_eq!(change, expected);
        if is_probing {
            self.circuits.probe_ended();
        }
    }

    fn check(&mut self) {
        let of_tenants = self
            .model
            .tenants
            .iter()
            .filter(|tenant| tenant.open.is_some())
            .count();
        let open = of_tenants + usize::from(self.model.open.is_some());
        assert_eq!(self.circuits.count_open(), open);
        // Each open circuit holds one error, and no other is kept.
        assert_eq!(Arc::strong_count(&self.failure), 1 + open);
        for tenant in &self.model.tenants {
            let is_open = tenant.open.is_some() || self.model.open.is_some();
            assert_eq!(self.circuits.refusal(tenant.id).is_some(), is_open);
            assert_eq!(tenant.recoveries.load(Ordering::Relaxed), tenant.closings);
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    /// Another tenant, with one identity.
    Tenant,
    /// Another identity of a tenant.
    Join(Index),
    Leave(Index),
    /// An identity asks, and whether its last fetch succeeded.
    Ask(Index, bool),
    End(Index, End),
    Tell(Index),
    Reset,
    Pass(u64),
}

#[derive(Clone, Copy, Debug)]
enum End {
    Served,
    Answered,
    ServerFailed,
    CredentialsFailed,
    Unknown,
}

fn step() -> impl Strategy<Value = Step> {
    let at = any::<Index>;
    let end = prop_oneof![
        1 => Just(End::Served),
        1 => Just(End::Answered),
        5 => Just(End::ServerFailed),
        3 => Just(End::CredentialsFailed),
        1 => Just(End::Unknown),
    ];
    prop_oneof![
        2 => Just(Step::Tenant),
        3 => at().prop_map(Step::Join),
        3 => at().prop_map(Step::Leave),
        10 => (at(), any::<bool>()).prop_map(|(at, is_proven)| Step::Ask(at, is_proven)),
        8 => (at(), end).prop_map(|(at, end)| Step::End(at, end)),
        1 => at().prop_map(Step::Tell),
        1 => Just(Step::Reset),
        4 => (0u64..1_500).prop_map(Step::Pass),
        1 => (0u64..40_000).prop_map(Step::Pass),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn circuits_open_and_close_by_the_rules_and_probes_keep_their_pauses(
        steps in prop::collection::vec(step(), 1..300),
    ) {
        let mut world = World::new();
        for step in steps {
            world.play(step);
        }
    }
}

/// Adds a tenant with as many identities.
fn tenant(circuits: &mut Circuits<&'static str>, identities: usize) -> TenantId {
    let id = circuits.add(Arc::new(AtomicU64::new(0)));
    (0..identities).for_each(|_| circuits.join(id));
    id
}

fn fail(
    circuits: &mut Circuits<&'static str>,
    tenant: TenantId,
    number: u64,
    about: About,
) -> Change {
    let ending = Ending::Failed(about, "failed");
    circuits.note(Identity { tenant, number }, ending, START, &mut Vec::new())
}

#[test]
fn a_tenant_that_is_forgotten_and_comes_back_is_not_two() {
    for about in [About::Server, About::Credentials] {
        let mut circuits = Circuits::new();
        let _other = tenant(&mut circuits, 2);
        let first = tenant(&mut circuits, 1);
        assert_eq!(fail(&mut circuits, first, 1, about), Change::Nothing);
        assert!(circuits.leave(first, &mut Vec::new()));
        // Of another place in the list.
        let _between = tenant(&mut circuits, 2);
        let again = tenant(&mut circuits, 1);
        assert_ne!(again, first);
        assert_eq!(
            fail(&mut circuits, again, 2, about),
            Change::Nothing,
            "{about:?}"
        );
    }
}

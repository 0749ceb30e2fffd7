//! Two threads against one: a speedup, judged by a control that shares nothing.

use std::panic::resume_unwind;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::Result;
use crate::finding::{Bound, Unit};
use crate::median::median_of_processes;
use crate::report::Figure;

/// Below this the machine, not the code, is what keeps two threads from twice the work of one.
const CONTROL: Bound = Bound::at_least(1.9, Unit::Ratio);

/// Processes, and pairs of each, that a speedup is taken over.
const PROCESSES: usize = 5;
const PAIRS: usize = 15;

/// How long a run lasts: long enough for some 100 000 calls.
const RUN: Duration = Duration::from_millis(25);

/// Calls a second on one and on two threads.
#[derive(Debug, Clone, PartialEq)]
pub struct Speedup(Vec<Value>);

/// Measures one process's pairs of two threads and one, and those of the control next to them, as
/// [`Speedup::of_processes`] reads them.
///
/// `ours` and `control` make the work of one thread on that thread, given its number. The work is called
/// again and again and tells how many calls it has made; what it has to warm up it does while it is made.
pub fn speedup<W, C>(ours: impl Fn(usize) -> W + Sync, control: impl Fn(usize) -> C + Sync) -> Value
where
    W: FnMut() -> usize,
    C: FnMut() -> usize,
{
    let (mut of_ours, mut of_control) = (Vec::new(), Vec::new());
    for _ in 0..PAIRS {
        let one = throughput(1, &ours);
        of_ours.push([throughput(2, &ours), one]);
        let one = throughput(1, &control);
        of_control.push([throughput(2, &control), one]);
    }
    json!({"ours": of_ours, "control": of_control})
}

/// Calls a second of so many threads together.
fn throughput<W: FnMut() -> usize>(threads: usize, make: &(impl Fn(usize) -> W + Sync)) -> f64 {
    let barrier = Barrier::new(threads);
    let run = |thread: usize| {
        let mut work = make(thread);
        barrier.wait();
        let start = Instant::now();
        let mut calls = 0;
        while start.elapsed() < RUN {
            calls += work();
        }
        calls as f64 / start.elapsed().as_secs_f64()
    };
    thread::scope(|scope| {
        let run = &run;
        let running: Vec<_> = (0..threads)
            .map(|at| scope.spawn(move || run(at)))
            .collect();
        let rates = running.into_iter().map(thread::ScopedJoinHandle::join);
        rates
            .map(|rate| rate.unwrap_or_else(|panic| resume_unwind(panic)))
            .sum()
    })
}

impl Speedup {
    /// Runs this program again with `args` in several processes, each of which prints what [`speedup`]
    /// gives.
    ///
    /// # Errors
    ///
    /// As [`again`](crate::again).
    pub fn of_processes(args: &[&str]) -> Result<Self> {
        crate::processes(PROCESSES, args).map(Self)
    }

    /// Two threads by one: the median over the processes of each one's median. Not judged where that of
    /// the control is below 1.9.
    ///
    /// # Errors
    ///
    /// If a process printed fewer pairs than 15.
    pub fn figure(self) -> Result<Figure> {
        let ours = median_of_processes(&self.0, "/ours", PAIRS)?;
        let control = median_of_processes(&self.0, "/control", PAIRS)?;
        let figure = Figure::new(ours).with_samples(self.0.into());
        if CONTROL.holds(control) {
            Ok(figure.with_note(format!("control: {control:.2}")))
        } else {
            Ok(figure.not_judged(format!("control reached only {control:.2}")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    #[track_caller]
    fn check(two: f64, control: f64, judged: bool, note: &str) {
        let process = json!({
            "ours": vec![[two, 1.0]; PAIRS],
            "control": vec![[control, 1.0]; PAIRS],
        });
        let expected = Figure::new(two).with_samples(json!([process]));
        let expected = if judged {
            expected.with_note(note)
        } else {
            expected.not_judged(note)
        };

        assert_eq!(Speedup(vec![process]).figure().unwrap(), expected);
    }

    #[test]
    fn threads_are_judged_where_the_control_has_two() {
        check(1.8, 1.9, true, "control: 1.90");
        check(1.7, 1.9, true, "control: 1.90");
        check(1.9, 1.8, false, "control reached only 1.80");
    }

    #[test]
    fn too_few_pairs_or_no_control_measure_nothing() {
        let pairs = |count| vec![[1.9, 1.0]; count];
        let few = json!({"ours": pairs(PAIRS), "control": pairs(PAIRS - 1)});
        assert!(Speedup(vec![few]).figure().is_err());
        let missing = json!({"ours": pairs(PAIRS)});
        assert!(Speedup(vec![missing]).figure().is_err());
    }

    #[test]
    fn each_thread_makes_its_own_work() {
        let made = Mutex::new(Vec::new());

        throughput(2, &|thread| {
            made.lock().unwrap().push(thread);
            || 1
        });

        let mut made = made.into_inner().unwrap();
        made.sort_unstable();
        assert_eq!(made, [0, 1]);
    }
}

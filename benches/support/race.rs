//! Contestants that are measured in turns.

use std::time::{Duration, Instant};

/// The least that a sample takes: as many calls as that needs. It is shorter than a time slice of the
/// scheduler, so that on a shared machine most samples of short calls are undisturbed.
const SAMPLE: Duration = Duration::from_millis(1);

/// Samples of each contestant, unless they take more than [`BUDGET`] together.
const ROUNDS: usize = 101;
const FEWEST_ROUNDS: usize = 5;
const BUDGET: Duration = Duration::from_secs(10);

/// Code to measure.
pub(crate) struct Contestant<'a> {
    pub(crate) name: &'static str,
    /// What a call does: multiply-accumulates, bytes or cycles.
    pub(crate) work: f64,
    pub(crate) run: Box<dyn FnMut() + Send + 'a>,
}

impl<'a> Contestant<'a> {
    pub(crate) fn new(name: &'static str, work: f64, run: impl FnMut() + Send + 'a) -> Self {
        Contestant { name, work, run: Box::new(run) }
    }

    fn time(&mut self, calls: u32) -> Duration {
        let start = Instant::now();
        for _ in 0..calls {
            (self.run)();
        }
        start.elapsed()
    }

    fn calls_per_sample(&mut self) -> u32 {
        let mut calls = 1;
        // The first call allocates, and finds its data in no cache.
        (self.run)();
        loop {
            let time = self.time(calls);
            if time >= SAMPLE {
                return calls;
            }
            let missing = SAMPLE.as_secs_f64() / time.as_secs_f64().max(1e-9);
            calls = (f64::from(calls) * missing.clamp(1.1, 100.0)).ceil() as u32;
        }
    }
}

/// What became of a contestant.
pub(crate) struct Timing {
    pub(crate) name: &'static str,
    /// The median time of a call.
    pub(crate) seconds: f64,
    /// Work per second.
    pub(crate) rate: f64,
}

/// Samples all contestants round by round, so that a disturbance of the machine or a change of its
/// clock meets all of them. Where other processes share the core, calls longer than their time
/// slices still fare worse than short ones.
pub(crate) fn race(mut contestants: Vec<Contestant>) -> Vec<Timing> {
    let calls: Vec<u32> = contestants.iter_mut().map(Contestant::calls_per_sample).collect();
    let mut samples = vec![Vec::new(); contestants.len()];
    let start = Instant::now();
    for round in 0..ROUNDS {
        if round >= FEWEST_ROUNDS && start.elapsed() > BUDGET {
            break;
        }
        for ((contestant, &calls), samples) in contestants.iter_mut().zip(&calls).zip(&mut samples)
        {
            if calls > 1 {
                // Gets back the caches that the others have used.
                (contestant.run)();
            }
            samples.push(contestant.time(calls).as_secs_f64() / f64::from(calls));
        }
    }
    let timings = contestants.iter().zip(samples).map(|(contestant, samples)| {
        let seconds = median(samples);
        Timing { name: contestant.name, seconds, rate: contestant.work / seconds }
    });
    timings.collect()
}

fn median(mut samples: Vec<f64>) -> f64 {
    samples.sort_by(f64::total_cmp);
    (samples[(samples.len() - 1) / 2] + samples[samples.len() / 2]) / 2.0
}

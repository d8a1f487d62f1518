//! What became of each case.

use std::collections::BTreeMap;
use std::fmt;

/// Why a case did not pass.
#[derive(Debug)]
pub(crate) enum Miss {
    Failed(String),
    /// The crate has no such operator.
    Unsupported(String),
    /// The index names vectors that the directory does not hold.
    Absent(String),
}

/// The outcome of a case, or of a part of one.
pub(crate) type Check<T = ()> = Result<T, Miss>;

impl<E: std::error::Error> From<E> for Miss {
    fn from(error: E) -> Self {
        Miss::Failed(error.to_string())
    }
}

pub(crate) fn failed<T>(why: impl Into<String>) -> Check<T> {
    Err(Miss::Failed(why.into()))
}

pub(crate) fn unsupported<T>(what: impl Into<String>) -> Check<T> {
    Err(Miss::Unsupported(what.into()))
}

#[derive(Debug, Default)]
struct Tally {
    passed: usize,
    failed: usize,
    unsupported: usize,
    absent: usize,
}

/// Outcomes by operator.
#[derive(Debug, Default)]
pub(crate) struct Report {
    tallies: BTreeMap<String, Tally>,
    misses: Vec<String>,
}

impl Report {
    pub(crate) fn record(&mut self, op: &str, case: &str, outcome: Check) {
        let tally = self.tallies.entry(op.to_owned()).or_default();
        let (count, line) = match outcome {
            Ok(()) => {
                tally.passed += 1;
                return;
            }
            Err(Miss::Failed(why)) => (&mut tally.failed, format!("FAILED {op} {case}: {why}")),
            Err(Miss::Unsupported(what)) => {
                (&mut tally.unsupported, format!("unsupported {op} {case}: {what}"))
            }
            Err(Miss::Absent(what)) => (&mut tally.absent, format!("absent {op} {case}: {what}")),
        };
        *count += 1;
        self.misses.push(line);
    }

    /// Unwraps what a whole file of cases depends on, or records why it cannot be had.
    pub(crate) fn require<T>(&mut self, op: &str, case: &str, outcome: Check<T>) -> Option<T> {
        match outcome {
            Ok(value) => Some(value),
            Err(miss) => {
                self.record(op, case, Err(miss));
                None
            }
        }
    }

    /// Refuses failures, and a run without a case that passed.
    pub(crate) fn verdict(&self) -> Result<(), String> {
        let sum = |count: fn(&Tally) -> usize| self.tallies.values().map(count).sum::<usize>();
        match (sum(|t| t.failed), sum(|t| t.passed)) {
            (0, 0) => Err("there are no cases".to_owned()),
            (0, _) => Ok(()),
            (failed, _) => Err(format!("{failed} cases failed")),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for miss in &self.misses {
            writeln!(f, "{miss}")?;
        }
        let header = ["passed", "failed", "unsupported", "absent"];
        let [passed, failed, unsupported, absent] = header;
        writeln!(f, "{:42} {passed:>6} {failed:>6} {unsupported:>11} {absent:>6}", "")?;
        for (op, tally) in &self.tallies {
            writeln!(
                f,
                "{op:42} {:>6} {:>6} {:>11} {:>6}",
                tally.passed, tally.failed, tally.unsupported, tally.absent
            )?;
        }
        Ok(())
    }
}

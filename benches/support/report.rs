//! Tables of races.

use super::Contestant;
use super::clock::clock;
use super::load::waited;
use super::race::{Timing, race};
use std::fmt;
use std::time::Instant;

/// What contestants do: what their work counts.
#[derive(Clone, Copy)]
pub(crate) enum Unit {
    /// Multiply-accumulates, given as 10⁹ operations per second, two each.
    Mac,
    /// Bytes.
    Byte,
}

impl Unit {
    fn rate(self) -> &'static str {
        match self {
            Unit::Mac => "GOPS",
            Unit::Byte => "GB/s",
        }
    }

    fn per_cycle(self) -> &'static str {
        match self {
            Unit::Mac => "MAC/cycle",
            Unit::Byte => "B/cycle",
        }
    }

    fn scale(self) -> f64 {
        match self {
            Unit::Mac => 2e-9,
            Unit::Byte => 1e-9,
        }
    }
}

/// A Markdown table with a row for each contestant of each case, and notes below it.
pub(crate) struct Table {
    unit: Unit,
    references: &'static [&'static str],
    roof: Option<&'static str>,
    rows: Vec<Vec<String>>,
    notes: Vec<String>,
}

/// The share of time spent waiting for a CPU from which on a case gets a note.
const DISTURBED: f64 = 0.05;

impl Table {
    /// `references` are contestants that all are compared with, `roof` is the one that others are
    /// a share of.
    pub(crate) fn new(
        unit: Unit,
        references: &'static [&'static str],
        roof: Option<&'static str>,
    ) -> Self {
        let mut header = vec!["case".into(), "contestant".into(), "median".into()];
        header.push(unit.rate().into());
        header.extend(references.iter().map(|name| format!("to {name}")));
        header.extend(roof.map(|name| format!("of {name}")));
        header.push(unit.per_cycle().into());
        Table { unit, references, roof, rows: vec![header], notes: Vec::new() }
    }

    /// Measures the contestants of a case in turns, and the clock with them. A note tells if others
    /// took the CPU meanwhile, which makes long calls look slower than they are.
    pub(crate) fn case<'a>(&mut self, name: &str, contestants: Vec<Contestant<'a>>) {
        eprintln!("measuring {name} ...");
        let mut contestants = contestants;
        let has_clock = clock().map(|clock| contestants.push(clock)).is_some();
        let (start, waited_before) = (Instant::now(), waited());
        let mut timings = race(contestants);
        if let (Some(before), Some(after)) = (waited_before, waited()) {
            let waited = after.saturating_sub(before).as_secs_f64();
            let elapsed = start.elapsed().as_secs_f64();
            if waited > DISTURBED * elapsed {
                let note = format!("{name}: {waited:.2} s of waiting for a CPU in {elapsed:.2} s.");
                self.notes.push(note);
            }
        }
        let clock = has_clock.then(|| timings.pop()).flatten();
        for timing in &timings {
            self.rows.push(self.row(name, timing, &timings, clock.as_ref()));
        }
    }

    fn row(
        &self,
        case: &str,
        timing: &Timing,
        all: &[Timing],
        clock: Option<&Timing>,
    ) -> Vec<String> {
        let ratio_to = |name: &str| {
            let other = all.iter().find(|other| other.name == name);
            other.map(|other| timing.rate / other.rate)
        };
        let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".into());
        // How long a call of the roofline is means nothing.
        let time = (self.roof != Some(timing.name)).then(|| time(timing.seconds));
        let mut row = vec![case.into(), timing.name.into(), or_dash(time)];
        row.push(significant(timing.rate * self.unit.scale()));
        for reference in self.references {
            row.push(or_dash(ratio_to(reference).map(|ratio| format!("{} x", significant(ratio)))));
        }
        if let Some(roof) = self.roof {
            row.push(or_dash(ratio_to(roof).map(|share| format!("{:.1} %", 100.0 * share))));
        }
        row.push(or_dash(clock.map(|clock| significant(timing.rate / clock.rate))));
        row
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = |column: usize| self.rows.iter().map(|row| row[column].len()).max();
        let widths: Vec<usize> = (0..self.rows[0].len()).filter_map(width).collect();
        for (i, row) in self.rows.iter().enumerate() {
            for (column, (cell, &width)) in row.iter().zip(&widths).enumerate() {
                match column {
                    0 | 1 => write!(f, "| {cell:<width$} ")?,
                    _ => write!(f, "| {cell:>width$} ")?,
                }
            }
            writeln!(f, "|")?;
            if i == 0 {
                for (column, width) in widths.iter().enumerate() {
                    let end = if column < 2 { '-' } else { ':' };
                    write!(f, "|{:-<1$}{end}", "", width + 1)?;
                }
                writeln!(f, "|")?;
            }
        }
        for note in &self.notes {
            write!(f, "\n{note}")?;
        }
        Ok(())
    }
}

/// Three digits at least.
fn significant(number: f64) -> String {
    let decimals = match number {
        x if x < 10.0 => 2,
        x if x < 100.0 => 1,
        _ => 0,
    };
    format!("{number:.decimals$}")
}

fn time(seconds: f64) -> String {
    match seconds {
        s if s < 1e-3 => format!("{} us", significant(1e6 * s)),
        s if s < 1.0 => format!("{} ms", significant(1e3 * s)),
        s => format!("{} s", significant(s)),
    }
}

/// Whether a table is to be measured: in `cargo bench`, if its name fits the filter as those of
/// Criterion's benchmarks do; not if these are only tested or listed.
pub(crate) fn wanted(table: &str) -> bool {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let given = |option: &str| arguments.iter().any(|argument| argument == option);
    let mut filters = arguments.iter().filter(|argument| !argument.starts_with('-')).peekable();
    let fits = filters.peek().is_none() || filters.any(|filter| table.contains(filter.as_str()));
    given("--bench") && !given("--test") && !given("--list") && fits
}

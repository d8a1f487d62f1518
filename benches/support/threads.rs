//! One thread and two.

use super::{Contestant, Table, Unit};
use rayon::ThreadPool;
use std::thread::available_parallelism;

pub(crate) fn pool(threads: usize) -> ThreadPool {
    rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a thread pool")
}

/// Compares contestants on one thread with the same on two, if the process may use two CPUs.
pub(crate) fn thread_table<'a>(cases: impl IntoIterator<Item = (String, [Contestant<'a>; 2])>) {
    let cpus = available_parallelism().map_or(1, usize::from);
    if cpus < 2 {
        println!("\nNo table of two threads: the process may use one CPU only.");
        return;
    }
    let mut table = Table::new(Unit::Mac, &["1 thread"], None);
    let pools = [("1 thread", pool(1)), ("2 threads", pool(2))];
    for (case, contestants) in cases {
        let contestants = pools.iter().zip(contestants).map(|((name, pool), contestant)| {
            let Contestant { work, mut run, .. } = contestant;
            Contestant::new(name, work, move || pool.install(&mut run))
        });
        table.case(&case, contestants.collect());
    }
    println!("\n{table}");
}

//! Experiments with simulated clusters.

use std::process::ExitCode;
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use sim::cluster::plan::{Plan as ClusterPlan, Planted};
use sim::cluster::world::{run as run_cluster, run_seeds};
use sim::gossip::experiment::{Plan, measure, with_lifeguard, without_lifeguard};

const USAGE: &str = "\
Usage: sim gossip [--seeds N] [--members N] [--loss PERCENT] [--slow N] [--stop SECONDS] [--run SECONDS]

How soon a pool of members knows that one has crashed, and whom it wrongly takes for dead within two minutes while
`slow` members stop for up to `stop` and run for up to `run` seconds by turns; with Lifeguard and without.

       sim cluster [--seeds N] [--seed FIRST] [--planted yes]

Clusters of servers under crashes, partitions, pauses, drifting clocks and bad disks: which seeds break a promise. With
`planted`, rules are broken on purpose, and the seed that notices is shown.
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("sim: {error:#}\n\n{USAGE}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[String]) -> Result<()> {
    let [experiment, flags @ ..] = arguments else { bail!("no experiment is named") };
    match experiment.as_str() {
        "gossip" => gossip(flags),
        "cluster" => cluster(flags),
        _ => bail!("no such experiment: {experiment}"),
    }
}

fn cluster(flags: &[String]) -> Result<()> {
    let (mut seeds, mut first, mut planted) = (20_u64, 1_u64, false);
    for flag in flags.chunks(2) {
        let [name, value] = flag else { bail!("{} needs a value", flag[0]) };
        match name.as_str() {
            "--seeds" => seeds = number(name, value)?,
            "--seed" => first = number(name, value)?,
            "--planted" => planted = value == "yes",
            _ => bail!("no such flag: {name}"),
        }
    }
    if planted {
        for planted in Planted::ALL {
            let caught = (first..first + seeds).find_map(|seed| {
                let history = run_cluster(ClusterPlan { planted, ..ClusterPlan::of_seed(seed) });
                Some((seed, history.breaches.into_iter().next()?))
            });
            match caught {
                Some((seed, breach)) => println!("{planted:?}: caught by seed {seed}: {:.160}", breach),
                None => println!("{planted:?}: NOT CAUGHT in {seeds} seeds"),
            }
        }
        return Ok(());
    }
    let (wrong, figures) = run_seeds(first..first + seeds, ClusterPlan::of_seed);
    println!("{seeds} seeds: {figures:#?}");
    for (seed, breach) in &wrong {
        println!("seed {seed}: {breach}");
    }
    anyhow::ensure!(wrong.is_empty(), "{} seeds broke a promise", wrong.len());
    Ok(())
}

fn gossip(flags: &[String]) -> Result<()> {
    let plan = plan(flags)?;
    println!("{plan:?}");
    println!("with Lifeguard:\n{}", measure(plan, with_lifeguard));
    println!("without Lifeguard:\n{}", measure(plan, without_lifeguard));
    Ok(())
}

fn plan(flags: &[String]) -> Result<Plan> {
    let mut plan =
        Plan { seeds: 20, members: 64, loss: 0.0, slow: 4, stop: Duration::from_secs(16), run: Duration::from_secs(2) };
    for flag in flags.chunks(2) {
        let [name, value] = flag else { bail!("{} needs a value", flag[0]) };
        match name.as_str() {
            "--seeds" => plan.seeds = number(name, value)?,
            "--members" => plan.members = number::<usize>(name, value)?.max(2),
            "--loss" => plan.loss = number::<f64>(name, value)?.clamp(0.0, 100.0) / 100.0,
            "--slow" => plan.slow = number(name, value)?,
            "--stop" => plan.stop = seconds(name, value)?,
            "--run" => plan.run = seconds(name, value)?,
            _ => bail!("no such flag: {name}"),
        }
    }
    Ok(plan)
}

fn seconds(name: &str, value: &str) -> Result<Duration> {
    Duration::try_from_secs_f64(number(name, value)?).with_context(|| format!("{name} {value}"))
}

fn number<T: FromStr<Err: std::error::Error + Send + Sync + 'static>>(name: &str, value: &str) -> Result<T> {
    value.parse().with_context(|| format!("{name} {value}"))
}

//! Experiments with simulated clusters.

use std::process::ExitCode;
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use sim::cluster::plan::{Plan as ClusterPlan, Planted};
use sim::cluster::world::{run as run_cluster, run_seeds};
use sim::gossip::experiment::{Anomaly, Detection, FalsePositives, detect, stumble, with_lifeguard, without_lifeguard};

const USAGE: &str = "\
Usage: sim detection [--seeds N] [--members N,N,...] [--loss PERCENT]
       sim lifeguard [--seeds N] [--members N]
       sim cluster [--seeds N] [--seed FIRST] [--planted yes]

detection: how soon a pool knows that a member has crashed, beside what SWIM says, and what that costs at rest.
lifeguard: who is wrongly declared dead within two minutes while the messages of some members stop and run by turns, with Lifeguard and
without, beside what the paper on Lifeguard says.
cluster: servers under crashes, partitions, pauses, drifting clocks and bad disks; which seeds break a promise. With `planted`,
rules are broken on purpose, and the seed that notices is shown.
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
    if experiment == "cluster" {
        return cluster(flags);
    }
    let plan = plan(flags)?;
    match experiment.as_str() {
        "detection" => detection(&plan),
        "lifeguard" => lifeguard(&plan),
        _ => bail!("no such experiment: {experiment}"),
    }
    Ok(())
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
                Some((seed, breach)) => println!("{planted:?}: caught by seed {seed}: {breach:.160}"),
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

struct Plan {
    seeds: Option<u64>,
    members: Vec<usize>,
    /// Of packets, everywhere.
    loss: f64,
}

fn plan(flags: &[String]) -> Result<Plan> {
    let mut plan = Plan { seeds: None, members: Vec::new(), loss: 0.0 };
    for flag in flags.chunks(2) {
        let [name, value] = flag else { bail!("{} needs a value", flag[0]) };
        match name.as_str() {
            "--seeds" => plan.seeds = Some(number::<u64>(name, value)?.max(1)),
            "--members" => {
                let sizes = value.split(',').map(|size| number::<usize>(name, size).map(|size| size.max(3)));
                plan.members = sizes.collect::<Result<_>>()?;
            }
            "--loss" => plan.loss = number::<f64>(name, value)?.clamp(0.0, 90.0) / 100.0,
            _ => bail!("no such flag: {name}"),
        }
    }
    Ok(plan)
}

fn number<T: FromStr<Err: std::error::Error + Send + Sync + 'static>>(name: &str, value: &str) -> Result<T> {
    value.parse().with_context(|| format!("{name} {value}"))
}

/// About as many crashes for each size.
fn seeds_for(members: usize) -> u64 {
    match members {
        0..20 => 60,
        20..100 => 20,
        100..1000 => 6,
        _ => 1,
    }
}

fn detection(plan: &Plan) {
    let sizes = if plan.members.is_empty() { &[3, 10, 32, 100, 320, 1000][..] } else { &plan.members };
    println!(
        "Seconds, mean / p99. SWIM: the expected time until somebody probes the crashed one is e/(e-1) = 1.58 protocol \
         periods (here a second each), whatever the size; news is everywhere after a number of rounds (here 0.2 s each) \
         that grows with log n.\n"
    );
    println!(
        "| members | Lifeguard | first suspected | first declared | then all within | all know | packets/s | bytes/s | \
         wrong |"
    );
    println!("|---|---|---|---|---|---|---|---|---|");
    for &members in sizes {
        let seeds = plan.seeds.unwrap_or_else(|| seeds_for(members));
        for (name, configure) in LIFEGUARD {
            let outcome = detect(seeds, members, plan.loss, configure);
            let Detection { suspected, declared, spread, known, packets, bytes, mistakes } = &outcome;
            let both = [suspected, declared, spread, known]
                .map(|times| format!("{:.2} / {:.2}", times.mean().as_secs_f64(), times.quantile(0.99).as_secs_f64()));
            println!("| {members} | {name} | {} | {packets:.1} | {bytes:.0} | {mistakes} |", both.join(" | "));
        }
    }
}

type Configure = fn(&mut gossip::memberlist::Config);
const LIFEGUARD: [(&str, Configure); 2] = [("on", with_lifeguard), ("off", without_lifeguard)];

/// Some of the paper's combinations: it takes all of many more.
fn anomalies() -> Vec<Anomaly> {
    let mut anomalies = Vec::new();
    for slow in [4, 16, 32] {
        for stop in [2048, 8192, 16_384, 32_768] {
            for run in [64, 1024, 16_384] {
                let (stop, run) = (Duration::from_millis(stop), Duration::from_millis(run));
                anomalies.push(Anomaly { slow, stop, run });
            }
        }
    }
    anomalies
}

fn lifeguard(plan: &Plan) {
    let members = plan.members.first().copied().unwrap_or(128);
    let anomalies = anomalies();
    let counts = LIFEGUARD.map(|(_, configure)| stumble(plan.seeds.unwrap_or(1), members, &anomalies, configure));
    println!("{members} members; off -> on. FP: the healthy declared dead by anybody; FP-: by the healthy.\n");
    println!("| slow | stop s | run s | FP | FP- | the slow, by the healthy |");
    println!("|---|---|---|---|---|---|");
    let row = |what: &str, on: &FalsePositives, off: &FalsePositives| {
        let both = [
            (off.healthy, on.healthy),
            (off.healthy_by_healthy, on.healthy_by_healthy),
            (off.slow_by_healthy, on.slow_by_healthy),
        ];
        println!("| {what} | {} |", both.map(|(off, on)| format!("{off} -> {on}")).join(" | "));
    };
    let [on, off] = &counts;
    let mut sums = [FalsePositives::default(); 2];
    for ((Anomaly { slow, stop, run }, on), off) in anomalies.iter().zip(on).zip(off) {
        row(&format!("{slow} | {:.1} | {:.2}", stop.as_secs_f64(), run.as_secs_f64()), on, off);
        sums[0] += *on;
        sums[1] += *off;
    }
    row("all |  | ", &sums[0], &sums[1]);
    let share = |on: usize, off: usize| 100.0 * on as f64 / off.max(1) as f64;
    println!(
        "\nWith Lifeguard {:.1} % of the FP and {:.1} % of the FP- remain; the paper has 1 to 2 %.",
        share(sums[0].healthy, sums[1].healthy),
        share(sums[0].healthy_by_healthy, sums[1].healthy_by_healthy)
    );
}

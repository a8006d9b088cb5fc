use anyhow::Context;
use holdline_conductor::{Demand, Experiment, ExperimentError, Plan, Rung, Shortfall, check, ladder};
use holdline_host::grants::Grants;
use holdline_host::limits;
use serde::Serialize;

use crate::arguments::DoctorArguments;
use crate::status::{Failure, Status};

/// What the commands are made for if nothing is asked for.
const A_MILLION: u64 = 1_000_000;

/// What the doctor found, as JSON.
#[derive(Serialize)]
struct Finding {
    /// Connections asked for; null if none were.
    connections: Option<u64>,
    /// Whether this host can hold them.
    fit: Option<bool>,
    /// What the experiment lacks besides, in words.
    lacking: Vec<String>,
    /// The limits, the lowest first.
    ladder: Vec<Rung>,
}

/// Shows the ladder of limits. Changes nothing.
pub(crate) fn doctor(arguments: &DoctorArguments) -> Result<Status, Failure> {
    limits::raise_open_files().context("can't raise the limit of open files")?;
    let (demand, lacking) = demand(arguments)?;
    let asked = (arguments.connections.is_some() || arguments.experiment.is_some()).then_some(demand.connections);
    let ladder = ladder(&Grants::read(), &demand);
    let fit = asked.map(|asked| lacking.is_empty() && ladder.iter().all(|rung| !rung.stops(asked)));
    let finding = Finding { connections: asked, fit, lacking, ladder };
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&finding).context("can't write the ladder")?);
    } else if arguments.fix_script {
        print!("{}", script(&finding, demand.connections));
    } else {
        print!("{}", words(&finding, demand.connections));
    }
    Ok(if fit == Some(false) { Status::Host } else { Status::Held })
}

/// What is asked for, and what an experiment lacks that is no rung: source addresses that are not of this host, say.
fn demand(arguments: &DoctorArguments) -> Result<(Demand, Vec<String>), Failure> {
    let Some(file) = &arguments.experiment else {
        return Ok((Demand::of(arguments.connections.unwrap_or(A_MILLION)), Vec::new()));
    };
    let experiment = Experiment::read(file, &arguments.overrides)?;
    let connections = experiment.promise.connections;
    match Plan::new(experiment, limits::open_files().soft) {
        Ok(plan) => {
            let words =
                check(&plan).iter().filter(|shortfall| !shortfall.is_rung()).map(Shortfall::to_string).collect();
            Ok((plan.demand(), words))
        }
        // Without a plan the ladder is that of the number alone.
        Err(ExperimentError::Host(shortfall)) => Ok((Demand::of(connections), vec![shortfall.to_string()])),
        Err(error) => Err(error.into()),
    }
}

fn words(finding: &Finding, connections: u64) -> String {
    let mut text = String::new();
    for rung in &finding.ladder {
        let most = rung.connections.map_or_else(|| "stops none".to_owned(), |most| format!("{most} connections"));
        let mark = if finding.connections.is_some_and(|asked| rung.stops(asked)) { "STOPS" } else { "" };
        text.push_str(&format!("{most:>26}  {mark:<5}  {}: {}\n", rung.limit, rung.value));
        text.push_str(&format!("{:>26}  {:<5}  {} [{}]\n", "", "", rung.meaning, rung.read_from));
        if let Some(raise) = rung.raise.as_ref().filter(|_| rung.connections.is_some_and(|most| most < connections)) {
            text.push_str(&format!("{:>26}  {:<5}  raise it: {raise}\n", "", ""));
        }
    }
    text.push('\n');
    for lacking in &finding.lacking {
        text.push_str(&format!("  - {lacking}\n"));
    }
    let lowest = finding.ladder.iter().find(|rung| rung.connections.is_some());
    let first = lowest.map_or_else(String::new, |rung| {
        format!("the first limit is {} at {} connections", rung.limit, rung.connections.unwrap_or(0))
    });
    text.push_str(&match finding.fit {
        None => format!("{first}\n"),
        Some(true) => format!("{connections} connections with both ends here: this host can hold them; {first}\n"),
        Some(false) => format!("{connections} connections with both ends here: this host can't hold them; {first}\n"),
    });
    text
}

/// A script that raises what is too low; what is no command is a comment.
fn script(finding: &Finding, connections: u64) -> String {
    let mut text = format!(
        "#!/bin/sh\n# Raises what stops {connections} connections on this host, until it is started again. Run as root.\nset -eu\n"
    );
    for rung in finding.ladder.iter().filter(|rung| rung.stops(connections)) {
        text.push_str(&format!("# {}: {} ({})\n", rung.limit, rung.value, rung.meaning));
        match rung.raise.as_deref() {
            Some(command) if command.starts_with("sysctl ") => {
                text.push_str(&command.replacen("sysctl ", "sysctl -w ", 1));
                text.push('\n');
            }
            Some(other) => text.push_str(&format!("# {other}\n")),
            None => text.push_str("# nothing raises it: ask for fewer connections\n"),
        }
    }
    for lacking in &finding.lacking {
        text.push_str(&format!("# {}\n", lacking.replace('\n', " ")));
    }
    text
}

//! The `holdline` binary: arguments, logging, progress, exit status; no logic.

mod arguments;
mod commands;
mod drive;
mod progress;
mod status;

use std::io::IsTerminal;
use std::process::ExitCode;

use clap::Parser;

use crate::arguments::{Arguments, Command};
use crate::status::{Failure, Status};

fn main() -> ExitCode {
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(std::io::stderr().is_terminal()).init();
    let arguments = Arguments::parse();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let result = match runtime {
        Ok(runtime) => runtime.block_on(Box::pin(dispatch(arguments.command))),
        Err(error) => Err(anyhow::Error::from(error).context("can't start a runtime").into()),
    };
    let status = result.unwrap_or_else(|failure| {
        eprintln!("holdline: {}", describe(&failure.error));
        failure.status
    });
    status.into()
}

/// An error with its causes, each said once: some messages have their cause in them already.
fn describe(error: &anyhow::Error) -> String {
    error.chain().skip(1).fold(error.to_string(), |text, cause| {
        let cause = cause.to_string();
        if text.contains(&cause) { text } else { format!("{text}: {cause}") }
    })
}

async fn dispatch(command: Command) -> Result<Status, Failure> {
    match command {
        Command::Run(arguments) => commands::run(arguments).await,
        Command::Analyze(arguments) => commands::analyze(&arguments.folders, &arguments.out),
        Command::Doctor(arguments) => commands::doctor(&arguments),
        Command::Floor(arguments) => commands::floor(&arguments),
        Command::Gate(arguments) => commands::gate(arguments).await,
        Command::Compare(arguments) => commands::compare(&arguments),
        Command::Server(arguments) => commands::server(arguments).await,
        Command::Swarm(arguments) => commands::swarm(arguments).await,
        Command::Alerter(arguments) => commands::alerter(arguments).await,
        Command::Role { kind, .. } => commands::role(&kind).await,
    }
}

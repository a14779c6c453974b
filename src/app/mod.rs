//! The program: command line, wiring, and [`pipeline`], the one page that shows the journey of a
//! change from key to traffic.

mod agent;
mod certs;
mod change;
pub mod cli;
mod dryrun;
mod environment;
mod exec;
mod import;
mod lastgood;
mod logging;
mod look;
mod pipeline;
mod ready;
mod run;
mod seal;
mod settings;
mod tickets;
mod wait;

use std::process::ExitCode;

use cli::{Cli, Command};
use logging::Voice;

/// Does what the command line says.
pub fn main() -> ExitCode {
    let cli = Cli::read();
    if let Err(error) = logging::start(&cli.log, voice(&cli.command)) {
        eprintln!("pointsman: {error}");
        return ExitCode::from(2);
    }
    let result = match cli.command {
        Command::Run(args) => run::run(args),
        Command::Agent(args) => agent::agent(args),
        Command::Exec(args) => exec::exec(args),
        Command::Check(args) => look::check(&args),
        Command::Render { unit, look } => look::render(unit.as_deref(), &look),
        Command::Plan(args) => look::plan(&args),
        Command::Certs { json, look } => certs::certs(json, &look),
        Command::Status { json, store } => look::status(json, &store),
        Command::Wait(args) => wait::wait(&args),
        Command::Ready { stats } => ready::ready(stats),
        Command::Seal(args) => seal::seal(&args),
        Command::Import(args) => import::import(&args),
        Command::Link(args) => change::link(&args),
        Command::Unlink(args) => change::unlink(&args),
        Command::Services(args) => change::services(&args),
        Command::Drain(args) => change::drain(&args),
        Command::Undrain(args) => change::undrain(&args),
        Command::Cert(args) => change::cert(&args),
        Command::Whoami(args) => look::whoami(args),
        Command::Completions { shell } => look::completions(shell),
    };
    result.unwrap_or_else(|error| {
        eprintln!("pointsman: {error:#}");
        ExitCode::from(2)
    })
}

fn voice(command: &Command) -> Voice {
    match command {
        Command::Run(_) | Command::Agent(_) => Voice::Service,
        Command::Exec(_) => Voice::Guest,
        _ => Voice::Command,
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn help_shows_no_value_of_the_environment_that_may_hold_a_password() {
        for command in Cli::command().get_subcommands() {
            for argument in command.get_arguments() {
                let id = argument.get_id().as_str();
                let may = ["etcd_password", "stats_auth", "custom_settings"].contains(&id);
                assert!(!may || argument.is_hide_env_values_set(), "{id}");
            }
        }
    }

    /// `--http` is `LB_HTTP`; whoami, which is another program in the same binary, has its own word in
    /// front.
    #[test]
    fn every_flag_has_an_env_twin_of_its_name() {
        let cli = Cli::command();
        let nested = |c: &clap::Command| c.get_subcommands().cloned().collect::<Vec<_>>();
        let top = nested(&cli);
        let below = top.iter().flat_map(nested);
        for command in top.iter().cloned().chain(below) {
            if command.get_name() == "completions" {
                continue;
            }
            let prefix = match command.get_name() {
                "whoami" => "LB_WHOAMI",
                _ => "LB",
            };
            let flags = command
                .get_arguments()
                .filter_map(|a| Some((a, a.get_long()?)));
            for (flag, long) in flags.filter(|(_, long)| *long != "help") {
                // `LB_BALANCE` is what a container says of itself: no word for another service.
                if flag.get_help_heading() == Some("Service") {
                    assert!(flag.get_env().is_none(), "--{long}");
                    continue;
                }
                let twin = format!("{prefix}_{}", long.to_uppercase().replace('-', "_"));
                let env = flag.get_env().and_then(|e| e.to_str());
                let place = format!("{} --{long}", command.get_name());
                assert_eq!(env, Some(twin.as_str()), "{place}");
                assert!(flag.get_help().is_some(), "{place} has no help");
            }
        }
    }
}

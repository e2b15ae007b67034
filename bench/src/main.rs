//! Benchmarks. `cargo xtask bench` builds this program and runs it; by hand it is needed only for profiles.

mod clock;
mod echo;
mod floor;
mod gateway;
mod limiter;
mod load;
mod overload;

use std::process::ExitCode;

use clap::Parser;

/// What to do.
#[derive(Debug, Parser)]
enum Command {
    /// Compares the gateway with other ways from a browser to a service.
    Gateway(gateway::Options),
    /// Measures what decisions of the limiter cost.
    Limiter(limiter::Options),
    /// Shows what is left of a service's work when too much is asked of it.
    Overload(overload::Options),
    /// The service behind all contenders: answers a message with itself.
    Echo {
        /// Where it listens, on 127.0.0.1.
        #[arg(long)]
        port: u16,
        /// Answers gRPC-Web too, by tonic-web.
        #[arg(long)]
        web: bool,
    },
    /// The least that a proxy can do: bytes from one connection to another.
    Floor {
        /// Where it listens, on 127.0.0.1.
        #[arg(long)]
        port: u16,
        /// The port of the service.
        #[arg(long)]
        to: u16,
    },
}

fn main() -> ExitCode {
    let outcome = match Command::parse() {
        Command::Gateway(options) => gateway::run(&options),
        Command::Limiter(options) => limiter::run(&options),
        Command::Overload(options) => overload::run(&options),
        Command::Echo { port, web } => echo::run(port, web),
        Command::Floor { port, to } => floor::run(port, to),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}

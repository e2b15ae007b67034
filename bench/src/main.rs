//! The benchmarks. `cargo xtask bench` builds and runs this program. Run it directly only to profile.

mod clock;
mod echo;
mod floor;
mod gateway;
mod limiter;
mod load;
mod overload;
mod records;
mod rest;

use std::process::ExitCode;

use clap::Parser;

/// The benchmarks of Trellis, and the servers that they start
#[derive(Debug, Parser)]
enum Command {
    /// Compare the gateway with other ways from a browser to a service
    Gateway(gateway::GatewayOptions),
    /// Measure the cost of rate limit decisions
    Limiter(limiter::LimiterOptions),
    /// Measure how many calls of an overloaded service succeed
    Overload(overload::OverloadOptions),
    /// Run the service behind all contenders, which echoes each message
    Echo {
        /// The port to listen on, at 127.0.0.1
        #[arg(long)]
        port: u16,
        /// Also serve gRPC-Web, with tonic-web
        #[arg(long)]
        web: bool,
    },
    /// Run a minimal proxy, which forwards requests without reading them
    Floor {
        /// The port to listen on, at 127.0.0.1
        #[arg(long)]
        port: u16,
        /// The port of the service
        #[arg(long)]
        to: u16,
    },
    /// Run a hand-written JSON API, on axum, serde and a tonic client
    Rest {
        /// The port to listen on, at 127.0.0.1
        #[arg(long)]
        port: u16,
        /// The port of the service
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
        Command::Rest { port, to } => rest::run(port, to),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}

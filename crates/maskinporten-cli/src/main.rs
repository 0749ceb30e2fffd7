//! The binary `maskinporten`: Maskinporten's tokens at the terminal, one file per verb.
//!
//! - stdout carries what was asked for and nothing else; people are spoken to on stderr.
//! - The exit code tells scripts what went wrong ([`exit`]), stderr tells people ([`report`]).
//! - Nothing is kept between two calls: no token on disk, no settings of its own.

mod exit;

mod report;

mod warnings;

mod token;

mod keygen;

use std::process::ExitCode;

use clap::{ColorChoice, Parser, Subcommand};

/// Maskinporten's tokens at the terminal
#[derive(Parser)]
#[command(name = "maskinporten", version, color = ColorChoice::Never, after_help = exit::help())]
struct Cli {
    #[command(subcommand)]
    verb: Verb,

    /// Say nothing on stderr but warnings and errors
    #[arg(short, long, global = true, display_order = 100)]
    quiet: bool,
}

#[derive(Subcommand)]
enum Verb {
    #[command(after_help = exit::help())]
    Token(token::Args),
    #[command(after_help = exit::help())]
    Keygen(keygen::Args),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    warnings::show(cli.quiet);
    let outcome = match cli.verb {
        Verb::Token(args) => token::run(&args, cli.quiet),
        Verb::Keygen(args) => keygen::run(&args, cli.quiet),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => report::tell(&failure).into(),
    }
}

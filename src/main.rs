//! The command line: parse, build, await the signal, drain. The only home of exit codes.

use std::net::SocketAddr;
use std::pin::Pin;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{Command, CommandFactory, FromArgMatches, Parser, Subcommand};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::Instant;
use warmcut::app::{Server, Worker, set_threads};
use warmcut::client::{self, ClientError, DoctorArgs, LoadArgs};
use warmcut::config::{Config, GatewayArgs, WorkerArgs, hide_unused};
use warmcut::model_command::{self, ModelCommand};
use warmcut::oneshot::{self, CutoutArgs};
use warmcut::{memory, telemetry, warmup};

/// The photo that `load` and `doctor` send when they are given none.
const SAMPLE: &[u8] = include_bytes!("../static/samples/cat.jpg");

/// Cuts photos out of their background, and streams its own warm-up.
#[derive(Debug, Parser)]
#[command(name = "warmcut", version, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Sub>,
    #[command(flatten)]
    serve: Config,
}

#[derive(Debug, Subcommand)]
enum Sub {
    /// Serve everything in one process; the same as no command
    Serve(Box<Config>),
    /// Hold the channels of shoppers; workers do the work
    Gateway(Box<GatewayArgs>),
    /// Do the work of gateways: has the model, and goes when nobody wants it
    Worker(Box<WorkerArgs>),
    /// Cut out one photo without a server
    Cutout(CutoutArgs),
    /// Print the models, check a weights file, or convert one
    #[command(subcommand)]
    Model(ModelCommand),
    /// Drive real sessions against a server and measure
    Load(LoadArgs),
    /// Check a deployed server end to end
    Doctor(DoctorArgs),
}

fn main() -> ExitCode {
    // First, while the kernel's word on the process's age is fresh.
    let started = warmup::process::started();
    memory::keep_little();
    // For connections that the store and Redis make; nobody has chosen before.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut commands = with_environment(hide_unused(Cli::command()));
    let matches = commands.get_matches_mut();
    let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    let command = cli.command.unwrap_or_else(|| Sub::Serve(Box::new(cli.serve)));
    let checked = match &command {
        Sub::Serve(config) => config.check(),
        Sub::Gateway(args) => args.check(),
        Sub::Worker(args) => args.check(),
        _ => Ok(()),
    };
    if let Err(error) = checked {
        commands.error(ErrorKind::ValueValidation, error).exit();
    }
    let ended = match command {
        Sub::Serve(config) => listen(&config, async |shutdown| {
            let server = Server::start(&config, started).await?;
            told("warmcut serves", server.address, started);
            server.run(shutdown).await;
            Ok(())
        }),
        Sub::Gateway(args) => listen(&args.serve, async |mut shutdown| {
            let Some(server) = unless(&mut shutdown, Server::gateway(&args)).await? else { return Ok(()) };
            told("warmcut gateway serves", server.address, started);
            server.run(shutdown).await;
            Ok(())
        }),
        Sub::Worker(args) => listen(&args.serve, async |mut shutdown| {
            let start = Worker::start(&args, started);
            let Some(worker) = unless(&mut shutdown, start).await? else { return Ok(()) };
            told("warmcut worker listens on", worker.address, started);
            worker.run(shutdown).await
        }),
        Sub::Cutout(args) => match args.options() {
            Ok(options) => {
                set_threads(args.threads);
                oneshot::run(&args, &options).map(|()| ExitCode::SUCCESS)
            }
            Err(error) => {
                eprintln!("warmcut: {error}");
                Ok(ExitCode::from(2))
            }
        },
        Sub::Model(command) => model_command::run(&command, |line| say(&line))
            .map(|fits| if fits { ExitCode::SUCCESS } else { ExitCode::FAILURE }),
        Sub::Load(args) => client_command(load(args)),
        Sub::Doctor(args) => client_command(doctor(args)),
    };
    ended.unwrap_or_else(|error| {
        eprintln!("warmcut: {error:#}");
        ExitCode::FAILURE
    })
}

/// Gives every flag its environment twin: `--max-pixels` and `WARMCUT_MAX_PIXELS`. An empty twin is
/// unset, as templates of platforms leave what nobody filled in.
fn with_environment(command: Command) -> Command {
    let twin = |arg: clap::Arg| {
        let Some(name) = arg.get_long().map(|long| long.to_uppercase().replace('-', "_")) else { return arg };
        let name = format!("WARMCUT_{name}");
        let is_empty = std::env::var_os(&name).is_some_and(|value| value.is_empty());
        if is_empty || matches!(arg.get_id().as_str(), "help" | "version") { arg } else { arg.env(name) }
    };
    command.mut_args(twin).mut_subcommands(|sub| sub.mut_args(twin))
}

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread().enable_all().build()?)
}

/// Runs what listens until it is told to go, or goes by itself.
fn listen<S: AsyncFnOnce(Shutdown) -> anyhow::Result<()>>(
    config: &Config,
    serve: S,
) -> anyhow::Result<ExitCode> {
    telemetry::log(config.log_format);
    set_threads(config.threads);
    let runtime = runtime()?;
    runtime.block_on(async {
        // First, so that a server that is told to go while it starts goes as well as any other.
        let shutdown = shutdown_signal()?;
        serve(shutdown).await
    })?;
    // A blocking step that hangs must not hold the exit.
    runtime.shutdown_background();
    Ok(ExitCode::SUCCESS)
}

/// Starts what may have to wait for others; none when it is told to go meanwhile.
async fn unless<T>(
    shutdown: &mut Shutdown,
    start: impl Future<Output = anyhow::Result<T>>,
) -> anyhow::Result<Option<T>> {
    // Cancel safety: nobody knows of what has not started.
    tokio::select! {
        started = start => started.map(Some),
        () = shutdown => Ok(None),
    }
}

/// Says where it listens, to the log and to standard output.
fn told(what: &str, address: SocketAddr, started: Instant) {
    let took = started.elapsed();
    tracing::info!(%address, after_ms = took.as_millis() as u64, "listening");
    say(&format_args!("{what} http://{address}"));
}

/// Runs a client's command; false is a failure that has been told.
fn client_command(command: impl Future<Output = Result<bool, ClientError>>) -> anyhow::Result<ExitCode> {
    match runtime()?.block_on(command) {
        Ok(true) => Ok(ExitCode::SUCCESS),
        Ok(false) => Ok(ExitCode::FAILURE),
        Err(error) if error.is_usage() => {
            eprintln!("warmcut: {error}");
            Ok(ExitCode::from(2))
        }
        Err(error) => Err(error.into()),
    }
}

async fn load(args: LoadArgs) -> Result<bool, ClientError> {
    let json = args.json;
    let report = client::load(args, SAMPLE).await?;
    if json {
        print_json(&report)
    } else {
        say(&report)
    }
    Ok(report.succeeded())
}

async fn doctor(args: DoctorArgs) -> Result<bool, ClientError> {
    let json = args.json;
    let line = |check: &client::doctor::Check| {
        if !json {
            say(check);
        }
    };
    let report = client::doctor(args, SAMPLE, line).await?;
    if json {
        print_json(&report);
    }
    Ok(report.succeeded())
}

/// To standard output; a reader that has gone, such as `head`, is no reason to panic.
fn say(text: &impl std::fmt::Display) {
    use std::io::Write;
    let _ = writeln!(std::io::stdout(), "{text}");
}

fn print_json(report: &impl serde::Serialize) {
    say(&serde_json::to_string(report).expect("reports are plain data"));
}

/// Ends when the process is told to go.
type Shutdown = Pin<Box<dyn Future<Output = ()>>>;

fn shutdown_signal() -> std::io::Result<Shutdown> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    Ok(Box::pin(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    }))
}

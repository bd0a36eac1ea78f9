//! The command line of `warmcut load`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

use crate::client::{ClientError, Identity, Transport, parse_address};

/// Drives real sessions against a server and reports how long each step took.
#[derive(Args, Clone, Debug)]
pub struct LoadArgs {
    /// The server, such as http://127.0.0.1:8080
    #[arg(value_name = "URL", value_parser = address)]
    pub url: String,
    /// How many sessions in all
    #[arg(long, value_name = "N", env = "WARMCUT_COUNT", value_parser = positive)]
    pub count: usize,
    /// How many of them at once; all of them when not given
    #[arg(long, value_name = "C", env = "WARMCUT_CONCURRENCY", value_parser = positive)]
    pub concurrency: Option<usize>,
    /// Each session waits for `ready` before it sends its photo, so that jobs are timed warm
    #[arg(long, env = "WARMCUT_WAIT")]
    pub wait: bool,
    /// The photo to send; a built-in one when not given
    #[arg(long, value_name = "FILE", env = "WARMCUT_IMAGE")]
    pub image: Option<PathBuf>,
    /// Every session sends the very same bytes, so that the results' cache answers
    #[arg(long, env = "WARMCUT_SAME_PHOTO")]
    pub same_photo: bool,
    /// How the channels are carried; `mix` takes turns
    #[arg(long, value_enum, env = "WARMCUT_TRANSPORT", default_value_t = Carriers::Ws)]
    pub transport: Carriers,
    /// Sessions send no photo but hold their channels open so long
    #[arg(long, value_name = "SECONDS", env = "WARMCUT_IDLE", conflicts_with_all = ["wait", "image", "same_photo"])]
    pub idle: Option<u64>,
    /// A session that takes longer is given up
    #[arg(long, value_name = "SECONDS", env = "WARMCUT_TIMEOUT", default_value_t = 600)]
    pub timeout: u64,
    /// One JSON object on standard output, no progress bar
    #[arg(long, env = "WARMCUT_JSON")]
    pub json: bool,
    /// A publishable key, pk_…
    #[arg(long, value_name = "KEY", env = "WARMCUT_KEY", hide_env_values = true)]
    pub key: Option<String>,
    /// The origin of the page that the sessions pretend to be on
    #[arg(long, value_name = "ORIGIN", env = "WARMCUT_ORIGIN")]
    pub origin: Option<String>,
}

/// Which transports the sessions use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Carriers {
    /// WebSockets.
    Ws,
    /// Server-sent events.
    Sse,
    /// Polling.
    Poll,
    /// Each in turn.
    Mix,
}

impl Carriers {
    /// The transport of one session.
    pub(super) fn of(self, number: usize) -> Transport {
        match self {
            Self::Ws => Transport::Ws,
            Self::Sse => Transport::Sse,
            Self::Poll => Transport::Poll,
            Self::Mix => Transport::ALL[number % Transport::ALL.len()],
        }
    }
}

impl LoadArgs {
    pub(super) fn at_once(&self) -> usize {
        self.concurrency.unwrap_or(self.count).min(self.count)
    }

    pub(super) fn identity(&self) -> Identity {
        Identity { key: self.key.clone(), origin: self.origin.clone() }
    }

    /// How long one session may take: what it idles is not counted.
    pub(super) fn patience(&self) -> Duration {
        Duration::from_secs(self.timeout.saturating_add(self.idle.unwrap_or(0)))
    }
}

/// For clap, which wants the text back when it is good.
pub(in crate::client) fn address(text: &str) -> Result<String, ClientError> {
    parse_address(text).map(|_| text.to_owned())
}

fn positive(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) => Err("it must be at least 1".to_owned()),
        Ok(number) => Ok(number),
        Err(error) => Err(format!("it must be a whole number: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        load: LoadArgs,
    }

    fn parse(line: &str) -> Result<LoadArgs, clap::Error> {
        Cli::try_parse_from(format!("load {line}").split(' ')).map(|cli| cli.load)
    }

    #[test]
    fn all_sessions_run_at_once_unless_said_otherwise() {
        let args = parse("http://127.0.0.1:8080 --count 7").expect("good");
        assert_eq!((args.at_once(), args.timeout, args.transport), (7, 600, Carriers::Ws));
        assert_eq!(parse("http://h --count 7 --concurrency 9").expect("good").at_once(), 7);
        assert_eq!(parse("http://h --count 7 --concurrency 2").expect("good").at_once(), 2);
    }

    #[test]
    fn wrong_arguments_are_told_before_anything_starts() {
        for wrong in [
            "http://h",
            "http://h --count 0",
            "h:80 --count 1",
            "http://h --count 1 --transport carrier-pigeon",
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_mix_takes_turns() {
        let first: Vec<_> = (0..4).map(|number| Carriers::Mix.of(number)).collect();
        assert_eq!(first, [Transport::Ws, Transport::Sse, Transport::Poll, Transport::Ws]);
    }
}

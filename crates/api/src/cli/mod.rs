//! The command line: from arguments to an exit code, for every command but `agent`.
//!
//! Always true: what a command says goes to `Io::out`, complaints to `Io::err`; unknown commands print the usage and
//! exit 127, a group without a subcommand prints its help and exits 1, `-h` prints help and exits 0.
//! Not here: the commands themselves (each concept's `cli.rs`), reading configuration (injected through [`Program`]).

pub mod child;
pub mod client;
pub mod commands;
pub mod flags;
mod keygen;
pub mod text;
mod validate;
mod version;

#[cfg(test)]
pub(crate) mod stand_in;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::future::Future;
use std::io::{Read, Write};

use self::client::{Answer, CLIENT, Client, Failure, Request, SERVER, Settings};
use self::flags::{Flag, Parsed};

/// The environment variables a command may look at.
pub type Environment = BTreeMap<String, String>;

/// Where a command reads and writes.
pub struct Io {
    pub input: Box<dyn Read + Send>,
    pub out: Box<dyn Write + Send>,
    pub err: Box<dyn Write + Send>,
    pub environment: Environment,
}

impl Io {
    /// The process's own streams and environment; variables that are not text are left out.
    #[must_use]
    pub fn of_process() -> Io {
        let environment =
            std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
        Io {
            input: Box::new(std::io::stdin()),
            out: Box::new(std::io::stdout()),
            err: Box::new(std::io::stderr()),
            environment: environment.collect(),
        }
    }

    // A reader that went away is no reason to fail: the exit code tells what was done.
    pub fn say(&mut self, line: impl std::fmt::Display) {
        let _ = writeln!(self.out, "{line}");
        let _ = self.out.flush();
    }

    pub fn complain(&mut self, line: impl std::fmt::Display) {
        let _ = writeln!(self.err, "{line}");
        let _ = self.err.flush();
    }
}

/// What `version` tells.
#[derive(Clone, Debug, Default)]
pub struct Version {
    /// `1.22.0`
    pub version: String,
    /// `dev`, or empty for a release.
    pub prerelease: String,
    /// The commit, possibly empty.
    pub revision: String,
    /// RFC 3339.
    pub build_date: String,
    pub protocol: u32,
    pub protocol_min: u32,
    pub protocol_max: u32,
}

/// What is to be validated.
#[derive(Clone, Debug)]
pub struct ToValidate {
    /// Files and directories.
    pub paths: Vec<String>,
    /// `json`, `hcl`, or empty: by extension.
    pub format: String,
}

/// Reads a whole configuration; gives warnings, or the reason why it is invalid.
pub type Validate = Box<dyn Fn(&ToValidate) -> Result<Vec<String>, String>>;

/// Services defined in files, each as the body of a registration (`Name`, `ID`, `Check` …).
#[derive(Clone, Debug, Default)]
pub struct ServiceDefinitions {
    pub warnings: Vec<String>,
    pub bodies: Vec<serde_json::Value>,
}

/// Reads service definitions from configuration files.
pub type ReadServices = Box<dyn Fn(&[String]) -> Result<ServiceDefinitions, String>>;

/// The parts that come from elsewhere: `api` knows neither the configuration nor the build.
pub struct Program {
    /// The name it was started under, `consul` or `curule`.
    pub name: String,
    pub version: Version,
    pub validate: Validate,
    pub read_services: ReadServices,
    /// Commands that are run elsewhere (`agent`), name and synopsis: listed in the usage.
    pub elsewhere: Vec<(&'static str, &'static str)>,
}

/// One command, or a group when `run` is absent.
#[derive(Clone, Copy, Debug)]
pub struct Command {
    /// `kv get`
    pub path: &'static str,
    pub synopsis: &'static str,
    /// What follows the path in the usage line.
    pub shape: &'static str,
    pub about: &'static str,
    pub flags: &'static [&'static [Flag]],
    pub run: Option<fn(&mut Invocation<'_>) -> Exit>,
}

impl Command {
    pub const fn group(path: &'static str, synopsis: &'static str, about: &'static str) -> Command {
        Command { path, synopsis, shape: "<subcommand> [options] [args]", about, flags: &[], run: None }
    }

    fn flags(&self) -> impl Iterator<Item = &'static Flag> + Clone + use<> {
        self.flags.iter().flat_map(|group| group.iter())
    }
}

/// The exit code; `Err` carries the line that explains it.
pub type Exit = Result<i32, Complaint>;

/// Said on stderr before exiting with `code`.
#[derive(Clone, Debug)]
pub struct Complaint {
    pub text: String,
    pub code: i32,
    /// Whether the command's help follows after a blank line.
    pub with_help: bool,
}

impl<T: Into<String>> From<T> for Complaint {
    fn from(text: T) -> Complaint {
        Complaint { text: text.into(), code: 1, with_help: false }
    }
}

impl Complaint {
    pub fn with_help(text: impl Into<String>) -> Complaint {
        Complaint { with_help: true, ..Complaint::from(text.into()) }
    }
}

/// One run of a command: its flags and arguments, its streams, and the agent once it is asked for.
pub struct Invocation<'a> {
    pub program: &'a Program,
    pub io: &'a mut Io,
    pub parsed: Parsed,
    command: &'static Command,
    client: Option<(Client, tokio::runtime::Runtime)>,
}

impl Invocation<'_> {
    pub fn argument(&self, number: usize) -> Option<&str> {
        self.parsed.arguments.get(number).map(String::as_str)
    }

    /// Refuses more than `expected` arguments.
    pub fn at_most(&self, expected: usize) -> Result<(), Complaint> {
        match self.parsed.arguments.len() {
            given if given > expected => Err(format!("Too many arguments (expected {expected}, got {given})").into()),
            _ => Ok(()),
        }
    }

    /// Reads the flags that say where the agent is. Asking does it by itself; commands call it to fail early.
    pub fn connect(&mut self) -> Result<&Client, Complaint> {
        self.connect_saying("Error connecting to Consul agent")
    }

    pub fn connect_saying(&mut self, words: &str) -> Result<&Client, Complaint> {
        self.ready(words).map(|(client, _)| client)
    }

    fn ready(&mut self, words: &str) -> Result<&(Client, tokio::runtime::Runtime), Complaint> {
        if self.client.is_none() {
            let settings =
                Settings::of(&self.parsed, &self.io.environment).map_err(|error| format!("{words}: {error}"))?;
            for warning in &settings.warnings {
                self.io.complain(format_args!("[WARN]  consul-api: {warning}"));
            }
            let client = Client::new(settings).map_err(|error| format!("{words}: {error}"))?;
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            self.client = Some((client, runtime.map_err(|error| format!("{words}: {error}"))?));
        }
        match &self.client {
            Some(ready) => Ok(ready),
            None => Err("no client".into()),
        }
    }

    /// Asks the agent; the failure is prefixed with `words`.
    pub fn ask(&mut self, request: Request, words: &str) -> Result<Answer, Complaint> {
        self.attempt(request)?.map_err(|failure| format!("{words}: {failure}").into())
    }

    /// Asks the agent and leaves the failure to the command.
    pub fn attempt(&mut self, request: Request) -> Result<Result<Answer, Failure>, Complaint> {
        let (client, runtime) = self.ready("Error connecting to Consul agent")?;
        Ok(runtime.block_on(client.ask(request)))
    }

    /// Runs `work` on the runtime, for commands that do several things at a time.
    pub fn block_on<W: Future>(&mut self, work: impl FnOnce(Client) -> W) -> Result<W::Output, Complaint> {
        let (client, runtime) = self.ready("Error connecting to Consul agent")?;
        let client = client.clone();
        Ok(runtime.block_on(async { work(client).await }))
    }

    /// As [`Invocation::block_on`], with the streams lent to the work.
    pub fn block_on_with_io<'s, W: Future>(
        &'s mut self,
        work: impl FnOnce(Client, &'s mut Io) -> W,
    ) -> Result<W::Output, Complaint> {
        self.ready("Error connecting to Consul agent")?;
        let Some((client, runtime)) = &self.client else { return Err("no client".into()) };
        let work = work(client.clone(), self.io);
        Ok(runtime.block_on(work))
    }

    /// Whether a read may be answered by any server: adds `stale` to a request.
    pub fn stale(&self) -> bool {
        self.parsed.bool("stale")
    }

    pub fn help(&self) -> String {
        help(self.program, self.command)
    }

    /// Text given as is, from a file (`@path`) or from stdin (`-`).
    pub fn data(&mut self, given: &str) -> Result<String, String> {
        self.data_bytes(given).map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
    }

    /// As [`Invocation::data`], for bytes that need not be text.
    pub fn data_bytes(&mut self, given: &str) -> Result<Vec<u8>, String> {
        match given.strip_prefix('@') {
            Some(path) => std::fs::read(path)
                .map_err(|error| format!("Failed to read file: open {path}: {}", net::go_text::reason(&error))),
            None if given == "-" => {
                let mut bytes = Vec::new();
                let read = self.io.input.as_mut().take(DATA_BYTES_MAX).read_to_end(&mut bytes);
                read.map_err(|error| format!("Failed to read stdin: {}", net::go_text::reason(&error)))?;
                Ok(bytes)
            }
            None => Ok(given.as_bytes().to_vec()),
        }
    }
}

/// How much of stdin is taken as data.
const DATA_BYTES_MAX: u64 = 1 << 30;

/// What the arguments ask for, as the reference's dispatcher sees it.
#[derive(Debug, Default)]
struct Asked {
    help: bool,
    version: bool,
    /// A flag stands before the subcommand.
    stray_flag: bool,
    subcommand: String,
    rest: Vec<String>,
}

impl Asked {
    fn read(arguments: &[String]) -> Asked {
        let mut asked = Asked::default();
        let mut position = 0;
        while let Some(argument) = arguments.get(position) {
            let here = position;
            position += 1;
            match argument.as_str() {
                "--" => break,
                "-h" | "-help" | "--help" => asked.help = true,
                "-v" | "-version" | "--version" if asked.subcommand.is_empty() => asked.version = true,
                _ if !asked.subcommand.is_empty() || argument.is_empty() => {}
                flag if flag.starts_with('-') => asked.stray_flag = true,
                _ => {
                    let words = arguments[here..].iter().map_while(|word| {
                        let ends = word.is_empty() || word.starts_with('-') || word.contains(' ');
                        (!ends).then_some(word.as_str())
                    });
                    let words: Vec<&str> = words.collect();
                    if words.is_empty() {
                        // Compat: `"kv get"` as one argument is no command.
                        return asked;
                    }
                    let known = |length: &usize| commands::find(&words[..*length].join(" ")).is_some();
                    let length = (1..=words.len()).rev().find(known).unwrap_or(1);
                    asked.subcommand = words[..length].join(" ");
                    position = here + length;
                    asked.rest = arguments[position..].to_vec();
                }
            }
        }
        asked
    }
}

/// Runs a command line (without the program's name) and gives the exit code.
pub fn run(program: &Program, arguments: &[String], io: &mut Io) -> i32 {
    let asked = Asked::read(arguments);
    if asked.version {
        return run_command(program, commands::VERSION, &[], io);
    }
    if asked.help && asked.subcommand.is_empty() {
        io.say(usage(program));
        return 0;
    }
    let Some(command) = commands::find(&asked.subcommand) else {
        io.complain(usage(program));
        return 127;
    };
    if asked.help {
        io.say(help_with_subcommands(program, command));
        return 0;
    }
    if asked.stray_flag {
        io.complain(
            "Invalid flags before the subcommand. If these flags are for\nthe subcommand, please put them after the \
             subcommand.\n",
        );
        io.complain(help_with_subcommands(program, command));
        return 1;
    }
    run_command(program, command, &asked.rest, io)
}

fn run_command(program: &Program, command: &'static Command, arguments: &[String], io: &mut Io) -> i32 {
    let Some(run) = command.run else {
        io.complain(help_with_subcommands(program, command));
        return 1;
    };
    let parsed = match flags::parse(command.flags(), arguments) {
        Ok(parsed) => parsed,
        Err(error) => {
            io.complain(&error);
            let _ = io.err.write_all(flags::defaults(command.flags()).as_bytes());
            if let Some(echo) = commands::flag_error_echo(command.path, &error) {
                io.complain(echo);
            }
            return 1;
        }
    };
    let mut invocation = Invocation { program, io, parsed, command, client: None };
    match run(&mut invocation) {
        Ok(code) => code,
        Err(complaint) => {
            invocation.io.complain(&complaint.text);
            if complaint.with_help {
                let help = invocation.help();
                invocation.io.complain(format_args!("\n{help}"));
            }
            complaint.code
        }
    }
}

/// The list of commands.
fn usage(program: &Program) -> String {
    let mut listed: Vec<(&str, &str)> = program.elsewhere.clone();
    listed.extend(
        commands::all().filter(|command| !command.path.contains(' ')).map(|command| (command.path, command.synopsis)),
    );
    listed.sort_unstable();
    let mut out =
        format!("Usage: {} [--version] [--help] <command> [<args>]\n\nAvailable commands are:\n", program.name);
    list(&listed, &mut out);
    out
}

/// Names in a column, four spaces in and four apart.
fn list(entries: &[(&str, &str)], out: &mut String) {
    let width = entries.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    for (name, synopsis) in entries {
        let _ = writeln!(out, "    {name:width$}    {synopsis}");
    }
}

/// The columns that flag descriptions may fill.
pub const USAGE_WIDTH: usize = 67;

fn help(program: &Program, command: &Command) -> String {
    let mut out = format!("Usage: {} {} {}\n\n", program.name, command.path, command.shape).replace(" \n", "\n");
    for line in command.about.lines() {
        let _ =
            if line.is_empty() { writeln!(out) } else { writeln!(out, "  {}", line.replace("{name}", &program.name)) };
    }
    if !command.about.is_empty() {
        out.push('\n');
    }
    let is_http = |flag: &&Flag| CLIENT.iter().chain(SERVER).any(|other| other.name == flag.name);
    let mut http: Vec<&Flag> = command.flags().filter(is_http).collect();
    let mut own: Vec<&Flag> = command.flags().filter(|flag| !is_http(flag)).collect();
    for (title, flags) in [("HTTP API Options", &mut http), ("Command Options", &mut own)] {
        if flags.is_empty() {
            continue;
        }
        flags.sort_by_key(|flag| flag.name);
        let _ = writeln!(out, "{title}\n");
        for flag in flags.iter() {
            let (placeholder, usage) = flag.shown();
            let value = if placeholder.is_empty() { String::new() } else { format!("=<{placeholder}>") };
            let _ = writeln!(out, "  -{}{value}\n{}\n", flag.name, wrapped(&usage, USAGE_WIDTH, "     "));
        }
    }
    out.trim_end_matches('\n').to_owned()
}

fn help_with_subcommands(program: &Program, command: &Command) -> String {
    let mut out = help(program, command);
    let depth = command.path.split(' ').count();
    let below = commands::all().filter(|other| {
        let inside = other.path.strip_prefix(command.path).is_some_and(|rest| rest.starts_with(' '));
        inside && other.path.split(' ').count() == depth + 1
    });
    let mut below: Vec<(&str, &str)> =
        below.map(|other| (other.path.rsplit(' ').next().unwrap_or_default(), other.synopsis)).collect();
    if !below.is_empty() {
        below.sort_unstable();
        out.push_str("\n\nSubcommands:\n");
        list(&below, &mut out);
        out.pop();
    }
    out
}

/// `text` in lines of at most `width` columns behind `indent`.
#[must_use]
pub fn wrapped(text: &str, width: usize, indent: &str) -> String {
    let mut out = String::from(indent);
    let mut length = 0;
    for word in text.split_whitespace() {
        if length > 0 && length + 1 + word.len() > width {
            out.push('\n');
            out.push_str(indent);
            length = 0;
        }
        if length > 0 {
            out.push(' ');
            length += 1;
        }
        out.push_str(word);
        length += word.len();
    }
    out
}

#[cfg(test)]
mod tests;

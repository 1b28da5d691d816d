//! A throw-away PostgreSQL server for tests, made from the binaries that are installed.
//!
//! It listens on a free loopback port, keeps its data in a temporary folder, asks for a password (so that
//! tests can give a wrong one), and is gone when the value is dropped or the test process ends, however that
//! happens: the server hangs on a pipe that only this process holds open. It knows nothing of the registry or
//! of a lake; both are given its [`Postgres::url`] or [`Postgres::dsn`].

use std::fs;
use std::io::Write as _;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Output, Stdio};
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

use error::{Code, Error, Result};

/// The superuser of the server.
pub const USER: &str = "postgres";
/// Its password. With a character that has to be escaped in a URL and one that is not, as real ones have.
pub const PASSWORD: &str = "s3cr3t@Pass-word";

/// The users that may own a server where the tests run as root, which PostgreSQL refuses.
const UNPRIVILEGED_USERS: [&str; 2] = ["postgres", "nobody"];
const START_LIMIT: Duration = Duration::from_secs(30);
/// The longest path of a unix socket is about 107 bytes, of which the file name takes some.
const LONGEST_SOCKET_FOLDER: usize = 80;

/// Runs a server until its standard input ends, then stops it by its pid and removes its folder.
const SUPERVISOR: &str = r#"folder=$1; shift
"$@" &
server=$!
cat >/dev/null
kill -QUIT "$server"
wait "$server"
rm -rf "$folder""#;

/// A running server.
#[derive(Debug)]
pub struct Postgres {
    binaries: PathBuf,
    port: u16,
    supervisor: Child,
    /// Open as long as the server shall live.
    lifeline: Option<ChildStdin>,
}

/// The account that runs the server.
#[derive(Clone, Copy, Debug)]
struct Account {
    user: u32,
    group: u32,
}

impl Postgres {
    /// Starts a new server; it takes about two seconds.
    pub fn start() -> Result<Self> {
        let binaries = find_binaries()?;
        let folder = tempfile::Builder::new()
            .prefix("dynamic-tables-postgres-")
            .tempdir()
            .map_err(|source| failed("make a temporary folder for PostgreSQL").with_source(source))?;
        let account = unprivileged_account(folder.path())?;
        give(folder.path(), account)?;
        initialise(&binaries, folder.path(), account)?;

        let mut postgres = launch(&binaries, folder.path(), account)?;
        // The supervisor removes the folder from here on, also when this process is killed.
        let log = folder.keep().join("log");
        postgres.wait_until_ready(&log)?;
        Ok(postgres)
    }

    /// The server that all tests of this process share; make a database of your own in it.
    pub fn shared() -> Result<&'static Self> {
        static SHARED: OnceLock<std::result::Result<Postgres, String>> = OnceLock::new();
        SHARED
            .get_or_init(|| Self::start().map_err(|error| error.to_string()))
            .as_ref()
            .map_err(|message| Error::new(Code::Connection, message.clone()))
    }

    /// The port on the loopback address.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The URL of a database: `postgresql://user:password@127.0.0.1:port/database`.
    #[must_use]
    pub fn url(&self, database: &str) -> String {
        format!("postgresql://{USER}:{}@127.0.0.1:{}/{database}", PASSWORD.replace('@', "%40"), self.port)
    }

    /// The same as a libpq connection string, as `ducklake:postgres:` takes it.
    #[must_use]
    pub fn dsn(&self, database: &str) -> String {
        format!("host=127.0.0.1 port={} user={USER} password={PASSWORD} dbname={database}", self.port)
    }

    /// Makes a database and returns its URL.
    pub fn create_database(&self, name: &str) -> Result<String> {
        self.psql("postgres", &format!("CREATE DATABASE \"{}\"", name.replace('"', "\"\"")))?;
        Ok(self.url(name))
    }

    /// Makes a database with a name that nobody else has and returns its URL.
    pub fn fresh_database(&self) -> Result<String> {
        self.create_database(&format!("test_{:016x}", rand::random::<u64>()))
    }

    /// Runs SQL with psql, as an operator would, and returns what it prints: rows as lines, columns separated by `|`.
    pub fn psql(&self, database: &str, sql: &str) -> Result<String> {
        let output = Command::new(self.binaries.join("psql"))
            .args(["--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "--set=ON_ERROR_STOP=1"])
            .args(["--host=127.0.0.1", &format!("--port={}", self.port), &format!("--username={USER}")])
            .arg(format!("--dbname={database}"))
            .arg(format!("--command={sql}"))
            .env("PGPASSWORD", PASSWORD)
            .output()
            .map_err(|source| failed("run psql").with_source(source))?;
        Ok(finished("psql", output)?.trim_end().to_owned())
    }

    fn wait_until_ready(&mut self, log: &Path) -> Result<()> {
        let deadline = Instant::now() + START_LIMIT;
        loop {
            let listening = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).is_ok();
            if listening && self.psql("postgres", "SELECT 1").is_ok() {
                return Ok(());
            }
            let ended = matches!(self.supervisor.try_wait(), Ok(Some(_)));
            if ended || Instant::now() > deadline {
                let log = fs::read_to_string(log).unwrap_or_default();
                return Err(failed("start PostgreSQL").with_context("log", log.trim()));
            }
            thread::sleep(Duration::from_millis(25));
        }
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        drop(self.lifeline.take());
        // Nothing can be done about a failure here; the supervisor stops the server in any case.
        let _ = self.supervisor.wait();
    }
}

fn launch(binaries: &Path, folder: &Path, account: Option<Account>) -> Result<Postgres> {
    let port = free_port()?;
    let log = fs::File::create(folder.join("log")).map_err(|source| failed("open a log").with_source(source))?;
    let error_log = log.try_clone().map_err(|source| failed("open a log").with_source(source))?;
    let socket_folder = if folder.as_os_str().len() > LONGEST_SOCKET_FOLDER { Path::new("") } else { folder };

    let mut command = Command::new("sh");
    command.args(["-c", SUPERVISOR, "postgres-supervisor"]).arg(folder);
    command.arg(binaries.join("postgres")).arg("-D").arg(folder.join("data"));
    command.arg("-c").arg(format!("unix_socket_directories={}", socket_folder.display()));
    for setting in [
        format!("port={port}"),
        "listen_addresses=127.0.0.1".to_owned(),
        "fsync=off".to_owned(),
        "synchronous_commit=off".to_owned(),
        "full_page_writes=off".to_owned(),
        "max_connections=200".to_owned(),
    ] {
        command.arg("-c").arg(setting);
    }
    // Its own process group: an interrupt typed at the terminal is for the tests, which then end the server.
    command.current_dir(folder).process_group(0);
    command.stdin(Stdio::piped()).stdout(log).stderr(error_log);
    run_as(&mut command, account);
    let mut supervisor = command.spawn().map_err(|source| failed("start PostgreSQL").with_source(source))?;
    let lifeline = supervisor.stdin.take();
    Ok(Postgres { binaries: binaries.to_owned(), port, supervisor, lifeline })
}

fn initialise(binaries: &Path, folder: &Path, account: Option<Account>) -> Result<()> {
    let password_file = folder.join("password");
    let mut file =
        fs::File::create(&password_file).map_err(|source| failed("write the password file").with_source(source))?;
    writeln!(file, "{PASSWORD}").map_err(|source| failed("write the password file").with_source(source))?;
    give(&password_file, account)?;

    let mut command = Command::new(binaries.join("initdb"));
    command
        .arg("--pgdata")
        .arg(folder.join("data"))
        .arg("--pwfile")
        .arg(&password_file)
        .args([&format!("--username={USER}"), "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--no-sync"])
        .current_dir(folder);
    run_as(&mut command, account);
    let output = command.output().map_err(|source| failed("run initdb").with_source(source))?;
    finished("initdb", output).map(|_| ())
}

fn run_as(command: &mut Command, account: Option<Account>) {
    if let Some(Account { user, group }) = account {
        command.uid(user).gid(group);
    }
}

fn give(path: &Path, account: Option<Account>) -> Result<()> {
    let Some(Account { user, group }) = account else { return Ok(()) };
    std::os::unix::fs::chown(path, Some(user), Some(group))
        .map_err(|source| failed("give PostgreSQL its files").with_source(source))
}

/// The account to run the server as, where we are root; who we are is told by the owner of a file we made.
fn unprivileged_account(own_folder: &Path) -> Result<Option<Account>> {
    let owner = fs::metadata(own_folder).map_err(|source| failed("read a folder").with_source(source))?.uid();
    if owner != 0 {
        return Ok(None);
    }
    let accounts =
        fs::read_to_string("/etc/passwd").map_err(|source| failed("read the accounts").with_source(source))?;
    let account_of = |user: &str| {
        let fields: Vec<&str> =
            accounts.lines().find(|line| line.split(':').next() == Some(user))?.split(':').collect();
        Some(Account { user: fields.get(2)?.parse().ok()?, group: fields.get(3)?.parse().ok()? })
    };
    match UNPRIVILEGED_USERS.into_iter().find_map(account_of) {
        Some(account) => Ok(Some(account)),
        None => Err(failed("find an account to run PostgreSQL as, since it refuses root")
            .with_hint("Run the tests as another user, or add the user postgres.")),
    }
}

/// The folder with the newest server binaries: where distributions put them, else on the PATH.
fn find_binaries() -> Result<PathBuf> {
    let mut versions: Vec<(u32, PathBuf)> = Vec::new();
    for root in ["/usr/lib/postgresql", "/usr/pgsql", "/opt/homebrew/opt", "/usr/local/opt"] {
        for entry in fs::read_dir(root).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().replace("postgresql@", "");
            if let Ok(version) = name.parse() {
                versions.push((version, entry.path().join("bin")));
            }
        }
    }
    versions.sort();
    let installed = versions.into_iter().rev().map(|(_, folder)| folder);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path: Vec<PathBuf> = std::env::split_paths(&path).collect();
    installed
        .chain(on_path)
        .find(|folder| ["initdb", "postgres", "psql"].iter().all(|program| folder.join(program).is_file()))
        .ok_or_else(|| {
            Error::new(Code::Configuration, "the PostgreSQL server programs are not installed")
                .with_hint("`make setup` installs them.")
        })
}

fn free_port() -> Result<u16> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .and_then(|listener| listener.local_addr())
        .map(|address| address.port())
        .map_err(|source| failed("find a free port").with_source(source))
}

fn finished(program: &str, output: Output) -> Result<String> {
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let message = String::from_utf8_lossy(&output.stderr);
    Err(failed(&format!("run {program}")).with_context("stderr", message.trim()))
}

fn failed(what: &str) -> Error {
    Error::new(Code::Connection, format!("cannot {what}"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_server_starts_serves_and_is_gone_when_dropped() {
        let postgres = Postgres::start().unwrap();
        let port = postgres.port();
        postgres.create_database("odd \"name\"").unwrap();
        assert_eq!(postgres.psql("odd \"name\"", "SELECT 1, 'x'").unwrap(), "1|x");
        drop(postgres);
        assert!(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err());
    }
}

//! A private PostgreSQL server for tests and benches.
//!
//! Owns one cluster in a folder of its own, on a free loopback port, with durable settings as they ship
//! (`fsync` stays on: the figures and the crash tests rest on it). It never touches a cluster that the
//! machine already runs. PostgreSQL refuses to run as root, so root starts it as the user `postgres`.

mod programs;

use std::{
    fs,
    io::Read,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use programs::Programs;

use crate::server::ProcessorTime;

/// Connections that one private server accepts, over all test processes that share it.
const MAX_CONNECTIONS: u32 = 60;
/// How long a fresh cluster may take until it answers.
const READY_WITHIN: Duration = Duration::from_secs(60);

/// A running private PostgreSQL server; dropping it stops the server.
#[derive(Debug)]
pub struct PostgresServer {
    programs: Programs,
    folder: PathBuf,
    /// Whether the folder was made for this server and goes with it.
    temporary: bool,
    port: u16,
    password: String,
    process: Child,
    /// Cleans up after a process that ended without dropping its server (an interrupt, a static).
    watcher: Option<Child>,
}

/// A database of one test on a private server; the server keeps it until it stops.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Database {
    /// `postgres://user:password@127.0.0.1:port/name`.
    pub url: String,
}

/// What is missing for a private PostgreSQL server, in words, or `None` when one can be started.
#[must_use]
pub fn postgres_missing() -> Option<String> {
    Programs::find().err().map(|error| format!("{error:#}"))
}

impl PostgresServer {
    /// Creates a cluster in `folder/cluster` and starts a server on it.
    ///
    /// `folder` is created when it is not there. As root, the user `postgres` must be able to reach it.
    ///
    /// # Errors
    /// PostgreSQL is not installed, `folder` already holds a cluster, or the server did not come up in a minute.
    pub fn start(folder: &Path) -> Result<Self> {
        let programs = Programs::find()?;
        fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
        programs.hand_over(folder)?;
        let password = random_hex()?;
        create_cluster(&programs, folder, &password)?;
        // The port is free when we look and may be taken when the server binds: then look again.
        let mut last = None;
        for _ in 0..5 {
            let port = free_port()?;
            match launch(&programs, folder, port) {
                Ok(process) => {
                    return Ok(Self {
                        programs,
                        folder: folder.to_owned(),
                        temporary: false,
                        port,
                        password,
                        process,
                        watcher: None,
                    });
                }
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or_else(|| anyhow::anyhow!("PostgreSQL did not start")))
    }

    /// Like [`PostgresServer::start`], in a fresh folder for temporary files that is removed with the server.
    /// Server and folder also go when this process ends in any other way.
    ///
    /// # Errors
    /// As for [`PostgresServer::start`].
    pub fn start_temporary() -> Result<Self> {
        let folder = std::env::temp_dir().join(format!("pomona-postgres-{}", random_hex()?));
        match Self::start(&folder) {
            Ok(mut server) => {
                server.temporary = true;
                server.watcher = Some(watch(&server)?);
                Ok(server)
            }
            Err(error) => {
                let _ = fs::remove_dir_all(&folder);
                Err(error)
            }
        }
    }

    /// The URL of the database `name` on this server.
    #[must_use]
    pub fn url(&self, name: &str) -> String {
        format!(
            "postgres://postgres:{}@127.0.0.1:{}/{name}",
            self.password, self.port
        )
    }

    /// Creates an empty database and returns its URL.
    ///
    /// # Errors
    /// The name is taken or the server does not answer.
    pub fn create_database(&self, name: &str) -> Result<String> {
        create_database(&self.programs, &self.url("postgres"), name)?;
        Ok(self.url(name))
    }

    /// Runs SQL text through `psql` and returns what it printed, unaligned and without headers.
    ///
    /// # Errors
    /// A statement failed; the error carries the server's message.
    pub fn psql(&self, database: &str, sql: &str) -> Result<String> {
        psql(&self.programs, &self.url(database), sql)
    }

    /// The processor time of all its processes so far.
    #[must_use]
    pub fn processor_time(&self) -> ProcessorTime {
        ProcessorTime::of_tree(self.process.id())
    }
}

impl Drop for PostgresServer {
    fn drop(&mut self) {
        let stopped = self
            .programs
            .command("pg_ctl")
            .arg("stop")
            .args(["--mode", "fast", "--silent", "--wait", "--timeout", "20"])
            .arg("--pgdata")
            .arg(cluster(&self.folder))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        if !stopped.is_ok_and(|status| status.success()) {
            let _ = self.process.kill();
        }
        let _ = self.process.wait();
        if self.temporary {
            let _ = fs::remove_dir_all(&self.folder);
        }
        if let Some(watcher) = &mut self.watcher {
            let _ = watcher.kill();
            let _ = watcher.wait();
        }
    }
}

/// A fresh database for the calling test: on the server that `POMONA_TEST_POSTGRES` names, else on a private
/// one that this process starts at the first call.
///
/// # Errors
/// PostgreSQL is neither named nor installed, or it does not answer.
pub fn shared_postgres() -> Result<Database> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let name = format!(
        "test_{}_{}",
        std::process::id(),
        NEXT.fetch_add(1, Ordering::Relaxed)
    );
    let server = match std::env::var("POMONA_TEST_POSTGRES") {
        Ok(url) if !url.is_empty() => url,
        _ => own_server()?,
    };
    create_database(&Programs::find()?, &server, &name)?;
    let (base, _) = server
        .rsplit_once('/')
        .context("POMONA_TEST_POSTGRES ends with a database name")?;
    Ok(Database {
        url: format!("{base}/{name}"),
    })
}

/// The URL of the server that this process started for itself. A static is never dropped: the watcher stops it.
fn own_server() -> Result<String> {
    static OWN: Mutex<Option<PostgresServer>> = Mutex::new(None);
    let mut own = OWN.lock().unwrap_or_else(PoisonError::into_inner);
    if own.is_none() {
        *own = Some(PostgresServer::start_temporary()?);
    }
    own.as_ref()
        .map(|server| server.url("postgres"))
        .context("the private server is gone")
}

/// Starts a shell that waits for the end of this process and then stops the server and removes its folder. The
/// folder is the sign that the server is still ours: without it, the id may belong to another process.
fn watch(server: &PostgresServer) -> Result<Child> {
    const WATCH: &str = "trap '' INT TERM HUP
        while kill -0 \"$1\" 2>/dev/null; do sleep 0.2; done
        [ -d \"$3\" ] || exit 0
        kill -INT \"$2\" 2>/dev/null
        tries=0
        while kill -0 \"$2\" 2>/dev/null && [ $tries -lt 100 ]; do sleep 0.1; tries=$((tries+1)); done
        rm -rf -- \"$3\"";
    Command::new("sh")
        .args(["-c", WATCH, "pomona-postgres-watch"])
        .arg(std::process::id().to_string())
        .arg(server.process.id().to_string())
        .arg(&server.folder)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .context("start the watcher of the private PostgreSQL server")
}

fn cluster(folder: &Path) -> PathBuf {
    folder.join("cluster")
}

fn create_cluster(programs: &Programs, folder: &Path, password: &str) -> Result<()> {
    let password_file = folder.join("password");
    fs::write(&password_file, password).context("write the password file")?;
    programs.hand_over(&password_file)?;
    let output = programs
        .command("initdb")
        .args(["--username", "postgres", "--auth", "scram-sha-256"])
        .args(["--encoding", "UTF8", "--locale", "C"])
        .arg("--pwfile")
        .arg(&password_file)
        .arg("--pgdata")
        .arg(cluster(folder))
        .output()
        .context("run initdb")?;
    let _ = fs::remove_file(&password_file);
    if !output.status.success() {
        bail!("initdb: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}

/// Starts the server on `port` and waits until it answers; a server that ends first is an error with its log.
fn launch(programs: &Programs, folder: &Path, port: u16) -> Result<Child> {
    let log_path = folder.join("log");
    let log = fs::File::create(&log_path).context("create the server's log")?;
    let mut process = programs
        .command("postgres")
        .arg("-D")
        .arg(cluster(folder))
        .args(["-p", &port.to_string()])
        .args(["-c", "listen_addresses=127.0.0.1"])
        .args(["-c", "unix_socket_directories="])
        .args(["-c", &format!("max_connections={MAX_CONNECTIONS}")])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .context("start postgres")?;
    let started = Instant::now();
    loop {
        if let Some(status) = process.try_wait().context("wait for postgres")? {
            let log = fs::read_to_string(&log_path).unwrap_or_default();
            bail!("postgres ended with {status}: {}", log.trim());
        }
        // The answer must come from our own server, not from a stranger that took the port.
        if pid_file_says_ready(folder) {
            return Ok(process);
        }
        if started.elapsed() > READY_WITHIN {
            let _ = process.kill();
            let _ = process.wait();
            bail!("PostgreSQL was not ready within {READY_WITHIN:?}");
        }
        thread::sleep(Duration::from_millis(20));
    }
}

/// The last line of `postmaster.pid` says `ready` once the server takes connections.
fn pid_file_says_ready(folder: &Path) -> bool {
    fs::read_to_string(cluster(folder).join("postmaster.pid")).is_ok_and(|text| {
        text.lines()
            .nth(7)
            .is_some_and(|line| line.trim() == "ready")
    })
}

fn create_database(programs: &Programs, server: &str, name: &str) -> Result<()> {
    psql(programs, server, &format!("create database \"{name}\"")).map(drop)
}

fn psql(programs: &Programs, url: &str, sql: &str) -> Result<String> {
    let output = programs
        .client("psql")
        .args(["--no-psqlrc", "--quiet", "--tuples-only", "--no-align"])
        .args(["--set", "ON_ERROR_STOP=1", "--command", sql])
        .arg(url)
        .stdin(Stdio::null())
        .output()
        .context("run psql")?;
    if !output.status.success() {
        bail!("psql: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    String::from_utf8(output.stdout).context("psql printed no UTF-8")
}

fn free_port() -> Result<u16> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).context("look for a free port")?;
    Ok(listener
        .local_addr()
        .context("look for a free port")?
        .port())
}

fn random_hex() -> Result<String> {
    let mut bytes = [0_u8; 12];
    fs::File::open("/dev/urandom")
        .and_then(|mut source| source.read_exact(&mut bytes))
        .context("read /dev/urandom")?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_private_server_starts_answers_durably_and_goes_with_its_folder() {
        let server = PostgresServer::start_temporary().unwrap();
        let folder = server.folder.clone();
        server.create_database("orchard").unwrap();
        server
            .psql("orchard", "create table tree (name text)")
            .unwrap();
        assert_eq!(
            server
                .psql("orchard", "select count(*) from tree")
                .unwrap()
                .trim(),
            "0"
        );
        assert_eq!(server.psql("orchard", "show fsync").unwrap().trim(), "on");
        assert!(server.psql("orchard", "select * from nothing").is_err());
        let url = server.url("orchard");
        drop(server);
        assert!(!folder.exists());
        assert!(psql(&Programs::find().unwrap(), &url, "select 1").is_err());
    }

    #[test]
    fn two_calls_for_a_shared_server_give_two_databases() {
        let first = shared_postgres().unwrap();
        let second = shared_postgres().unwrap();
        assert_ne!(first, second);
    }
}

//! A `pomona serve` process of one's own: its folder, its start, its end by asking and by killing.
//!
//! Owns the life of the process under test and finds ports for it. It knows the server by its command line, its
//! settings and its files, as an operator does, and links nothing of it.

pub(crate) mod ports;
mod usage;

use std::{
    fs,
    io::Write,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use url::Url;

pub use usage::{ProcessorTime, machine_time, processor_time};

use crate::admin::Admin;

/// How long a server may take from its start until it is ready, on a slow and busy machine.
const READY_WITHIN: Duration = Duration::from_secs(60);

/// A folder made by `pomona init`, with the ports chosen for it.
#[derive(Debug, Clone)]
pub struct ServerFolder {
    binary: PathBuf,
    dir: PathBuf,
    devices_port: u16,
    admin_port: u16,
    proxy_port: u16,
}

/// A running server; dropping it kills the process.
#[derive(Debug)]
pub struct ServerProcess {
    child: Child,
    log: PathBuf,
}

impl ServerFolder {
    /// Runs `pomona init` for an empty `dir`, on ports that are free now. Without `database`, the server keeps a
    /// SQLite file in the folder.
    ///
    /// # Errors
    /// No ports are free, or `pomona init` failed; the error carries what it printed.
    pub fn init(binary: &Path, dir: &Path, database: Option<&str>) -> Result<Self> {
        let [devices_port, admin_port, proxy_port] = ports::free()?;
        let mut command = Command::new(binary);
        command
            .arg("init")
            .arg(dir)
            .args(["--public-url", &format!("https://localhost:{devices_port}")])
            .args(["--admin-listen", &format!("127.0.0.1:{admin_port}")]);
        if let Some(url) = database {
            command.args(["--database", url]);
        }
        let output = command.output().context("run pomona init")?;
        if !output.status.success() {
            bail!(
                "pomona init: {}",
                String::from_utf8_lossy(&output.stderr).trim()
            );
        }
        Ok(Self {
            binary: binary.to_owned(),
            dir: dir.to_owned(),
            devices_port,
            admin_port,
            proxy_port,
        })
    }

    /// The folder itself.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Where devices connect.
    ///
    /// # Errors
    /// Never for ports chosen by [`ServerFolder::init`].
    pub fn devices_url(&self) -> Result<Url> {
        base("https", self.devices_port)
    }

    /// Where a proxy with the device's certificate in a header connects.
    ///
    /// # Errors
    /// As for [`ServerFolder::devices_url`].
    pub fn proxy_url(&self) -> Result<Url> {
        base("http", self.proxy_port)
    }

    /// Where administrators connect.
    ///
    /// # Errors
    /// As for [`ServerFolder::devices_url`].
    pub fn admin_url(&self) -> Result<Url> {
        base("http", self.admin_port)
    }

    /// The authority of the server's TLS certificate, PEM.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn authority_pem(&self) -> Result<String> {
        let path = self.dir.join("tls/ca.pem");
        fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))
    }

    /// The operator's client of the admin API.
    ///
    /// # Errors
    /// The token's file cannot be read.
    pub fn admin(&self) -> Result<Admin> {
        let path = self.dir.join("operator.token");
        let token =
            fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        Admin::new(self.admin_url()?, token.trim())
    }

    /// Starts `pomona serve` with further settings as flags (`--push-server`, …) and waits until it is ready. Its
    /// log is appended to `server.log` in the folder. `apart` puts it into a process group of its own, where the
    /// terminal's interrupt does not reach it.
    ///
    /// # Errors
    /// The process ended or was not ready in time; the error carries the end of its log.
    pub async fn serve(&self, settings: &[(&str, &str)], apart: bool) -> Result<ServerProcess> {
        let log = self.dir.join("server.log");
        let out = fs::File::options()
            .create(true)
            .append(true)
            .open(&log)
            .context("open the server's log")?;
        writeln!(&out, "--- pomona serve").context("write the server's log")?;
        let mut command = Command::new(&self.binary);
        command
            .arg("serve")
            .arg("--dir")
            .arg(&self.dir)
            .args(["--proxy-listen", &format!("127.0.0.1:{}", self.proxy_port)]);
        for (name, value) in settings {
            command.args([name, value]);
        }
        if apart {
            command.process_group(0);
        }
        let child = command
            .stdin(Stdio::null())
            .stdout(out.try_clone().context("share the server's log")?)
            .stderr(out)
            .spawn()
            .context("start pomona serve")?;
        let mut process = ServerProcess { child, log };
        let admin = self.admin()?;
        let started = Instant::now();
        loop {
            if let Some(status) = process.child.try_wait().context("wait for the server")? {
                bail!("pomona serve ended with {status}:\n{}", process.log_end());
            }
            if admin.ready().await {
                return Ok(process);
            }
            if started.elapsed() > READY_WITHIN {
                bail!(
                    "the server was not ready within {READY_WITHIN:?}:\n{}",
                    process.log_end()
                );
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl ServerProcess {
    /// The process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The processor time that the process has used so far.
    #[must_use]
    pub fn processor_time(&self) -> ProcessorTime {
        processor_time(self.id())
    }

    /// Whether the process has ended by itself.
    #[must_use]
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Ends the process the hard way (`SIGKILL`), as a power cut would.
    ///
    /// # Errors
    /// The process cannot be waited for.
    pub fn kill(mut self) -> Result<()> {
        self.child.kill().context("kill the server")?;
        self.child.wait().context("wait for the killed server")?;
        Ok(())
    }

    /// Asks the process to end (`SIGTERM`) and waits for it.
    ///
    /// # Errors
    /// It did not end within `limit`, or not well; the error carries the end of its log.
    pub async fn stop(mut self, limit: Duration) -> Result<()> {
        let id = i32::try_from(self.child.id())
            .ok()
            .and_then(Pid::from_raw)
            .context("the server's process id")?;
        kill_process(id, Signal::TERM).context("signal the server")?;
        let started = Instant::now();
        loop {
            match self.child.try_wait().context("wait for the server")? {
                Some(status) if status.success() => return Ok(()),
                Some(status) => bail!("the server ended with {status}:\n{}", self.log_end()),
                None if started.elapsed() > limit => {
                    bail!(
                        "the server did not end within {limit:?}:\n{}",
                        self.log_end()
                    )
                }
                None => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    }

    /// The last lines of the server's log.
    #[must_use]
    pub fn log_end(&self) -> String {
        let text = fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        let from = lines.len().saturating_sub(30);
        lines.get(from..).unwrap_or_default().join("\n")
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn base(scheme: &str, port: u16) -> Result<Url> {
    let host = if scheme == "https" {
        "localhost"
    } else {
        "127.0.0.1"
    };
    Url::parse(&format!("{scheme}://{host}:{port}/")).context("the server's address")
}

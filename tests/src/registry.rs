//! A container registry that is not ours: Debian's `docker-registry`, on loopback, in a folder of its own.
//!
//! Owns finding the program, its process and its settings. The package is unpacked, not installed: installed, it would start
//! a registry of its own on this machine.

use std::{
    env, fs,
    net::{Ipv4Addr, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

use crate::{checkout::checkout, server::ports};

const PROGRAM: &str = "usr/bin/docker-registry";
/// How long it may take until it answers.
const READY_WITHIN: Duration = Duration::from_secs(30);

/// A running registry; dropping it ends it.
#[derive(Debug)]
pub struct Registry {
    process: Child,
    folder: PathBuf,
    port: u16,
}

/// Where the package `docker-registry` is unpacked for the tests.
#[must_use]
pub fn registry_folder() -> PathBuf {
    checkout().join("target/debian/docker-registry")
}

/// The registry's program: the unpacked one, or one that is installed.
#[must_use]
pub fn registry_program() -> Option<PathBuf> {
    let mut places = vec![registry_folder().join(PROGRAM)];
    let path = env::var_os("PATH").unwrap_or_default();
    places.extend(env::split_paths(&path).map(|folder| folder.join("docker-registry")));
    places.into_iter().find(|place| place.is_file())
}

impl Registry {
    /// The user that [`Registry::start`] lets in.
    pub const USER: &str = "author";
    /// The password of that user.
    pub const PASSWORD: &str = "very secret";
    /// The password as `htpasswd -B` writes it.
    const HASH: &str = "$2y$04$Mu5WyelLlgOAizz3KljCDeKdD55SK6zc6JIYxRxLU3pBcwokncbVe";

    /// Starts a registry that keeps everything in `folder`.
    ///
    /// # Errors
    /// The program is missing, or does not answer.
    pub fn start(folder: &Path) -> Result<Self> {
        Self::open(folder, "")
    }

    /// Starts one that speaks TLS with this certificate and its key, both PEM.
    ///
    /// # Errors
    /// The program is missing, or does not answer.
    pub fn start_with_tls(folder: &Path, certificate: &str, key: &str) -> Result<Self> {
        fs::create_dir_all(folder).context("make the folder of the registry")?;
        let files = [
            (folder.join("certificate.pem"), certificate),
            (folder.join("key.pem"), key),
        ];
        for (file, text) in &files {
            fs::write(file, text).context("write the certificate of the registry")?;
        }
        let [(certificate, _), (key, _)] = files;
        Self::open(
            folder,
            &format!(", tls: {{certificate: {certificate:?}, key: {key:?}}}"),
        )
    }

    fn open(folder: &Path, tls: &str) -> Result<Self> {
        let program = registry_program().context(
            "docker-registry is missing; `cargo xtask test` fetches it, or install the Debian package",
        )?;
        let [port] = ports::free()?;
        fs::create_dir_all(folder).context("make the folder of the registry")?;
        let users = folder.join("users");
        fs::write(&users, format!("{}:{}\n", Self::USER, Self::HASH))
            .context("write the users of the registry")?;
        let settings = folder.join("settings.yml");
        let text = format!(
            "version: 0.1\nlog: {{level: error, accesslog: {{disabled: true}}}}\n\
             storage: {{filesystem: {{rootdirectory: {:?}}}}}\n\
             auth: {{htpasswd: {{realm: tests, path: {users:?}}}}}\n\
             http: {{addr: \"127.0.0.1:{port}\", secret: of-a-test{tls}}}\n",
            folder.join("data")
        );
        fs::write(&settings, text).context("write the settings of the registry")?;
        let process = Command::new(program)
            .arg("serve")
            .arg(&settings)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(folder.join("log")).context("make the registry's log")?)
            .spawn()
            .context("start docker-registry")?;
        let mut registry = Self {
            process,
            folder: folder.to_owned(),
            port,
        };
        let begun = Instant::now();
        while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
            if let Some(status) = registry.process.try_wait().context("wait for it")? {
                let said = fs::read_to_string(folder.join("log")).unwrap_or_default();
                bail!("docker-registry ended at once with {status}: {said}");
            }
            if begun.elapsed() > READY_WITHIN {
                bail!("docker-registry does not answer");
            }
            thread::sleep(Duration::from_millis(20));
        }
        Ok(registry)
    }

    /// Host and port, as they stand in a reference.
    #[must_use]
    pub fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Where it keeps the bytes with this digest, 64 hexadecimal digits.
    #[must_use]
    pub fn blob(&self, hex: &str) -> PathBuf {
        let two = hex.get(..2).unwrap_or_default();
        let blobs = self.folder.join("data/docker/registry/v2/blobs/sha256");
        blobs.join(two).join(hex).join("data")
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        // It keeps nothing that is not on the disk.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

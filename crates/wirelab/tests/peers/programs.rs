//! The real programs, each in a namespace, and the files they move.

use std::fs;
use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use linux::Netns;
use tempfile::TempDir;

/// No command takes longer.
const LIMIT_S: &str = "1800";

/// Whether a program is there.
pub(crate) fn has(program: &str) -> bool {
    Command::new("sh")
        .args(["-c", &format!("command -v {program}")])
        .output()
        .is_ok_and(|out| out.status.success())
}

/// Runs a command in a namespace: its exit status and all that it printed.
pub(crate) fn try_run(ns: &Netns, argv: &[&str]) -> (i32, String) {
    let argv: Vec<String> = argv.iter().map(|arg| (*arg).to_string()).collect();
    let out = ns.run(move || Command::new("timeout").arg(LIMIT_S).args(&argv).stdin(Stdio::null()).output());
    let out = out.expect("coreutils");
    let text = [out.stdout, out.stderr].concat();
    (out.status.code().unwrap_or(-1), String::from_utf8_lossy(&text).into_owned())
}

/// Runs a command in a namespace and gives back what it printed.
///
/// # Panics
/// When it fails.
pub(crate) fn run(ns: &Netns, argv: &[&str]) -> String {
    let argv: Vec<String> = argv.iter().map(|arg| (*arg).to_string()).collect();
    let shown = argv.join(" ");
    let out = ns.run(move || Command::new("timeout").arg(LIMIT_S).args(&argv).stdin(Stdio::null()).output());
    let out = out.unwrap_or_else(|error| panic!("{shown}: {error}"));
    let [stdout, stderr] = [&out.stdout, &out.stderr].map(|text| String::from_utf8_lossy(text).into_owned());
    assert!(out.status.success(), "{shown}: {}\n{stdout}{stderr}", out.status);
    stdout
}

/// A directory for one test.
pub(crate) struct Files(TempDir);

impl Files {
    pub(crate) fn new(name: &str) -> Files {
        let dir =
            tempfile::Builder::new().prefix(&format!("wirelab-{name}-")).tempdir().expect("a directory");
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o755); // nginx's workers are nobody
        fs::set_permissions(dir.path(), open).expect("it is ours");
        Files(dir)
    }

    pub(crate) fn path(&self, name: &str) -> String {
        self.0.path().join(name).to_str().expect("UTF-8").to_string()
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> String {
        fs::write(self.path(name), text).expect("room on the disk");
        self.path(name)
    }

    /// A file whose every part differs; its checksum.
    pub(crate) fn random(&self, name: &str, len: usize) -> String {
        let mut file = std::io::BufWriter::new(fs::File::create(self.path(name)).expect("a file"));
        let mut rng = stack::rng::Rng::new(len as u64, name);
        for _ in 0..len / 8 {
            file.write_all(&rng.below(u64::MAX).to_ne_bytes()).expect("room on the disk");
        }
        drop(file);
        self.sum(name)
    }

    pub(crate) fn sum(&self, name: &str) -> String {
        let out = Command::new("sha256sum").arg(self.path(name)).output().expect("coreutils");
        String::from_utf8_lossy(&out.stdout).split_whitespace().next().unwrap_or_default().to_string()
    }
}

/// A server that is ended with its test.
pub(crate) struct Running(Child);

impl Running {
    pub(crate) fn start(ns: &Netns, argv: &[&str]) -> Running {
        let argv: Vec<String> = argv.iter().map(|arg| (*arg).to_string()).collect();
        let shown = argv.join(" ");
        let child = ns.run(move || {
            Command::new(&argv[0])
                .args(&argv[1..])
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::piped())
                .spawn()
        });
        Running(child.unwrap_or_else(|error| panic!("{shown}: {error} (.ci/run installs what is needed)")))
    }

    /// Waits until something listens on a port of the namespace.
    pub(crate) fn wait_for(&mut self, ns: &Netns, port: u16) {
        let end = Instant::now() + Duration::from_secs(10);
        while ns.run(move || std::net::TcpStream::connect(("127.0.0.1", port)).is_err()) {
            if let Ok(Some(status)) = self.0.try_wait() {
                let mut text = String::new();
                let _ = self.0.stderr.take().map(|mut stderr| stderr.read_to_string(&mut text));
                panic!("the server ended: {status}\n{text}");
            }
            assert!(Instant::now() < end, "nobody listens on port {port}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// Waits until a UDP port of a namespace is taken.
pub(crate) fn wait_for_udp(ns: &Netns, port: u16) {
    let end = Instant::now() + Duration::from_secs(20);
    while ns.run(move || std::net::UdpSocket::bind(("0.0.0.0", port)).is_ok()) {
        assert!(Instant::now() < end, "nobody takes UDP port {port}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // SIGTERM first: nginx and sshd take their children with them.
        let _ = Command::new("kill").arg(self.0.id().to_string()).status();
        let end = Instant::now() + Duration::from_secs(5);
        while matches!(self.0.try_wait(), Ok(None)) {
            if Instant::now() > end {
                let _ = self.0.kill();
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// nginx that serves the files.
pub(crate) struct Nginx(#[expect(dead_code, reason = "ended when dropped")] Running);

impl Nginx {
    pub(crate) fn start(ns: &Netns, files: &Files, port: u16) -> Nginx {
        let config = files.write(
            "nginx.conf",
            &format!(
                "daemon off; master_process off; pid {}; error_log stderr;\n\
                 events {{ }}\n\
                 http {{ access_log off; sendfile on; client_body_temp_path {}; proxy_temp_path {}; fastcgi_temp_path {};\n\
                 uwsgi_temp_path {}; scgi_temp_path {}; server {{ listen {port}; root {}; }} }}\n",
                files.path("nginx.pid"),
                files.path("t1"),
                files.path("t2"),
                files.path("t3"),
                files.path("t4"),
                files.path("t5"),
                files.path("."),
            ),
        );
        Nginx::with_config(ns, &config, port)
    }

    /// With a file of its own.
    pub(crate) fn with_config(ns: &Netns, config: &str, port: u16) -> Nginx {
        let mut nginx = Running::start(ns, &["nginx", "-c", config]);
        nginx.wait_for(ns, port);
        Nginx(nginx)
    }
}

/// sshd with a key for whoever runs the tests.
pub(crate) struct Sshd {
    _running: Running,
    key: String,
}

impl Sshd {
    pub(crate) fn start(ns: &Netns, files: &Files, port: u16) -> Sshd {
        for name in ["host_key", "user_key"] {
            let argv = ["-q", "-t", "ed25519", "-N", "", "-f", &files.path(name)];
            assert!(Command::new("ssh-keygen").args(argv).status().expect("openssh").success());
        }
        let _ = fs::create_dir_all("/run/sshd"); // its own directory, which its package makes at boot
        let config = files.write(
            "sshd_config",
            &format!(
                "Port {port}\nHostKey {}\nAuthorizedKeysFile {}\nStrictModes no\nUsePAM no\nPermitRootLogin yes\n\
                 PidFile none\nUseDNS no\nPermitUserRC no\n",
                files.path("host_key"),
                files.path("user_key.pub")
            ),
        );
        let mut running = Running::start(ns, &["/usr/sbin/sshd", "-D", "-e", "-f", &config]);
        running.wait_for(ns, port);
        Sshd { _running: running, key: files.path("user_key") }
    }

    /// A shell's words for `command` on the other side.
    pub(crate) fn command(&self, addr: &str, command: &str) -> String {
        let (host, port) = addr.rsplit_once(':').expect("an address");
        format!(
            "ssh -F none -i {} -p {port} -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR \
             -o BatchMode=yes root@{host} '{command}'",
            self.key
        )
    }
}

pub(crate) mod iperf3 {
    //! iperf3 and its server.

    use std::time::Duration;

    use super::{Netns, Running, run};

    const TRIES: usize = 6;

    pub(crate) struct Server(#[expect(dead_code, reason = "ended when dropped")] Running);

    impl Server {
        pub(crate) fn start(ns: &Netns, port: u16) -> Server {
            let mut server = Running::start(ns, &["iperf3", "-s", "-p", &port.to_string()]);
            server.wait_for(ns, port);
            Server(server)
        }
    }

    /// Sends so much, or gets it; the bytes that the receiver counted.
    pub(crate) fn send(ns: &Netns, addr: &str, mib: usize, reverse: bool) -> u64 {
        let (host, port) = addr.rsplit_once(':').expect("an address");
        let size = format!("{mib}M");
        let mut argv = vec!["iperf3", "-J", "-c", host, "-p", port, "-n", &size];
        if reverse {
            argv.push("-R");
        }
        // Its server takes one client at a time and turns away whoever comes while it still ends the last one's test.
        let mut report = serde_json::Value::Null;
        for _ in 0..TRIES {
            report = serde_json::from_str(&run(ns, &argv)).expect("iperf3 -J prints JSON");
            if report["error"].is_null() {
                break;
            }
            std::thread::sleep(Duration::from_millis(500));
        }
        let end = &report["end"];
        // Whoever sends counts what it wrote; the receiver may be behind when the client stops.
        let way = if reverse { "sum_received" } else { "sum_sent" };
        // Without an end iperf3 says why.
        end[way]["bytes"].as_u64().unwrap_or_else(|| panic!("no bytes in {end}, error {}", report["error"]))
    }
}

//! Against what we did not write: BIND's `dig` and glibc's `getent` ask our servers over a TAP; our programs ask BIND's
//! `named`. Needs root, and Debian's bind9 and bind9-dnsutils.
#![cfg(target_os = "linux")]

use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use apps::dns::resolv_conf::{HostsFile, ResolvConf};
use apps::dns::stub::{GaiError, Stub};
use apps::{Cx, Env, Lines, command, kind};
use linux::Netns;
use net::{Host, Live, Port};
use serde_json::{Value, json};
use sim::{LinkConfig, World, WorldConfig};
use stack::StackConfig;
use stack::admin::Admin;
use stack::record::NodeKind;
use wire::{MacAddr, Medium};

const KERNEL: &str = "198.51.100.1";
const KERNEL_MAC: MacAddr = MacAddr([0x02, 0, 0, 0, 0x0d, 1]);
const STACK_MAC: MacAddr = MacAddr([0x02, 0, 0, 0, 0x0d, 2]);
/// Our resolver, our root and TLD in one, our authoritative server, one that is silent, and one that fails.
const RESOLVER: &str = "198.51.100.2";
const ROOT: &str = "198.51.100.3";
const SHOP: &str = "198.51.100.4";
const SILENT: &str = "198.51.100.5";
const BROKEN: &str = "198.51.100.6";

const ROOT_ZONE: &str = "$TTL 3600\n@ SOA a.root. host.root. 1 1800 900 604800 60\n@ NS a.root.\n\
                         a.root. A 198.51.100.3\nshop.example. NS ns.shop.example.\nns.shop.example. A 198.51.100.4\n";
const SHOP_ZONE: &str = "$TTL 60\n@ SOA ns host 1 1800 900 604800 10\n@ NS ns\n@ MX 10 mail\nns A 198.51.100.4\n\
                         www A 198.51.100.80\nwww AAAA 2001:db8::80\nalias CNAME www\nmail A 198.51.100.81\n\
                         *.any TXT \"a b\" \"c\\\"d\"\nchild NS ns.child\nns.child A 198.51.100.99\n\
                         srv SRV 1 2 443 www\ncaa CAA 0 issue \"ca.example\"\n";

/// The zone with `big`, whose addresses fit into no datagram, and `long`, whose aliases do not fit without EDNS. (Of more
/// than 25 addresses glibc asks again and again, with a larger buffer each time.)
fn shop_zone() -> String {
    let mut text = SHOP_ZONE.to_string();
    (0..100).for_each(|n| text.push_str(&format!("big A 192.0.2.{n}\n")));
    let [first, second] = ["a", "b"].map(|c| [c.repeat(60), c.repeat(60), c.repeat(60)].join("."));
    text.push_str(&format!("long CNAME {first}\n{first} CNAME {second}\n"));
    (0..15).for_each(|n| text.push_str(&format!("{second} A 192.0.2.{n}\n")));
    text
}

/// A test that needs these programs and a namespace.
fn able(test: &str, programs: &[&str]) -> bool {
    for program in programs {
        if Command::new("sh")
            .args(["-c", &format!("command -v {program} >/dev/null")])
            .status()
            .is_ok_and(|s| !s.success())
        {
            linux::testing::skip(test, program);
            return false;
        }
    }
    match Netns::new() {
        Ok(_) => true,
        Err(why) => {
            linux::testing::skip(test, &format!("root: {why}"));
            false
        }
    }
}

/// What our programs know: a certificate for dns.example.
fn env() -> Env {
    let dns = apps::pki::Certificate { names: vec!["dns.example".into()], ..Default::default() };
    let pki = apps::pki::Pki::new(&[("dns".to_string(), dns)].into_iter().collect()).expect("it is right");
    Env { host: "stack".into(), seed: 5, pki: Arc::new(pki), ..Env::default() }
}

/// A kernel namespace behind a TAP, and our host at its other end.
struct Bench {
    host: Host,
    _live: Live,
    runtime: tokio::runtime::Runtime,
    kernel: Netns,
}

impl Bench {
    fn new() -> Bench {
        let kernel = Netns::new().expect("permission was looked at");
        let (_, tap) = kernel.open_tap("tap0", Some(KERNEL_MAC), 1500).expect("a TAP device");
        let mut world = World::new(WorldConfig { seed: 1, record: false, check: false });
        let ours = world.add_host(StackConfig {
            name: "stack".into(),
            seed: 7,
            record: false,
            ..StackConfig::default()
        });
        let eth0 = world.add_nic(ours, "eth0", Medium::Ethernet, STACK_MAC, 1500);
        let node = world.add_external("kernel", NodeKind::Linux(linux::kernel_release()));
        let tap0 = world.add_nic(node, "tap0", Medium::Ethernet, KERNEL_MAC, 1500);
        world.connect((ours, eth0), (node, tap0), LinkConfig::default());
        let addresses =
            [RESOLVER, ROOT, SHOP, SILENT, BROKEN].map(|ip| format!("ip addr add {ip}/24 dev eth0"));
        for command in ["ip link set eth0 up".to_string()].into_iter().chain(addresses) {
            world.admin(ours, &Admin::parse(&command).expect("a command")).expect("it works on a fresh host");
        }
        let live = Live::new(world, vec![Port { node, ifindex: tap0, device: tap }]).expect("a thread");
        let host = live.host(ours);
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let bench = Bench { host, _live: live, runtime, kernel };
        bench.sh("ip link set lo up; ip link set tap0 up; ip addr add 198.51.100.1/24 dev tap0");
        bench
    }

    /// Runs a shell command in the namespace: what it printed, and its status.
    fn sh(&self, script: &str) -> (String, i32) {
        let script = script.to_string();
        let run =
            move || Command::new("timeout").args(["60", "sh", "-c", &script]).stdin(Stdio::null()).output();
        let out = self.kernel.run(run).expect("sh runs");
        (String::from_utf8_lossy(&out.stdout).into_owned(), out.status.code().unwrap_or(-1))
    }

    /// Runs a command with this resolv.conf, in a mount namespace of its own.
    fn with_resolv_conf(&self, lines: &[&str], command: &str) -> (String, i32) {
        let lines = lines.join("\\n");
        let file = tempfile::NamedTempFile::new().expect("a file");
        let path = file.path().display();
        let inner =
            format!("printf '{lines}\\n' >{path}; mount --bind {path} /etc/resolv.conf; exec {command}");
        self.sh(&format!("unshare -m sh -c \"{inner}\""))
    }

    fn cx(name: &str) -> (Cx, Lines) {
        let lines = Lines::default();
        (Cx::new(env(), name, lines.clone()), lines)
    }

    fn serve(&self, app: &str, table: Value) -> Lines {
        let (cx, lines) = Bench::cx(app);
        let app = (kind(app).unwrap().read)(table.as_object().unwrap(), &env()).unwrap();
        self.runtime.spawn(self.host.scope(async move {
            let status = app.run(cx).await;
            panic!("a service ended with {status}");
        }));
        lines
    }

    /// Our resolver and the servers that it asks; the logs of the authoritative, the silent and the failing one.
    fn servers(&self) -> [Lines; 3] {
        self.serve("dns-server", json!({ "zones": { ".": ROOT_ZONE }, "listen": [ROOT] }));
        let hints = ". 3600000 NS a.root.\na.root. 3600000 A 198.51.100.3\n";
        self.serve("dns-recursor", json!({ "hints": hints, "listen": [RESOLVER] }));
        let big = shop_zone();
        let logs = [
            self.serve("dns-server", json!({ "zones": { "shop.example.": big }, "listen": [SHOP] })),
            self.serve("dns-server", json!({ "mode": "silent", "listen": [SILENT] })),
            self.serve("dns-server", json!({ "mode": "servfail", "listen": [BROKEN] })),
        ];
        std::thread::sleep(Duration::from_millis(300));
        logs
    }

    /// Our command on our host.
    fn ours(&self, line: &str) -> Vec<String> {
        let words: Vec<String> = line.split(' ').map(String::from).collect();
        let app = (command(&words[0]).unwrap().read)(&words, &env()).unwrap();
        let (cx, lines) = Bench::cx(&words[0]);
        self.runtime.block_on(self.host.scope(app.run(cx)));
        lines.take()
    }
}

/// What differs from run to run or is not modelled is left out; the rest must be the same, blanks included.
fn comparable<'a>(lines: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    let own = ["; <<>>", ";; Query time", ";; WHEN", ";; global options", "; COOKIE"];
    let lines = lines.into_iter().filter(|line| !own.iter().any(|start| line.starts_with(start)));
    let id = |line: &str| match line.split_once(", id: ") {
        Some((before, _)) => before.to_string(),
        None => line.trim_end().to_string(),
    };
    lines.filter(|line| !line.trim().is_empty()).map(id).collect()
}

#[test]
fn dig_of_bind_understands_our_servers_and_prints_what_ours_prints() {
    if !able("dig and our servers", &["dig"]) {
        return;
    }
    let bench = Bench::new();
    bench.servers();
    for question in [
        format!("@{SHOP} www.shop.example"),
        format!("@{SHOP} www.shop.example AAAA"),
        format!("@{SHOP} alias.shop.example"),
        format!("@{SHOP} nobody.shop.example"),
        format!("@{SHOP} www.shop.example TXT"),
        format!("@{SHOP} x.any.shop.example TXT"),
        format!("@{SHOP} shop.example MX"),
        format!("@{SHOP} shop.example SOA"),
        format!("@{SHOP} srv.shop.example SRV"),
        format!("@{SHOP} caa.shop.example CAA"),
        format!("@{SHOP} deep.child.shop.example"),
        format!("@{SHOP} www.foreign.test"),
        format!("@{SHOP} big.shop.example"),
        format!("@{SHOP} big.shop.example +tcp"),
        format!("@{SHOP} www.shop.example +noedns +norecurse"),
        format!("@{SHOP} www.shop.example +short"),
        format!("@{SHOP} -x 192.0.2.1"),
        format!("@{BROKEN} www.shop.example"),
        format!("@{RESOLVER} nobody.shop.example"),
    ] {
        let (theirs, status) = bench.sh(&format!("dig {question} +nocookie"));
        assert_eq!(status, 0, "dig {question}: {theirs}");
        let ours = bench.ours(&format!("dig {question} +nocookie"));
        let mut theirs = comparable(theirs.lines());
        let mut ours = comparable(ours.iter().map(String::as_str));
        if question.starts_with(&format!("@{RESOLVER}")) {
            // The TTL counts down between the two.
            let cut = |lines: &mut Vec<String>| lines.retain(|line| !line.contains("SOA"));
            cut(&mut theirs);
            cut(&mut ours);
        }
        assert!(theirs.iter().any(|line| !line.starts_with(";; communications error")), "dig {question}");
        assert_eq!(ours, theirs, "dig {question}");
    }
}

/// Which question came from which port, with the ports numbered as they come; a query log without its numbers.
fn pattern(log: &Lines) -> Vec<String> {
    let mut ports = Vec::new();
    let mut of = |line: String| {
        let port = line.split(['#', ' ']).nth(2)?.to_string();
        if !ports.contains(&port) {
            ports.push(port.clone());
        }
        let at = ports.iter().position(|known| *known == port)?;
        let question = line.split("query: ").nth(1)?.split(" (").next()?.to_string();
        Some(format!("port {at}: {question}"))
    };
    let mut found: Vec<String> = log.take().into_iter().filter_map(&mut of).collect();
    // The server's tasks of one moment run in any order.
    found.sort();
    found
}

#[test]
fn getent_of_glibc_and_our_stub_ask_the_same_and_wait_as_long() {
    if !able("getent and our servers", &["getent", "unshare"]) {
        return;
    }
    let bench = Bench::new();
    let [shop, silent, broken] = bench.servers();
    let nameserver = |ip: &str| format!("nameserver {ip}");
    let fast = "options timeout:1 attempts:2";
    let cases: [(Vec<String>, &str); 9] = [
        (vec![nameserver(SHOP), "search nowhere.shop.example shop.example".into()], "www"),
        (vec![nameserver(RESOLVER)], "www.shop.example"),
        (vec![nameserver(SHOP)], "long.shop.example"),
        (vec![nameserver(SHOP)], "nobody.shop.example"),
        (vec![nameserver(SHOP), "search nowhere.test shop.example".into()], "www"),
        (vec![nameserver(BROKEN)], "www.shop.example"),
        (vec![nameserver(SILENT), fast.into()], "www.shop.example"),
        (vec![nameserver(SILENT), nameserver(SHOP), fast.into()], "www.shop.example"),
        (vec![nameserver(KERNEL)], "www.shop.example"),
    ];
    for (conf, name) in cases {
        let lines: Vec<&str> = conf.iter().map(String::as_str).collect();
        let start = Instant::now();
        let (theirs, status) = bench.with_resolv_conf(&lines, &format!("getent ahosts {name}"));
        let their_time = start.elapsed();
        let their_questions = [&shop, &silent, &broken].map(pattern);
        let stub = Arc::new(Stub::new(ResolvConf::parse(lines).0, HostsFile::default(), 3));
        let start = Instant::now();
        let asked = stub.clone();
        let found = bench.runtime.block_on(bench.host.scope(async move { asked.addresses(name).await }));
        let our_time = start.elapsed();
        let our_questions = [&shop, &silent, &broken].map(pattern);
        match (&found, status) {
            (Ok(found), 0) => {
                let listed: Vec<String> = theirs
                    .lines()
                    .filter(|l| l.contains("STREAM"))
                    .map(|l| l.split(' ').next().unwrap().into())
                    .collect();
                let mut ours: Vec<String> = found.iter().map(|ip| ip.to_string()).collect();
                let mut sorted = listed.clone();
                // Neither has a route for IPv6; glibc orders 100 addresses by prefix as well.
                ours.sort();
                sorted.sort();
                assert_eq!(ours, sorted, "{conf:?} {name}");
            }
            (Err(GaiError::NoName | GaiError::Again | GaiError::NoData), 2) => {}
            other => panic!("{conf:?} {name}: {other:?} {theirs}"),
        }
        let apart = our_time.abs_diff(their_time);
        assert!(apart < Duration::from_millis(700), "{conf:?} {name}: {our_time:?}, glibc {their_time:?}");
        if !conf[0].contains(RESOLVER) {
            assert_eq!(our_questions, their_questions, "{conf:?} {name}");
        }
    }
}

/// BIND in the namespace; ends with the value.
struct Named(Child, #[expect(dead_code, reason = "its files live as long")] tempfile::TempDir);

impl Named {
    fn start(bench: &Bench) -> Named {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().display().to_string();
        let big = shop_zone();
        let conf = format!(
            "options {{ directory \"{path}\"; pid-file none; session-keyfile none; listen-on {{ {KERNEL}; }}; listen-on-v6 {{ none; }}; \
             recursion no; minimal-responses no-auth; dnssec-validation no; }};\ncontrols {{}};\n\
             zone \".\" {{ type primary; file \"root\"; }};\nzone \"shop.example\" {{ type primary; file \"shop\"; }};\n"
        );
        let root = ROOT_ZONE.replace(ROOT, KERNEL).replace(SHOP, KERNEL);
        for (name, text) in [("named.conf", &conf), ("root", &root), ("shop", &big)] {
            std::fs::write(dir.path().join(name), text).expect("room on the disk");
        }
        let child = bench.kernel.run(move || {
            let mut command = Command::new("named");
            command.args(["-g", "-n", "1", "-c", &format!("{path}/named.conf")]);
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()
        });
        let named = Named(child.expect("named starts"), dir);
        for _ in 0..100 {
            if bench.sh(&format!("dig @{KERNEL} . SOA +time=1 +tries=1 >/dev/null")).1 == 0 {
                return named;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        panic!("named does not answer");
    }
}

impl Drop for Named {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn our_programs_get_from_bind_what_they_get_from_our_server() {
    if !able("our programs and named", &["named", "dig"]) {
        return;
    }
    let bench = Bench::new();
    let _named = Named::start(&bench);
    bench.servers();
    for question in [
        "www.shop.example",
        "alias.shop.example",
        "nobody.shop.example",
        "www.shop.example TXT",
        "x.any.shop.example TXT",
        "shop.example MX",
        "srv.shop.example SRV",
        "deep.child.shop.example",
        "big.shop.example",
        "www.shop.example +noedns",
    ] {
        let ask = |server: &str| {
            let lines = bench.ours(&format!("dig @{server} {question}"));
            let mut lines = comparable(lines.iter().map(String::as_str));
            // Records of a set come in any order; sizes differ by what compression finds.
            lines.retain(|line| !line.contains("SERVER:") && !line.contains("MSG SIZE"));
            lines.sort();
            lines
        };
        assert_eq!(ask(SHOP), ask(KERNEL), "{question}");
    }
    // Our resolver walks through BIND's zones.
    let hints = format!(". 3600000 NS a.root.\na.root. 3600000 A {KERNEL}\n");
    let resolver = "198.51.100.6";
    let table = json!({ "hints": hints, "listen": [resolver], "port": 5353 });
    bench.serve("dns-recursor", table);
    std::thread::sleep(Duration::from_millis(200));
    let found = bench.ours(&format!("dig @{resolver} -p 5353 alias.shop.example +short"));
    assert_eq!(found, ["www.shop.example.", "198.51.100.80"]);
    let big = bench.ours(&format!("dig @{resolver} -p 5353 big.shop.example +short"));
    assert_eq!(big.iter().filter(|line| line.starts_with("192.0.2.")).count(), 100, "{big:?}");
}

#[test]
fn dig_of_bind_asks_our_resolver_over_tls_and_https() {
    if !able("dig over TLS and HTTPS", &["dig"]) {
        return;
    }
    let bench = Bench::new();
    bench.servers();
    // An address of its own: port 53 of the others is taken.
    let (at, tls) = ("198.51.100.6", json!({ "certificate": "dns" }));
    let table = json!({ "forward": [SHOP], "tls": tls, "https": tls, "port": 5353, "listen": [at] });
    bench.serve("dns-recursor", table);
    std::thread::sleep(Duration::from_millis(300));
    for (way, port) in [("+tls", 853), ("+https", 443), ("+https-get", 443), ("+https=/elsewhere", 443)] {
        let (text, status) = bench.sh(&format!("dig @{at} {way} www.shop.example +time=5 +tries=1"));
        if way == "+https=/elsewhere" {
            assert_ne!(status, 0, "there is nothing at /elsewhere: {text}");
            continue;
        }
        assert_eq!(status, 0, "{way}: {text}");
        assert!(text.contains("198.51.100.80"), "{way}: {text}");
        assert!(text.contains(&format!("SERVER: {at}#{port}")), "{way}: {text}");
    }
    // What HTTP says about it: the shortest TTL, and wrong requests.
    let curl = |arguments: &str| {
        let to = format!("--resolve dns.example:443:{at} https://dns.example/dns-query");
        bench.sh(&format!("curl -sk -o /dev/null -w '%{{http_code}} %{{content_type}}' {arguments} {to}")).0
    };
    assert_eq!(curl("-X DELETE").split(' ').next(), Some("405"));
    assert_eq!(curl("-d x").split(' ').next(), Some("415"));
    assert_eq!(curl("-G -d dns=!!!").split(' ').next(), Some("400"));
    assert_eq!(curl("-H 'Content-Type: application/dns-message' -d x").split(' ').next(), Some("400"));
    let long = "x".repeat(66_000);
    std::fs::write("/tmp/wirelab-long-question", long).expect("room on the disk");
    let too_long =
        curl("-H 'Content-Type: application/dns-message' --data-binary @/tmp/wirelab-long-question");
    std::fs::remove_file("/tmp/wirelab-long-question").expect("it is there");
    assert_eq!(too_long.split(' ').next(), Some("413"));
}

/// unbound in the namespace, on all its transports, for names under our servers; ends with the value.
struct Unbound(Child, #[expect(dead_code, reason = "its files live as long")] tempfile::TempDir);

impl Unbound {
    fn start(bench: &Bench) -> Unbound {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().display().to_string();
        let pki = env().pki;
        let dns = pki.identity("dns").expect("it is there");
        let conf = format!(
            "server:\n username: \"\"\n chroot: \"\"\n directory: \"{path}\"\n pidfile: \"\"\n use-syslog: no\n do-daemonize: no\n \
             interface: {KERNEL}@53\n interface: {KERNEL}@853\n interface: {KERNEL}@443\n tls-port: 853\n https-port: 443\n \
             tls-service-key: \"{path}/dns.key\"\n tls-service-pem: \"{path}/dns.pem\"\n access-control: 0.0.0.0/0 allow\n \
             root-hints: \"{path}/hints\"\n module-config: \"iterator\"\n do-ip6: no\n num-threads: 1\n\
             remote-control:\n control-enable: no\n"
        );
        let hints = format!(". 3600000 NS a.root.\na.root. 3600000 A {ROOT}\n");
        let files = [
            ("unbound.conf", conf),
            ("hints", hints),
            ("dns.pem", dns.chain_pem()),
            ("dns.key", dns.key_pem()),
        ];
        for (name, text) in files {
            std::fs::write(dir.path().join(name), text).expect("room on the disk");
        }
        let child = bench.kernel.run(move || {
            let mut command = Command::new("unbound");
            command.args(["-d", "-c", &format!("{path}/unbound.conf")]);
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()
        });
        let unbound = Unbound(child.expect("unbound starts"), dir);
        for _ in 0..100 {
            if bench.sh(&format!("dig @{KERNEL} www.shop.example +time=1 +tries=1 | grep -q 198.51.100.80")).1
                == 0
            {
                return unbound;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        panic!("unbound does not find www.shop.example");
    }
}

impl Drop for Unbound {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn unbound_walks_through_our_servers_for_our_stub_and_answers_our_resolver_encrypted() {
    if !able("unbound, our servers and our stub", &["unbound", "dig"]) {
        return;
    }
    let bench = Bench::new();
    // unbound asks our root, which sends it to our authoritative server.
    let [shop, ..] = bench.servers();
    let _unbound = Unbound::start(&bench);
    let walked = shop.take();
    assert!(
        walked.iter().any(|line| line.contains(KERNEL) && line.contains("query: www.shop.example")),
        "{walked:?}"
    );
    let nameserver = format!("nameserver {KERNEL}");
    let stub = Arc::new(Stub::new(ResolvConf::parse([nameserver.as_str()]).0, HostsFile::default(), 3));
    let look_up = |name: &'static str| {
        let stub = stub.clone();
        bench.runtime.block_on(bench.host.scope(async move { stub.addresses(name).await }))
    };
    let ips = |all: &[&str]| -> Vec<std::net::IpAddr> { all.iter().map(|ip| ip.parse().unwrap()).collect() };
    // Without a way for IPv6 the IPv4 address comes first.
    assert_eq!(look_up("alias.shop.example"), Ok(ips(&["198.51.100.80", "2001:db8::80"])));
    assert_eq!(look_up("nobody.shop.example"), Err(GaiError::NoName));
    // A hundred addresses: truncated over UDP, whole over TCP.
    assert_eq!(look_up("big.shop.example").map(|found| found.len()), Ok(100));
    let ways = [
        json!({ "forward_tls": { "name": "dns.example" } }),
        json!({ "forward_https": { "url": "https://dns.example/dns-query" } }),
    ];
    for (n, way) in (1_u16..).zip(ways) {
        let mut table = json!({ "forward": [KERNEL], "port": 5300 + n, "listen": [RESOLVER], "trace": true });
        table.as_object_mut().expect("a table").extend(way.as_object().expect("a table").clone());
        let log = bench.serve("dns-recursor", table);
        std::thread::sleep(Duration::from_millis(200));
        for name in ["www.shop.example", "mail.shop.example"] {
            let found = bench.ours(&format!("dig @{RESOLVER} -p {} {name} +short", 5300 + n));
            assert_eq!(found.len(), 1, "{way} {name}: {found:?}\n{log}");
        }
    }
}

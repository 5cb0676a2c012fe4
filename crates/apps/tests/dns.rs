//! DNS programs in a lab: a root, a TLD and an authoritative server, a resolver and a client, over sockets in virtual time.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use apps::dns::resolv_conf::{HostsFile, ResolvConf};
use apps::dns::stub::{GaiError, Stub};
use apps::{Cx, Env, Lines, command, kind};
use net::{Host, Lab, LabConfig};
use serde_json::{Value, json};

const MS: Duration = Duration::from_millis(1);

/// Hosts on one switch, 1 ms from each to each.
struct World {
    lab: Lab,
    hosts: BTreeMap<&'static str, Host>,
    env: BTreeMap<String, Vec<IpAddr>>,
}

fn world(names: &[(&'static str, &str)]) -> World {
    let lab = Lab::new(LabConfig::default());
    let mut hosts = BTreeMap::new();
    let mut env = BTreeMap::new();
    let nodes = lab.world(|world| {
        let switch = world.add_switch("lan", sim::SwitchConfig::default());
        let mut nodes = Vec::new();
        for (n, (name, address)) in (1_u8..).zip(names) {
            let config =
                stack::StackConfig { name: (*name).into(), seed: n.into(), ..stack::StackConfig::default() };
            let node = world.add_host(config);
            let mac = wire::MacAddr([2, 0, 0, 0, 0, n]);
            let nic = world.add_nic(node, "eth0", wire::Medium::Ethernet, mac, 1500);
            let port = world.add_nic(switch, &format!("port{n}"), wire::Medium::Ethernet, mac, 1500);
            let half = sim::Impairment { delay: MS / 2, ..sim::Impairment::default() };
            world.connect((node, nic), (switch, port), sim::LinkConfig::symmetric(half));
            for command in ["ip link set eth0 up".to_string(), format!("ip addr add {address}/24 dev eth0")] {
                world.admin(node, &stack::admin::Admin::parse(&command).unwrap()).unwrap();
            }
            nodes.push(node);
        }
        nodes
    });
    for ((name, address), node) in names.iter().zip(nodes) {
        hosts.insert(*name, lab.host(node));
        env.insert(name.to_string(), vec![address.parse().unwrap()]);
    }
    World { lab, hosts, env }
}

impl World {
    fn cx(&self, host: &str, name: &str) -> (Cx, Lines) {
        let lines = Lines::default();
        let env = Env { host: host.into(), hosts: self.env.clone(), seed: 7, ..Env::default() };
        (Cx::new(env, name, lines.clone()), lines)
    }

    /// Starts a service.
    fn serve(&self, host: &str, app: &str, table: Value) -> Lines {
        let (cx, lines) = self.cx(host, app);
        let app = (kind(app).unwrap().read)(table.as_object().unwrap(), &Env::default()).unwrap();
        self.lab.start(&self.hosts[host], async move {
            assert_eq!(app.run(cx).await, 1);
        });
        lines
    }

    /// Runs a command line; its status, lines and the time that it took.
    fn run(&mut self, host: &str, line: &str) -> (i32, Vec<String>, Duration) {
        let words: Vec<String> = line.split(' ').map(String::from).collect();
        let app = (command(&words[0]).unwrap().read)(&words, &Env::default()).unwrap();
        let (cx, lines) = self.cx(host, &words[0]);
        let start = self.lab.now();
        let status = self.lab.run(self.hosts[host].scope(app.run(cx)));
        (status, lines.take(), self.lab.now() - start)
    }

    fn resolver(&self, host: &str, lines: &[&str]) -> Arc<Stub> {
        let (conf, bad) = ResolvConf::parse(lines.iter().copied());
        assert!(bad.is_empty(), "{bad:?}");
        let stub = Arc::new(Stub::new(conf, HostsFile::default(), 3));
        self.hosts[host].set_resolver(stub.clone());
        stub
    }

    fn look_up(&mut self, stub: &Arc<Stub>, name: &'static str) -> (Result<Vec<IpAddr>, GaiError>, Duration) {
        let start = self.lab.now();
        let stub = stub.clone();
        let found = self.lab.run(self.hosts["client"].scope(async move { stub.addresses(name).await }));
        (found, self.lab.now() - start)
    }
}

const ROOT: &str = "$TTL 86400\n@ SOA a.root. host.root. 1 1800 900 604800 86400\n@ NS a.root.\na.root. A 198.51.100.1\n\
                    example. NS ns.example.\nns.example. A 198.51.100.2\n";
const TLD: &str = "$TTL 3600\n@ SOA ns host 1 1800 900 604800 300\n@ NS ns\nns A 198.51.100.2\n\
                   shop NS ns.shop\nns.shop A 198.51.100.3\n";
const SHOP: &str = "$TTL 60\n@ SOA ns host 1 1800 900 604800 10\n@ NS ns\nns A 198.51.100.3\nwww A 198.51.100.80\n\
                    www AAAA 2001:db8::80\nalias CNAME www\n*.any A 198.51.100.81\n";
const HINTS: &str = ". 3600000 NS a.root.\na.root. 3600000 A 198.51.100.1\n";

fn tree(extra: Value) -> (World, BTreeMap<&'static str, Lines>) {
    let world = world(&[
        ("client", "198.51.100.10"),
        ("resolver", "198.51.100.53"),
        ("root", "198.51.100.1"),
        ("tld", "198.51.100.2"),
        ("shop", "198.51.100.3"),
    ]);
    let mut big = SHOP.to_string();
    (0..60).for_each(|n| big.push_str(&format!("big A 192.0.2.{n}\n")));
    let mut table = json!({ "hints": HINTS });
    table.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    let logs = [
        ("root", world.serve("root", "dns-server", json!({ "zones": { ".": ROOT } }))),
        ("tld", world.serve("tld", "dns-server", json!({ "zones": { "example.": TLD } }))),
        ("shop", world.serve("shop", "dns-server", json!({ "zones": { "shop.example.": big } }))),
        ("resolver", world.serve("resolver", "dns-recursor", table)),
    ];
    (world, BTreeMap::from(logs))
}

fn asked(log: &Lines) -> Vec<String> {
    let question = |line: String| line.split("query: ").nth(1).unwrap_or(&line).to_string();
    log.take().into_iter().map(question).collect()
}

#[test]
fn a_resolver_walks_from_the_root_and_then_remembers() {
    let (mut world, logs) = tree(json!({ "qname_minimisation": false }));
    let stub = world.resolver("client", &["nameserver 198.51.100.53"]);
    let (found, took) = world.look_up(&stub, "www.shop.example");
    assert_eq!(found.unwrap(), ["198.51.100.80", "2001:db8::80"].map(|ip| ip.parse::<IpAddr>().unwrap()));
    // Client to resolver, and the resolver to each of three: ARP and then the exchange.
    assert_eq!(took, 16 * MS);
    assert_eq!(
        asked(&logs["root"]),
        ["www.shop.example IN A -E(0) (198.51.100.1)", "www.shop.example IN AAAA -E(0) (198.51.100.1)"]
    );
    assert_eq!(asked(&logs["shop"]).len(), 2);
    let (_, took) = world.look_up(&stub, "www.shop.example");
    assert_eq!(took, 2 * MS);
    // Another name of a zone that is known: only its server is asked.
    let (found, took) = world.look_up(&stub, "a.any.shop.example");
    assert_eq!((found.unwrap(), took), (vec!["198.51.100.81".parse::<IpAddr>().unwrap()], 4 * MS));
    assert_eq!(asked(&logs["root"]).len(), 0);
    // TTL 60 s of the address, an hour of the delegation.
    world.lab.advance(Duration::from_secs(60));
    let (_, took) = world.look_up(&stub, "www.shop.example");
    assert_eq!(took, 4 * MS);
    assert_eq!((asked(&logs["tld"]).len(), asked(&logs["root"]).len()), (2, 0));
}

#[test]
fn each_server_is_asked_for_no_more_of_the_name_than_it_needs() {
    let (mut world, logs) = tree(json!({}));
    let (status, lines, _) = world.run("client", "dig @198.51.100.53 www.shop.example +noall +answer");
    assert_eq!((status, lines), (0, vec!["www.shop.example.\t60\tIN\tA\t198.51.100.80".to_string()]));
    assert_eq!(asked(&logs["root"]), ["example IN A -E(0) (198.51.100.1)"]);
    assert_eq!(asked(&logs["tld"]), ["shop.example IN A -E(0) (198.51.100.2)"]);
    assert_eq!(asked(&logs["shop"]), ["www.shop.example IN A -E(0) (198.51.100.3)"]);
}

#[test]
fn what_is_not_there_is_remembered_as_long_as_the_soa_says() {
    let (mut world, logs) = tree(json!({ "qname_minimisation": false }));
    let stub = world.resolver("client", &["nameserver 198.51.100.53"]);
    assert_eq!(world.look_up(&stub, "nobody.shop.example").0, Err(GaiError::NoName));
    assert_eq!(asked(&logs["shop"]).len(), 2);
    world.lab.advance(Duration::from_secs(9));
    let (found, took) = world.look_up(&stub, "nobody.shop.example");
    assert_eq!((found, took < 5 * MS), (Err(GaiError::NoName), true));
    assert_eq!(asked(&logs["shop"]).len(), 0);
    world.lab.advance(Duration::from_secs(1));
    assert_eq!(world.look_up(&stub, "nobody.shop.example").0, Err(GaiError::NoName));
    assert_eq!(asked(&logs["shop"]).len(), 2);
}

#[test]
fn a_long_answer_comes_over_tcp() {
    let (mut world, logs) = tree(json!({}));
    let (status, lines, _) = world.run("client", "dig @198.51.100.53 big.shop.example +bufsize=512");
    assert_eq!(status, 0);
    assert_eq!(lines[0], ";; Truncated, retrying in TCP mode.");
    assert_eq!(lines.iter().filter(|line| line.starts_with("big.shop.example.")).count(), 60);
    assert!(
        lines.iter().any(|line| line == ";; SERVER: 198.51.100.53#53(198.51.100.53) (TCP)"),
        "{lines:#?}"
    );
    // 60 addresses are 16 bytes each and more than 512; with EDNS the resolver needed no TCP.
    assert_eq!(asked(&logs["shop"]), ["big.shop.example IN A -E(0) (198.51.100.3)"]);
    // glibc asks without EDNS.
    let stub = world.resolver("client", &["nameserver 198.51.100.53"]);
    assert_eq!(world.look_up(&stub, "big.shop.example").0.unwrap().len(), 60);
    let seen = asked(&logs["resolver"]);
    assert!(seen.contains(&"big.shop.example IN A +T (198.51.100.53)".to_string()), "{seen:#?}");
}

/// One server for everything, of some kind.
fn failing(table: Value) -> World {
    let world =
        world(&[("client", "198.51.100.10"), ("server", "198.51.100.53"), ("second", "198.51.100.54")]);
    world.serve("server", "dns-server", table);
    world.serve(
        "second",
        "dns-server",
        json!({ "zones": { "example.": "$TTL 9\n@ SOA n h 1 2 3 4 5\n@ NS n\nwww A 192.0.2.1\n" } }),
    );
    world
}

#[test]
fn glibc_waits_five_seconds_for_a_server_and_asks_it_twice() {
    let mut world = failing(json!({ "mode": "silent" }));
    for (lines, name, expected, time) in [
        (&["nameserver 198.51.100.53"][..], "www.example", Err(GaiError::Again), 10_000),
        (
            &["nameserver 198.51.100.53", "options timeout:1 attempts:3"],
            "www.example",
            Err(GaiError::Again),
            3_000,
        ),
        (
            &["nameserver 198.51.100.53", "nameserver 198.51.100.54"],
            "www.example",
            Ok(vec!["192.0.2.1".parse().unwrap()]),
            5_000,
        ),
    ] {
        let stub = world.resolver("client", lines);
        let (found, took) = world.look_up(&stub, name);
        assert_eq!((found, took.as_millis() / 10 * 10), (expected, time), "{lines:?}");
    }
    // Three servers: 5 s, 10/3 s and 20/3 s in whole seconds, twice.
    let silent = &["nameserver 198.51.100.53", "nameserver 198.51.100.53", "nameserver 198.51.100.53"];
    let stub = world.resolver("client", silent);
    assert_eq!(world.look_up(&stub, "www.example").1.as_millis() / 10, 2800);
}

#[test]
fn a_server_that_cannot_say_is_asked_twice_at_once() {
    let mut world = failing(json!({ "mode": "servfail" }));
    let stub = world.resolver("client", &["nameserver 198.51.100.53"]);
    let (found, took) = world.look_up(&stub, "www.example");
    assert_eq!((found, took < 20 * MS), (Err(GaiError::Again), true));
    let stub = world.resolver("client", &["nameserver 198.51.100.53", "nameserver 198.51.100.54"]);
    assert!(world.look_up(&stub, "www.example").0.is_ok());
    // Nobody listens there: ICMP says so, and nobody waits.
    let stub = world.resolver("client", &["nameserver 198.51.100.10"]);
    let (found, took) = world.look_up(&stub, "www.example");
    assert_eq!((found, took < 20 * MS), (Err(GaiError::Again), true));
}

#[test]
fn the_search_list_completes_short_names() {
    let mut world = failing(json!({ "mode": "servfail" }));
    let stub = world.resolver("client", &["nameserver 198.51.100.54", "search nowhere.example example"]);
    assert!(world.look_up(&stub, "www").0.is_ok());
    assert_eq!(world.look_up(&stub, "www.").0, Err(GaiError::Again), "REFUSED: the root is not its zone");
    assert_eq!(world.look_up(&stub, "nowhere.example").0, Err(GaiError::NoName));
}

#[test]
fn programs_of_a_host_look_names_up_by_its_resolver() {
    let mut world = failing(json!({ "mode": "servfail" }));
    world.resolver("client", &["nameserver 198.51.100.54"]);
    let client = world.hosts["client"].clone();
    let (found, missing) = world.lab.run(client.scope(async {
        let found: Vec<_> = net::lookup_host("www.example:80").await.unwrap().collect();
        let missing = net::TcpStream::connect("none.example:80").await.unwrap_err().to_string();
        (found, missing)
    }));
    assert_eq!(found, ["192.0.2.1:80".parse().unwrap()]);
    assert_eq!(missing, "failed to lookup address information: Name or service not known");
    let (status, lines, _) = world.run("client", "getent ahosts www.example");
    assert_eq!((status, lines[0].as_str()), (0, "192.0.2.1       STREAM www.example"));
    assert_eq!(world.run("client", "getent ahosts none.example").0, 2);
    assert_eq!(world.run("client", "host www.example").1, ["www.example has address 192.0.2.1"]);
    assert_eq!(world.run("client", "host none.example").1, ["Host none.example not found: 3(NXDOMAIN)"]);
}

#[test]
fn a_resolver_gives_up_after_ten_seconds() {
    let mut world =
        world(&[("client", "198.51.100.10"), ("resolver", "198.51.100.53"), ("root", "198.51.100.1")]);
    let root = world.serve("root", "dns-server", json!({ "mode": "silent" }));
    world.serve("resolver", "dns-recursor", json!({ "hints": HINTS }));
    let (status, lines, took) = world.run("client", "dig @198.51.100.53 www.example +time=15");
    assert_eq!((status, took.as_secs()), (0, 10));
    assert!(lines[5].contains("status: SERVFAIL"), "{lines:#?}");
    // BIND: 0.8 s three times, 1.6 s, 3.2 s and what is left of 10 s.
    assert_eq!(asked(&root).len(), 6);
}

#[test]
fn dig_prints_what_bind_s_dig_prints() {
    let (mut world, _) = tree(json!({}));
    let (_, lines, _) = world.run("client", "dig @198.51.100.53 alias.shop.example");
    let id = lines[5].split("id: ").nth(1).unwrap().to_string();
    let expected = format!(
        "
; <<>> wirelab dig <<>> @198.51.100.53 alias.shop.example
; (1 server found)
;; global options: +cmd
;; Got answer:
;; ->>HEADER<<- opcode: QUERY, status: NOERROR, id: {id}
;; flags: qr rd ra; QUERY: 1, ANSWER: 2, AUTHORITY: 0, ADDITIONAL: 1

;; OPT PSEUDOSECTION:
; EDNS: version: 0, flags:; udp: 1232
;; QUESTION SECTION:
;alias.shop.example.\t\tIN\tA

;; ANSWER SECTION:
alias.shop.example.\t60\tIN\tCNAME\twww.shop.example.
www.shop.example.\t60\tIN\tA\t198.51.100.80

;; Query time: 16 msec
;; SERVER: 198.51.100.53#53(198.51.100.53) (UDP)
;; MSG SIZE  rcvd: 81"
    );
    assert_eq!(lines, expected.lines().collect::<Vec<_>>());
    assert_eq!(world.run("client", "dig @198.51.100.53 www.shop.example +short").1, ["198.51.100.80"]);
}

#[test]
fn the_same_seed_sends_the_same_bytes() {
    let run = || {
        let (mut world, logs) = tree(json!({ "mix_case": true }));
        let dig = world.run("client", "dig @198.51.100.53 www.shop.example").1;
        (dig, logs.values().map(Lines::take).collect::<Vec<_>>())
    };
    let first = run();
    assert_eq!(first, run());
    assert!(
        first.1.concat().iter().any(|line| line.contains(char::is_uppercase) && !line.contains("example IN"))
    );
}

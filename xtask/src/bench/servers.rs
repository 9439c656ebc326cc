//! Servers that are recorded while their clients are not: how much of the throughput is kept.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::{Bench, ROUNDS, median, print_row, words};
use crate::{check, packages};

const REDIS: &str = "redis-server, throughput kept";
const POSTGRES: &str = "PostgreSQL, throughput kept";
const MUST: &str = "40 %";

/// How long a server may take to start or to end.
const PATIENCE: Duration = Duration::from_secs(60);

/// A server and what is done with it. Each command runs as the server's user.
struct Server {
    name: &'static str,
    /// What a command begins with that is to run as the server's user.
    user: Vec<String>,
    server: Vec<String>,
    is_ready: Vec<String>,
    load: Vec<String>,
    stop: Vec<String>,
    trace: PathBuf,
    /// What is measured, and how to find the operations per second in the load's output.
    rates: fn(&str) -> Vec<(String, f64)>,
}

pub(super) fn measure(bench: &Bench) -> Result<()> {
    if bench.wants(REDIS) {
        match redis(bench)? {
            Some(server) => compare(bench, &server)?,
            None => print_row(REDIS, "skipped:", "redis is", "missing", MUST),
        }
    }
    if bench.wants(POSTGRES) {
        match postgres(bench)? {
            Some(server) => compare(bench, &server)?,
            None => print_row(POSTGRES, "skipped:", "PostgreSQL", "is missing", MUST),
        }
    }
    Ok(())
}

fn redis(bench: &Bench) -> Result<Option<Server>> {
    if ["redis-server", "redis-benchmark", "redis-cli"].iter().any(|program| !packages::exists(program)) {
        return Ok(None);
    }
    let port = free_port()?.to_string();
    let server = ["redis-server", "--bind", "127.0.0.1", "--port", &port, "--save", "", "--appendonly", "no"];
    let client = ["-h", "127.0.0.1", "-p", &port];
    let load = ["-t", "set,get", "-c", "50", "-n", "200000", "--csv"];
    Ok(Some(Server {
        name: REDIS,
        user: Vec::new(),
        server: words(&server),
        is_ready: words(&[&["redis-cli"], client.as_slice(), &["ping"]].concat()),
        load: words(&[&["redis-benchmark"], client.as_slice(), &load].concat()),
        stop: words(&[&["redis-cli"], client.as_slice(), &["shutdown", "nosave"]].concat()),
        trace: bench.folder.join("trace-redis"),
        rates: |output| {
            let row = |line: &str| {
                let mut fields = line.split(',').map(|field| field.trim_matches('"'));
                Some((fields.next()?.to_owned(), fields.next()?.parse().ok()?))
            };
            output.lines().filter_map(row).collect()
        },
    }))
}

/// A new cluster with pgbench's tables. The server refuses to run as root.
fn postgres(bench: &Bench) -> Result<Option<Server>> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().filter_map(Result::ok);
    let Some(programs) = versions.map(|version| version.path().join("bin")).max() else { return Ok(None) };
    let program = |name: &str| programs.join(name).display().to_string();
    if ["initdb", "postgres", "pg_ctl", "pg_isready", "pgbench"]
        .iter()
        .any(|name| !packages::exists(&program(name)))
    {
        return Ok(None);
    }
    let folder = bench.folder.join("postgres");
    std::fs::create_dir(&folder)?;
    let user = if packages::is_root() {
        check(Command::new("chown").arg("nobody").arg(&folder))?;
        words(&["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"])
    } else {
        Vec::new()
    };
    let (data, port) = (folder.join("data").display().to_string(), free_port()?.to_string());
    let sockets = folder.display().to_string();
    let initdb = words(&[&program("initdb"), "--no-sync", "--auth=trust", "--username=bench", "-D", &data]);
    quietly(&[user.clone(), initdb].concat())?;
    let server = ["-D", &data, "-p", &port, "-k", &sockets, "-h", "127.0.0.1", "-F"];
    let client = ["-h", "127.0.0.1", "-p", &port, "-U", "bench"];
    let pgbench = |arguments: &[&str]| {
        words(&[&[program("pgbench").as_str()], client.as_slice(), arguments, &["postgres"]].concat())
    };
    let mut server = Server {
        name: POSTGRES,
        user,
        server: words(&[&[program("postgres").as_str()], server.as_slice()].concat()),
        is_ready: words(&[&[program("pg_isready").as_str()], client.as_slice()].concat()),
        load: pgbench(&["-i", "-q", "-s", "10"]),
        stop: words(&[&program("pg_ctl"), "stop", "-m", "fast", "-D", &data]),
        trace: folder.join("trace"),
        rates: |output| {
            let rate = |line: &str| line.strip_prefix("tps = ")?.split(' ').next()?.parse().ok();
            output
                .lines()
                .find_map(rate)
                .map(|rate| ("pgbench -S -c 4".to_owned(), rate))
                .into_iter()
                .collect()
        },
    };
    throughput(&server, &server.server)?;
    server.load = pgbench(&["-S", "-c", "4", "-T", "4"]);
    Ok(Some(server))
}

fn compare(bench: &Bench, server: &Server) -> Result<()> {
    let recording = bench.recording(&server.trace, &server.server);
    let (mut bare, mut record) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        bare.push(throughput(server, &server.server)?);
        if server.trace.exists() {
            std::fs::remove_dir_all(&server.trace)?;
        }
        record.push(throughput(server, &recording)?);
    }
    for (index, (what, _)) in bare[0].iter().enumerate() {
        let rate = |runs: &[Vec<(String, f64)>]| {
            median(runs.iter().map(|run| run.get(index).map_or(0.0, |(_, rate)| *rate)).collect())
        };
        let kept = format!("{:.0} %", rate(&record) / rate(&bare) * 100.0);
        print_row(&format!("{}, {what}", server.name), &format!("{:.0}/s", rate(&bare)), &kept, "", MUST);
    }
    Ok(())
}

/// Runs the load against the server that this command starts.
fn throughput(server: &Server, command: &[String]) -> Result<Vec<(String, f64)>> {
    let mut running =
        as_user(server, command).spawn().with_context(|| format!("cannot run {}", command[0]))?;
    let result = under_load(server, &mut running);
    if running.try_wait()?.is_none() {
        // It does not end by itself: this process was started here.
        running.kill()?;
        running.wait()?;
    }
    result
}

fn under_load(server: &Server, running: &mut Child) -> Result<Vec<(String, f64)>> {
    let since = Instant::now();
    while !as_user(server, &server.is_ready).status()?.success() {
        if since.elapsed() > PATIENCE || running.try_wait()?.is_some() {
            bail!("{} did not start", server.name);
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    let output = as_user(server, &server.load).stdout(Stdio::piped()).output()?;
    as_user(server, &server.stop).status()?;
    let since = Instant::now();
    while running.try_wait()?.is_none() && since.elapsed() < PATIENCE {
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok((server.rates)(&String::from_utf8_lossy(&output.stdout)))
}

fn as_user(server: &Server, command: &[String]) -> Command {
    quiet(&[server.user.as_slice(), command].concat())
}

fn quiet(words: &[String]) -> Command {
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]).current_dir(Path::new("/"));
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

fn quietly(words: &[String]) -> Result<()> {
    let status = quiet(words).status().with_context(|| format!("cannot run {}", words[0]))?;
    if status.success() { Ok(()) } else { bail!("{} failed: {status}", words.join(" ")) }
}

/// A port of the loopback interface that nobody listens at.
fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

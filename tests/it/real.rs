//! Real programs: each recorded like bare, replayed with the same output, with a breakpoint forwards and backwards.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use e2e::compile::compile;
use e2e::{Random, Scratch, debuggee, process};

use crate::case;

const PYTHON: &str = "/usr/bin/python3";

/// Text of about this many bytes, in lines of random words: it compresses and sorts like real text.
fn text(bytes: usize, seed: u64) -> Vec<u8> {
    let mut random = Random(seed);
    let words: Vec<String> = (0..2000)
        .map(|_| (0..2 + random.below(9)).map(|_| char::from(b'a' + random.below(26) as u8)).collect())
        .collect();
    let mut text = String::with_capacity(bytes + 200);
    while text.len() < bytes {
        for _ in 0..1 + random.below(12) {
            text.push_str(random.pick::<String>(&words));
            text.push(' ');
        }
        let _ = writeln!(text, "{:x}", random.next_u64());
    }
    text.into_bytes()
}

/// A file with such text.
fn text_file(scratch: &Scratch, bytes: usize) -> String {
    let path = scratch.path("text");
    std::fs::write(&path, text(bytes, 1)).expect("the input can be written");
    path.to_string_lossy().into_owned()
}

/// Runs a command that prepares something.
fn prepare(command: &mut Command) {
    let outcome =
        process::run(command, None, Duration::from_secs(60)).unwrap_or_else(|error| panic!("{error}"));
    assert!(outcome.is_success(), "{outcome:?}");
}

#[test]
fn ls_of_a_large_tree() {
    case("ls").args(["-lR", "/usr/share/doc"]).check();
}

#[test]
fn find_in_a_large_tree() {
    case("find").args(["/usr/share", "-name", "*.py", "-newermt", "2001-01-01"]).check();
}

#[test]
fn gzip_of_20_mb() {
    let scratch = Scratch::new();
    let file = text_file(&scratch, 20 << 20);
    case("gzip").args(["-9", "-c", &file]).check();
}

#[test]
fn gzip_between_pipes() {
    case("gzip").args(["-1"]).stdin(text(1 << 20, 2)).check();
}

#[test]
fn sort_of_50_mb() {
    let scratch = Scratch::new();
    let file = text_file(&scratch, 50 << 20);
    let sorted = scratch.path("sorted");
    let recording = case("sort")
        .args(["-k", "2", "-o", &sorted.to_string_lossy(), &file])
        .all_cores()
        .limit_s(200)
        .check();
    let checked = process::run(
        Command::new("sort").args(["-c", "-k", "2"]).arg(&sorted),
        None,
        Duration::from_secs(60),
    );
    assert!(checked.unwrap_or_else(|error| panic!("{error}")).is_success(), "{:?}", recording.recorded);
}

#[test]
fn sha256sum_of_50_mb() {
    let scratch = Scratch::new();
    let file = text_file(&scratch, 50 << 20);
    case("sha256sum").args([file]).check();
}

#[test]
fn git_log_of_5000_commits() {
    let scratch = Scratch::new();
    let repository = scratch.path("repository");
    let git = |arguments: &[&str]| {
        let mut git = Command::new("git");
        git.args(["-c", "init.defaultBranch=main"]).arg("-C").arg(&repository).args(arguments);
        git
    };
    std::fs::create_dir(&repository).expect("a directory");
    prepare(&mut git(&["init", "-q"]));
    let stream = scratch.path("stream");
    std::fs::write(&stream, history(6000)).expect("the stream can be written");
    let input = std::fs::File::open(&stream).expect("it has just been written");
    let imported = process::run(&mut git(&["fast-import", "--quiet"]), Some(input), Duration::from_secs(60));
    assert!(imported.as_ref().is_ok_and(process::Outcome::is_success), "{imported:?}");
    let repository = repository.to_string_lossy().into_owned();
    case("git").args(["-C", &repository, "log", "-n", "5000", "--stat", "main"]).limit_s(120).check();
}

/// A stream for git fast-import.
fn history(commits: u32) -> String {
    let mut stream = String::new();
    for number in 0..commits {
        let message = format!("change {number}\n");
        let contents = format!("line {number}\n").repeat(1 + number as usize % 5);
        let time = 1_600_000_000 + number * 60;
        let _ = write!(
            stream,
            "commit refs/heads/main\ncommitter A <a@example.org> {time} +0000\ndata {}\n{message}",
            message.len()
        );
        let _ = writeln!(stream, "M 644 inline file{}\ndata {}\n{contents}", number % 20, contents.len());
    }
    stream
}

#[test]
fn gcc_with_its_four_programs() {
    let scratch = Scratch::new();
    let program = scratch.path("ledger").to_string_lossy().into_owned();
    let source = debuggee("ledger.c").to_string_lossy().into_owned();
    case("gcc").args(["-O2", "-g", "-o", &program, &source]).check();
    assert!(Path::new(&program).exists());
}

#[test]
fn a_pipeline_of_five_programs() {
    let script = "tr a-z A-Z | grep -v Q | cut -d' ' -f1,2 | sort | uniq -c";
    case("sh").args(["-c", script]).stdin(text(300_000, 3)).all_cores().check();
}

#[test]
fn python_with_an_interval_timer() {
    let script = debuggee("timer.py").to_string_lossy().into_owned();
    let recording = case(PYTHON).args([script]).check();
    assert!(
        recording.events().get("signal").is_some_and(|signals| *signals >= 50),
        "{:?}",
        recording.events()
    );
}

#[test]
fn perl_with_an_interval_timer() {
    let script = debuggee("timer.pl").to_string_lossy().into_owned();
    let recording = case("perl").args([script]).check();
    assert!(
        recording.events().get("signal").is_some_and(|signals| *signals >= 50),
        "{:?}",
        recording.events()
    );
}

#[test]
fn sqlite_loads_100000_rows() {
    let mut script = String::from("create table t(id integer primary key, name text, value real);\nbegin;\n");
    for row in 0..100_000 {
        let _ = writeln!(script, "insert into t values({row}, 'name {row}', {}.5);", row * 7 % 1000);
    }
    script.push_str("commit;\ncreate index i on t(name);\nselect count(*), sum(value), max(name) from t;\n");
    let scratch = Scratch::new();
    let database = scratch.path("rows.db").to_string_lossy().into_owned();
    // The second run must not find the rows of the first.
    let script = format!("drop table if exists t;\n{script}");
    case("sqlite3").args([database]).stdin(script).check();
}

#[test]
fn rust_threads_contend_for_a_mutex() {
    let scratch = Scratch::new();
    case(compile(&scratch, "mutex.rs")).check();
}

#[test]
fn rust_threads_contend_for_a_mutex_on_all_cores() {
    let scratch = Scratch::new();
    case(compile(&scratch, "mutex.rs")).all_cores().check();
}

#[test]
fn a_condition_variable_goes_to_and_fro() {
    let scratch = Scratch::new();
    case(compile(&scratch, "pingpong.c")).check();
}

#[test]
fn a_timer_interrupts_a_loop_of_two_instructions() {
    let scratch = Scratch::new();
    let recording = case(compile(&scratch, "tightloop.c")).check();
    assert!(recording.events().contains_key("forced-point"), "{:?}", recording.events());
}

#[test]
fn curl_fetches_a_file() {
    let scratch = Scratch::new();
    let folder = scratch.path("www");
    std::fs::create_dir(&folder).expect("a directory");
    std::fs::write(folder.join("file"), text(1 << 20, 4)).expect("a file");
    let server = Server::start(&folder);
    let address = format!("http://127.0.0.1:{}/file", server.port);
    case("curl").args(["-s", "-S", "--noproxy", "*", &address]).check();
}

/// A server for files on loopback; ended with the value.
struct Server {
    child: Child,
    port: u16,
}

impl Server {
    fn start(folder: &Path) -> Server {
        use std::os::unix::process::CommandExt;
        let mut command = Command::new(PYTHON);
        command
            .args(["-u", "-m", "http.server", "0", "--bind", "127.0.0.1"])
            .current_dir(folder)
            .process_group(0);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        process::die_with_us(&mut command);
        let mut child = command.spawn().expect("python can be started");
        let mut line = String::new();
        let said = child.stdout.as_mut().map(|stdout| BufReader::new(stdout).read_line(&mut line));
        // "Serving HTTP on 127.0.0.1 port 40123 (http://127.0.0.1:40123/) ..."
        let port = line.split("port ").nth(1).and_then(|rest| rest.split(' ').next()?.parse().ok());
        let mut server = Server { child, port: 0 };
        server.port = port.unwrap_or_else(|| panic!("the server said {line:?}, {said:?}"));
        server
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        process::end_group(&mut self.child);
    }
}

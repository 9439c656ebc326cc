//! What is said when a replay differs from its recording. The difference is made: an event of a recording is edited.

use trace::{EventKind, Reader, Writer};

use crate::support::{compile, folder, text, vdbg};

const SOURCE: &str = r#"
__attribute__((always_inline)) static inline long call(long number, const char *bytes)
{
    long result;
    __asm__ volatile("syscall" : "=a"(result) : "0"(number), "D"(1L), "S"(bytes), "d"(1L) : "rcx", "r11", "memory");
    return result;
}
__attribute__((noinline)) void first(void) { call(1, "1"); }
__attribute__((noinline)) void second(void) { call(1, "2"); }
int main(void)
{
    first();
    second();
    return 0;
}
"#;

/// Records a program that makes two calls; the first then looks like the second in the recording. Its number.
fn record_damaged(name: &str) -> u64 {
    let program = compile(&format!("{name}.c"), SOURCE);
    let output = vdbg(&["record", "--no-agent", "-o", &format!("{name}.trace"), program.to_str().unwrap()]);
    assert_eq!(text(&output.stdout), "12", "{}", text(&output.stderr));
    let directory = folder().join(format!("{name}.trace"));
    let reader = Reader::open(&directory).unwrap();
    let mut events: Vec<_> = (0..reader.len()).map(|number| reader.event(number).unwrap()).collect();
    let writes: Vec<usize> = (0..events.len())
        .filter(|number| {
            matches!(events[*number].kind, EventKind::Syscall { .. })
                && events[*number].registers.orig_rax == 1
        })
        .collect();
    let [first, second] = writes[..] else { panic!("two writes") };
    events[first].registers = events[second].registers;
    let edited = folder().join(format!("{name}.edited"));
    std::fs::create_dir(&edited).unwrap();
    let mut writer = Writer::create(&edited, reader.header(), None).unwrap();
    for event in events {
        writer.event(event).unwrap();
    }
    writer.finish(Some(0), 1).unwrap();
    // What events refer to stays where it is.
    std::fs::copy(edited.join("events"), directory.join("events")).unwrap();
    first as u64
}

fn check(said: &str, event: u64) {
    let words =
        [format!("diverges from the recording at event {event}, thread "), format!("`goto {}`", event - 1)];
    for word in words.iter().map(String::as_str).chain(["at the call write, ", "Registers that differ"]) {
        assert!(said.contains(word), "without {word:?}: {said}");
    }
    let stacks =
        said.split_once("The recording at event").and_then(|(_, rest)| rest.split_once("The replay, "));
    let (recorded, replayed) = stacks.unwrap_or_else(|| panic!("two stacks: {said}"));
    assert!(recorded.contains(" second ()") && !recorded.contains(" first ()"), "{said}");
    assert!(replayed.contains(" first ()") && replayed.contains(" in main ()"), "{said}");
    assert!(replayed.contains("\n  rip "), "{said}");
}

#[test]
fn both_stacks_are_shown() {
    let event = record_damaged("diverging");
    for arguments in [&["--autopilot"][..], &["--batch", "-e", "continue"], &["-e", "goto end"]] {
        let output = vdbg(&[&["replay", "diverging.trace"], arguments].concat());
        assert_eq!(output.status.code(), Some(1));
        check(&text(&output.stderr), event);
    }
    let output = vdbg(&["replay", "diverging.trace", "--json", "-e", "continue"]);
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    check(
        &format!("{}\n{}", answer["error"].as_str().unwrap(), answer["divergence"].as_str().unwrap()),
        event,
    );
    // What comes before can be looked at.
    let before = format!("goto {}", event - 1);
    assert!(vdbg(&["replay", "diverging.trace", "-e", &before, "-e", "bt"]).status.success());
}

#[test]
fn a_bug_report_says_what_happened() {
    let event = record_damaged("reported");
    let output = vdbg(&["bugreport", "reported.trace", "-o", "report.tar.zst"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let said = text(&output.stdout);
    assert!(said.contains("replay.txt") && said.contains("memory of the program"), "{said}");
    let archive = zstd::decode_all(std::fs::File::open(folder().join("report.tar.zst")).unwrap()).unwrap();
    std::fs::write(folder().join("report.tar"), archive).unwrap();
    let tar = std::process::Command::new("tar").arg("-xf").arg("report.tar").current_dir(folder()).status();
    assert!(tar.unwrap().success());
    let read = |file| std::fs::read_to_string(folder().join("bugreport-reported.trace").join(file)).unwrap();
    check(&read("replay.txt"), event);
    assert!(read("events.txt").contains(&format!("{event:>7} ")) && read("events.txt").contains("write(1, "));
    assert!(read("version.txt").contains("vdbg ") && read("doctor.txt").contains("kernel"));
    assert!(read("header.json").contains("reported") && read("CONTENTS.txt").contains("events.txt"));
    assert!(!folder().join("bugreport-reported.trace/trace").exists());
    // There it is not asked to be overwritten.
    assert_eq!(vdbg(&["bugreport", "reported.trace", "-o", "report.tar.zst"]).status.code(), Some(1));
    let output = vdbg(&["bugreport", "reported.trace", "--with-trace", "-o", "whole.tar.zst"]);
    assert!(output.status.success() && text(&output.stdout).contains("trace/"), "{}", text(&output.stderr));
}

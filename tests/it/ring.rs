//! A recording that keeps only its newest part.

use e2e::Scratch;
use e2e::compile::compile;

use crate::case;

/// Size of the ring in bytes.
const RING: u64 = 4 << 20;

fn size(trace: &std::path::Path) -> u64 {
    let streams = std::fs::read_dir(trace).expect("a trace").filter_map(Result::ok).filter(|entry| {
        let name = entry.file_name();
        name.to_string_lossy().starts_with("events") || name.to_string_lossy().starts_with("data")
    });
    streams.map(|entry| entry.metadata().map_or(0, |meta| meta.len())).sum()
}

/// 24 MB go through it. What is left replays, and so does the copy that was made when a child crashed.
#[test]
fn keeps_the_newest_part_and_saves_a_crash() {
    let scratch = Scratch::new();
    let recording = case(compile(&scratch, "ring.c")).output_varies().ring(RING).record();
    let trace = recording.trace();
    let reader = trace::Reader::open(&trace).expect("a trace");
    assert!(reader.first() > 500 && reader.len() > reader.first(), "{} to {}", reader.first(), reader.len());
    assert!(size(&trace) < 3 * RING, "{} bytes", size(&trace));
    recording.drive("replay-ring", &[]);
    recording.walk();
    let saved = trace.with_file_name("trace-saved-1");
    let crash = trace::Reader::open(&saved).expect("the crash was saved");
    let because = crash.end().and_then(|end| end.copied_because.clone()).expect("it says why it was made");
    assert!(because.ends_with("(ring) died of SIGSEGV"), "{because}");
    assert!(trace::warnings(&trace).iter().any(|warning| warning.starts_with(&because)));
    assert!(crash.first() > 0 && crash.len() < reader.len());
    let killed = (crash.first()..crash.len()).any(|number| {
        let event = crash.event(number).expect("an event");
        matches!(event.kind, trace::EventKind::Signal { signal: libc::SIGSEGV, .. })
    });
    assert!(killed, "the crash is in what was saved");
    recording.drive_on(&saved, "replay-ring");
}

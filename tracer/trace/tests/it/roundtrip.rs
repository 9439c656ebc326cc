//! What is written is read.

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use trace::{DataRef, Reader, TRACE_VERSION, TraceError};

use crate::support::{directory, header, runner, steps, write};

#[test]
fn everything_written_is_read() {
    runner(40)
        .run(&steps(120), |steps| {
            let place = directory();
            let written = write(place.path(), &steps);
            let reader = Reader::open(&written.path).expect("a readable trace");
            prop_assert_eq!(reader.damage(), None);
            prop_assert_eq!(reader.header(), &header());
            prop_assert_eq!(reader.len(), written.events.len() as u64);
            let end = reader.end().expect("it was closed");
            prop_assert_eq!((end.events, end.status, end.duration_ns), (reader.len(), 0x700, 12345));
            // From the back, so that blocks are not only read in order.
            for (number, event) in written.events.iter().enumerate().rev() {
                prop_assert_eq!(&reader.event(number as u64).expect("an event"), event);
            }
            for piece in &written.pieces {
                let wanted = &written.data[piece.offset as usize..(piece.offset + piece.len) as usize];
                prop_assert_eq!(&reader.data(*piece).expect("data"), wanted);
            }
            let all = DataRef { offset: 0, len: written.data.len() as u64 };
            prop_assert!(reader.data(all).expect("all data") == written.data);
            Ok(())
        })
        .unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn what_is_not_there_is_an_error() {
    let place = directory();
    let steps = steps(60).new_tree(&mut runner(1)).expect("steps").current();
    let written = write(place.path(), &steps);
    let reader = Reader::open(&written.path).expect("a readable trace");
    let past = reader.len();
    assert!(matches!(reader.event(past), Err(TraceError::NoSuchEvent(number)) if number == past));
    assert!(reader.event(u64::MAX).is_err());
    let len = written.data.len() as u64;
    for (offset, len) in [(len, 1), (u64::MAX, 1), (u64::MAX, u64::MAX), (0, u64::MAX), (0, len + 1)] {
        assert!(reader.data(DataRef { offset, len }).is_err(), "{offset} {len}");
    }
    assert_eq!(reader.data(DataRef { offset: len, len: 0 }).expect("nothing"), Vec::<u8>::new());
}

#[test]
fn a_newer_trace_says_so() {
    let place = directory();
    write(place.path(), &[]);
    let path = place.path().join("header.json");
    let text = std::fs::read_to_string(&path).expect("a header");
    let newer = text
        .replace(&format!("\"version\": {TRACE_VERSION}"), &format!("\"version\": {}", TRACE_VERSION + 1));
    assert_ne!(text, newer);
    // A newer header may lack fields and have others.
    for newer in [newer, format!("{{\"version\": {}, \"other\": []}}", TRACE_VERSION + 1)] {
        std::fs::write(&path, newer).expect("the header can be written");
        let error = Reader::open(place.path()).err().expect("it is refused").to_string();
        assert!(
            error.contains(&format!("version {}", TRACE_VERSION + 1)) && error.contains("newer vdbg"),
            "{error}"
        );
    }
}

#[test]
fn no_trace_says_so() {
    let place = directory();
    assert!(matches!(Reader::open(place.path()), Err(TraceError::NotATrace(_))));
    assert!(matches!(Reader::open(&place.path().join("nothing")), Err(TraceError::NotATrace(_))));
}

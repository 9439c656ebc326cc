//! `layout.h` and the crate say the same.

/// The value of a `#define` of layout.h that is a plain number.
fn defined(name: &str) -> u64 {
    let text = include_str!("../../agent/layout.h");
    let line = text.lines().find(|line| {
        let mut words = line.split_whitespace();
        words.next() == Some("#define") && words.next() == Some(name)
    });
    let value = line.and_then(|line| line.split_whitespace().nth(2)).unwrap_or_else(|| panic!("no {name}"));
    let parsed = match value.strip_prefix("0x") {
        Some(hexadecimal) => u64::from_str_radix(hexadecimal, 16),
        None => value.parse(),
    };
    parsed.unwrap_or_else(|error| panic!("{name} is {value}: {error}"))
}

/// Checks constants of a module against the definitions of their names behind a prefix.
macro_rules! same {
    ($prefix:literal, $module:path, $($name:ident)+) => {{
        use $module as module;
        $(assert_eq!(defined(concat!($prefix, stringify!($name))), u64::from(module::$name), stringify!($name));)+
    }};
}

#[test]
fn both_languages_have_the_same_layout() {
    same!("", agent, CODE_START SHARED_START AREAS_START AREA_BYTES AREAS CLASSES_START LOG_START SHARED_END
        DESCRIPTORS);
    same!("CONTROL_", agent::control, ATTENTION PAUSE ALONE SHARED_FILES EXIT TURN LEFT HEAD COUNT RESERVED AREAS_USED
        OUTSIDERS QUEUED TICKETS TURNS PROC_DEVICE OUTPUT LAST END);
    same!("AREA_", agent::area, STATE WAKE STAGE ANNOUNCED STOPPED UNLOGGED HOOK RESULT TICKET RESERVED CLASSES NEXT TRAP_COUNTER REPORT SAVED);
    same!("TURN_", agent::turn, NOBODY RECORDER);
    same!("STATE_", agent::state, HELD LEAVING OUT QUEUED);
    same!("STAGE_", agent::stage, BEFORE CALL AFTER);
    same!("CLASS_", agent::class, FILE OUTPUT ERROR WAITS SPECIAL);
}

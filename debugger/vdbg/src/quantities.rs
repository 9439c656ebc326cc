//! Sizes, times and signals on the command line.

use std::time::Duration;

use tracer::StopAfter;

/// Less cannot hold a snapshot.
const SIZE_MIN: u64 = 1 << 20;

/// No recording takes longer than ten years; the clock can say that much.
const TIME_MAX: Duration = Duration::from_secs(10 * 365 * 86_400);

/// Reads a number of bytes.
pub(crate) fn size(text: &str) -> Result<u64, String> {
    let bad = |what: &str| format!("{what}: say a number with K, M or G, from 1M on, such as 256M or 1G");
    let digits = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let shift = match unit.to_ascii_uppercase().as_str() {
        "" | "B" => 0,
        "K" | "KB" | "KIB" => 10,
        "M" | "MB" | "MIB" => 20,
        "G" | "GB" | "GIB" => 30,
        _ => return Err(bad("that is no size")),
    };
    let number: u64 = number.parse().map_err(|_| bad("that is no size"))?;
    match number.checked_mul(1 << shift) {
        None => Err(bad("that is too much")),
        Some(bytes) if bytes < SIZE_MIN => Err(bad("that cannot hold a snapshot")),
        Some(bytes) => Ok(bytes),
    }
}

/// Reads a time or the name of a signal.
pub(crate) fn stop_after(text: &str) -> Result<StopAfter, String> {
    let bad = |what: &str| {
        format!("{what}: times are such as 10s, 500ms, 2m or 1h30m, signals such as SIGUSR1 or SIGRTMIN+1")
    };
    if let Some(signal) = signal(text) {
        return Ok(StopAfter::Signal(signal));
    }
    match time(text) {
        None => Err(bad("that is neither a time nor a signal")),
        Some(time) if time.is_zero() => Err(bad("nothing could be recorded in no time")),
        Some(time) if time > TIME_MAX => Err(bad("that is too long")),
        Some(time) => Ok(StopAfter::Time(time)),
    }
}

/// A time of one or several parts, each of a smaller unit than the one before; a number alone is seconds.
fn time(text: &str) -> Option<Duration> {
    if text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
        return Duration::try_from_secs_f64(text.parse().ok()?).ok();
    }
    let mut seconds = 0.0;
    let (mut rest, mut last) = (text, f64::INFINITY);
    while !rest.is_empty() {
        let digits = rest.find(|letter: char| !letter.is_ascii_digit() && letter != '.')?;
        let (number, behind) = rest.split_at(digits);
        let letters = behind.find(|letter: char| !letter.is_ascii_alphabetic()).unwrap_or(behind.len());
        let (unit, behind) = behind.split_at(letters);
        let unit = match unit {
            "ms" => 1e-3,
            "s" | "sec" => 1.0,
            "m" | "min" => 60.0,
            "h" => 3600.0,
            "d" => 86_400.0,
            _ => return None,
        };
        if unit >= last {
            return None;
        }
        seconds += number.parse::<f64>().ok()? * unit;
        (rest, last) = (behind, unit);
    }
    Duration::try_from_secs_f64(seconds).ok()
}

/// The number of a signal, by its name with or without SIG.
fn signal(text: &str) -> Option<i32> {
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let realtime = |from: i32, offset: &str| {
        let offset = if offset.is_empty() { 0 } else { offset.parse::<i32>().ok()? };
        let number = from.checked_add(offset)?;
        (libc::SIGRTMIN()..=libc::SIGRTMAX()).contains(&number).then_some(number)
    };
    if let Some(offset) = name.strip_prefix("RTMIN") {
        return realtime(libc::SIGRTMIN(), offset);
    }
    if let Some(offset) = name.strip_prefix("RTMAX") {
        return realtime(libc::SIGRTMAX(), offset);
    }
    let named = |number: &i32| {
        let known = u32::try_from(*number).ok().and_then(syscalls::signal_name);
        known.is_some_and(|known| known.strip_prefix("SIG") == Some(name))
    };
    (1..libc::SIGRTMIN()).find(named)
}

/// Reads the id of a process.
pub(crate) fn process(text: &str) -> Result<i32, String> {
    let number = text.parse().ok().filter(|number| *number > 0);
    number.ok_or_else(|| "the number of a process is meant; `pgrep NAME` finds it".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        assert_eq!((size("256M"), size("1g"), size("2MiB")), (Ok(256 << 20), Ok(1 << 30), Ok(2 << 20)));
        for bad in ["", "-1M", "0", "12X", "1.5G", "M", "512K", "99999999999G", "99999999999999999999"] {
            assert!(size(bad).is_err_and(|error| error.contains("256M")), "{bad}");
        }
    }

    #[test]
    fn times_and_signals() {
        let seconds = |text| match stop_after(text) {
            Ok(StopAfter::Time(time)) => time.as_secs_f64(),
            other => panic!("{text}: {other:?}"),
        };
        assert_eq!((seconds("1h30m"), seconds("1m30.5s"), seconds("500ms")), (5400.0, 90.5, 0.5));
        assert_eq!((seconds("3"), seconds("2min")), (3.0, 120.0));
        assert_eq!(stop_after("usr1"), Ok(StopAfter::Signal(libc::SIGUSR1)));
        assert_eq!(stop_after("SIGRTMIN+3"), Ok(StopAfter::Signal(libc::SIGRTMIN() + 3)));
        for bad in
            ["", "-3s", "FOO", "0s", "1m1h", "1.5m30", "10xs", "1..2s", "9999999999h", "SIGRTMIN+99", "é"]
        {
            assert!(stop_after(bad).is_err_and(|error| error.contains("1h30m")), "{bad}");
        }
    }
}

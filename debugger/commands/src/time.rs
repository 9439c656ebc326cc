//! Recorded times as text.

const SECOND_NS: u64 = 1_000_000_000;

/// A duration in nanoseconds as seconds with microseconds, such as `1.250000 s`.
pub fn duration_text(ns: u64) -> String {
    format!("{}.{:06} s", ns / SECOND_NS, ns % SECOND_NS / 1000)
}

/// Nanoseconds since 1970-01-01 UTC as `2026-05-04 12:30:01.250 UTC`.
pub fn utc_text(unix_ns: u64) -> String {
    let seconds = unix_ns / SECOND_NS;
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = civil(days);
    let millis = unix_ns % SECOND_NS / 1_000_000;
    format!(
        "{year:04}-{month:02}-{day:02} {:02}:{:02}:{:02}.{millis:03} UTC",
        rest / 3600,
        rest / 60 % 60,
        rest % 60
    )
}

/// Days since 1970-01-01 as year, month and day of the Gregorian calendar: the year is taken to begin in March, so that
/// the leap day is its last (Howard Hinnant, "chrono-compatible low-level date algorithms").
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_right() {
        assert_eq!(utc_text(0), "1970-01-01 00:00:00.000 UTC");
        assert_eq!(utc_text(951_782_400 * SECOND_NS), "2000-02-29 00:00:00.000 UTC");
        assert_eq!(utc_text(1_767_225_599_999_000_000), "2025-12-31 23:59:59.999 UTC");
        assert_eq!(duration_text(1_250_000_999), "1.250000 s");
    }
}

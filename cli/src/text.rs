//! Numbers, names and bytes as people read and type them.

use siding::Lsn;

/// Bytes, in the unit that suits.
pub(crate) fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut scaled = count;
    let mut rest = 0;
    let mut unit = 0;
    while scaled >= 1024 && unit + 1 < UNITS.len() {
        rest = scaled % 1024;
        scaled /= 1024;
        unit += 1;
    }
    match unit {
        0 => format!("{count} B"),
        _ => format!("{scaled}.{} {}", rest * 10 / 1024, UNITS[unit]),
    }
}

/// A time span, its two largest parts.
pub(crate) fn span(ms: u64) -> String {
    let seconds = ms / 1000;
    let (days, hours) = (seconds / 86_400, seconds / 3600 % 24);
    let minutes = seconds / 60 % 60;
    match seconds {
        0 => format!("{ms} ms"),
        1..60 => format!("{seconds} s"),
        60..3600 => format!("{minutes} min {} s", seconds % 60),
        3600..86_400 => format!("{hours} h {minutes} min"),
        _ => format!("{days} d {hours} h"),
    }
}

/// A moment, in milliseconds since 1970, as people write it.
pub(crate) fn moment(ms: u64) -> String {
    let (days, seconds) = (ms / 86_400_000, ms / 1000 % 86_400);
    // Days in the calendar that begins in March of year 0, so that leap days end their year:
    // Howard Hinnant, civil_from_days.
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, later) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    let year = era * 400 + year + later;
    let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
    format!("{year:04}-{month:02}-{day:02} {hours:02}:{minutes:02}:{:02} UTC", seconds % 60)
}

/// A moment as somebody typed it: milliseconds since 1970, or as [`moment`] writes it, with or
/// without its end.
pub(crate) fn parse_moment(text: &str) -> Result<u64, String> {
    let wrong = || format!("`{text}` is neither milliseconds since 1970 nor YYYY-MM-DD HH:MM:SS");
    if let Ok(ms) = text.parse() {
        return Ok(ms);
    }
    let bare = text.trim_end_matches("UTC").trim_end_matches('Z').trim();
    let (date, time) = bare.split_once([' ', 'T']).ok_or_else(wrong)?;
    let (time, fraction) = time.split_once('.').unwrap_or((time, "0"));
    let numbers = |text: &str, by: char| -> Option<[u64; 3]> {
        let all: Option<Vec<u64>> = text.split(by).map(|it| it.parse().ok()).collect();
        all?.try_into().ok()
    };
    let [year, month, day] = numbers(date, '-').ok_or_else(wrong)?;
    let [hours, minutes, seconds] = numbers(time, ':').ok_or_else(wrong)?;
    let sound = (1970..10_000).contains(&year)
        && (1..=12).contains(&month)
        && (1..=31).contains(&day)
        && hours < 24
        && minutes < 60
        && seconds < 60
        && fraction.len() <= 3
        && !fraction.is_empty();
    if !sound {
        return Err(wrong());
    }
    let millis: u64 = format!("{fraction:0<3}").parse().map_err(|_| wrong())?;
    // The way back of `moment`: Howard Hinnant, days_from_civil.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let of_year = (153 * month + 2) / 5 + day - 1;
    let days = year * 365 + year / 4 - year / 100 + year / 400 + of_year - 719_468;
    let seconds = days * 86_400 + hours * 3600 + minutes * 60 + seconds;
    let ms = seconds * 1000 + millis;
    // 31 February is no day.
    match moment(ms).starts_with(date) {
        true => Ok(ms),
        false => Err(wrong()),
    }
}

/// A position, or a dash for none.
pub(crate) fn position(lsn: Lsn) -> String {
    if lsn.is_zero() { "-".to_owned() } else { lsn.to_string() }
}

/// A unit's number.
pub(crate) fn unit(number: u64) -> String {
    format!("{number:#x}")
}

/// A unit's number as somebody typed it.
pub(crate) fn parse_unit(text: &str) -> Option<u64> {
    match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}

/// Bytes as hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Bytes as text where they are text; what is not is escaped.
pub(crate) fn shown(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string().replace("\\\"", "\"").replace("\\'", "'")
}

/// The first bytes, in quotes.
pub(crate) fn preview(payload: &[u8], most: usize) -> String {
    let (front, dots) = match payload.split_at_checked(most) {
        Some((front, rest)) if !rest.is_empty() => (front, "…"),
        _ => (payload, ""),
    };
    format!("\"{}\"{dots}", front.escape_ascii())
}

/// A gid as JSON: text if it is text, and always its digits.
pub(crate) fn gid_fields(gid: &[u8]) -> (Option<String>, String) {
    (std::str::from_utf8(gid).ok().map(str::to_owned), hex(gid))
}

/// Sixteen bytes a line: where, digits, text.
pub(crate) fn hex_dump(payload: &[u8]) -> Vec<String> {
    let lines = payload.chunks(16).enumerate();
    lines
        .map(|(index, line)| {
            let digits: Vec<String> = line.iter().map(|byte| format!("{byte:02x}")).collect();
            let text: String = line
                .iter()
                .map(|byte| if (32..127).contains(byte) { char::from(*byte) } else { '.' })
                .collect();
            format!("    {:06x}  {:<47}  {text}", index * 16, digits.join(" "))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_read_as_they_are_written() {
        for ms in [0, 951_782_400_000, 951_868_799_000, 1_709_164_800_000, 1_796_083_297_000] {
            assert_eq!(parse_moment(&moment(ms)), Ok(ms), "{}", moment(ms));
            assert_eq!(parse_moment(&ms.to_string()), Ok(ms));
        }
        assert_eq!(parse_moment("1970-01-02T00:00:01.5Z"), Ok(86_401_500));
        let wrong = ["", "1970-01-01", "2026-02-31 00:00:00", "2026-13-01 00:00:00", "now", "-1"];
        for text in wrong.into_iter().chain(["2026-01-01 24:00:00", "2026-01-01 00:00:00.1234"]) {
            assert!(parse_moment(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_and_spans_are_short() {
        let sizes = [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (64 << 20, "64.0 MiB")];
        for (count, text) in sizes {
            assert_eq!(bytes(count), text);
        }
        let spans = [(7, "7 ms"), (61_000, "1 min 1 s"), (7_260_000, "2 h 1 min")];
        for (ms, text) in spans {
            assert_eq!(span(ms), text);
        }
        assert_eq!(span(90_000_000), "1 d 1 h");
    }

    #[test]
    fn moments_are_of_the_calendar() {
        let moments = [
            (0, "1970-01-01 00:00:00 UTC"),
            (951_782_399_000, "2000-02-28 23:59:59 UTC"),
            (951_782_400_000, "2000-02-29 00:00:00 UTC"),
            (1_709_251_200_999, "2024-03-01 00:00:00 UTC"),
            (4_102_444_799_000, "2099-12-31 23:59:59 UTC"),
        ];
        for (ms, text) in moments {
            assert_eq!(moment(ms), text);
        }
    }

    #[test]
    fn units_are_read_as_they_are_shown() {
        assert_eq!(parse_unit(&unit(0x100_0000_0001)), Some(0x100_0000_0001));
        assert_eq!(parse_unit("12"), Some(12));
        assert_eq!(parse_unit("transfer-7"), None);
    }
}

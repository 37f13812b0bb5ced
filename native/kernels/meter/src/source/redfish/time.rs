//! Times and durations as Redfish writes them: ISO 8601.

use std::time::Duration;

/// Nanoseconds since 1970 of `2026-11-24T10:00:00.25+01:00` or `…Z`; `None` for anything else.
pub fn parse_time(text: &str) -> Option<i128> {
    let bytes = text.as_bytes();
    let number = |from: usize, to: usize| -> Option<i64> {
        let digits = text.get(from..to)?;
        digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())?
    };
    if bytes.len() < 19 || bytes[4] != b'-' || bytes[7] != b'-' || !matches!(bytes[10], b'T' | b' ') {
        return None;
    }
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) || hour > 24 || minute > 59 || second > 60 {
        return None;
    }
    let rest = &text[19..];
    let fraction: String = match rest.strip_prefix('.') {
        Some(rest) => rest.chars().take_while(char::is_ascii_digit).collect(),
        None => String::new(),
    };
    let zone = &rest[if fraction.is_empty() { 0 } else { fraction.len() + 1 }..];
    let offset = match zone.as_bytes() {
        [] | [b'Z'] => 0,
        [sign @ (b'+' | b'-'), ..] => {
            let (hours, minutes) = zone[1..].split_once(':')?;
            let minutes = hours.parse::<i64>().ok()? * 60 + minutes.parse::<i64>().ok()?;
            if *sign == b'-' { -minutes } else { minutes }
        }
        _ => return None,
    };
    // Days since 1970 of the Gregorian calendar, with years that begin in March.
    let shifted = if month <= 2 { year - 1 } else { year };
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let days = shifted * 365 + shifted.div_euclid(4) - shifted.div_euclid(100) + shifted.div_euclid(400) + day_of_year
        - 719_468;
    let seconds = days * 86_400 + hour * 3600 + (minute - offset) * 60 + second;
    let nanoseconds: i128 = format!("{fraction:0<9}").get(..9)?.parse().ok()?;
    Some(i128::from(seconds) * 1_000_000_000 + nanoseconds)
}

/// `PT1S`, `PT0.5S`, `PT1M30S`, `P1DT2H`; `None` for anything else, and for nothing.
pub fn parse_duration(text: &str) -> Option<Duration> {
    let (mut seconds, mut number, mut in_time) = (0.0, String::new(), false);
    for character in text.strip_prefix('P')?.chars() {
        let factor = match character {
            '0'..='9' | '.' => {
                number.push(character);
                continue;
            }
            'T' if number.is_empty() => {
                in_time = true;
                continue;
            }
            'D' if !in_time => 86_400.0,
            'H' if in_time => 3600.0,
            'M' if in_time => 60.0,
            'S' if in_time => 1.0,
            _ => return None,
        };
        seconds += number.parse::<f64>().ok()? * factor;
        number.clear();
    }
    (number.is_empty() && seconds > 0.0).then(|| Duration::try_from_secs_f64(seconds).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        let seconds = |text: &str| parse_time(text).map(|time| time as f64 / 1e9);
        assert_eq!(seconds("1970-01-01T00:00:00Z"), Some(0.0));
        assert_eq!(seconds("2024-05-05T13:06:44Z"), Some(1_714_914_404.0));
        assert_eq!(seconds("2024-05-05T15:06:44.5+02:00"), Some(1_714_914_404.5));
        assert_eq!(seconds("2024-05-05T08:06:44-05:00"), Some(1_714_914_404.0));
        assert_eq!(seconds("2024-02-29T00:00:00"), Some(1_709_164_800.0));
        assert_eq!(seconds("2000-03-01T00:00:00Z"), Some(951_868_800.0));
        for text in
            ["", "yesterday", "2024-05-05", "2024-13-05T00:00:00Z", "2024-05-05T13:06:44 CET", "2024-05-05T13:06:4éZ"]
        {
            assert_eq!(seconds(text), None, "{text}");
        }
    }

    #[test]
    fn durations() {
        let seconds = |text: &str| parse_duration(text).map(|time| time.as_secs_f64());
        assert_eq!(seconds("PT1S"), Some(1.0));
        assert_eq!(seconds("PT0.25S"), Some(0.25));
        assert_eq!(seconds("P1DT1H1M1S"), Some(90_061.0));
        for text in ["", "P", "PT", "PT0S", "PT5", "P1M", "1S", "PTxS"] {
            assert_eq!(seconds(text), None, "{text}");
        }
    }
}

//! Numbers as people read them at a glance.

/// With a comma before every three digits.
pub(crate) fn grouped(number: f64) -> String {
    let text = format!("{:.0}", number.abs());
    let mut out = String::new();
    if number <= -0.5 {
        out.push('-');
    }
    for (place, digit) in text.chars().enumerate() {
        if place > 0 && (text.len() - place) % 3 == 0 && digit.is_ascii_digit() {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// Bytes in the unit that leaves three digits or four.
pub(crate) fn bytes(bytes: f64) -> String {
    let mut rest = bytes;
    for unit in ["B", "KiB", "MiB", "GiB"] {
        if rest.abs() < 1_024.0 {
            return match unit {
                "B" => format!("{rest:.0} B"),
                _ => format!("{rest:.1} {unit}"),
            };
        }
        rest /= 1_024.0;
    }
    format!("{rest:.1} TiB")
}

/// A time in its greatest two units.
pub(crate) fn seconds(seconds: f64) -> String {
    if seconds < 10.0 {
        return format!("{seconds:.1} s");
    }
    let (days, rest) = ((seconds / 86_400.0).floor(), seconds % 86_400.0);
    let (hours, rest) = ((rest / 3_600.0).floor(), rest % 3_600.0);
    let (minutes, rest) = ((rest / 60.0).floor(), (rest % 60.0).floor());
    if days > 0.0 {
        format!("{days:.0} d {hours:.0} h")
    } else if hours > 0.0 {
        format!("{hours:.0} h {minutes:.0} min")
    } else if minutes > 0.0 {
        format!("{minutes:.0} min {rest:.0} s")
    } else {
        format!("{rest:.0} s")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_told_in_few_signs() {
        let numbers = [0.0, 999.4, 1_000.0, 1_234_567.8, -1_000.0, -0.2];
        let expected = ["0", "999", "1,000", "1,234,568", "-1,000", "0"];
        assert_eq!(numbers.map(grouped), expected);
        let sizes = [0.0, 1_023.0, 1_536.0, 3_221_225_472.0, 1e15];
        assert_eq!(sizes.map(bytes), ["0 B", "1023 B", "1.5 KiB", "3.0 GiB", "909.5 TiB"]);
        let times = [0.0, 9.94, 59.0, 61.0, 3_725.0, 90_000.0];
        let expected = ["0.0 s", "9.9 s", "59 s", "1 min 1 s", "1 h 2 min", "1 d 1 h"];
        assert_eq!(times.map(seconds), expected);
    }
}

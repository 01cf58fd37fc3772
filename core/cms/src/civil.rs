//! Certificate times to and from unix seconds.
//!
//! Only the two DER time forms, always in UTC with seconds, as RFC 5280 section 4.1.2.5 asks. It knows no clock.

use crate::der_io::{NotDer, Read, Tlv, element, tag};

/// 1 January of year 10000, the first second that has no DER form.
const END_OF_TIME: i64 = 253_402_300_800;
/// 1 January of year 0.
const START_OF_TIME: i64 = -62_167_219_200;

/// Reads a UTCTime or GeneralizedTime element as unix seconds.
pub(crate) fn read_time(time: &Tlv<'_>) -> Read<i64> {
    let (year, rest) = match time.tag {
        tag::UTC_TIME => {
            let (head, rest) = time.value.split_at_checked(2).ok_or(NotDer)?;
            let short = digits(head)?;
            (short + if short < 50 { 2000 } else { 1900 }, rest)
        }
        tag::GENERALIZED_TIME => {
            let (head, rest) = time.value.split_at_checked(4).ok_or(NotDer)?;
            (digits(head)?, rest)
        }
        _ => return Err(NotDer),
    };
    let (Some((fields, b"Z")), true) = (rest.split_at_checked(10), rest.len() == 11) else {
        return Err(NotDer);
    };
    let mut parts = [0i64; 5];
    for (part, pair) in parts.iter_mut().zip(fields.chunks_exact(2)) {
        *part = digits(pair)?;
    }
    let [month, day, hour, minute, second] = parts;
    let valid = (1..=12).contains(&month)
        && (1..=days_in_month(year, month)).contains(&day)
        && hour < 24
        && minute < 60
        && second < 60;
    if !valid {
        return Err(NotDer);
    }
    Ok(days_from_civil(year, month, day) * 86_400 + hour * 3_600 + minute * 60 + second)
}

/// Writes unix seconds as UTCTime up to 2049, GeneralizedTime outside; none where DER has no form.
pub(crate) fn write_time(unix: i64) -> Option<Vec<u8>> {
    if !(START_OF_TIME..END_OF_TIME).contains(&unix) {
        return None;
    }
    let (year, month, day) = civil_from_days(unix.div_euclid(86_400));
    let second = unix.rem_euclid(86_400);
    let tail = format!(
        "{month:02}{day:02}{:02}{:02}{:02}Z",
        second / 3_600,
        second / 60 % 60,
        second % 60
    );
    Some(if (1950..2050).contains(&year) {
        let text = format!("{:02}{tail}", year % 100);
        element(tag::UTC_TIME, &[text.as_bytes()])
    } else {
        let text = format!("{year:04}{tail}");
        element(tag::GENERALIZED_TIME, &[text.as_bytes()])
    })
}

fn digits(bytes: &[u8]) -> Read<i64> {
    bytes.iter().try_fold(0i64, |sum, byte| {
        if byte.is_ascii_digit() {
            Ok(sum * 10 + i64::from(byte - b'0'))
        } else {
            Err(NotDer)
        }
    })
}

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if is_leap(year) => 29,
        2 => 28,
        _ => 31,
    }
}

/// Days since 1 January 1970. Years are counted from March so that the leap day comes last.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let shifted = if month <= 2 { year - 1 } else { year };
    let era = shifted.div_euclid(400);
    let year_of_era = shifted.rem_euclid(400);
    let month_from_march = (month + 9) % 12;
    let day_of_year = (153 * month_from_march + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::der_io::single;

    #[test]
    fn times_survive_a_round_trip() {
        for unix in [
            0,
            -1,
            951_782_400,
            951_868_799,
            1_795_000_000,
            2_524_607_999,
            2_524_608_000,
            253_402_300_799,
            -62_167_219_200,
        ] {
            let bytes = write_time(unix).expect("in range");
            assert_eq!(read_time(&single(&bytes).expect("one element")), Ok(unix));
        }
        assert_eq!(write_time(253_402_300_800), None);
    }

    #[test]
    fn known_dates_have_known_seconds() {
        let cases: [(u8, &str, i64); 4] = [
            (tag::UTC_TIME, "700101000000Z", 0),
            (tag::UTC_TIME, "000229120000Z", 951_825_600),
            (tag::UTC_TIME, "491231235959Z", 2_524_607_999),
            (tag::GENERALIZED_TIME, "99991231235959Z", 253_402_300_799),
        ];
        for (form, text, unix) in cases {
            let bytes = element(form, &[text.as_bytes()]);
            assert_eq!(
                read_time(&single(&bytes).expect("one element")),
                Ok(unix),
                "{text}"
            );
        }
    }

    #[test]
    fn impossible_dates_are_refused() {
        for text in [
            "",
            "7001010000Z",
            "701301000000Z",
            "700230000000Z",
            "010229000000Z",
            "700101240000Z",
            "700101006000Z",
            "700101000060Z",
            "700101000000",
            "700101000000+0100",
            "70010100000aZ",
            "7001010000000Z",
        ] {
            let bytes = element(tag::UTC_TIME, &[text.as_bytes()]);
            assert_eq!(
                read_time(&single(&bytes).expect("one element")),
                Err(NotDer),
                "{text}"
            );
        }
    }
}

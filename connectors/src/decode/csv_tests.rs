//! CSV files as people have them.

use std::io::{BufReader, Read};

use super::*;

struct Decoded {
    samples: Vec<(i64, f64)>,
    errors: Vec<(u64, RowReason)>,
    rows: usize,
}

fn read(text: &[u8], buffer_bytes: usize, rows_max: usize) -> Result<Decoded, CsvError> {
    let input = BufReader::with_capacity(buffer_bytes, text);
    let mut reader = CsvReader::new(input, &CsvOptions::default())?;
    let (mut times, mut values, mut errors) = (Vec::new(), Vec::new(), RowErrors::default());
    let mut rows = 0;
    loop {
        let read = reader.next_batch(rows_max, &mut times, &mut values, &mut errors)?;
        assert!(read <= rows_max);
        rows += read;
        if read == 0 {
            break;
        }
    }
    assert_eq!(times.len(), values.len());
    let samples = times.iter().map(|time| time.nanos()).zip(values).collect();
    let errors = errors.first().iter().map(|error| (error.line_number, error.reason)).collect();
    Ok(Decoded { samples, errors, rows })
}

#[test]
fn times_are_dates_or_numbers_by_magnitude() {
    let text = b"timestamp,value\n2015-02-26 21:42:53,7\n1424986973,7.5\n1424986973000,-1e3\n\
                 2015-02-26T22:42:53.25+01:00,8\n1424986973000000000,9\n";
    let decoded = read(text, 64, 2).expect("reads");
    let second = 1_424_986_973_000_000_000;
    let expected =
        [(second, 7.0), (second, 7.5), (second, -1e3), (second + 250_000_000, 8.0), (second, 9.0)];
    assert_eq!(decoded.samples, expected);
    assert_eq!((decoded.errors, decoded.rows), (vec![], 5));
}

#[test]
fn refused_rows_have_the_number_of_their_line() {
    let text = b"\"note\",value, timestamp \r\n\"a\nb\",1,10\r\n\r\n\nx,,11\nx,nan,12\nx,y,13\n\
                 x,1\n\"q\"\"\",1,nope\nx,-inf,14\nx,1,9999-01-01 00:00:00\n\n\"last\",2,15\r";
    for buffer_bytes in [1, 2, 3, 7, 64, 4_096] {
        let decoded = read(text, buffer_bytes, 100).expect("reads");
        assert_eq!(decoded.samples, [(10_000_000_000, 1.0), (15_000_000_000, 2.0)]);
        assert_eq!(
            decoded.errors,
            [
                (6, RowReason::EmptyValue),
                (7, RowReason::NotFinite),
                (8, RowReason::InvalidValue),
                (9, RowReason::MissingColumn),
                (10, RowReason::InvalidTime),
                (11, RowReason::NotFinite),
                (12, RowReason::TimeOutOfRange),
            ],
            "{buffer_bytes} bytes at once"
        );
        assert_eq!(decoded.rows, 9);
    }
}

#[test]
fn a_byte_order_mark_is_passed_over() {
    let decoded = read(b"\xef\xbb\xbftimestamp,value\n1,2", 64, 9).expect("reads");
    assert_eq!(decoded.samples, [(1_000_000_000, 2.0)]);
}

#[test]
fn a_file_without_the_columns_is_refused_by_their_names() {
    assert!(matches!(read(b"", 64, 9), Err(CsvError::NoHeader)));
    assert!(matches!(read(b"\n\r\n\n", 64, 9), Err(CsvError::NoHeader)));
    let error = read(b"time,value\n1,2\n", 64, 9).err().expect("no column");
    assert_eq!(error.to_string(), "CSV has no column \"timestamp\", but \"time\", \"value\"");
}

#[test]
fn a_row_beyond_the_limits_costs_bounded_memory_and_one_row() {
    let mut text = b"timestamp,value\n1,".to_vec();
    text.resize(text.len() + 2 * ROW_BYTES_MAX + 77, b'7');
    text.extend_from_slice(b"\n2,3\n");
    text.resize(text.len() + 2 * COLUMNS_MAX, b',');
    text.extend_from_slice(b"\n4,5\n");
    let decoded = read(&text, 8_192, 100).expect("reads");
    assert_eq!(decoded.samples, [(2_000_000_000, 3.0), (4_000_000_000, 5.0)]);
    assert_eq!(decoded.errors, [(2, RowReason::RowTooLong), (4, RowReason::RowTooLong)]);
}

#[test]
fn a_failing_input_is_an_error_with_its_cause() {
    struct Broken;
    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
            Err(std::io::Error::other("gone"))
        }
    }
    let input = BufReader::new(b"timestamp,value\n1,2\n".as_slice().chain(Broken));
    let mut reader = CsvReader::new(input, &CsvOptions::default()).expect("the header is there");
    let (mut times, mut values, mut errors) = (Vec::new(), Vec::new(), RowErrors::default());
    let error = reader.next_batch(9, &mut times, &mut values, &mut errors).unwrap_err();
    assert_eq!(error.to_string(), "could not read CSV after line 3");
    assert_eq!(times, [EventTime::new(1_000_000_000)], "what was read before stays");
}

#[test]
fn rows_one_by_one_keep_their_time_as_written_also_without_a_value() {
    let text = b"timestamp,value\n1970-01-01 00:00:01 ,2\n\n3000,\n4,nan\nx,1\n5\n6,1e999\n7,y\n";
    let mut reader =
        CsvReader::new(&text[..], &CsvOptions::default()).expect("the header is there");
    let mut seen = Vec::new();
    while let Some(row) = reader.next_row().expect("reads") {
        seen.push(row.map(|row| {
            let text = String::from_utf8(row.time_text.to_vec()).unwrap();
            (row.line_number, text, row.time.nanos() / 1_000_000_000, row.value)
        }));
    }
    let good = |line, text: &str, seconds, value| Ok((line, text.to_owned(), seconds, value));
    let bad = |line_number, reason| Err(RowError { line_number, reason });
    let expected = [
        good(2, "1970-01-01 00:00:01", 1, Ok(2.0)),
        good(4, "3000", 3_000, Err(RowReason::EmptyValue)),
        good(5, "4", 4, Err(RowReason::NotFinite)),
        bad(6, RowReason::InvalidTime),
        bad(7, RowReason::MissingColumn),
        good(8, "6", 6, Err(RowReason::NotFinite)),
        good(9, "7", 7, Err(RowReason::InvalidValue)),
    ];
    assert_eq!(seen, expected);
}

proptest::proptest! {
    #[test]
    fn any_bytes_in_any_pieces_give_the_same_rows(
        tail in "[0-9,\"\n\r a.-]{0,120}",
        buffer_bytes in 1_usize..9,
    ) {
        let text = format!("timestamp,value\n{tail}");
        let whole = read(text.as_bytes(), 4_096, 7).expect("reads");
        let pieces = read(text.as_bytes(), buffer_bytes, 1).expect("reads");
        proptest::prop_assert_eq!(whole.samples, pieces.samples);
        proptest::prop_assert_eq!(&whole.errors, &pieces.errors);
        proptest::prop_assert_eq!(whole.rows, pieces.rows);
    }
}

#[test]
fn what_could_be_meant_in_two_ways_is_refused() {
    let decoded = read(b"timestamp,value,host\n1,2,a\n2,1,5,a\n3,4,b,, \n4,5\n", 64, 10).unwrap();
    assert_eq!(
        decoded.samples.iter().map(|(_, value)| *value).collect::<Vec<_>>(),
        [2.0, 4.0, 5.0]
    );
    assert_eq!(
        decoded.errors,
        [(3, RowReason::ExtraColumn)],
        "a comma in a number is one too many"
    );
    let twice = read(b"timestamp,value, value\n1,2,3\n", 64, 10).err().unwrap();
    assert_eq!(
        twice.to_string(),
        "CSV has more than one column \"value\": rename all but one of them"
    );
    assert!(read(b"timestamp,host,value,host\n1,a,2,b\n", 64, 10).is_ok(), "nobody reads these");
}

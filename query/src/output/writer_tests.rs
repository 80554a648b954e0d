use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Float32Array, Float64Array, Int64Array, IntervalMonthDayNanoArray,
    ListArray, StringViewArray, TimestampNanosecondArray,
};
use arrow::datatypes::{DataType, Int64Type, TimeUnit};
use datafusion::execution::memory_pool::{GreedyMemoryPool, MemoryConsumer, MemoryPool};

use arrow_ipc::reader::StreamReader;
use parquet::arrow::arrow_reader::ParquetRecordBatchReader;

use super::*;

fn memory() -> MemoryReservation {
    let pool: Arc<dyn MemoryPool> = Arc::new(GreedyMemoryPool::new(1 << 30));
    MemoryConsumer::new("test").register(&pool)
}

fn batch() -> RecordBatch {
    let times = TimestampNanosecondArray::from(vec![0, 250_000_000]).with_timezone("UTC");
    let list =
        ListArray::from_iter_primitive::<Int64Type, _, _>(vec![Some(vec![Some(1), None]), None]);
    RecordBatch::try_from_iter_with_nullable([
        ("time", Arc::new(times) as ArrayRef, true),
        ("a \"b\"", Arc::new(StringViewArray::from(vec![Some("x,\"y\"\n"), None])), true),
        ("f", Arc::new(Float64Array::from(vec![Some(f64::NAN), Some(1.5)])), true),
        ("s", Arc::new(Float32Array::from(vec![0.1, f32::INFINITY])), true),
        ("n", Arc::new(Int64Array::from(vec![Some(-7), None])), true),
        ("b", Arc::new(BooleanArray::from(vec![true, false])), true),
        ("l", Arc::new(list), true),
    ])
    .unwrap()
}

fn write(format: Format, batches: &[RecordBatch]) -> String {
    let mut writer = AnswerWriter::new(format, &batch().schema(), (100, 10_000), memory()).unwrap();
    batches.iter().for_each(|batch| writer.write(batch).unwrap());
    String::from_utf8(writer.finish().unwrap().0.to_vec()).unwrap()
}

#[test]
fn json_has_null_for_what_is_no_number() {
    let first = r#"{"time":"1970-01-01T00:00:00Z","a \"b\"":"x,\"y\"\n","f":null,"s":0.1,"n":-7,"b":true,"l":[1,null]}"#;
    let second = r#"{"time":"1970-01-01T00:00:00.25Z","a \"b\"":null,"f":1.5,"s":null,"n":null,"b":false,"l":null}"#;
    assert_eq!(write(Format::Json, &[batch()]), format!("[{first},{second}]"));
    assert_eq!(write(Format::JsonLines, &[batch()]), format!("{first}\n{second}\n"));
    let parsed: serde_json::Value =
        serde_json::from_str(&write(Format::Json, &[batch(), batch()])).unwrap();
    assert_eq!(parsed.as_array().unwrap().len(), 4, "batches are joined");
}

#[test]
fn an_answer_without_rows_keeps_its_form() {
    assert_eq!(write(Format::Json, &[]), "[]");
    assert_eq!(write(Format::JsonLines, &[]), "");
    assert_eq!(write(Format::Csv, &[]), "time,\"a \"\"b\"\"\",f,s,n,b,l\n");
    assert!(write(Format::Pretty, &[]).contains("| time | a \"b\" |"));
}

#[test]
fn csv_quotes_what_must_be_quoted() {
    assert_eq!(
        write(Format::Csv, &[batch()]),
        "time,\"a \"\"b\"\"\",f,s,n,b,l\n\
         1970-01-01T00:00:00Z,\"x,\"\"y\"\"\n\",NaN,0.1,-7,true,\"[1,null]\"\n\
         1970-01-01T00:00:00.25Z,,1.5,inf,,false,\n"
    );
}

#[test]
fn a_table_for_people_is_aligned() {
    let columns = [0, 4];
    let narrow = batch().project(&columns).unwrap();
    let limits = (9, 9_999);
    let mut writer = AnswerWriter::new(Format::Pretty, &narrow.schema(), limits, memory()).unwrap();
    writer.write(&narrow).unwrap();
    let (table, rows) = writer.finish().unwrap();
    assert_eq!(rows, 2);
    assert_eq!(
        std::str::from_utf8(&table).unwrap(),
        "+-------------------------+----+\n\
         | time                    |  n |\n\
         +-------------------------+----+\n\
         | 1970-01-01T00:00:00Z    | -7 |\n\
         | 1970-01-01T00:00:00.25Z |    |\n\
         +-------------------------+----+\n"
    );
}

#[test]
fn rows_and_bytes_are_limited() {
    for (format, limits) in [
        (Format::Json, (3, 10_000)),
        (Format::Json, (100, 200)),
        (Format::Csv, (100, 100)),
        (Format::Pretty, (100, 400)),
        (Format::Parquet, (3, 100_000)),
        (Format::Parquet, (100, 200)),
        (Format::Arrow, (3, 100_000)),
        (Format::Arrow, (100, 2_000)),
    ] {
        let mut writer = AnswerWriter::new(format, &batch().schema(), limits, memory()).unwrap();
        let first = writer.write(&batch());
        let error = first.and_then(|()| writer.write(&batch())).err();
        let error = error.or_else(|| writer.finish().err()).expect("beyond a limit");
        let error = QueryError::of(error);
        assert!(matches!(error, QueryError::Limit { .. }), "{error}");
    }
}

/// What the readers of the formats make of an answer of two batches.
fn read_back(format: Format, batches: &[RecordBatch]) -> Vec<RecordBatch> {
    let schema = batch().schema();
    let mut writer = AnswerWriter::new(format, &schema, (100, 100_000), memory()).unwrap();
    batches.iter().for_each(|batch| writer.write(batch).unwrap());
    let (body, rows) = writer.finish().unwrap();
    assert_eq!(rows, batches.iter().map(|batch| batch.num_rows() as u64).sum::<u64>());
    match format {
        Format::Parquet => {
            let reader = ParquetRecordBatchReader::try_new(body, 1_024).unwrap();
            reader.map(Result::unwrap).collect()
        }
        _ => {
            let reader = StreamReader::try_new(&body[..], None).unwrap();
            assert_eq!(reader.schema().fields().len(), schema.fields().len());
            reader.map(Result::unwrap).collect()
        }
    }
}

#[test]
fn files_for_other_programs_have_the_rows_and_plain_types() {
    for format in [Format::Parquet, Format::Arrow] {
        assert!(read_back(format, &[]).iter().all(|batch| batch.num_rows() == 0), "{format:?}");
        let read = read_back(format, &[batch(), batch()]);
        let fields = read[0].schema();
        let text = fields.field(1);
        assert_eq!((text.name().as_str(), text.data_type()), ("a \"b\"", &DataType::Utf8));
        let time = DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into()));
        assert_eq!(fields.field(0).data_type(), &time, "{format:?}");
        // The same text as of the rows that were written: NULL, NaN and lists included.
        let expected = write(Format::Csv, &[batch(), batch()]);
        let schema = read[0].schema();
        let mut writer = AnswerWriter::new(Format::Csv, &schema, (100, 10_000), memory()).unwrap();
        read.iter().for_each(|batch| writer.write(batch).unwrap());
        let (text, _) = writer.finish().unwrap();
        assert_eq!(std::str::from_utf8(&text).unwrap(), expected, "{format:?}");
    }
}

#[test]
fn texts_of_a_slice_do_not_bring_the_whole_column_along() {
    let texts: Vec<String> =
        (0..8_192).map(|row| format!("a text that is long enough {row}")).collect();
    let column: ArrayRef = Arc::new(StringViewArray::from_iter_values(&texts));
    let long = RecordBatch::try_from_iter([("t", column)]).unwrap();
    let all: usize = texts.iter().map(String::len).sum();
    for format in [Format::Parquet, Format::Arrow] {
        let mut writer =
            AnswerWriter::new(format, &long.schema(), (10_000, 1 << 20), memory()).unwrap();
        writer.write(&long).unwrap();
        let (body, _) = writer.finish().unwrap();
        assert!(body.len() < 2 * all, "{format:?}: {} bytes for {all}", body.len());
    }
}

#[test]
fn a_column_that_parquet_has_no_type_for_is_refused_with_words() {
    let interval = arrow::datatypes::IntervalMonthDayNano::new(1, 2, 3);
    let column: ArrayRef = Arc::new(IntervalMonthDayNanoArray::from(vec![interval]));
    let batch = RecordBatch::try_from_iter([("i", column)]).unwrap();
    let limits = (100, 10_000);
    let writer = AnswerWriter::new(Format::Parquet, &batch.schema(), limits, memory());
    let written = writer.and_then(|mut writer| writer.write(&batch));
    let error = QueryError::of(written.expect_err("Parquet has no type for it"));
    assert_eq!(error.kind(), crate::QueryErrorKind::Invalid, "{error}");
    assert!(error.to_string().contains("cannot be written as Parquet"), "{error}");
}

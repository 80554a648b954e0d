//! Bodies: read with a limit on decompressed bytes, a least speed, and a permit that grows with them.

use std::io::{self, Write};
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, StatusCode, header};
use flate2::write::MultiGzDecoder;
use futures::StreamExt;
use tidewatch_engine::{Ingest, Permit};

use super::ApiError;

/// A body that sends nothing for so long is given up.
const SILENCE_MAX: Duration = Duration::from_secs(10);
/// A body may take this long, and longer only at the least speed.
const GRACE: Duration = Duration::from_secs(30);
/// The least speed of a body beyond the grace.
const BYTES_PER_SECOND_MIN: u64 = 16 * 1024;
/// What a body without a declared length is taken to be at first.
const UNDECLARED_BYTES: u64 = 64 * 1024;

/// A body in memory and the permit that covers it.
#[derive(Debug)]
pub(crate) struct Admitted {
    /// The decompressed bytes.
    pub(crate) bytes: Vec<u8>,
    /// Covers them.
    pub(crate) permit: Permit,
}

/// Time for which the body of a refused request is read and forgotten.
const DISCARD_MAX: Duration = Duration::from_secs(2);

/// Reads a request's body, decompressed as its `Content-Encoding` says.
///
/// The permit is taken before the first byte is read.
pub(crate) async fn read(
    ingest: &Ingest,
    headers: &HeaderMap,
    body: Body,
    bytes_max: usize,
) -> Result<Admitted, ApiError> {
    let declared = headers.get(header::CONTENT_LENGTH).and_then(|text| text.to_str().ok());
    let declared: Option<u64> = declared.and_then(|text| text.parse().ok());
    let gzip = is_gzip(headers)?;
    if declared.is_some_and(|bytes| usize::try_from(bytes).is_ok_and(|bytes| bytes > bytes_max)) {
        discard(headers, body);
        return Err(ApiError::too_large(bytes_max));
    }
    let permit = match ingest.admit(declared.unwrap_or(UNDECLARED_BYTES)) {
        Ok(permit) => permit,
        Err(error) => {
            discard(headers, body);
            return Err(error.into());
        }
    };
    let sink = Bounded { bytes: Vec::new(), permit, bytes_max, refused: None };
    let read = receive(Inflate::new(gzip, sink, declared), body);
    let grace = GRACE + Duration::from_secs(declared.unwrap_or(0) / BYTES_PER_SECOND_MIN);
    match tokio::time::timeout(grace, read).await {
        Ok(read) => read,
        Err(_elapsed) => Err(too_slow()),
    }
}

async fn receive(mut inflate: Inflate, body: Body) -> Result<Admitted, ApiError> {
    let mut chunks = body.into_data_stream();
    loop {
        let next = tokio::time::timeout(SILENCE_MAX, chunks.next());
        match next.await.map_err(|_elapsed| too_slow())? {
            None => return inflate.finish(),
            Some(Ok(chunk)) => inflate.push(&chunk)?,
            Some(Err(error)) => {
                return Err(ApiError::invalid(format!("the body broke off: {error}")));
            }
        }
    }
}

/// Lets a client that sends without waiting hear why its body is refused: closed while bytes are
/// unread, the connection would be reset, and the answer lost.
pub(super) fn discard(headers: &HeaderMap, body: Body) {
    // Who waits for `100 Continue` sends nothing, and must not be told to.
    if !headers.contains_key(header::EXPECT) {
        tokio::spawn(async move {
            let mut chunks = body.into_data_stream();
            let all = async { while let Some(Ok(_)) = chunks.next().await {} };
            tokio::time::timeout(DISCARD_MAX, all).await.ok();
        });
    }
}

fn too_slow() -> ApiError {
    ApiError::new(StatusCode::REQUEST_TIMEOUT, "REQUEST_TIMEOUT", "the body came too slowly")
}

fn is_gzip(headers: &HeaderMap) -> Result<bool, ApiError> {
    let encoding = headers.get(header::CONTENT_ENCODING).map(|text| text.to_str());
    match encoding {
        None | Some(Ok("" | "identity")) => Ok(false),
        Some(Ok("gzip" | "x-gzip")) => Ok(true),
        Some(other) => Err(ApiError::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "UNSUPPORTED_ENCODING",
            format!("Content-Encoding {:?} is not known; gzip is", other.unwrap_or("?")),
        )),
    }
}

/// Takes the body's bytes as they come.
enum Inflate {
    Plain(Bounded),
    Gzip(Box<MultiGzDecoder<Bounded>>),
}

impl Inflate {
    fn new(gzip: bool, mut sink: Bounded, declared: Option<u64>) -> Self {
        if gzip {
            return Self::Gzip(Box::new(MultiGzDecoder::new(sink)));
        }
        // The declared length is within the limit and covered by the permit.
        sink.bytes.reserve(declared.and_then(|bytes| usize::try_from(bytes).ok()).unwrap_or(0));
        Self::Plain(sink)
    }

    fn push(&mut self, chunk: &[u8]) -> Result<(), ApiError> {
        match self {
            Self::Plain(sink) => {
                sink.write_all(chunk).map_err(|error| broken(sink.refused.take(), &error))
            }
            Self::Gzip(decoder) => decoder
                .write_all(chunk)
                .map_err(|error| broken(decoder.get_mut().refused.take(), &error)),
        }
    }

    fn finish(self) -> Result<Admitted, ApiError> {
        let sink = match self {
            Self::Plain(sink) => sink,
            Self::Gzip(mut decoder) => {
                if let Err(error) = decoder.try_finish() {
                    return Err(broken(decoder.get_mut().refused.take(), &error));
                }
                decoder.finish().map_err(|error| broken(None, &error))?
            }
        };
        Ok(Admitted { bytes: sink.bytes, permit: sink.permit })
    }
}

fn broken(refused: Option<ApiError>, error: &io::Error) -> ApiError {
    refused.unwrap_or_else(|| ApiError::invalid(format!("the gzip body is damaged: {error}")))
}

/// Grows up to a limit, and asks the permit before it does.
#[derive(Debug)]
struct Bounded {
    bytes: Vec<u8>,
    permit: Permit,
    bytes_max: usize,
    refused: Option<ApiError>,
}

impl Write for Bounded {
    fn write(&mut self, chunk: &[u8]) -> io::Result<usize> {
        let reached = self.bytes.len().saturating_add(chunk.len());
        if reached > self.bytes_max {
            self.refused = Some(ApiError::too_large(self.bytes_max));
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        if !self.permit.grow_to(u64::try_from(reached).unwrap_or(u64::MAX)) {
            let overloaded = tidewatch_engine::EngineError::Overloaded { retry_after_s: 1 };
            self.refused = Some(overloaded.into());
            return Err(io::ErrorKind::OutOfMemory.into());
        }
        self.bytes.extend_from_slice(chunk);
        Ok(chunk.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

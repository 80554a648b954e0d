//! Bodies: read with a limit on decompressed bytes, a least speed, and a permit that grows with them.

use std::time::Duration;

use axum::body::{Body, BodyDataStream};
use axum::http::{HeaderMap, StatusCode, header};
use futures::StreamExt;
use tidewatch_engine::{Ingest, Permit};

use super::ApiError;
use super::unpack::{Bounded, Unpack};

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

/// How a body is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Coding {
    /// Not at all.
    Identity,
    /// In gzip members.
    Gzip,
    /// In zstd frames with windows of 8 MiB at most, as RFC 9659 has it for HTTP.
    Zstd,
    /// In one block of Snappy.
    Snappy,
}

/// What a door takes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Intake {
    /// The most bytes, unpacked.
    pub(crate) bytes_max: usize,
    /// How bodies may be packed; the first one is meant where nothing is said.
    pub(crate) codings: &'static [Coding],
}

/// Reads a request's body, unpacked as its `Content-Encoding` says.
///
/// The permit is taken before the first byte is read.
pub(crate) async fn read(
    ingest: &Ingest,
    headers: &HeaderMap,
    body: Body,
    intake: Intake,
) -> Result<Admitted, ApiError> {
    let declared = headers.get(header::CONTENT_LENGTH).and_then(|text| text.to_str().ok());
    let declared: Option<u64> = declared.and_then(|text| text.parse().ok());
    let bytes = declared.unwrap_or(UNDECLARED_BYTES);
    let is_long = usize::try_from(bytes).is_ok_and(|bytes| bytes > intake.bytes_max);
    let admitted = match coding(headers, intake.codings) {
        Ok(_) if is_long => Err(ApiError::too_long(intake.bytes_max, bytes)),
        Ok(coding) => ingest.admit(bytes).map(|permit| (coding, permit)).map_err(Into::into),
        Err(error) => Err(error),
    };
    let (coding, permit) = match admitted {
        Ok(admitted) => admitted,
        Err(error) => {
            discard(headers, body);
            return Err(error);
        }
    };
    let sink = Bounded::new(permit, intake.bytes_max, coding);
    let mut chunks = body.into_data_stream();
    let read = receive(Unpack::new(coding, sink, declared)?, &mut chunks);
    let grace = GRACE + Duration::from_secs(declared.unwrap_or(0) / BYTES_PER_SECOND_MIN);
    match tokio::time::timeout(grace, read).await {
        Ok(Ok(admitted)) => Ok(admitted),
        Ok(Err(error)) => {
            if error.status != StatusCode::REQUEST_TIMEOUT {
                discard_rest(chunks);
            }
            Err(error)
        }
        Err(_elapsed) => Err(too_slow()),
    }
}

async fn receive(mut unpack: Unpack, chunks: &mut BodyDataStream) -> Result<Admitted, ApiError> {
    loop {
        let next = tokio::time::timeout(SILENCE_MAX, chunks.next());
        match next.await.map_err(|_elapsed| too_slow())? {
            None => return unpack.finish(),
            Some(Ok(chunk)) => unpack.push(&chunk)?,
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
        discard_rest(body.into_data_stream());
    }
}

/// The same for a body that has begun to come.
fn discard_rest(mut chunks: BodyDataStream) {
    tokio::spawn(async move {
        let all = async { while let Some(Ok(_)) = chunks.next().await {} };
        tokio::time::timeout(DISCARD_MAX, all).await.ok();
    });
}

fn too_slow() -> ApiError {
    ApiError::new(StatusCode::REQUEST_TIMEOUT, "REQUEST_TIMEOUT", "the body came too slowly")
}

fn coding(headers: &HeaderMap, known: &[Coding]) -> Result<Coding, ApiError> {
    let named = headers.get(header::CONTENT_ENCODING).map(|text| text.to_str().unwrap_or("?"));
    let coding = match named.map(str::trim) {
        None | Some("") => known.first().copied(),
        Some("identity") => Some(Coding::Identity),
        Some("gzip" | "x-gzip") => Some(Coding::Gzip),
        Some("zstd") => Some(Coding::Zstd),
        Some("snappy") => Some(Coding::Snappy),
        Some(_) => None,
    };
    coding.filter(|coding| known.contains(coding)).ok_or_else(|| {
        let names: Vec<_> = known.iter().map(|coding| coding.name()).collect();
        let (named, names) = (named.unwrap_or_default(), names.join(", "));
        let message = format!("Content-Encoding {named:?} is not taken here; taken are {names}");
        ApiError::unsupported("UNSUPPORTED_ENCODING", message)
    })
}

impl Coding {
    const fn name(self) -> &'static str {
        match self {
            Self::Identity => "identity",
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
            Self::Snappy => "snappy",
        }
    }
}

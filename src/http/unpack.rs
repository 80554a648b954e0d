//! Unpacks a body as it comes, with a limit on what comes out and a permit that grows with it.

use std::io::{self, Write};

use flate2::write::MultiGzDecoder;
use tidewatch_connectors::decode::remote_write::{unpack, unpacked_len};
use tidewatch_engine::{EngineError, Permit, chain};
use zstd::stream::raw::{DParameter, Decoder, InBuffer, Operation, OutBuffer};
use zstd::zstd_safe::get_frame_content_size;

use super::ApiError;
use super::body::{Admitted, Coding};
use super::write::INLINE_BYTES_MAX;

/// The logarithm of zstd's largest window (RFC 9659).
const ZSTD_WINDOW_LOG_MAX: u32 = 23;
/// Bytes that zstd unpacks at once.
const PIECE_BYTES: usize = 64 << 10;

/// Takes the body's bytes as they come.
pub(super) enum Unpack {
    Plain(Bounded),
    Gzip(Box<MultiGzDecoder<Bounded>>),
    Zstd(Box<Zstd>),
    /// Packed as it came: a block is unpacked at once.
    Snappy(Bounded),
}

impl Unpack {
    /// Nothing yet; `declared` is the body's length.
    pub(super) fn new(
        coding: Coding,
        mut sink: Bounded,
        declared: Option<u64>,
    ) -> Result<Self, ApiError> {
        // The declared length is within the limit and covered by the permit.
        let declared = declared.and_then(|bytes| usize::try_from(bytes).ok()).unwrap_or(0);
        match coding {
            Coding::Gzip => Ok(Self::Gzip(Box::new(MultiGzDecoder::new(sink)))),
            Coding::Zstd => Ok(Self::Zstd(Box::new(Zstd::new(sink)?))),
            Coding::Identity => {
                sink.bytes.reserve(declared);
                Ok(Self::Plain(sink))
            }
            Coding::Snappy => {
                sink.bytes.reserve(declared);
                Ok(Self::Snappy(sink))
            }
        }
    }

    /// The next bytes.
    pub(super) fn push(&mut self, chunk: &[u8]) -> Result<(), ApiError> {
        match self {
            Self::Plain(sink) | Self::Snappy(sink) => {
                sink.write_all(chunk).map_err(|error| broken(sink, "", &error))
            }
            Self::Gzip(decoder) => {
                decoder.write_all(chunk).map_err(|error| broken(decoder.get_mut(), "gzip", &error))
            }
            Self::Zstd(zstd) => zstd.push(chunk),
        }
    }

    /// There is no more.
    pub(super) fn finish(self) -> Result<Admitted, ApiError> {
        let sink = match self {
            Self::Plain(sink) => sink,
            Self::Gzip(mut decoder) => {
                if let Err(error) = decoder.try_finish() {
                    return Err(broken(decoder.get_mut(), "gzip", &error));
                }
                decoder.finish().map_err(|error| damaged("gzip", &error))?
            }
            Self::Zstd(zstd) => zstd.finish()?,
            Self::Snappy(sink) => unpack_block(sink)?,
        };
        Ok(Admitted { bytes: sink.bytes, permit: sink.permit })
    }
}

/// Frames of zstd, one after the other.
pub(super) struct Zstd {
    decoder: Decoder<'static>,
    sink: Bounded,
    piece: Vec<u8>,
    is_first: bool,
    is_in_frame: bool,
}

impl Zstd {
    fn new(sink: Bounded) -> Result<Self, ApiError> {
        let decoder = Decoder::new().and_then(|mut decoder| {
            decoder.set_parameter(DParameter::WindowLogMax(ZSTD_WINDOW_LOG_MAX))?;
            Ok(decoder)
        });
        let decoder = decoder.map_err(|error| damaged("zstd", &error))?;
        let piece = vec![0; PIECE_BYTES];
        Ok(Self { decoder, sink, piece, is_first: true, is_in_frame: false })
    }

    fn push(&mut self, chunk: &[u8]) -> Result<(), ApiError> {
        if std::mem::take(&mut self.is_first) {
            self.check_declared(chunk)?;
        }
        let mut input = InBuffer::around(chunk);
        loop {
            let mut output = OutBuffer::around(&mut self.piece);
            let hint = self.decoder.run(&mut input, &mut output);
            let hint = hint.map_err(|error| damaged("zstd", &error))?;
            let unpacked = output.as_slice();
            // Where something is left inside of the decoder, it has filled the piece.
            let is_through =
                input.pos() == chunk.len() && (hint == 0 || unpacked.len() < PIECE_BYTES);
            self.sink
                .write_all(unpacked)
                .map_err(|error| broken(&mut self.sink, "zstd", &error))?;
            self.is_in_frame = hint != 0;
            if is_through {
                return Ok(());
            }
        }
    }

    /// A frame may say how much it holds.
    fn check_declared(&self, chunk: &[u8]) -> Result<(), ApiError> {
        match get_frame_content_size(chunk) {
            Ok(Some(bytes))
                if usize::try_from(bytes).map_or(true, |bytes| bytes > self.sink.bytes_max) =>
            {
                Err(self.sink.too_large(bytes))
            }
            _ => Ok(()),
        }
    }

    fn finish(self) -> Result<Bounded, ApiError> {
        if self.is_in_frame || self.is_first {
            return Err(damaged("zstd", &io::ErrorKind::UnexpectedEof.into()));
        }
        Ok(self.sink)
    }
}

/// Unpacks a block of Snappy, after a look at the length that it declares.
fn unpack_block(mut sink: Bounded) -> Result<Bounded, ApiError> {
    let declared = unpacked_len(&sink.bytes).map_err(|error| ApiError::invalid(chain(&error)))?;
    let bytes = u64::try_from(declared).unwrap_or(u64::MAX);
    if declared > sink.bytes_max {
        return Err(sink.too_large(bytes));
    }
    let packed = u64::try_from(sink.bytes.len()).unwrap_or(u64::MAX);
    if !sink.permit.grow_to(bytes.saturating_add(packed)) {
        return Err(EngineError::Overloaded { retry_after_s: 1 }.into());
    }
    let work = || unpack(&sink.bytes);
    let unpacked =
        if declared > INLINE_BYTES_MAX { tokio::task::block_in_place(work) } else { work() };
    sink.bytes = unpacked.map_err(|error| ApiError::invalid(chain(&error)))?;
    Ok(sink)
}

fn broken(sink: &mut Bounded, coding: &str, error: &io::Error) -> ApiError {
    sink.refused.take().unwrap_or_else(|| damaged(coding, error))
}

fn damaged(coding: &str, error: &io::Error) -> ApiError {
    ApiError::invalid(format!("the {coding} body is damaged: {error}"))
}

/// Grows up to a limit, and asks the permit before it does.
#[derive(Debug)]
pub(super) struct Bounded {
    bytes: Vec<u8>,
    permit: Permit,
    bytes_max: usize,
    /// Of what was written last, the decoder holds so much once more.
    window_bytes_max: usize,
    refused: Option<ApiError>,
}

impl Bounded {
    /// Nothing yet.
    pub(super) fn new(permit: Permit, bytes_max: usize, coding: Coding) -> Self {
        let window_bytes_max = if coding == Coding::Zstd { 1 << ZSTD_WINDOW_LOG_MAX } else { 0 };
        Self { bytes: Vec::new(), permit, bytes_max, window_bytes_max, refused: None }
    }

    fn too_large(&self, received: u64) -> ApiError {
        ApiError::too_long(self.bytes_max, received)
    }
}

impl Write for Bounded {
    fn write(&mut self, chunk: &[u8]) -> io::Result<usize> {
        let reached = self.bytes.len().saturating_add(chunk.len());
        if reached > self.bytes_max {
            let received = u64::try_from(reached).unwrap_or(u64::MAX);
            self.refused = Some(self.too_large(received));
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let held = reached.saturating_add(reached.min(self.window_bytes_max));
        if !self.permit.grow_to(u64::try_from(held).unwrap_or(u64::MAX)) {
            self.refused = Some(EngineError::Overloaded { retry_after_s: 1 }.into());
            return Err(io::ErrorKind::OutOfMemory.into());
        }
        self.bytes.extend_from_slice(chunk);
        Ok(chunk.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

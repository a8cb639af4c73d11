//! How many bytes of binlogs all comparisons of this server together hold in memory.

use milvault_domain::ports::{PortError, PortErrorKind, PortResult};
use tokio::sync::{Semaphore, SemaphorePermit};

/// What one permit stands for.
const UNIT_BYTES: u64 = 64 << 10;
/// 256 MiB: four files of the largest usual size (64 MiB). Decoded, they take several times as much.
const UNITS: u32 = 4096;

static FREE_UNITS: Semaphore = Semaphore::const_new(UNITS as usize);

/// Waits until so many bytes may be held. More than there is in all takes everything, so that a file of any size is
/// read, alone. Whoever holds a part must not ask for another.
pub(super) async fn reserve(bytes: u64) -> PortResult<SemaphorePermit<'static>> {
    let units = u32::try_from(bytes.div_ceil(UNIT_BYTES)).unwrap_or(UNITS).clamp(1, UNITS);
    FREE_UNITS.acquire_many(units).await.map_err(|error| {
        PortError::with_source(PortErrorKind::Internal, "the memory of comparisons is closed", error)
    })
}

/// Decodes away from the event loop. The memory is given back when the work has ended, even if nobody waits for it
/// any more.
pub(super) async fn decode<T: Send + 'static>(
    reserved: SemaphorePermit<'static>,
    work: impl FnOnce() -> PortResult<T> + Send + 'static,
) -> PortResult<T> {
    let task = tokio::task::spawn_blocking(move || {
        let decoded = work();
        drop(reserved);
        decoded
    });
    task.await.unwrap_or_else(|error| {
        // Nobody but a runtime that is being shut down cancels the task.
        let kind = if error.is_cancelled() { PortErrorKind::Canceled } else { PortErrorKind::Internal };
        Err(PortError::with_source(
            kind,
            "internal error: decoding a file broke off; the server's log says where",
            error,
        ))
    })
}

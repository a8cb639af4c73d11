//! Writes into object stores that have begun and not ended.
//!
//! A store carries out a request that it has received whether or not somebody waits for the answer, so giving up the
//! wait does not stop the write: the file would appear after a removal that was faster. Writes therefore come to their
//! end by themselves, and are known here until then.

use crate::error::from_join;
use milvault_domain::error::PortResult;
use std::future::Future;
use std::sync::LazyLock;
use std::time::Duration;
use tokio::sync::watch;
use tracing::Instrument;

/// Longest wait of a removal. The clean-up after a restore has half a minute in all, and is tried again later.
const WAIT_MAX: Duration = Duration::from_secs(5);

/// Files that are being written, as people see them, whichever stager it is for: another one removes than the one that
/// wrote.
static FILES: LazyLock<watch::Sender<Vec<String>>> = LazyLock::new(|| watch::Sender::new(Vec::new()));

/// Takes its file off the list when it is dropped.
struct UnderWay(String);

impl UnderWay {
    fn begin(file: String) -> Self {
        FILES.send_modify(|files| files.push(file.clone()));
        Self(file)
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        FILES.send_modify(|files| {
            if let Some(position) = files.iter().position(|file| *file == self.0) {
                files.swap_remove(position);
            }
        });
    }
}

/// Writes a file. What is begun goes on when this is dropped.
pub(super) async fn to_its_end<T: Send + 'static>(
    file: String,
    writing: impl Future<Output = T> + Send + 'static,
) -> PortResult<T> {
    let under_way = UnderWay::begin(file);
    let written = async move {
        let written = writing.await;
        drop(under_way);
        written
    };
    tokio::spawn(written.in_current_span()).await.map_err(from_join)
}

/// Waits until nothing is being written below a directory, but not for ever. Returns whether that is so.
pub(super) async fn have_ended_below(directory: &str) -> bool {
    let below = format!("{directory}/");
    let mut files = FILES.subscribe();
    let ended = files.wait_for(|files| !files.iter().any(|file| file.starts_with(&below)));
    tokio::time::timeout(WAIT_MAX, ended).await.is_ok()
}

//! What goes on in a cluster while something else is tested.

use anyhow::Result;
use milvault_tests::milvus_client::MilvusClient;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Something that is done to the cluster again and again.
pub(crate) struct Worker {
    task: JoinHandle<Result<()>>,
    cancellation: CancellationToken,
    steps: watch::Receiver<u64>,
}

impl Worker {
    pub(crate) fn start<Step, Done>(database: &MilvusClient, step: Step) -> Self
    where
        Step: Fn(MilvusClient, u64) -> Done + Send + 'static,
        Done: Future<Output = Result<()>> + Send,
    {
        let (cancellation, database) = (CancellationToken::new(), database.clone());
        let stopped = cancellation.clone();
        let (count, steps) = watch::channel(0);
        let task = tokio::spawn(async move {
            for number in 0.. {
                if stopped.is_cancelled() {
                    break;
                }
                step(database.clone(), number).await?;
                count.send_replace(number + 1);
            }
            Ok(())
        });
        Self { task, cancellation, steps }
    }

    /// Steps that it has done.
    pub(crate) fn done(&self) -> u64 {
        *self.steps.borrow()
    }

    /// Waits until it has done so many more steps.
    pub(crate) async fn does(&mut self, more: u64) -> Result<()> {
        let goal = self.done() + more;
        if self.steps.wait_for(|done| *done >= goal).await.is_err() {
            // Nobody has stopped it, so it failed.
            (&mut self.task).await??;
        }
        Ok(())
    }

    pub(crate) async fn stop(self) -> Result<()> {
        self.cancellation.cancel();
        self.task.await?
    }
}

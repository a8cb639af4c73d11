//! Points in the fakes at which a test can fail, hold or break a call, and wait for one.

use milvault_domain::ports::{PortError, PortErrorKind, PortResult};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex};
use tokio::sync::{Semaphore, watch};

/// What happens at a point instead of going on.
#[derive(Clone)]
pub enum Act {
    /// Goes on; lets earlier calls through before the one that is meant.
    Pass,
    Fail(PortErrorKind, &'static str),
    /// Waits until the semaphore has a permit.
    Hold(Arc<Semaphore>),
    /// Never returns.
    Hang,
    Panic,
}

#[derive(Default)]
struct Point {
    next: VecDeque<Act>,
    always: Option<Act>,
    reached: watch::Sender<usize>,
}

#[derive(Default)]
pub struct Gates(Mutex<HashMap<&'static str, Point>>);

impl Gates {
    /// The next call that comes to the point meets this.
    pub fn once(&self, point: &'static str, act: Act) {
        self.0.lock().unwrap().entry(point).or_default().next.push_back(act);
    }

    pub fn always(&self, point: &'static str, act: Act) {
        self.0.lock().unwrap().entry(point).or_default().always = Some(act);
    }

    /// The next call waits until a permit is added to what is returned.
    pub fn hold_once(&self, point: &'static str) -> Arc<Semaphore> {
        let semaphore = Arc::new(Semaphore::new(0));
        self.once(point, Act::Hold(Arc::clone(&semaphore)));
        semaphore
    }

    /// Stops the next call for good, and waits for it: one that is on its way already does not count.
    pub async fn hang_next(&self, point: &'static str) {
        let calls = {
            let mut points = self.0.lock().unwrap();
            let point = points.entry(point).or_default();
            point.next.push_back(Act::Hang);
            *point.reached.borrow()
        };
        self.reached(point, calls + 1).await;
    }

    pub fn clear(&self, point: &'static str) {
        let mut points = self.0.lock().unwrap();
        let point = points.entry(point).or_default();
        point.next.clear();
        point.always = None;
    }

    pub fn calls(&self, point: &'static str) -> usize {
        *self.0.lock().unwrap().entry(point).or_default().reached.borrow()
    }

    /// How many calls came to each point.
    pub fn all_calls(&self) -> BTreeMap<&'static str, usize> {
        let points = self.0.lock().unwrap();
        points.iter().map(|(name, point)| (*name, *point.reached.borrow())).collect()
    }

    /// Waits until that many calls came to the point.
    pub async fn reached(&self, point: &'static str, times: usize) {
        let mut reached = self.0.lock().unwrap().entry(point).or_default().reached.subscribe();
        reached.wait_for(|count| *count >= times).await.unwrap();
    }

    pub async fn pass(&self, name: &'static str) -> PortResult<()> {
        let act = {
            let mut points = self.0.lock().unwrap();
            let point = points.entry(name).or_default();
            let act = point.next.pop_front().or_else(|| point.always.clone());
            point.reached.send_modify(|count| *count += 1);
            act
        };
        match act {
            None | Some(Act::Pass) => {}
            Some(Act::Fail(kind, message)) => return Err(PortError::new(kind, message)),
            Some(Act::Hold(semaphore)) => semaphore.acquire().await.unwrap().forget(),
            Some(Act::Hang) => std::future::pending().await,
            Some(Act::Panic) => panic!("a panic that a test asked for"),
        }
        Ok(())
    }
}

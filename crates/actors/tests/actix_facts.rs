//! Facts about actix that this crate rests on. When an upgrade changes one of them, the test that fails here says so
//! before a job does.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

use actix::prelude::*;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::Duration;
use tokio::sync::Semaphore;

#[derive(Message)]
#[rtype(result = "usize")]
struct Count;

#[derive(Message)]
#[rtype(result = "()")]
struct Boom;

/// Starts a future in the actor's context that waits for the semaphore.
#[derive(Message)]
#[rtype(result = "()")]
struct Wait(Arc<Semaphore>);

#[derive(Default)]
struct Probe {
    handled: Arc<AtomicUsize>,
    dropped: Arc<AtomicUsize>,
}

impl Drop for Probe {
    fn drop(&mut self) {
        self.dropped.fetch_add(1, Ordering::SeqCst);
    }
}

impl Actor for Probe {
    type Context = Context<Self>;
}

impl Handler<Count> for Probe {
    type Result = usize;

    fn handle(&mut self, _: Count, _: &mut Self::Context) -> usize {
        self.handled.fetch_add(1, Ordering::SeqCst) + 1
    }
}

impl Handler<Boom> for Probe {
    type Result = ();

    fn handle(&mut self, _: Boom, _: &mut Self::Context) {
        panic!("boom")
    }
}

impl Handler<Wait> for Probe {
    type Result = ();

    fn handle(&mut self, message: Wait, context: &mut Self::Context) {
        let wait = async move { message.0.acquire().await.unwrap().forget() };
        context.spawn(wait.into_actor(self).map(|(), actor, _| {
            actor.handled.fetch_add(100, Ordering::SeqCst);
        }));
    }
}

/// A thread with a `System`, as the crate runs it.
struct Thread {
    system: System,
    thread: std::thread::JoinHandle<()>,
}

impl Thread {
    fn start() -> Self {
        let (send, receive) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            let runner = System::new();
            send.send(System::current()).unwrap();
            runner.run().unwrap();
        });
        Self { system: receive.recv().unwrap(), thread }
    }

    fn probe(&self) -> (Addr<Probe>, Arc<AtomicUsize>) {
        let dropped = Arc::new(AtomicUsize::new(0));
        let probe = Probe { handled: Arc::default(), dropped: Arc::clone(&dropped) };
        (Probe::start_in_arbiter(self.system.arbiter(), move |_| probe), dropped)
    }

    fn stop(self) {
        self.system.stop();
        self.thread.join().unwrap();
    }
}

async fn until(condition: impl Fn() -> bool) {
    let holds = async {
        while !condition() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_mins(1), holds).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_actor_on_its_own_thread_answers_tasks_of_another_runtime() {
    let thread = Thread::start();
    let (actor, _) = thread.probe();
    assert_eq!(tokio::spawn(actor.send(Count)).await.unwrap().unwrap(), 1);
    thread.stop();
}

#[tokio::test]
async fn a_panic_in_a_handler_ends_the_actor_and_drops_it_but_not_its_thread() {
    let thread = Thread::start();
    let (actor, dropped) = thread.probe();
    let (neighbour, _) = thread.probe();
    assert!(actor.send(Boom).await.is_err());
    until(|| !actor.connected()).await;
    assert_eq!(dropped.load(Ordering::SeqCst), 1, "the watchdog relies on drop guards inside the actor");
    assert!(actor.send(Count).await.is_err());
    assert_eq!(neighbour.send(Count).await.unwrap(), 1);
    thread.stop();
}

#[tokio::test]
async fn an_actor_ends_when_nobody_holds_its_address() {
    let thread = Thread::start();
    let (actor, dropped) = thread.probe();
    actor.send(Count).await.unwrap();
    drop(actor);
    until(|| dropped.load(Ordering::SeqCst) == 1).await;
    thread.stop();
}

#[tokio::test]
async fn stopping_the_system_drops_the_actors_and_sends_fail() {
    let thread = Thread::start();
    let (actor, dropped) = thread.probe();
    actor.send(Count).await.unwrap();
    thread.stop();
    assert_eq!(dropped.load(Ordering::SeqCst), 1);
    assert!(actor.send(Count).await.is_err());
}

#[tokio::test]
async fn a_future_in_the_context_keeps_no_message_waiting() {
    let thread = Thread::start();
    let (actor, _) = thread.probe();
    let gate = Arc::new(Semaphore::new(0));
    actor.send(Wait(Arc::clone(&gate))).await.unwrap();
    assert_eq!(actor.send(Count).await.unwrap(), 1);
    gate.add_permits(1);
    until(|| gate.available_permits() == 0).await;
    // One from before, a hundred from the future that ended.
    let mut count = actor.send(Count).await.unwrap();
    while count < 100 {
        count = actor.send(Count).await.unwrap();
    }
    thread.stop();
}

#[tokio::test]
async fn the_mailbox_does_not_bound_what_is_sent() {
    tokio::task::LocalSet::new()
        .run_until(async {
            let handled = Arc::new(AtomicUsize::new(0));
            let probe = Probe { handled: Arc::clone(&handled), dropped: Arc::default() };
            let actor = Probe::create(|context| {
                context.set_mailbox_capacity(4);
                probe
            });
            let mut sends: Vec<_> = (0..1000).map(|_| Box::pin(actor.send(Count))).collect();
            for send in &mut sends {
                let _ = futures::poll!(send);
            }
            until(|| handled.load(Ordering::SeqCst) == 1000).await;
        })
        .await;
}

#[tokio::test]
async fn a_send_that_is_dropped_may_never_arrive() {
    tokio::task::LocalSet::new()
        .run_until(async {
            let actor = Probe::default().start();
            {
                let mut send = Box::pin(actor.send(Count));
                let _ = futures::poll!(&mut send);
            }
            assert_eq!(actor.send(Count).await.unwrap(), 1, "only the second message was handled");
        })
        .await;
}

//! Histories of servers that claim, renew, sleep and write, with answers that come late.
#![allow(clippy::unwrap_used)]

use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;
use uuid::Uuid;

const CLUSTER: ClusterId = ClusterId::from_uuid(Uuid::nil());
const LENGTH: Duration = Duration::from_secs(20);
const SERVERS: u8 = 3;

fn server(number: u8) -> ServerId {
    ServerId::from_uuid(Uuid::from_u128(u128::from(number) + 1))
}

/// A request of a server to the catalog. It is sent, carried out and answered at three moments.
#[derive(Debug, Clone, Copy)]
enum Request {
    Claim,
    Renew(Fence),
}

#[derive(Debug, Clone, Copy)]
struct Sent {
    request: Request,
    asked_at: Duration,
    carried_out: bool,
    granted: Option<Fence>,
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Sleep(u16),
    Claim(u8),
    Renew(u8),
    CarryOut(u8),
    Answer(u8),
    GiveBack(u8),
    Write(u8),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => (0..30_000_u16).prop_map(Step::Sleep),
        3 => (0..SERVERS).prop_map(Step::Claim),
        3 => (0..SERVERS).prop_map(Step::Renew),
        6 => (0..SERVERS).prop_map(Step::CarryOut),
        6 => (0..SERVERS).prop_map(Step::Answer),
        1 => (0..SERVERS).prop_map(Step::GiveBack),
        3 => (0..SERVERS).prop_map(Step::Write),
    ];
    prop::collection::vec(step, 0..300)
}

#[derive(Default)]
struct Model {
    now: Duration,
    lease: Lease,
    granted: BTreeMap<u64, ServerId>,
    sent: BTreeMap<u8, Sent>,
    tenures: BTreeMap<u8, (Fence, Tenure)>,
    /// Generations under which something was written, in the order of the writes.
    writes: Vec<u64>,
}

impl Model {
    /// The catalog's clock shows another time than the servers', and goes at the same rate.
    fn catalog_now(&self) -> DateTime<Utc> {
        later(DateTime::UNIX_EPOCH, self.now + Duration::from_secs(1_000_000))
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Sleep(milliseconds) => self.now += Duration::from_millis(milliseconds.into()),
            Step::Claim(number) => {
                // As the servers do: one request at a time, and no claim while a tenure goes on.
                let works = self.tenures.get(&number).is_some_and(|(_, tenure)| tenure.may_work(self.now));
                if !works && !self.sent.contains_key(&number) {
                    self.tenures.remove(&number);
                    self.send(number, Request::Claim);
                }
            }
            Step::Renew(number) => {
                if let (Some((fence, _)), false) =
                    (self.tenures.get(&number), self.sent.contains_key(&number))
                {
                    let fence = *fence;
                    self.send(number, Request::Renew(fence));
                }
            }
            Step::CarryOut(number) => self.carry_out(number),
            Step::Answer(number) => self.answer(number),
            Step::GiveBack(number) => {
                if let Some((fence, _)) = self.tenures.remove(&number) {
                    self.lease.give_back(fence);
                }
            }
            Step::Write(number) => {
                if let Some((fence, _)) = self.tenures.get(&number) {
                    let newest = self.granted.keys().next_back().copied();
                    let admitted = self.lease.admits(*fence);
                    assert!(!admitted || newest == Some(fence.generation), "a stale write was admitted");
                    if admitted {
                        self.writes.push(fence.generation);
                    }
                }
            }
        }
    }

    fn send(&mut self, number: u8, request: Request) {
        self.sent.insert(number, Sent { request, asked_at: self.now, carried_out: false, granted: None });
    }

    fn carry_out(&mut self, number: u8) {
        let now = self.catalog_now();
        let Some(sent) = self.sent.get_mut(&number).filter(|sent| !sent.carried_out) else { return };
        sent.granted = match sent.request {
            Request::Claim => match self.lease.claim(CLUSTER, server(number), now, LENGTH) {
                Claim::Granted(fence) => {
                    let before = self.granted.insert(fence.generation, fence.server_id);
                    assert_eq!(before, None, "a generation was granted twice");
                    Some(fence)
                }
                Claim::HeldBy(other) => {
                    assert_ne!(other, server(number));
                    None
                }
            },
            Request::Renew(fence) => self.lease.renew(fence, now, LENGTH).then_some(fence),
        };
        sent.carried_out = true;
    }

    fn answer(&mut self, number: u8) {
        if self.sent.get(&number).is_none_or(|sent| !sent.carried_out) {
            return;
        }
        let sent = self.sent.remove(&number).unwrap();
        match (sent.request, sent.granted) {
            (Request::Claim, Some(fence)) => {
                self.tenures.insert(number, (fence, Tenure::new(sent.asked_at, LENGTH)));
            }
            (Request::Claim, None) => {}
            (Request::Renew(fence), granted) => {
                if let Some((held, tenure)) = self.tenures.get_mut(&number).filter(|(held, _)| *held == fence)
                {
                    if granted.is_some() {
                        tenure.prolong(sent.asked_at, LENGTH, self.now);
                    } else {
                        assert_eq!(*held, fence);
                        tenure.end();
                    }
                }
            }
        }
    }

    /// At most one server works, and it is the one that the catalog says.
    fn check(&self) {
        let at_work: Vec<Fence> = self
            .tenures
            .values()
            .filter(|(_, tenure)| tenure.may_work(self.now))
            .map(|(fence, _)| *fence)
            .collect();
        assert!(at_work.len() <= 1, "{at_work:?}");
        for fence in at_work {
            let held = self.lease.held(CLUSTER, self.catalog_now());
            assert_eq!(held.map(|held| held.fence), Some(fence), "somebody works without a lease");
        }
        assert!(self.writes.is_sorted(), "{:?}", self.writes);
    }
}

proptest! {
    #[test]
    fn one_server_works_at_a_time_and_late_writes_are_refused(steps in steps()) {
        let mut model = Model::default();
        for step in steps {
            model.step(step);
            model.check();
        }
    }

    #[test]
    fn a_holder_that_slept_past_its_lease_does_nothing(slept in 15_000..200_000_u64, renewed in any::<bool>()) {
        let mut tenure = Tenure::new(Duration::ZERO, LENGTH);
        let now = Duration::from_millis(slept);
        prop_assert!(!tenure.may_work(now));
        if renewed {
            // Even when the catalog still granted a renewal that was sent before.
            tenure.prolong(Duration::from_secs(14), LENGTH, now);
        }
        prop_assert!(!tenure.may_work(now));
    }
}

#[test]
fn a_lease_goes_from_hand_to_hand() {
    let at = |seconds| later(DateTime::UNIX_EPOCH, Duration::from_secs(seconds));
    let (first, second) = (server(0), server(1));
    let mut lease = Lease::default();
    let Claim::Granted(fence) = lease.claim(CLUSTER, first, at(0), LENGTH) else { panic!("it is free") };
    assert_eq!(lease.claim(CLUSTER, second, at(19), LENGTH), Claim::HeldBy(first));
    assert!(lease.renew(fence, at(19), LENGTH));
    assert_eq!(lease.claim(CLUSTER, second, at(38), LENGTH), Claim::HeldBy(first));

    // It runs out: nobody else has begun, so the end of what was done is still recorded. It is not prolonged.
    assert_eq!(lease.held(CLUSTER, at(39)), None);
    assert!(lease.admits(fence));
    assert!(!lease.renew(fence, at(39), LENGTH));
    let Claim::Granted(taken) = lease.claim(CLUSTER, second, at(39), LENGTH) else { panic!("it ran out") };
    assert_eq!(taken.generation, fence.generation + 1);
    assert!(!lease.admits(fence) && lease.admits(taken));

    // The first comes to itself, and gives back what is no longer its own.
    lease.give_back(fence);
    assert!(lease.admits(taken));
    lease.give_back(taken);
    assert!(!lease.admits(taken));
    let Claim::Granted(again) = lease.claim(CLUSTER, first, at(39), LENGTH) else {
        panic!("it was given back")
    };
    assert_eq!(again.generation, 3);
}

#[test]
fn a_claim_of_the_holder_begins_a_new_generation() {
    let now = DateTime::UNIX_EPOCH;
    let mut lease = Lease::default();
    let Claim::Granted(first) = lease.claim(CLUSTER, server(0), now, LENGTH) else { panic!("it is free") };
    let Claim::Granted(second) = lease.claim(CLUSTER, server(0), now, LENGTH) else {
        panic!("it is its own")
    };
    assert!(!lease.admits(first) && lease.admits(second));
}

//! Random histories of backups, copies, holds, schedules, crashes and jobs that meet, on the real service, a real catalog
//! and real repositories: nothing that somebody needs is ever gone, and nothing that nobody needs stays past its grace.
//!
//! What should be is worked out in plain code that shares nothing with retention and sweeps: [`oracle`].

use crate::support::bounded;
use past::Past;
use proptest::prelude::*;

mod deeds;
mod gated;
mod ground;
mod oracle;
mod past;

/// Histories of one run, unless `PROPTEST_CASES` says otherwise; so with the others.
const HISTORIES: u32 = 12;
/// A history that fails takes seconds, because only patience tells late from never.
const SHRINKS_MAX: u32 = 60;
const SHRINK_TIME_MAX_MS: u32 = 180_000;
const STEPS_MAX: usize = 25;
/// About what a job needs from one point to the next, which has other places in between.
const LATER_MAX_US: u64 = 3_000;

/// One of what there is, by its place among them; which ones there are shows only when the step is taken.
type Pick = usize;

#[derive(Debug, Clone)]
struct History {
    clusters: usize,
    repositories: usize,
    steps: Vec<Step>,
}

#[derive(Debug, Clone)]
enum Step {
    /// The cluster flushes some segments and drops others.
    Change {
        added: i64,
        dropped: usize,
    },
    Work(Task, Meanwhile),
    Schedule {
        cluster: Pick,
        enabled: bool,
        days: u32,
        last: u32,
        daily: u32,
    },
    Hold {
        backup: Pick,
        days: Option<i64>,
    },
    Release(Pick),
    Delete(Pick),
    Retain {
        backup: Pick,
        days: Option<u32>,
    },
    Pass {
        hours: i64,
    },
    /// The clock is ahead for a while; then it is right again.
    Ahead {
        hours: i64,
        task: Option<Task>,
    },
    /// The server is shut down and started again after so many hours.
    Restart {
        hours: i64,
    },
}

#[derive(Debug, Clone, Copy)]
enum Task {
    BackUp { cluster: Pick, days: Option<u32> },
    Copy { backup: Pick, days: Option<u32> },
    Sweep { cluster: Pick },
}

/// What happens when a job has come to one of its points.
#[derive(Debug, Clone, Copy)]
enum Meanwhile {
    Nothing,
    /// The server is killed so much later, and started again after so many hours.
    Kill {
        point: Pick,
        later_us: u64,
        hours: i64,
    },
    Cancel {
        point: Pick,
    },
    Also {
        point: Pick,
        task: Task,
    },
    Delete {
        point: Pick,
        backup: Pick,
    },
    Pass {
        point: Pick,
        hours: i64,
    },
}

fn pick() -> impl Strategy<Value = Pick> {
    0_usize..24
}

fn days() -> impl Strategy<Value = Option<u32>> {
    prop::option::of(1_u32..=30)
}

/// Mostly a piece of a day, which is what the grace is measured in; now and then weeks.
fn hours() -> impl Strategy<Value = i64> {
    prop_oneof![4 => 1_i64..40, 2 => 40_i64..200, 1 => 200_i64..1_000]
}

fn task() -> impl Strategy<Value = Task> {
    prop_oneof![
        3 => (pick(), days()).prop_map(|(cluster, days)| Task::BackUp { cluster, days }),
        2 => (pick(), days()).prop_map(|(backup, days)| Task::Copy { backup, days }),
        2 => pick().prop_map(|cluster| Task::Sweep { cluster }),
    ]
}

fn meanwhile() -> impl Strategy<Value = Meanwhile> {
    prop_oneof![
        6 => Just(Meanwhile::Nothing),
        3 => (pick(), prop_oneof![Just(0), 1_u64..LATER_MAX_US], prop_oneof![Just(0), hours()])
            .prop_map(|(point, later_us, hours)| Meanwhile::Kill { point, later_us, hours }),
        1 => pick().prop_map(|point| Meanwhile::Cancel { point }),
        2 => (pick(), task()).prop_map(|(point, task)| Meanwhile::Also { point, task }),
        1 => (pick(), pick()).prop_map(|(point, backup)| Meanwhile::Delete { point, backup }),
        1 => (pick(), hours()).prop_map(|(point, hours)| Meanwhile::Pass { point, hours }),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let schedule = (pick(), prop::bool::weighted(0.8), 1_u32..=20, 0_u32..4, 0_u32..4);
    prop_oneof![
        4 => (0_i64..3, 0_usize..3).prop_map(|(added, dropped)| Step::Change { added, dropped }),
        10 => (task(), meanwhile()).prop_map(|(task, meanwhile)| Step::Work(task, meanwhile)),
        2 => schedule.prop_map(|(cluster, enabled, days, last, daily)| {
            Step::Schedule { cluster, enabled, days, last, daily }
        }),
        2 => (pick(), prop::option::of(1_i64..20)).prop_map(|(backup, days)| Step::Hold { backup, days }),
        1 => pick().prop_map(Step::Release),
        3 => pick().prop_map(Step::Delete),
        1 => (pick(), days()).prop_map(|(backup, days)| Step::Retain { backup, days }),
        6 => hours().prop_map(|hours| Step::Pass { hours }),
        2 => (hours(), prop::option::of(task())).prop_map(|(hours, task)| Step::Ahead { hours, task }),
        1 => hours().prop_map(|hours| Step::Restart { hours }),
    ]
}

fn history() -> impl Strategy<Value = History> {
    let steps = prop::collection::vec(step(), 1..=STEPS_MAX);
    (1_usize..=2, 1_usize..=2, steps).prop_map(|(clusters, repositories, steps)| History {
        clusters,
        repositories,
        steps,
    })
}

fn config() -> ProptestConfig {
    let mut config = ProptestConfig::default();
    let usual = |name, value: &mut u32, usual| {
        if std::env::var_os(name).is_none() {
            *value = usual;
        }
    };
    usual("PROPTEST_CASES", &mut config.cases, HISTORIES);
    usual("PROPTEST_MAX_SHRINK_ITERS", &mut config.max_shrink_iters, SHRINKS_MAX);
    usual("PROPTEST_MAX_SHRINK_TIME", &mut config.max_shrink_time, SHRINK_TIME_MAX_MS);
    config
}

async fn go_through(history: History) {
    let mut past = Past::begin(history.clusters, history.repositories).await;
    for step in history.steps {
        past.step(step).await;
    }
    past.end().await;
}

/// A history in which whatever a job of these may meet it meets at each of its points.
fn thorough() -> Vec<History> {
    let back_up = Task::BackUp { cluster: 0, days: None };
    let tasks = [back_up, Task::Copy { backup: 0, days: None }, Task::Sweep { cluster: 0 }];
    let mut histories = Vec::new();
    for task in tasks {
        let mut steps = Vec::new();
        for point in 0..deeds::points(task).len() {
            // Something is due, something is shared, and something is new.
            steps.extend([
                Step::Work(back_up, Meanwhile::Nothing),
                Step::Change { added: 2, dropped: 1 },
                Step::Work(back_up, Meanwhile::Nothing),
                Step::Delete(0),
                Step::Restart { hours: 20 },
                Step::Change { added: 1, dropped: 1 },
                Step::Work(task, Meanwhile::Kill { point, later_us: 0, hours: 5 }),
            ]);
        }
        histories.push(History { clusters: 1, repositories: 2, steps });
    }
    histories
}

/// Histories in which a job is canceled at one of its points, and nothing later makes use of what it had written.
fn canceled() -> Vec<History> {
    let back_up = Task::BackUp { cluster: 0, days: None };
    let canceled = [back_up, Task::Copy { backup: 0, days: None }].into_iter().flat_map(|task| {
        (0..deeds::points(task).len()).map(move |point| {
            vec![
                Step::Work(back_up, Meanwhile::Nothing),
                Step::Change { added: 2, dropped: 4 },
                Step::Work(task, Meanwhile::Cancel { point }),
            ]
        })
    });
    canceled.map(|steps| History { clusters: 1, repositories: 2, steps }).collect()
}

fn run(history: History) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(bounded(Box::pin(go_through(history))));
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn whatever_happens_nothing_needed_goes_and_nothing_else_stays(history in history()) {
        run(history);
    }
}

/// Chance meets some points of a job seldom.
#[test]
fn a_server_that_is_killed_at_any_point_loses_nothing_and_leaves_nothing() {
    thorough().into_iter().for_each(run);
}

#[test]
fn what_a_canceled_job_has_written_goes_after_its_grace() {
    canceled().into_iter().for_each(run);
}

//! Time that passes, stands still, jumps, and goes on while no server runs.

use super::*;

/// Fifty-two weeks, both changes of the clocks among them; the history of jobs may end behind them.
const DAYS: i64 = 364;

/// Steps through time; every start of the schedule makes one backup, on its day.
async fn go_through(stage: Stage, change: impl Fn(ClusterId) -> PolicyChange, days: i64) {
    let server = stage.world.start().await;
    let cluster = server.register().await;
    let first = switch_on(&stage, &server, change(cluster.id)).await;
    let begin = stage.now();
    assert_eq!(first.last_started, Some(begin));
    let mut started = BTreeSet::new();
    for _ in 0..days * 3 {
        let schedule = stage.pass(cluster.id, TimeDelta::hours(8)).await;
        started.extend(schedule.last_started.filter(|start| *start > begin));
        assert_eq!(schedule.last_skipped, None);
        assert_eq!(stage.failures().await, Vec::<String>::new());
    }
    let expected = starts(&first, begin, stage.now());
    assert_eq!(started.into_iter().collect::<Vec<_>>(), expected);
    assert_eq!(stage.backups_made().await, 1 + expected.len());
    server.shutdown().await;
}

#[tokio::test]
async fn a_year_of_nights_makes_one_backup_each() {
    bounded(Box::pin(async {
        // A time that daylight saving skips once and repeats once.
        let nightly = |cluster_id| cron(cluster_id, "30 2 * * *", "Europe/Berlin");
        go_through(Stage::in_memory(), nightly, DAYS).await;
    }))
    .await;
}

#[tokio::test]
async fn a_year_of_sundays_makes_one_backup_each_on_a_real_catalog() {
    bounded(Box::pin(async {
        let sundays = |cluster_id| PolicyChange {
            weekdays: Some(vec![chrono::Weekday::Sun]),
            start_time: Some(chrono::NaiveTime::from_hms_opt(2, 30, 0).unwrap()),
            time_zone: Some("America/New_York".parse().unwrap()),
            ..change(cluster_id)
        };
        go_through(Stage::on_sqlite().await, sundays, DAYS).await;
    }))
    .await;
}

#[tokio::test]
async fn a_week_without_a_server_is_caught_up_by_one_backup() {
    bounded(Box::pin(async {
        for stage in Stage::both().await {
            let server = stage.world.start().await;
            let cluster = server.register().await;
            let schedule = switch_on(&stage, &server, cron(cluster.id, "0 2 * * *", "UTC")).await;
            let begin = stage.now();
            server.shutdown().await;
            stage.world.clock.advance(TimeDelta::days(7));

            let server = stage.world.start().await;
            let schedule = stage.settled(schedule.cluster_id).await;
            let missed = starts(&schedule, begin, stage.now());
            assert_eq!(missed.len(), 7);
            assert_eq!(schedule.last_started, missed.last().copied());
            assert_eq!(stage.backups_made().await, 2);
            // And on as before.
            stage.pass(cluster.id, TimeDelta::days(1)).await;
            assert_eq!(stage.backups_made().await, 3);
            server.shutdown().await;
        }
    }))
    .await;
}

#[tokio::test]
async fn a_clock_that_jumps_by_a_day_doubles_nothing() {
    bounded(Box::pin(async {
        for stage in Stage::both().await {
            let server = stage.world.start().await;
            let cluster = server.register().await;
            switch_on(&stage, &server, cron(cluster.id, "0 2,14 * * *", "UTC")).await;
            let mut started = BTreeSet::from([stage.now()]);
            let jumps = [24, -24, 6, 6, 6, 6, 6, 6, -24, 24, 24, -24, 12, 12, 12, 12];
            for hours in jumps {
                let schedule = stage.pass(cluster.id, TimeDelta::hours(hours)).await;
                started.extend(schedule.last_started);
            }
            assert_eq!(stage.backups_made().await, started.len());
            let schedule = stage.schedule(cluster.id).await;
            // What the clock went through twice was backed up once, and the last start was not missed.
            let (first, last) = (*started.first().unwrap(), *started.last().unwrap());
            assert_eq!(last, starts(&schedule, first, stage.now()).pop().unwrap());
            server.shutdown().await;
        }
    }))
    .await;
}

#[tokio::test]
async fn a_clock_that_goes_back_by_forty_hours_holds_up_no_backups() {
    bounded(Box::pin(async {
        for stage in Stage::both().await {
            let server = stage.world.start().await;
            let cluster = server.register().await;
            switch_on(&stage, &server, cron(cluster.id, "0 2,14 * * *", "UTC")).await;
            stage.pass(cluster.id, TimeDelta::hours(48)).await;
            assert_eq!(stage.backups_made().await, 2);
            let schedule = stage.pass(cluster.id, TimeDelta::hours(-40)).await;
            let back = stage.now();
            assert_eq!((schedule.last_run, stage.backups_made().await), (Some(back), 2));
            for _ in 0..20 {
                stage.pass(cluster.id, TimeDelta::hours(2)).await;
            }
            let again = starts(&schedule, back, stage.now()).len();
            assert!(3 <= again, "{again}");
            // All of them, also the one that was made more than a day ahead of its time.
            assert_eq!(stage.backups_made().await, 2 + again);
            server.shutdown().await;
        }
    }))
    .await;
}

#[tokio::test]
async fn a_clock_that_was_days_ahead_for_days_costs_no_backup_and_doubles_none() {
    bounded(Box::pin(async {
        for stage in Stage::both().await {
            let server = stage.world.start().await;
            let cluster = server.register().await;
            switch_on(&stage, &server, cron(cluster.id, "0 2 * * *", "UTC")).await;
            stage.pass(cluster.id, TimeDelta::days(10)).await;
            for _ in 0..9 {
                stage.pass(cluster.id, TimeDelta::hours(8)).await;
            }
            let ahead = stage.backups_made().await;
            assert_eq!(ahead, 1 + 1 + 3);
            let schedule = stage.pass(cluster.id, TimeDelta::days(-10)).await;
            let corrected = stage.now();
            assert_eq!((schedule.last_run, stage.backups_made().await), (Some(corrected), ahead));

            let mut started = Vec::new();
            for _ in 0..14 * 3 {
                let schedule = stage.pass(cluster.id, TimeDelta::hours(8)).await;
                assert_eq!(schedule.last_skipped, None);
                let since = |start: &DateTime<Utc>| corrected < *start && *start <= stage.now();
                started.extend(schedule.last_started.filter(since));
                started.dedup();
            }
            let expected = starts(&schedule, corrected, stage.now());
            assert_eq!(expected.len(), 14);
            assert_eq!(started, expected);
            assert_eq!(stage.backups_made().await, ahead + expected.len());
            server.shutdown().await;
        }
    }))
    .await;
}

#[tokio::test]
async fn a_backup_that_was_made_some_hours_ahead_of_its_time_is_not_made_again() {
    bounded(Box::pin(async {
        for stage in Stage::both().await {
            let server = stage.world.start().await;
            let cluster = server.register().await;
            let first = switch_on(&stage, &server, cron(cluster.id, "0 2 * * *", "UTC")).await;
            let coming: Vec<_> = first.rules().unwrap().runs_after(stage.now()).take(2).collect();
            stage.pass(cluster.id, coming[0] + TimeDelta::hours(10) - stage.now()).await;
            assert_eq!(stage.backups_made().await, 2);
            stage.pass(cluster.id, TimeDelta::hours(20)).await;
            let early = stage.schedule(cluster.id).await.last_started;
            assert_eq!((early, stage.backups_made().await), (Some(coming[1]), 3));
            let early = stage.backup_jobs().await.into_iter().max_by_key(|job| job.created_at).unwrap();

            let schedule = stage.pass(cluster.id, TimeDelta::hours(-20)).await;
            assert_eq!(schedule.last_run, Some(stage.now()));
            while stage.now() < coming[1] + TimeDelta::hours(2) {
                stage.pass(cluster.id, TimeDelta::hours(1)).await;
            }
            assert_eq!(stage.backups_made().await, 3);
            // Whoever misses it is told which backup it is.
            let skipped = stage.schedule(cluster.id).await.last_skipped.unwrap();
            assert_eq!((skipped.scheduled_for, skipped.job_id), (coming[1], early.id));
            assert_eq!(skipped.reason, "it was made before the clock went back");
            stage.pass(cluster.id, TimeDelta::days(1)).await;
            assert_eq!(stage.backups_made().await, 4);
            server.shutdown().await;
        }
    }))
    .await;
}

#[tokio::test]
async fn clocks_that_are_days_apart_and_clocks_that_come_forward_again_double_no_backup() {
    bounded(Box::pin(async {
        for stage in Stage::both().await {
            let server = stage.world.start().await;
            let cluster = server.register().await;
            switch_on(&stage, &server, cron(cluster.id, "0 2 * * *", "UTC")).await;
            let mut made = Vec::new();
            // As two servers see it that look at the schedule in turn.
            for _ in 0..6 {
                stage.pass(cluster.id, TimeDelta::days(3)).await;
                made.push(stage.backups_made().await);
                stage.pass(cluster.id, TimeDelta::days(-3)).await;
            }
            assert_eq!(made, [2; 6]);
            server.shutdown().await;
        }
    }))
    .await;
}

#[tokio::test]
async fn a_policy_that_is_off_while_the_clock_goes_back_misses_no_backup() {
    bounded(Box::pin(async {
        for stage in Stage::both().await {
            let server = stage.world.start().await;
            let cluster = server.register().await;
            let nightly = cron(cluster.id, "0 2 * * *", "UTC");
            switch_on(&stage, &server, nightly.clone()).await;
            stage.pass(cluster.id, TimeDelta::days(3)).await;
            let off = PolicyChange { enabled: false, ..change(cluster.id) };
            server.service.set_backup_policy(off).await.unwrap();
            // Not to the very microsecond at which it was switched on first.
            stage.world.clock.advance(TimeDelta::minutes(1) - TimeDelta::days(3));
            let schedule = switch_on(&stage, &server, nightly).await;
            let (on, made) = (stage.now(), stage.backups_made().await);
            for _ in 0..5 {
                stage.pass(cluster.id, TimeDelta::days(1)).await;
            }
            assert_eq!(stage.backups_made().await, made + starts(&schedule, on, stage.now()).len());
            server.shutdown().await;
        }
    }))
    .await;
}

#[tokio::test]
async fn a_clock_that_was_wrong_by_a_year_stops_no_backups() {
    bounded(Box::pin(async {
        for stage in Stage::both().await {
            let server = stage.world.start().await;
            let cluster = server.register().await;
            switch_on(&stage, &server, cron(cluster.id, "0 2 * * *", "UTC")).await;
            stage.pass(cluster.id, TimeDelta::days(365)).await;
            assert_eq!(stage.backups_made().await, 2);
            let schedule = stage.pass(cluster.id, TimeDelta::days(-365)).await;
            assert_eq!(stage.backups_made().await, 2);
            assert_eq!(schedule.last_run, Some(stage.now()));
            for backups in 3..6 {
                stage.pass(cluster.id, TimeDelta::days(1)).await;
                assert_eq!(stage.backups_made().await, backups);
            }
            server.shutdown().await;
        }
    }))
    .await;
}

#[tokio::test]
async fn two_servers_on_one_catalog_double_nothing() {
    bounded(Box::pin(async {
        for mut stage in Stage::both().await {
            // SQLite is never shared.
            if stage.world.real_catalog.is_some() {
                continue;
            }
            stage.world.catalog.share();
            stage.world.settings.lease_poll_interval = Duration::from_millis(5);
            let servers = [stage.world.start().await, stage.world.start().await];
            let cluster = servers[0].register().await;
            let thrice_a_day = cron(cluster.id, "0 2,10,18 * * *", "UTC");
            let kept_longer = PolicyChange { retention_days: Some(30), ..thrice_a_day };
            let first = switch_on(&stage, &servers[0], kept_longer).await;
            let begin = stage.now();
            for _ in 0..60 {
                stage.pass(cluster.id, TimeDelta::hours(4)).await;
            }
            let expected = starts(&first, begin, stage.now()).len();
            assert!((29..=31).contains(&expected), "{expected}");
            assert_eq!(stage.backups_made().await, 1 + expected);
            for server in servers {
                server.shutdown().await;
            }
        }
    }))
    .await;
}

#[tokio::test]
async fn a_server_that_is_killed_around_a_start_leaves_one_backup() {
    bounded(Box::pin(async {
        for point in ["record_start", "recorded_start", "cut"] {
            for stage in Stage::both().await {
                if stage.world.real_catalog.is_some() && point != "cut" {
                    continue;
                }
                let server = stage.world.start().await;
                let cluster = server.register().await;
                switch_on(&stage, &server, cron(cluster.id, "0 2 * * *", "UTC")).await;
                let calls = stage.world.gates.calls(point);
                stage.world.gates.once(point, Act::Hang);
                stage.world.clock.advance(TimeDelta::days(1));
                stage.world.gates.reached(point, calls + 1).await;
                server.kill().await;
                // A start that was recorded may have been taken up, and even ended, before the kill came.
                let begun = if point == "record_start" { 1 } else { 2 };
                assert_eq!(stage.backup_jobs().await.len(), begun, "{point}");

                let server = stage.world.start().await;
                stage.settled(cluster.id).await;
                assert_eq!(stage.backups_made().await, 2, "{point}");
                stage.pass(cluster.id, TimeDelta::days(1)).await;
                assert_eq!(stage.backups_made().await, 3, "{point}");
                server.shutdown().await;
            }
        }
    }))
    .await;
}

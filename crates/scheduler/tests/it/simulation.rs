//! Workers in virtual time over the real schedule.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::time::Duration;

use jiff::Timestamp;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use scheduler::{Batch, Decision, EffectiveLag, Lag, Limits, Moment, Schedule, Table};

use crate::world::{Health, SECOND, Time, World};

/// The weight of the newest refresh in the mean duration.
const NEWEST_WEIGHT: f64 = 0.3;

/// A refresh takes its mean duration, less or more by this share of it.
const NOISE: f64 = 0.3;

#[derive(Clone, Debug)]
pub struct Setting {
    pub workers: usize,
    pub poll_interval: Duration,
    pub limits: Limits,
    /// Nobody looks more often than this.
    pub shortest_sleep: Time,
    /// Whether the workers know how many they are.
    pub know_each_other: bool,
    /// After so many failures in a row a table that always fails is suspended with what reads it.
    pub suspend_after: Option<u32>,
    pub until: Time,
    /// Lag counts from then on: what the first contents take is not known before, and they all come at the start.
    pub measured_from: Time,
    pub seed: u64,
    /// Every look is checked in full; otherwise only what is cheap.
    pub thorough: bool,
}

/// How a table fares.
#[derive(Clone, Debug, Default)]
pub struct Progress {
    version: Option<Time>,
    mean: Option<f64>,
    retry_at: Option<Time>,
    failures: u32,
    suspended: bool,
    attempts: u32,
    taken: bool,
    /// The number of times it got a new version.
    pub refreshed: u32,
    /// When it first had content.
    pub first: Option<Time>,
    /// The most by which its content was ever out of date, in milliseconds.
    pub worst_lag: Time,
}

struct Running {
    batch: Batch<usize>,
    taken_at: Time,
    failed: Vec<usize>,
    durations: Vec<(usize, f64)>,
}

pub struct Simulation<'a> {
    pub world: &'a World,
    pub setting: Setting,
    pub progress: Vec<Progress>,
    pub lags: Vec<EffectiveLag<usize>>,
    /// Never refreshed: suspended, or behind something that is, or poisoned.
    pub hopeless: Vec<bool>,
    pub looks: u32,
    pub batches: u32,
    /// What all workers did, in milliseconds.
    pub busy: f64,
    /// Of batches that held no first content: what that takes is not known before.
    pub longest_batch: f64,
    running: HashMap<u32, Running>,
    ends: BinaryHeap<Reverse<(Time, u32)>>,
    random: StdRng,
}

impl<'a> Simulation<'a> {
    pub fn new(world: &'a World, setting: Setting) -> Self {
        let mut progress = vec![Progress::default(); world.members.len()];
        let mut hopeless = vec![false; world.members.len()];
        for (id, member) in world.members.iter().enumerate() {
            if member.lag == Lag::Disabled {
                progress[id].version = Some(0);
            }
            progress[id].suspended = member.suspended;
            let behind = member.upstream.iter().any(|up| hopeless[*up] && world.members[*up].lag != Lag::Disabled);
            hopeless[id] = behind || member.suspended || member.health == Health::Poisoned;
        }
        let random = StdRng::seed_from_u64(setting.seed);
        let mut simulation = Self {
            world,
            setting,
            progress,
            lags: Vec::new(),
            hopeless,
            looks: 0,
            batches: 0,
            busy: 0.0,
            longest_batch: 0.0,
            running: HashMap::new(),
            ends: BinaryHeap::new(),
            random,
        };
        simulation.lags = simulation.effective_lags();
        simulation
    }

    fn effective_lags(&self) -> Vec<EffectiveLag<usize>> {
        let schedule = self.schedule(0);
        (0..self.world.members.len()).map(|id| schedule.effective_lag(&id).unwrap().clone()).collect()
    }

    /// The tables that have to be kept fresh.
    pub fn healthy(&self) -> impl Iterator<Item = (usize, Time)> {
        (0..self.lags.len()).filter(|id| !self.hopeless[*id]).filter_map(|id| {
            // One that follows has no lag of its own: it is refreshed when what it reads is.
            let EffectiveLag::Within { lag, .. } = &self.lags[id] else { return None };
            Some((id, Time::try_from(lag.as_millis()).unwrap()))
        })
    }

    /// How much of the time of all workers was spent on refreshes.
    pub fn share_of_time_busy(&self) -> f64 {
        self.busy / self.setting.until as f64 / self.setting.workers as f64
    }

    pub fn run(&mut self) {
        let mut now = 0;
        let mut last_look = Time::MIN / 2;
        while now < self.setting.until {
            while let Some(Reverse((end, number))) = self.ends.peek().copied()
                && end <= now
            {
                self.ends.pop();
                self.finish(number, end);
            }
            let mut wake = self.setting.until;
            if self.running.len() < self.setting.workers {
                if now >= last_look + self.setting.shortest_sleep {
                    last_look = now;
                    let sleep = self.look(now);
                    // With all at work now, the next look is when one of them has finished.
                    if self.running.len() < self.setting.workers {
                        wake = wake.min(now + sleep.max(self.setting.shortest_sleep));
                    }
                } else {
                    wake = wake.min(last_look + self.setting.shortest_sleep);
                }
            }
            let end = self.ends.peek().map_or(wake, |Reverse((end, _))| *end);
            now = wake.min(end);
        }
        // Those that were suspended meanwhile ask for nothing any more.
        self.lags = self.effective_lags();
        for (id, _) in self.healthy().collect::<Vec<_>>() {
            self.note_lag(id, self.setting.until);
        }
    }

    fn schedule(&self, now: Time) -> Schedule<usize> {
        let tables = self.world.members.iter().zip(&self.progress).enumerate().map(|(id, (member, progress))| {
            let right_until = progress.version.map(|version| self.world.right_until(id, version, now));
            Table {
                upstream: member.upstream.clone(),
                suspended: progress.suspended,
                data_timestamp: right_until.map(at),
                expected_duration: Duration::from_secs_f64(progress.mean.unwrap_or(0.0) / 1_000.0),
                retry_at: progress.retry_at.map(at),
                wanted_since: Some(at(0)),
                ..Table::new(id, member.lag)
            }
        });
        Schedule::new(tables.collect()).unwrap()
    }

    /// Lets every idle worker take the most urgent batch that is left. Returns how long the rest may sleep.
    fn look(&mut self, now: Time) -> Time {
        self.looks += 1;
        let schedule = self.schedule(now);
        let batches_at_a_time = self.setting.know_each_other.then_some(self.setting.workers);
        let moment = Moment { batches_at_a_time, ..Moment::new(at(now), self.setting.poll_interval) };
        let decision = schedule.due(&moment);
        let is_taken = |id: &usize| self.progress[*id].taken;
        let batches = schedule.batches(&decision, &moment, &self.setting.limits, &is_taken);
        self.check(&schedule, &decision, &batches);
        for batch in batches {
            if self.running.len() == self.setting.workers {
                break;
            }
            self.start(batch, now);
        }
        let pause = Duration::from_secs(60);
        Time::try_from(decision.sleep_beside_taken(&moment, pause).as_millis()).unwrap() + 1
    }

    fn check(&self, schedule: &Schedule<usize>, decision: &Decision<usize>, batches: &[Batch<usize>]) {
        assert!(batches.is_sorted_by(|one, other| one.urgency >= other.urgency));
        let mut batch_of: HashMap<usize, usize> = HashMap::new();
        for (number, batch) in batches.iter().enumerate() {
            for id in &batch.tables {
                assert!(!self.progress[*id].taken, "{id} is taken");
                assert_eq!(batch_of.insert(*id, number), None, "{id} is in two batches");
            }
        }
        for due in decision.due.iter().filter(|due| batch_of.contains_key(&due.id)) {
            for upstream in &self.world.members[due.id].upstream {
                let read_as_it_is = self.world.members[*upstream].lag == Lag::Disabled;
                assert!(
                    read_as_it_is || batch_of[upstream] == batch_of[&due.id],
                    "torn: {} reads {upstream}",
                    due.id
                );
            }
        }
        if !self.setting.thorough {
            return;
        }
        let limits = &self.setting.limits;
        for batch in batches {
            assert_eq!(schedule.graph().sorted(&batch.tables), batch.tables);
            let too_big = batch.tables.len() > limits.most_tables || batch.expected > limits.longest;
            assert!(!too_big || schedule.graph().groups(&batch.tables).len() == 1);
        }
        let groups = schedule.graph().groups(decision.due.iter().map(|due| &due.id));
        for group in groups {
            let is_taken = group.iter().any(|id| self.progress[*id].taken);
            assert!(group.iter().all(|id| batch_of.contains_key(id) != is_taken), "a group is left out or torn");
        }
    }

    fn start(&mut self, batch: Batch<usize>, now: Time) {
        self.batches += 1;
        let mut failed: Vec<usize> = Vec::new();
        let mut durations = Vec::new();
        let mut total = 0.0;
        for id in batch.tables.iter().copied() {
            let member = &self.world.members[id];
            assert!(!self.progress[id].suspended && member.lag != Lag::Disabled);
            self.progress[id].taken = true;
            if member.upstream.iter().any(|upstream| failed.contains(upstream)) {
                failed.push(id);
                continue;
            }
            let progress = &mut self.progress[id];
            assert!(progress.retry_at.is_none_or(|at| at <= now), "{id} is tried again too early");
            let news = progress.version.is_none_or(|version| self.world.right_until(id, version, now) < now);
            if !news {
                continue;
            }
            progress.attempts += 1;
            let duration = member.work * self.random.random_range(1.0 - NOISE..1.0 + NOISE);
            total += duration;
            let fails = match member.health {
                Health::Well => false,
                Health::Shaky(every) => progress.attempts.is_multiple_of(every),
                Health::Poisoned => true,
            };
            if fails {
                failed.push(id);
                let pause = self.pause(id);
                self.progress[id].retry_at = Some(now + total as Time + pause);
            } else {
                durations.push((id, duration));
            }
        }
        self.busy += total;
        if batch.tables.iter().all(|id| self.progress[*id].version.is_some() || failed.contains(id)) {
            self.longest_batch = self.longest_batch.max(total);
        }
        self.ends.push(Reverse((now + total as Time + 1, self.batches)));
        self.running.insert(self.batches, Running { batch, taken_at: now, failed, durations });
    }

    fn pause(&mut self, id: usize) -> Time {
        let failures = &mut self.progress[id].failures;
        *failures += 1;
        let failures = *failures;
        let health = self.world.members[id].health;
        match (health, self.world.members[id].lag) {
            (Health::Shaky(_), _) => {
                let pause = SECOND * 2_i64.pow((failures - 1).min(9)).min(300);
                (pause as f64 * self.random.random_range(0.5..1.0)) as Time
            }
            (_, Lag::Within(lag)) => Time::try_from(lag.as_millis()).unwrap().clamp(10 * SECOND, 3_600 * SECOND),
            _ => 10 * SECOND,
        }
    }

    fn suspend(&mut self, failing: usize) {
        let mut suspended = vec![false; self.world.members.len()];
        suspended[failing] = true;
        for (id, member) in self.world.members.iter().enumerate().skip(failing) {
            suspended[id] |= member.upstream.iter().any(|upstream| suspended[*upstream]);
            self.progress[id].suspended |= suspended[id];
        }
    }

    fn finish(&mut self, number: u32, now: Time) {
        let Running { batch, taken_at, failed, durations } = self.running.remove(&number).unwrap();
        for id in batch.tables.iter().copied() {
            self.progress[id].taken = false;
            if failed.contains(&id) {
                let hopeless = |most| self.progress[id].failures >= most;
                if self.world.members[id].health == Health::Poisoned
                    && self.setting.suspend_after.is_some_and(hopeless)
                {
                    self.suspend(id);
                }
                continue;
            }
            self.note_lag(id, now);
            let progress = &mut self.progress[id];
            assert!(progress.version.is_none_or(|version| version <= taken_at));
            progress.version = Some(taken_at);
            progress.first = progress.first.or(Some(now));
            progress.refreshed += 1;
            progress.retry_at = None;
            progress.failures = 0;
            for upstream in &self.world.members[id].upstream {
                let read_as_it_is = self.world.members[*upstream].lag == Lag::Disabled;
                let version = self.progress[*upstream].version;
                assert!(read_as_it_is || version == Some(taken_at), "{id} is ahead of {upstream}, which it reads");
            }
        }
        for (id, duration) in durations {
            let mean = &mut self.progress[id].mean;
            *mean = Some(mean.map_or(duration, |mean| mean + NEWEST_WEIGHT * (duration - mean)));
        }
    }

    fn note_lag(&mut self, id: usize, now: Time) {
        let since = self.progress[id].version.map_or(0, |version| self.world.right_until(id, version, now));
        let progress = &mut self.progress[id];
        if now >= self.setting.measured_from && progress.version.is_some() && now - since > progress.worst_lag {
            progress.worst_lag = now - since;
        }
    }
}

pub fn at(time: Time) -> Timestamp {
    Timestamp::from_millisecond(time).unwrap()
}

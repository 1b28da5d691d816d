//! Tables, their sources and how they behave: what a simulation runs on.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use scheduler::Lag;

pub const SECOND: i64 = 1_000;

/// Virtual time, in milliseconds.
pub type Time = i64;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    Well,
    /// Every so many attempts one fails, and the next may succeed.
    Shaky(u32),
    /// Every attempt fails.
    Poisoned,
}

#[derive(Clone, Debug)]
pub struct Member {
    /// Members with smaller numbers.
    pub upstream: Vec<usize>,
    pub lag: Lag,
    pub suspended: bool,
    pub health: Health,
    /// What a refresh with something new takes, on average, in milliseconds.
    pub work: f64,
    /// The plain tables that it reads itself.
    pub sources: Vec<usize>,
}

#[derive(Clone, Debug)]
pub enum Source {
    /// It changes all the time.
    Restless,
    /// It changes at these times, ascending.
    At(Vec<Time>),
}

impl Source {
    /// The first change after this time; none if none ever comes.
    fn first_change_after(&self, time: Time) -> Option<Time> {
        match self {
            Self::Restless => Some(time),
            Self::At(times) => times.get(times.partition_point(|change| *change <= time)).copied(),
        }
    }
}

#[derive(Clone, Debug)]
pub struct World {
    pub members: Vec<Member>,
    pub sources: Vec<Source>,
    /// The sources that each member follows, directly or not.
    pub roots: Vec<Vec<usize>>,
}

impl World {
    pub fn new(members: Vec<Member>, sources: Vec<Source>) -> Self {
        let mut roots: Vec<Vec<usize>> = Vec::new();
        for member in &members {
            let mut own = member.sources.clone();
            for upstream in member.upstream.iter().filter(|upstream| members[**upstream].lag != Lag::Disabled) {
                own.extend(&roots[*upstream]);
            }
            own.sort_unstable();
            own.dedup();
            roots.push(own);
        }
        Self { members, sources, roots }
    }

    /// Up to when the content of a version is right, as known at `now`.
    pub fn right_until(&self, id: usize, version: Time, now: Time) -> Time {
        let changes = self.roots[id].iter().filter_map(|source| self.sources[*source].first_change_after(version));
        changes.fold(now, Time::min)
    }
}

/// What a random world is made of.
#[derive(Clone, Debug)]
pub struct Mixture {
    pub parts: usize,
    pub largest_part: usize,
    /// In seconds: the lags are spread evenly over their orders of magnitude.
    pub lags: (f64, f64),
    /// What all of a part takes at most: as a share of its smallest lag, and in seconds.
    pub longest_share: f64,
    pub longest: f64,
    /// How many workers all tables would keep busy if each were refreshed once in its lag.
    pub load: f64,
    pub restless: f64,
    /// All sources change together, at these times, instead.
    pub loaded_at: Option<Vec<Time>>,
    pub poisoned: f64,
    pub shaky: f64,
    pub suspended: f64,
    pub disabled: f64,
    pub until: Time,
}

impl Mixture {
    pub fn world(&self, seed: u64) -> World {
        let mut random = StdRng::seed_from_u64(seed);
        let (mut members, mut sources) = (Vec::new(), Vec::new());
        let mut parts: Vec<(usize, usize, f64)> = Vec::new();
        for _ in 0..self.parts {
            let first = members.len();
            let size = random.random_range(1..=self.largest_part);
            let own_sources = sources.len();
            for _ in 0..=size / 3 {
                sources.push(self.source(&mut random));
            }
            let smallest = self.part(&mut random, first, size, own_sources..sources.len(), &mut members);
            parts.push((first, members.len(), smallest));
        }
        // First what fits into the lags of each part, then all alike until the load is the one that is wanted.
        let mut load = 0.0;
        for (first, end, smallest) in &parts {
            let total: f64 = members[*first..*end].iter().map(|member| member.work).sum();
            let longest = (self.longest_share * smallest).min(self.longest) * random.random_range(0.05..1.0);
            for member in &mut members[*first..*end] {
                member.work *= longest * 1_000.0 / total;
                load += member.work / 1_000.0 / smallest;
            }
        }
        let scale = (self.load / load).min(1.0);
        members.iter_mut().for_each(|member| member.work *= scale);
        World::new(members, sources)
    }

    /// One part in one of the usual forms; returns its smallest lag in seconds.
    fn part(
        &self,
        random: &mut StdRng,
        first: usize,
        size: usize,
        sources: std::ops::Range<usize>,
        members: &mut Vec<Member>,
    ) -> f64 {
        let form = random.random_range(0..5);
        let mut smallest = f64::MAX;
        for number in 0..size {
            let id = first + number;
            let upstream: Vec<usize> = match form {
                _ if number == 0 => vec![],
                // A chain, a star, a fan that comes together in its last table, a ladder of diamonds, anything.
                0 => vec![id - 1],
                1 => vec![first],
                2 if number + 1 == size => (first..id).collect(),
                2 => vec![],
                3 => (id.saturating_sub(2).max(first)..id).collect(),
                _ => (0..random.random_range(0..3)).map(|_| random.random_range(first..id)).collect(),
            };
            let seconds = (self.lags.0.ln() + random.random::<f64>() * (self.lags.1 / self.lags.0).ln()).exp();
            let lag = match random.random::<f64>() {
                share if share < self.disabled => Lag::Disabled,
                share if share < self.disabled + 0.25 => Lag::Downstream,
                _ => Lag::Within(Duration::from_secs_f64(seconds.round())),
            };
            if let Lag::Within(lag) = lag {
                smallest = smallest.min(lag.as_secs_f64());
            }
            let health = match random.random::<f64>() {
                share if share < self.poisoned => Health::Poisoned,
                share if share < self.poisoned + self.shaky => Health::Shaky(random.random_range(2..10)),
                _ => Health::Well,
            };
            let reads_plain = upstream.is_empty() || random.random_bool(0.3);
            members.push(Member {
                upstream,
                lag,
                suspended: random.random_bool(self.suspended),
                health,
                work: random.random_range(0.1..1.0),
                sources: if reads_plain { vec![random.random_range(sources.clone())] } else { vec![] },
            });
        }
        if smallest == f64::MAX { self.lags.0 } else { smallest }
    }

    fn source(&self, random: &mut StdRng) -> Source {
        if let Some(times) = &self.loaded_at {
            return Source::At(times.clone());
        }
        if random.random_bool(self.restless) {
            return Source::Restless;
        }
        let pause = random.random_range(self.lags.0..self.lags.1 * 2.0) * 1_000.0;
        let mut times = Vec::new();
        let mut time = 0.0;
        while time < self.until as f64 {
            time += -pause * random.random_range(0.001_f64..1.0).ln();
            times.push(time as Time);
        }
        Source::At(times)
    }
}

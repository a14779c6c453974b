//! The last hour, as points at even steps.

use std::collections::VecDeque;
use std::time::{Duration, SystemTime};

use serde::Serialize;

use super::sampler::{Rates, Spread};
use crate::status::time_text;

const HOUR: Duration = Duration::from_secs(3600);

/// One step.
#[derive(Clone, Copy, Debug)]
pub(super) struct Point {
    requests: f32,
    errors: f32,
    connections: u32,
    p50: Option<f32>,
    p99: Option<f32>,
}

/// The newest last. Whoever pushes and shows knows the step.
#[derive(Debug, Default)]
pub(super) struct Hour {
    points: VecDeque<Point>,
    until: Option<SystemTime>,
}

/// As it is shown.
#[derive(Debug, Serialize)]
pub(super) struct HourView {
    step_s: u64,
    /// The end of the newest step.
    until: Option<String>,
    requests_per_s: Vec<f64>,
    errors_per_s: Vec<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    connections: Option<Vec<u32>>,
    p50_ms: Vec<Option<f64>>,
    p99_ms: Vec<Option<f64>>,
}

impl Point {
    pub(super) fn new(rates: Rates, spread: Spread, connections: usize) -> Self {
        Self {
            requests: rates.requests as f32,
            errors: rates.errors as f32,
            connections: u32::try_from(connections).unwrap_or(u32::MAX),
            p50: spread.p50.map(|ms| ms as f32),
            p99: spread.p99.map(|ms| ms as f32),
        }
    }
}

impl Hour {
    pub(super) fn push(&mut self, point: Point, step: Duration, until: SystemTime) {
        let most = (HOUR.as_secs() / step.as_secs()) as usize;
        while self.points.len() >= most {
            self.points.pop_front();
        }
        self.points.push_back(point);
        self.until = Some(until);
    }

    pub(super) fn view(&self, step: Duration, has_connections: bool) -> HourView {
        let shown = || self.points.iter();
        let ms = |value: Option<f32>| value.map(|ms| round(ms.into(), 3));
        HourView {
            step_s: step.as_secs(),
            until: self.until.map(time_text),
            requests_per_s: shown().map(|p| round(p.requests.into(), 2)).collect(),
            errors_per_s: shown().map(|p| round(p.errors.into(), 2)).collect(),
            connections: has_connections.then(|| shown().map(|p| p.connections).collect()),
            p50_ms: shown().map(|p| ms(p.p50)).collect(),
            p99_ms: shown().map(|p| ms(p.p99)).collect(),
        }
    }
}

/// Digits that nobody reads are left out.
pub(super) fn round(value: f64, digits: i32) -> f64 {
    let by = 10f64.powi(digits);
    (value * by).round() / by
}

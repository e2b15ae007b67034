//! The wait between two attempts.

use std::time::Duration;

use super::JobsConfig;

/// The wait after the given number of failed attempts. It doubles up to [`JobsConfig::most_backoff`]. `random` takes off
/// up to half of it (jitter), so that jobs that failed together are not retried together.
pub(super) fn backoff(config: &JobsConfig, attempts: i64, random: u32) -> Duration {
    let doublings = u32::try_from(attempts.clamp(1, 32) - 1).unwrap_or(0);
    let full = config.backoff.0.saturating_mul(1 << doublings).min(config.most_backoff.0);
    full - (full / 2).mul_f64(f64::from(random) / f64::from(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backoff_doubles_to_its_limit_and_jitter_takes_at_most_half() {
        let seconds = |attempts, random| backoff(&JobsConfig::default(), attempts, random).as_secs_f64();
        let full: Vec<f64> = (1..=10).map(|attempts| seconds(attempts, 0)).collect();
        assert_eq!(full, [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 300.0]);
        assert_eq!((seconds(1, u32::MAX), seconds(3, u32::MAX)), (0.5, 2.0));
        assert_eq!((seconds(i64::MAX, 0), seconds(0, 0)), (300.0, 1.0));
    }
}

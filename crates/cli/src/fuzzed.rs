//! What the fuzz target of this crate runs, and the replay of what it found: a `countersign.toml` that a stranger wrote goes in, and a promise that does not
//! hold panics.

use std::path::Path;

use super::config::{Config, ConfigError};

/// It is taken with every limit above 0, or what is wrong is told in one line, with a place that is in the file.
pub(crate) fn config(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match Config::parse(Path::new("countersign.toml"), text) {
        Ok(config) => taken(&config),
        Err(ConfigError::Wrong { line, column, message, .. }) => {
            let rest = text.split('\n').nth(line.wrapping_sub(1));
            let columns = rest.map_or(0, |rest| rest.chars().count() + 1);
            assert!((1..=columns).contains(&column), "{line}:{column} of {text:?}: {message}");
            assert!(!message.is_empty() && !message.contains('\n'), "{message:?}");
        }
        Err(error @ ConfigError::Unreadable { .. }) => panic!("no file was read: {error}"),
    }
}

fn taken(config: &Config) {
    let (limits, holds) = (&config.limits, &config.holds);
    for limit in [limits.max_sessions as u64, limits.max_logins as u64, limits.login_timeout_ms, holds.max_total as u64, holds.expire_after_s] {
        assert!(limit > 0, "{config:?}");
    }
    assert_eq!(config.tls.certificate.is_some(), config.tls.key.is_some());
    assert!(config.listen.metrics.is_none_or(|address| address.ip().is_loopback()), "{config:?}");
    assert!(config.recording.segment_bytes >= store::recordings::MIN_SEGMENT_BYTES, "{config:?}");
}

#[cfg(test)]
mod tests {
    use xtask::fuzz::replay;

    use super::*;

    #[test]
    fn configurations_of_strangers_are_replayed() {
        assert!(replay("config", config).unwrap() > 1);
    }
}

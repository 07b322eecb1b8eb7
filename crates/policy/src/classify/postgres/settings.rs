//! What setting a parameter means.

/// What a setting can change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Weight {
    /// Formatting, planning, timeouts, names: nothing a policy is about.
    Harmless,
    /// Meaning or protection.
    Configure,
    /// Meaning, in that names or strings resolve otherwise afterwards.
    Resolution,
    /// Who the session acts as.
    Identity,
}

/// Settings that change nothing a policy is about, sorted. What is not here configures: custom settings too, which row security often reads.
const HARMLESS: &[&str] = &[
    "application_name",
    "backend_flush_after",
    "bytea_output",
    "check_function_bodies",
    "client_connection_check_interval",
    "client_min_messages",
    "constraint_exclusion",
    "cpu_index_tuple_cost",
    "cpu_operator_cost",
    "cpu_tuple_cost",
    "cursor_tuple_fraction",
    "datestyle",
    "default_statistics_target",
    "default_text_search_config",
    "default_toast_compression",
    "default_transaction_deferrable",
    "default_transaction_isolation",
    "effective_cache_size",
    "effective_io_concurrency",
    "escape_string_warning",
    "extra_float_digits",
    "force_parallel_mode",
    "from_collapse_limit",
    "geqo",
    "geqo_effort",
    "geqo_generations",
    "geqo_pool_size",
    "geqo_seed",
    "geqo_selection_bias",
    "geqo_threshold",
    "gin_pending_list_limit",
    "hash_mem_multiplier",
    "icu_validation_level",
    "idle_in_transaction_session_timeout",
    "idle_session_timeout",
    "intervalstyle",
    "jit",
    "jit_above_cost",
    "jit_inline_above_cost",
    "jit_optimize_above_cost",
    "join_collapse_limit",
    "lc_messages",
    "lc_monetary",
    "lc_numeric",
    "lc_time",
    "lock_timeout",
    "logical_decoding_work_mem",
    "maintenance_io_concurrency",
    "maintenance_work_mem",
    "max_parallel_maintenance_workers",
    "max_parallel_workers",
    "max_parallel_workers_per_gather",
    "min_parallel_index_scan_size",
    "min_parallel_table_scan_size",
    "parallel_leader_participation",
    "parallel_setup_cost",
    "parallel_tuple_cost",
    "plan_cache_mode",
    "random_page_cost",
    "recursive_worktable_factor",
    "seed",
    "seq_page_cost",
    "statement_timeout",
    "synchronize_seqscans",
    "tcp_keepalives_count",
    "tcp_keepalives_idle",
    "tcp_keepalives_interval",
    "tcp_user_timeout",
    "temp_buffers",
    "timezone",
    "timezone_abbreviations",
    "transaction_deferrable",
    "transaction_isolation",
    "transaction_timeout",
    "vacuum_buffer_usage_limit",
    "vacuum_cost_delay",
    "vacuum_cost_limit",
    "vacuum_cost_page_dirty",
    "vacuum_cost_page_hit",
    "vacuum_cost_page_miss",
    "work_mem",
    "xmlbinary",
    "xmloption",
];

/// Settings that change where or how things are stored, how safely, or which rows are found, with the values that they have anyway.
const USUAL: &[(&str, &str)] = &[
    ("array_nulls", "on"),
    ("array_nulls", "true"),
    ("default_table_access_method", "heap"),
    ("gin_fuzzy_search_limit", "0"),
    ("password_encryption", "scram-sha-256"),
    ("synchronous_commit", "on"),
    ("synchronous_commit", "true"),
    ("synchronous_commit", "remote_write"),
    ("synchronous_commit", "remote_apply"),
];

/// What changing this setting to this value (none for a default or one that is not known) means. Names are matched as the server does, whatever their case.
pub(super) fn weight(name: &str, value: Option<&str>) -> Weight {
    let name = name.to_ascii_lowercase();
    match name.as_str() {
        "search_path" | "client_encoding" | "standard_conforming_strings" | "backslash_quote" => Weight::Resolution,
        "role" | "session_authorization" => Weight::Identity,
        "transaction_read_only" | "default_transaction_read_only" if value.is_some_and(is_on) => Weight::Harmless,
        "default_tablespace" | "temp_tablespaces" if value.is_some_and(|place| place.trim_matches(['"', ' ']).is_empty()) => Weight::Harmless,
        _ if USUAL.contains(&(name.as_str(), value.unwrap_or_default().to_ascii_lowercase().as_str())) => Weight::Harmless,
        // Planner switches change cost, never the answer.
        _ if name.starts_with("enable_") || HARMLESS.binary_search(&name.as_str()).is_ok() => Weight::Harmless,
        _ => Weight::Configure,
    }
}

fn is_on(value: &str) -> bool {
    let value = value.to_ascii_lowercase();
    matches!(value.as_str(), "1" | "on") || (!value.is_empty() && ("true".starts_with(&value) || "yes".starts_with(&value)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_sorted_so_that_it_can_be_searched() {
        assert!(HARMLESS.is_sorted());
    }

    #[test]
    fn read_only_is_harmless_to_switch_on_only() {
        for on in ["on", "ON", "true", "t", "yes", "1"] {
            assert_eq!(weight("default_transaction_read_only", Some(on)), Weight::Harmless, "{on}");
        }
        for off in [Some("off"), Some("0"), Some("o"), None] {
            assert_eq!(weight("transaction_read_only", off), Weight::Configure, "{off:?}");
        }
        assert_eq!(weight("Search_Path", Some("evil")), Weight::Resolution);
        for (name, value) in
            [("default_tablespace", ""), ("temp_tablespaces", "\"\""), ("default_table_access_method", "HEAP"), ("synchronous_commit", "on")]
        {
            assert_eq!(weight(name, Some(value)), Weight::Harmless, "{name}");
        }
        for (name, value) in
            [("default_tablespace", "usb"), ("temp_tablespaces", "usb"), ("password_encryption", "md5"), ("synchronous_commit", "off")]
        {
            assert_eq!(weight(name, Some(value)), Weight::Configure, "{name}");
        }
        assert_eq!(weight("myapp.user_id", Some("1")), Weight::Configure);
    }
}

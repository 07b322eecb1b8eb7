//! What the functions that come with the server do beyond their result.
//!
//! A built-in function is pure if it is declared immutable or stable and not listed here, or volatile and listed as harmless. A volatile one that
//! nobody listed, such as one of a newer server, is unreadable.

/// What a built-in function does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Nature {
    /// Nothing but its result.
    Pure,
    /// Runs SQL, or reads relations, named by a string.
    Dynamic,
    /// Reads or writes files of the server, or shows its configuration files.
    File,
    /// Acts on the server or other sessions: ends backends, reloads, switches log files, replication slots and origins, backup.
    Admin,
    /// `set_config`.
    SetConfig,
    /// Reads large objects.
    LargeObjectRead,
    /// Makes or changes large objects.
    LargeObjectWrite,
    /// Removes large objects.
    LargeObjectRemove,
    /// Moves a sequence.
    Sequence,
    /// Waits, locks or signals: `pg_sleep`, advisory locks, `pg_notify`.
    Signal,
    /// Volatile, and known to nobody here.
    Unknown,
}

/// Every name that is listed, and of each family its first letters with a star behind.
#[cfg(test)]
pub(super) fn listed() -> impl Iterator<Item = String> {
    FAMILIES.iter().map(|(prefix, _)| format!("{prefix}*")).chain(LISTED.iter().map(|(name, _)| (*name).to_owned()))
}

/// By name; overloads share one nature.
pub(super) fn nature(name: &str, volatility: char) -> Nature {
    if let Ok(at) = LISTED.binary_search_by(|(listed, _)| (*listed).cmp(name)) {
        return LISTED.get(at).map_or(Nature::Unknown, |(_, nature)| *nature);
    }
    match volatility {
        'i' | 's' => by_family(name).unwrap_or(Nature::Pure),
        _ => by_family(name).unwrap_or(Nature::Unknown),
    }
}

fn by_family(name: &str) -> Option<Nature> {
    FAMILIES.iter().find(|(prefix, _)| name.starts_with(prefix)).map(|(_, nature)| *nature)
}

use Nature::{Admin, Dynamic, File, LargeObjectRead, LargeObjectRemove, LargeObjectWrite, Pure, Sequence, SetConfig, Signal};

/// By what their names begin with; the first that fits.
const FAMILIES: &[(&str, Nature)] = &[
    ("pg_advisory_unlock", Pure),
    ("pg_advisory_", Signal),
    ("pg_try_advisory_", Signal),
    ("pg_stat_get_", Pure),
    ("pg_ls_", File),
    ("pg_logical_", Admin),
    ("pg_replication_", Admin),
    ("binary_upgrade_", Admin),
    ("pg_stat_reset", Admin),
    ("pg_wal_replay_", Admin),
    ("pg_sync_replication_", Admin),
];

/// Sorted by name. What PostgreSQL 13 to 18 have that is volatile or does more than it is declared to.
const LISTED: &[(&str, Nature)] = &[
    ("array_sample", Pure),
    ("array_shuffle", Pure),
    ("be_lo_unlink", LargeObjectRemove),
    ("brin_desummarize_range", Admin),
    ("brin_summarize_new_values", Admin),
    ("brin_summarize_range", Admin),
    ("clock_timestamp", Pure),
    ("current_query", Pure),
    ("currval", Pure),
    ("cursor_to_xml", Dynamic),
    ("cursor_to_xmlschema", Dynamic),
    ("database_to_xml", Dynamic),
    ("database_to_xml_and_xmlschema", Dynamic),
    ("database_to_xmlschema", Dynamic),
    ("gen_random_uuid", Pure),
    ("gin_clean_pending_list", Admin),
    ("lastval", Pure),
    ("lo_close", LargeObjectRead),
    ("lo_creat", LargeObjectWrite),
    ("lo_create", LargeObjectWrite),
    ("lo_export", File),
    ("lo_from_bytea", LargeObjectWrite),
    ("lo_get", LargeObjectRead),
    ("lo_import", File),
    ("lo_lseek", LargeObjectRead),
    ("lo_lseek64", LargeObjectRead),
    ("lo_open", LargeObjectRead),
    ("lo_put", LargeObjectWrite),
    ("lo_tell", LargeObjectRead),
    ("lo_tell64", LargeObjectRead),
    ("lo_truncate", LargeObjectWrite),
    ("lo_truncate64", LargeObjectWrite),
    ("lo_unlink", LargeObjectRemove),
    ("loread", LargeObjectRead),
    ("lowrite", LargeObjectWrite),
    ("nextval", Sequence),
    ("pg_available_extension_versions", Pure),
    ("pg_available_extensions", Pure),
    ("pg_available_wal_summaries", Pure),
    ("pg_backup_start", Admin),
    ("pg_backup_start_time", Pure),
    ("pg_backup_stop", Admin),
    ("pg_blocking_pids", Pure),
    ("pg_cancel_backend", Admin),
    ("pg_clear_attribute_stats", Admin),
    ("pg_clear_relation_stats", Admin),
    ("pg_collation_actual_version", Pure),
    ("pg_config", File),
    ("pg_control_checkpoint", Pure),
    ("pg_control_init", Pure),
    ("pg_control_recovery", Pure),
    ("pg_control_system", Pure),
    ("pg_copy_logical_replication_slot", Admin),
    ("pg_copy_physical_replication_slot", Admin),
    ("pg_create_logical_replication_slot", Admin),
    ("pg_create_physical_replication_slot", Admin),
    ("pg_create_restore_point", Admin),
    ("pg_current_logfile", Pure),
    ("pg_current_wal_flush_lsn", Pure),
    ("pg_current_wal_insert_lsn", Pure),
    ("pg_current_wal_lsn", Pure),
    ("pg_cursor", Pure),
    ("pg_database_collation_actual_version", Pure),
    ("pg_database_size", Pure),
    ("pg_drop_replication_slot", Admin),
    ("pg_event_trigger_ddl_commands", Pure),
    ("pg_event_trigger_dropped_objects", Pure),
    ("pg_event_trigger_table_rewrite_oid", Pure),
    ("pg_event_trigger_table_rewrite_reason", Pure),
    ("pg_export_snapshot", Signal),
    ("pg_extension_config_dump", Admin),
    ("pg_extension_update_paths", Pure),
    ("pg_file_rename", File),
    ("pg_file_sync", File),
    ("pg_file_unlink", File),
    ("pg_file_write", File),
    ("pg_get_aios", Pure),
    ("pg_get_backend_memory_contexts", Pure),
    ("pg_get_catalog_foreign_keys", Pure),
    ("pg_get_loaded_modules", Pure),
    ("pg_get_multixact_members", Pure),
    ("pg_get_process_memory_contexts", Admin),
    ("pg_get_sequence_data", Pure),
    ("pg_get_shmem_allocations", Pure),
    ("pg_get_shmem_allocations_numa", Pure),
    ("pg_get_wait_events", Pure),
    ("pg_get_wal_replay_pause_state", Pure),
    ("pg_get_wal_resource_managers", Pure),
    ("pg_get_wal_summarizer_state", Pure),
    ("pg_hba_file_rules", File),
    ("pg_ident_file_mappings", File),
    ("pg_identify_object", Pure),
    ("pg_import_system_collations", Admin),
    ("pg_indexam_progress_phasename", Pure),
    ("pg_indexes_size", Pure),
    ("pg_is_in_backup", Pure),
    ("pg_is_in_recovery", Pure),
    ("pg_is_wal_replay_paused", Pure),
    ("pg_isolation_test_session_is_blocked", Pure),
    ("pg_jit_available", Pure),
    ("pg_last_committed_xact", Pure),
    ("pg_last_wal_receive_lsn", Pure),
    ("pg_last_wal_replay_lsn", Pure),
    ("pg_last_xact_replay_timestamp", Pure),
    ("pg_lock_status", Pure),
    ("pg_log_backend_memory_contexts", Admin),
    ("pg_log_standby_snapshot", Admin),
    ("pg_logdir_ls", File),
    ("pg_nextoid", Admin),
    ("pg_notification_queue_usage", Pure),
    ("pg_notify", Signal),
    ("pg_partition_ancestors", Pure),
    ("pg_partition_root", Pure),
    ("pg_partition_tree", Pure),
    ("pg_prepared_xact", Pure),
    ("pg_promote", Admin),
    ("pg_read_binary_file", File),
    ("pg_read_file", File),
    ("pg_relation_filenode", Pure),
    ("pg_relation_size", Pure),
    ("pg_reload_conf", Admin),
    ("pg_restore_attribute_stats", Admin),
    ("pg_restore_relation_stats", Admin),
    ("pg_rotate_logfile", Admin),
    ("pg_rotate_logfile_old", Admin),
    ("pg_safe_snapshot_blocking_pids", Pure),
    ("pg_sequence_last_value", Pure),
    ("pg_set_attribute_stats", Admin),
    ("pg_set_relation_stats", Admin),
    ("pg_show_all_file_settings", File),
    ("pg_show_all_settings", Pure),
    ("pg_show_replication_origin_status", Pure),
    ("pg_sleep", Signal),
    ("pg_sleep_for", Signal),
    ("pg_sleep_until", Signal),
    ("pg_split_walfile_name", Pure),
    ("pg_start_backup", Admin),
    ("pg_stat_clear_snapshot", Pure),
    ("pg_stat_file", File),
    ("pg_stat_force_next_flush", Pure),
    ("pg_stat_have_stats", Pure),
    ("pg_stop_backup", Admin),
    ("pg_stop_making_pinned_objects", Admin),
    ("pg_switch_wal", Admin),
    ("pg_table_size", Pure),
    ("pg_tablespace_databases", Pure),
    ("pg_tablespace_size", Pure),
    ("pg_terminate_backend", Admin),
    ("pg_timezone_abbrevs", Pure),
    ("pg_timezone_abbrevs_abbrevs", Pure),
    ("pg_timezone_abbrevs_zone", Pure),
    ("pg_timezone_names", Pure),
    ("pg_total_relation_size", Pure),
    ("pg_trigger_depth", Pure),
    ("pg_wal_summary_contents", File),
    ("pg_walfile_name", Pure),
    ("pg_walfile_name_offset", Pure),
    ("pg_xact_commit_timestamp", Pure),
    ("pg_xact_commit_timestamp_origin", Pure),
    ("pg_xact_status", Pure),
    ("query_to_xml", Dynamic),
    ("query_to_xml_and_xmlschema", Dynamic),
    ("query_to_xmlschema", Dynamic),
    ("random", Pure),
    ("random_normal", Pure),
    ("satisfies_hash_partition", Pure),
    ("schema_to_xml", Dynamic),
    ("schema_to_xml_and_xmlschema", Dynamic),
    ("schema_to_xmlschema", Dynamic),
    ("set_config", SetConfig),
    ("setseed", Pure),
    ("setval", Sequence),
    ("statement_timestamp", Pure),
    ("table_to_xml", Dynamic),
    ("table_to_xml_and_xmlschema", Dynamic),
    ("table_to_xmlschema", Dynamic),
    ("timeofday", Pure),
    ("ts_rewrite", Dynamic),
    ("ts_stat", Dynamic),
    ("txid_current", Pure),
    ("txid_current_if_assigned", Pure),
    ("txid_current_snapshot", Pure),
    ("txid_status", Pure),
    ("uuidv4", Pure),
    ("uuidv7", Pure),
];

/// Under what conditions a built-in function gives one value, whatever it is called with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Safe {
    /// Always, with so many arguments at most: others of its name have more.
    Always {
        /// How many.
        most: usize,
    },
    /// Where its places are literals that are not negative: `substr(x, 1, 3)`.
    Slices,
    /// Where its length is a small literal: `lpad(x, 10, ' ')`.
    Pads,
    /// Where it is split by a literal, and the place is one above 0.
    Splits,
    /// Where the unit is a known literal, of a moment: `date_trunc('month', x)`.
    Units,
    /// Where a moment is written by a literal: `to_char(x, 'YYYY')`.
    Formats,
    /// Where its pattern is a literal that asks for nothing that can be wrong: `format('%s', x)`.
    Prints,
}

/// None for a function that may fail by a value.
pub(super) fn never_fails(name: &str) -> Option<Safe> {
    Some(match name {
        "left" | "right" | "btrim" | "ltrim" | "rtrim" | "strpos" | "position" | "starts_with" | "round" | "trunc" | "array_length"
        | "array_to_string" => Safe::Always { most: 2 },
        "translate" => Safe::Always { most: 3 },
        "concat" | "concat_ws" | "num_nonnulls" | "num_nulls" => Safe::Always { most: usize::MAX },
        "bit_length"
        | "cardinality"
        | "ceil"
        | "ceiling"
        | "char_length"
        | "character_length"
        | "count"
        | "current_database"
        | "current_schema"
        | "floor"
        | "hashtext"
        | "initcap"
        | "isempty"
        | "jsonb_typeof"
        | "length"
        | "lower"
        | "md5"
        | "now"
        | "octet_length"
        | "pg_typeof"
        | "quote_ident"
        | "quote_literal"
        | "quote_nullable"
        | "reverse"
        | "row_to_json"
        | "sha224"
        | "sha256"
        | "sha384"
        | "sha512"
        | "sign"
        | "statement_timestamp"
        | "to_json"
        | "transaction_timestamp"
        | "upper"
        | "version" => Safe::Always { most: 1 },
        "substr" | "substring" => Safe::Slices,
        "lpad" | "rpad" => Safe::Pads,
        "split_part" => Safe::Splits,
        "date_part" | "date_trunc" | "extract" => Safe::Units,
        "to_char" => Safe::Formats,
        "format" => Safe::Prints,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_so_that_it_can_be_searched() {
        assert!(LISTED.is_sorted_by(|(a, _), (b, _)| a < b), "{:?}", LISTED.windows(2).find(|pair| pair[0].0 >= pair[1].0));
    }

    #[test]
    fn a_volatile_function_nobody_listed_is_not_taken_for_pure() {
        assert_eq!(nature("pg_brand_new", 'v'), Nature::Unknown);
        assert_eq!(nature("lower", 'i'), Nature::Pure);
        assert_eq!(nature("database_to_xml", 's'), Nature::Dynamic);
        assert_eq!(nature("pg_try_advisory_xact_lock", 'v'), Nature::Signal);
        assert_eq!(nature("pg_ls_dir", 'v'), Nature::File);
        // Of 16 and 18.
        assert_eq!((nature("array_shuffle", 'v'), nature("pg_get_sequence_data", 'v')), (Nature::Pure, Nature::Pure));
    }
}

"""The public attributes and arguments that Airflow 2.11.2 gives every operator and sensor: taken names."""

from __future__ import annotations

OF_OPERATORS = set(
    """
    HIDE_ATTRS_FROM_UI add_inlets add_outlets allow_nested_operators as_setup as_teardown clear dag
    dag_id default_args defer depends_on_past deps do_xcom_push doc doc_json doc_md doc_rst doc_yaml
    downstream_list downstream_task_ids dry_run email email_on_failure email_on_retry end_date execute
    execution_timeout executor executor_config expand_mapped_task expand_start_from_trigger
    expand_start_trigger_args extra_links get_closest_mapped_task_group get_dag get_direct_relative_ids
    get_direct_relatives get_extra_links get_flat_relative_ids get_flat_relatives get_inlet_defs
    get_mapped_ti_count get_needs_expansion get_outlet_defs get_parse_time_mapped_ti_count
    get_serialized_fields get_task_instances get_template_env get_upstreams_follow_setups
    get_upstreams_only_setups get_upstreams_only_setups_and_teardowns global_operator_extra_link_dict
    has_dag ignore_first_depends_on_past inherits_from_empty_operator inlets is_setup is_teardown
    iter_mapped_dependants iter_mapped_task_groups label leaves log logger logger_name
    map_index_template max_active_tis_per_dag max_active_tis_per_dagrun max_retry_delay multiple_outputs
    node_id on_execute_callback on_failure_callback on_failure_fail_dagrun on_kill on_retry_callback
    on_skipped_callback on_success_callback operator_class operator_extra_link_dict operator_extra_links
    operator_name outlets output owner params partial pool pool_slots post_execute pre_execute
    prepare_for_execution prepare_template priority_weight priority_weight_total queue render_template
    render_template_fields resolve_template_files resources resume_execution retries retry_delay
    retry_exponential_backoff roots run run_as_user serialize_for_task_group set_downstream set_upstream
    set_xcomargs_dependencies shallow_copy_attrs sla start_date start_from_trigger start_trigger_args
    subdag supports_lineage task_concurrency task_display_name task_group task_id task_type template_ext
    template_fields template_fields_renderers trigger_rule ui_color ui_fgcolor unmap update_relative
    upstream_list upstream_task_ids wait_for_downstream wait_for_past_depends_before_skipping
    weight_rule xcom_pull xcom_push
    """.split()  # noqa: SIM905  # one word for each name
)

OF_SENSORS = OF_OPERATORS | set(
    """
    exponential_backoff max_wait mode never_fail poke poke_interval reschedule silent_fail skip
    skip_all_except soft_fail timeout valid_modes
    """.split()  # noqa: SIM905  # one word for each name
)

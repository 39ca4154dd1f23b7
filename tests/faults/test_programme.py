"""The programme of faults, and the tests that prove each row of it.

One row a fault, then the tests, one a line, below `tests/`. A row that loses its test fails here.

The provider breaks, stalls or lies

U01 dies in the middle of a stream, at any event
    faults/test_broken_streams.py::test_broken_after_any_event
    faults/test_chaosnet_gateway.py::test_cut_at_every_event
    upstream/test_http1_tls.py::test_an_answer_whose_encryption_breaks_is_cut_off
U02 refuses connections, drops them, has no address, or one that is found too late
    upstream/test_http1.py::test_a_refused_connection_says_where_it_went
    upstream/test_http1_timeouts.py::test_a_server_that_accepts_nothing_costs_the_connect_timeout
    upstream/test_names.py::test_a_slow_resolver_costs_the_connect_timeout
    upstream/test_names.py::test_a_slow_resolver_is_asked_once_at_a_time
    upstream/test_names.py::test_a_failed_look_up_is_not_remembered
    faults/test_four_timeouts.py::test_an_upstream_that_cannot_be_reached_is_replaced
    faults/test_four_timeouts.py::test_nobody_waits_beyond_the_deadline_for_a_connection
    faults/test_chaosnet_gateway.py::test_fallback_when_the_way_is_shut
U03 stalls before the first content, between two pieces, or for the whole call
    faults/test_four_timeouts.py::test_each_wait_is_exact_and_has_its_own_code
    faults/test_four_timeouts.py::test_any_waits_are_exact
    faults/test_four_timeouts.py::test_who_is_given_up_is_told_so_at_once
    upstream/test_http1_timeouts.py::test_each_wait_ends_on_time_with_its_own_error
    upstream/test_http1_timeouts.py::test_a_flood_of_keep_alives_does_not_prolong_it_either
U04 asks for a wait, in any form or with an absurd one
    core/test_durations.py::test_retry_after
    faults/test_hostile_upstreams.py::test_a_wait_is_obeyed_to_a_twentieth_of_a_second
    faults/test_hostile_upstreams.py::test_a_wait_beyond_the_deadline_is_passed_on
    clients/test_errors.py::test_a_wait_is_obeyed
U05 answers with errors: bursts, pages, nothing, a megabyte, in the clothes of success
    faults/test_hostile_upstreams.py::test_what_is_no_answer_is_a_short_error_of_the_known_shape
    faults/test_hostile_upstreams.py::test_what_is_no_answer_is_made_good_by_another_upstream
    faults/test_echoed_credentials.py::test_the_credential_is_told_to_nobody
    upstream/test_openai_answers.py::test_a_refusal_is_understood_and_its_connection_is_clean
    core/test_classify.py::test_what_providers_say_is_understood
U06 answers in a form that is none: cut short, packed, not JSON, JSON for a stream
    faults/test_hostile_upstreams.py::test_what_is_no_answer_is_a_short_error_of_the_known_shape
    faults/test_hostile_upstreams.py::test_a_packed_stream_is_no_stream
    faults/test_broken_streams.py::test_whole_answers_that_are_not_json
    test_policies.py::test_a_json_answer_to_a_stream_request_is_made_a_stream
    test_policies.py::test_json_that_is_no_answer_gets_a_real_status
    upstream/test_http1_framing.py::test_an_answer_that_two_readers_could_read_differently_is_refused
    faults/test_poison_ways.py::test_half_a_download_is_no_whole_one
    faults/test_poison_ways.py::test_half_an_answer_to_an_upload_is_no_whole_one
    realmodel/test_realmodel.py::test_an_error_of_the_server_is_passed_on
U07 answers without measure: bombs, bodies and events without end
    faults/test_hostile_upstreams.py::test_no_answer_fills_our_memory
    core/test_sse.py::test_an_endless_event_is_refused
    faults/test_hostile_sockets.py::test_what_has_no_measure_ends_the_connection
    faults/test_hostile_sockets.py::test_pings_that_nobody_reads_the_answers_of
U09 sends us elsewhere
    faults/test_hostile_upstreams.py::test_a_credential_goes_nowhere_else
    upstream/test_http1.py::test_a_redirect_is_an_answer_and_my_key_goes_nowhere_else
U10 is not who it says
    upstream/test_http1_tls.py::test_a_server_that_is_not_who_it_says_gets_nothing
    upstream/test_http1_tls.py::test_the_systems_authorities_are_asked_by_default
    faults/test_hostile_upstreams.py::test_there_is_no_way_around_a_certificate
U11 says more than it was asked
    faults/test_poison.py::test_ten_thousand_calls
    upstream/test_http1_pool.py::test_a_poisoned_server_never_reaches_another_call
    upstream/test_http1_pool.py::test_bytes_before_the_request_are_nobodys_answer
    upstream/test_http1_framing.py::test_no_surplus_byte_passes_for_a_clean_end
    upstream/test_http1_tls.py::test_surplus_bytes_over_tls_reach_no_other_call
    faults/test_poison_ways.py::test_surplus_bytes
    faults/test_poison_ways.py::test_an_answer_before_its_request
    faults/test_poison_ways.py::test_an_answer_in_the_middle_of_its_request
    faults/test_hostile_sockets.py::test_what_follows_a_refused_handshake_is_nobodys
    faults/test_hostile_sockets.py::test_a_switch_before_it_was_asked_for_opens_nothing
    faults/test_hostile_sockets.py::test_hints_without_end_open_nothing

The caller speaks oddly

H01 can be read in two ways, directly and behind proxies
    front/test_framing.py::test_nothing_is_read_in_two_ways
    front/test_framing.py::test_nothing_slips_in_behind_a_chunked_body
    front/test_proxies.py::test_proxy_and_gateway_agree
    front/test_strict.py::test_what_it_reads
    gateway/test_protocol_refusals.py::test_ambiguous_messages_are_refused
    gateway/test_protocol_requests.py::test_valid_messages_are_served
H02 is changed by chance, or full of naughty strings
    front/test_framing.py::test_changed_requests_do_no_harm
    front/test_framing.py::test_the_requests_that_are_changed_are_sound
    front/test_framing.py::test_nothing_is_said_behind_a_refusal
    faults/test_bad_input.py::test_naughty_strings_do_no_harm
H03 comes a hundred at once, good and bad
    front/test_order.py::test_a_hundred_at_once_good_and_bad
    gateway/test_protocol_requests.py::test_a_hundred_pipelined_requests_are_answered_in_order
    gateway/test_protocol_refusals.py::test_nothing_is_served_behind_a_refusal
H04 has chunks with long extensions, trailers or sizes beyond 2^64
    gateway/test_protocol_refusals.py::test_ambiguous_messages_are_refused
    gateway/test_protocol_requests.py::test_trailers_never_become_header_fields
    front/test_weight.py::test_large_requests_are_not_read_to_their_end
H05 is refused before its body was read
    front/test_order.py::test_a_body_that_nobody_read_is_never_a_request
    gateway/test_protocol_refusals.py::test_a_long_body_behind_an_early_refusal_is_never_read_as_a_request
    gateway/test_protocol_refusals.py::test_a_short_body_behind_an_early_refusal_is_thrown_away
H06 comes in a hundred thousand pieces
    front/test_weight.py::test_a_hundred_thousand_chunks_cost_little_more_than_one
    front/test_weight.py::test_others_are_served_while_tiny_chunks_come
H07 is slow on purpose, two thousand times
    front/test_slow.py::test_two_thousand_slow_callers_harm_nobody
    gateway/test_protocol_patience.py::test_slow_callers_are_cut
    gateway/test_protocol_patience.py::test_a_trickle_does_not_keep_a_head_alive
    gateway/test_protocol_patience.py::test_a_reader_that_takes_nothing_is_cut
H08 is large without end, or lies about its length
    front/test_weight.py::test_large_requests_are_not_read_to_their_end
    faults/test_bad_input.py::test_bodies_that_are_too_large_are_not_waited_for
    gateway/test_protocol_requests.py::test_a_big_request_does_not_pile_up
H09 is packed
    front/test_weight.py::test_packed_bodies_are_not_unpacked
H10 is JSON that is none, is doubtful, or hides its model
    front/test_json.py::test_no_spelling_smuggles_a_model
    front/test_json.py::test_what_json_leaves_open_is_decided_once_for_all
    front/test_json.py::test_a_number_is_not_rounded_on_its_way
    faults/test_bad_input.py::test_no_invalid_json_is_accepted
    faults/test_bad_input.py::test_every_bad_request_is_told_why
H11 writes its path or method in another way
    front/test_paths.py::test_no_path_is_open_to_strangers
    front/test_paths.py::test_no_spelling_leads_past_a_keys_rights
    front/test_paths.py::test_what_is_passed_on_has_one_spelling
    front/test_paths.py::test_other_forms_of_a_target_are_refused
H12 is HTTP/1.0, or names no host, two, or an odd one
    front/test_framing.py::test_nothing_is_read_in_two_ways
    gateway/test_protocol_refusals.py::test_ambiguous_messages_are_refused
    gateway/test_protocol_requests.py::test_valid_messages_are_served

The caller leaves

S01 hangs up at any moment
    faults/test_disconnect.py::test_twenty_points
    faults/test_disconnect.py::test_two_hundred_leave_at_once
    faults/test_chaosnet_gateway.py::test_caller_gone_at_any_byte
    faults/test_leaving.py::test_gone_at_any_turn
    faults/test_departures.py::test_cancel_lets_go_of_the_provider
    faults/test_departures.py::test_drain_reads_the_answer_to_its_end
    upstream/test_http1.py::test_a_call_cancelled_anywhere_leaves_nothing_behind
    streams/test_leaving.py::test_two_hundred_points
S02 never reads
    streams/test_slow_readers.py::test_five_hundred_who_do_not_read
    streams/test_slow_readers.py::test_who_does_not_read_is_cut
    streams/test_slow_readers.py::test_half_a_minute_without_a_byte_is_too_long
O09 has less time than the wait, or none any more
    faults/test_departures.py::test_a_wait_beyond_the_deadline_is_answered_at_once
    faults/test_departures.py::test_a_crowd_that_has_gone_is_never_asked_for
    faults/test_departures.py::test_who_leaves_the_queue_is_never_asked_for
    faults/test_departures.py::test_a_caller_with_less_time_than_its_turn_is_told_at_once
    queueing/test_waiting.py::test_nothing_is_sent_for_callers_whose_time_is_up
    queueing/test_waiting.py::test_whoever_leaves_takes_nothing_along

The answer comes in pieces

S03 streams in every form, cut in every way
    streams/test_rows.py::test_every_split_is_heard_alike
    streams/test_rows.py::test_what_is_no_stream_is_never_an_empty_one
    core/test_sse.py::test_rare_forms_are_read_as_the_standard_says
S04 characters cut anywhere, and line ends that are none
    streams/test_rows.py::test_every_split_is_heard_alike
    streams/test_rows.py::test_what_is_relayed_adds_up_to_what_was_said
    core/test_sse.py::test_rare_forms_are_read_as_the_standard_says
S05 a thousand events in a packet, one in a thousand
    streams/test_rows.py::test_packets_decide_nothing
    core/test_sse.py::test_a_thousand_events_in_a_packet_and_one_in_a_thousand
S06 whole words and sentences
    core/test_buffering_properties.py::test_every_text_adds_up_in_its_order_and_in_time
    test_relay_buffering.py::test_every_piece_arrives_in_time_and_all_of_them_add_up
S07 ends that are missing, doubled or not the end
    streams/test_rows.py::test_over_the_wire
    faults/test_broken_streams.py::test_cut_behind_the_answer
S08 thinks for minutes
    test_relay_keep_alive.py::test_a_model_may_think_for_five_minutes
S09 an event without end
    test_relay_keep_alive.py::test_an_event_of_ten_megabytes_ends_its_stream
    core/test_sse.py::test_ten_megabytes_leave_no_trace
    faults/test_hostile_upstreams.py::test_no_answer_fills_our_memory
S10 many streams at once
    streams/test_crowd.py::test_streams_beside_each_other_lose_nothing
    streams/test_crowd.py::test_an_open_stream_costs_little
S11 the whole answer of a stream
    aggregation/test_simulated.py::test_a_stream_adds_up_to_the_whole_answer
    aggregation/test_recorded.py::test_chats_look_as_if_they_had_not_been_streamed
    aggregation/test_recorded.py::test_responses_are_their_last_event
S12 official clients hear every stream and error
    streams/test_rows.py::test_the_official_client_hears_every_row
    clients/matrix/test_stream_rows.py::test_node_hears_every_row
    clients/test_streams.py::test_a_cut_stream_raises
    clients/test_errors.py::test_a_failure_is_the_clients_own_exception

How often, how many, and where to

U08 comes and goes
    faults/test_outages.py::test_a_flapping_provider_costs_nobody_an_answer
U12 knows what was made there by its id
    stateful/test_ten_thousand.py::test_ten_thousand_calls_find_what_they_refer_to
    stateful/test_clients.py::test_a_conversation_stays_with_the_account_that_began_it
    stateful/test_clients.py::test_a_file_becomes_a_batch_and_its_results
    stateful/test_calls.py::test_a_response_is_known_before_its_caller_can_use_it
    stores/test_homes_file.py::test_a_killed_process_loses_moments_at_most
    stateful/test_clients.py::test_a_conversation_stays_with_the_account_that_began_it
O01 fails for everybody, and comes back
    faults/test_outages.py::test_an_outage_is_never_amplified
    faults/test_outages.py::test_the_last_route_is_never_given_up
O11 is asked a second time beside a late attempt
    test_hedging_share.py::test_ten_thousand_calls_with_a_heavy_tail
    faults/test_hedging.py::test_the_loser_is_closed_at_once_and_in_the_ledger

What it costs

A01 is killed at any moment
    faults/test_kill.py::test_killed_at_every_failpoint
    faults/test_kill.py::test_killed_as_users_run_it
    stores/test_ledger_crash.py::test_thirty_kills_lose_no_acknowledged_row
    invoice/test_invoice.py::test_every_line_has_its_row_though_the_gateway_is_killed
A02 loses its power at any moment, or its disk fails to sync
    faults/test_power_cut.py::test_a_power_cut_loses_nothing_that_was_acknowledged
    faults/test_power_cut.py::test_without_full_durability_a_power_cut_loses_rows
    faults/test_power_cut.py::test_what_is_not_synced_is_not_acknowledged
A03 two hundred callers at once and a budget of ten dollars
    faults/test_budget_run.py::test_a_strict_budget_holds_to_the_cent
    stores/test_budget_run.py::test_a_strict_budget_holds_to_the_cent
    stores/test_budget_run.py::test_nearly_all_of_a_strict_budget_buys_something
    stores/test_budget_run.py::test_an_expected_budget_is_exceeded_by_no_more_than_was_wrong
    test_dispatch_budgets.py::test_two_hundred_callers_never_exceed_a_strict_budget
    stores/test_budget_crash.py::test_eight_kills_leave_budgets_as_the_ledger_has_them
A04 somebody seen first, a period that begins, clocks that go back
    stores/test_budgets.py::test_each_user_has_what_the_rule_says
    stores/test_budgets.py::test_a_budget_that_is_new_knows_what_was_spent_before
    stores/test_budgets.py::test_a_budget_begins_anew_once
    stores/test_budgets.py::test_a_restart_while_the_clock_is_back_gives_nothing_away
    core/test_calendar.py::test_days_on_which_clocks_change_are_shorter_or_longer
    core/test_calendar.py::test_every_moment_is_in_one_period
A05 budgets within budgets
    core/test_budget.py::test_nested_budgets_are_never_exceeded
    stores/test_budgets.py::test_a_denial_costs_nobody_anything
    test_dispatch_budgets.py::test_who_cannot_pay_uses_up_no_rate_either
A06 a caller who leaves, at any event
    invoice/test_leaving.py::test_whoever_leaves_at_any_event_pays_for_what_had_come
    invoice/test_unsent.py::test_who_leaves_before_anything_is_sent_pays_nothing
    invoice/test_unsent.py::test_who_leaves_when_it_is_sent_pays_what_it_may_cost
    faults/test_leaving.py::test_gone_at_any_turn
A07 usage that is missing, wrong, huge, negative, a text or zero
    test_usage_matrix.py::test_chat_completions
    test_usage_matrix.py::test_responses
A08 callers who repeat a call with its key
    idempotency/test_bill.py::test_retries_with_a_key_are_one_call_and_one_charge
    idempotency/test_idempotency.py::test_a_repeated_call_gets_the_same_answer_and_is_not_charged
    idempotency/test_idempotency.py::test_another_body_is_refused
    idempotency/test_idempotency.py::test_who_comes_while_the_call_is_under_way_waits_for_its_answer
A09 retries, fallbacks and hedges, each billed
    invoice/test_invoice.py::test_every_line_has_its_row
    invoice/test_judge.py::test_what_it_finds
    test_dispatch_budgets.py::test_two_attempts_beside_each_other_are_both_paid
A11 prices that are not known, are none, or change in the middle of a call
    stores/test_ledger.py::test_an_unknown_price_is_not_zero
    stores/test_ledger.py::test_a_running_attempt_keeps_the_price_it_began_with
    stores/test_budgets.py::test_models_without_a_price_are_never_free
    catalog/test_catalog.py::test_a_damaged_catalogue_is_refused_by_name
    catalog/test_catalog.py::test_what_is_no_price_is_refused
A13 sums that are kept, and old rows that go, while calls are booked
    stores/test_rollups.py::test_the_ledger_is_never_kept_waiting
    stores/test_rollups.py::test_old_rows_may_go_while_calls_are_booked
    stores/test_rollups.py::test_kills_lose_and_double_nothing
    stores/test_usage.py::test_rollups_change_no_figure

More than may be

O02 ten times more than can be done, for five minutes
    queueing/test_overload.py::test_ten_times_the_load
    queueing/test_waiting.py::test_a_full_queue_refuses_the_key_that_fills_it
    queueing/test_waiting.py::test_large_requests_fill_the_queue_by_their_bytes
    queueing/test_waiting.py::test_a_full_instance_says_so
O03 one key asks a hundred times as often as twenty others
    queueing/test_fairness.py::test_a_noisy_key_leaves_the_others_alone
    queueing/test_fairness.py::test_keys_that_all_want_more_get_the_same
    queueing/test_accuracy.py::test_no_window_holds_more_and_nearly_all_is_used
O04 who is refused comes back exactly when it was told
    queueing/test_truth.py::test_who_waits_as_told_is_let_in
    queueing/test_truth.py::test_who_is_in_a_hurry_is_let_in_as_told_too
    queueing/test_truth.py::test_who_asks_early_is_told_the_same_time
    faults/test_simworld.py::test_promises_hold
O05 two hundred callers in bursts before a limit
    queueing/test_accuracy.py::test_no_window_holds_more_and_nearly_all_is_used
    faults/test_simworld.py::test_promises_hold
    faults/test_simworld_limits.py::test_faults_of_the_limits_show
    faults/test_ledger_faults.py::test_a_restart_forgives_nothing
    stores/test_limits_past.py::test_every_level_is_restored
O08 bulk work without end beside live calls
    queueing/test_fairness.py::test_bulk_work_slows_nobody_and_is_not_starved
    queueing/test_fairness.py::test_three_priorities_have_their_shares

Whose words they are

M01 fifty tenants, every endpoint, a provider that lies, calls cancelled anywhere
    faults/test_leaks.py::test_a_hundred_thousand_calls
    faults/test_leaks.py::test_calls_over_sockets
    faults/test_leaks.py::test_a_planted_leak_is_found
    faults/test_poison.py::test_ten_thousand_calls

The ledger's disk

D05 is full, read-only, locked, or fails
    faults/test_ledger_faults.py::test_a_ledger_that_cannot_be_written
    stores/test_ledger_disk.py::test_a_full_disk_refuses_new_calls_and_recovers_by_itself
    stores/test_ledger_disk.py::test_a_settlement_that_the_disk_refused_is_written_later
    stores/test_ledger_disk.py::test_a_file_that_may_not_grow_loses_nothing
    stores/test_ledger_continue.py::test_a_read_only_file_stops_nobody_who_goes_on
    stores/test_ledger_continue.py::test_such_a_key_goes_on_while_others_are_refused
D06 gives back other bytes than were written, or fewer
    faults/test_ledger_faults.py::test_damage_is_told_and_stops_nobody
    stores/test_ledger_damage.py::test_a_changed_byte_in_the_last_rows_is_told_at_the_start
    stores/test_ledger_damage.py::test_commits_lost_with_the_log_are_told_and_kept
    stores/test_ledger_damage.py::test_every_flip_in_a_log_is_survived
    stores/test_ledger_damage.py::test_a_cut_tail_of_the_file_is_found
    stores/test_ledger_continue.py::test_damaged_lines_of_a_spool_are_told_and_kept
"""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
ROW = re.compile(r"([A-Z]\d\d) .+")


def programme() -> dict[str, list[str]]:
    """Return the tests of each row of the table above."""
    rows: dict[str, list[str]] = {}
    found: list[str] = []
    for line in (__doc__ or "").splitlines():
        if row := ROW.fullmatch(line):
            found = rows.setdefault(row[1], [])
        elif line.startswith("    "):
            found.append(line.strip())
    return rows


@cache
def names_in(file: Path) -> frozenset[str]:
    """Return the names of a file's tests."""
    nodes = ast.walk(ast.parse(file.read_text(encoding="utf-8")))
    functions = (one for one in nodes if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef))
    return frozenset(one.name for one in functions if one.name.startswith("test_"))


@pytest.mark.parametrize("row", programme())
def test_every_row_is_proven(row):
    """No fault of the programme is without a test, and every test that it names is there."""
    named = programme()[row]
    assert named
    for one in named:
        file, _, name = one.partition("::")
        assert name in names_in(TESTS / file), one


def test_rows_stand_once():
    """A row that stands twice would hide tests."""
    rows = [row[1] for line in (__doc__ or "").splitlines() if (row := ROW.fullmatch(line))]
    assert len(rows) == len(set(rows))

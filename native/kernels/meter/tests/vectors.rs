//! Failure vectors V1–V8: inputs on which published tools gave wrong joules, and the truth. (V9 and V10 need a GPU: see
//! the tests of NVML.)

mod support;
#[path = "support/vectors.rs"]
mod vectors;

#[test]
fn v1_a_failed_read_is_no_sample() {
    vectors::v1_a_failed_read_is_no_sample();
}

#[test]
fn v2_memory_stands_beside_the_package_and_cores_are_inside_it() {
    vectors::v2_memory_stands_beside_the_package_and_cores_are_inside_it();
}

#[test]
fn v3_three_wraps_read_often_enough_are_exact() {
    vectors::v3_three_wraps_read_often_enough_are_exact();
}

#[test]
fn v3_three_wraps_in_one_silence_are_an_interval_that_holds_the_truth() {
    vectors::v3_three_wraps_in_one_silence_are_an_interval_that_holds_the_truth();
}

#[test]
fn v4_two_tasks_at_constant_power_get_their_time() {
    vectors::v4_two_tasks_at_constant_power_get_their_time();
}

#[test]
fn v5_a_cold_first_task_pays_for_itself_only() {
    vectors::v5_a_cold_first_task_pays_for_itself_only();
}

#[test]
fn v6_devices_add_up() {
    vectors::v6_devices_add_up();
}

#[test]
fn v7_one_socket_wraps_and_the_others_do_not_notice() {
    vectors::v7_one_socket_wraps_and_the_others_do_not_notice();
}

#[test]
fn v8_five_joules_across_a_wrap_are_five_joules() {
    vectors::v8_five_joules_across_a_wrap_are_five_joules();
}

#[test]
fn a_reset_and_a_spike_are_gaps_not_joules() {
    vectors::a_reset_and_a_spike_are_gaps_not_joules();
}

#[test]
fn a_source_that_stays_silent_is_reported_lost_and_its_energy_comes_back_with_it() {
    vectors::a_source_that_stays_silent_is_reported_lost_and_its_energy_comes_back_with_it();
}

#[test]
fn the_truth_lies_in_the_interval_when_power_jumps_at_an_edge() {
    vectors::the_truth_lies_in_the_interval_when_power_jumps_at_an_edge();
}

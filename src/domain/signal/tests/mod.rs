use super::*;

mod reference;
mod shapes;

const FRESHNESS: Duration = Duration::from_secs(60);

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_795_000_200 + second).expect("in range")
}

fn sample(second: i64, reading: Reading) -> Sample {
    Sample { measured_at: at(second), taken_at: at(second), reading }
}

fn ill(second: i64) -> Sample {
    sample(second, Reading::Unhealthy { detail: "503".to_owned() })
}

fn well(second: i64) -> Sample {
    sample(second, Reading::Healthy { detail: "200".to_owned() })
}

fn window(samples: impl IntoIterator<Item = Sample>) -> SignalWindow {
    let mut window = SignalWindow::new(3);
    samples.into_iter().for_each(|s| window.push(s));
    window
}

#[test]
fn it_is_believed_only_after_so_many_in_a_row_and_dates_from_the_first() {
    assert_eq!(window([]).unhealthy(), None);
    assert_eq!(window([ill(0), ill(10)]).unhealthy(), Some((at(0), false)));
    assert_eq!(window([ill(0), ill(10), ill(20)]).unhealthy(), Some((at(0), true)));
    assert_eq!(window([ill(0), ill(10), well(20), ill(30)]).unhealthy(), Some((at(0), false)), "not in a row");
}

#[test]
fn health_is_believed_only_after_so_many_in_a_row_too() {
    let down = [ill(0), ill(10), ill(20)];
    assert_eq!(window(down.clone().into_iter().chain([well(30), well(40)])).unhealthy(), Some((at(0), true)));
    assert_eq!(window(down.into_iter().chain([well(30), well(40), well(50)])).unhealthy(), None);
}

#[test]
fn the_same_datapoint_read_again_counts_once() {
    assert_eq!(window([ill(0), ill(0), ill(0)]).unhealthy(), Some((at(0), false)));
    assert_eq!(window([ill(10), ill(0), ill(5)]).unhealthy(), Some((at(10), false)), "nor does an older one");
}

#[test]
fn silence_changes_no_belief_and_makes_nothing_fresh() {
    let silent = |second| sample(second, Reading::Missing { why: "no route".to_owned() });
    let window_of = window([ill(0), silent(10), silent(20), ill(30)]);
    assert_eq!(window_of.unhealthy(), Some((at(0), false)));
    let state = window([well(0), silent(90)]).state(at(100), FRESHNESS);
    assert_eq!(state, SignalState::Stale { sample: well(0), age: Duration::from_secs(100) });
    let never = window([silent(0)]).state(at(1), FRESHNESS);
    assert_eq!(never, SignalState::Missing { why: "no route".to_owned() });
}

#[test]
fn what_was_missed_in_between_breaks_the_row() {
    let silent = |second| sample(second, Reading::Missing { why: "no route".to_owned() });
    let broken = window([ill(0), ill(10), silent(20), ill(30), ill(40)]);
    assert_eq!(broken.unhealthy(), Some((at(0), false)), "somebody who saw all might have seen it well at 20");
    let then = window([ill(0), ill(10), silent(20), ill(30), ill(40), ill(50)]);
    assert_eq!(then.unhealthy(), Some((at(0), true)));
}

#[test]
fn data_that_came_late_correct_what_was_read_of_that_moment() {
    let three = [ill(0), ill(10)];
    let worse = window(three.clone().into_iter().chain([well(20), ill(20)]));
    assert_eq!(worse.unhealthy(), Some((at(0), true)), "the third was ill after all, and is one reading");
    let better = window(three.into_iter().chain([ill(20), well(20)]));
    assert_eq!(better.unhealthy(), Some((at(0), false)), "the third was well after all");
    assert_eq!(better.belief(), Belief::Healthy);
}

#[test]
fn a_reading_is_fresh_up_to_its_freshness_and_no_longer() {
    let window = window([well(0)]);
    assert_eq!(window.state(at(60), FRESHNESS), SignalState::Fresh { sample: well(0) });
    assert!(matches!(window.state(at(61), FRESHNESS), SignalState::Stale { .. }));
}

#[test]
fn a_window_is_bounded() {
    let window = window((0..200).map(ill));
    assert_eq!(window.samples.len(), WINDOW_SAMPLES_MAX);
    assert_eq!(window.unhealthy(), Some((at(0), true)), "and remembers since when");
}

#[test]
fn a_reading_from_the_future_is_none_and_one_left_by_a_clock_set_back_is_dropped() {
    let mut window = SignalWindow::new(1);
    let sample = |measured: i64, taken: i64| Sample {
        measured_at: Timestamp::from_second(measured).expect("in range"),
        taken_at: Timestamp::from_second(taken).expect("in range"),
        reading: Reading::Healthy { detail: "ok".to_owned() },
    };
    window.push(sample(1_000 + 3_600, 1_000));
    assert!(window.last().is_none(), "dated an hour ahead");
    // The clock was an hour ahead when this was taken, and is set back after it.
    window.push(sample(4_600, 4_600));
    window.push(sample(1_010, 1_010));
    assert_eq!(window.last().map(|s| s.measured_at.as_second()), Some(1_010));
    let now = Timestamp::from_second(1_012).expect("in range");
    assert!(matches!(window.state(now, Duration::from_secs(5)), SignalState::Fresh { .. }));
}

#[test]
fn an_absurd_lag_is_no_lag() {
    for ms in [-1.0, f64::NAN, f64::INFINITY, 1e30] {
        assert_eq!(lag_from_ms(ms), None, "{ms}");
    }
    assert_eq!(lag_from_ms(250.0), Some(Duration::from_millis(250)));
}

//! Many tenants of one client: one's trouble is its own, and one's crowd is too.

mod canary;
mod crowd;
mod hostile;
mod isolation;

use std::time::Duration;

use crowd::{GiveUp, at_once, flood, impatient};
use http::StatusCode;
use maskinporten_sim::Fault;

use isolation::{
    At, SERVER, about_troubled, isolation, outage, shown, troubles_of_maskinporten,
    troubles_of_the_exchange,
};

#[track_caller]
fn check_isolated(noticed: &isolation::Noticed) {
    let went_wrong = 1..=noticed.asked;
    assert!(went_wrong.contains(&noticed.failed), "{noticed:?}");
    assert!(
        noticed.failures.is_empty(),
        "{} of {} failed: {:?}",
        noticed.failures.len(),
        noticed.others,
        noticed.failures[0]
    );
    assert!(
        noticed.longest <= 2 * SERVER + Duration::from_secs(1),
        "a first token took {:?}",
        noticed.longest
    );
}

#[tokio::test(start_paused = true)]
async fn what_one_tenant_is_answered_by_maskinporten_nobody_else_notices() {
    let troubles = troubles_of_maskinporten();
    check_isolated(&isolation(At::Maskinporten, &troubles, Duration::from_secs(30)).await);
}

#[tokio::test(start_paused = true)]
async fn what_one_tenant_is_answered_by_the_exchange_nobody_else_notices() {
    let troubles = troubles_of_the_exchange();
    check_isolated(&isolation(At::Exchange, &troubles, Duration::from_secs(30)).await);
}

#[tokio::test(start_paused = true)]
async fn one_trouble_that_goes_on_and_on_is_noticed_by_nobody_else() {
    for trouble in troubles_of_maskinporten() {
        let noticed = isolation(At::Maskinporten, &[trouble], Duration::from_secs(15)).await;
        check_isolated(&noticed);
    }
    for trouble in troubles_of_the_exchange() {
        let noticed = isolation(At::Exchange, &[trouble], Duration::from_secs(15)).await;
        check_isolated(&noticed);
    }
}

#[tokio::test(start_paused = true)]
async fn what_one_tenant_is_answered_is_in_no_error_of_another() {
    for (at, troubles) in [
        (At::Maskinporten, troubles_of_maskinporten()),
        (At::Exchange, troubles_of_the_exchange()),
    ] {
        let mut marked = 0;
        for trouble in troubles {
            let shown = shown(at, trouble).await;
            assert!(!shown.to_others.is_empty(), "others did not fail");
            assert_eq!(about_troubled(&shown.to_others), 0, "{:?}", shown.to_others);
            marked += shown.marked();
        }
        assert!(marked > 0, "there was no text to find");
    }
}

#[tokio::test(start_paused = true)]
async fn an_outage_is_probed_once_a_second_and_is_over_for_all_at_its_end() {
    for trouble in [
        Fault::status(StatusCode::SERVICE_UNAVAILABLE),
        Fault::disconnect(),
        Fault::hang(),
    ] {
        let outage = outage(500, trouble).await;
        assert_eq!(outage.served, 500);
        // Three attempts of those fetches that permits allow, and then one a second.
        assert!(outage.first <= 3 * 32 + 14, "{outage:?}");
        assert!(outage.busiest <= 1, "{outage:?}");
        assert!(
            outage.recovered_after <= Duration::from_secs(2),
            "{outage:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_serves_so_many_a_second_serves_all_in_the_end() {
    let served = isolation::rate_limited(200, 20).await;
    assert_eq!(served.served, 200);
    // 10 s at best. Each success adds a permit, so the limit is found again and again.
    assert!(served.took <= Duration::from_secs(20), "{served:?}");
    assert!(served.refused <= 200 * 8, "{served:?}");
}

#[tokio::test(start_paused = true)]
async fn while_a_server_asks_all_for_fewer_requests_it_gets_one_fetch_a_second() {
    let outage = outage(500, Fault::status(StatusCode::TOO_MANY_REQUESTS)).await;
    assert_eq!(outage.served, 500);
    // Three attempts each.
    assert!(outage.busiest <= 4, "{outage:?}");
}

const MILLISECOND: Duration = Duration::from_millis(1);

#[tokio::test(start_paused = true)]
async fn hundreds_of_organisations_at_once_are_all_served_as_fast_as_permits_allow() {
    for (organisations, permits) in [(500, None), (500, Some(8)), (5_000, None), (5_000, Some(8))] {
        let took = at_once(organisations, permits, 300 * MILLISECOND).await;
        assert_eq!(took.served, organisations);
        assert!(took.took <= took.ideal.mul_f64(1.2), "{took:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn impatient_callers_of_many_organisations_are_all_served() {
    let took = impatient(500, 50 * MILLISECOND, 300 * MILLISECOND).await;
    assert_eq!(took.served, 1_000);
    assert!(took.took <= took.ideal.mul_f64(1.5), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_one_tenant_whose_callers_give_up_is_noticed_by_nobody_else() {
    // Those who stay, a hundred who have given up, and those whose fetches are under way.
    let few = 100 + 100 + 1;
    for (give_up, most_waiting) in [(GiveUp::OneByOne, few), (GiveUp::AtOnce, 20_000)] {
        let flood = flood(20_000, 100, give_up, 300 * MILLISECOND).await;
        assert_eq!(flood.served, 100);
        assert_eq!((flood.warm, flood.warm_failures), (1_500, 0), "{flood:?}");
        assert!(
            flood.first_token <= Duration::from_millis(1_300),
            "{flood:?}"
        );
        assert!(flood.most_waiting <= most_waiting, "{flood:?}");
        assert!(flood.most_tasks <= 40, "{flood:?}");
        assert_eq!(flood.client.health().waiting, 0);
    }
}

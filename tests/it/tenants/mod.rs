//! Many tenants of one client: one's trouble is its own, and one's crowd is too.

mod isolation;

use std::time::Duration;

use http::StatusCode;
use maskinporten_sim::Fault;

use isolation::{
    At, SERVER, isolation, outage, troubles_of_maskinporten, troubles_of_the_exchange,
};

#[track_caller]
fn check_isolated(noticed: &isolation::Noticed) {
    assert!(noticed.failed > 0, "nothing went wrong: {noticed:?}");
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
async fn an_outage_is_probed_once_a_second_and_is_over_for_all_at_its_end() {
    for trouble in [
        Fault::status(StatusCode::SERVICE_UNAVAILABLE),
        Fault::disconnect(),
        Fault::hang(),
    ] {
        let outage = outage(500, trouble).await;
        assert_eq!(outage.served, 500);
        assert!(outage.busiest <= 1, "{outage:?}");
        eprintln!("{outage:?}");
        assert!(outage.recovered_after <= Duration::from_secs(2), "{outage:?}");
    }
}

//! A named client in both its flavours: its subscription key goes where its token does.

use http::StatusCode;
use maskinporten::{Error, ErrorKind, TokenKind};
use tower_maskinporten::{ClientRegistry, ClientRegistryBuilder};

use super::place::Place;
use super::servers::{Protocol, SUBSCRIPTION_KEY};
use super::{Answer, KINDS};

const HEADER: &str = "Ocp-Apim-Subscription-Key";

/// A registry with one client, of home.
fn registry(place: &Place, redirects: u32) -> ClientRegistryBuilder {
    let scopes = crate::world::SCOPES;
    ClientRegistry::builder(&place.client).client("api", |client| {
        let client = match place.kind {
            TokenKind::Maskinporten => client.maskinporten(scopes),
            _ => client.altinn(scopes),
        };
        let client = client.base_url(place.home.origin());
        let client = client.secret_header(HEADER, SUBSCRIPTION_KEY);
        match redirects {
            0 => client,
            _ => client.redirects(redirects),
        }
    })
}

fn answered(status: StatusCode) -> Answer {
    Answer::Status(status.as_u16())
}

async fn over_hyper(place: &Place, path: &str) -> Answer {
    let client = registry(place, 3).build().unwrap().get("api").unwrap();
    match client.get(path).await {
        Ok(response) => answered(response.status()),
        Err(error) => Answer::Refused(Error::find_in(&*error).unwrap().kind()),
    }
}

async fn over_reqwest(place: &Place, path: &str) -> Answer {
    let builder = reqwest::Client::builder().no_proxy();
    let clients = registry(place, 0).build_reqwest(builder).unwrap();
    let client = clients.get("api").unwrap();
    match client.get(path).unwrap().send().await {
        Ok(response) => answered(response.status()),
        Err(error) => Answer::Refused(Error::find_in(&error).unwrap().kind()),
    }
}

#[tokio::test]
async fn a_named_clients_token_and_key_stay_at_home_along_any_redirect() {
    for kind in KINDS {
        for hops in 0..5 {
            let place = Place::new(kind, Protocol::Http1, false).await;
            let to = match hops {
                0 => vec![place.home.origin_as("localhost")],
                1 => vec![place.other.origin()],
                2 => vec![place.across.origin()],
                3 => vec![place.other.origin(), place.home.origin()],
                _ => vec![place.other.origin(); 2],
            };
            let origins = [vec![place.home.origin()], to].concat();
            place.chain(&origins);

            assert_eq!(
                over_hyper(&place, "hop/0").await,
                Answer::Refused(ErrorKind::Origin)
            );
            assert_eq!(over_reqwest(&place, "hop/0").await, Answer::Status(307));

            let seen = place.book.seen();
            let keyed = seen.iter().filter(|seen| seen.headers.contains_key(HEADER));
            let keyed: Vec<_> = keyed
                .map(|seen| (&seen.origin, seen.token().is_some()))
                .collect();
            assert_eq!(keyed, [(&place.home.origin(), true); 2]);
            assert_eq!(place.trail().len(), 2);
            assert_eq!(place.leaks(), [""; 0]);
        }
    }
}

#[tokio::test]
async fn a_named_client_over_hyper_follows_a_redirect_at_home_with_token_and_key() {
    for kind in KINDS {
        let place = Place::new(kind, Protocol::Http1, false).await;
        place.chain(&[place.home.origin(), place.home.origin()]);

        assert_eq!(over_hyper(&place, "hop/0").await, Answer::Status(200));

        let seen = place.book.seen();
        let keyed = seen.iter().filter(|seen| seen.headers.contains_key(HEADER));
        assert_eq!(keyed.filter(|seen| seen.token().is_some()).count(), 2);
        assert_eq!(place.leaks(), [""; 0]);
    }
}

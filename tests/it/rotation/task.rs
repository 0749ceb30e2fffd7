//! The task that looks: one for each client, wherever its runtimes come and go.

use super::*;

#[tokio::test(start_paused = true)]
async fn one_task_watches_and_it_ends_with_the_client() {
    let sim = Sim::new();
    let script = Script::new(&sim.new_client(SCOPES));
    let tasks = || Handle::current().metrics().num_alive_tasks();
    let before = tasks();
    let client = client_of(&sim, script.clone()).await;
    assert_eq!(tasks(), before, "nothing runs before the first grant");
    for _ in 0..3 {
        fetch(&client).await.unwrap();
    }
    sleep(Duration::from_secs(1)).await;
    assert_eq!(tasks(), before + 1);
    drop(client);
    sleep(Duration::from_millis(1)).await;
    assert_eq!(tasks(), before);
    let looks = script.looks();
    sleep(SEEN * 3).await;
    assert_eq!(script.looks(), looks);
}

#[tokio::test(start_paused = true)]
async fn shutdown_ends_the_watch_though_a_reading_hangs() {
    let sim = Sim::new();
    let script = Script::new(&sim.new_client(SCOPES));
    let before = Handle::current().metrics().num_alive_tasks();
    let client = client_of(&sim, script.clone()).await;
    fetch(&client).await.unwrap();
    script.says(Says::Hangs);
    sleep(SEEN).await;
    let started = Instant::now();
    client.shutdown().await;
    assert!(started.elapsed() <= Duration::from_secs(1));
    assert_eq!(Handle::current().metrics().num_alive_tasks(), before);
}

#[test]
fn a_client_is_watched_on_whatever_runtime_it_has() {
    let runtime = || {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()
            .unwrap()
    };
    let sim = Sim::new();
    let old = sim.new_client(SCOPES);
    let script = Script::new(&old);
    let first = runtime();
    let client = first.block_on(async {
        let client = client_of(&sim, script.clone()).await;
        fetch(&client).await.unwrap();
        client
    });
    drop(first);
    let new = old.rotate_key().unwrap();
    script.says(Says::of(&new));
    runtime().block_on(async {
        fetch(&client).await.unwrap();
        sleep(SEEN).await;
        fetch(&client).await.unwrap();
    });
    assert_eq!(kids(&sim), [signed(&old), signed(&old), signed(&new)]);
}

/// As where a client was used by one `block_on` and is used by another, with the first runtime kept.
#[test]
fn a_runtime_that_stands_still_does_not_keep_the_watch_to_itself() {
    let runtime = || {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        runtime.enable_all().start_paused(true).build().unwrap()
    };
    let sim = Sim::new();
    let old = sim.new_client(SCOPES);
    let script = Script::new(&old);
    let (still, driven) = (runtime(), runtime());
    let client = still.block_on(async {
        let client = client_of(&sim, script.clone()).await;
        fetch(&client).await.unwrap();
        client
    });
    let second = old.rotate_key().unwrap();
    assert!(sim.remove_key(old.client_id(), old.kid()));
    script.says(Says::of(&second));
    driven.block_on(async {
        fetch(&client).await.unwrap();
        let third = second.rotate_key().unwrap();
        script.says(Says::of(&third));
        sleep(SEEN).await;
        fetch(&client).await.unwrap();
        let expected = [signed(&old), refused(&old), signed(&second), signed(&third)];
        assert_eq!(kids(&sim), expected);
    });
    // In the middle of a look.
    script.says(Says::Hangs);
    driven.block_on(async { sleep(SEEN).await });
    let fourth = old.rotate_key().unwrap();
    script.says(Says::of(&fourth));
    let another = runtime();
    another.block_on(async {
        fetch(&client).await.unwrap();
        // It is found out by its time that nobody looks any more.
        sleep(Duration::from_secs(200)).await;
        fetch(&client).await.unwrap();
        sleep(SEEN).await;
        fetch(&client).await.unwrap();
    });
    assert_eq!(kids(&sim).last(), Some(&signed(&fourth)));
    drop(still);
}

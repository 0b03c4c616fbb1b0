//! What the platform calls: batches of the Queues and a deployment with faults.

use dual_write_proxy::mirror::relay::Disposition;
use dual_write_proxy::runtime::message::Message;
use dual_write_proxy::serve::service;
use serde_json::json;

use super::support::{Request, World};

const ALICE: &str = "alice0000001";

fn reconcile(subject: &str) -> Option<Message> {
    Some(Message::Reconcile {
        subject: subject.to_owned(),
    })
}

fn handle(world: &std::rc::Rc<World>, messages: Vec<Option<Message>>) -> Vec<Disposition> {
    let node = world.node();
    let handled = world.finish(async move {
        service::handle_queue(&node, &node.deployment, "mirror", messages).await
    });
    handled.expect("the batch was handled")
}

#[test]
fn equal_messages_of_a_batch_are_one_delivery_and_unreadable_ones_end() {
    let world = World::new();
    world.put_user(ALICE, |_| {});
    world.wake(ALICE);
    world.drop_queue();
    let messages = vec![
        reconcile(ALICE),
        None,
        reconcile("bob000000001"),
        reconcile(ALICE),
    ];
    assert_eq!(handle(&world, messages), vec![Disposition::Ack; 4]);
    assert_eq!(world.events("mirror.reconciled").len(), 1);
    let refused = world.events("message.refused");
    assert_eq!(
        (refused.len(), &refused[0]["code"]),
        (1, &json!("unreadable"))
    );
}

#[test]
fn what_becomes_of_one_delivery_becomes_of_all_its_messages() {
    let world = World::new();
    world.put_user(ALICE, |_| {});
    world.wake(ALICE);
    world.drop_queue();
    world
        .mgpass
        .answers
        .borrow_mut()
        .insert("api/users".to_owned(), 500);
    let handled = handle(&world, vec![reconcile(ALICE), reconcile(ALICE)]);
    assert!(matches!(
        handled[..],
        [Disposition::Retry { .. }, Disposition::Retry { .. }]
    ));
    assert_eq!(handled[0], handled[1]);
}

#[test]
fn with_faulty_settings_every_message_waits_for_a_mended_deployment() {
    // Both issuers by the same name: no token could be told from another's.
    let world = World::with(1, &[("MGPASS_ISSUER", "https://auth.example.test/oidc")]);
    let node = world.node();
    let faults = &node.deployment.settings.faults;
    assert!(
        faults.iter().any(|fault| fault.code == "same_as_logto"),
        "{faults:?}"
    );
    let retry = Disposition::Retry { delay_s: 60 };
    assert_eq!(handle(&world, vec![reconcile(ALICE), None]), vec![retry; 2]);
    // Cron finds nothing that it may do, and requests pass.
    world.finish(async move { node.cron().await });
    assert_eq!(world.ask(Request::new("GET", "/oidc/me")).status, 401);
}

//! The plaintext is found nowhere outside the isolate.

use super::*;
use crate::support::{Fault, Port};

const CANARY: &str = "canary-Plaintext-77";

fn is_clean(world: &World, what: &str) {
    for line in world.events.borrow().iter() {
        assert!(!line.contains("canary"), "{what}, event: {line}");
    }
    for message in world.take_due() {
        assert!(
            !format!("{:?}", message.message).contains("canary"),
            "{what}, queue"
        );
    }
    for (key, value) in world.flags.borrow().iter() {
        assert!(!value.contains("canary"), "{what}, flag {key}");
    }
    let tables = "SELECT name FROM sqlite_master WHERE type = 'table'";
    for store in [Store::Proxy, Store::Mgpass] {
        for table in world.databases.rows(store, tables) {
            let name = table["name"].as_str().unwrap().to_owned();
            for row in world
                .databases
                .rows(store, &format!("SELECT * FROM {name}"))
            {
                let row = Value::Object(row).to_string();
                assert!(!row.contains("canary"), "{what}, {name}: {row}");
            }
        }
    }
}

#[test]
fn the_plaintext_is_in_no_log_message_value_row_or_error() {
    let faults = [
        None,
        Some((Port::Mgpass, "PATCH", Fault::BeforeEffect)),
        Some((Port::Mgpass, "PATCH", Fault::Hang)),
        Some((Port::Logto, "password/verify", Fault::BeforeEffect)),
        Some((Port::ProxyDatabase, "UPDATE passwords", Fault::BeforeEffect)),
        Some((
            Port::MgpassDatabase,
            "UPDATE logto_mirror",
            Fault::BeforeEffect,
        )),
        Some((Port::ProxyDatabase, "INSERT INTO intents", Fault::Hang)),
        Some((Port::Queue, "", Fault::BeforeEffect)),
    ];
    for fault in faults {
        let world = world();
        if let Some((port, what, fault)) = fault {
            world.faults.once(port, what, 0, fault);
        }
        has(&world, CANARY);
        begun(&world);
        let mut answers = vec![world.ask(check(("email", MAIL), CANARY))];
        let body = json!({ "password": format!("{CANARY}-2") }).to_string();
        answers.push(world.write("PATCH", &format!("/api/users/{ALICE}/password"), &body));
        world.advance(61_000);
        is_clean(&world, &format!("{fault:?}"));
        world.deliver();
        cron(&world);
        let token = "admin-token";
        for path in [
            "/_proxy/status",
            "/_proxy/carry",
            "/_proxy/explain?user=alice0000001",
        ] {
            answers.push(world.ask(Request::new("GET", path).token(token)));
        }
        for answer in answers {
            assert!(
                !answer.body.contains("canary"),
                "{fault:?}: {}",
                answer.body
            );
        }
        is_clean(&world, &format!("{fault:?}"));
    }
}

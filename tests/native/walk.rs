//! The walk of the whole population: what it compares, what it does with what it
//! finds, and that nothing stops it silently.

use std::rc::Rc;

use dual_write_proxy::flags::Stage;
use dual_write_proxy::ports::Store;
use dual_write_proxy::walk;

use super::support::World;

const ALICE: &str = "alice0000001";

/// One cron's walk, begun and not waited for.
fn start_tick(world: &Rc<World>) {
    let node = world.node();
    world
        .executor
        .spawn(async move { walk::tick(&node, &node.context(), Stage::DualWrite).await });
}

#[test]
fn two_ticks_at_the_end_of_a_pass_end_it_once() {
    for seed in 0..20 {
        let world = World::with(seed, &[]);
        world.mirrored(ALICE, |_| {});
        // The pass began before this write, which nobody could name, was settled: only
        // a later pass covers it.
        world.databases.execute(
            Store::Proxy,
            "UPDATE walk SET phase = 'mgpass', after_id = 'zzz', pass = 7, began = 0;
             INSERT INTO intents (id, operation, opened_at, expires_at, settled, status)
             SELECT 'unnamed', 'experience.submit', 0, 0, value, 200 FROM counters WHERE name = 'sequence'",
        );
        start_tick(&world);
        start_tick(&world);
        world.idle();
        let walk = &world.proxy("SELECT pass, phase FROM walk")[0];
        assert_eq!(
            (&walk["pass"], &walk["phase"]),
            (&8.into(), &"logto".into())
        );
        let discharged =
            "SELECT count(*) FROM intents WHERE discharged_at IS NOT NULL AND id = 'unnamed'";
        assert_eq!(world.value(Store::Proxy, discharged), 0, "seed {seed}");
    }
}

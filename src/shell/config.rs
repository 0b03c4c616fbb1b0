//! Every binding's variables, read once per isolate.

use std::cell::OnceCell;
use std::rc::Rc;

use crate::runtime::deployment::Deployment;
use crate::runtime::observe::Event;

thread_local! {
    static DEPLOYMENT: OnceCell<Rc<Deployment>> = const { OnceCell::new() };
}

pub(super) fn deployment(env: &worker::Env) -> Rc<Deployment> {
    DEPLOYMENT.with(|cell| Rc::clone(cell.get_or_init(|| Rc::new(read(env)))))
}

fn read(env: &worker::Env) -> Deployment {
    let deployment = Deployment::read(|name| {
        let value = js_sys::Reflect::get(env, &name.into()).ok()?;
        value.as_string()
    });
    for fault in &deployment.settings.faults {
        super::console::emit(&Event::SettingsRefused {
            setting: fault.name,
            code: fault.code,
        });
    }
    deployment
}

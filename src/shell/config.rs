//! Every binding's variables, read once per isolate.

use std::cell::OnceCell;
use std::rc::Rc;

use crate::runtime::context::Context;
use crate::runtime::isolate::Isolate;
use crate::runtime::settings::{SettingFault, Settings};
use crate::token::IssuerNames;

pub(super) struct Deployment {
    pub(super) settings: Settings,
    pub(super) isolate: Isolate,
    issuers: Option<IssuerNames>,
}

thread_local! {
    static DEPLOYMENT: OnceCell<Rc<Deployment>> = const { OnceCell::new() };
}

impl Deployment {
    pub(super) fn of(env: &worker::Env) -> Rc<Self> {
        DEPLOYMENT.with(|cell| Rc::clone(cell.get_or_init(|| Rc::new(Self::read(env)))))
    }

    fn read(env: &worker::Env) -> Self {
        let mut settings = Settings::read(|name| {
            let value = js_sys::Reflect::get(env, &name.into()).ok()?;
            value.as_string()
        });
        let issuers = settings.migration.as_ref().and_then(|migration| {
            IssuerNames::new(&migration.logto_issuer, &migration.mgpass_issuer).ok()
        });
        if settings.migration.is_some() && issuers.is_none() {
            settings.migration = None;
            settings.faults.push(SettingFault {
                name: "MGPASS_ISSUER",
                code: "same_as_logto",
            });
        }
        for fault in &settings.faults {
            super::console::emit(&crate::runtime::observe::Event::SettingsRefused {
                setting: fault.name,
                code: fault.code,
            });
        }
        Self {
            settings,
            isolate: Isolate::default(),
            issuers,
        }
    }

    pub(super) fn context(&self) -> Option<Context<'_>> {
        Some(Context {
            settings: self.settings.migration.as_ref()?,
            issuers: self.issuers.as_ref()?,
            isolate: &self.isolate,
            subject_key: self.settings.subject_key.as_ref(),
        })
    }
}

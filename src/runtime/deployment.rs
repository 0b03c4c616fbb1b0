//! A deployment as one isolate holds it: its settings, read once, and what it remembers.

use crate::policy::token::IssuerNames;
use crate::runtime::context::Context;
use crate::runtime::isolate::Isolate;
use crate::runtime::settings::{SettingFault, Settings};

pub struct Deployment {
    pub settings: Settings,
    pub isolate: Isolate,
    issuers: Option<IssuerNames>,
}

impl Deployment {
    /// `variable`: a variable or secret of the platform's, by name.
    pub fn read(variable: impl Fn(&str) -> Option<String>) -> Self {
        let mut settings = Settings::read(variable);
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
        Self {
            settings,
            isolate: Isolate::default(),
            issuers,
        }
    }

    /// `None`: the settings have faults, and the proxy is a pipe.
    pub fn context(&self) -> Option<Context<'_>> {
        Some(Context {
            settings: self.settings.migration.as_ref()?,
            issuers: self.issuers.as_ref()?,
            isolate: &self.isolate,
            subject_key: self.settings.subject_key.as_ref(),
        })
    }
}

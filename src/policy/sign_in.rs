//! At which side a browser signs in next. Pure: what is known of browser, application and
//! authority in, a side and its reason out.
//!
//! Logto unless everything speaks for mgPass. The pin holds one random bucket per browser,
//! so that raising the share moves nobody back; where it falls a browser without a pin is
//! at Logto. Nothing here protects an account: who likes may begin at mgPass directly.

use crate::policy::applications::{Application, Part, Side};
use crate::policy::authority::Holder;
use crate::policy::flags::{Flags, Share, Stage};

/// What the browser brings along.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Browser {
    /// A navigation of the whole window: there a cookie can be set and comes back.
    pub is_top_level: bool,
    /// Of the pin, where it is a good one: 0 to 9,999.
    pub bucket: Option<u16>,
    /// The last sign-in at Logto was by a user who can sign in at mgPass.
    pub is_ready: bool,
    /// It was by one with a second factor, a passkey or a company sign-in, which mgPass cannot take over.
    pub stays: bool,
    /// A session at Logto goes on being answered by Logto.
    pub has_logto_session: bool,
}

/// What holds beside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Circumstances {
    /// `None`: nobody could say.
    pub holder: Option<Holder>,
    /// The breaker of this isolate has nothing against mgPass.
    pub mgpass_is_up: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    Stage,
    KillSwitch,
    Stopped,
    NoShare,
    ApplicationNotReady,
    TwoWriters,
    NotTopLevel,
    LogtoSession,
    NoPin,
    UserNotReady,
    OutsideShare,
    MgpassDown,
    InShare,
    /// Logto is not asked any more: a sign-in there would end nowhere.
    LogtoRetired,
}

impl Why {
    pub fn code(self) -> &'static str {
        match self {
            Self::Stage => "stage",
            Self::KillSwitch => "kill_switch",
            Self::Stopped => "stopped",
            Self::NoShare => "no_share",
            Self::ApplicationNotReady => "application_not_ready",
            Self::TwoWriters => "two_writers",
            Self::NotTopLevel => "not_top_level",
            Self::LogtoSession => "logto_session",
            Self::NoPin => "no_pin",
            Self::UserNotReady => "user_not_ready",
            Self::OutsideShare => "outside_share",
            Self::MgpassDown => "mgpass_down",
            Self::InShare => "in_share",
            Self::LogtoRetired => "logto_retired",
        }
    }

    pub fn side(self) -> Side {
        match self {
            Self::InShare | Self::LogtoRetired => Side::Mgpass,
            Self::Stage
            | Self::KillSwitch
            | Self::Stopped
            | Self::NoShare
            | Self::ApplicationNotReady
            | Self::TwoWriters
            | Self::NotTopLevel
            | Self::LogtoSession
            | Self::NoPin
            | Self::UserNotReady
            | Self::OutsideShare
            | Self::MgpassDown => Side::Logto,
        }
    }
}

/// Why the flags alone keep everybody at Logto; `None`: they do not. Asked before
/// anything that costs a call.
pub fn kept_by_flags(flags: &Flags, application: &Application) -> Option<Why> {
    if flags.stage < Stage::DualWrite || !flags.is_stage_known {
        Some(Why::Stage)
    } else if flags.kill_switch {
        Some(Why::KillSwitch)
    } else if flags.sign_in_stop.is_some() {
        Some(Why::Stopped)
    } else if flags.sign_in_percent == Share::NONE {
        Some(Why::NoShare)
    } else if !application.is_ready(Part::SignIn) {
        Some(Why::ApplicationNotReady)
    } else {
        None
    }
}

pub fn draw(
    flags: &Flags,
    application: &Application,
    browser: Browser,
    circumstances: Circumstances,
) -> Why {
    if circumstances.holder == Some(Holder::Alone) {
        return Why::LogtoRetired;
    }
    if let Some(why) = kept_by_flags(flags, application) {
        return why;
    }
    // Until mgPass is the authority, whoever registers or edits a profile on its pages
    // would be a second writer: the operator declares that they are closed.
    let is_sole_writer = circumstances.holder == Some(Holder::Mgpass);
    if !is_sole_writer && !flags.mgpass_pages_closed {
        return Why::TwoWriters;
    }
    let Some(bucket) = browser.bucket else {
        return match browser.is_top_level {
            true => Why::NoPin,
            false => Why::NotTopLevel,
        };
    };
    if browser.has_logto_session {
        Why::LogtoSession
    } else if browser.stays || (!is_sole_writer && !browser.is_ready) {
        // After the cutover whoever has no road yet finds one at mgPass; a second factor is
        // not to be left behind there, and whoever has one is let go by name.
        Why::UserNotReady
    } else if bucket >= flags.sign_in_percent.basis_points() {
        Why::OutsideShare
    } else if !circumstances.mgpass_is_up {
        Why::MgpassDown
    } else {
        Why::InShare
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::flags::parse;

    fn application(ready: &[&str]) -> Application {
        serde_json::from_value(serde_json::json!({
            "name": "news", "group": "main", "owner": "team-web", "ready": ready,
            "logto": { "client_id": "news00000000", "start": "https://news.example/login" },
            "mgpass": { "client_id": "app_news", "start": "https://news.example/login/mgpass" },
        }))
        .unwrap()
    }

    fn flags(changes: &[(&str, &str)]) -> Flags {
        let set = [
            ("stage", "dual_write"),
            ("sign_in_percent", "50"),
            ("mgpass_pages", "closed"),
        ];
        let raw: Vec<_> = set
            .iter()
            .chain(changes)
            .map(|(key, value)| ((*key).to_owned(), Some((*value).to_owned())))
            .collect();
        parse(&Flags::default(), &raw)
    }

    const READY: Browser = Browser {
        is_top_level: true,
        bucket: Some(100),
        is_ready: true,
        stays: false,
        has_logto_session: false,
    };
    const BEFORE: Circumstances = Circumstances {
        holder: Some(Holder::Logto),
        mgpass_is_up: true,
    };
    const AFTER: Circumstances = Circumstances {
        holder: Some(Holder::Mgpass),
        mgpass_is_up: true,
    };

    #[track_caller]
    fn check(changes: &[(&str, &str)], browser: Browser, around: Circumstances, why: Why) {
        let drawn = draw(&flags(changes), &application(&["sign_in"]), browser, around);
        assert_eq!(drawn, why);
        assert_eq!(drawn.side() == Side::Mgpass, why == Why::InShare);
    }

    #[test]
    fn a_ready_browser_in_the_share_signs_in_at_mgpass() {
        check(&[], READY, BEFORE, Why::InShare);
        check(&[], READY, AFTER, Why::InShare);
    }

    #[test]
    fn each_flag_alone_keeps_it_at_logto() {
        for (key, value, why) in [
            ("stage", "off", Why::Stage),
            ("stage", "shadow", Why::Stage),
            ("kill_switch", "on", Why::KillSwitch),
            ("kill_switch", "unreadable", Why::KillSwitch),
            ("sign_in_stop", r#"{"reason":"r"}"#, Why::Stopped),
            ("sign_in_stop", "unreadable", Why::Stopped),
            ("sign_in_percent", "0", Why::NoShare),
        ] {
            for around in [BEFORE, AFTER] {
                check(&[(key, value)], READY, around, why);
            }
        }
        let unknown = Flags::unknown();
        let why = draw(&unknown, &application(&["sign_in"]), READY, AFTER);
        assert_eq!(why, Why::Stage);
        let why = draw(&flags(&[]), &application(&["sign_out"]), READY, AFTER);
        assert_eq!(why, Why::ApplicationNotReady);
    }

    #[test]
    fn two_writers_do_not_begin() {
        let open = [("mgpass_pages", "open")];
        for holder in [
            None,
            Some(Holder::Logto),
            Some(Holder::Draining),
            Some(Holder::Returning),
        ] {
            let around = Circumstances { holder, ..BEFORE };
            check(&open, READY, around, Why::TwoWriters);
            check(&[], READY, around, Why::InShare);
        }
        check(&open, READY, AFTER, Why::InShare);
    }

    #[test]
    fn without_a_pin_nobody_moves() {
        let without = Browser {
            bucket: None,
            ..READY
        };
        check(&[], without, AFTER, Why::NoPin);
        let frame = Browser {
            is_top_level: false,
            ..without
        };
        check(&[], frame, AFTER, Why::NotTopLevel);
        // One that brings its pin is the same browser as ever.
        let same_site = Browser {
            is_top_level: false,
            ..READY
        };
        check(&[], same_site, AFTER, Why::InShare);
    }

    #[test]
    fn a_live_session_at_logto_stays_there() {
        let signed_in = Browser {
            has_logto_session: true,
            ..READY
        };
        check(&[], signed_in, BEFORE, Why::LogtoSession);
        check(&[], signed_in, AFTER, Why::LogtoSession);
    }

    #[test]
    fn before_the_cutover_only_ready_users_move() {
        let unready = Browser {
            is_ready: false,
            ..READY
        };
        check(&[], unready, BEFORE, Why::UserNotReady);
        check(&[], unready, AFTER, Why::InShare);
        let unknown = Circumstances {
            holder: None,
            ..BEFORE
        };
        check(&[], unready, unknown, Why::UserNotReady);
    }

    #[test]
    fn whom_mgpass_cannot_take_over_stays_after_the_cutover_too() {
        let stays = Browser {
            is_ready: false,
            stays: true,
            ..READY
        };
        check(&[], stays, BEFORE, Why::UserNotReady);
        check(&[], stays, AFTER, Why::UserNotReady);
    }

    #[test]
    fn raising_the_share_moves_nobody_back() {
        let moved = |percent: &str, bucket| {
            let browser = Browser {
                bucket: Some(bucket),
                ..READY
            };
            let flags = flags(&[("sign_in_percent", percent)]);
            draw(&flags, &application(&["sign_in"]), browser, BEFORE) == Why::InShare
        };
        let shares = ["0.01", "1", "12.5", "50", "99.99", "100"];
        for bucket in (0..10_000).step_by(7) {
            let sides: Vec<_> = shares.iter().map(|share| moved(share, bucket)).collect();
            assert!(sides.is_sorted(), "{bucket}");
        }
        assert!(moved("100", 9_999) && !moved("99.99", 9_999) && moved("0.01", 0));
    }

    #[test]
    fn while_mgpass_fails_nobody_is_sent_there() {
        let down = Circumstances {
            mgpass_is_up: false,
            ..BEFORE
        };
        check(&[], READY, down, Why::MgpassDown);
    }
}

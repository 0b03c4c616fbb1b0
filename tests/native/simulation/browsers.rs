//! Two interactions in one browser: both in one cookie, by application. Which one a
//! request is of, Logto reads from a header, else from the query.

use serde_json::json;

use crate::support::executor::Random;
use crate::support::logto::Interaction;
use crate::support::{Request, World};

/// Both sign in, step by step, in turns; each request with whose it is.
pub fn two_in_one(
    world: &World,
    uids: &[String; 2],
    users: [&str; 2],
    random: &Random,
) -> Vec<(Request, String)> {
    for (uid, user) in uids.iter().zip(users) {
        let interaction = Interaction {
            user: Some((*user).to_owned()),
            ..Interaction::default()
        };
        let mut interactions = world.logto.interactions.borrow_mut();
        interactions.insert(uid.clone(), interaction);
    }
    let cookie = json!({ "spa one": uids[0], "admin": uids[1], "_legacy": uids[1] });
    let cookie = format!("_interaction={cookie}");
    let mut requests = Vec::new();
    for step in ["identification", "submit"] {
        for (application, user) in [("spa one", users[0]), ("admin", users[1])] {
            let encoded = application.replace(' ', "%20");
            let path = format!("/api/experience/{step}");
            let request = match random.below(3) {
                0 => Request::new("POST", &path).header("logto-app-id", application),
                1 => Request::new("POST", &format!("{path}?app_id={encoded}")),
                // An empty header says nothing.
                _ => Request::new("POST", &format!("{path}?app_id={encoded}"))
                    .header("logto-app-id", ""),
            };
            requests.push((request.header("cookie", &cookie), user.to_owned()));
        }
    }
    requests
}

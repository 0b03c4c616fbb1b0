//! A read of users while mgPass is the authority. `asked` says of what kind it is, and
//! `plan::at_mgpass` who answers it.
//!
//! mgPass's rows answer and not its API, which may cache: so nobody reads less than was
//! acknowledged, and no limit of that API is used up. The API judges mgPass's own tokens,
//! Logto its own that the edge cannot.

use super::Executed;
use super::at_mgpass::Moved;
use super::rows::{ROWS, Unread};
use super::serve::origin;
use crate::handover::authority::{Holder, View};
use crate::handover::target::generation;
use crate::inbound::request::{Secret, UserId, bearer};
use crate::policy::plan::{Origin, Plan, Primary, Reason};
use crate::runtime::backend::mgpass::Caller;
use crate::runtime::context::{Context, Request};
use crate::runtime::error::ProxyError;
use crate::runtime::ports::{Exchange, Platform};
use crate::serve::at_mgpass::asked::{Asked, asked};
use crate::serve::at_mgpass::caller;
use crate::serve::at_mgpass::search::{self, Search};
use crate::serve::read::{self, Wanted};
use crate::serve::translate::view::View as Shape;
use crate::serve::translate::{LogtoRefusal, Shown, translation};
use crate::serve::translate_write::{Cors, shown};

impl Request<'_> {
    /// # Errors
    /// When the authority has moved.
    pub(super) async fn read_at_mgpass<P: Platform, E: Exchange>(
        &self,
        platform: &P,
        context: &Context<'_>,
        exchange: &mut E,
        view: View,
    ) -> Result<Executed<E::Copy>, Moved> {
        let answered = match asked(self.inbound) {
            Asked::User => self.user(platform, context, exchange, view).await,
            Asked::UserAndMore => self.user_and_more(platform, context, exchange, view).await,
            Asked::Search(search) => {
                self.search(platform, context, exchange, view, &search)
                    .await
            }
            Asked::Account => self.account(platform, context, exchange, view).await,
            Asked::Userinfo => self.userinfo(platform, context, exchange, view).await,
            Asked::List if view.holder == Holder::Alone => {
                Ok(self.failed(ProxyError::LogtoRetired))
            }
            Asked::List => return self.list(platform, context, exchange).await,
            Asked::Kept => Ok(self.pass(exchange, Reason::Kept).await),
        };
        match answered {
            Ok(executed) => Ok(executed),
            Err(Unread::Moved) => Err(Moved),
            Err(Unread::Nobody(error)) => Ok(Executed {
                plan: ROWS,
                ..self.failed(error)
            }),
            Err(Unread::MgpassDown) => self.fall_back(platform, context, exchange).await,
        }
    }

    async fn user<P: Platform, E: Exchange>(
        &self,
        platform: &P,
        context: &Context<'_>,
        exchange: &E,
        view: View,
    ) -> Result<Executed<E::Copy>, Unread> {
        let authorization = exchange.header("authorization");
        let (whose, _) = origin(context, authorization.as_deref());
        let (Some(user), Some(translation)) =
            (&self.inbound.user, translation(self.inbound.operation))
        else {
            return Err(Unread::Nobody(ProxyError::Defect));
        };
        let mut plan = ROWS;
        match whose {
            Origin::Mgpass => {
                plan = Plan {
                    primary: Primary::MgpassAsCaller,
                    reason: Reason::MgpassToken,
                };
                let own = authorization.as_deref().and_then(bearer);
                let caller = Caller::Client(Secret(own.unwrap_or_default().to_owned()));
                let wanted = Wanted {
                    operation: self.inbound.operation,
                    user,
                    item: self.inbound.item.as_deref(),
                };
                match read::shown(platform, context, &caller, wanted, None).await {
                    // It may be older than the rows; that the caller may see the user is enough.
                    Ok(Shown::Body(_)) => {}
                    Ok(Shown::Refusal(LogtoRefusal::IdentityNotExist)) => {}
                    Ok(refused) => return Ok(self.shown(exchange, plan, refused)),
                    Err(_) => return Err(Unread::Nobody(ProxyError::MgpassUnavailable)),
                }
            }
            Origin::None | Origin::Foreign | Origin::Logto => {
                if let Err(turned) = caller::management(platform, context, exchange).await {
                    return Ok(self.turned(turned, Cors::SameOrigin));
                }
            }
        }
        let person = self.person(platform, context, user, view).await?;
        let shown = match person.shown(user) {
            None => Shown::Refusal(LogtoRefusal::EntityNotFound),
            Some((user, identities, residue)) => {
                let shape = Shape {
                    user: &user,
                    identities: &identities,
                    residue: residue.as_ref(),
                    settings: &context.settings.mapping,
                };
                (translation.show)(&shape, self.inbound.item.as_deref())
            }
        };
        Ok(self.shown(exchange, plan, shown))
    }

    async fn user_and_more<P: Platform, E: Exchange>(
        &self,
        platform: &P,
        context: &Context<'_>,
        exchange: &E,
        view: View,
    ) -> Result<Executed<E::Copy>, Unread> {
        let path = self.inbound.path_and_query();
        let kept = caller::shown_by_logto(platform, context, exchange, path).await;
        let (kept, user) = match (kept, &self.inbound.user) {
            (Ok(kept), Some(user)) => (kept, user),
            (Ok(_), None) => return Err(Unread::Nobody(ProxyError::Defect)),
            (Err(turned), _) => return Ok(self.turned(turned, Cors::SameOrigin)),
        };
        let person = self.person(platform, context, user, view).await?;
        let answer = match person.view(user, &context.settings.mapping) {
            None => Shown::Refusal(LogtoRefusal::EntityNotFound),
            Some(view) => match shown::user(&kept, &view) {
                Some(json) => Shown::Body(json),
                None => return Err(Unread::Nobody(ProxyError::LogtoUnreachable)),
            },
        };
        Ok(self.shown(exchange, ROWS, answer))
    }

    async fn account<P: Platform, E: Exchange>(
        &self,
        platform: &P,
        context: &Context<'_>,
        exchange: &E,
        view: View,
    ) -> Result<Executed<E::Copy>, Unread> {
        let origin = exchange.header("origin");
        let cors = Cors::AnyOrigin {
            origin: origin.as_deref(),
        };
        let path = self.inbound.path_and_query();
        let kept = match caller::shown_by_logto(platform, context, exchange, path).await {
            Ok(kept) => kept,
            Err(turned) => return Ok(self.turned(turned, cors)),
        };
        let json = self
            .of_token(platform, context, view, &kept, "id", shown::account)
            .await?;
        let mut executed = self.shown(exchange, ROWS, Shown::Body(json));
        executed.add_headers([
            (
                "access-control-allow-origin",
                origin.unwrap_or_else(|| "*".to_owned()),
            ),
            ("access-control-expose-headers", "*".to_owned()),
        ]);
        Ok(executed)
    }

    async fn userinfo<P: Platform, E: Exchange>(
        &self,
        platform: &P,
        context: &Context<'_>,
        exchange: &mut E,
        view: View,
    ) -> Result<Executed<E::Copy>, Unread> {
        let path = self.inbound.path_and_query();
        let kept = match caller::shown_by_logto(platform, context, exchange, path).await {
            Ok(kept) => kept,
            // Its refusals, and tokens in a form, are its own.
            Err(_) => {
                let executed = self.pass(exchange, Reason::Kept).await;
                return match executed.status {
                    200..=299 => Err(Unread::Nobody(ProxyError::UsersUnavailable)),
                    _ => Ok(executed),
                };
            }
        };
        let json = self
            .of_token(platform, context, view, &kept, "sub", shown::userinfo)
            .await?;
        let origin = exchange.header("origin");
        let mut executed = self.shown(exchange, ROWS, Shown::Body(json));
        executed.add_headers([
            (
                "access-control-allow-origin",
                origin.unwrap_or_else(|| "*".to_owned()),
            ),
            (
                "access-control-expose-headers",
                "WWW-Authenticate".to_owned(),
            ),
            ("cache-control", "no-store".to_owned()),
        ]);
        Ok(executed)
    }

    /// What Logto shows of a token's user, with that user's rows in it.
    async fn of_token<P: Platform>(
        &self,
        platform: &P,
        context: &Context<'_>,
        view: View,
        kept: &str,
        id: &str,
        show: fn(&str, &str) -> Option<String>,
    ) -> Result<String, Unread> {
        let user = shown::member(kept, id).and_then(|id| UserId::parse(&id));
        let Some(user) = user else {
            return Err(Unread::Nobody(ProxyError::LogtoUnreachable));
        };
        let person = self.person(platform, context, &user, view).await?;
        let Some(now) = person.view(&user, &context.settings.mapping) else {
            // Deleted, and Logto has not heard of it yet.
            return Err(Unread::Nobody(ProxyError::MgpassUnavailable));
        };
        show(kept, &now).ok_or(Unread::Nobody(ProxyError::LogtoUnreachable))
    }

    async fn search<P: Platform, E: Exchange>(
        &self,
        platform: &P,
        context: &Context<'_>,
        exchange: &E,
        view: View,
        search: &Search,
    ) -> Result<Executed<E::Copy>, Unread> {
        if let Err(turned) = caller::management(platform, context, exchange).await {
            return Ok(self.turned(turned, Cors::SameOrigin));
        }
        let candidates = match search.candidates() {
            None => search.id().into_iter().collect(),
            Some(statement) => {
                let statements = vec![statement, generation()];
                let results = self.rows(platform, context, statements, view).await?;
                search.parse_candidates(results.first().map_or(&[], Vec::as_slice))
            }
        };
        let mut found: Vec<(i64, String)> = Vec::new();
        if !candidates.is_empty() {
            let results = self
                .rows(platform, context, search::read(&candidates), view)
                .await?;
            let people = search::parse(&results).ok_or(Unread::MgpassDown)?;
            for (id, person) in candidates.iter().zip(people) {
                let created_at_s = person.user.as_ref().map_or(0, |user| user.created_at_s);
                let json = person.view(id, &context.settings.mapping);
                found.extend(
                    json.filter(|json| search.is_met_by(json))
                        .map(|json| (created_at_s, json)),
                );
            }
        }
        // Newest first, as Logto lists.
        found.sort_by_key(|(created_at_s, _)| -created_at_s);
        let users: Vec<String> = found.into_iter().map(|(_, json)| json).collect();
        let origin = format!("{}://{}", self.inbound.scheme(), self.inbound.host());
        let total = users.len().to_string();
        let body = format!("[{}]", users.join(","));
        let mut executed = self.shown(exchange, ROWS, Shown::Body(body));
        executed.add_headers([("total-number", total), ("link", search.link(&origin))]);
        Ok(executed)
    }
}

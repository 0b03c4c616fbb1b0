//! A client before the proxy: its request, and the answer it gets.

use std::pin::pin;
use std::rc::Rc;

use dual_write_proxy::inbound::Inbound;
use dual_write_proxy::inbound::request::Method;
use dual_write_proxy::runtime::ports::{
    AnswerCopy, Backend, BodyFailure, CallFailure, Clock, Exchange, Forward,
};
use dual_write_proxy::serve::execute::Reply;
use dual_write_proxy::serve::service;
use futures_util::future::{Either, select};

use super::executor::Handle;
use super::faults::{Glitch, Port};
use super::logto::{LogtoAnswer, LogtoRequest};
use super::world::Tamper;
use super::{Node, World};

#[derive(Clone, Debug)]
pub enum Body {
    None,
    Whole(String),
    /// Longer than any write may be, without a declared length.
    Endless,
    /// Breaks off.
    Broken,
}

#[derive(Clone, Debug)]
pub struct Request {
    method: &'static str,
    url: String,
    headers: Vec<(String, String)>,
    body: Body,
}

impl Request {
    pub fn new(method: &'static str, path: &str) -> Self {
        Self {
            method,
            url: format!("https://auth.example.test{path}"),
            body: Body::None,
            headers: Vec::new(),
        }
    }

    pub fn method(&self) -> &'static str {
        self.method
    }

    pub fn undoes_suspension(&self) -> bool {
        matches!(&self.body, Body::Whole(body) if body.contains("\"isSuspended\":false"))
    }

    /// Without the query.
    pub fn path(&self) -> &str {
        let rest = self
            .url
            .splitn(4, '/')
            .nth(3)
            .map_or(0, |rest| self.url.len() - rest.len() - 1);
        self.url[rest..].split('?').next().unwrap_or_default()
    }

    pub fn url(mut self, url: &str) -> Self {
        url.clone_into(&mut self.url);
        self
    }

    pub fn value_of(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(key, _)| *key == name);
        found.map(|(_, value)| value.as_str())
    }

    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub fn token(self, token: &str) -> Self {
        self.header("authorization", &format!("Bearer {token}"))
    }

    pub fn body(mut self, body: Body) -> Self {
        self.body = body;
        self
    }

    pub fn json(self, body: &str) -> Self {
        self.header("content-type", "application/json")
            .body(Body::Whole(body.to_owned()))
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answered {
    pub status: u16,
    pub body: String,
    pub cookies: Vec<String>,
    /// Those of the proxy's own answer, or that it set on Logto's.
    pub headers: Vec<(&'static str, String)>,
    /// When the client had it.
    pub at_ms: i64,
    /// Of the proxy's making: what mgPass knows, in Logto's form, or an error.
    pub is_own: bool,
}

impl Answered {
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(key, _)| *key == name);
        found.map(|(_, value)| value.as_str())
    }

    pub fn all(&self, name: &str) -> Vec<&str> {
        let found = self.headers.iter().filter(|(key, _)| *key == name);
        found.map(|(_, value)| value.as_str()).collect()
    }
}

impl World {
    /// A token of an application that Logto's Management API takes.
    pub fn admin_token(&self) -> String {
        // One token for half an hour: signing is what takes time here.
        let issued_ms = self.now_ms() / 1_800_000 * 1_800_000;
        let token = super::tokens::LOGTO_KEY.logto_token(issued_ms);
        self.logto.accepted.borrow_mut().insert(token.clone());
        token
    }

    pub fn start(self: &Rc<Self>, request: Request) -> Handle<Answered> {
        self.start_at(&self.node(), request)
    }

    pub fn start_at(self: &Rc<Self>, node: &Node, request: Request) -> Handle<Answered> {
        // Each request is an invocation of its own.
        let node = node.next_invocation();
        self.executor
            .spawn(async move { serve(node, request).await })
    }

    /// Waits for the answer alone; what follows it goes on behind.
    pub fn ask(self: &Rc<Self>, request: Request) -> Answered {
        self.ask_at(&self.node(), request)
    }

    pub fn ask_at(self: &Rc<Self>, node: &Node, request: Request) -> Answered {
        let handle = self.start_at(node, request);
        self.executor.run(i64::MAX, || handle.is_done());
        handle.take().expect("the client got no answer")
    }

    /// A Management API write by an application.
    pub fn write(self: &Rc<Self>, method: &'static str, path: &str, body: &str) -> Answered {
        let token = self.admin_token();
        let request = Request::new(method, path).token(&token);
        self.ask(if body.is_empty() {
            request
        } else {
            request.json(body)
        })
    }

    pub fn get(self: &Rc<Self>, path: &str) -> Answered {
        let token = self.admin_token();
        self.ask(Request::new("GET", path).token(&token))
    }

    /// To a request that a client sent.
    fn answer_of_logto(&self, request: &LogtoRequest) -> LogtoAnswer {
        let clients = self.clients.borrow().clone();
        clients
            .and_then(|clients| clients.at_logto(self, request))
            .unwrap_or_else(|| self.logto.handle(request, self.now_ms()))
    }
}

/// As the shell does: without a future where no rule claims the request.
async fn serve(node: Node, request: Request) -> Answered {
    let url = request.url.clone();
    let inbound = Inbound::read(Method::parse(request.method), url, |_| None);
    let deployment = Rc::clone(&node.deployment);
    let mut exchange = FakeExchange {
        node: node.clone(),
        request,
        held: None,
        answer: None,
        marks: Vec::new(),
    };
    let began_ms = node.now_ms();
    let reply = match service::begin_pass_through(&deployment, &inbound, began_ms) {
        Some(forward) => {
            let outcome = exchange.forward(&forward).await;
            let url = || exchange.request.url.clone();
            let own = service::end_pass_through(&node, &node, &deployment, began_ms, outcome, url);
            own.map_or(Reply::Forwarded, Reply::Own)
        }
        None => service::handle_request(&node, &node, &deployment, &inbound, &mut exchange).await,
    };
    let at_ms = node.now_ms();
    match (reply, exchange.answer) {
        (Reply::Own(answer), _) => Answered {
            status: answer.status,
            body: answer.body,
            cookies: Vec::new(),
            headers: answer.headers,
            at_ms,
            is_own: true,
        },
        (Reply::Forwarded, Some(answer)) => Answered {
            status: answer.status,
            body: answer.body,
            cookies: answer.cookies,
            headers: exchange
                .marks
                .into_iter()
                .chain(answer.location.map(|to| ("location", to)))
                .collect(),
            at_ms,
            is_own: false,
        },
        (Reply::Forwarded, None) => panic!("forwarded without an answer"),
    }
}

struct FakeExchange {
    node: Node,
    request: Request,
    held: Option<String>,
    answer: Option<LogtoAnswer>,
    marks: Vec<(&'static str, String)>,
}

struct FakeCopy(String);

impl AnswerCopy for FakeCopy {
    async fn text(self, max_bytes: usize) -> Option<String> {
        (self.0.len() <= max_bytes).then_some(self.0)
    }
}

impl FakeExchange {
    /// As the shell does: without cookies, and without what is stated to Logto.
    async fn forward_to_mgpass(&mut self, forward: &Forward<'_>) -> Result<u16, CallFailure> {
        assert!(
            forward.origin_secret.is_none(),
            "the origin's secret is Logto's"
        );
        let line = format!("{} {}", self.request.method, forward.url);
        let mut headers = self.request.headers.clone();
        headers.retain(|(name, _)| name != "cookie" && !name.starts_with("x-"));
        let body = match &self.request.body {
            Body::Whole(body) => Some(body.clone()),
            _ => None,
        };
        let what = line.clone();
        let describe = || what.clone();
        let sent = self.node.remote(
            Port::Mgpass,
            &describe,
            Err(CallFailure::Unreachable),
            move |world: &World| {
                let clients = world.clients.borrow().clone();
                if let Some(clients) = clients {
                    let body = body.unwrap_or_default();
                    return Ok(clients.at_mgpass(world, &line, &headers, &body));
                }
                world.mgpass.present(&line, headers, body);
                Ok(LogtoAnswer::glitch(200))
            },
        );
        let answer = sent.await?;
        let status = answer.status;
        self.answer = Some(answer);
        Ok(status)
    }

    fn tamper(&self) -> Option<Rc<dyn Tamper>> {
        self.node.world.tamper.borrow().clone()
    }

    /// Where a broken variant sends what one side refused.
    fn to_the_other<'a>(forward: &Forward<'a>) -> Forward<'a> {
        let (backend, url) = match forward.backend {
            Backend::Logto => (Backend::Mgpass, "https://mgpass.example.test/oauth/token"),
            Backend::Mgpass => (Backend::Logto, "https://logto.example.test/oidc/token"),
        };
        Forward {
            backend,
            url: url.to_owned(),
            origin_secret: None,
            ..*forward
        }
    }
}

impl Exchange for FakeExchange {
    type Copy = FakeCopy;

    fn header(&self, name: &str) -> Option<String> {
        let found = self.request.headers.iter().find(|(key, _)| *key == name);
        let value = found.map(|(_, value)| value.clone());
        match self.tamper() {
            Some(tamper) => tamper.header(name, value),
            None => value,
        }
    }

    async fn hold_body(&mut self, max_bytes: usize) -> Result<(), BodyFailure> {
        match &self.request.body {
            Body::None => Ok(()),
            Body::Whole(body) if body.len() > max_bytes => Err(BodyFailure::TooLarge),
            Body::Whole(body) => {
                self.held = Some(body.clone());
                Ok(())
            }
            Body::Endless => Err(BodyFailure::TooLarge),
            Body::Broken => Err(BodyFailure::Incomplete),
        }
    }

    fn held_text(&self) -> Option<String> {
        let held = self.held.clone()?;
        Some(match self.tamper() {
            Some(tamper) => tamper.held(held),
            None => held,
        })
    }

    fn held_bytes(&self) -> Option<Vec<u8>> {
        self.held.clone().map(String::into_bytes)
    }

    async fn forward(&mut self, forward: &Forward<'_>) -> Result<u16, CallFailure> {
        let sent = self.send(forward).await;
        let Some(tamper) = self.tamper() else {
            return sent;
        };
        match sent {
            Err(_) if tamper.sends_again() => self.send(forward).await,
            Ok(400..=499) if tamper.asks_the_other() => {
                self.send(&Self::to_the_other(forward)).await
            }
            sent => sent,
        }
    }

    fn add_answer_cookie(&mut self, line: &str) {
        if let Some(answer) = &mut self.answer {
            answer.cookies.push(line.to_owned());
        }
    }

    fn answer_header(&self, name: &str) -> Option<String> {
        let answer = self.answer.as_ref()?;
        match name {
            "location" => answer.location.clone(),
            "content-type" => answer.is_json.then(|| "application/json".to_owned()),
            _ => None,
        }
    }

    fn set_answer_header(&mut self, name: &'static str, value: &str) {
        assert!(self.answer.is_some());
        self.marks.push((name, value.to_owned()));
    }

    fn tee_answer(&mut self) -> Option<FakeCopy> {
        self.answer
            .as_ref()
            .map(|answer| FakeCopy(answer.body.clone()))
    }
}

impl FakeExchange {
    async fn send(&mut self, forward: &Forward<'_>) -> Result<u16, CallFailure> {
        if forward.backend == Backend::Mgpass {
            return self.forward_to_mgpass(forward).await;
        }
        let path = forward
            .url
            .strip_prefix("https://logto.example.test")
            .unwrap()
            .to_owned();
        let what = format!("{} {path}", self.request.method);
        let mut headers = self.request.headers.clone();
        headers.retain(|(name, _)| !name.starts_with("x-proxy-"));
        if let Some(secret) = forward.origin_secret {
            headers.push(("x-proxy-secret".to_owned(), secret.0.clone()));
        }
        let request = LogtoRequest {
            method: self.request.method.to_owned(),
            path,
            headers,
            body: match &self.request.body {
                Body::Whole(body) => Some(body.clone()),
                _ => None,
            },
        };
        let describe = || what.clone();
        let answered =
            pin!(
                self.node
                    .remote(Port::Forward, &describe, Err(CallFailure::Unreachable), {
                        let line = what.clone();
                        move |world: &World| {
                            let answer = || world.answer_of_logto(&request);
                            Ok(match world.glitch(Port::Forward, &line) {
                                None | Some(Glitch::NotFound) => answer(),
                                Some(Glitch::Refuse(status)) => LogtoAnswer::glitch(status),
                                Some(Glitch::CommitThenFail(status)) => {
                                    answer();
                                    LogtoAnswer::glitch(status)
                                }
                            })
                        }
                    })
            );
        let answer = match forward.deadline_ms {
            None => answered.await?,
            Some(deadline_ms) => match select(answered, pin!(self.node.sleep(deadline_ms))).await {
                Either::Left((answer, _)) => answer?,
                Either::Right(_) => return Err(CallFailure::TimedOut),
            },
        };
        let status = answer.status;
        self.answer = Some(answer);
        Ok(status)
    }
}

use worker::event;
#[event(fetch)]
async fn fetch(_r: web_sys::Request, _e: worker::Env, _c: worker::Context) -> worker::Result<web_sys::Response> { Ok(web_sys::Response::new()?) }

//! Why the command could not do what it was asked. Never a secret, never an input.

use std::io;
use std::path::PathBuf;

use super::token::TokenFault;
use dual_write_proxy::policy::token::ImportFailure;
use dwp::key_import::ExportFailure;

#[derive(Debug, thiserror::Error)]
pub enum Failure {
    #[error("the proxy's address is missing: give --url or set DWP_URL")]
    NoUrl,
    #[error(
        "{0} is no address of a proxy: give https://HOST, without a path or anything behind it"
    )]
    NotAnAddress(String),
    /// The admin token would travel in clear.
    #[error("{0} is not https: the admin token goes in clear only to this machine itself")]
    PlainHttp(String),
    #[error("no admin token: set ADMIN_TOKEN, or run this on a terminal, where it is asked for")]
    NoToken,
    #[error("nothing answers at {0} (--url or DWP_URL): {1}")]
    Unreachable(String, String),
    /// The address is right and the token is not.
    #[error("the proxy at {0} does not take this admin token (ADMIN_TOKEN), or has none set")]
    TokenRefused(String),
    #[error("what answers at {0} is not the proxy (--url or DWP_URL): {1}")]
    NotTheProxy(String, String),
    #[error("{0:?} is no user id: one has 1 to 64 printable characters and no space")]
    MalformedUser(String),
    #[error("the proxy reads no flag {0:?}; there are {1}")]
    UnknownFlag(String, String),
    #[error("{0} would not take that: it takes {1}")]
    FlagRefused(String, &'static str),
    /// Why, and what to do first.
    #[error("{0}")]
    NotNow(&'static str),
    #[error("{0:?} begins with a dash, which wrangler takes for an option")]
    BeginsWithDash(String),
    #[error("Cloudflare's API did not take it: {0}")]
    NotWritten(String),
    #[error(
        "{0} is in a git working tree, and git would take it: give a path outside, or have it ignored"
    )]
    GitWouldTake(PathBuf),
    #[error("the proxy gave up on the way: status {0} ({1})")]
    Unwell(u16, String),
    #[error("{message} ({code})")]
    Refused {
        status: u16,
        code: String,
        message: String,
    },
    #[error("one of the proxy's stores failed: {0}")]
    Store(String),
    #[error("the proxy's answer is not what this command reads: {0}")]
    Unreadable(&'static str),
    #[error("job {0} is not the newest any more: another one was started")]
    Replaced(i64),
    #[error("{0} cannot be read: {1}")]
    Read(PathBuf, io::Error),
    #[error("{0} cannot be written: {1}")]
    Write(PathBuf, io::Error),
    #[error("the output cannot be written: {0}")]
    Output(io::Error),
    #[error("the export: {0}")]
    Export(#[from] ExportFailure),
    #[error("the edge would not take it: {0}")]
    Value(#[from] ImportFailure),
    #[error("{0} cannot be run: {1}")]
    NotRun(&'static str, io::Error),
    #[error("{0} failed")]
    Failed(&'static str),
    #[error("{0} cannot be read: {1}")]
    NotFetched(String, String),
    #[error("Logto's key set at {0} is unreadable: {1}")]
    Jwks(String, &'static str),
    #[error("Logto publishes {0}, which the export does not hold")]
    NotExported(String),
    #[error("the issuer has no name")]
    NoIssuer,
    #[error("MGPASS_CLIENT_SECRET is not set")]
    NoSecret,
    /// mgPass was not asked.
    #[error("the token: {0}")]
    Token(#[from] TokenFault),
}

impl Failure {
    /// For scripts: stable, without values.
    pub fn code(&self) -> &str {
        match self {
            Self::NoUrl => "no_url",
            Self::NotAnAddress(_) => "not_an_address",
            Self::PlainHttp(_) => "plain_http",
            Self::NoToken => "no_admin_token",
            Self::Unreachable(..) => "unreachable",
            Self::TokenRefused(_) => "admin_token_refused",
            Self::NotTheProxy(..) => "not_the_proxy",
            Self::MalformedUser(_) => "malformed_user_id",
            Self::UnknownFlag(..) => "unknown_flag",
            Self::FlagRefused(..) => "flag_refused",
            Self::NotNow(_) => "not_now",
            Self::BeginsWithDash(_) => "begins_with_dash",
            Self::NotWritten(_) => "not_written_by_api",
            Self::GitWouldTake(_) => "git_would_take",
            Self::Unwell(..) => "proxy_unwell",
            Self::Refused { code, .. } => code,
            Self::Store(_) => "store_failed",
            Self::Unreadable(_) => "unreadable_answer",
            Self::Replaced(_) => "job_replaced",
            Self::Read(..) => "file_not_read",
            Self::Write(..) | Self::Output(_) => "not_written",
            Self::Export(_) => "export_unreadable",
            Self::Value(_) => "value_refused",
            Self::NotRun(..) | Self::Failed(_) => "command_failed",
            Self::NotFetched(..) => "not_fetched",
            Self::Jwks(..) => "key_set_unreadable",
            Self::NotExported(_) => "key_not_exported",
            Self::NoIssuer => "no_issuer",
            Self::NoSecret => "no_client_secret",
            Self::Token(_) => "token_unusable",
        }
    }

    /// The order made no sense for this user: somebody has to look, and nothing failed.
    pub fn needs_a_person(&self) -> bool {
        let codes = [
            "proxy.no_such_user",
            "proxy.user_lives",
            "proxy.certificate_refused",
        ];
        matches!(self, Self::Refused { code, .. } if codes.contains(&code.as_str()))
    }

    /// Whether the same call may succeed in a moment: the Worker restarts, or a
    /// store of its own was slow.
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Unreachable(..) | Self::Unwell(..) | Self::Store(_) => true,
            Self::NoUrl
            | Self::NotAnAddress(_)
            | Self::PlainHttp(_)
            | Self::NoToken
            | Self::TokenRefused(_)
            | Self::NotTheProxy(..)
            | Self::MalformedUser(_)
            | Self::UnknownFlag(..)
            | Self::FlagRefused(..)
            | Self::NotNow(_)
            | Self::BeginsWithDash(_)
            | Self::NotWritten(_)
            | Self::GitWouldTake(_)
            | Self::Refused { .. }
            | Self::Unreadable(_)
            | Self::Replaced(_)
            | Self::Read(..)
            | Self::Write(..)
            | Self::Output(_)
            | Self::Export(_)
            | Self::Value(_)
            | Self::NotRun(..)
            | Self::Failed(_)
            | Self::NotFetched(..)
            | Self::Jwks(..)
            | Self::NotExported(_)
            | Self::NoIssuer
            | Self::NoSecret
            | Self::Token(_) => false,
        }
    }
}

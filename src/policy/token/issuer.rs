//! Who issues tokens that mean something here, and by which exact names. The name in a token picks
//! a partition; everything after that stays inside it.

/// The two issuers whose tokens mean something here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Issuer {
    Logto,
    Mgpass,
}

impl Issuer {
    /// As events and the status name it.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Logto => "logto",
            Self::Mgpass => "mgpass",
        }
    }
}

/// The exact `iss` of each issuer: compared byte by byte, so a trailing slash is another issuer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IssuerNames {
    logto: String,
    mgpass: String,
}

/// Why two names cannot keep two issuers apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum IssuerNamesFault {
    /// An empty name would be nobody's.
    #[error("an issuer name is empty")]
    Empty,
    /// Equal names would let one key set stand for both issuers.
    #[error("both issuers have the same name")]
    Same,
}

impl IssuerNames {
    /// # Errors
    /// When the names cannot keep the issuers apart.
    pub fn new(logto: &str, mgpass: &str) -> Result<Self, IssuerNamesFault> {
        if logto.is_empty() || mgpass.is_empty() {
            return Err(IssuerNamesFault::Empty);
        }
        if logto == mgpass {
            return Err(IssuerNamesFault::Same);
        }
        Ok(Self {
            logto: logto.to_owned(),
            mgpass: mgpass.to_owned(),
        })
    }

    #[must_use]
    pub fn name(&self, issuer: Issuer) -> &str {
        match issuer {
            Issuer::Logto => &self.logto,
            Issuer::Mgpass => &self.mgpass,
        }
    }

    pub(super) fn find(&self, name: &str) -> Option<Issuer> {
        [Issuer::Logto, Issuer::Mgpass]
            .into_iter()
            .find(|issuer| self.name(*issuer) == name)
    }
}

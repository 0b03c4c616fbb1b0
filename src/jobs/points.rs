//! The points, as far as jobs go.

use super::book::{Paged, Standing};
use super::{Delay, Meter};
use crate::context::Context;
use crate::mirror::differences::Difference;
use crate::ports::Platform;
use crate::request::UserId;

pub(super) async fn source<P: Platform>(
    _: &mut Meter<'_, P>,
    _: &Context<'_>,
    _: &Standing,
) -> Result<Paged, Delay> {
    Err(Delay::NotBound)
}

/// Balances of both sides, where a source is bound.
#[derive(Default)]
pub(super) struct Balances {
    pub n_compared: i64,
    found: Vec<(UserId, Difference)>,
}

impl Balances {
    pub fn of(&self, user: &UserId) -> Vec<Difference> {
        self.found
            .iter()
            .filter(|(holder, _)| holder == user)
            .map(|(_, difference)| difference.clone())
            .collect()
    }
}

pub(super) async fn compare<P: Platform>(
    _: &mut Meter<'_, P>,
    _: &[UserId],
) -> Result<Balances, Delay> {
    Ok(Balances::default())
}

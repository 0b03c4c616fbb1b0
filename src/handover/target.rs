//! What mgPass's database knows of the authority: the newest generation it was told.
//!
//! The first statement of every batch that writes users there compares it with its own
//! (`in_generation!`), so that a writer of an earlier generation changes nothing,
//! however late it lands. Removing an effect that was paid is exempt: effects cross the
//! move.
//!
//! Harmless twice: it only rises. Told of a generation that the proxy's own database
//! does not have (a crash between the two), that one goes on past it.

use crate::runtime::ports::{Row, Statement};
use crate::runtime::sql::integer;

const RAISE: &str = "UPDATE logto_mirror_authority SET generation = max(generation, ?1)";
const GENERATION: &str = "SELECT generation FROM logto_mirror_authority";

/// Every string above, for the test that prepares each one against the schema.
#[cfg(not(target_arch = "wasm32"))]
pub const ALL_SQL: &[&str] = &[RAISE, GENERATION];

/// The last statement answers what it is then.
pub fn raise(generation: i64) -> Vec<Statement> {
    vec![
        Statement::new(RAISE, vec![generation.into()]),
        self::generation(),
    ]
}

pub fn generation() -> Statement {
    Statement::new(GENERATION, vec![])
}

/// The answer of [`raise`] and [`generation`].
pub fn parse_generation(results: &[Vec<Row>]) -> Option<i64> {
    integer(results.last()?.first()?, "generation")
}

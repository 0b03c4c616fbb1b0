//! `GET /api/users/:id/custom-data`: the object alone.

use super::Shown;
use super::view::View;

pub fn show(view: &View<'_>, _: Option<&str>) -> Shown {
    Shown::Body(view.shown("customData").unwrap_or_else(|| "{}".to_owned()))
}

//! The bodies of Logto's routes, as data (1.41). Order is the order of issues and of columns.

use super::schema::Empty::{Nothing, Null, NullOrEmptyText};
use super::schema::Pattern::{Digits, Email, Username};
use super::schema::Presence::{Optional, Required};
use super::schema::Schema::{Flag, OneOf, Record, Shape, Text};
use super::schema::TextCheck::{AtLeast, AtMost, Pattern, Url};
use super::schema::{Empty, Field, Presence, Schema};

const fn field(name: &'static str, schema: Schema, presence: Presence, empty: Empty) -> Field {
    Field {
        name,
        schema,
        presence,
        empty,
    }
}

const fn optional(name: &'static str, schema: Schema) -> Field {
    field(name, schema, Optional, Nothing)
}

const fn required(name: &'static str, schema: Schema) -> Field {
    field(name, schema, Required, Nothing)
}

const fn clearable(name: &'static str, schema: Schema) -> Field {
    field(name, schema, Optional, NullOrEmptyText)
}

const fn nullable(name: &'static str, schema: Schema) -> Field {
    field(name, schema, Optional, Null)
}

const PLAIN: Schema = Text(&[]);
const USERNAME: Schema = Text(&[Pattern(Username)]);
const EMAIL: Schema = Text(&[Pattern(Email)]);
const PHONE: Schema = Text(&[Pattern(Digits)]);
const URL: Schema = Text(&[Url]);
const PASSWORD_TEXT: Schema = Text(&[AtLeast(1)]);

const ALGORITHMS: &[&str] = &[
    "Argon2i", "Argon2id", "Argon2d", "SHA1", "SHA256", "MD5", "Bcrypt", "Legacy",
];

pub const ADDRESS: &[Field] = &[
    optional("formatted", PLAIN),
    optional("streetAddress", PLAIN),
    optional("locality", PLAIN),
    optional("region", PLAIN),
    optional("postalCode", PLAIN),
    optional("country", PLAIN),
];

pub const PROFILE: &[Field] = &[
    optional("familyName", PLAIN),
    optional("givenName", PLAIN),
    optional("middleName", PLAIN),
    optional("nickname", PLAIN),
    optional("preferredUsername", PLAIN),
    optional("profile", PLAIN),
    optional("website", PLAIN),
    optional("gender", PLAIN),
    optional("birthdate", PLAIN),
    optional("zoneinfo", PLAIN),
    optional("locale", PLAIN),
    optional("address", Shape(ADDRESS)),
];

pub const USERS_CREATE: &[Field] = &[
    optional("primaryPhone", PHONE),
    optional("primaryEmail", EMAIL),
    optional("username", USERNAME),
    optional("password", PASSWORD_TEXT),
    optional("passwordDigest", Text(&[AtMost(256)])),
    optional("passwordAlgorithm", OneOf(ALGORITHMS)),
    optional("name", PLAIN),
    clearable("avatar", URL),
    optional("customData", Record),
    optional("profile", Shape(PROFILE)),
];

pub const USERS_PATCH: &[Field] = &[
    clearable("username", USERNAME),
    clearable("primaryEmail", EMAIL),
    clearable("primaryPhone", PHONE),
    clearable("name", PLAIN),
    clearable("avatar", URL),
    optional("customData", Record),
    optional("profile", Shape(PROFILE)),
];

pub const USERS_CUSTOM_DATA: &[Field] = &[required("customData", Record)];
pub const USERS_PROFILE: &[Field] = &[required("profile", Shape(PROFILE))];
pub const PASSWORD: &[Field] = &[required("password", PASSWORD_TEXT)];
pub const SUSPENSION: &[Field] = &[required("isSuspended", Flag)];
pub const IDENTITY: &[Field] = &[required("userId", PLAIN), optional("details", Record)];
pub const CONNECTOR: &[Field] = &[
    required("connectorId", PLAIN),
    required("connectorData", Record),
];

pub const ACCOUNT_PATCH: &[Field] = &[
    nullable("name", PLAIN),
    nullable("avatar", URL),
    nullable("username", USERNAME),
    optional("customData", Record),
];
pub const ACCOUNT_EMAIL: &[Field] = &[
    required("email", EMAIL),
    required("newIdentifierVerificationRecordId", PLAIN),
];
pub const ACCOUNT_PHONE: &[Field] = &[
    required("phone", PHONE),
    required("newIdentifierVerificationRecordId", PLAIN),
];
pub const ACCOUNT_IDENTITY: &[Field] = &[required("newIdentifierVerificationRecordId", PLAIN)];

/// Of a stored profile: its known members, in order.
pub fn in_order(shape: &'static [Field], object: &super::json::Object) -> super::json::Object {
    use super::json::{Object, Value};
    let mut ordered = Object::default();
    for field in shape {
        match (field.schema, object.get(field.name)) {
            (Shape(inner), Some(Value::Object(object))) => {
                ordered.set(field.name, Value::Object(in_order(inner, object)));
            }
            (_, Some(value)) => ordered.set(field.name, value.clone()),
            (_, None) => {}
        }
    }
    ordered
}

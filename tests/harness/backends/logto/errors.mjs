// Logto's error bodies. `message` is the English text; on the real server it follows Accept-Language.

import { randomBytes } from 'node:crypto';

export const messages = {
  'auth.authorization_header_missing': 'Authorization header is missing.',
  'auth.authorization_token_type_not_supported': 'Authorization type is not supported.',
  'auth.unauthorized': 'Unauthorized. Please check credentials and its scope.',
  'auth.forbidden': 'Forbidden. Please check your user roles and permissions.',
  'account_center.not_enabled': 'Account center is not enabled.',
  'account_center.field_not_editable': 'Field is not editable.',
  'account_center.field_not_enabled': 'Field is not enabled.',
  'entity.invalid_input': 'Invalid input. Value list must not be empty.',
  'entity.value_too_long': 'The length of value is too long and exceeds the limit.',
  'entity.not_found': 'The resource does not exist.',
  'entity.relation_foreign_key_not_found': 'Cannot find one or more foreign keys. Please check the input and ensure that all referenced entities exist.',
  'guard.invalid_input': 'The request body is invalid.',
  'guard.invalid_pagination': 'The request pagination value is invalid.',
  'password.invalid_legacy_password_format': 'Invalid legacy password format.',
  'password.rejected': 'Password rejected. Please check if your password meets the requirements.',
  'password.unsupported_encryption_method': 'The encryption method {{name}} is not supported.',
  'password.unsupported_legacy_hash_algorithm': 'Unsupported legacy hash algorithm: {{algorithm}}.',
  'session.not_found': 'Session not found. Please go back and sign in again.',
  'session.interaction_not_found': 'Interaction session not found. Please go back and start the session again.',
  'session.connector_session_not_found': 'Connector session not found. Please go back and sign in again.',
  'session.verification_session_not_found': 'The verification was not successful. Restart the verification flow and try again.',
  'session.verification_failed': 'The verification was not successful. Restart the verification flow and try again.',
  'session.identifier_not_found': 'User identifier not found. Please go back and sign in again.',
  'session.identity_conflict': 'Identity mismatch detected. Please initiate a new session to proceed with a different identity.',
  'session.invalid_credentials': 'Incorrect account or password. Please check your input.',
  'session.invalid_interaction_type': 'This operation is not supported for the current interaction. Please initiate a new session.',
  'session.not_supported_for_forgot_password': 'This operation is not supported for forgot password.',
  'user.username_already_in_use': 'This username is already in use.',
  'user.email_already_in_use': 'This email is associated with an existing account.',
  'user.phone_already_in_use': 'This phone number is associated with an existing account.',
  'user.identity_already_in_use': 'The social account has been associated with an existing account.',
  'user.identity_not_exist': 'The social account has not been registered yet.',
  'user.cannot_delete_self': 'You cannot delete yourself.',
  'user.invalid_phone': 'Invalid phone number.',
  'user.last_sign_in_method_required': 'You need to keep at least one identifier in your account.',
  'user.missing_profile': 'You need to provide additional info before signing-in.',
  'user.password_algorithm_required': 'Password algorithm is required.',
  'user.password_and_digest': 'You cannot set both plain text password and password digest.',
  'user.suspended': 'This account is suspended.',
  // Its name for the identifier is never filled in.
  'user.user_not_exist': 'User with  does not exist.',
  'user.username_lowercase_not_allowed': 'Username cannot contain lowercase letters.',
  'user.username_numbers_not_allowed': 'Username cannot contain numbers.',
  'user.username_too_long': 'Username is too long.',
  'user.username_too_short': 'Username is too short.',
  'user.username_underscore_not_allowed': 'Username cannot contain underscores.',
  'user.username_uppercase_not_allowed': 'Username cannot contain uppercase letters.',
  'user.same_password': 'New password cannot be the same as your old password.',
  'verification_code.code_mismatch': 'Invalid verification code.',
  'verification_code.not_found': 'Verification code not found. Please send verification code first.',
  'verification_code.exceed_max_try': 'Verification code retries limitation exceeded. Please request a new verification code.',
  'verification_record.not_found': 'Verification record not found.',
  'verification_record.permission_denied': 'Permission denied, please re-authenticate.',
};

/** A place without a value stays as it stands. */
const filled = (message, values) => message.replace(/{{(\w+)}}/g, (place, name) => (name in values ? String(values[name]) : place));

export class RequestError extends Error {
  /** `values` fill the places of the message. */
  constructor(code, status = 400, { data, details, extra, values = {} } = {}) {
    super(filled(messages[code] ?? code, values));
    this.code = code;
    this.status = status;
    this.data = data;
    this.details = details;
    this.extra = extra;
  }
  /** Member order as recorded: code, data, details, message, then what a provider error adds. */
  get body() {
    return {
      code: this.code,
      ...(this.data === undefined ? {} : { data: this.data }),
      ...(this.details === undefined ? {} : { details: this.details }),
      message: this.message,
      ...this.extra,
    };
  }
}

/**
 * The word is tested for, and one character more is cut off, whatever it is: `Bearer:TOKEN` works, `bearer TOKEN`
 * does not. Of the Management and the Account API.
 */
export function bearerToken(ctx) {
  const header = ctx.get('authorization');
  if (!header) throw new RequestError('auth.authorization_header_missing', 401);
  if (!header.startsWith('Bearer')) {
    throw new RequestError('auth.authorization_token_type_not_supported', 401, { data: { supportedTypes: ['Bearer'] } });
  }
  return header.slice('Bearer'.length + 1);
}

/** What Logto fails at: the answer is a 500 without a code. */
export class InternalError extends Error {
  status = 500;
  body = { message: 'Internal server error.' };
}

export const sessionNotFound = (description) => new RequestError('session.not_found', 400, {
  extra: { error: 'invalid_request', error_description: description },
});

const oidcMessages = {
  aborted: 'End-user aborted interaction.',
  access_denied: 'Access denied.',
  insufficient_scope: 'Token missing scope.',
  invalid_client: 'Invalid client.',
  invalid_client_metadata: 'Invalid client metadata provided.',
  invalid_grant: 'Grant request is invalid.',
  invalid_redirect_uri: "`redirect_uri` did not match any of the client's registered `redirect_uris`.",
  invalid_request: 'Request is invalid.',
  invalid_scope: 'Invalid scope.',
  invalid_target: 'Invalid resource indicator.',
  invalid_token: 'Invalid token provided.',
  server_error: 'An unknown OIDC error occurred. Please try again later.',
  unsupported_grant_type: 'Unsupported `grant_type` requested.',
  unsupported_response_type: 'Unsupported `response_type` requested.',
};

/** The provider's own error with Logto's members in front. Only invalid_grant was recorded with an error_uri. */
export function oidcErrorBody(out, isSessionNotFound) {
  const code = isSessionNotFound ? 'session.not_found' : `oidc.${out.error}`;
  return {
    code,
    message: isSessionNotFound ? messages['session.not_found'] : oidcMessages[out.error] ?? out.error,
    ...(out.error === 'invalid_grant' ? { error_uri: 'https://openid.sh/debug/invalid_grant' } : {}),
    ...out,
  };
}

const lower = '0123456789abcdefghijklmnopqrstuvwxyz';
const urlSafe = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_';
function randomText(alphabet, length) {
  const bytes = randomBytes(length);
  let text = '';
  for (let i = 0; i < length; i += 1) text += alphabet[bytes[i] % alphabet.length];
  return text;
}
/** User ids are 12 of these, most other ids 21. */
export const randomId = (length) => randomText(lower, length);
export const randomToken = (length) => randomText(urlSafe, length);

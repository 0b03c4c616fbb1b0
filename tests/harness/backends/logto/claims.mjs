// What a user looks like in ID tokens and at /oidc/me.

/** Claims by scope; their order here is the order in the answers. */
export const claimsByScope = {
  openid: ['sub'],
  profile: [
    'name', 'family_name', 'given_name', 'middle_name', 'nickname', 'preferred_username', 'profile', 'picture', 'website',
    'gender', 'birthdate', 'zoneinfo', 'locale', 'updated_at', 'username', 'created_at',
  ],
  email: ['email', 'email_verified'],
  phone: ['phone_number', 'phone_number_verified'],
  address: ['address'],
  custom_data: ['custom_data'],
  identities: ['identities', 'sso_identities'],
  roles: ['roles'],
  'urn:logto:scope:organizations': ['organizations', 'organization_data'],
  'urn:logto:scope:organization_roles': ['organization_roles'],
  'urn:logto:scope:sessions': [],
};
export const scopesSupported = [
  'openid', 'offline_access', 'profile', 'email', 'phone', 'address', 'custom_data', 'identities', 'roles',
  'urn:logto:scope:organizations', 'urn:logto:scope:organization_roles', 'urn:logto:scope:sessions',
];
export const claimsSupported = [...Object.values(claimsByScope).flat(), 'sid', 'auth_time', 'iss'];

/** Absent values of the main columns appear as null, those of the profile not at all; times are milliseconds. */
export function userClaims(user, use, roleNames) {
  const { profile } = user;
  const { formatted, streetAddress, locality, region, postalCode, country } = profile.address ?? {};
  const all = {
    sub: user.id,
    name: user.name,
    family_name: profile.familyName,
    given_name: profile.givenName,
    middle_name: profile.middleName,
    nickname: profile.nickname,
    preferred_username: profile.preferredUsername ?? user.username ?? undefined,
    profile: profile.profile,
    picture: user.avatar,
    website: profile.website,
    gender: profile.gender,
    birthdate: profile.birthdate,
    zoneinfo: profile.zoneinfo,
    locale: profile.locale,
    updated_at: user.updatedAt,
    username: user.username,
    created_at: user.createdAt,
    email: user.primaryEmail,
    email_verified: user.primaryEmail !== null,
    phone_number: user.primaryPhone,
    phone_number_verified: user.primaryPhone !== null,
    address: profile.address && { formatted, street_address: streetAddress, locality, region, postal_code: postalCode, country },
    roles: roleNames,
    organizations: [],
    // The ID token carries these only when an operator enables extended claims.
    ...(use === 'userinfo' ? { custom_data: user.customData, identities: user.identities, sso_identities: [], organization_data: [], organization_roles: [] } : {}),
  };
  return Object.fromEntries(Object.entries(all).filter(([, value]) => value !== undefined));
}

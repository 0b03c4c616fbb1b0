// What the stand-in knows from the start. Ids and secrets are fixed, so that tests and the sandbox can name them:
//
//   SPA, public, PKCE      sandboxspa00000000000   redirect http://127.0.0.1:5999/callback
//   Traditional web app    sandboxweb00000000000   secret sample-secret-web, same redirect
//   M2M application        sandboxm2m00000000000   secret sample-secret-m2m, may ask for scope `all` of the Management API
//   M2M without the role   sandboxm2mnoroles0000   secret sample-secret-m2m-noroles, gets tokens without that scope
//   resources              https://default.logto.app/api (scope all), https://api.orders.example (no scopes)
//
// Besides the listed redirect URIs, http://127.0.0.1:<any port>/callback and the same on localhost are allowed
// unless startLogto is given `loopbackRedirects: false`.

export const MANAGEMENT_RESOURCE = 'https://default.logto.app/api';

const userFlow = { grant_types: ['authorization_code', 'refresh_token'], response_types: ['code'] };
const callback = 'http://127.0.0.1:5999/callback';

/** A machine-to-machine application that may use the Management API. */
export const machine = ({ id, secret }, name) => ({
  id, type: 'MachineToMachine', name, description: null, cors: [], secret, managementAccess: true,
  client: { grant_types: ['client_credentials'], response_types: [], redirect_uris: [], token_endpoint_auth_method: 'client_secret_basic' },
});

export const defaultSeed = {
  applications: [
    {
      id: 'sandboxspa00000000000', type: 'SPA', name: 'spa', description: null, cors: [],
      client: { ...userFlow, token_endpoint_auth_method: 'none', redirect_uris: [callback], post_logout_redirect_uris: ['http://127.0.0.1:5999/'] },
    },
    {
      id: 'sandboxweb00000000000', type: 'Traditional', name: 'web', description: null, cors: [], secret: 'sample-secret-web',
      client: { ...userFlow, token_endpoint_auth_method: 'client_secret_basic', redirect_uris: [callback], post_logout_redirect_uris: ['http://127.0.0.1:5999/'] },
    },
    machine({ id: 'sandboxm2m00000000000', secret: 'sample-secret-m2m' }, 'proxy-m2m'),
    {
      id: 'sandboxm2mnoroles0000', type: 'MachineToMachine', name: 'm2m-noroles', description: null, cors: [], secret: 'sample-secret-m2m-noroles',
      client: { grant_types: ['client_credentials'], response_types: [], redirect_uris: [], token_endpoint_auth_method: 'client_secret_basic' },
    },
  ],
  resources: [
    { indicator: MANAGEMENT_RESOURCE, scopes: ['all'], ttl: 3600 },
    { indicator: 'https://api.orders.example', scopes: [], ttl: 3600 },
  ],
  // Rows for the users table, see UserStore.create; `password` may be plain text here.
  users: [],
  // {url, events?, signingKey?, headers?}
  hooks: [],
};

/** Settings of the sign-in page as recorded: username and password to register, e-mail as a second way to sign in. */
export const signInExperience = {
  tenantId: 'default',
  id: 'default',
  color: { primaryColor: '#6139F6', isDarkModeEnabled: false, darkPrimaryColor: '#8768F8' },
  branding: { logoUrl: 'https://logto.io/logo.svg', darkLogoUrl: 'https://logto.io/logo-dark.svg' },
  hideLogtoBranding: false,
  languageInfo: { autoDetect: true, fallbackLanguage: 'en' },
  termsOfUseUrl: null,
  privacyPolicyUrl: null,
  agreeToTermsPolicy: 'Automatic',
  signIn: {
    methods: [
      { identifier: 'username', password: true, verificationCode: false, isPasswordPrimary: true },
      { identifier: 'email', password: true, verificationCode: true, isPasswordPrimary: true },
    ],
  },
  signUp: { identifiers: ['username'], password: true, verify: false, secondaryIdentifiers: [] },
  socialSignIn: {},
  socialSignInConnectorTargets: [],
  signInMode: 'SignInAndRegister',
  customCss: null,
  customContent: {},
  customUiAssets: null,
  customUiCsp: {},
  passwordPolicy: { length: { min: 8, max: 256 }, rejects: { pwned: false, repetitionAndSequence: true, userInfo: true, words: [] } },
  mfa: { factors: [], policy: 'UserControlled' },
  adaptiveMfa: {},
  singleSignOnEnabled: false,
  supportEmail: null,
  supportWebsiteUrl: null,
  unknownSessionRedirectUrl: null,
  captchaPolicy: {},
  sentinelPolicy: {},
  emailBlocklistPolicy: {},
  verificationCodePolicy: {},
  passkeySignIn: {},
  signUpProfileFields: null,
  passwordExpiration: {},
  usernamePolicy: {
    caseSensitive: true, minLength: 1, maxLength: 128,
    allowedChars: { lowercase: true, uppercase: true, numbers: true, underscore: true },
  },
  socialConnectors: [],
  ssoConnectors: [],
  forgotPassword: { phone: false, email: true },
  isDevelopmentTenant: false,
  customProfileFields: [],
  customProfileFieldCatalog: [],
};

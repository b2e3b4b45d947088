/**
 * What a service does in the life of a member's TOTP, call by call: docs/flows.md as a table.
 * flow-view.js runs it.
 */

/**
 * @typedef {object} Step
 * @property {string} title
 * @property {string} method
 * @property {string} explain one or two sentences, before the call
 * @property {string[]} [main] optional fields to show
 * @property {Record<string, any>} [set] values to begin with
 * @property {Record<string, any>} [sample] the same, in the sandbox only
 * @property {string[]} [take] fields that take what an earlier step kept under the same name
 * @property {Record<string, Keep>} [keep] what later steps take, or the end shows
 * @property {boolean} [login] whether the sandbox's login token is put in
 * @property {string} [done] what was achieved
 * @property {Record<string, Remedy>} [fails] by reason; else `unknown` for unknown outcomes, `default` for others
 */

/** @typedef {(response: Record<string, any>, request: Record<string, any>) => any} Keep */

/** What to do about a failure: advice, and perhaps a call that helps, or another flow. */
/** @typedef {{ text: string, call?: Detour, flow?: string }} Remedy */

/**
 * A call beside the flow. A mistake is sent at once; anything else waits for the button.
 * @typedef {Step & { mistake?: boolean, sandboxOnly?: boolean }} Detour
 */

/**
 * @typedef {object} Flow
 * @property {string} id
 * @property {string} title
 * @property {string} summary
 * @property {string} member the member of the sandbox to do it with
 * @property {Step[]} steps
 * @property {string} achieved
 * @property {Detour[]} mistakes
 * @property {string[]} next flows that go on from here
 */

const TOTP = 'stytch.b2b.totp.v1.TotpService';
const CODES = 'stytch.b2b.recovery_codes.v1.RecoveryCodesService';

/** @type {Detour} */
const DELETE_FIRST = {
  title: 'Delete the TOTP that is there',
  method: `${TOTP}/Delete`,
  explain: 'It goes with its recovery codes. Without a session, the call has the permissions of the project.',
};

/** @type {Record<string, Remedy>} */
const HAS_TOTP = {
  ACTIVE_TOTP_EXISTS: { text: 'The member has an active TOTP. It must be deleted before there can be another.', call: DELETE_FIRST },
  unknown: { text: 'A TOTP may be pending whose secret nobody has. Creating again is safe, as long as no earlier QR code is on a screen.' },
};

/** @type {Record<string, Remedy>} */
const CODE_FAILS = {
  TOTP_CODE_ALREADY_AUTHENTICATED: { text: 'A code works once. Wait for the next one; the login token is still good.' },
  UNABLE_TO_AUTHENTICATE_TOTP: { text: 'The code is wrong or too old. Let the member try another one; the login token is still good.' },
  INTERMEDIATE_SESSION_NOT_FOUND: { text: 'The login token is spent or too old. The member must log in again, which gives a new one.' },
  TOTP_NOT_FOUND: { text: 'The member has no TOTP. Enrol one first.', flow: 'enrol' },
  EXPIRED_TOTP: { text: 'The registration was pending for too long. Start again.' },
  USER_LOCK_LIMIT_REACHED: { text: 'Too many wrong codes have locked the member. Tell the member, and do not retry.' },
  unknown: { text: 'The call may have created a session that nobody holds. Retry it with the same key, or let the member log in again.' },
  default: { text: 'The login token and the code each work once. After a failure on the code, the token is still good.' },
};

/** @type {Detour[]} */
const OUTCOMES = [
  {
    title: 'Rotate while Stytch fails',
    method: `${CODES}/Rotate`,
    explain: 'This calls Rotate for a member of the sandbox whose every call fails at Stytch. The outcome is unknown: the call may have taken effect, so only its key makes a retry safe.',
    mistake: true,
    sandboxOnly: true,
    main: ['member_id'],
    set: { member_id: 'internal-error' },
  },
];

/** @type {Detour} */
const SAME_CODE = {
  title: 'Send the same code once more',
  method: `${TOTP}/Authenticate`,
  explain: 'A new login with the code of the last one. Stytch refuses it, and the field is marked.',
  mistake: true,
  sandboxOnly: true,
  take: ['code'],
  login: true,
};

/** @type {Flow[]} */
export const FLOWS = [
  {
    id: 'enrol',
    title: 'Enrol a member',
    summary: 'Register a TOTP, show its QR code, and accept its first code.',
    member: 'fresh',
    steps: [
      {
        title: 'Register a TOTP',
        method: `${TOTP}/Create`,
        explain: 'The answer has a QR code, the secret for those who cannot scan, and recovery codes. Call it when the member asks: a second call invalidates the QR code on the screen.',
        keep: { recovery_codes: (response) => response.recovery_codes },
        done: 'A TOTP is pending. Its first code makes it active.',
        fails: HAS_TOTP,
      },
      {
        title: 'Accept the first code',
        method: `${TOTP}/Authenticate`,
        explain: 'The member types a code of the authenticator app. The token is of a login that waits for its second factor, so the answer is a session.',
        main: ['intermediate_session_token', 'set_mfa_enrollment'],
        set: { set_mfa_enrollment: 'enroll' },
        login: true,
        keep: { code: (_, request) => request.code },
        done: 'The TOTP is active, and the member has a session.',
        fails: CODE_FAILS,
      },
    ],
    achieved: 'The member has an active TOTP and a session, and needs a code at each login from now on. Show the recovery codes now.',
    mistakes: [
      {
        title: 'Create a second TOTP',
        method: `${TOTP}/Create`,
        explain: 'The member has one, so Stytch refuses: rejected means that nothing was done.',
        mistake: true,
        main: ['member_id'],
      },
      SAME_CODE,
      {
        title: 'Register for two minutes only',
        method: `${TOTP}/Create`,
        explain: 'A registration may be pending for 5 to 1440 minutes. The façade refuses the request: not sent means that Stytch never saw it.',
        mistake: true,
        main: ['expiration_minutes'],
        set: { expiration_minutes: 2 },
      },
      ...OUTCOMES,
    ],
    next: ['log-in', 'lost-phone'],
  },
  {
    id: 'log-in',
    title: 'Log in',
    summary: 'Exchange a login token and a code for a session.',
    member: 'enrolled',
    steps: [
      {
        title: 'Check the code',
        method: `${TOTP}/Authenticate`,
        explain: 'Your login call (password, magic link, SSO) returned an intermediate session token. With a code it becomes a session, here for eight hours and with a claim of your own.',
        main: ['intermediate_session_token', 'session_duration_minutes', 'session_custom_claims'],
        set: { session_duration_minutes: 480, session_custom_claims: { tier: 'gold' } },
        login: true,
        keep: { code: (_, request) => request.code },
        done: 'The member has a session.',
        fails: CODE_FAILS,
      },
    ],
    achieved: 'The member is logged in with both factors. The response has the session, its token and its JWT.',
    mistakes: [
      SAME_CODE,
      {
        title: 'Send a wrong code',
        method: `${TOTP}/Authenticate`,
        explain: 'Stytch refuses the code, and counts: ten wrong ones in a row lock the member. The login token is not spent.',
        mistake: true,
        sandboxOnly: true,
        set: { code: '000000' },
        login: true,
      },
      ...OUTCOMES,
    ],
    next: ['lost-phone', 'rotate'],
  },
  {
    id: 'lost-phone',
    title: 'Lost phone',
    summary: 'Log in with a recovery code, and enrol a new phone.',
    member: 'enrolled',
    steps: [
      {
        title: 'Log in with a recovery code',
        method: `${CODES}/Recover`,
        explain: 'A recovery code takes the place of the TOTP code. Each works once.',
        main: ['intermediate_session_token'],
        login: true,
        keep: { session_token: (response) => response.session_token },
        done: 'The member has a session, and one recovery code less.',
        fails: {
          NO_ACTIVE_RECOVERY_CODE_BACKED_FACTOR: { text: 'The member has no active TOTP, so no recovery codes either. Enrol one first.', flow: 'enrol' },
          default: { text: 'Wrong codes count toward the lock. A member without codes needs your support staff: Delete works without a session.', call: DELETE_FIRST },
        },
      },
      {
        title: 'Delete the lost TOTP',
        method: `${TOTP}/Delete`,
        explain: 'Its recovery codes go with it. From here to the first code of the new TOTP, the member has no second factor.',
        main: ['session_token'],
        take: ['session_token'],
        done: "The lost phone's codes work no more.",
        fails: { TOTP_NOT_FOUND: { text: 'It is deleted already. Go on with the next step.' } },
      },
      {
        title: 'Register the new phone',
        method: `${TOTP}/Create`,
        explain: 'As in an enrolment, within the session.',
        main: ['session_token'],
        take: ['session_token'],
        keep: { recovery_codes: (response) => response.recovery_codes },
        done: 'A new TOTP is pending.',
        fails: HAS_TOTP,
      },
      {
        title: 'Accept its first code',
        method: `${TOTP}/Authenticate`,
        explain: 'The session token takes the place of the login, so the session is extended and has both factors.',
        main: ['session_token'],
        take: ['session_token'],
        done: 'The new TOTP is active.',
        fails: CODE_FAILS,
      },
    ],
    achieved: 'The member has a new TOTP on a new phone, and new recovery codes. Show them now.',
    mistakes: OUTCOMES,
    next: ['rotate', 'log-in'],
  },
  {
    id: 'migrate',
    title: 'Migrate',
    summary: "Import a TOTP from another provider. The member keeps the app's entry.",
    member: 'fresh',
    steps: [
      {
        title: 'Import the secret',
        method: `${TOTP}/Migrate`,
        explain: 'The secret of the old provider, for SHA-1, six digits and 30 seconds; and its recovery codes, if there are any.',
        main: ['recovery_codes'],
        sample: { secret: 'MZ77J2BROMKQ4MADZXT6WWXYNFHLEJSI', recovery_codes: ['their-old-1', 'their-old-2'] },
        done: 'The TOTP is active at once.',
        fails: {
          ACTIVE_TOTP_EXISTS: { text: 'The member has an active TOTP. In a batch, that means: migrated before.', call: DELETE_FIRST },
          default: { text: 'In a batch, RESOURCE_EXHAUSTED says when to continue, and ALREADY_EXISTS that the member was migrated before: the batch can run again.' },
        },
      },
      {
        title: 'Log in with the old entry',
        method: `${TOTP}/Authenticate`,
        explain: 'The app shows the codes that it always showed. One of them proves the import.',
        main: ['intermediate_session_token'],
        login: true,
        keep: { code: (_, request) => request.code },
        done: 'The old entry works.',
        fails: CODE_FAILS,
      },
    ],
    achieved: "The member's TOTP moved here, and the member noticed nothing.",
    mistakes: [SAME_CODE],
    next: ['log-in', 'rotate'],
  },
  {
    id: 'rotate',
    title: 'Rotate recovery codes',
    summary: 'Replace a list that was exposed or is nearly used up.',
    member: 'enrolled',
    steps: [
      {
        title: 'See the unused codes',
        method: `${CODES}/Get`,
        explain: 'This call only reads, so it is always safe to retry.',
        keep: { recovery_code: (response) => response.recovery_codes[0] },
        done: 'These codes are valid until they are used or replaced.',
        fails: { RECOVERY_CODES_NOT_FOUND: { text: 'The member has no recovery codes, because there is no TOTP. Enrol one first.', flow: 'enrol' } },
      },
      {
        title: 'Replace them',
        method: `${CODES}/Rotate`,
        explain: 'Ten new codes; the old ones are worthless from then on.',
        keep: { recovery_codes: (response) => response.recovery_codes },
        done: 'The member has ten new codes.',
        fails: { unknown: { text: 'Call Get to see which codes are valid.' } },
      },
    ],
    achieved: 'The old list is worthless, and the member has ten new codes. Show them now.',
    mistakes: [
      {
        title: 'Use a code of the old list',
        method: `${CODES}/Recover`,
        explain: 'Stytch refuses it: the code was replaced.',
        mistake: true,
        sandboxOnly: true,
        take: ['recovery_code'],
        login: true,
      },
      ...OUTCOMES,
    ],
    next: ['lost-phone', 'log-in'],
  },
];

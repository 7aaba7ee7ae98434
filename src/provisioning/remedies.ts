import type { Step } from './attestation/verdict.ts'
import type { Registration } from './registration-record.ts'

/** Why it ended as it did, for somebody who has not read any of this. */
export interface Explanation {
  /** The stable word of the step that decided. */
  readonly reason: string
  /** One sentence. */
  readonly cause: string
  /** What to do about it. */
  readonly remedy: string
}

type Text = readonly [cause: string, remedy: string]

const MUSTER_CERTS =
  'With OpenSSL the file is made by "cat device.pem intermediate.pem > full-chain.pem"; "muster certs device" makes it as well.'
const NEW_CERTIFICATE = 'Issue the certificate again and install it on the device.'

/** Everything by which a registration can end, and the word of each step that decides (users-and-lessons.md 1). */
const texts: Readonly<Record<string, Text>> = {
  // --- who is it
  'unknown-id-scope': [
    'No provisioning service here has the ID scope that the device asked for.',
    'Give the device the ID scope that "muster up" printed (idScope in the ready file), and check that it dials the right server.',
  ],
  'no-credential': [
    'The device showed neither a certificate nor a token.',
    'Configure its certificate and key, or its symmetric key. Behind a proxy that ends TLS a certificate does not arrive: let TLS pass through.',
  ],
  'tpm-not-enrolled': [
    'The device showed a TPM endorsement key, and no TPM enrollment has its registration ID.',
    'Enroll the device under exactly this registration ID, or configure another attestation on it.',
  ],
  'attestation-mismatch': [
    'The enrollment of this device is for another kind of attestation than the one it used.',
    'Configure the device for the enrolled kind, or delete the enrollment and create it anew with the kind that the device uses. While it exists no enrollment group is asked.',
  ],
  // --- TPM
  challenged: [
    'The TPM was challenged, as every one is at first, and this request goes no further.',
    'Nothing, if a registration follows. If none does, the TPM could not activate the key that it was sent: look into the log of the device, and enroll the endorsement key that "muster tpm" prints there.',
  ],
  'endorsement-key-malformed': [
    'What the device sent as its endorsement key is no TPM public key.',
    'Send the TPM2B_PUBLIC of the endorsement key in base64.',
  ],
  'endorsement-key-mismatch': [
    'The TPM that the device showed is not the enrolled one: its endorsement key is another.',
    'Enroll the endorsement key that "muster tpm" prints on the device; one TPM has a different key for each template that made it.',
  ],
  'storage-root-key-invalid': [
    'What the device sent as its storage root key cannot be used.',
    'Send the TPM2B_PUBLIC of a storage root key, RSA or ECC, in base64; the step says what is wrong with it.',
  ],
  'no-challenge-open': [
    'The TPM device came with a token, and no challenge is open that it could have signed with.',
    'Let it register from the beginning: without a token, with its endorsement and storage root keys.',
  ],
  // --- symmetric keys
  'token-malformed': [
    'What the device sent as its SAS token cannot be read as one.',
    'Send "SharedAccessSignature sr=…&sig=…&se=…" in the Authorization header (MQTT: as the password), each value percent-encoded once.',
  ],
  'token-for-another-resource': [
    'The SAS token was made for another resource than this registration.',
    'Sign "{ID scope}/registrations/{registration ID}" with the registration ID that the path or user name carries; a token for the hub is none for provisioning.',
  ],
  'token-expired': [
    'The SAS token had expired when it arrived.',
    'Set the clock of the device (NTP), and make a fresh token for every registration.',
  ],
  'signature-mismatch': [
    'The token was signed with neither the primary nor the secondary key of the device’s own enrollment.',
    'Copy the key again: "muster dps enrollment show --enrollment-id ID --show-keys". An individual enrollment decides alone; a key derived from a group does not open it.',
  ],
  'no-group-key-matches': [
    'The device has no enrollment of its own, and its token was signed with no key derived from an enrollment group.',
    'Enroll the device, or derive its key from the group’s: "muster derive-key --registration-id ID < group-key-file", with exactly the registration ID that the device sends.',
  ],
  'group-key-itself': [
    'The token was signed with the key of the enrollment group itself.',
    'Derive the key of the device, "muster derive-key --registration-id ID < group-key-file", install that one, and change the group’s key, because it was on a device.',
  ],
  // --- certificates
  'no-certificate': [
    'The device presented no certificate.',
    'Configure certificate and key in its provisioning client; a server can ask for them, not force them.',
  ],
  'certificate-malformed': [
    'The certificate that the device presented cannot be read.',
    `${NEW_CERTIFICATE} The step says what is wrong with its encoding.`,
  ],
  'common-name-mismatch': [
    'The common name of the certificate is not the registration ID that the device asked for.',
    'Register under the common name of the certificate, or issue a certificate whose subject has exactly one common name, the registration ID.',
  ],
  'thumbprint-mismatch': [
    'The certificate that the device presented is not the enrolled one, although it bears the right name.',
    'If the device is yours, it was given a new certificate: enroll it (as secondary, to change over without a gap). If it is not, somebody else tries to be this device.',
  ],
  'not-yet-valid': [
    'A certificate of the chain is not valid yet.',
    'Compare the clocks of the device, its authority and this server; else wait, or issue the certificate again.',
  ],
  expired: [
    'A certificate of the chain has expired.',
    `${NEW_CERTIFICATE} If an intermediate expired, renew it and give the devices the new chain.`,
  ],
  'issuer-not-found': [
    'An intermediate certificate is missing: the device did not send the issuer of its last certificate, and nobody here vouches for it.',
    `Give the device the full-chain file (leaf first, then every intermediate), or upload and verify the issuer. ${MUSTER_CERTS}`,
  ],
  'self-signed': [
    'The certificate is signed by itself, and the device has no individual enrollment that names it.',
    'Create an individual enrollment with this certificate, or issue the device a certificate of a verified authority.',
  ],
  'untrusted-root': [
    'The chain ends at an authority that is not known here.',
    'Upload that root with "muster dps certificate create", prove possession of it, and refer an enrollment group to it.',
  ],
  'authority-not-verified': [
    'The authority of the chain was uploaded, but possession of it was never proved, so it vouches for nobody.',
    'Verify it: "muster dps certificate generate-verification-code", sign the code with the authority, "muster dps certificate verify"; or create it with --verified.',
  ],
  'no-group-for-authority': [
    'The chain is good, but no enrollment group refers to any authority in it.',
    'Create an enrollment group for the root or an intermediate of the chain, or an individual enrollment of the device.',
  ],
  'issuer-key-mismatch': [
    'A certificate was issued with another key than that of the authority with this name.',
    'The authority was probably made anew under its old name: issue the certificates below it again, or present the old authority.',
  ],
  'signature-invalid': [
    'The signature of a certificate was not made by the authority that it names.',
    'The certificate was altered, or two authorities bear one name: present the right intermediate, or issue the certificate again.',
  ],
  'signature-weak': [
    'A certificate is signed with MD5 or SHA-1, which can be forged.',
    'Issue it again with SHA-256 or better.',
  ],
  'signature-unsupported': [
    'A certificate is signed in a way, or has a key, that is not supported here.',
    'Issue it again with RSA from 2048 bits or with P-256, P-384 or P-521, and SHA-256 or better.',
  ],
  'too-deep': ['The chain is longer than is taken here.', 'Use fewer intermediates, or upload and verify one of them.'],
  'too-many-signatures': [
    'The certificates that were presented can be combined in too many ways.',
    'Present the certificates of the chain only.',
  ],
  'unknown-critical-extension': [
    'A certificate has a critical extension that is not known here.',
    'Issue it again without that extension, or with the extension not critical.',
  ],
  'weak-key': ['A certificate of the chain has a weak key.', 'Issue it again with RSA from 2048 bits or with P-256.'],
  'not-a-ca': [
    'A certificate that signed another one is no authority (basicConstraints CA:TRUE is missing).',
    'Issue the intermediate again as an authority; a device certificate cannot vouch for another.',
  ],
  'key-usage-not-cert-sign': [
    'The key usage of an authority in the chain does not allow it to sign certificates.',
    'Issue the authority again with keyCertSign.',
  ],
  'path-length-exceeded': [
    'An authority in the chain does not allow so many intermediates below it (pathLen).',
    'Use fewer intermediates, or issue the authority again with a larger path length.',
  ],
  'not-for-client-auth': [
    'The extended key usage of a certificate does not allow client authentication.',
    'Issue it again with clientAuth, or without an extended key usage.',
  ],
  'name-constraint-broken': [
    'A name in a certificate is outside of what an authority above it may sign.',
    'Issue the certificate with a permitted name, or the authority without the constraint.',
  ],
  // --- the request
  'request-refused': [
    'The request is none that the service can do; the message says what is wrong with it.',
    'Do as the message says.',
  ],
  'too-many-waiting': [
    'More devices were waiting to be assigned than the server takes at once.',
    'Nothing: the device comes back by itself. If this goes on, look whether a linked hub answers.',
  ],
  'internal-fault': [
    'Something failed inside the server.',
    'Look into its log for the tracking ID; the device may try again.',
  ],
  // --- the assignment
  'enrollment-disabled': [
    'The enrollment that speaks for this device is disabled.',
    'Enable it if the device is welcome. An individual enrollment that is disabled blocks the device whatever groups there are.',
  ],
  'enrollment-deleted': [
    'The enrollment was deleted while the device was being assigned.',
    'Create it again, or let the device register by another one.',
  ],
  'attestation-changed': [
    'The enrollment got another kind of attestation while the device was being assigned.',
    'Let the device register again with what is enrolled now.',
  ],
  'no-certificate-issuance': [
    'The device asked for a certificate (csr), and this service issues none.',
    'Register without a certificate signing request.',
  ],
  'no-hub-to-choose': [
    'There is no hub to assign the device to.',
    'Link one: "muster dps linked-hub create --hub-name NAME"; if the enrollment names hubs, name linked ones.',
  ],
  'allocation-failed': [
    'The allocation policy came to no hub.',
    'The message says why; the static policy needs exactly one hub, named in the enrollment.',
  ],
  'webhook-failed': [
    'The webhook that allocates the hub failed, or answered what cannot be used.',
    'The message says how; the log has both bodies of the call at level debug. It must answer 200 with {"iotHubHostName": "one of linkedHubs"}.',
  ],
  'hub-refused': [
    'The hub that was chosen did not take the device.',
    'The message is the hub’s: check that it can be reached, that its connection string is right, and that it has room.',
  ],
  'service-gone': [
    'The provisioning service was deleted while the device was being assigned.',
    'Let the device register with another one.',
  ],
  // --- no fault at all
  assigned: ['The device was admitted and assigned.', 'Nothing.'],
  assigning: [
    'The device was admitted, and its assignment has not ended yet.',
    'Ask again in a moment. If it stays so, the log says which hub does not answer.',
  ],
}

/** For a word without a text: it is still the right word. */
const unknown = (reason: string): Text => [`The step "${reason}" decided.`, 'Read the steps.']

/**
 * Explains an attempt by the step that decided, its last one.
 *
 * @param outcome of the registration; absent for a refusal
 */
export function explain(steps: readonly Step[], outcome?: Registration['status']): Explanation {
  const reason =
    outcome === 'assigned' || outcome === 'assigning' ? outcome : (steps.at(-1)?.reason ?? outcome ?? 'internal-fault')
  const [cause, remedy] = (isExplained(reason) && texts[reason]) || unknown(reason)
  return { reason, cause, remedy }
}

/** Whether a reason has a text of its own. */
export const isExplained = (reason: string): boolean => Object.hasOwn(texts, reason)

import { ServiceError } from '../base/errors.ts'
import { limits } from '../base/limits.ts'

/** Letters, digits and `- . _ :`, the last one a letter, digit or dash (dps.md 1.9); compared without regard to case. */
const REGISTRATION_ID = /^[A-Za-z0-9\-._:]{0,127}[A-Za-z0-9-]$/

export const REGISTRATION_ID_RULE = `1 to ${limits.idLength} letters, digits and - . _ : that end with a letter, a digit or a dash`

export const isRegistrationId = (text: string): boolean => REGISTRATION_ID.test(text)

/** Throws 400202 unless `id` can be a registration id; enrollment group ids have the same alphabet (dps.md 6.3). */
export function requireId(name: 'registrationId' | 'enrollmentGroupId', id: string): void {
  if (isRegistrationId(id)) return
  throw new ServiceError(
    name === 'registrationId' ? 400202 : 400204,
    `${name} must be ${REGISTRATION_ID_RULE}; found ${shown(id)}.`,
  )
}

/** An id of the caller's as a complaint shows it: quoted, and no longer than ids may be. */
export const shown = (text: string): string =>
  JSON.stringify(text.length > limits.idLength ? `${text.slice(0, limits.idLength)}…` : text)

/** Only ASCII has letter case here: what else has an ASCII letter for its lower case (the Kelvin sign) is another name. */
export const sameId = (a: string, b: string): boolean => a === b || lowerAscii(a) === lowerAscii(b)

const lowerAscii = (text: string): string => text.replace(/[A-Z]+/g, (letters) => letters.toLowerCase())

/**
 * Id of a document in the store. The ID scope, not the name, tells instances apart: a service that was deleted and made
 * again under its old name gets another scope, so nothing of the old one comes back to life.
 */
export const storeId = (idScope: string, id: string): string => `${prefixOf(idScope)}${id.toLowerCase()}`

/** What the store ids of one service begin with. */
export const prefixOf = (idScope: string): string => `${idScope.toLowerCase()}/`

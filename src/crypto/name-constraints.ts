import { limits } from '../base/limits.ts'
import type { Certificate } from './certificates.ts'
import { DerReader, tags } from './der.ts'
import { type GeneralName, generalNames } from './extensions.ts'
import { canonicalRdn, EMAIL_ADDRESS, type Name, readName } from './names.ts'

/**
 * Which name of `certificate` breaks the name constraints of an authority above it, as a sentence; undefined when none
 * does (RFC 5280 4.2.1.10). Kinds of names that are not understood are refused where they are constrained.
 */
export function brokenNameConstraint(certificate: Certificate, authority: Certificate): string | undefined {
  const constraints = authority.extensions.nameConstraints
  if (constraints === undefined) return undefined
  const names = namesOf(certificate)
  const { permitted, excluded } = constraints
  if (names.length * (permitted.length + excluded.length) > limits.nameConstraintChecks)
    return 'it has too many names to be compared with the constraints'
  for (const name of names) {
    const within = permitted.filter((subtree) => subtree.tag === name.tag)
    const without = excluded.filter((subtree) => subtree.tag === name.tag)
    const matches = matchers[name.tag]
    if (matches === undefined && within.length + without.length > 0)
      return 'it has a name of a kind that is constrained and not understood'
    if (within.length > 0 && !within.some((subtree) => matches?.(name.content, subtree.content) === true))
      return `its ${kindOf(name.tag)} is not among the permitted ones`
    // Undecidable counts as excluded: a name that cannot be read must not slip through.
    if (without.some((subtree) => matches?.(name.content, subtree.content) !== false))
      return `its ${kindOf(name.tag)} is excluded`
  }
  return undefined
}

/** Subject alternative names, the subject itself, and the e-mail addresses in the subject of older certificates. */
function namesOf({ subjectName, extensions }: Certificate): GeneralName[] {
  const subject = subjectName.rdns.length === 0 ? [] : [{ tag: generalNames.directory, content: subjectName.raw }]
  const emails = subjectName.rdns
    .flat()
    .filter((each) => each.type === EMAIL_ADDRESS)
    .map((each) => ({ tag: generalNames.email, content: Buffer.from(each.text ?? '', 'latin1') }))
  return [...extensions.subjectAltNames, ...subject, ...emails]
}

const kindOf = (tag: number): string =>
  ({
    [generalNames.email]: 'e-mail address',
    [generalNames.dns]: 'DNS name',
    [generalNames.directory]: 'subject',
    [generalNames.uri]: 'URI',
    [generalNames.ip]: 'IP address',
  })[tag] ?? 'name'

/** Whether a name lies in a subtree; undefined where one of the two cannot be read. */
type Matcher = (name: Buffer, subtree: Buffer) => boolean | undefined

const matchers: Readonly<Record<number, Matcher>> = {
  [generalNames.email]: (name, subtree) => emailWithin(name.toString('latin1'), subtree.toString('latin1')),
  [generalNames.dns]: (name, subtree) => dnsWithin(name.toString('latin1'), subtree.toString('latin1')),
  [generalNames.directory]: directoryWithin,
  [generalNames.uri]: (name, subtree) => uriWithin(name.toString('latin1'), subtree.toString('latin1')),
  [generalNames.ip]: ipWithin,
}

/** A host with everything to its left; a leading dot, which many tools write, means the part to its left only. */
function dnsWithin(name: string, subtree: string): boolean {
  const host = name.toLowerCase().replace(/\.$/, '')
  const base = subtree.toLowerCase()
  return base === '' || host === base || host.endsWith(base.startsWith('.') ? base : `.${base}`)
}

/** In e-mail and URI constraints a host means itself alone, a leading dot every host below it. */
const hostWithin = (host: string, base: string): boolean => (base.startsWith('.') ? host.endsWith(base) : host === base)

function emailWithin(address: string, subtree: string): boolean | undefined {
  const at = address.lastIndexOf('@')
  if (at < 1) return undefined
  const host = address.slice(at + 1).toLowerCase()
  const split = subtree.lastIndexOf('@')
  const base = subtree.slice(split + 1).toLowerCase()
  if (split < 0) return base === '' || hostWithin(host, base)
  // The part before the @ knows case (RFC 5280 7.5).
  return address.slice(0, at) === subtree.slice(0, split) && host === base
}

/** Only hosts by name can be constrained: a URI without one, or with an address, cannot be judged (RFC 5280 4.2.1.10). */
function uriWithin(uri: string, subtree: string): boolean | undefined {
  const authority = /^[a-z][a-z0-9+.-]*:\/\/([^/?#]*)/i.exec(uri)?.[1]
  const host = authority?.replace(/^.*@/, '').replace(/:\d*$/, '').toLowerCase()
  if (host === undefined || host === '' || host.startsWith('[') || /^[\d.]+$/.test(host)) return undefined
  return hostWithin(host, subtree.toLowerCase())
}

/** The subtree is an address followed by a mask of the same length. */
function ipWithin(address: Buffer, subtree: Buffer): boolean | undefined {
  if ((address.length !== 4 && address.length !== 16) || (subtree.length !== 8 && subtree.length !== 32))
    return undefined
  if (subtree.length !== address.length * 2) return false
  return address.every((byte, at) => {
    const mask = subtree[address.length + at] ?? 0
    return (byte & mask) === ((subtree[at] ?? 0) & mask)
  })
}

/** The subtree's relative names are the first ones of the name. Both are wrapped as `[4] Name`, or a Name itself. */
function directoryWithin(name: Buffer, subtree: Buffer): boolean | undefined {
  const whole = nameOf(name)?.rdns.map(canonicalRdn)
  const base = nameOf(subtree)?.rdns.map(canonicalRdn)
  return whole === undefined || base === undefined
    ? undefined
    : base.length <= whole.length && base.every((rdn, at) => rdn === whole[at])
}

function nameOf(encoded: Buffer): Name | undefined {
  try {
    const reader = new DerReader(encoded, 'name constraints')
    const { raw, content } = reader.read(tags.sequence)
    reader.end()
    return readName(raw, content, 'name constraints')
  } catch {
    return undefined
  }
}

import { CertificateError, contextTag, DerReader, readBoolean, readOid, readSmallInteger, tags } from './der.ts'

/** A GeneralName (RFC 5280 4.2.1.6): its identifier octet, and its content still encoded. */
export interface GeneralName {
  readonly tag: number
  readonly content: Buffer
}

/** Identifier octets of the kinds of GeneralName that are understood. */
export const generalNames = {
  email: contextTag(1, false),
  dns: contextTag(2, false),
  directory: contextTag(4, true),
  uri: contextTag(6, false),
  ip: contextTag(7, false),
} as const

export interface NameConstraints {
  readonly permitted: readonly GeneralName[]
  readonly excluded: readonly GeneralName[]
}

/** What a chain is judged by. Members are undefined where the certificate does not have the extension. */
export interface Extensions {
  readonly basicConstraints: { readonly ca: boolean; readonly pathLength: number | undefined } | undefined
  readonly keyUsage: { readonly keyCertSign: boolean } | undefined
  /** Object identifiers of the purposes. */
  readonly extendedKeyUsage: readonly string[] | undefined
  /** Hex. */
  readonly subjectKeyId: string | undefined
  /** Hex; undefined also where the extension names issuer and serial number only. */
  readonly authorityKeyId: string | undefined
  readonly subjectAltNames: readonly GeneralName[]
  readonly nameConstraints: NameConstraints | undefined
  /** Object identifiers of critical extensions that nobody here understands: the certificate must be refused. */
  readonly unknownCritical: readonly string[]
}

export const CLIENT_AUTH = '1.3.6.1.5.5.7.3.2'
export const ANY_PURPOSE = '2.5.29.37.0'

/** Critical or not, these need no action: DPS has neither certificate policies nor revocation (attestation-crypto.md B4). */
const WITHOUT_EFFECT = new Set(['2.5.29.31', '2.5.29.32', '2.5.29.33', '2.5.29.36', '2.5.29.54'])

type Draft = { -readonly [member in keyof Extensions]: Extensions[member] }

const readers: Readonly<Record<string, (draft: Draft, value: Buffer) => void>> = {
  '2.5.29.14': (draft, value) => {
    draft.subjectKeyId = only(value, tags.octetString, 'subject key identifier').toString('hex')
  },
  '2.5.29.15': (draft, value) => {
    draft.keyUsage = readKeyUsage(only(value, tags.bitString, 'key usage'))
  },
  '2.5.29.17': (draft, value) => {
    draft.subjectAltNames = readGeneralNames(only(value, tags.sequence, 'subject alternative name'))
  },
  '2.5.29.19': (draft, value) => {
    draft.basicConstraints = readBasicConstraints(only(value, tags.sequence, 'basic constraints'))
  },
  '2.5.29.30': (draft, value) => {
    draft.nameConstraints = readNameConstraints(only(value, tags.sequence, 'name constraints'))
  },
  '2.5.29.35': (draft, value) => {
    draft.authorityKeyId = readAuthorityKeyId(only(value, tags.sequence, 'authority key identifier'))
  },
  '2.5.29.37': (draft, value) => {
    draft.extendedKeyUsage = readPurposes(only(value, tags.sequence, 'extended key usage'))
  },
}

/** Reads the content of `Extensions`; absent for X.509 v1 and v2. An extension may occur once (RFC 5280 4.2). */
export function readExtensions(content: Buffer | undefined): Extensions {
  const draft: Draft = {
    basicConstraints: undefined,
    keyUsage: undefined,
    extendedKeyUsage: undefined,
    subjectKeyId: undefined,
    authorityKeyId: undefined,
    subjectAltNames: [],
    nameConstraints: undefined,
    unknownCritical: [],
  }
  if (content === undefined) return draft
  const list = new DerReader(content, 'extensions')
  const seen = new Set<string>()
  const unknown: string[] = []
  while (!list.done) {
    const extension = list.enter(tags.sequence)
    const id = readOid(extension.read(tags.oid).content, 'extensions')
    const flag = extension.optional(tags.boolean)
    const critical = flag !== undefined && readBoolean(flag.content, 'extensions')
    const value = extension.read(tags.octetString).content
    extension.end()
    if (seen.has(id)) throw new CertificateError(`The certificate has two extensions ${id}; each may occur once.`)
    seen.add(id)
    const read = readers[id]
    if (read !== undefined) read(draft, value)
    else if (critical && !WITHOUT_EFFECT.has(id)) unknown.push(id)
  }
  draft.unknownCritical = unknown
  return draft
}

/** The content of the one element that an extension's value must be. */
function only(value: Buffer, tag: number, what: string): Buffer {
  const reader = new DerReader(value, what)
  const { content } = reader.read(tag)
  reader.end()
  return content
}

function readBasicConstraints(content: Buffer): Extensions['basicConstraints'] {
  const what = 'basic constraints'
  const reader = new DerReader(content, what)
  const flag = reader.optional(tags.boolean)
  const length = reader.optional(tags.integer)
  reader.end()
  return {
    ca: flag !== undefined && readBoolean(flag.content, what),
    pathLength: length === undefined ? undefined : readSmallInteger(length.content, what),
  }
}

/** keyCertSign is bit 5, counted from the most significant (RFC 5280 4.2.1.3). */
function readKeyUsage(content: Buffer): Extensions['keyUsage'] {
  const [unused, bits = 0] = content
  if (unused === undefined || unused > 7 || (unused > 0 && content.length < 2))
    throw new CertificateError("The certificate's key usage is malformed: its bit string is not valid.")
  return { keyCertSign: (bits & 0x04) !== 0 }
}

function readPurposes(content: Buffer): string[] {
  const reader = new DerReader(content, 'extended key usage')
  const purposes: string[] = []
  while (!reader.done) purposes.push(readOid(reader.read(tags.oid).content, 'extended key usage'))
  return purposes
}

/** certGen.sh writes key id, issuer and serial number; only the key id is compared (attestation-crypto.md B5). */
function readAuthorityKeyId(content: Buffer): string | undefined {
  const reader = new DerReader(content, 'authority key identifier')
  const keyId = reader.optional(contextTag(0, false))
  reader.optional(contextTag(1, true))
  reader.optional(contextTag(2, false))
  reader.end()
  return keyId?.content.toString('hex')
}

function readGeneralNames(content: Buffer): GeneralName[] {
  const reader = new DerReader(content, 'subject alternative name')
  const names: GeneralName[] = []
  while (!reader.done) {
    const { tag, content: name } = reader.any()
    names.push({ tag, content: name })
  }
  return names
}

function readNameConstraints(content: Buffer): NameConstraints {
  const reader = new DerReader(content, 'name constraints')
  const permitted = reader.optional(contextTag(0, true))
  const excluded = reader.optional(contextTag(1, true))
  reader.end()
  return { permitted: readSubtrees(permitted?.content), excluded: readSubtrees(excluded?.content) }
}

/** `minimum` must be 0 and so is absent in DER, `maximum` must be absent (RFC 5280 4.2.1.10). */
function readSubtrees(content: Buffer | undefined): GeneralName[] {
  if (content === undefined) return []
  const reader = new DerReader(content, 'name constraints')
  const subtrees: GeneralName[] = []
  while (!reader.done) {
    const subtree = reader.enter(tags.sequence)
    const { tag, content: base } = subtree.any()
    const minimum = subtree.optional(contextTag(0, false))
    if (minimum !== undefined && readSmallInteger(minimum.content, 'name constraints') !== 0)
      subtree.fail('a minimum other than 0 is not allowed')
    subtree.end()
    subtrees.push({ tag, content: base })
  }
  return subtrees
}

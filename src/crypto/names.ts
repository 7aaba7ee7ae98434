import { CertificateError, DerReader, readOid, tags } from './der.ts'

/** One attribute of a distinguished name. */
export interface NameAttribute {
  /** Dotted object identifier of its type. */
  readonly type: string
  /** The text as written; undefined when its value is no string, or not a valid one. */
  readonly text: string | undefined
  readonly tag: number
  readonly content: Buffer
}

/** A distinguished name: relative names in encoded order, each a set of one or more attributes. */
export interface Name {
  readonly raw: Buffer
  readonly rdns: readonly (readonly NameAttribute[])[]
  /** A text that two names share exactly when they are the same name (RFC 5280 7.1). */
  readonly canonical: string
}

/** Names of attribute types as .NET prints them (`S` for a state, `E` for an e-mail address); others print as OID.x. */
const SHORT_NAMES: Readonly<Record<string, string>> = {
  '2.5.4.3': 'CN',
  '2.5.4.4': 'SN',
  '2.5.4.5': 'SERIALNUMBER',
  '2.5.4.6': 'C',
  '2.5.4.7': 'L',
  '2.5.4.8': 'S',
  '2.5.4.9': 'STREET',
  '2.5.4.10': 'O',
  '2.5.4.11': 'OU',
  '2.5.4.12': 'T',
  '2.5.4.42': 'G',
  '2.5.4.43': 'I',
  '2.5.4.46': 'dnQualifier',
  '0.9.2342.19200300.100.1.25': 'DC',
  '1.2.840.113549.1.9.1': 'E',
}

export const COMMON_NAME = '2.5.4.3'
export const EMAIL_ADDRESS = '1.2.840.113549.1.9.1'

/** Reads the content of a Name; `raw` is the whole element. */
export function readName(raw: Buffer, content: Buffer, what: string): Name {
  const reader = new DerReader(content, what)
  const rdns: NameAttribute[][] = []
  while (!reader.done) {
    const set = reader.enter(tags.set)
    const rdn: NameAttribute[] = []
    while (!set.done) {
      const pair = set.enter(tags.sequence)
      const type = readOid(pair.read(tags.oid).content, what)
      const value = pair.any()
      pair.end()
      rdn.push({ type, text: stringOf(value.tag, value.content), tag: value.tag, content: value.content })
    }
    if (rdn.length === 0) throw new CertificateError(`The certificate's ${what} is malformed: it has an empty part.`)
    rdns.push(rdn)
  }
  return new ParsedName(raw, rdns)
}

/** Comparable on demand only: most names are never compared. */
class ParsedName implements Name {
  readonly raw: Buffer
  readonly rdns: readonly (readonly NameAttribute[])[]
  #canonical: string | undefined

  constructor(raw: Buffer, rdns: readonly (readonly NameAttribute[])[]) {
    this.raw = raw
    this.rdns = rdns
  }

  get canonical(): string {
    this.#canonical ??= JSON.stringify(this.rdns.map(canonicalRdn))
    return this.#canonical
  }
}

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

function stringOf(tag: number, content: Buffer): string | undefined {
  switch (tag) {
    case tags.utf8String:
      return isAscii(content) ? content.toString('latin1') : utf8Text(content)
    case tags.numericString:
    case tags.printableString:
    case tags.ia5String:
    case tags.visibleString:
    case tags.teletexString:
      // T.61 is read as Latin-1, which is what its writers meant (OpenSSL does the same).
      return content.toString('latin1')
    case tags.bmpString:
      return content.length % 2 === 0 ? Buffer.from(content).swap16().toString('utf16le') : undefined
    case tags.universalString:
      return universalText(content)
    default:
      return undefined
  }
}

const isAscii = (content: Buffer): boolean => content.every((byte) => byte < 0x80)

function utf8Text(content: Buffer): string | undefined {
  try {
    return utf8.decode(content)
  } catch {
    return undefined
  }
}

function universalText(content: Buffer): string | undefined {
  if (content.length % 4 !== 0) return undefined
  const points = Array.from({ length: content.length / 4 }, (_, at) => content.readUInt32BE(at * 4))
  return points.every((point) => point <= 0x10ffff) ? String.fromCodePoint(...points) : undefined
}

/** Attributes of one relative name, folded and sorted: it is a set (RFC 5280 7.1). */
export const canonicalRdn = (rdn: readonly NameAttribute[]): string =>
  JSON.stringify(rdn.map((each) => `${each.type}=${folded(each)}`).sort())

/** Strings compare without case, with blanks trimmed and collapsed, whatever their type; other values byte by byte. */
const folded = ({ text, tag, content }: NameAttribute): string =>
  text === undefined
    ? `#${tag}:${content.toString('hex')}`
    : text.normalize('NFKC').trim().replace(/\s+/g, ' ').toLowerCase()

/** Whether two names are the same (RFC 5280 7.1; attestation-crypto.md B4 step 2). */
export const sameName = (a: Name, b: Name): boolean => a.canonical === b.canonical

/** Every common name, in encoded order. */
export const commonNamesOf = (name: Name): string[] =>
  name.rdns.flat().flatMap((each) => (each.type === COMMON_NAME && each.text !== undefined ? [each.text] : []))

/** The name as .NET prints it: the last relative name first, `CN=dev-001, O=Contoso` (dps.md 6.3). */
export const dotNetName = (name: Name): string =>
  name.rdns
    .toReversed()
    .map((rdn) => rdn.map((each) => `${SHORT_NAMES[each.type] ?? `OID.${each.type}`}=${quoted(each)}`).join(' + '))
    .join(', ')

function quoted({ text, content }: NameAttribute): string {
  if (text === undefined) return `#${content.toString('hex').toUpperCase()}`
  return text === '' || /^\s|\s$|[,+="\n<>#;]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text
}

/** A name inside a complaint: quoted, and cut, because strangers choose it. */
export const shownName = (text: string): string => `"${text.length > SHOWN ? `${text.slice(0, SHOWN)}…` : text}"`

const SHOWN = 120

/** Refusal of bytes or text that should have been a certificate; the message is plain and may be shown to the caller. */
export class CertificateError extends Error {
  constructor(message: string, options: { cause?: unknown } = {}) {
    super(message, 'cause' in options ? { cause: options.cause } : {})
    this.name = 'CertificateError'
  }
}

/** Identifier octets (X.690 8.1.2) of what certificates hold. */
export const tags = {
  boolean: 0x01,
  integer: 0x02,
  bitString: 0x03,
  octetString: 0x04,
  oid: 0x06,
  utf8String: 0x0c,
  numericString: 0x12,
  printableString: 0x13,
  teletexString: 0x14,
  ia5String: 0x16,
  utcTime: 0x17,
  generalizedTime: 0x18,
  visibleString: 0x1a,
  universalString: 0x1c,
  bmpString: 0x1e,
  sequence: 0x30,
  set: 0x31,
} as const

/** `[n]` of the context class. */
export const contextTag = (n: number, constructed: boolean): number => (constructed ? 0xa0 : 0x80) | n

/** One tag-length-value. */
export interface Element {
  readonly tag: number
  /** Tag, length and content. */
  readonly raw: Buffer
  readonly content: Buffer
}

/**
 * Reads the elements of one DER value in order. Strict: definite, minimal lengths only (X.690 10.1), nothing may follow
 * where `end` is asked for, and nothing is read beyond the value. `what` names the value in complaints.
 */
export class DerReader {
  readonly #bytes: Buffer
  readonly #what: string
  #at = 0

  constructor(bytes: Buffer, what: string) {
    this.#bytes = bytes
    this.#what = what
  }

  get done(): boolean {
    return this.#at >= this.#bytes.length
  }

  /** Whether the next element has this tag. */
  sees(tag: number): boolean {
    return !this.done && this.#bytes[this.#at] === tag
  }

  /** The next element, which must have this tag. */
  read(tag: number): Element {
    const element = this.any()
    if (element.tag !== tag) this.fail(`expected tag ${hex(tag)}, found ${hex(element.tag)}`)
    return element
  }

  /** The next element if it has this tag. */
  optional(tag: number): Element | undefined {
    return this.sees(tag) ? this.any() : undefined
  }

  /** A reader over the content of the next element, which must have this tag. */
  enter(tag: number): DerReader {
    return new DerReader(this.read(tag).content, this.#what)
  }

  any(): Element {
    const bytes = this.#bytes
    const start = this.#at
    const tag = bytes[start]
    const first = bytes[start + 1]
    if (tag === undefined || first === undefined) this.fail('it ends too early')
    if ((tag & 0x1f) === 0x1f) this.fail(`tag ${hex(tag)} is not used in certificates`)
    let from = start + 2
    let length = first
    if (first >= 0x80) {
      const count = first & 0x7f
      if (count === 0) this.fail('an indefinite length is BER, not DER')
      if (count > 4) this.fail('a length is too large')
      if (from + count > bytes.length) this.fail('it ends too early')
      length = bytes.readUIntBE(from, count)
      from += count
      if (length < 0x80 || length < 2 ** (8 * (count - 1))) this.fail('a length is not in its shortest form')
    }
    const end = from + length
    if (end > bytes.length) this.fail('it ends too early')
    this.#at = end
    return { tag, raw: bytes.subarray(start, end), content: bytes.subarray(from, end) }
  }

  /** Throws unless everything was read. */
  end(): void {
    if (!this.done) this.fail(`${this.#bytes.length - this.#at} unexpected bytes follow`)
  }

  fail(reason: string): never {
    throw new CertificateError(`The certificate's ${this.#what} is malformed: ${reason}.`)
  }
}

const hex = (tag: number): string => `0x${tag.toString(16).padStart(2, '0')}`

/** TRUE is 0xFF in DER (X.690 11.1). An explicit FALSE, though the default, is written by real tools and accepted. */
export function readBoolean(content: Buffer, what: string): boolean {
  if (content.length !== 1 || (content[0] !== 0x00 && content[0] !== 0xff))
    throw new CertificateError(`The certificate's ${what} is malformed: a boolean must be one byte, 00 or FF.`)
  return content[0] === 0xff
}

/** Content octets of an INTEGER in their shortest form (X.690 8.3.2). */
export function checkInteger(content: Buffer, what: string): Buffer {
  const [first, second] = content
  const padded = second !== undefined && ((first === 0x00 && second < 0x80) || (first === 0xff && second >= 0x80))
  if (first === undefined || padded)
    throw new CertificateError(
      `The certificate's ${what} is malformed: an integer is empty or not in its shortest form.`,
    )
  return content
}

/** A small INTEGER, 0 to 2^31 - 1. */
export function readSmallInteger(content: Buffer, what: string): number {
  const bytes = checkInteger(content, what)
  if ((bytes[0] ?? 0) >= 0x80 || bytes.length > 4)
    throw new CertificateError(`The certificate's ${what} is malformed: a number from 0 to 2147483647 is expected.`)
  return bytes.readUIntBE(0, bytes.length)
}

/** Whole bytes of a BIT STRING; the number of unused bits must be 0. */
export function readOctetBits(content: Buffer, what: string): Buffer {
  if (content.length < 1 || content[0] !== 0)
    throw new CertificateError(`The certificate's ${what} is malformed: its bit string does not hold whole bytes.`)
  return content.subarray(1)
}

/** Dotted form of an OBJECT IDENTIFIER; arcs of any size (UUID arcs have 128 bits). */
export function readOid(content: Buffer, what: string): string {
  const fail = (): never => {
    throw new CertificateError(`The certificate's ${what} is malformed: an object identifier is not valid.`)
  }
  if (content.length === 0 || content.length > 64 || (content.at(-1) ?? 0) >= 0x80) fail()
  const arcs: (number | bigint)[] = []
  let arc: number | bigint = 0
  let bytes = 0
  for (const byte of content) {
    if (bytes === 0 && byte === 0x80) fail()
    bytes += 1
    // Seven bits at a time: a number holds seven such steps exactly, which is nearly every arc there is.
    arc = bytes <= 7 ? Number(arc) * 128 + (byte & 0x7f) : BigInt(arc) * 128n + BigInt(byte & 0x7f)
    if (byte >= 0x80) continue
    arcs.push(arc)
    arc = 0
    bytes = 0
  }
  const [head = 0, ...rest] = arcs
  const top = head < 40 ? 0 : head < 80 ? 1 : 2
  return [top, BigInt(head) - BigInt(top * 40), ...rest].join('.')
}

const UTC_TIME = /^(\d{2})(\d{2})(\d{2})(\d{2})(\d{2})(\d{2})Z$/
const GENERALIZED_TIME = /^(\d{4})(\d{2})(\d{2})(\d{2})(\d{2})(\d{2})Z$/

/** Milliseconds since 1970 of a UTCTime or GeneralizedTime in the one form that RFC 5280 4.1.2.5 allows: seconds, Z. */
export function readTime(element: Element, what: string): number {
  const text = element.content.toString('latin1')
  const utc = element.tag === tags.utcTime
  const match = utc ? UTC_TIME.exec(text) : element.tag === tags.generalizedTime ? GENERALIZED_TIME.exec(text) : null
  const [year = 0, month = 0, day = 0, hour = 0, minute = 0, second = 0] = match?.slice(1).map(Number) ?? []
  // Two digits: 50-99 are 19xx, 00-49 are 20xx (RFC 5280 4.1.2.5.1).
  const date = new Date(0)
  date.setUTCFullYear(utc ? year + (year >= 50 ? 1900 : 2000) : year, month - 1, day)
  date.setUTCHours(hour, minute, second)
  const exact = date.getUTCMonth() === month - 1 && date.getUTCDate() === day && hour < 24 && minute < 60 && second < 60
  if (match === null || !exact)
    throw new CertificateError(
      `The certificate's ${what} is malformed: ${JSON.stringify(text.slice(0, 24))} is not a time in UTC.`,
    )
  return date.getTime()
}

import type { Clock } from '../base/clock.ts'
import { ServiceError } from '../base/errors.ts'
import { type IfMatch, requireMatch, resourceEtag } from '../base/etags.ts'
import { Fields, type JsonObject } from '../base/json.ts'
import { limits } from '../base/limits.ts'
import type { Log } from '../base/log.ts'
import type { Random } from '../base/random.ts'
import { type Certificate, parseCertificate } from '../crypto/certificates.ts'
import type { Expectation, Store, Stored } from '../store/store.ts'
import { type CertificateDocument, certificates, epochs, type Owner, ownerId } from './documents.ts'
import { readCaCertificate, readProof } from './possession.ts'
import { commitSettled } from './settle.ts'

/** An uploaded CA certificate (dps.md 7.3). */
export interface CaCertificate {
  readonly name: string
  readonly certificate: Certificate
  readonly isVerified: boolean
  /** While a proof of possession is awaited. */
  readonly verificationCode: string | undefined
  readonly etag: string
  /** Milliseconds since 1970. */
  readonly createdAt: number
  readonly updatedAt: number
}

export interface CertificateInput {
  /** PEM, DER in base64, or PEM in base64: exactly one CA certificate. */
  readonly certificate: string
  /** True: taken as verified without proof ("verify now"). Default false. */
  readonly isVerified?: boolean
}

/** The verified certificates of one owner, in the order of their names. */
export interface TrustedCertificates {
  /** Changes with every change of the owner's certificates: what caches of verdicts are keyed by. */
  readonly version: string
  readonly certificates: readonly { readonly name: string; readonly certificate: Certificate }[]
}

export interface Certificates {
  list(owner: Owner): Promise<readonly CaCertificate[]>
  get(owner: Owner, name: string): Promise<CaCertificate | undefined>
  /** Creates, or with If-Match replaces: that forgets verification and code. */
  put(owner: Owner, name: string, input: CertificateInput | JsonObject, ifMatch: IfMatch): Promise<CaCertificate>
  /** If-Match required. */
  remove(owner: Owner, name: string, ifMatch: IfMatch): Promise<void>
  /** If-Match required; a new code replaces the one before. */
  generateVerificationCode(owner: Owner, name: string, ifMatch: IfMatch): Promise<CaCertificate>
  /** If-Match required; `certificate` is signed by the CA's key and has the code as its CN. */
  verify(owner: Owner, name: string, certificate: string, ifMatch: IfMatch): Promise<CaCertificate>
  trusted(owner: Owner): Promise<TrustedCertificates>
}

export interface CertificatesNeeds {
  readonly store: Store
  readonly clock: Clock
  readonly random: Random
  readonly log: Log
  /** Expected by every write, so that nothing is left behind; throws a 404 for an unknown owner. */
  readonly presenceOf: (owner: Owner) => Promise<Expectation>
}

interface Entry {
  readonly stored: Stored<CertificateDocument>
  readonly view: CaCertificate
}

/** All certificates of one owner as they stood at one epoch. */
interface Held {
  readonly epoch: Expectation
  /** By lower-case name, in the order of names. */
  readonly entries: ReadonlyMap<string, Entry>
  readonly trusted: TrustedCertificates
}

type ReadHeld = (owner: Owner) => Promise<Held>

export function createCertificates(needs: CertificatesNeeds): Certificates {
  const { clock, random } = needs
  const held = createHeld(needs.store)
  const change = (owner: Owner, name: string, ifMatch: IfMatch, next: (before: Entry) => CertificateDocument) =>
    write(needs, held, owner, name, (all) => next(requireEntry(all, name, ifMatch)))
  return {
    list: async (owner) => {
      await needs.presenceOf(owner)
      return [...(await held(owner)).entries.values()].map((entry) => entry.view)
    },
    get: async (owner, name) => (await held(owner)).entries.get(name.toLowerCase())?.view,
    trusted: async (owner) => (await held(owner)).trusted,
    put: async (owner, name, input, ifMatch) => {
      const { certificate, isVerified } = readInput(name, input)
      return write(needs, held, owner, name, (all) => {
        const before = all.entries.get(name.toLowerCase())
        requireReplaceable(all, name, before, ifMatch)
        const now = clock.now()
        return {
          name: before?.view.name ?? name,
          certificate: certificate.raw.toString('base64'),
          isVerified,
          createdAt: before?.view.createdAt ?? now,
          updatedAt: now,
        }
      })
    },
    generateVerificationCode: (owner, name, ifMatch) =>
      change(owner, name, ifMatch, ({ stored }) => ({
        ...stored.value,
        verificationCode: random.bytes(limits.verificationCodeBytes).toString('hex').toUpperCase(),
        updatedAt: clock.now(),
      })),
    verify: (owner, name, certificate, ifMatch) =>
      change(owner, name, ifMatch, ({ stored, view }) => {
        readProof(certificate, view, clock.now())
        // The code is used up: the same proof cannot verify a certificate that is uploaded later under this name.
        const { verificationCode: _used, ...document } = stored.value
        return { ...document, isVerified: true, updatedAt: clock.now() }
      }),
    remove: (owner, name, ifMatch) => remove(needs, held, owner, name, ifMatch),
  }
}

/** Answers from memory while the owner's epoch stands, which costs one read; otherwise reads all of them again. */
function createHeld(store: Store): ReadHeld {
  const cached = new Map<string, Held>()
  return async (owner) => {
    const id = ownerId(owner)
    const epochNow = async () => (await store.get(epochs, id))?.version ?? 0
    let version = await epochNow()
    for (let attempt = 0; attempt < limits.commitAttempts; attempt++) {
      const known = cached.get(id)
      if (known?.epoch.version === version) return known
      if (version === 0) {
        // Nothing was ever uploaded, or the owner was deleted: whoever asks leaves nothing behind here.
        cached.delete(id)
        return heldOf(id, 0, [])
      }
      const { items } = await store.scan(certificates, { prefix: `${id}/`, limit: limits.caCertificates })
      const after = await epochNow()
      // Equal before and after: no commit fell between the reads, so they show one state.
      if (after === version) cached.set(id, heldOf(id, version, items))
      version = after
    }
    throw new ServiceError(503001, 'The certificates are being changed right now. Repeat the request.')
  }
}

function heldOf(id: string, version: number, items: readonly Stored<CertificateDocument>[]): Held {
  const entries = items.map((stored) => ({ stored, view: viewOf(stored.value, stored.version) }))
  return {
    epoch: { in: epochs, id, version },
    entries: new Map(entries.map((entry) => [entry.view.name.toLowerCase(), entry])),
    trusted: { version: String(version), certificates: entries.flatMap(({ view }) => (view.isVerified ? [view] : [])) },
  }
}

const viewOf = (document: CertificateDocument, version: number): CaCertificate => ({
  name: document.name,
  certificate: parseCertificate(Buffer.from(document.certificate, 'base64')),
  isVerified: document.isVerified,
  verificationCode: document.verificationCode,
  etag: resourceEtag(version),
  createdAt: document.createdAt,
  updatedAt: document.updatedAt,
})

const certificateId = (owner: Owner, name: string): string => `${ownerId(owner)}/${name.toLowerCase()}`

/** Writes one certificate and the owner's epoch in one commit. */
async function write(
  { store, clock, log, presenceOf }: CertificatesNeeds,
  held: ReadHeld,
  owner: Owner,
  name: string,
  evaluate: (all: Held) => CertificateDocument,
): Promise<CaCertificate> {
  const written = await commitSettled(store, async () => {
    const presence = await presenceOf(owner)
    const all = await held(owner)
    const document = evaluate(all)
    const put = [
      { collection: certificates, id: certificateId(owner, name), value: document },
      { collection: epochs, id: ownerId(owner), value: { changedAt: clock.now() } },
    ]
    return { change: { expect: [presence, all.epoch], put }, answer: ([version = 0]) => viewOf(document, version) }
  })
  const { isVerified, certificate } = written
  log.info({ owner: ownerId(owner), certificate: name, isVerified, sha256: certificate.sha256 }, 'certificate written')
  return written
}

async function remove(
  { store, clock, log, presenceOf }: CertificatesNeeds,
  held: ReadHeld,
  owner: Owner,
  name: string,
  ifMatch: IfMatch,
): Promise<void> {
  await commitSettled(store, async () => {
    const presence = await presenceOf(owner)
    const all = await held(owner)
    requireEntry(all, name, ifMatch)
    const put = [{ collection: epochs, id: ownerId(owner), value: { changedAt: clock.now() } }]
    const gone = [{ in: certificates, id: certificateId(owner, name) }]
    return { change: { expect: [presence, all.epoch], put, delete: gone }, answer: () => undefined }
  })
  log.info({ owner: ownerId(owner), certificate: name }, 'certificate deleted')
}

const NAME = new RegExp(`^[A-Za-z0-9._-]{1,${limits.certificateNameLength}}$`)

function readInput(name: string, input: CertificateInput | JsonObject) {
  if (!NAME.test(name))
    throw new ServiceError(
      400004,
      `The name of a certificate must be 1 to ${limits.certificateNameLength} of A-Z a-z 0-9 - . _, found ${JSON.stringify(name.slice(0, 80))}.`,
    )
  const fields = new Fields(input, 'properties')
  const text = fields.required('certificate', fields.string('certificate'))
  return { certificate: readCaCertificate(text), isVerified: fields.boolean('isVerified') ?? false }
}

/** A new name needs room, an existing one the etag of what is replaced (dps.md 7.3). */
function requireReplaceable(all: Held, name: string, before: Entry | undefined, ifMatch: IfMatch): void {
  if (before === undefined) {
    if (all.entries.size < limits.caCertificates) return
    throw new ServiceError(
      403000,
      `There may be ${limits.caCertificates} CA certificates, and there are as many. Delete one first.`,
    )
  }
  if (ifMatch.kind === 'absent')
    throw new ServiceError(
      412001,
      `Precondition failed: there is a certificate ${JSON.stringify(name)}. Send its etag in If-Match to replace it.`,
    )
  requireMatch(ifMatch, before.view.etag)
}

/** The certificate to change; If-Match must be there and admit it (dps.md 7.3). */
function requireEntry(all: Held, name: string, ifMatch: IfMatch): Entry {
  if (ifMatch.kind === 'absent')
    throw new ServiceError(400004, "This operation needs the certificate's etag in the If-Match header, found none.")
  const entry = all.entries.get(name.toLowerCase())
  if (entry === undefined) {
    const known = [...all.entries.values()].map(({ view }) => view.name).join(', ') || 'none'
    throw new ServiceError(
      404008,
      `Expected the name of an uploaded certificate (${known}), found ${JSON.stringify(name.slice(0, 80))}.`,
    )
  }
  requireMatch(ifMatch, entry.view.etag)
  return entry
}

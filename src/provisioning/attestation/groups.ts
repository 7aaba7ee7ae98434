import { limits } from '../../base/limits.ts'
import type { Control, ProvisioningService, TrustedCertificates } from '../../control/control.ts'
import type { Certificate } from '../../crypto/certificates.ts'
import { decodeKey } from '../../crypto/keys.ts'
import { Lru } from '../../crypto/lru.ts'
import type { Store } from '../../store/store.ts'
import { filled, type X509Attestation } from '../attestation-document.ts'
import type { EnrollmentGroup } from '../enrollment-document.ts'
import { prefixOf, sameId } from '../ids.ts'
import { enrollmentGroups, groupEpochs } from '../schema.ts'

/** The symmetric-key groups of one service. */
export interface KeyGroups {
  /** Changes with every group. */
  readonly version: number
  /** Oldest first. */
  readonly groups: readonly SymmetricKeyGroup[]
}

export interface SymmetricKeyGroup {
  readonly document: EnrollmentGroup
  /** Decoded, primary first. */
  readonly keys: readonly Buffer[]
}

/** The certificates that one service trusts, and the groups that they stand for. */
export interface CertificateGroups {
  /** Changes with every group and every CA certificate of the service. */
  readonly version: string
  /** The verified certificates: chains have to end at one of them. */
  readonly anchors: readonly Certificate[]
  /** SHA-256 of a CA certificate -> the oldest group that it stands for. */
  readonly byCertificate: ReadonlyMap<string, EnrollmentGroup>
  /** Uploaded, but nothing yet: only named where a chain would have needed one of them. */
  readonly unverified: TrustedCertificates['certificates']
}

export interface GroupsNeeds {
  readonly store: Store
  readonly control: Pick<Control, 'certificates'>
}

/**
 * Keeps each service's groups in memory, so that a registration scans nothing. Their version is compared at every use
 * by a point read, so what is given out is never older than the last change that was acknowledged.
 */
export function createGroups({ store, control }: GroupsNeeds) {
  const documents = new Lru<{ readonly version: number; readonly oldestFirst: readonly EnrollmentGroup[] }>(
    limits.instances,
  )
  const keyGroups = new Lru<KeyGroups>(limits.instances)
  const certificateGroups = new Lru<CertificateGroups>(limits.instances)

  async function documentsOf(idScope: string) {
    const scope = idScope.toLowerCase()
    const version = (await store.get(groupEpochs, scope))?.version ?? 0
    const known = documents.get(scope)
    if (known?.version === version) return known
    // Read after the epoch: what is kept under it may be newer than it says, never older.
    const oldestFirst = (await allGroups(store, idScope)).sort(
      (a, b) => Date.parse(a.createdDateTimeUtc) - Date.parse(b.createdDateTimeUtc),
    )
    const found = { version, oldestFirst }
    documents.set(scope, found)
    return found
  }

  return {
    async byKey({ idScope }: ProvisioningService): Promise<KeyGroups> {
      const { version, oldestFirst } = await documentsOf(idScope)
      const known = keyGroups.get(idScope)
      if (known?.version === version) return known
      const found = { version, groups: oldestFirst.flatMap(keyGroup) }
      keyGroups.set(idScope, found)
      return found
    },

    async byCertificate({ idScope, name }: ProvisioningService): Promise<CertificateGroups> {
      const [current, trusted] = await Promise.all([
        documentsOf(idScope),
        control.certificates.trusted({ kind: 'dps', name }),
      ])
      const version = `${current.version}/${trusted.version}`
      const known = certificateGroups.get(idScope)
      if (known?.version === version) return known
      const unverified = (await control.certificates.list({ kind: 'dps', name })).filter((each) => !each.isVerified)
      const found = { ...arrangeCertificates(version, current.oldestFirst, trusted), unverified }
      certificateGroups.set(idScope, found)
      return found
    },
  }
}

/** A page ends early where documents are large. */
async function allGroups(store: Store, idScope: string): Promise<EnrollmentGroup[]> {
  const found: EnrollmentGroup[] = []
  let after: string | undefined
  do {
    const scan = { prefix: prefixOf(idScope), limit: limits.enrollmentGroups, after }
    const { items, next } = await store.scan(enrollmentGroups, scan)
    found.push(...items.map(({ value }) => value))
    after = next
  } while (after !== undefined)
  return found
}

function keyGroup(document: EnrollmentGroup): SymmetricKeyGroup[] {
  if (document.attestation.type !== 'symmetricKey') return []
  const { primaryKey, secondaryKey } = document.attestation.symmetricKey
  return [{ document, keys: [primaryKey, secondaryKey].flatMap((key) => decodeKey(key) ?? []) }]
}

function arrangeCertificates(
  version: string,
  oldestFirst: readonly EnrollmentGroup[],
  trusted: TrustedCertificates,
): Omit<CertificateGroups, 'unverified'> {
  const byCertificate = new Map<string, EnrollmentGroup>()
  for (const document of oldestFirst) {
    if (document.attestation.type !== 'x509') continue
    for (const thumbprint of thumbprintsOf(document.attestation, trusted))
      if (!byCertificate.has(thumbprint)) byCertificate.set(thumbprint, document)
  }
  return { version, byCertificate, anchors: trusted.certificates.map(({ certificate }) => certificate) }
}

/** A reference to a certificate that is not verified stands for nothing until it is (dps.md 6.6). */
function thumbprintsOf({ x509 }: X509Attestation, { certificates }: TrustedCertificates): string[] {
  const references = filled(x509.caReferences)
  return [
    ...filled(x509.signingCertificates).map(({ info }) => info.sha256Thumbprint),
    ...certificates
      .filter(({ name }) => references.some((each) => sameId(each, name)))
      .map(({ certificate }) => certificate.sha256),
  ]
}

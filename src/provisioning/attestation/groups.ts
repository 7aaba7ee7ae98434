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

/** The enrollment groups of one service as attestation needs them, with the certificates it trusts. */
export interface Groups {
  /** Changes with every group and every CA certificate of the service. */
  readonly version: string
  /** Oldest first. */
  readonly symmetricKey: readonly SymmetricKeyGroup[]
  /** The verified certificates: chains have to end at one of them. */
  readonly anchors: readonly Certificate[]
  /** SHA-256 of a CA certificate -> the oldest group that it stands for. */
  readonly byCertificate: ReadonlyMap<string, EnrollmentGroup>
}

export interface SymmetricKeyGroup {
  readonly document: EnrollmentGroup
  /** Decoded, primary first. */
  readonly keys: readonly Buffer[]
}

export interface GroupsNeeds {
  readonly store: Store
  readonly control: Pick<Control, 'certificates'>
}

/**
 * Keeps each service's groups in memory, so that a registration scans nothing. Their version is compared at every use:
 * two point reads.
 */
export function createGroups({ store, control }: GroupsNeeds) {
  const known = new Lru<Groups>(limits.instances)

  /** Never older than the last group or certificate change that was acknowledged. */
  return async function groupsOf({ idScope, name }: ProvisioningService): Promise<Groups> {
    const scope = idScope.toLowerCase()
    const [epoch, trusted] = await Promise.all([
      store.get(groupEpochs, scope),
      control.certificates.trusted({ kind: 'dps', name }),
    ])
    const version = `${epoch?.version ?? 0}/${trusted.version}`
    const found = known.get(scope)
    if (found?.version === version) return found
    // Read after the epoch: what is kept under it may be newer than it says, never older.
    const { items } = await store.scan(enrollmentGroups, { prefix: prefixOf(idScope), limit: limits.enrollmentGroups })
    const groups = arrange(
      version,
      items.map(({ value }) => value),
      trusted,
    )
    known.set(scope, groups)
    return groups
  }
}

function arrange(version: string, documents: readonly EnrollmentGroup[], trusted: TrustedCertificates): Groups {
  const symmetricKey: SymmetricKeyGroup[] = []
  const byCertificate = new Map<string, EnrollmentGroup>()
  const oldestFirst = [...documents].sort((a, b) => Date.parse(a.createdDateTimeUtc) - Date.parse(b.createdDateTimeUtc))
  for (const document of oldestFirst) {
    const { attestation } = document
    if (attestation.type === 'symmetricKey') {
      const { primaryKey, secondaryKey } = attestation.symmetricKey
      symmetricKey.push({ document, keys: [primaryKey, secondaryKey].flatMap((key) => decodeKey(key) ?? []) })
    } else
      for (const thumbprint of thumbprintsOf(attestation, trusted))
        if (!byCertificate.has(thumbprint)) byCertificate.set(thumbprint, document)
  }
  return { version, symmetricKey, byCertificate, anchors: trusted.certificates.map(({ certificate }) => certificate) }
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

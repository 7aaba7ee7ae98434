import { managed, uploadCa } from './control-plane.ts'
import {
  caReferences,
  clientCertificates,
  initialTwin,
  newKey,
  signingCertificates,
  symmetricKeys,
} from './enrollments.ts'
import { createPki, type DeviceOptions, deviceCertificate, fullChain, leafOnly, type Pki, withoutRoot } from './pki.ts'
import type { ProvisioningWorld } from './provisioning-world.ts'
import { byCertificate, byKey, type Credential } from './sdk.ts'
import { derivedKey } from './tokens.ts'

/** Who is admitted and who is not: one table for every unmodified client on every transport. */

export interface Admitted {
  /** Of the registration ID. */
  readonly id: string
  readonly title: string
  readonly arrange: (world: ProvisioningWorld, id: string) => Promise<Admission>
}

export interface Admission {
  /** Each of them provisions the device, one after the other. */
  readonly credentials: readonly Credential[]
  /** Default: the registration ID. */
  readonly deviceId?: string
  /** The keys that its hub has then. */
  readonly hubKeys?: { readonly primaryKey: string; readonly secondaryKey?: string }
}

export interface Refused {
  readonly id: string
  readonly title: string
  /** The message of the answer (dps.md 1.6), or the state in which the registration ends. */
  readonly because: 'Unauthorized' | 'Invalid certificate' | 'CA certificate not found' | 'disabled'
  readonly arrange: (world: ProvisioningWorld, id: string) => Promise<Refusal>
}

export interface Refusal {
  readonly credential: Credential
  readonly idScope?: string
  /** After this the same credential is admitted. */
  readonly mend?: () => Promise<unknown>
}

/** A certificate of its own and its individual enrollment. */
async function enrolledCertificate({ dps }: ProvisioningWorld, id: string, more: object = {}, options?: DeviceOptions) {
  const issued = await deviceCertificate(id, undefined, options)
  await dps.enroll(id, { ...clientCertificates(issued.certificate), initialTwin, ...more })
  return byCertificate(leafOnly(issued))
}

async function enrolledKey({ dps }: ProvisioningWorld, id: string, more: object = {}): Promise<Credential> {
  const key = newKey()
  await dps.enroll(id, { ...symmetricKeys(key, newKey()), initialTwin, ...more })
  return byKey(key)
}

/** What a device sends whose chain ends at this authority, the root left at home. */
const below = async (authority: Pki['root'], id: string, options?: DeviceOptions): Promise<Credential> =>
  byCertificate(withoutRoot(await deviceCertificate(id, authority, options)))

const only = (credential: Credential): Admission => ({ credentials: [credential] })
const disabled = { provisioningStatus: 'disabled' }

const x509Admitted: readonly Admitted[] = [
  {
    id: 'cert',
    title: 'X.509, individual: the primary and the secondary certificate, as another device ID',
    // Registering with the secondary makes its thumbprint the primary in the hub (dps.md 8.4).
    arrange: async ({ dps }, id) => {
      const primary = await deviceCertificate(id)
      const secondary = await deviceCertificate(id, undefined, { keyType: 'rsa' })
      const deviceId = `${id}.Renamed`
      await dps.enroll(id, {
        ...clientCertificates(primary.certificate, secondary.certificate),
        ...{ initialTwin, deviceId },
      })
      return { credentials: [primary, secondary].map((issued) => byCertificate(leafOnly(issued))), deviceId }
    },
  },
  {
    id: 'cert-ca-signed',
    title: 'X.509, individual: a certificate that a CA signed needs no chain',
    arrange: async ({ dps }, id) => {
      const issued = await deviceCertificate(id, (await createPki('Unknown')).second)
      await dps.enroll(id, { ...clientCertificates(issued.certificate), initialTwin })
      return only(byCertificate(leafOnly(issued)))
    },
  },
  {
    id: 'group-chain',
    title: 'X.509, group by a verified root: a chain through two intermediates, the root left at home',
    arrange: async ({ factory }, id) => only(await below(factory.second, id)),
  },
  {
    id: 'group-full-chain',
    title: 'X.509, group by a verified root: a full-chain file that ends with the root',
    arrange: async ({ factory }, id) =>
      only(byCertificate(fullChain(await deviceCertificate(id, factory.second, { keyType: 'rsa' })))),
  },
  {
    id: 'line',
    title: 'X.509, group by an uploaded intermediate: a device below it',
    arrange: async ({ line }, id) => only(await below(line.second, id)),
  },
  {
    id: 'own',
    title: 'X.509, group by an uploaded intermediate: verified it ends the walk, its own root being unknown',
    arrange: async ({ muster, dps }, id) => {
      const own = await createPki('Own')
      await uploadCa(muster, `${id}-ca`, own.first.certificate)
      await dps.enrollGroup(`${id}-group`, { ...signingCertificates(own.first.certificate), initialTwin })
      return only(await below(own.second, id))
    },
  },
]

const keysAdmitted: readonly Admitted[] = [
  {
    id: 'key',
    title: 'symmetric key, individual: the primary and the secondary key',
    arrange: async ({ dps }, id) => {
      const [primaryKey, secondaryKey] = [newKey(), newKey(16)]
      await dps.enroll(id, { ...symmetricKeys(primaryKey, secondaryKey), initialTwin })
      return { credentials: [byKey(primaryKey), byKey(secondaryKey)], hubKeys: { primaryKey, secondaryKey } }
    },
  },
  {
    id: 'key-made',
    title: 'symmetric key, individual: a key that the service made',
    arrange: async ({ dps }, id) => {
      const { attestation } = await dps.enroll(id, { attestation: { type: 'symmetricKey' }, initialTwin })
      const { primaryKey } = (attestation as { symmetricKey: { primaryKey: string } }).symmetricKey
      return { credentials: [byKey(primaryKey)], hubKeys: { primaryKey } }
    },
  },
  {
    id: 'derived',
    title: 'symmetric key, group: keys derived from both group keys',
    // The key derived from the primary group key is the hub's primary key, whichever the device used (dps.md 8.4).
    arrange: async ({ groupKeys }, id) => {
      const derived = groupKeys.map((groupKey) => derivedKey(groupKey, id))
      return { credentials: derived.map(byKey), hubKeys: { primaryKey: derived[0]! } }
    },
  },
]

export const admitted: readonly Admitted[] = [...x509Admitted, ...keysAdmitted]

const individualCertificatesRefused: readonly Refused[] = [
  {
    id: 'cert-stranger-own',
    title: 'X.509, individual: a stranger with the same common name, self-signed',
    because: 'Invalid certificate',
    arrange: async (world, id) => {
      await enrolledCertificate(world, id)
      return { credential: byCertificate(leafOnly(await deviceCertificate(id))) }
    },
  },
  {
    id: 'cert-stranger-ca',
    title: 'X.509, individual: a stranger with the same common name, from another CA',
    because: 'Invalid certificate',
    arrange: async (world, id) => {
      await enrolledCertificate(world, id)
      const stranger = await deviceCertificate(id, (await createPki('Stranger')).second)
      return { credential: byCertificate(fullChain(stranger)) }
    },
  },
  {
    id: 'cert-expired',
    title: 'X.509, individual: an expired certificate',
    because: 'Invalid certificate',
    arrange: async (world, id) => ({ credential: await enrolledCertificate(world, id, {}, { expiredDays: 2 }) }),
  },
  {
    id: 'cert-asked',
    title: 'X.509, individual: a common name other than the registration ID',
    because: 'Invalid certificate',
    arrange: async ({ dps }, id) => {
      const issued = await deviceCertificate(`${id}-not`)
      await dps.enroll(id, clientCertificates(issued.certificate))
      return { credential: byCertificate(leafOnly(issued)) }
    },
  },
  {
    id: 'cert-off',
    title: 'X.509, individual: a disabled enrollment',
    because: 'disabled',
    arrange: async (world, id) => {
      const issued = await deviceCertificate(id)
      const document = { ...clientCertificates(issued.certificate), initialTwin }
      await world.dps.enroll(id, { ...document, ...disabled })
      return { credential: byCertificate(leafOnly(issued)), mend: () => world.dps.enroll(id, document) }
    },
  },
]

const chainsRefused: readonly Refused[] = [
  {
    id: 'group-leaf-only',
    title: 'X.509, group: a missing intermediate',
    because: 'CA certificate not found',
    arrange: async ({ factory }, id) => ({
      credential: byCertificate(leafOnly(await deviceCertificate(id, factory.second))),
    }),
  },
  {
    id: 'group-stranger-own',
    title: 'X.509, group: a certificate that nobody enrolled',
    because: 'CA certificate not found',
    arrange: async (_, id) => ({ credential: byCertificate(leafOnly(await deviceCertificate(id))) }),
  },
  {
    id: 'group-stranger-ca',
    title: 'X.509, group: a chain to another CA of the same names',
    because: 'CA certificate not found',
    arrange: async (_, id) => ({
      credential: byCertificate(fullChain(await deviceCertificate(id, (await createPki('Factory')).second))),
    }),
  },
  {
    id: 'group-expired',
    title: 'X.509, group: an expired leaf',
    because: 'Invalid certificate',
    arrange: async ({ factory }, id) => ({ credential: await below(factory.second, id, { expiredDays: 2 }) }),
  },
  {
    id: 'group-asked',
    title: 'X.509, group: a common name other than the registration ID',
    because: 'Invalid certificate',
    arrange: async ({ factory }, id) => ({ credential: await below(factory.second, `${id}-not`) }),
  },
  {
    id: 'group-unverified',
    title: 'X.509, group: a CA that is not verified',
    because: 'CA certificate not found',
    arrange: async ({ muster, dps }, id) => {
      const later = await createPki(`Later ${id}`)
      await uploadCa(muster, `${id}-ca`, later.root.certificate, { verified: false })
      await dps.enrollGroup(`${id}-group`, { ...caReferences(`${id}-ca`), initialTwin })
      const path = `/provisioningServices/${muster.addresses.dps.name}/certificates/${id}-ca`
      const certificate = Buffer.from(later.root.certificate).toString('base64')
      const mend = async () => {
        const { etag } = (await managed(muster, 'GET', path)) as { etag: string }
        const body = { properties: { certificate, isVerified: true } }
        await managed(muster, 'PUT', path, { headers: { 'If-Match': etag }, body })
      }
      return { credential: await below(later.second, id), mend }
    },
  },
  {
    id: 'group-off',
    title: 'X.509, group: a disabled group',
    because: 'disabled',
    arrange: async ({ muster, dps }, id) => {
      const closed = await createPki('Closed')
      await uploadCa(muster, `${id}-ca`, closed.root.certificate)
      await dps.enrollGroup(`${id}-group`, { ...caReferences(`${id}-ca`), ...disabled })
      return { credential: await below(closed.second, id) }
    },
  },
  {
    id: 'group-blocked',
    title: 'X.509, group: a disabled individual enrollment blocks a device that the group would admit',
    because: 'disabled',
    arrange: async ({ dps, factory }, id) => {
      const issued = await deviceCertificate(id, factory.second)
      await dps.enroll(id, { ...clientCertificates(issued.certificate), ...disabled })
      return { credential: byCertificate(withoutRoot(issued)) }
    },
  },
  {
    id: 'line-beside',
    title: 'X.509, group by an uploaded intermediate: a device of the same root beside it',
    because: 'Unauthorized',
    arrange: async ({ line }, id) => ({ credential: await below(line.root, id) }),
  },
  {
    id: 'loose',
    title: 'X.509, group by an uploaded intermediate: its root is not verified',
    because: 'CA certificate not found',
    arrange: async ({ dps }, id) => {
      const loose = await createPki('Loose')
      await dps.enrollGroup(`${id}-group`, signingCertificates(loose.first.certificate))
      return { credential: byCertificate(fullChain(await deviceCertificate(id, loose.second))) }
    },
  },
]

const keysRefused: readonly Refused[] = [
  {
    id: 'key-wrong',
    title: 'symmetric key, individual: a wrong key',
    because: 'Unauthorized',
    arrange: async (world, id) => {
      await enrolledKey(world, id)
      return { credential: byKey(newKey()) }
    },
  },
  {
    id: 'key-nobody',
    title: 'symmetric key, individual: no enrollment',
    because: 'Unauthorized',
    arrange: async () => ({ credential: byKey(newKey()) }),
  },
  {
    id: 'key-off',
    title: 'symmetric key, individual: a disabled enrollment',
    because: 'disabled',
    arrange: async (world, id) => ({ credential: await enrolledKey(world, id, disabled) }),
  },
  {
    id: 'derived-not',
    title: 'symmetric key, group: the group key itself',
    because: 'Unauthorized',
    arrange: async ({ groupKeys }) => ({ credential: byKey(groupKeys[0]) }),
  },
  {
    id: 'derived-mine',
    title: 'symmetric key, group: a key derived for another device',
    because: 'Unauthorized',
    arrange: async ({ groupKeys }) => ({ credential: byKey(derivedKey(groupKeys[0], 'theirs')) }),
  },
  {
    id: 'derived-off',
    title: 'symmetric key, group: a disabled group',
    because: 'disabled',
    arrange: async ({ dps }, id) => {
      const key = newKey()
      await dps.enrollGroup(`${id}-group`, { ...symmetricKeys(key, newKey()), ...disabled })
      return { credential: byKey(derivedKey(key, id)) }
    },
  },
  {
    id: 'derived-blocked',
    title: 'symmetric key, group: a disabled individual enrollment blocks a device that the group would admit',
    because: 'disabled',
    arrange: async ({ dps, groupKeys }, id) => {
      const derived = derivedKey(groupKeys[0], id)
      await dps.enroll(id, { ...symmetricKeys(derived, newKey()), ...disabled })
      return { credential: byKey(derived) }
    },
  },
]

const otherProofsAndScopesRefused: readonly Refused[] = [
  {
    id: 'key-for-cert',
    title: 'a key where the enrollment wants a certificate',
    because: 'Unauthorized',
    arrange: async (world, id) => {
      await enrolledCertificate(world, id)
      return { credential: byKey(newKey()) }
    },
  },
  {
    id: 'cert-for-key',
    title: 'a certificate where the enrollment wants a key',
    because: 'Unauthorized',
    arrange: async (world, id) => {
      await enrolledKey(world, id)
      return { credential: byCertificate(leafOnly(await deviceCertificate(id))) }
    },
  },
  {
    id: 'scope-key',
    title: 'another ID scope: a key',
    because: 'Unauthorized',
    arrange: async (world, id) => ({ credential: await enrolledKey(world, id), idScope: world.otherScope }),
  },
  {
    id: 'scope-chain',
    title: 'another ID scope: a chain',
    because: 'CA certificate not found',
    arrange: async ({ factory, otherScope }, id) => ({
      credential: await below(factory.second, id),
      idScope: otherScope,
    }),
  },
  {
    id: 'scope-nobody',
    title: 'an ID scope that nobody has',
    because: 'Unauthorized',
    arrange: async (world, id) => ({ credential: await enrolledKey(world, id), idScope: '0ne00000000' }),
  },
]

export const refused: readonly Refused[] = [
  ...individualCertificatesRefused,
  ...chainsRefused,
  ...keysRefused,
  ...otherProofsAndScopesRefused,
]

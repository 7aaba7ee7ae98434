import type { Clock } from '../base/clock.ts'
import { ServiceError } from '../base/errors.ts'
import { limits } from '../base/limits.ts'
import type { Control, IotHub } from '../control/control.ts'
import { type Certificate, CertificateError, parseCertificate } from '../crypto/certificates.ts'
import { validateChain } from '../crypto/chains.ts'
import { decodeKey } from '../crypto/keys.ts'
import { parseSasToken, resourcesOf, type SasToken, verifySas } from '../crypto/sas.ts'
import { isIdentityId } from '../documents/identity-ids.ts'
import type { Store } from '../store/store.ts'
import type { Grant, Identity } from './identity.ts'
import { type Authentication, type DeviceRecord, devices, keyOf, type ModuleRecord, modules } from './records.ts'
import { namedIdentity, reaches } from './token-scope.ts'

/** What a client shows to prove who it is. A chain is as presented in the TLS handshake, leaf first. */
export type Credential =
  | { readonly kind: 'sas'; readonly token: string }
  | { readonly kind: 'x509'; readonly chain: readonly Buffer[] }
  | { readonly kind: 'none' }

export interface Claim {
  readonly hub: IotHub
  readonly deviceId: string
  readonly moduleId?: string | undefined
  readonly credential: Credential
}

/** Judges device and module credentials (hub-device.md 1). Disabled is only told to whoever proved the identity. */
export interface DeviceAuth {
  /** Throws 401003; 404001 or 404010 for an unknown identity that shows a token, 401003 if it shows a certificate. */
  authenticate(claim: Claim): Promise<Identity>
  /**
   * For calls that name nobody but carry a device's or module's own token: whom the token says it speaks for.
   * Undefined: no token of a device, or one for another hub.
   */
  namedBy(hub: IotHub, token: string): { readonly deviceId: string; readonly moduleId: string | undefined } | undefined
}

export function createDeviceAuth(needs: { store: Store; control: Control; clock: Clock }): DeviceAuth {
  const { store, control, clock } = needs

  async function authenticate(claim: Claim): Promise<Identity> {
    const { hub, deviceId, moduleId, credential } = claim
    if (credential.kind === 'none')
      throw unauthorized(`${nameOf(claim)} showed neither a token nor a client certificate.`)
    const found = await find(claim)
    if (found === undefined) throw unknownIdentity(claim)
    const { device, module } = found
    const owner = module ?? device
    const proof =
      credential.kind === 'sas'
        ? proveToken(claim, credential.token, owner.authentication)
        : await proveCertificate(claim, credential.chain, owner.authentication)
    if (device.status === 'disabled') throw unauthorized(`Device ${deviceId} is disabled.`)
    return {
      hub,
      deviceId,
      moduleId,
      generationId: owner.generationId,
      keyed: owner.keyed,
      ...proof,
    }
  }

  async function find({ hub, deviceId, moduleId }: Claim): Promise<Found | undefined> {
    if (!isIdentityId(deviceId) || (moduleId !== undefined && !isIdentityId(moduleId))) return undefined
    const [device, module] = await Promise.all([
      store.get(devices, keyOf(hub.name, { deviceId })),
      moduleId === undefined ? undefined : store.get(modules, keyOf(hub.name, { deviceId, moduleId })),
    ])
    if (device === undefined || (moduleId !== undefined && module === undefined)) return undefined
    return { device: device.value, module: module?.value }
  }

  function proveToken(claim: Claim, text: string, authentication: Authentication): Proof {
    const token = parseSasToken(text)
    if (token === undefined)
      throw unauthorized('The token is not of the form SharedAccessSignature sr=…&sig=…&se=…[&skn=…].')
    const now = clock.now()
    if (token.se * 1000 + limits.tokenSkewMs <= now)
      throw unauthorized(`The token expired at ${isoSeconds(token.se)}; it is now ${isoSeconds(now / 1000)}.`)
    const readings = resourcesOf(token)
    if (!readings.some((resource) => reaches(resource, claim, token.skn === undefined ? 'identity' : 'policy')))
      throw unauthorized(`The token's resource does not name ${nameOf(claim)} at hub ${claim.hub.hostNames[0]}.`)
    const proof = { type: 'sas', expiresAt: token.se * 1000 } as const
    if (token.skn === undefined) return { ...proof, scope: proveKeys(claim, token, authentication) }
    return { ...proof, scope: 'hub', grant: provePolicy(claim.hub, token) }
  }

  async function proveCertificate(
    claim: Claim,
    chain: readonly Buffer[],
    authentication: Authentication,
  ): Promise<Proof> {
    const [leaf, ...presented] = parseChain(chain)
    if (leaf === undefined) throw unauthorized(`${nameOf(claim)} presented no certificate.`)
    const proof = { scope: claim.moduleId === undefined ? 'device' : 'module', type: 'x509' } as const
    switch (authentication.type) {
      case 'selfSigned':
        requireThumbprint(leaf, authentication, clock.now())
        return { ...proof, expiresAt: leaf.notAfter }
      case 'certificateAuthority':
        return { ...proof, ...(await requireAuthority(claim, leaf, presented)) }
      case 'sas':
      case 'none':
        throw unauthorized(
          `${nameOf(claim)} is registered with authentication type ${authentication.type}; a certificate does not let it in.`,
        )
    }
  }

  async function requireAuthority(
    claim: Claim,
    leaf: Certificate,
    presented: readonly Certificate[],
  ): Promise<Pick<Proof, 'expiresAt' | 'grant'>> {
    const expected = claim.moduleId === undefined ? claim.deviceId : `${claim.deviceId}/${claim.moduleId}`
    if (leaf.commonName !== expected)
      throw unauthorized(
        `The certificate's common name must be ${expected}, found ${leaf.commonName === undefined ? 'none' : leaf.commonName.slice(0, limits.idLength)}.`,
      )
    const { certificates } = await control.certificates.trusted({ kind: 'hub', name: claim.hub.name })
    const anchors = certificates.map(({ certificate }) => certificate)
    const verdict = validateChain({ leaf, presented, anchors, now: clock.now() })
    if (!verdict.ok) throw unauthorized(`The certificate chain is not trusted (${verdict.reason}): ${verdict.detail}`)
    return { expiresAt: verdict.validUntil, grant: { kind: 'authority', sha256: verdict.anchor.sha256 } }
  }

  return {
    authenticate,
    namedBy(hub, text) {
      const token = parseSasToken(text)
      if (token === undefined || token.skn !== undefined) return undefined
      for (const resource of resourcesOf(token)) {
        const named = namedIdentity(hub, resource)
        if (named !== undefined) return named
      }
      return undefined
    },
  }
}

interface Found {
  readonly device: DeviceRecord
  readonly module: ModuleRecord | undefined
}

type Proof = Pick<Identity, 'scope' | 'type' | 'expiresAt' | 'grant'>

/** The identity's own keys, primary then secondary. */
function proveKeys(claim: Claim, token: SasToken, authentication: Authentication): 'device' | 'module' {
  if (authentication.type !== 'sas')
    throw unauthorized(
      `${nameOf(claim)} is registered with authentication type ${authentication.type}; a token does not let it in.`,
    )
  if (signingKey(token, authentication) === undefined)
    throw unauthorized(`The token's signature was made with neither key of ${nameOf(claim)}.`)
  return claim.moduleId === undefined ? 'device' : 'module'
}

/** A policy with DeviceConnect speaks for every device of its hub (hub-device.md 1.1). */
function provePolicy(hub: IotHub, token: SasToken): Grant {
  const policy = hub.policies.find(({ keyName }) => keyName.toLowerCase() === token.skn?.toLowerCase())
  // One text for both: a stranger does not learn which policies exist.
  const key = policy && signingKey(token, policy)
  if (policy === undefined || key === undefined)
    throw unauthorized(`There is no policy ${JSON.stringify(token.skn)} with a key that made this signature.`)
  if (!policy.rights.includes('DeviceConnect'))
    throw new ServiceError(401002, `The policy ${policy.keyName} does not have the right DeviceConnect.`)
  return { kind: 'policy', keyName: policy.keyName, key }
}

/** Which of the two keys made the token. */
const signingKey = (
  token: SasToken,
  keys: { readonly primaryKey: string; readonly secondaryKey: string },
): string | undefined =>
  [keys.primaryKey, keys.secondaryKey].find((text) => {
    const key = decodeKey(text)
    return key !== undefined && verifySas(token, key)
  })

function parseChain(chain: readonly Buffer[]): Certificate[] {
  try {
    return chain.slice(0, limits.presentedChain).map(parseCertificate)
  } catch (cause) {
    if (!(cause instanceof CertificateError)) throw cause
    throw new ServiceError(401003, `A certificate that was presented cannot be read: ${cause.message}.`, { cause })
  }
}

/** SHA-1 or SHA-256 of the leaf, either of the two slots; the rest of the certificate does not matter but its end. */
function requireThumbprint(
  leaf: Certificate,
  expected: { readonly primaryThumbprint: string | null; readonly secondaryThumbprint: string | null },
  now: number,
): void {
  const matches = [expected.primaryThumbprint, expected.secondaryThumbprint].some((thumbprint) => {
    const wanted = thumbprint?.toUpperCase()
    return wanted === leaf.sha1 || wanted === leaf.sha256
  })
  if (!matches)
    throw unauthorized(
      `The certificate (SHA-1 ${leaf.sha1}, SHA-256 ${leaf.sha256}) has neither registered thumbprint.`,
    )
  if (now > leaf.notAfter) throw unauthorized(`The certificate expired at ${isoSeconds(leaf.notAfter / 1000)}.`)
}

/** C# expects "unauthorized" of an unknown X.509 device on every transport (hub-device.md 1.4). */
function unknownIdentity(claim: Claim): ServiceError {
  if (claim.credential.kind === 'x509') return unauthorized(`${nameOf(claim)} is not registered.`)
  return claim.moduleId === undefined
    ? new ServiceError(404001, claim.deviceId)
    : new ServiceError(404010, `${claim.deviceId}/${claim.moduleId}`)
}

const unauthorized = (message: string): ServiceError => new ServiceError(401003, message)

const nameOf = ({ deviceId, moduleId }: Claim): string =>
  moduleId === undefined ? `Device ${deviceId}` : `Module ${deviceId}/${moduleId}`

const isoSeconds = (seconds: number): string =>
  seconds < 8e12 ? `${new Date(seconds * 1000).toISOString().slice(0, 19)}Z` : String(seconds)

import type { Control, IotHub } from '../control/control.ts'
import type { Grant, Identity } from './identity.ts'

/**
 * Why the hub itself would not let these identities in now, in their order; undefined: it would. No commit of the change
 * sequence says that a policy, a CA certificate or a hub has changed, so live sessions are compared with them regularly.
 */
export type WhyRevoked = (
  identities: readonly Identity[],
) => Promise<readonly ('deleted' | 'credentials' | undefined)[]>

export function createWhyRevoked({ hubs, certificates }: Pick<Control, 'hubs' | 'certificates'>): WhyRevoked {
  async function trustedBy(hub: string): Promise<ReadonlySet<string>> {
    const trusted = await certificates.trusted({ kind: 'hub', name: hub })
    return new Set(trusted.certificates.map(({ certificate }) => certificate.sha256))
  }

  return async (identities) => {
    const served = new Map((await hubs.list()).map((hub) => [hub.name, hub]))
    const asking = identities.filter(({ grant }) => grant?.kind === 'authority').map(({ hub }) => hub.name)
    const trusted = new Map<string, ReadonlySet<string>>()
    for (const hub of new Set(asking)) trusted.set(hub, await trustedBy(hub))
    return identities.map(({ hub: { name, presence }, grant }) => {
      const hub = served.get(name)
      if (hub === undefined || hub.presence.version !== presence.version) return 'deleted'
      return grant === undefined || stands(grant, hub, trusted.get(name)) ? undefined : 'credentials'
    })
  }
}

function stands(grant: Grant, { policies }: IotHub, trusted: ReadonlySet<string> | undefined): boolean {
  if (grant.kind === 'authority') return trusted?.has(grant.sha256) ?? false
  const policy = policies.find(({ keyName }) => keyName.toLowerCase() === grant.keyName.toLowerCase())
  return (
    policy?.rights.includes('DeviceConnect') === true && [policy.primaryKey, policy.secondaryKey].includes(grant.key)
  )
}

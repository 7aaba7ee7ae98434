import { hash } from 'node:crypto'
import type { LinkedHubEntry, ProvisioningService } from '../control/control.ts'
import { findByHost } from '../control/hosts.ts'
import { type EnrollmentAllocation, type EnrollmentCommon, namedHubs } from './enrollment-document.ts'
import type { Failure } from './registration-record.ts'

/** A hub by its host name, or why there is none; or that a webhook has to choose among these. */
export type Allocation = { readonly hub: string } | { readonly failure: Failure } | { readonly ask: readonly string[] }

/**
 * Chooses the hub of a device (dps.md 8.3). The answer depends on its arguments alone, so a repeated assignment comes
 * to the same one.
 *
 * @param latencyOrder host names from nearest to farthest, for geoLatency
 */
export function allocate(
  service: ProvisioningService,
  enrollment: EnrollmentCommon,
  registrationId: string,
  latencyOrder: readonly string[],
): Allocation {
  const candidates = candidatesOf(service, enrollment)
  if (candidates.length === 0) return { failure: noHub(service, enrollment) }
  const policy = policyOf(service, enrollment)
  switch (policy) {
    case 'hashed':
      return { hub: hashed(candidates, registrationId) }
    case 'geoLatency':
      return { hub: hashed(nearest(candidates, latencyOrder), registrationId) }
    case 'static': {
      const [only, ...others] = candidates
      if (only !== undefined && others.length === 0) return { hub: only.hostName }
      const message = `The static allocation policy needs exactly one hub, and ${candidates.length} are to choose from. Name one in the enrollment.`
      return { failure: { code: 400208, message } }
    }
    case 'custom':
      return { ask: candidates.map(({ hostName }) => hostName) }
  }
}

/** The older `iotHubHostName` means static and one hub (dps.md 6.3). */
export function policyOf(
  { allocationPolicy }: ProvisioningService,
  enrollment: EnrollmentCommon,
): EnrollmentAllocation {
  if (enrollment.allocationPolicy !== undefined) return enrollment.allocationPolicy
  if (enrollment.iotHubHostName !== undefined) return 'static'
  switch (allocationPolicy) {
    case 'Hashed':
      return 'hashed'
    case 'GeoLatency':
      return 'geoLatency'
    case 'Static':
      return 'static'
  }
}

/** The hubs that the enrollment names, as far as they are linked; else all linked ones that take part in allocation. */
export function candidatesOf(
  { linkedHubs }: ProvisioningService,
  enrollment: EnrollmentCommon,
): readonly LinkedHubEntry[] {
  const named = namedHubs(enrollment)
  if (named === undefined) return linkedHubs.filter((hub) => hub.applyAllocationPolicy)
  const meant = new Set(named.map((host) => findByHost(linkedHubs, (hub) => [hub.hostName], host)))
  return linkedHubs.filter((hub) => meant.has(hub))
}

function noHub(service: ProvisioningService, enrollment: EnrollmentCommon): Failure {
  const named = namedHubs(enrollment)
  const message =
    named === undefined
      ? `No hub is linked to the provisioning service ${service.name} for allocation. Link one.`
      : `None of the hubs that the enrollment names (${named.join(', ')}) is linked to the provisioning service ${service.name}.`
  return { code: 400208, message }
}

/** Those that the order names first; where it names none of them, all are alike. */
function nearest(candidates: readonly LinkedHubEntry[], latencyOrder: readonly string[]): readonly LinkedHubEntry[] {
  for (const host of latencyOrder) {
    const found = findByHost(candidates, (hub) => [hub.hostName], host)
    if (found !== undefined) return [found]
  }
  return candidates
}

/**
 * Weighted rendezvous hashing: every hub draws a number from the id, and the best of them wins. Devices spread by
 * weight, and a hub that comes or goes moves only the devices that it wins or held. Azure's own hash is not public
 * (dps.md 8.3).
 */
function hashed(candidates: readonly LinkedHubEntry[], registrationId: string): string {
  const [first, ...others] = candidates
  if (first === undefined) throw new RangeError('There must be a hub to choose.')
  if (others.length === 0) return first.hostName
  const id = registrationId.toLowerCase()
  return candidates
    .map(({ hostName, allocationWeight }) => ({ hostName, score: score(id, hostName, allocationWeight) }))
    .reduce((best, each) => (each.score > best.score ? each : best)).hostName
}

/** `-weight / ln(u)` for a `u` in (0, 1) that id and hub determine. */
function score(id: string, hostName: string, weight: number): number {
  const digest = hash('sha256', `${id}\n${hostName.toLowerCase()}`, 'buffer')
  const drawn = (digest.readUIntBE(0, 6) + 0.5) / 2 ** 48
  return -weight / Math.log(drawn)
}

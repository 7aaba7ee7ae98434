import { X509Certificate } from 'node:crypto'
import { readFileSync } from 'node:fs'
import type { Clock } from './base/clock.ts'
import { ServiceError } from './base/errors.ts'
import { limits } from './base/limits.ts'
import { type Config, ConfigError } from './config.ts'
import { type Control, linkConnection } from './control/control.ts'
import { decodeKey } from './crypto/keys.ts'
import type { HubCalls } from './provisioning/linked-hub.ts'
import type { PostWebhook } from './provisioning/provisioning.ts'
import { remoteHub } from './remote-hub.ts'
import { createHubClient } from './wire/hub-client.ts'
import { createOutbound, type Outbound, OutboundError } from './wire/outbound.ts'

/** The way out of this node, as the configuration has it. */
export function openOutbound(config: Config, clock: Clock, managementPort: Promise<number>): Outbound {
  const { allow, caFile } = config.outbound
  const ca = caFile === undefined ? undefined : readAuthorities(caFile)
  return createOutbound({ clock, managementPort, allowed: allow, ca })
}

/** Read once, at the start. TLS would pass over what is no certificate. */
function readAuthorities(file: string): string {
  try {
    const text = readFileSync(file, 'utf8')
    const found = text.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? []
    for (const certificate of found) new X509Certificate(certificate)
    if (found.length > 0) return text
  } catch (cause) {
    throw new ConfigError(`Cannot read the PEM file ${file} (outbound-ca): ${reasonOf(cause)}.`)
  }
  throw new ConfigError(`outbound-ca must be a PEM file of certificates, found none in ${file}.`)
}

const reasonOf = (cause: unknown): string => (cause instanceof Error ? cause.message : 'unknown cause')

/** Fulfils provisioning's port to webhooks. Only a service that stops is worth another try (dps.md 5.5). */
export const webhookPost =
  (outbound: Outbound): PostWebhook =>
  async (url, body) => {
    const headers = { 'Content-Type': 'application/json; charset=utf-8', Accept: 'application/json' }
    try {
      return await outbound.send({ method: 'POST', url, headers, body, answerBytes: limits.webhookAnswerBytes })
    } catch (thrown) {
      if (!(thrown instanceof OutboundError)) throw thrown
      const code = thrown.kind === 'closed' ? 503001 : 400207
      throw new ServiceError(code, `Custom allocation failed: ${thrown.message}`, { cause: thrown })
    }
  }

/** Fulfils provisioning's port to a hub with the linked hub of that name that is not ours; 400208 where none is linked. */
export async function linkedRemoteHub(
  needs: { readonly control: Control; readonly outbound: Outbound; readonly clock: Clock },
  hostName: string,
  idScope: string,
): Promise<HubCalls> {
  const service = await needs.control.provisioningServices.byScope(idScope)
  const link = service?.linkedHubs.find((each) => each.hostName === hostName.toLowerCase())
  const connection = link?.connectionString === undefined ? undefined : linkConnection(link.connectionString)
  const key = decodeKey(connection?.key ?? '')
  if (connection === undefined || key === undefined)
    throw new ServiceError(
      400208,
      `the hub ${hostName} is not linked to the provisioning service any more. Link it again; or delete the registration record, and the device is assigned as if for the first time.`,
    )
  const { keyName } = connection
  return remoteHub(hostName, createHubClient(needs, { hostName: connection.hostName, keyName, key }))
}

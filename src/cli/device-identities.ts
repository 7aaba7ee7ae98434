import { compact, isObject } from '../base/json.ts'
import { limits } from '../base/limits.ts'
import { type Environment, refused, usage } from './environment.ts'
import { type Answering, type Columns, print } from './output.ts'
import { ifMatch, pathOf } from './rest.ts'
import { type HubOptions, hubRest } from './services.ts'

interface Printed extends HubOptions, Answering {}

interface One extends Printed {
  readonly deviceId: string
}

export interface CreateOptions extends One {
  readonly authMethod: 'shared_private_key' | 'x509_thumbprint' | 'x509_ca'
  readonly primaryKey?: string
  readonly secondaryKey?: string
  readonly primaryThumbprint?: string
  readonly secondaryThumbprint?: string
  readonly edgeEnabled?: boolean
  readonly status: string
  readonly statusReason?: string
}

const VERSION = 'api-version=2021-04-12'

const columns: Columns = {
  'Device ID': 'deviceId',
  Status: 'status',
  Authentication: 'authentication.type',
  Edge: 'capabilities.iotEdge',
  Connection: 'connectionState',
  'Last activity': 'lastActivityTime',
}

/** At most 1000: the registry has no paging (hub-service.md 2.1). */
export async function listDevices(
  options: Printed & { readonly top?: number; readonly edgeEnabled?: boolean },
  environment: Environment,
): Promise<void> {
  const top = Math.min(options.top ?? limits.deviceList, limits.deviceList)
  const rest = await hubRest(options, environment)
  const { body } = await rest({ method: 'GET', path: `/devices?top=${top}&${VERSION}` })
  if (!Array.isArray(body))
    throw refused('Expected a list of devices as the answer, found something else. Is this a hub?')
  const wanted = body.filter((device) => options.edgeEnabled === undefined || isEdge(device) === options.edgeEnabled)
  await print(environment, options, wanted, columns)
}

export async function showDevice(options: One, environment: Environment): Promise<void> {
  const rest = await hubRest(options, environment)
  const { body } = await rest({ method: 'GET', path: `${pathOf('devices', options.deviceId)}?${VERSION}` })
  await print(environment, options, body, columns)
}

export async function createDevice(options: CreateOptions, environment: Environment): Promise<void> {
  const document = compact({
    deviceId: options.deviceId,
    status: options.status,
    statusReason: options.statusReason,
    authentication: authenticationOf(options),
    capabilities: { iotEdge: options.edgeEnabled ?? false },
  })
  const rest = await hubRest(options, environment)
  const path = `${pathOf('devices', options.deviceId)}?${VERSION}`
  const { body } = await rest({ method: 'PUT', path, body: document })
  await print(environment, options, body, columns)
}

export async function deleteDevice(options: One & { readonly etag?: string }, environment: Environment): Promise<void> {
  const rest = await hubRest(options, environment)
  const path = `${pathOf('devices', options.deviceId)}?${VERSION}`
  await rest({ method: 'DELETE', path, headers: ifMatch(options.etag) })
}

const authenticationOf = (options: CreateOptions): object => {
  const { authMethod, primaryKey, secondaryKey, primaryThumbprint, secondaryThumbprint } = options
  const keys = primaryKey ?? secondaryKey
  const thumbprints = primaryThumbprint ?? secondaryThumbprint
  if (keys !== undefined && authMethod !== 'shared_private_key')
    throw usage(
      `Expected --primary-key and --secondary-key only with --auth-method shared_private_key, found ${authMethod}.`,
    )
  if (thumbprints !== undefined && authMethod !== 'x509_thumbprint')
    throw usage(`Expected --primary-thumbprint only with --auth-method x509_thumbprint, found ${authMethod}.`)
  if (authMethod === 'x509_ca') return { type: 'certificateAuthority' }
  if (authMethod === 'x509_thumbprint') {
    if (thumbprints === undefined)
      throw usage('Expected --primary-thumbprint with --auth-method x509_thumbprint, found none.')
    return { type: 'selfSigned', x509Thumbprint: compact({ primaryThumbprint, secondaryThumbprint }) }
  }
  if ((primaryKey === undefined) !== (secondaryKey === undefined))
    throw usage('Expected both --primary-key and --secondary-key, or neither (the hub makes them), found one.')
  return { type: 'sas', ...(keys !== undefined && { symmetricKey: { primaryKey, secondaryKey } }) }
}

const isEdge = (device: unknown): boolean =>
  isObject(device) && isObject(device['capabilities']) && device['capabilities']['iotEdge'] === true

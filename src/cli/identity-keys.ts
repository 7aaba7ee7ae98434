import { Fields, isObject } from '../base/json.ts'
import { type Environment, notice, refused, usage } from './environment.ts'
import { type HubRegistry, type IdentityDocument, type IdentityName, openRegistry, textOf } from './hub-registry.ts'
import { deviceColumns, moduleColumns, type OneDevice, type OneModule } from './identity-output.ts'
import { type Answering, type Columns, print } from './output.ts'
import type { HubOptions } from './services.ts'

interface RenewOptions extends HubOptions, Answering {
  readonly keyType: 'primary' | 'secondary' | 'both' | 'swap'
  readonly etag?: string
}

interface DeviceRenewOptions extends RenewOptions {
  readonly deviceId: readonly string[]
  readonly includeModules?: boolean
}

interface ModuleRenewOptions extends RenewOptions {
  readonly deviceId: string
  readonly moduleId: readonly string[]
}

/** `*` in place of ids: all that there are. */
const ALL = '*'

const renewalColumns: Columns = {
  'Device ID': 'id',
  'Module ID': 'moduleId',
  Error: 'errorCode',
  Reason: 'errorStatus',
}

export async function renewDeviceKeys(options: DeviceRenewOptions, environment: Environment): Promise<void> {
  const { deviceId: ids, includeModules = false } = options
  const registry = await openRegistry(options, environment)
  const [deviceId = '', ...others] = ids
  const one = others.length === 0 && deviceId !== ALL && !includeModules
  if (one) return renewOne(registry, { deviceId }, options, deviceColumns, environment)
  requireBulk(options)
  await renewMany(registry, await namesOf(registry, ids, includeModules), options, environment)
}

export async function renewModuleKeys(options: ModuleRenewOptions, environment: Environment): Promise<void> {
  const { deviceId, moduleId: ids } = options
  const registry = await openRegistry(options, environment)
  const [moduleId = '', ...others] = ids
  if (others.length === 0 && moduleId !== ALL)
    return renewOne(registry, { deviceId, moduleId }, options, moduleColumns, environment)
  requireBulk(options)
  const names = ids.includes(ALL)
    ? await modulesWithKeys(registry, deviceId)
    : [...new Set(ids)].map((id) => ({ deviceId, moduleId: id }))
  await renewMany(registry, names, options, environment)
}

/** The connection string of a device or module (hub-service.md 1.2); the key is what the command was asked for. */
export async function showConnectionString(
  options: (OneDevice | OneModule) & { readonly keyType?: 'primary' | 'secondary' },
  environment: Environment,
): Promise<void> {
  const registry = await openRegistry(options, environment)
  const identity = await registry.get(options)
  const module = 'moduleId' in options ? `;ModuleId=${options.moduleId}` : ''
  const credential = credentialOf(identity, options.keyType ?? 'primary')
  const connectionString = `HostName=${registry.hostName};DeviceId=${options.deviceId}${module};${credential}`
  await print(
    environment,
    { ...options, showKeys: true },
    { connectionString },
    { 'Connection string': 'connectionString' },
  )
}

function credentialOf(identity: IdentityDocument, keyType: 'primary' | 'secondary'): string {
  const type = authenticationType(identity)
  if (type === 'selfSigned' || type === 'certificateAuthority') return 'x509=true'
  if (type === 'sas') return `SharedAccessKey=${keysOf(identity)[`${keyType}Key`]}`
  throw refused(`Expected an identity that proves itself with keys or a certificate, found the authentication ${type}.`)
}

/** One identity is shown afterwards, as the az CLI does. */
async function renewOne(
  registry: HubRegistry,
  name: IdentityName,
  options: RenewOptions,
  columns: Columns,
  environment: Environment,
): Promise<void> {
  const { keyType, etag } = options
  if (keyType !== 'swap' && etag !== undefined)
    throw usage('Expected --etag only with --key-type swap: the other ones renew whatever the identity is now.')
  const before = await registry.get(name)
  const type = authenticationType(before)
  if (type !== 'sas')
    throw refused(`Expected an identity with symmetric keys, found the authentication ${type}. Nothing was changed.`)
  if (keyType === 'swap') {
    const { primaryKey, secondaryKey } = keysOf(before)
    const authentication = { type, symmetricKey: { primaryKey: secondaryKey, secondaryKey: primaryKey } }
    const after = await registry.replace(name, { ...before, authentication }, etag ?? textOf(before, 'etag'))
    return print(environment, options, after, columns)
  }
  const { errors } = await registry.renewKeys(policyKeyOf(keyType), [name])
  if (errors.length > 0) throw refused(`Expected new keys, found: ${reasonOf(errors[0])}. Nothing was changed.`)
  await print(environment, options, await registry.get(name), columns)
}

/** What failed is in the answer too; a script sees it by the exit code. */
async function renewMany(
  registry: HubRegistry,
  names: readonly IdentityName[],
  options: RenewOptions,
  environment: Environment,
): Promise<void> {
  const renewal = await registry.renewKeys(policyKeyOf(options.keyType), names)
  const table = options.output === 'table' && options.query === undefined
  await print(environment, options, table ? [...renewal.rotatedKeys, ...renewal.errors] : renewal, renewalColumns)
  notice(
    environment,
    `${renewal.rotatedKeys.length} of ${names.length} identities have new keys; their live connections are cut`,
  )
  if (renewal.errors.length > 0)
    throw refused(
      `Expected new keys for ${names.length} identities, found ${renewal.errors.length} that got none; errors says why.`,
    )
}

function requireBulk({ keyType, etag }: RenewOptions): void {
  if (keyType === 'swap')
    throw usage('Expected --key-type primary, secondary or both for several identities, found swap.')
  if (etag !== undefined) throw usage('Expected --etag for one identity only, found several.')
}

const policyKeyOf = (keyType: string): string => (keyType === 'both' ? keyType : `${keyType}Key`)

/** The identities named; with `*` all that have keys. */
async function namesOf(
  registry: HubRegistry,
  ids: readonly string[],
  includeModules: boolean,
): Promise<readonly IdentityName[]> {
  const withKeys: string[] = []
  const others: string[] = []
  if (ids.includes(ALL))
    // A fleet has room in memory by its names only.
    await registry.devices(Number.POSITIVE_INFINITY, (device) => {
      ;(hasKeys(device) ? withKeys : others).push(textOf(device, 'deviceId'))
      return false
    })
  else withKeys.push(...new Set(ids))
  const names: IdentityName[] = withKeys.map((deviceId) => ({ deviceId }))
  if (includeModules)
    for (const deviceId of [...withKeys, ...others]) names.push(...(await modulesWithKeys(registry, deviceId)))
  return names
}

const modulesWithKeys = async (registry: HubRegistry, deviceId: string): Promise<IdentityName[]> =>
  (await registry.modules(deviceId))
    .filter(hasKeys)
    .map((module) => ({ deviceId, moduleId: textOf(module, 'moduleId') }))

const hasKeys = (identity: IdentityDocument): boolean => authenticationType(identity) === 'sas'

const authenticationType = (identity: IdentityDocument): string =>
  isObject(identity['authentication']) ? String(identity['authentication']['type']) : 'none'

function keysOf(identity: IdentityDocument): { readonly primaryKey: string; readonly secondaryKey: string } {
  const keys = new Fields(identity, 'identity').fields('authentication')?.fields('symmetricKey')
  const [primaryKey, secondaryKey] = [keys?.string('primaryKey'), keys?.string('secondaryKey')]
  if (primaryKey !== undefined && secondaryKey !== undefined) return { primaryKey, secondaryKey }
  throw refused("Expected two symmetric keys in the hub's answer, found fewer. Is this an IoT hub of a known version?")
}

const reasonOf = (error: unknown): string =>
  isObject(error) ? `${String(error['errorCode'])}, ${String(error['errorStatus'])}` : 'no reason given'

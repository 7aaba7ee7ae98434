import { compact, type JsonObject } from '../base/json.ts'
import { type CreateOptions, type Kind, newEnrollment, reprovisionPolicies } from './enrollment-documents.ts'
import { type Environment, usage } from './environment.ts'
import type { CsvColumns, CsvRow } from './import-csv.ts'
import { readJsonObject } from './json-argument.ts'

/** Columns of CSV files: the options of the create commands, under their names. */

/** Of devices; `tags.NAME` is a tag with a text, `tags` JSON of all of them. */
export const deviceColumns: CsvColumns = {
  names: [
    'device-id',
    'auth-method',
    'primary-key',
    'secondary-key',
    'primary-thumbprint',
    'secondary-thumbprint',
    'status',
    'status-reason',
    'edge-enabled',
    'parent-device-id',
    'tags',
    'desired',
    'import-mode',
    'etag',
    'tags.*',
  ],
  required: ['device-id'],
  document: deviceDocument,
}

async function deviceDocument(row: CsvRow, environment: Environment): Promise<object> {
  const iotEdge = flag(row, 'edge-enabled')
  const parent = row['parent-device-id']
  // Only the ID in a scope counts here: the generation behind it is the hub's to know.
  const scope = parent === undefined ? undefined : `ms-azure-iot-edge://${parent}-0`
  const desired = await json(row, 'desired', environment)
  return compact({
    id: row['device-id'],
    importMode: row['import-mode'],
    etag: row['etag'],
    status: row['status'],
    statusReason: row['status-reason'],
    authentication: authenticationOf(row),
    capabilities: iotEdge === undefined ? undefined : { iotEdge },
    ...(iotEdge === true ? { parentScopes: scope && [scope] } : { deviceScope: scope }),
    tags: await tagsOf(row, environment),
    properties: desired && { desired },
  })
}

const AUTH_METHODS = { shared_private_key: 'sas', x509_thumbprint: 'selfSigned', x509_ca: 'certificateAuthority' }

function authenticationOf(row: CsvRow): object | undefined {
  const method = choice(row, 'auth-method', Object.keys(AUTH_METHODS))
  const keys = members({ primaryKey: row['primary-key'], secondaryKey: row['secondary-key'] })
  const thumbprints = members({
    primaryThumbprint: row['primary-thumbprint'],
    secondaryThumbprint: row['secondary-thumbprint'],
  })
  if (keys !== undefined && (thumbprints !== undefined || (method !== undefined && method !== 'shared_private_key')))
    throw usage('Expected primary-key and secondary-key only with auth-method shared_private_key, found another.')
  if (thumbprints !== undefined && method !== undefined && method !== 'x509_thumbprint')
    throw usage(`Expected primary-thumbprint only with auth-method x509_thumbprint, found ${method}.`)
  const type = method === undefined ? undefined : AUTH_METHODS[method as keyof typeof AUTH_METHODS]
  if (type === undefined && keys === undefined && thumbprints === undefined) return undefined
  return compact({ type, symmetricKey: keys, x509Thumbprint: thumbprints })
}

const members = (all: Record<string, string | undefined>): object | undefined => {
  const given = compact(all)
  return Object.keys(given).length === 0 ? undefined : given
}

async function tagsOf(row: CsvRow, environment: Environment): Promise<JsonObject | undefined> {
  const whole = await json(row, 'tags', environment)
  const single = Object.entries(row).flatMap(([name, value]) =>
    name.startsWith('tags.') && value !== undefined ? [[name.slice('tags.'.length), value] as const] : [],
  )
  return whole === undefined && single.length === 0 ? undefined : { ...whole, ...Object.fromEntries(single) }
}

/** Of enrollments, or of enrollment groups: column -> option of `newEnrollment`. */
export const enrollmentColumns = (kind: Kind): CsvColumns => ({
  names: ['enrollment-id', ...(kind === 'individual' ? INDIVIDUAL : GROUP), ...COMMON, 'import-mode', 'etag'],
  required: ['enrollment-id', ...(kind === 'individual' ? ['attestation-type'] : [])],
  document: async (row, environment) => {
    const document = await newEnrollment(kind, optionsOf(row), environment)
    return compact({ ...document, importMode: row['import-mode'], etag: row['etag'] })
  },
})

const INDIVIDUAL = ['attestation-type', 'device-id', 'device-information', 'endorsement-key', 'storage-root-key']
const GROUP = ['root-ca-name', 'secondary-root-ca-name']
const COMMON = [
  'certificate-path',
  'secondary-certificate-path',
  'primary-key',
  'secondary-key',
  'edge-enabled',
  'initial-twin-tags',
  'initial-twin-properties',
  'provisioning-status',
  'reprovision-policy',
  'allocation-policy',
  'iot-hubs',
  'webhook-url',
  'api-version',
]

const JSON_COLUMNS = ['initial-twin-tags', 'initial-twin-properties', 'device-information']

function optionsOf(row: CsvRow): CreateOptions {
  for (const name of JSON_COLUMNS) inline(row, name)
  const texts = Object.entries(row).map(([name, value]) => [
    name.replace(/-([a-z])/g, (_, letter: string) => letter.toUpperCase()),
    value,
  ])
  const { iotHubs, ...options } = Object.fromEntries(texts) as Record<string, string | undefined>
  return compact({
    ...options,
    enrollmentId: row['enrollment-id']!,
    output: 'none',
    edgeEnabled: flag(row, 'edge-enabled'),
    attestationType: choice(row, 'attestation-type', ['x509', 'symmetricKey', 'tpm']),
    reprovisionPolicy: choice(row, 'reprovision-policy', Object.keys(reprovisionPolicies)),
    iotHubs: iotHubs?.split(/[\s;]+/),
  }) as CreateOptions
}

function flag(row: CsvRow, name: string): boolean | undefined {
  const value = choice(row, name, ['true', 'false'])
  return value === undefined ? undefined : value === 'true'
}

/** A value of a closed set, in any case as in the az CLI. */
function choice(row: CsvRow, name: string, allowed: readonly string[]): string | undefined {
  const value = row[name]
  if (value === undefined) return undefined
  const found = allowed.find((each) => each.toLowerCase() === value.toLowerCase())
  if (found !== undefined) return found
  throw usage(`Expected ${name} to be one of ${allowed.join(', ')}, found ${JSON.stringify(value.slice(0, 80))}.`)
}

async function json(row: CsvRow, name: string, environment: Environment): Promise<JsonObject | undefined> {
  const text = inline(row, name)
  return text === undefined ? undefined : readJsonObject(text, name, environment)
}

/** Options take JSON or a file of it; a table that somebody else made must not choose files of this machine. */
function inline(row: CsvRow, name: string): string | undefined {
  const text = row[name]
  if (text === undefined || text.startsWith('{')) return text
  throw usage(`Expected ${name} to be a JSON object, found another text.`)
}

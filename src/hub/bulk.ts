import { type Code, ServiceError } from '../base/errors.ts'
import { type IfMatch, parseIfMatch } from '../base/etags.ts'
import { type Fields, type JsonObject, kindOf } from '../base/json.ts'
import { limits } from '../base/limits.ts'
import type { Log } from '../base/log.ts'
import type { Random } from '../base/random.ts'
import type { Caller, IotHub } from '../control/control.ts'
import type { TwinContent } from '../documents/twin-record.ts'
import { requireTwinContent, requireTwinSize, SERVICE_MEMBERS } from '../documents/twin-rules.ts'
import { type Item, itemError, parseItems } from './bulk-items.ts'
import { deviceInput } from './devices.ts'
import type { ModuleRegistry } from './module-registry.ts'
import { moduleInput } from './modules.ts'
import type { DeviceRegistry } from './registry.ts'

export const IMPORT_MODES = [
  'create',
  'createOrUpdate',
  'createOrUpdateIfMatchETag',
  'update',
  'updateIfMatchETag',
  'delete',
  'deleteIfMatchETag',
  'updateTwin',
  'updateTwinIfMatchETag',
] as const
export type ImportMode = (typeof IMPORT_MODES)[number]

export interface BulkError {
  readonly deviceId: string
  readonly moduleId: string | null
  readonly errorCode: string
  readonly errorStatus: string
  readonly operation: string
}

/** `BulkRegistryOperationResult` of hub-service.md 2.6. */
export interface BulkResult {
  readonly isSuccessful: boolean
  readonly errors: readonly BulkError[]
  readonly warnings: readonly never[]
}

/**
 * `POST /devices`: up to 100 changes, applied one by one; those that fail are told in `errors`, the others stay. Only a
 * request that is malformed as a whole is refused (400004, 400011, 413002).
 */
export type Bulk = (caller: Caller, hub: IotHub, body: unknown) => Promise<BulkResult>

export function createBulk(needs: { registry: DeviceRegistry & ModuleRegistry; random: Random; log: Log }): Bulk {
  const { registry, random, log } = needs

  async function apply(caller: Caller, hub: IotHub, { fields, deviceId, moduleId }: Item): Promise<void> {
    // Every SDK names a mode; without one the strictest is assumed (unverified).
    const mode = fields.oneOf('importMode', IMPORT_MODES) ?? 'create'
    if (mode === 'updateTwin' || mode === 'updateTwinIfMatchETag') throw noTwinChange(mode)
    const etag = fields.string('etag')
    const ifMatch: IfMatch = mode.endsWith('IfMatchETag') ? requiredEtag(fields, etag) : { kind: 'any' }
    if (moduleId === undefined) await applyToDevice(caller, hub, deviceId, fields, mode, ifMatch)
    else await applyToModule(caller, hub, deviceId, moduleId, fields, mode, ifMatch)
  }

  async function applyToDevice(
    caller: Caller,
    hub: IotHub,
    deviceId: string,
    fields: Fields,
    mode: Exclude<ImportMode, 'updateTwin' | 'updateTwinIfMatchETag'>,
    ifMatch: IfMatch,
  ): Promise<void> {
    switch (mode) {
      case 'delete':
      case 'deleteIfMatchETag':
        return registry.removeDevice(caller, hub, deviceId, ifMatch)
      case 'create':
        await registry.createDevice(caller, hub, deviceId, deviceInput(fields, random), twinOf(fields))
        return
      case 'update':
      case 'updateIfMatchETag':
        refuseTwin(twinOf(fields), mode)
        await registry.updateDevice(caller, hub, deviceId, deviceInput(fields, random), ifMatch)
        return
      case 'createOrUpdate':
      case 'createOrUpdateIfMatchETag': {
        const input = deviceInput(fields, random)
        const twin = twinOf(fields)
        await upsert(
          async () => {
            if (hasContent(twin)) await registry.getDevice(hub, deviceId).then(() => refuseTwin(twin, mode))
            await registry.updateDevice(caller, hub, deviceId, input, ifMatch)
          },
          () => registry.createDevice(caller, hub, deviceId, input, twin),
          { absent: 404001, exists: 409001 },
        )
      }
    }
  }

  async function applyToModule(
    caller: Caller,
    hub: IotHub,
    deviceId: string,
    moduleId: string,
    fields: Fields,
    mode: Exclude<ImportMode, 'updateTwin' | 'updateTwinIfMatchETag'>,
    ifMatch: IfMatch,
  ): Promise<void> {
    switch (mode) {
      case 'delete':
      case 'deleteIfMatchETag':
        return registry.removeModule(caller, hub, deviceId, moduleId, ifMatch)
      case 'create':
        await registry.createModule(caller, hub, deviceId, moduleId, moduleInput(fields, random), twinOf(fields))
        return
      case 'update':
      case 'updateIfMatchETag':
        refuseTwin(twinOf(fields), mode)
        await registry.updateModule(caller, hub, deviceId, moduleId, moduleInput(fields, random), ifMatch)
        return
      case 'createOrUpdate':
      case 'createOrUpdateIfMatchETag': {
        const input = moduleInput(fields, random)
        const twin = twinOf(fields)
        await upsert(
          async () => {
            if (hasContent(twin))
              await registry.getModule(caller, hub, deviceId, moduleId).then(() => refuseTwin(twin, mode))
            await registry.updateModule(caller, hub, deviceId, moduleId, input, ifMatch)
          },
          () => registry.createModule(caller, hub, deviceId, moduleId, input, twin),
          { absent: 404010, exists: 409301 },
        )
      }
    }
  }

  return async (caller, hub, body) => {
    if (!Array.isArray(body))
      throw new ServiceError(400004, `The body must be an array of devices, found ${kindOf(body)}.`)
    const items = parseItems(body)
    const failed = new Map<Item, BulkError>()
    // In order within a device (its modules need it), side by side otherwise, so that they share the store's commits.
    await Promise.all(
      [...Map.groupBy(items, ({ deviceId }) => deviceId).values()].map(async (ofDevice) => {
        for (const item of ofDevice)
          await apply(caller, hub, item).catch(
            (thrown: unknown) => void failed.set(item, bulkError(item, itemError(log, hub, item, thrown))),
          )
      }),
    )
    const errors = items.flatMap((item) => failed.get(item) ?? [])
    return { isSuccessful: errors.length === 0, errors, warnings: [] }
  }
}

/** Updates what is there, creates what is not, whichever of the two another caller does meanwhile. */
async function upsert(
  update: () => Promise<unknown>,
  create: () => Promise<unknown>,
  { absent, exists }: { readonly absent: Code; readonly exists: Code },
): Promise<void> {
  for (let attempt = 1; ; attempt++) {
    if (await succeeds(update, absent)) return
    if (await succeeds(create, exists)) return
    if (attempt === limits.commitAttempts)
      throw new ServiceError(409000, 'The identity was made and deleted again and again meanwhile. Repeat the request.')
  }
}

async function succeeds(step: () => Promise<unknown>, otherwise: Code): Promise<boolean> {
  try {
    await step()
    return true
  } catch (thrown) {
    if (thrown instanceof ServiceError && thrown.code === otherwise) return false
    throw thrown
  }
}

function requiredEtag(fields: Fields, etag: string | undefined): IfMatch {
  const ifMatch = parseIfMatch(etag)
  return ifMatch.kind === 'absent' ? fields.fail('etag', 'an etag or * for this importMode', 'none') : ifMatch
}

const noTwinChange = (mode: ImportMode): ServiceError =>
  new ServiceError(
    400003,
    `importMode ${mode} of a twin that exists is not available: this release does not change twins from the service side.`,
  )

const hasContent = (twin: TwinContent): boolean =>
  [twin.tags, twin.desired, twin.reported ?? {}].some((part) => Object.keys(part).length > 0)

/** What cannot be written must not look as if it had been. */
function refuseTwin(twin: TwinContent, mode: ImportMode): void {
  if (hasContent(twin)) throw noTwinChange(mode)
}

/**
 * The first twin of an identity that is created with tags and desired properties (C# AddDeviceWithTwinAsync); with
 * reported ones too where a provisioning service elsewhere moves it here.
 */
function twinOf(fields: Fields): TwinContent {
  const properties = fields.fields('properties')
  const section = (name: 'desired' | 'reported'): JsonObject =>
    Object.fromEntries(
      Object.entries(properties?.object(name) ?? {}).filter(
        ([member]) => !SERVICE_MEMBERS.some((service) => service === member),
      ),
    )
  const twin = { tags: fields.object('tags') ?? {}, desired: section('desired'), reported: section('reported') }
  for (const part of ['tags', 'desired', 'reported'] as const) {
    requireTwinContent(part, twin[part], 'refused')
    requireTwinSize(part, twin[part])
  }
  return twin
}

function bulkError({ fields, deviceId, moduleId }: Item, error: ReturnType<typeof itemError>): BulkError {
  const mode = fields.get('importMode')
  return {
    deviceId,
    moduleId: moduleId ?? null,
    ...error,
    operation: typeof mode === 'string' ? mode.slice(0, limits.idLength) : 'create',
  }
}

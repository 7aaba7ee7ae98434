import type { Clock } from '../base/clock.ts'
import { type IfMatch, parseIfMatch } from '../base/etags.ts'
import type { Fields, JsonObject } from '../base/json.ts'
import type { Random } from '../base/random.ts'
import type { TwinSection } from '../documents/twin-record.ts'
import { requireTwinContent, requireTwinSize } from '../documents/twin-rules.ts'
import { readSection } from '../documents/twin-sections.ts'
import { namesNoKeys } from './authentication.ts'
import { IMPORT_MODES, type ImportMode } from './bulk.ts'
import { type DeviceInput, deviceInput, requireId } from './devices.ts'
import { type ModuleInput, moduleInput } from './modules.ts'

/** One line of `devices.txt` (hub-service.md 3.3), or a device document of the registry. */
export interface DeviceLine {
  readonly deviceId: string
  readonly moduleId: string | undefined
  readonly mode: ImportMode
  readonly ifMatch: IfMatch
  readonly twinMatch: IfMatch
  readonly device: DeviceInput
  readonly module: ModuleInput
  /** The line names no credentials: an identity that is there keeps its own. */
  readonly keyless: boolean
  readonly twin: TwinLine | undefined
}

/** What a line gives of a twin. */
export interface TwinLine {
  readonly tags?: JsonObject
  readonly desired?: TwinSection
  readonly reported?: TwinSection
}

/** @param mode where the line names none of its own */
export function readDeviceLine(
  fields: Fields,
  mode: ImportMode,
  { random, clock }: { readonly random: Random; readonly clock: Clock },
): DeviceLine {
  const deviceId = fields.required('id', fields.string('id') ?? fields.string('deviceId'))
  const moduleId = fields.string('moduleId') || undefined
  requireId('device ID', deviceId)
  if (moduleId !== undefined) requireId('module ID', moduleId)
  const own = fields.oneOf('importMode', IMPORT_MODES) ?? mode
  // Deletions carry an authentication block as well, which means nothing (hub-service.md 2.6).
  const writes = !own.startsWith('delete') && !own.startsWith('updateTwin')
  return {
    deviceId,
    moduleId,
    mode: own,
    ifMatch: matchOf(fields, own, 'etag'),
    twinMatch: matchOf(fields, own, 'twinETag'),
    device: writes && moduleId === undefined ? deviceInput(fields, random) : NO_DEVICE,
    module: writes && moduleId !== undefined ? moduleInput(fields, random) : NO_MODULE,
    keyless: writes && namesNoKeys(fields),
    twin: own.startsWith('delete') ? undefined : readTwin(fields, clock.now()),
  }
}

/** Stand where a line is about the other kind of identity, or writes none, and are never looked at. */
const NO_AUTHENTICATION = { type: 'none' } as const
const NO_MODULE: ModuleInput = { authentication: NO_AUTHENTICATION, managedBy: undefined }
const NO_DEVICE: DeviceInput = {
  authentication: NO_AUTHENTICATION,
  status: 'enabled',
  statusReason: undefined,
  iotEdge: undefined,
  deviceScope: undefined,
  parentScopes: undefined,
}

/** Only the modes that are named for it compare an etag; Azure's exports carry the etags of the hub they come from. */
function matchOf(fields: Fields, mode: ImportMode, member: 'etag' | 'twinETag'): IfMatch {
  const compares = mode === 'updateTwinIfMatchETag' ? 'twinETag' : mode.endsWith('IfMatchETag') ? 'etag' : undefined
  if (compares !== member) return { kind: 'any' }
  const ifMatch = parseIfMatch(fields.string(member))
  return ifMatch.kind === 'absent' ? fields.fail(member, `an etag or * for importMode ${mode}`, 'none') : ifMatch
}

function readTwin(fields: Fields, now: number): TwinLine | undefined {
  const tags = fields.object('tags')
  const properties = fields.fields('properties')
  const [desired, reported] = [properties?.object('desired'), properties?.object('reported')]
  if (tags === undefined && desired === undefined && reported === undefined) return undefined
  if (tags !== undefined) {
    requireTwinContent('tags', tags, 'refused')
    requireTwinSize('tags', tags)
  }
  return {
    ...(tags !== undefined && { tags }),
    ...(desired !== undefined && { desired: readSection('desired', desired, now) }),
    ...(reported !== undefined && { reported: readSection('reported', reported, now) }),
  }
}

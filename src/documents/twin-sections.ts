import { ServiceError } from '../base/errors.ts'
import { isObject, type Json, type JsonObject } from '../base/json.ts'
import type { MemberMetadata, MetadataMembers, TwinSection } from './twin-record.ts'
import { requireTwinContent, requireTwinSize, SERVICE_MEMBERS } from './twin-rules.ts'

/**
 * A section as `sectionForService` shows it, read back: with `$metadata` and `$version` where the document has them
 * (hub-service.md 3.3), else as written now.
 */
export function readSection(part: 'desired' | 'reported', document: JsonObject, now: number): TwinSection {
  const properties = Object.fromEntries(
    Object.entries(document).filter(([name]) => !SERVICE_MEMBERS.some((service) => service === name)),
  )
  requireTwinContent(part, properties, 'refused')
  requireTwinSize(part, properties)
  const version = readVersion(`${part}.$version`, document['$version']) ?? 1
  const metadata = document['$metadata']
  if (metadata === undefined || metadata === null) return { properties, version, updatedTime: now }
  if (!isObject(metadata)) refuse(`${part}.$metadata`, 'an object')
  const updatedTime = readTime(`${part}.$metadata.$lastUpdated`, metadata['$lastUpdated']) ?? now
  const stamp = { updatedTime, version }
  const members = readMembers(`${part}.$metadata`, properties, metadata, stamp)
  return { properties, ...stamp, ...(isUniform(members, stamp) ? {} : { members }) }
}

type Stamp = Pick<MemberMetadata, 'updatedTime' | 'version'>

/** Only for what the properties have: their depth bounds this one's. */
function readMembers(
  path: string,
  properties: JsonObject,
  metadata: Record<string, unknown>,
  outer: Stamp,
): MetadataMembers {
  return Object.fromEntries(
    Object.entries(properties).map(([name, value]): [string, MemberMetadata] => {
      const own = Object.hasOwn(metadata, name) && isObject(metadata[name]) ? metadata[name] : {}
      const stamp = {
        updatedTime: readTime(`${path}.${name}.$lastUpdated`, own['$lastUpdated']) ?? outer.updatedTime,
        version: readVersion(`${path}.${name}.$lastUpdatedVersion`, own['$lastUpdatedVersion']) ?? outer.version,
      }
      if (!isInner(value)) return [name, stamp]
      return [name, { ...stamp, members: readMembers(`${path}.${name}`, value, own, stamp) }]
    }),
  )
}

const isInner = (value: Json | undefined): value is JsonObject => isObject(value)

/** Whether every member is as old as the section: then nothing has to be kept of it. */
const isUniform = (members: MetadataMembers | undefined, stamp: Stamp): boolean =>
  Object.values(members ?? {}).every(
    (each) =>
      each.updatedTime === stamp.updatedTime && each.version === stamp.version && isUniform(each.members, stamp),
  )

function readVersion(path: string, value: unknown): number | undefined {
  if (value === undefined || value === null) return undefined
  if (typeof value === 'number' && Number.isSafeInteger(value) && value >= 1) return value
  return refuse(path, 'a whole number from 1')
}

function readTime(path: string, value: unknown): number | undefined {
  if (value === undefined || value === null) return undefined
  const time = typeof value === 'string' ? Date.parse(value) : Number.NaN
  if (!Number.isNaN(time)) return time
  return refuse(path, 'a time such as 2026-01-01T00:00:00Z')
}

function refuse(path: string, expected: string): never {
  throw new ServiceError(400004, `${path.slice(0, 500)} must be ${expected}, found something else.`)
}

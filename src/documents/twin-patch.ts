import { isObject, type Json, type JsonObject } from '../base/json.ts'
import { type MemberMetadata, type MetadataMembers, memberOf, type TwinSection } from './twin-record.ts'

/** When, and by which `$version` of its section, something was written. */
type Stamp = Pick<MemberMetadata, 'updatedTime' | 'version'>

/**
 * Merges a patch into a section (hub-device.md 5.3): objects merge member by member, scalars and arrays replace, null
 * deletes. `$version` rises by one whatever the patch changes (unverified for one without effect). Every member that
 * the patch names, and every object on the way to it, is stamped; the others keep their stamps. The patch must have
 * passed `requireTwinContent`, the result still has to pass `requireTwinSize`.
 */
export function patchSection(section: TwinSection, patch: JsonObject, now: number): TwinSection {
  const stamp: Stamp = { updatedTime: now, version: section.version + 1 }
  const { properties, members } = merge(section.properties, section.members, section, patch, stamp)
  return { properties, ...stamp, members }
}

interface Merged {
  readonly properties: JsonObject
  readonly members: MetadataMembers
}

/** @param before the stamp of members that have no entry of their own */
function merge(
  properties: JsonObject,
  members: MetadataMembers | undefined,
  before: Stamp,
  patch: JsonObject,
  stamp: Stamp,
): Merged {
  const names = new Set([...Object.keys(properties), ...Object.keys(patch)])
  const values: [string, Json][] = []
  const stamps: [string, MemberMetadata][] = []
  for (const name of names) {
    const own = memberOf(members, name)
    const old = Object.hasOwn(properties, name) ? properties[name] : undefined
    const patched = Object.hasOwn(patch, name) ? patch[name] : undefined
    if (patched === undefined) {
      values.push([name, old as Json])
      stamps.push([name, own ?? { updatedTime: before.updatedTime, version: before.version }])
    } else if (isJsonObject(patched) && isJsonObject(old)) {
      const inner = merge(old, own?.members, own ?? before, patched, stamp)
      values.push([name, inner.properties])
      stamps.push([name, { ...stamp, members: inner.members }])
    } else if (patched !== null) {
      values.push([name, isJsonObject(patched) ? withoutNulls(patched) : patched])
      stamps.push([name, stamp])
    }
  }
  // fromEntries makes own members even of names like __proto__.
  return { properties: Object.fromEntries(values), members: Object.fromEntries(stamps) }
}

/** `{"a": {"b": null}}` on a twin without `a` makes an empty `a` (C# Twin_ServiceDoesNotCreateNullPropertyInCollection). */
const withoutNulls = (value: JsonObject): JsonObject =>
  Object.fromEntries(
    Object.entries(value)
      .filter(([, member]) => member !== null)
      .map(([name, member]) => [name, isJsonObject(member) ? withoutNulls(member) : member]),
  )

const isJsonObject = (value: Json | undefined): value is JsonObject => isObject(value)

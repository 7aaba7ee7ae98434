import { isoTime } from '../base/clock.ts'
import { isObject, type JsonObject } from '../base/json.ts'
import { type MetadataMembers, memberOf, type TwinRecord, type TwinSection } from './twin-record.ts'

/** A section as the device sees it: its properties and `$version`, no metadata (hub-device.md 2.5). */
export const sectionForDevice = ({ properties, version }: TwinSection): JsonObject => ({
  ...properties,
  $version: version,
})

/** `{desired, reported}`: the answer to a twin read over MQTT or AMQP. */
export const twinForDevice = ({ desired, reported }: TwinRecord): JsonObject => ({
  desired: sectionForDevice(desired),
  reported: sectionForDevice(reported),
})

/**
 * A section with `$metadata` and `$version` (hub-service.md 4.2). Every object and leaf has `$lastUpdated`; in desired
 * properties also the version that wrote it.
 */
export function sectionForService(section: TwinSection, part: 'desired' | 'reported'): JsonObject {
  const stamp = (updatedTime: number, version: number): JsonObject => ({
    $lastUpdated: isoTime(updatedTime),
    ...(part === 'desired' ? { $lastUpdatedVersion: version } : {}),
  })
  const metadata = (properties: JsonObject, at: Stamp, members: MetadataMembers | undefined): JsonObject => ({
    ...stamp(at.updatedTime, at.version),
    ...Object.fromEntries(
      Object.entries(properties).map(([name, value]) => {
        const own = memberOf(members, name)
        const { updatedTime, version } = own ?? at
        return [name, isObject(value) ? metadata(value, own ?? at, own?.members) : stamp(updatedTime, version)]
      }),
    ),
  })
  return {
    ...section.properties,
    $metadata: metadata(section.properties, section, section.members),
    $version: section.version,
  }
}

interface Stamp {
  readonly updatedTime: number
  readonly version: number
}

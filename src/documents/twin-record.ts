import type { JsonObject } from '../base/json.ts'

/** A twin as it is kept. Metadata is kept only where it is not the same everywhere: a fresh twin has none. */
export interface TwinRecord {
  /** Rises by one with each change of tags or desired (hub-service.md 4.2). */
  readonly version: number
  readonly tags: JsonObject
  readonly desired: TwinSection
  readonly reported: TwinSection
}

export interface TwinSection {
  readonly properties: JsonObject
  /** `$version`: starts at 1, rises by one with each accepted patch of the section. */
  readonly version: number
  /** Milliseconds: `$lastUpdated` of the section, and of every member of it while `members` is absent. */
  readonly updatedTime: number
  /** One entry for each member of `properties`; absent: all of them are as old as the section. */
  readonly members?: MetadataMembers
}

export interface MetadataMembers {
  readonly [member: string]: MemberMetadata
}

/** Mirrors a member: an object has entries for its own members, arrays and scalars have none. */
export interface MemberMetadata {
  readonly updatedTime: number
  /** `$version` of the section when the member was written. */
  readonly version: number
  readonly members?: MetadataMembers
}

/** Own members only: properties may be called `constructor` or `__proto__`. */
export const memberOf = (members: MetadataMembers | undefined, name: string): MemberMetadata | undefined =>
  members !== undefined && Object.hasOwn(members, name) ? members[name] : undefined

export interface TwinContent {
  readonly tags: JsonObject
  readonly desired: JsonObject
  readonly reported?: JsonObject | undefined
}

/** Samples of fresh twins show `version` 2 with both `$version` at 1 (hub-service.md 4.2). */
const FIRST_VERSION = 2

export const freshTwin = ({ tags, desired, reported = {} }: TwinContent, now: number): TwinRecord => ({
  version: FIRST_VERSION,
  tags,
  desired: { properties: desired, version: 1, updatedTime: now },
  reported: { properties: reported, version: 1, updatedTime: now },
})

/** Whether nothing was written since it was made. */
export const isFresh = ({ version, desired, reported }: TwinRecord): boolean =>
  version === FIRST_VERSION && desired.version === 1 && reported.version === 1

/** The twin as provisioning makes it anew; its versions go on, so that devices see a change (dps.md 5, reset). */
export const resetTwin = (old: TwinRecord, content: TwinContent, now: number): TwinRecord => ({
  version: old.version + 1,
  tags: content.tags,
  desired: { properties: content.desired, version: old.desired.version + 1, updatedTime: now },
  reported: { properties: content.reported ?? {}, version: old.reported.version + 1, updatedTime: now },
})

import type { Fields, JsonObject } from '../base/json.ts'
import { limits } from '../base/limits.ts'
import { hostName } from './hosts.ts'

/** Members that PUT documents of both kinds of instance share. Each answers undefined where the member is absent. */

export function readHostNames(fields: Fields, member: string): readonly string[] | undefined {
  const texts = fields.strings(member)
  if (texts === undefined) return undefined
  const names = [...new Set(texts.map((text) => readHostNameText(fields, member, text)))]
  if (names.length === 0 || names.length > limits.hostNames)
    fields.fail(member, `1 to ${limits.hostNames} host names`, String(names.length))
  return names
}

export function readHostName(fields: Fields, member: string): string | undefined {
  const text = fields.string(member)
  return text === undefined ? undefined : readHostNameText(fields, member, text)
}

const readHostNameText = (fields: Fields, member: string, text: string): string =>
  hostName(text) ??
  fields.fail(member, 'host names such as hub.example or hub.example:8443', JSON.stringify(text.slice(0, 64)))

export function readLocation(fields: Fields): string | undefined {
  const text = fields.string('location')
  if (text !== undefined && (text === '' || text.length > limits.locationLength))
    fields.fail('location', `1 to ${limits.locationLength} characters`, String(text.length))
  return text
}

export function readTags(fields: Fields): Readonly<Record<string, string>> | undefined {
  const tags = fields.object('tags')
  return tags === undefined ? undefined : checkedTags(fields, tags)
}

function checkedTags(fields: Fields, tags: JsonObject): Record<string, string> {
  const entries = Object.entries(tags)
  if (entries.length > limits.instanceTags)
    fields.fail('tags', `at most ${limits.instanceTags} tags`, String(entries.length))
  return Object.fromEntries(
    entries.map(([name, value]) => {
      if (name === '' || name.length > limits.instanceTagNameLength)
        fields.fail('tags', `names of 1 to ${limits.instanceTagNameLength} characters`, `one of ${name.length}`)
      if (typeof value !== 'string' || value.length > limits.instanceTagValueLength)
        return fields.fail(
          'tags',
          `text of at most ${limits.instanceTagValueLength} characters under every name`,
          `something else under ${JSON.stringify(name.slice(0, 64))}`,
        )
      return [name, value]
    }),
  )
}

/** A whole number within bounds. */
export function readWhole(fields: Fields, member: string, least: number, most: number): number | undefined {
  const value = fields.number(member)
  if (value !== undefined && (!Number.isInteger(value) || value < least || value > most))
    fields.fail(member, `a whole number from ${least} to ${most}`, String(value))
  return value
}

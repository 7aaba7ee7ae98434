import { isObject, type JsonObject, jsonErrorPlace } from '../base/json.ts'
import { type Environment, usage } from './environment.ts'
import { readNamed } from './files.ts'

/**
 * A JSON object given inline (`{…}`) or as a file. As the az CLI, inline text may also be a Python literal: all of its
 * documentation writes `"{'location':{'region':'US'}}"`, because double quotes do not survive every shell.
 */
export async function readJsonObject(value: string, option: string, environment: Environment): Promise<JsonObject> {
  // The az CLI's way of taking everything away.
  if (value === '') return {}
  const inline = value.trimStart().startsWith('{')
  const text = inline ? value : (await readNamed(value, `JSON for ${option}`, environment)).toString('utf8')
  const document = parse(text, option)
  if (!isObject(document)) throw usage(`Expected ${option} to be a JSON object, found another JSON value.`)
  return document as JsonObject
}

function parse(text: string, option: string): unknown {
  try {
    return JSON.parse(text)
  } catch (cause) {
    try {
      return JSON.parse(jsonOfPython(text))
    } catch {
      throw usage(
        `Expected ${option} to be a JSON object or a file of it, found text that is not JSON${jsonErrorPlace(cause)}.`,
        cause,
      )
    }
  }
}

/** The JSON text of a Python literal: strings in either quotes, True, False, None; everything else stays as it is. */
const jsonOfPython = (text: string): string =>
  text.replace(TOKEN, (token, single: string | undefined, double: string | undefined, word: string | undefined) => {
    if (single !== undefined) return `"${single.replaceAll("\\'", "'").replaceAll(UNESCAPED_DOUBLE, '\\"')}"`
    return double ?? WORDS.get(word ?? '') ?? token
  })

const TOKEN = /'((?:[^'\\]|\\.)*)'|("(?:[^"\\]|\\.)*")|\b(True|False|None)\b/gs
const UNESCAPED_DOUBLE = /(?<!\\)"/g
const WORDS = new Map([
  ['True', 'true'],
  ['False', 'false'],
  ['None', 'null'],
])

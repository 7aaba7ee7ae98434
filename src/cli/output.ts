import { isObject } from '../base/json.ts'
import type { Environment } from './environment.ts'

export type Format = 'json' | 'table' | 'none'

/** A column of `--output table`: its heading and where its value stands (`a.b.c`). */
export type Columns = Readonly<Record<string, string>>

/** Writes a document, or a list of them, in the form asked for. Keys must have been taken out before. */
export async function print(environment: Environment, format: Format, value: unknown, columns: Columns): Promise<void> {
  if (format === 'none' || value === undefined) return
  environment.stdout.write(format === 'json' ? `${JSON.stringify(value, null, 2)}\n` : await tableOf(value, columns))
}

async function tableOf(value: unknown, columns: Columns): Promise<string> {
  const { default: Table } = await import('cli-table3')
  // Plain, so that it reads the same in a terminal, a file and a pipe.
  const bare = {
    top: '',
    'top-mid': '',
    'top-left': '',
    'top-right': '',
    bottom: '',
    'bottom-mid': '',
    'bottom-left': '',
  }
  const table = new Table({
    head: Object.keys(columns),
    chars: {
      ...bare,
      'bottom-right': '',
      left: '',
      'left-mid': '',
      mid: '',
      'mid-mid': '',
      right: '',
      'right-mid': '',
      middle: '  ',
    },
    style: { head: [], border: [], 'padding-left': 0, 'padding-right': 0 },
  })
  for (const row of [value].flat()) table.push(Object.values(columns).map((path) => cell(at(row, path))))
  const lines = table.toString().split('\n')
  return `${lines.map((line) => line.trimEnd()).join('\n')}\n`
}

const at = (value: unknown, path: string): unknown =>
  path.split('.').reduce<unknown>((inner, name) => (isObject(inner) ? inner[name] : undefined), value)

const cell = (value: unknown): string =>
  value === undefined || value === null ? '' : typeof value === 'object' ? JSON.stringify(value) : String(value)

const SECRETS = new Set(['primarykey', 'secondarykey', 'sharedaccesskey', 'privatekey'])

/**
 * The document without the keys in it: nobody who did not ask for a key gets one on a screen or in a build log.
 * The key of a connection string is starred, everything else is absent.
 */
export function withoutKeys(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(withoutKeys)
  if (typeof value === 'string') return value.replace(/(SharedAccessKey=)[^;]+/gi, '$1****')
  if (!isObject(value)) return value
  const kept = Object.entries(value).filter(([name]) => !SECRETS.has(name.toLowerCase()))
  return Object.fromEntries(kept.map(([name, member]) => [name, withoutKeys(member)]))
}

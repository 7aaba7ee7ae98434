import { isObject } from '../base/json.ts'
import type { Environment } from './environment.ts'
import { select } from './query.ts'

/** Those of the az CLI that are here; `none` is its quiet output. */
export const formats = ['json', 'table', 'tsv', 'none'] as const

export type Format = (typeof formats)[number]

/** How an answer is to be written: the options that `answerOptions` declares, as a command gets them. */
export interface Answering {
  readonly output: Format
  /** JMESPath. */
  readonly query?: string
  /** Of commands whose answers hold keys. */
  readonly showKeys?: boolean
}

/** Whether keys may be written: by `--show-keys`, or because `--query` names one, as in the az CLI's documentation. */
export const asksForKeys = ({ query, showKeys }: Omit<Answering, 'output'>): boolean =>
  showKeys === true || (query !== undefined && /(primary|secondary)key/i.test(query))

/** A column of `--output table`: its heading and where its value stands (`a.b.c`). */
export type Columns = Readonly<Record<string, string>>

/**
 * Writes a document, or a list of them, in the form asked for; nothing for null, as the az CLI. Nobody who did not ask
 * for keys gets any. `columns` are those of a table of the whole answer; without them, and of what `--query` selects, the
 * members are.
 */
export async function print(
  environment: Environment,
  options: Answering,
  answer: unknown,
  columns: Columns,
): Promise<void> {
  const { output, query } = options
  const value = asksForKeys(options) ? answer : withoutKeys(answer)
  const selected = query === undefined || value === undefined ? value : await select(value, query)
  if (output === 'none' || selected === undefined || selected === null) return
  const written = {
    json: () => `${JSON.stringify(selected, null, 2)}\n`,
    table: () => tableOf(query === undefined && hasMembers(columns) ? rowsOf(selected, columns) : ownRowsOf(selected)),
    tsv: () => tsvOf(selected, query !== undefined),
  }
  environment.stdout.write(await written[output]())
}

const hasMembers = (columns: Columns): boolean => Object.keys(columns).length > 0

interface Rows {
  readonly head: readonly string[]
  readonly rows: readonly (readonly unknown[])[]
}

const rowsOf = (value: unknown, columns: Columns): Rows => ({
  head: Object.keys(columns),
  rows: [value].flat().map((row) => Object.values(columns).map((path) => at(row, path))),
})

/** As the az CLI: a column for each plain member, in the order first seen; of lists Column1, Column2, …; else Result. */
function ownRowsOf(value: unknown): Rows {
  const rows = [value].flat().map((item) => new Map(plainMembers(item)))
  const names = [...new Set(rows.flatMap((row) => [...row.keys()]))]
  return {
    head: names.map((name) => name.slice(0, 1).toUpperCase() + name.slice(1)),
    rows: rows.map((row) => names.map((name) => row.get(name))),
  }
}

function plainMembers(item: unknown): readonly (readonly [string, unknown])[] {
  if (Array.isArray(item)) return item.map((each, index) => [`Column${index + 1}`, each])
  if (!isObject(item)) return [['Result', item]]
  return Object.entries(item).filter(([name, member]) => typeof member !== 'object' && !NOT_IN_TABLES.has(name))
}

const NOT_IN_TABLES = new Set(['id', 'type', 'etag'])

async function tableOf({ head, rows }: Rows): Promise<string> {
  if (head.length === 0) return ''
  const { default: Table } = await import('cli-table3')
  const table = new Table({ head: [...head], chars: PLAIN, style: BARE })
  for (const row of rows) table.push(row.map(cell))
  const lines = table.toString().split('\n')
  return `${lines.map((line) => line.trimEnd()).join('\n')}\n`
}

/** No lines, so that it reads the same in a terminal, a file and a pipe. */
const PLAIN = {
  top: '',
  'top-mid': '',
  'top-left': '',
  'top-right': '',
  bottom: '',
  'bottom-mid': '',
  'bottom-left': '',
  'bottom-right': '',
  left: '',
  'left-mid': '',
  mid: '',
  'mid-mid': '',
  right: '',
  'right-mid': '',
  middle: '  ',
}
const BARE = { head: [], border: [], 'padding-left': 0, 'padding-right': 0 }

const at = (value: unknown, path: string): unknown =>
  path.split('.').reduce<unknown>((inner, name) => (isObject(inner) ? inner[name] : undefined), value)

/** Names and payloads are strangers' texts: none of them may steer a terminal or break a line of the table. */
const cell = (value: unknown): string =>
  value === undefined || value === null
    ? ''
    : (typeof value === 'object' ? JSON.stringify(value) : String(value)).replace(/[\p{Cc}\p{Cf}]/gu, '·')

/**
 * A line for each item, its members with tabs between; as the az CLI sorted by name unless `--query` ordered them, a list
 * as its length, an object as nothing. Texts are written as they are, so that a certificate can go into a file.
 */
const tsvOf = (value: unknown, ordered: boolean): string =>
  [value]
    .flat()
    .map((item) => `${tsvLine(item, ordered)}\n`)
    .join('')

function tsvLine(item: unknown, ordered: boolean): string {
  if (typeof item === 'boolean') return String(item)
  if (Array.isArray(item)) return item.map(tsvField).join('\t')
  if (!isObject(item)) return tsvField(item)
  const members = Object.entries(item)
  if (!ordered) members.sort(([a], [b]) => (a < b ? -1 : 1))
  return members.map(([, member]) => tsvField(member)).join('\t')
}

/** The az CLI's words for null and truth are Python's; scripts compare with them. */
function tsvField(value: unknown): string {
  if (Array.isArray(value)) return String(value.length)
  if (value === null || value === undefined) return 'None'
  if (typeof value === 'boolean') return value ? 'True' : 'False'
  return isObject(value) ? '' : String(value)
}

/** Of connection strings, and of webhooks, whose address carries the key of its function (dps.md 5.4). */
const KEYS_IN_TEXT = /(SharedAccessKey=|[?&]code=)[^;&\s"]+/gi
const SECRETS = new Set(['primarykey', 'secondarykey', 'sharedaccesskey', 'privatekey'])

/** The document without the keys in it: that of a connection string is starred, everything else is absent. */
export function withoutKeys(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(withoutKeys)
  if (typeof value === 'string') return value.replace(KEYS_IN_TEXT, '$1****')
  if (!isObject(value)) return value
  const kept = Object.entries(value).filter(([name]) => !SECRETS.has(name.toLowerCase()))
  return Object.fromEntries(kept.map(([name, member]) => [name, withoutKeys(member)]))
}

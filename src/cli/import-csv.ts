import { pipeline, Readable } from 'node:stream'
import { parse } from 'csv-parse'
import { limits } from '../base/limits.ts'
import { CommandError, type Environment, usage } from './environment.ts'
import type { SourceLine } from './import-source.ts'

/** What the columns of a CSV file are called, and what a row of them means. */
export interface CsvColumns {
  /** Names as in the header, those of the options of the create command; `*` at the end: any name that begins so. */
  readonly names: readonly string[]
  readonly required: readonly string[]
  /** The document of a row; empty cells are absent. Throws what it refuses. */
  document(row: CsvRow, environment: Environment): object | Promise<object>
}

export type CsvRow = Readonly<Record<string, string | undefined>>

/** A record may span several lines: it stands at its first, the others are left empty. */
export async function* csvLines(
  bytes: AsyncIterable<Buffer>,
  columns: CsvColumns,
  environment: Environment,
): AsyncGenerator<readonly SourceLine[]> {
  let header: readonly string[] | undefined
  let at = 0
  let batch: SourceLine[] = []
  try {
    for await (const { record, info } of records(bytes)) {
      if (header === undefined) header = readHeader(record, columns)
      else batch.push(await lineOf(header, record, columns, environment))
      if (at === 0) batch.push(EMPTY)
      for (at += 1; at < info.lines; at++) batch.push(EMPTY)
      if (batch.length < limits.importBatchLines) continue
      yield batch
      batch = []
    }
  } catch (cause) {
    yield batch
    throw broken(cause)
  }
  yield batch
  if (header === undefined) throw usage(`Expected a header with the columns ${columns.names.join(', ')}, found none.`)
}

const EMPTY: SourceLine = { text: '' }

interface Parsed {
  readonly record: readonly string[]
  /** Lines read up to the end of the record. */
  readonly info: { readonly lines: number }
}

function records(bytes: AsyncIterable<Buffer>): AsyncIterable<Parsed> {
  const parser = parse({ info: true, relax_column_count: true, max_record_size: limits.importLineBytes })
  pipeline(Readable.from(decoded(bytes)), parser, () => {
    // What fails is thrown where the records are read.
  })
  return parser as AsyncIterable<Parsed>
}

async function* decoded(bytes: AsyncIterable<Buffer>): AsyncGenerator<string> {
  const decoder = new TextDecoder('utf-8', { fatal: true })
  for await (const chunk of bytes) yield decoder.decode(chunk, { stream: true })
  yield decoder.decode()
}

function readHeader(record: readonly string[], { names, required }: CsvColumns): readonly string[] {
  const header = record.map((cell) => cell.trim().replace(/^--/, ''))
  const isKnown = (name: string): boolean =>
    names.some((each) => (each.endsWith('*') ? name.startsWith(each.slice(0, -1)) : name === each))
  const unknown = header.find((name) => !isKnown(name))
  const twice = header.find((name, at) => header.indexOf(name) !== at)
  const missing = required.find((name) => !header.includes(name))
  const expected = `Expected the columns ${names.join(', ')} in line 1, separated by commas`
  if (unknown !== undefined) throw usage(`${expected}, found ${JSON.stringify(unknown.slice(0, 80))}.`)
  if (twice !== undefined) throw usage(`${expected}, found ${twice} twice.`)
  if (missing !== undefined) throw usage(`${expected}, found none called ${missing}, which must be there.`)
  return header
}

async function lineOf(
  header: readonly string[],
  record: readonly string[],
  columns: CsvColumns,
  environment: Environment,
): Promise<SourceLine> {
  if (record.every((cell) => cell.trim() === '')) return EMPTY
  const id = record[header.indexOf(columns.required[0] ?? '')]?.slice(0, limits.idLength) ?? ''
  const refuse = (message: string): SourceLine => ({ text: '', problem: { id, code: 'ArgumentInvalid', message } })
  if (record.length !== header.length)
    return refuse(`Expected ${header.length} values, as the header has columns, found ${record.length}.`)
  const row = Object.fromEntries(header.map((name, at) => [name, record[at]!.trim() || undefined]))
  try {
    return { text: JSON.stringify(await columns.document(row, environment)) }
  } catch (cause) {
    if (cause instanceof CommandError) return refuse(cause.message)
    throw cause
  }
}

/** Nothing after a broken quote can be told apart; what came before was sent. */
function broken(cause: unknown): unknown {
  if (cause instanceof CommandError) return cause
  const { code, message, lines } = cause as { code?: string; message: string; lines?: number }
  if (code === 'ERR_ENCODING_INVALID_ENCODED_DATA') return usage('Expected text in UTF-8, found other bytes.', cause)
  if (code === undefined || lines === undefined) return cause
  const [what] = message.split(':')
  return usage(
    `Expected CSV in line ${lines}, found ${(what ?? code).toLowerCase()}. A cell with commas, quotes or line breaks stands in double quotes, quotes in it are doubled.`,
    cause,
  )
}

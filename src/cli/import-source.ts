import { isUtf8 } from 'node:buffer'
import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { open, readFile, stat } from 'node:fs/promises'
import { extname } from 'node:path'
import { limits } from '../base/limits.ts'
import { type Environment, notice, usage } from './environment.ts'
import { type CsvColumns, csvLines } from './import-csv.ts'
import { absolute } from './ready-file.ts'

/** A line of the file, as the service gets it. */
export interface SourceLine {
  /** JSON of one document; empty: nothing to send, so that line numbers stay those of the file. */
  readonly text: string | Buffer
  /** Why it cannot be sent. */
  readonly problem?: Problem
}

export interface Problem {
  readonly id: string
  /** A name of the services' error table. */
  readonly code: string
  readonly message: string
}

/** What is imported: a file, or standard input. */
export interface Source {
  /** For people. */
  readonly name: string
  /** SHA-256 of the content: the same file goes on where it was left. Undefined: it can be read once only. */
  readonly fingerprint: string | undefined
  /** Lines in all, where that is known. */
  readonly total: number | undefined
  readonly format: SourceFormat
  /** Every line from the first on, many at a time. */
  lines(): AsyncIterable<readonly SourceLine[]>
}

/** `array`: one JSON array; its items count as lines. */
export type SourceFormat = 'csv' | 'json-lines' | 'array'

export interface SourceOptions {
  readonly file: string
  readonly format?: 'csv' | 'json' | undefined
  readonly columns: CsvColumns | undefined
}

/** Opens `--file`: looks whether it can be what it says, reads it once for its fingerprint. `-`: standard input. */
export async function openSource(options: SourceOptions, environment: Environment): Promise<Source> {
  if (options.file === '-') return standardInput(options, environment)
  const file = absolute(environment.cwd, options.file)
  const beginning = await readBeginning(file)
  const format = formatOf(options, file, beginning)
  if (format === 'array') return { ...(await arraySource(file)), name: options.file, format }
  const { fingerprint, total } = await scan(file)
  const lines = () => linesOf(format, createReadStream(file, { highWaterMark: READ_BYTES }), options, environment)
  return { name: options.file, fingerprint, total, format, lines }
}

const READ_BYTES = 1024 * 1024

function standardInput(options: SourceOptions, environment: Environment): Source {
  const { stdin } = environment
  if (stdin === undefined || stdin.isTTY === true)
    throw usage('Expected lines to import on standard input, found a terminal. Pipe them in, or name a file.')
  if (options.format === undefined)
    throw usage(
      'Expected --format csv or --format json with --file -, found none: standard input has no name to go by.',
    )
  const format = options.format === 'csv' ? 'csv' : 'json-lines'
  const bytes = async function* (): AsyncGenerator<Buffer> {
    for await (const chunk of stdin) yield Buffer.from(chunk as string)
  }
  const lines = () => linesOf(format, bytes(), options, environment)
  return { name: 'standard input', fingerprint: undefined, total: undefined, format, lines }
}

async function readBeginning(file: string): Promise<Buffer> {
  const handle = await open(file).catch((cause: NodeJS.ErrnoException) => {
    const found = cause.code === 'ENOENT' ? 'no such file' : (cause.code ?? cause.message)
    throw usage(`Expected a file to import in ${file}, found ${found}.`, cause)
  })
  try {
    if ((await handle.stat()).isDirectory()) throw usage(`Expected a file to import in ${file}, found a folder.`)
    const { buffer, bytesRead } = await handle.read(Buffer.alloc(4096), 0, 4096)
    return buffer.subarray(0, bytesRead)
  } finally {
    await handle.close()
  }
}

function formatOf({ format, columns }: SourceOptions, file: string, beginning: Buffer): SourceFormat {
  const refuse = (found: string, advice: string): never => {
    throw usage(`Expected text in UTF-8 in ${file}, found ${found}. ${advice}`)
  }
  if (beginning.length === 0) return refuse('an empty file', 'Nothing was imported.')
  if (beginning[0] === 0x1f && beginning[1] === 0x8b) return refuse('gzip', 'Unpack it first.')
  const mark = beginning.subarray(0, 2).toString('hex')
  if (mark === 'fffe' || mark === 'feff') return refuse('UTF-16', 'Save it as UTF-8.')
  if (beginning.includes(0)) return refuse('binary data', 'Name a CSV file or JSON lines.')
  const first = beginning
    .toString('utf8')
    .replace(/^\uFEFF/, '')
    .trimStart()[0]
  const isCsv = format === 'csv' || (format === undefined && extname(file).toLowerCase() === '.csv')
  if (isCsv && columns === undefined) throw usage(`Expected JSON in ${file}, found CSV.`)
  if (isCsv) return 'csv'
  return first === '[' ? 'array' : 'json-lines'
}

/** One pass over the bytes: the fingerprint, and how many lines there are. */
async function scan(file: string): Promise<{ fingerprint: string; total: number }> {
  const hash = createHash('sha256')
  let total = 0
  let last = 10
  for await (const chunk of createReadStream(file, { highWaterMark: READ_BYTES }) as AsyncIterable<Buffer>) {
    hash.update(chunk)
    for (let at = chunk.indexOf(10); at !== -1; at = chunk.indexOf(10, at + 1)) total++
    last = chunk.at(-1) ?? last
  }
  return { fingerprint: hash.digest('hex'), total: last === 10 ? total : total + 1 }
}

function linesOf(
  format: 'csv' | 'json-lines',
  bytes: AsyncIterable<Buffer>,
  { columns }: SourceOptions,
  environment: Environment,
): AsyncIterable<readonly SourceLine[]> {
  return format === 'csv' && columns !== undefined
    ? csvLines(bytes, columns, environment)
    : jsonLines(bytes, environment)
}

/** Splits bytes into lines without keeping more than one of them. */
async function* jsonLines(
  bytes: AsyncIterable<Buffer>,
  environment: Environment,
): AsyncGenerator<readonly SourceLine[]> {
  let rest: Buffer[] = []
  let length = 0
  let first = true
  const end = (last: Buffer): SourceLine => {
    const whole = rest.length === 0 ? last : Buffer.concat([...rest, last])
    const line = length + last.length > limits.importLineBytes ? tooLong : readable(first ? withoutMark(whole) : whole)
    rest = []
    length = 0
    if (!first) return line
    first = false
    return firstLine(line, environment)
  }
  for await (const chunk of bytes) {
    const lines: SourceLine[] = []
    let at = 0
    for (let newline = chunk.indexOf(10); newline !== -1; newline = chunk.indexOf(10, at)) {
      lines.push(end(chunk.subarray(at, newline)))
      at = newline + 1
    }
    const left = chunk.subarray(at)
    length += left.length
    // Of a line that is too long nothing more is kept.
    if (left.length > 0 && length <= limits.importLineBytes) rest.push(left)
    yield lines
  }
  if (length > 0) yield [end(Buffer.alloc(0))]
}

const withoutMark = (line: Buffer): Buffer =>
  line[0] === 0xef && line[1] === 0xbb && line[2] === 0xbf ? line.subarray(3) : line

const readable = (line: Buffer): SourceLine => (isUtf8(line) ? { text: line } : notUtf8)

const unreadable = (code: string, message: string): SourceLine => ({ text: '', problem: { id: '', code, message } })
const tooLong = unreadable('MessageTooLarge', `Expected a line of at most ${limits.importLineBytes} bytes, found more.`)
const notUtf8 = unreadable('DeserializationError', 'Expected text in UTF-8, found other bytes.')

/** Azure's exports may begin with a line that is no document (hub-service.md 3.3); it is told, and passed over. */
function firstLine(line: SourceLine, environment: Environment): SourceLine {
  const text = line.text.toString().trim()
  if (line.problem !== undefined || text === '' || text.startsWith('{')) return line
  notice(environment, 'line 1 is no JSON object and is passed over, as the first line of an export may be')
  return { text: '' }
}

/** A JSON array, as `az … list` writes it. */
async function arraySource(file: string): Promise<Pick<Source, 'fingerprint' | 'total' | 'lines'>> {
  const items = await readArray(file)
  const text = (item: unknown): SourceLine => {
    try {
      return { text: JSON.stringify(item) }
    } catch {
      return unreadable('DeserializationError', 'Expected a document, found one that nests too deep.')
    }
  }
  return {
    fingerprint: createHash('sha256')
      .update(await readFile(file))
      .digest('hex'),
    total: items.length,
    lines: async function* () {
      for (let at = 0; at < items.length; at += limits.importBatchLines)
        yield items.slice(at, at + limits.importBatchLines).map(text)
    },
  }
}

async function readArray(file: string): Promise<readonly unknown[]> {
  const { size } = await stat(file)
  if (size > limits.cliArrayBytes)
    throw usage(
      `Expected a JSON array of at most ${limits.cliArrayBytes} bytes in ${file}, found ${size}. Write one object a line (jq -c '.[]').`,
    )
  const bytes = await readFile(file)
  if (!isUtf8(bytes)) throw usage(`Expected text in UTF-8 in ${file}, found other bytes.`)
  try {
    return JSON.parse(bytes.toString('utf8').replace(/^\uFEFF/, '')) as unknown[]
  } catch (cause) {
    throw usage(`Expected a JSON array in ${file}, found text that is not JSON${placeOf(cause)}.`, cause)
  }
}

/** The parser's message quotes the text, which may be a key; only the place is told. */
function placeOf(error: unknown): string {
  const [, line] = /line (\d+)/.exec(error instanceof Error ? error.message : '') ?? []
  return line === undefined ? '' : ` in line ${line}`
}

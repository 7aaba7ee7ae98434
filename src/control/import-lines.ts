import { asServiceError, type Code, ServiceError } from '../base/errors.ts'
import { Fields } from '../base/json.ts'
import { limits } from '../base/limits.ts'
import { createDraft, type Draft } from '../store/draft.ts'
import type { Append, Expectation, Store } from '../store/store.ts'

/** A line of the source: JSON text of one document. */
export interface Line {
  /** From 1. */
  readonly number: number
  readonly text: string
}

/** Why a line was not taken: one entry of the report. */
export interface LineFailure {
  readonly line: number
  /** What the line is about, as far as it could be read. */
  readonly id: string
  readonly code: Code
  readonly message: string
}

/** What a line comes to. */
export interface Judgement {
  /** It needs what is not there, and may be further down: it is judged again at the end. */
  readonly later?: boolean
  /** Entries of logs that belong to the change. */
  readonly append?: readonly Append[]
}

/** The rules of one kind of import: what one line means. Everything else is the same for all kinds. */
export interface LineRules<T> {
  /** What the report calls the line; never throws. */
  label(fields: Fields): string
  /** Reads a line without looking at what is stored; throws a ServiceError. */
  read(fields: Fields, document: unknown): T
  /**
   * Stages what the line changes. Throws a ServiceError when it is refused: then what it staged is dropped.
   * @param last nothing comes after it: what is missing will not come
   */
  judge(read: T, draft: Draft, last: boolean): Promise<Judgement>
  /** After a commit with entries of `append`. */
  announce?(): void
  /** 1 where judging a line asks the store for what the lines before it change. */
  readonly linesPerCommit?: number
}

/** A line that was read, or why it could not be. */
export type ReadLine<T> =
  | { readonly line: Line; readonly id: string; readonly read: T; readonly failure?: undefined }
  | { readonly line: Line; readonly id: string; readonly failure: LineFailure }

/** Reads a batch, giving way to other requests now and then. Blank lines are left out. */
export async function readLines<T>(rules: LineRules<T>, lines: readonly Line[]): Promise<ReadLine<T>[]> {
  const read: ReadLine<T>[] = []
  for (const [at, line] of lines.entries()) {
    await giveWay(at)
    if (line.text.trim() !== '') read.push(readLine(rules, line))
  }
  return read
}

/** Nothing of the work on a batch waits for anything but a promise, and other requests would wait until it is done. */
async function giveWay(at: number): Promise<void> {
  if (at > 0 && at % limits.importTurnLines === 0) await new Promise((resolve) => setImmediate(resolve))
}

function readLine<T>(rules: LineRules<T>, line: Line): ReadLine<T> {
  let id = ''
  try {
    if (line.text.length > limits.importLineBytes)
      throw new ServiceError(
        413001,
        `A line may have ${limits.importLineBytes} characters, this one has ${line.text.length}.`,
      )
    const document = parse(line.text)
    const fields = new Fields(document, 'line')
    id = rules.label(fields).slice(0, 2 * limits.idLength)
    return { line, id, read: rules.read(fields, document) }
  } catch (thrown) {
    return { line, id, failure: failureOf(line, id, thrown) }
  }
}

/** The parser's own message quotes the text, and that may be a key. */
function parse(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch (error) {
    const [, at] = /position (\d+)/.exec(error instanceof Error ? error.message : '') ?? []
    throw new ServiceError(
      400012,
      `A line must be one JSON object, found text that is not JSON${at === undefined ? '' : ` from character ${Number(at) + 1} on`}.`,
    )
  }
}

/** What is our own fault fails the request, and no line is charged with it. */
function failureOf(line: Line, id: string, thrown: unknown): LineFailure {
  const { code, message, status } = asServiceError(thrown)
  if (status >= 500) throw thrown
  return { line: line.number, id, code, message: message.slice(0, limits.importMessageLength) }
}

/** The next lines of a batch that fit into one commit, judged. */
export interface Chunk {
  readonly draft: Draft
  /** How many of the lines were judged. */
  readonly taken: number
  readonly succeeded: number
  readonly failures: readonly LineFailure[]
  readonly later: readonly Line[]
  readonly append: readonly Append[]
}

/** Rows that a chunk's commit has beside the staged ones: the import itself, twice, and the failures. */
const OWN_ROWS = 3

/** What lines are judged by. */
export interface ChunkNeeds<T> {
  readonly store: Pick<Store, 'get'>
  readonly rules: LineRules<T>
  readonly expect: readonly Expectation[]
}

/** @param how.ahead while lines before these are not stored yet: ends with the first line that asks what is stored */
export async function judgeChunk<T>(
  { store, rules, expect }: ChunkNeeds<T>,
  lines: readonly ReadLine<T>[],
  how: { readonly look: boolean; readonly last: boolean; readonly ahead?: boolean },
): Promise<Chunk> {
  const draft = createDraft(store, how.look)
  draft.expect(expect)
  draft.keep()
  const failures: LineFailure[] = []
  const later: Line[] = []
  const append: Append[] = []
  const most = Math.min(rules.linesPerCommit ?? limits.importChunkLines, lines.length)
  let taken = 0
  let bytes = 0
  let reported = 0
  for (; taken < most; taken++) {
    await giveWay(taken)
    const each = lines[taken]!
    bytes += each.line.text.length
    if (taken > 0 && bytes > limits.importChunkBytes) break
    const judgement = await judgeLine(rules, each, draft, how.last)
    if (how.ahead === true && !draft.blind) break
    const rows = draft.parts + append.length + later.length + (judgement.append?.length ?? 0) + 1 + OWN_ROWS
    reported += reportBytes(judgement.failure)
    if (taken > 0 && (rows > limits.storeBatch || reported > limits.importReportBytes)) {
      draft.drop()
      break
    }
    if (judgement.failure !== undefined) failures.push(judgement.failure)
    else if (judgement.later === true) later.push(each.line)
    else {
      draft.keep()
      append.push(...(judgement.append ?? []))
    }
    draft.drop()
  }
  return { draft, taken, succeeded: taken - failures.length - later.length, failures, later, append }
}

/** What a failure adds to the one entry that holds those of a chunk. */
const reportBytes = (failure: LineFailure | undefined): number =>
  failure === undefined ? 0 : Buffer.byteLength(JSON.stringify(failure)) + 1

type Outcome = Judgement & { readonly failure?: LineFailure | undefined }

async function judgeLine<T>(rules: LineRules<T>, each: ReadLine<T>, draft: Draft, last: boolean): Promise<Outcome> {
  if (each.failure !== undefined) return each
  const { line, id, read } = each
  const judge = async (): Promise<Outcome> => {
    try {
      return await rules.judge(read, draft, last)
    } catch (thrown) {
      return { failure: failureOf(line, id, thrown) }
    }
  }
  const judgement = await judge()
  if (judgement.failure === undefined || !draft.assumed) return judgement
  // Refused as something new, which it may not be. A refusal is in no commit that would find that.
  draft.dropAndLook()
  return judge()
}

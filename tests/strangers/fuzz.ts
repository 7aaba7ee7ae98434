import { type Duplex, duplexPair } from 'node:stream'
import type { Random } from '../../src/base/random.ts'
import { inputRandom, mutated, pieces } from './mutations.ts'

/** What one connection did with its input. */
export interface Attempt {
  /** Number of the input in the run; with the seed it repeats it. */
  readonly at: number
  readonly input: Buffer
  /** Everything that the server wrote. */
  readonly output: Buffer
}

export interface Fuzz {
  readonly seed: number
  readonly inputs: number
  readonly corpus: readonly Buffer[]
  /** Makes an input; default: one of the corpus, its bytes mutated. */
  make?(random: Random, corpus: readonly Buffer[]): Buffer
  /** Serves the server's end of connection `at`. */
  serve(stream: Duplex, at: number): void
  /** Throws when the server should not have done what it did. Called after the client has gone as well. */
  check(attempt: Attempt): void
  /** Inputs at once. */
  batch?: number
}

/**
 * Sends mutated inputs, each on a connection of its own in memory, and lets the client vanish after it. An exception
 * that nobody catches ends the test run; `check` names the input otherwise.
 */
export async function fuzz(run: Fuzz): Promise<void> {
  const batch = run.batch ?? 200
  for (let start = 0; start < run.inputs; start += batch) {
    const count = Math.min(batch, run.inputs - start)
    const connections = Array.from({ length: count }, (_, each) => open(run, start + each))
    await rest()
    for (const { client } of connections) client.destroy()
    await rest()
    for (const { server } of connections) server.destroy()
    await rest()
    for (const { attempt } of connections) verify(run, attempt())
  }
}

function open(run: Fuzz, at: number) {
  const random = inputRandom(run.seed, at)
  const input = (run.make ?? mutated)(random, run.corpus)
  const [client, server] = duplexPair()
  const output: Buffer[] = []
  client.on('data', (chunk: Buffer) => output.push(chunk))
  client.on('error', () => undefined)
  run.serve(server, at)
  for (const piece of pieces(random, input)) client.write(piece)
  return { client, server, attempt: (): Attempt => ({ at, input, output: Buffer.concat(output) }) }
}

function verify(run: Fuzz, attempt: Attempt): void {
  try {
    run.check(attempt)
  } catch (cause) {
    const hex = attempt.input.toString('hex')
    throw new Error(`seed ${run.seed}, input ${attempt.at} (${hex.slice(0, 4_000)}): ${(cause as Error).message}`, {
      cause,
    })
  }
}

/** Until everything in memory has come to rest. */
async function rest(): Promise<void> {
  for (let turn = 0; turn < 12; turn++) await new Promise((resolve) => setImmediate(resolve))
}

/** Runs of the slow suite can be repeated: MUSTER_TEST_SEED, and made longer or shorter: MUSTER_FUZZ_INPUTS. */
export const seed = Number(process.env['MUSTER_TEST_SEED'] ?? Date.now() % 1_000_000)
export const inputs = (usual: number): number => Number(process.env['MUSTER_FUZZ_INPUTS'] ?? usual)

import { byteReader, sized, u16, u32 } from '../base/big-endian.ts'
import { TpmDeviceError } from './error.ts'
import type { TpmTransport } from './transport.ts'

/** The commands of TPM 2.0 that reading and making the two keys takes (attestation-crypto.md A7). */

export const HANDLES = { endorsementKey: 0x81010001, storageRootKey: 0x81000001 } as const
export const HIERARCHIES = { owner: 0x40000001, endorsement: 0x4000000b } as const

const CODES = { evictControl: 0x120, createPrimary: 0x131, startup: 0x144, flushContext: 0x165, readPublic: 0x173 }
const SUCCESS = 0
/** TPM_RC_HANDLE of the first handle: nothing is there. */
const NO_SUCH_HANDLE = 0x18b
const ALREADY_STARTED = 0x100
/** One password session with an empty password. */
const EMPTY_PASSWORD = Buffer.concat([u32(9), Buffer.from('400000090000010000', 'hex')])

export interface Commands {
  /** Does nothing where it was done before. */
  startup(): Promise<void>
  /** TPM2B_PUBLIC; undefined where the handle is empty. */
  readPublic(handle: number): Promise<Buffer | undefined>
  /** Derives a primary key from the hierarchy's seed; it must be flushed. */
  createPrimary(hierarchy: number, template: Buffer): Promise<{ readonly handle: number; readonly bytes: Buffer }>
  /** Makes a key survive, under a handle of its own. */
  persist(handle: number, as: number): Promise<void>
  flush(handle: number): Promise<void>
}

export function tpmCommands(transport: Pick<TpmTransport, 'exchange'>): Commands {
  /** The answer's body; `also`: a code that is no fault, and gives nothing. */
  async function run(name: keyof typeof CODES, tag: number, body: Buffer, also = SUCCESS): Promise<Buffer | undefined> {
    const command = Buffer.concat([u16(tag), u32(10 + body.length), u32(CODES[name]), body])
    const answer = await transport.exchange(command)
    const read = byteReader(answer, malformed)
    read.u16('the tag')
    const size = read.u32('the size')
    const code = read.u32('the code')
    if (size !== answer.length) throw malformed(`expected ${size} bytes, found ${answer.length}`)
    if (code === SUCCESS) return answer.subarray(10)
    if (code === also) return undefined
    throw new TpmDeviceError(`the TPM refused ${name} with 0x${code.toString(16)}${hintOf(code)}`)
  }
  const [PLAIN, WITH_SESSIONS] = [0x8001, 0x8002]

  return {
    async startup() {
      await run('startup', PLAIN, u16(0), ALREADY_STARTED)
    },
    async readPublic(handle) {
      const body = await run('readPublic', PLAIN, u32(handle), NO_SUCH_HANDLE)
      return body && sized(byteReader(body, malformed).sized('the public area'))
    },
    async createPrimary(hierarchy, template) {
      const parts = [u32(hierarchy), EMPTY_PASSWORD, sized(sized(), sized()), sized(template), sized(), u32(0)]
      const read = byteReader((await run('createPrimary', WITH_SESSIONS, Buffer.concat(parts)))!, malformed)
      const handle = read.u32('the handle')
      read.u32('the size of the parameters')
      return { handle, bytes: sized(read.sized('the public area')) }
    },
    async persist(handle, as) {
      await run(
        'evictControl',
        WITH_SESSIONS,
        Buffer.concat([u32(HIERARCHIES.owner), u32(handle), EMPTY_PASSWORD, u32(as)]),
      )
    },
    async flush(handle) {
      await run('flushContext', PLAIN, u32(handle))
    },
  }
}

const malformed = (complaint: string): TpmDeviceError => new TpmDeviceError(`the answer is none of a TPM: ${complaint}`)

/** The refusals that an operator can do something about. */
function hintOf(code: number): string {
  if (code === 0x98e || code === 0x9a2) return ': the hierarchy has a password, which is not supported'
  if (code === 0x902) return ': it has no room for another key; use /dev/tpmrm0, or end what keeps keys loaded'
  return ''
}

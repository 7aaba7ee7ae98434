import { open } from 'node:fs/promises'
import { limits } from '../base/limits.ts'

/**
 * The bytes of a file, a pipe or a device, at most `limits.cliFileBytes`; or what was found in its place, as a complaint
 * says it.
 */
export async function readBounded(file: string): Promise<Buffer | string> {
  try {
    const handle = await open(file)
    try {
      const chunks: Buffer[] = []
      let length = 0
      for (;;) {
        // A pipe gives what there is; only an empty piece is the end.
        const { bytesRead, buffer } = await handle.read(Buffer.alloc(64 * 1024))
        if (bytesRead === 0) return Buffer.concat(chunks)
        length += bytesRead
        if (length > limits.cliFileBytes) return `more than ${limits.cliFileBytes} bytes`
        chunks.push(buffer.subarray(0, bytesRead))
      }
    } finally {
      await handle.close()
    }
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException
    return (code !== undefined && WORDS.get(code)) || (code ?? message)
  }
}

const WORDS: ReadonlyMap<string, string> = new Map([
  ['ENOENT', 'no such file'],
  ['EISDIR', 'a folder'],
  ['EACCES', 'a file that this user may not read'],
  ['ERR_INVALID_ARG_VALUE', 'a name that is none'],
])

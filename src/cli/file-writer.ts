import { once } from 'node:events'
import { createWriteStream } from 'node:fs'
import { finished } from 'node:stream/promises'
import { refused } from './environment.ts'

/** A file that a command writes piece by piece; nobody else may read it, because it may hold keys. */
export interface FileWriter {
  write(text: string): Promise<void>
  /** Everything written so far is in the file. */
  flush(): Promise<void>
  /** Everything is in the file. */
  end(): Promise<void>
  abandon(): void
}

/** @param what how a complaint calls the file */
export async function openFileWriter(path: string, what: string): Promise<FileWriter> {
  const failed = (cause: NodeJS.ErrnoException): never => {
    throw refused(`Expected to write ${what} ${path}, found ${cause.code ?? cause.message}.`, cause)
  }
  const stream = createWriteStream(path, { mode: 0o600 })
  await once(stream, 'open').catch(failed)
  let broken: NodeJS.ErrnoException | undefined
  stream.on('error', (cause) => {
    broken = cause
  })
  return {
    async write(text) {
      if (broken !== undefined) failed(broken)
      if (text !== '' && !stream.write(text)) await once(stream, 'drain').catch(failed)
    },
    flush: () =>
      new Promise<void>((resolve, reject) => stream.write('', (cause) => (cause ? reject(cause) : resolve()))).catch(
        failed,
      ),
    async end() {
      stream.end()
      await finished(stream).catch(failed)
    },
    abandon: () => void stream.destroy(),
  }
}

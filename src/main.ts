import { useCompileCache } from './compile-cache.ts'

useCompileCache()

// A reader that went away is no fault of the command: what has nobody left to answer ends (`muster … | head`). A service
// does not, and must still end properly (`muster up | tee log`, which Ctrl-C reaches too); nor what only said less beside.
const isService = process.argv[2] === 'up'
for (const stream of [process.stdout, process.stderr])
  stream.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code !== 'EPIPE') throw error
    if (stream === process.stdout && !isService) process.exit()
  })

const { run } = await import('./cli/program.ts')

process.exitCode = await run(process.argv.slice(2), {
  stdout: process.stdout,
  stderr: process.stderr,
  stdin: process.stdin,
  env: process.env,
  cwd: process.cwd(),
})

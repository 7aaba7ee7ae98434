import { enableCompileCache } from 'node:module'

// Before anything else is loaded: the second start of a version reads its compiled code from the cache.
enableCompileCache()

const { run } = await import('./cli/program.ts')

process.exitCode = await run(process.argv.slice(2), {
  stdout: process.stdout,
  stderr: process.stderr,
  stdin: process.stdin,
  env: process.env,
  cwd: process.cwd(),
})

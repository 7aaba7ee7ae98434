#!/usr/bin/env node
// Launcher, in plain old JavaScript so that any Node can read it: finds a Node that is new enough
// (type stripping, node:sqlite, reusePort: 22.18) and hands over to src/main.ts or, in a release, dist/main.js.

import { spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { constants } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'

const OLDEST = [22, 18]
const root = dirname(dirname(fileURLToPath(import.meta.url)))
const source = join(root, 'src', 'main.ts')
const main = existsSync(source) ? source : join(root, 'dist', 'main.js')

const newEnough = (version) => {
  const [major, minor] = version.split('.').map(Number)
  return major > OLDEST[0] || (major === OLDEST[0] && minor >= OLDEST[1])
}

/** The Node that the npm package `node` brings: beside us in a checkout, above us where muster is a dependency. */
const bundledNode = () => {
  for (let folder = root; ; folder = dirname(folder)) {
    const candidate = join(folder, 'node_modules', 'node', 'bin', 'node')
    if (existsSync(candidate)) return candidate
    if (folder === dirname(folder)) return undefined
  }
}

if (newEnough(process.versions.node)) {
  await import(pathToFileURL(main).href)
} else {
  const node = bundledNode()
  if (node === undefined) {
    process.stderr.write(
      `muster needs Node ${OLDEST.join('.')} or newer and this is ${process.versions.node}. ` +
        'Install a newer Node, or run "npm install" here without --ignore-scripts (it brings one).\n',
    )
    process.exit(1)
  }
  const child = spawn(node, [main, ...process.argv.slice(2)], { stdio: 'inherit' })
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => child.kill(signal))
  child.on('exit', (code, signal) => process.exit(code ?? 128 + (constants.signals[signal] ?? 0)))
}

import { execFile } from 'node:child_process'
import { cpSync, mkdirSync, mkdtempSync, readdirSync, realpathSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, expect, test } from 'vitest'

// The package as npm packs it, installed beside its dependencies, and the examples of docs/testing.md run on it. Other
// versions of Node: MUSTER_NODES=/path/to/node:/path/to/another.

const run = promisify(execFile)
const repository = join(import.meta.dirname, '..', '..')
const modules = join(repository, 'node_modules')
const nodes = [process.execPath, ...(process.env['MUSTER_NODES']?.split(':') ?? [])]
let folder: string

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'muster-package-'))
  await install(await pack())
  cpSync(join(folder, 'node_modules', 'muster', 'docs', 'examples'), join(folder, 'examples'), { recursive: true })
  cpSync(join(import.meta.dirname, 'jest-globals.cjs'), join(folder, 'examples', 'jest-globals.cjs'))
}, 120_000)
afterAll(() => rmSync(folder, { recursive: true, force: true }))

/** Builds a release aside, so that the checkout stays as it is; answers the tarball. */
async function pack(): Promise<string> {
  const release = join(folder, 'release')
  mkdirSync(release)
  const project = join(repository, 'tsconfig.build.json')
  await run(process.execPath, [
    join(modules, 'typescript', 'bin', 'tsc'),
    '-p',
    project,
    '--outDir',
    join(release, 'dist'),
  ])
  for (const each of ['package.json', 'README.md', 'LICENSE', 'bin', 'docs'])
    cpSync(join(repository, each), join(release, each), { recursive: true })
  const { stdout } = await run('npm', ['pack', '--ignore-scripts', '--silent'], { cwd: release })
  return join(release, stdout.trim())
}

/** As `npm install` would leave it, without a registry: the package unpacked, its dependencies linked. */
async function install(tarball: string): Promise<void> {
  const to = join(folder, 'node_modules')
  mkdirSync(join(to, 'muster'), { recursive: true })
  await run('tar', ['-xzf', tarball, '-C', join(to, 'muster'), '--strip-components=1'])
  const link = (name: string) => symlinkSync(realpathSync(join(modules, name)), join(to, name))
  for (const name of readdirSync(modules).filter((each) => !each.startsWith('.'))) {
    if (!name.startsWith('@')) link(name)
    else {
      mkdirSync(join(to, name))
      for (const inner of readdirSync(join(modules, name))) link(join(name, inner))
    }
  }
}

/** Passes, and says so: a file without tests would end well too. */
async function passes(node: string, args: readonly string[], tests: number): Promise<void> {
  // The parent is a test runner itself, and its children would take themselves for parts of it.
  const { NODE_OPTIONS: _, NODE_TEST_CONTEXT: __, VITEST: ___, ...env } = process.env
  const { stdout } = await run(node, [...args], { cwd: join(folder, 'examples'), env: { ...env, NO_COLOR: '1' } })
  expect(stdout).toMatch(new RegExp(`(?:# pass|ℹ pass|Tests) +${tests}\\b`))
}

test.each(nodes)('node:test on %s', (node) => passes(node, ['--test', 'node-test.test.mjs'], 3), 60_000)

test.each(nodes)(
  'CommonJS, as Jest loads it, on %s',
  (node) => passes(node, ['--require', './jest-globals.cjs', '--test', 'jest.test.cjs'], 1),
  60_000,
)

test('vitest', () => {
  const vitest = join(modules, 'vitest', 'vitest.mjs')
  return passes(process.execPath, [vitest, 'run', '--root', '.', 'vitest.test.mjs'], 2)
}, 60_000)

test('the command line of the package', async () => {
  const muster = join(folder, 'node_modules', 'muster', 'bin', 'muster.js')
  expect((await run(process.execPath, [muster, '--version'])).stdout).toMatch(/^\d+\.\d+\.\d+/)
})

test('its types', async () => {
  const use = `import { type Muster, type SeedDocument, startMuster } from 'muster/testing'
    const seed: SeedDocument = { hubs: [{ name: 'east', applyAllocationPolicy: false }] }
    const muster: Muster = await startMuster({ seed })
    const sent: Buffer | undefined = (await muster.events({ atLeast: 1 }))[0]?.body
    await muster.clock.advance({ days: 1 })
    export { sent }`
  writeFileSync(join(folder, 'examples', 'types.mts'), use)
  const tsc = join(modules, 'typescript', 'bin', 'tsc')
  const options = ['--noEmit', '--strict', '--module', 'nodenext', '--target', 'esnext', '--types', 'node']
  await run(process.execPath, [tsc, ...options, 'types.mts'], { cwd: join(folder, 'examples') })
}, 60_000)

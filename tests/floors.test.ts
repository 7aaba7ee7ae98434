import { readdirSync, readFileSync } from 'node:fs'
import { dirname, join, relative } from 'node:path'
import { expect, test } from 'vitest'

// The house rules of ARCHITECTURE.md that a compiler does not know.
const source = join(import.meta.dirname, '..', 'src')
const files = readdirSync(source, { recursive: true, encoding: 'utf8' })
  .filter((file) => file.endsWith('.ts'))
  .sort()
const product = files.filter((file) => !/\.(test|contract)\.ts$/.test(file))
const text = (file: string) => readFileSync(join(source, file), 'utf8')

/** Room: the folder; inside `endpoints` each protocol is a room of its own; files beside `main.ts` are `root`. */
function roomOf(file: string): string {
  const parts = file.split('/')
  if (parts.length === 1) return 'root'
  return parts[0] === 'endpoints' ? `endpoints/${parts[1]}` : parts[0]!
}

const endpoints = ['base', 'crypto', 'documents', 'wire', 'control', 'hub', 'provisioning']
/** What each room may import besides itself. */
const mayImport: Record<string, readonly string[]> = {
  base: [],
  crypto: ['base'],
  documents: ['base'],
  wire: ['base', 'crypto'],
  'tpm-device': ['base'],
  store: ['base'],
  bus: ['base'],
  control: ['base', 'crypto', 'documents', 'store', 'bus'],
  hub: ['base', 'crypto', 'documents', 'store', 'bus', 'control'],
  provisioning: ['base', 'crypto', 'documents', 'store', 'bus', 'control'],
  seed: ['base', 'store', 'control', 'hub', 'provisioning'],
  'endpoints/http': endpoints,
  'endpoints/mqtt': endpoints,
  cli: ['base', 'crypto', 'documents', 'wire', 'tpm-device'],
}

const seeRoot = ['cli/up.ts', 'cli/backup.ts', 'cli/restore.ts']

const importsOf = (file: string): string[] =>
  [...text(file).matchAll(/(?:\bfrom |\bimport\(|\bimport )'(\.[^']+)'/g)].map((match) =>
    relative(source, join(source, dirname(file), match[1]!)),
  )

test('every import goes down', () => {
  const wrong = product.flatMap((file) => {
    const room = roomOf(file)
    // `muster up` starts the app, and a data folder at rest has no API: these commands see the root. The test kit is the root in another shape.
    if (room === 'root' || room === 'testing' || seeRoot.includes(file)) return []
    const allowed = mayImport[room] ?? []
    return importsOf(file)
      .filter((target) => !target.startsWith('..'))
      .filter((target) => roomOf(target) !== room && !allowed.includes(roomOf(target)))
      .map((target) => `${file} -> ${target}`)
  })
  expect(wrong).toEqual([])
})

test('no file imports from outside src', () => {
  expect(product.flatMap((file) => importsOf(file).filter((target) => target.startsWith('..')))).toEqual([])
})

test('time, chance and environment enter through base and the executables only', () => {
  const worldly =
    /(?<![.\w])(Date\.now\(|new Date\(\)|Math\.random\(|setTimeout\(|setInterval\(|process\.env\b|randomBytes\(|randomUUID\()/
  const doors = ['base/clock.ts', 'base/random.ts', 'base/log.ts', 'main.ts', 'compile-cache.ts']
  const wrong = product
    .filter((file) => !doors.includes(file))
    .flatMap((file) =>
      text(file)
        .split('\n')
        .map((line, at) => ({ line, at }))
        .filter(({ line }) => worldly.test(line) && !/^\s*(\*|\/\/)/.test(line))
        .map(({ line, at }) => `${file}:${at + 1} ${line.trim()}`),
    )
  expect(wrong).toEqual([])
})

test('no file is unreached', () => {
  const entries = ['main.ts', 'index.ts', 'testing/index.ts', 'node-thread.ts', 'store/writer-thread.ts']
  const reached = new Set<string>()
  const visit = (file: string): void => {
    if (reached.has(file)) return
    reached.add(file)
    for (const target of importsOf(file)) if (product.includes(target)) visit(target)
  }
  for (const entry of entries.filter((file) => product.includes(file))) visit(entry)
  expect(product.filter((file) => !reached.has(file))).toEqual([])
})

test('files stay small enough to have one reason to change', () => {
  const long = product.filter((file) => text(file).split('\n').length > 500)
  expect(long).toEqual([])
})

test('no silenced checks', () => {
  // Biome refuses `any`; this refuses what would silence the compiler.
  expect(files.filter((file) => /@ts-(ignore|nocheck|expect-error)/.test(text(file)))).toEqual([])
})

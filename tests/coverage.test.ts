import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { codes } from '../src/base/errors.ts'
import { startMuster, type TestMuster } from './support/muster.ts'
import { ask } from './support/raw-client.ts'

// COVERAGE.md is never ahead of the code, and never behind it: every HTTP line is asked of a running service.
const document = readFileSync(join(import.meta.dirname, '..', 'COVERAGE.md'), 'utf8')
const lines = [...document.matchAll(/^\| (yes|no) \| ([A-Z]+) \| (\/\S*) \|/gm)].map(([, done, method, path]) => ({
  done: done === 'yes',
  method: method!,
  path: path!.replaceAll('{scope}', '0ne00000000').replaceAll(/\{\w+\}/g, 'some-id'),
}))

let muster: TestMuster
beforeAll(async () => {
  muster = await startMuster()
})
afterAll(() => muster.stop())

const NO_SUCH_OPERATION = new Set<string>([codes[404000], codes[404013], '404000', '404013', codes[405000], '405000'])

async function answerTo(method: string, path: string): Promise<{ status: number; built: boolean }> {
  const { address, ports } = muster.addresses
  const answer = await ask(
    { host: address, port: ports.https, ca: muster.ca },
    { method, path: `${path}?api-version=2021-10-01` },
  )
  const code = answer.headers['iothub-errorcode'] ?? answer.headers['x-ms-error-code']
  return { status: answer.status, built: !NO_SUCH_OPERATION.has(String(code)) }
}

test('the document lists operations', () => {
  expect(lines.length).toBeGreaterThan(30)
})

test.each(lines)('$method $path is done: $done', async ({ done, method, path }) => {
  const { status, built } = await answerTo(method, path)
  // Without credentials nothing is granted; what matters is whether the refusal knows the operation.
  expect(status).toBeGreaterThanOrEqual(400)
  expect(status).toBeLessThan(500)
  expect(built).toBe(done)
})

test('every code that documents name exists', () => {
  for (const file of ['COVERAGE.md', 'DIVERGENCES.md', 'README.md', 'ARCHITECTURE.md']) {
    const text = readFileSync(join(import.meta.dirname, '..', file), 'utf8')
    const named = [...text.matchAll(/\b([45]\d{5})\b/g)].map((match) => Number(match[1]))
    for (const code of named) expect(Object.keys(codes).map(Number), `${code} in ${file}`).toContain(code)
  }
})

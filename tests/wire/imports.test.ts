import { afterAll, beforeAll, expect, test } from 'vitest'
import { limits } from '../../src/base/limits.ts'
import { startMuster, type TestMuster } from '../support/muster.ts'

// The import resource of the management API: what it answers, and what it refuses as a whole.
let muster: TestMuster
beforeAll(async () => {
  muster = await startMuster()
})
afterAll(() => muster.stop())

async function call(method: string, path: string, body?: string | Uint8Array<ArrayBuffer>, token?: string) {
  const response = await fetch(`http://127.0.0.1:${muster.addresses.ports.management}/muster${path}`, {
    method,
    headers: { authorization: `Bearer ${token ?? muster.app.managementToken}` },
    ...(body !== undefined && { body }),
  })
  const text = await response.text()
  return { status: response.status, body: text === '' ? undefined : JSON.parse(text) }
}

const HUB = '/hubs/muster-hub'
const lines = (count: number, prefix: string) =>
  Array.from({ length: count }, (_, n) => `{"id":"${prefix}${n}"}\n`).join('')

test('an import from its beginning to its end', async () => {
  const one = `${HUB}/imports/i-1`
  expect(await call('PUT', one, '{"mode":"create"}')).toMatchObject({ status: 200, body: { next: 0, kind: 'devices' } })
  expect(await call('POST', `${one}/lines?from=0`, `${lines(2, 'a')}{`)).toMatchObject({
    body: { next: 3, succeeded: 2, failed: 1 },
  })
  expect(await call('POST', `${one}/lines?from=0`, lines(3, 'a'))).toMatchObject({ body: { next: 3, succeeded: 2 } })
  expect(await call('GET', `${HUB}/imports`)).toMatchObject({ body: { value: [{ id: 'i-1' }] } })
  expect(await call('POST', `${one}/finish`)).toMatchObject({ body: { later: 0 } })
  expect(await call('GET', `${one}/failures`)).toMatchObject({ body: { failures: [{ line: 3, code: 400012 }] } })
  expect(await call('DELETE', one)).toMatchObject({ status: 204 })
  expect(await call('GET', one)).toMatchObject({ status: 404 })
})

test.each<[string, string, string, string | Uint8Array<ArrayBuffer> | undefined, number]>([
  ['an unknown hub', 'PUT', '/hubs/nobody/imports/x', '{}', 404],
  ['an unknown service', 'PUT', '/provisioningServices/nobody/imports/x', '{}', 404],
  ['an unknown mode', 'PUT', `${HUB}/imports/x`, '{"mode":"merge"}', 400],
  ['an unknown kind', 'PUT', `${HUB}/imports/x`, '{"kind":"enrollments"}', 400],
  ['an odd id', 'PUT', `${HUB}/imports/a%20b`, '{}', 400],
  ['an id too long', 'PUT', `${HUB}/imports/${'x'.repeat(65)}`, '{}', 400],
  ['a body that is no JSON', 'PUT', `${HUB}/imports/x`, '{', 400],
  ['lines of no import', 'POST', `${HUB}/imports/none/lines?from=0`, '{}', 404],
  ['failures of no import', 'GET', `${HUB}/imports/none/failures`, undefined, 404],
  ['no lines', 'POST', `${HUB}/imports/there/lines?from=0`, '', 400],
  ['too many lines', 'POST', `${HUB}/imports/there/lines?from=0`, lines(limits.importBatchLines + 1, 'x'), 400],
  ['too many bytes', 'POST', `${HUB}/imports/there/lines?from=0`, 'x'.repeat(limits.importBatchBytes + 1), 413],
  ['bytes that are no UTF-8', 'POST', `${HUB}/imports/there/lines?from=0`, new Uint8Array([0x7b, 0xff]), 400],
  ['a place that is none', 'POST', `${HUB}/imports/there/lines?from=-1`, '{}', 400],
  ['a page that is none', 'GET', `${HUB}/imports/there/failures?after=x`, undefined, 400],
  ['an export of something else', 'GET', `${HUB}/exports/messages`, undefined, 400],
  ['an export from nowhere', 'GET', `${HUB}/exports/devices?after=xyz`, undefined, 400],
])('%s is refused', async (_, method, path, body, status) => {
  await call('PUT', `${HUB}/imports/there`, '{}')
  expect((await call(method, path, body)).status).toBe(status)
  expect(await call('GET', `${HUB}/imports/there`)).toMatchObject({ body: { next: 0, succeeded: 0, failed: 0 } })
})

test('nobody without the token', async () => {
  for (const path of [`${HUB}/imports`, `${HUB}/exports/devices?keys=true`, '/provisioningServices/muster-dps/imports'])
    expect((await call('GET', path, undefined, 'another')).status).toBe(401)
})

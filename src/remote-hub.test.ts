import { describe, expect, test } from 'vitest'
import { TestClock } from './base/clock.ts'
import { ServiceError } from './base/errors.ts'
import { limits } from './base/limits.ts'
import type { HubCalls, HubDevice } from './provisioning/linked-hub.ts'
import { remoteHub } from './remote-hub.ts'
import { createHubClient, type HubAnswer, type HubCall } from './wire/hub-client.ts'
import { type OutboundCall, OutboundError } from './wire/outbound.ts'

const KEY = Buffer.alloc(32, 1).toString('base64')
const OTHER = Buffer.alloc(32, 2).toString('base64')
const HOST = 'hub.example'

const device = (primaryKey = KEY): HubDevice => ({
  deviceId: 'dev 1',
  authentication: { type: 'sas', symmetricKey: { primaryKey, secondaryKey: OTHER } },
  iotEdge: false,
  twin: { tags: { a: 1 }, desired: { b: 2 } },
})

const ok = (body: unknown = undefined, status = 200): HubAnswer => ({ status, error: undefined, message: '', body })
const refused = (status: number, error: string | undefined, message = ''): HubAnswer => ({
  status,
  error,
  message,
  body: undefined,
})
const created = ok({ isSuccessful: true, errors: [], warnings: [] })
const exists = ok({ isSuccessful: false, errors: [{ errorCode: 'DeviceAlreadyExists', errorStatus: 'there' }] })
const document = {
  deviceId: 'dev 1',
  etag: 'abc',
  status: 'disabled',
  statusReason: 'by hand',
  authentication: { type: 'sas', symmetricKey: { primaryKey: KEY, secondaryKey: OTHER } },
  capabilities: { iotEdge: false },
}

/** A hub that gives these answers in turn. */
function hubWith(...answers: (HubAnswer | Error)[]): { hub: HubCalls; calls: HubCall[]; names: () => string[] } {
  const calls: HubCall[] = []
  const hub = remoteHub(HOST, async (call) => {
    calls.push(call)
    const answer = answers.shift()
    if (answer === undefined) throw new Error(`No answer is left for ${call.method} ${call.path.join('/')}.`)
    if (answer instanceof Error) throw answer
    return answer
  })
  return { hub, calls, names: () => calls.map(({ method, path }) => `${method} ${path.join('/')}`) }
}

async function fault(call: Promise<unknown>): Promise<{ code: number; message: string }> {
  const thrown: unknown = await call.catch((error: unknown) => error)
  if (thrown instanceof ServiceError) return { code: thrown.code, message: thrown.message }
  throw new Error(`A ServiceError was expected, found ${String(thrown)}.`)
}

test('a new device and its twin are made by one call', async () => {
  const { hub, calls } = hubWith(created)
  expect(await hub.provision(device(), 'keep')).toBe('created')
  expect(calls).toEqual([
    {
      method: 'POST',
      path: ['devices'],
      body: [
        {
          id: 'dev 1',
          importMode: 'create',
          status: 'enabled',
          authentication: device().authentication,
          capabilities: { iotEdge: false },
          tags: { a: 1 },
          properties: { desired: { b: 2 } },
        },
      ],
    },
  ])
})

describe('a device that is there', () => {
  test('is found also where the hub answers the bulk call with 400, as Azure may', async () => {
    const { hub, names } = hubWith({ ...exists, status: 400 }, ok(document))
    expect(await hub.provision(device(), 'keep')).toBe('refreshed')
    expect(names()).toEqual(['POST devices', 'GET devices/dev 1'])
  })

  test('with the same credentials is left alone: a repetition after a crash changes nothing', async () => {
    const { hub, names } = hubWith(exists, ok(document))
    expect(await hub.provision(device(), 'keep')).toBe('refreshed')
    expect(names()).toEqual(['POST devices', 'GET devices/dev 1'])
  })

  test('gets new credentials and keeps everything else, its twin too', async () => {
    const { hub, calls } = hubWith(exists, ok(document), ok(document))
    expect(await hub.provision(device(OTHER), 'keep')).toBe('refreshed')
    const put = { method: 'PUT', path: ['devices', 'dev 1'], ifMatch: '"abc"' }
    expect(calls[2]).toMatchObject({ ...put, body: { ...document, authentication: device(OTHER).authentication } })
  })

  test('that is an Edge device stays one', async () => {
    const edge = { ...document, capabilities: { iotEdge: true } }
    const { hub, calls } = hubWith(exists, ok(edge), exists, ok(edge), ok(edge))
    await hub.provision(device(), 'keep')
    await hub.provision(device(OTHER), 'keep')
    expect(calls.filter(({ method }) => method === 'PUT')).toMatchObject([
      { body: { capabilities: { iotEdge: true }, authentication: device(OTHER).authentication } },
    ])
  })

  test('that changes or goes meanwhile is looked at again', async () => {
    const changed = hubWith(exists, ok(document), refused(412, 'PreconditionFailed'), exists, ok(document), ok())
    expect(await changed.hub.provision(device(OTHER), 'keep')).toBe('refreshed')
    const gone = hubWith(exists, refused(404, 'DeviceNotFound'), created)
    expect(await gone.hub.provision(device(), 'keep')).toBe('created')
  })

  test('is deleted and made again by a reset', async () => {
    const { hub, calls, names } = hubWith(exists, ok(undefined, 204), created)
    expect(await hub.provision(device(), 'reset')).toBe('refreshed')
    expect(names()).toEqual(['POST devices', 'DELETE devices/dev 1', 'POST devices'])
    expect(calls[1]?.ifMatch).toBe('*')
  })

  test('by the number that older hubs answer with', async () => {
    const old = ok({ isSuccessful: false, errors: [{ errorCode: 409001 }] })
    expect(await hubWith(old, ok(document)).hub.provision(device(), 'keep')).toBe('refreshed')
  })
})

test.each([
  ['ServerError', 503001],
  ['ServiceUnavailable', 503001],
  ['503001', 503001],
  ['ThrottlingException', 429001],
  ['ArgumentInvalid', 400004],
  ['SomethingNew', 400004],
])('an item that failed with %s is worth another try if a call would be', async (errorCode, code) => {
  const { hub } = hubWith(ok({ isSuccessful: false, errors: [{ errorCode, errorStatus: 'why' }] }))
  expect(await fault(hub.provision(device(), 'keep'))).toMatchObject({
    code,
    message: expect.stringContaining('why') as string,
  })
})

test('a device that was registered without its twin goes again and is tried again', async () => {
  const warnings = [{ deviceId: 'dev 1', warningCode: 'DeviceRegisteredWithoutTwin' }]
  const { hub, names } = hubWith(ok({ isSuccessful: true, errors: [], warnings }), ok(undefined, 204))
  expect((await fault(hub.provision(device(), 'keep'))).code).toBe(503001)
  expect(names()).toEqual(['POST devices', 'DELETE devices/dev 1'])
})

test('what a move takes along: without versions and metadata; nothing where the device is gone', async () => {
  const properties = {
    desired: { b: 2, $version: 4, $metadata: { b: {} } },
    reported: { c: { $x: 3 }, $version: 1, $metadata: {} },
  }
  const there = { tags: { a: 1 }, properties, status: 'disabled', capabilities: { iotEdge: true } }
  const { hub } = hubWith(ok(there), ok({ properties: {} }), refused(404, 'DeviceNotFound'))
  expect(await hub.read('dev')).toEqual({
    twin: { tags: { a: 1 }, desired: { b: 2 }, reported: { c: { $x: 3 } } },
    iotEdge: true,
    status: 'disabled',
  })
  const twin = { tags: {}, desired: {}, reported: {} }
  expect(await hub.read('dev')).toEqual({ twin, iotEdge: false, status: 'enabled' })
  expect(await hub.read('dev')).toBeUndefined()
})

test('deleting what is not there is fine; a hub that is not there is not', async () => {
  const { hub } = hubWith(refused(404, 'DeviceNotFound'), refused(404, undefined))
  await hub.remove('dev')
  expect((await fault(hub.remove('dev'))).code).toBe(400004)
})

test.each<[string, HubAnswer | Error, number]>([
  ['wrong key', refused(401, 'IotHubUnauthorizedAccess'), 400209],
  ['wrong right', refused(403, undefined), 400209],
  ['quota', refused(403, 'IotHubQuotaExceeded'), 403002],
  ['redirect', refused(307, undefined), 400004],
  ['refused', refused(400, 'ArgumentInvalid', 'bad id'), 400004],
  ['throttled', refused(429, 'ThrottlingException'), 429001],
  ['broken', refused(502, undefined), 503001],
  ['not a hub', ok('<html>'), 503001],
  ['item refused', ok({ isSuccessful: false, errors: [{ errorCode: 'ArgumentInvalid', errorStatus: 'no' }] }), 400004],
  ['unreachable', new OutboundError('unreachable', 'https://hub.example/devices could not be reached'), 503001],
  ['late', new OutboundError('late', 'no answer'), 503001],
  ['not allowed', new OutboundError('forbidden', 'not allowed'), 400209],
  ['stopping', new OutboundError('closed', 'stopping'), 503001],
])('%s', async (_what, answer, code) => {
  const { message, ...found } = await fault(hubWith(answer).hub.provision(device(), 'keep'))
  expect(found.code).toBe(code)
  expect(message).toContain(HOST)
})

test('each call is signed with the policy of the link', async () => {
  const sent: OutboundCall[] = []
  const send = async (call: OutboundCall) => {
    sent.push(call)
    return { status: 404, headers: {}, body: Buffer.from('{"Message":"ErrorCode:DeviceNotFound;dev"}') }
  }
  const address = { hostName: 'hub.example:8443', keyName: 'registry', key: Buffer.from(KEY, 'base64') }
  const client = createHubClient({ outbound: { send, close: () => {} }, clock: new TestClock() }, address)
  const answer = await client({ method: 'GET', path: ['devices', 'a/b#c'] })
  expect(answer).toMatchObject({ status: 404, error: 'DeviceNotFound', message: 'dev' })
  expect(sent[0]?.url.href).toBe('https://hub.example:8443/devices/a%2Fb%23c?api-version=2021-04-12')
  expect(sent[0]?.headers?.['Authorization']).toMatch(
    /^SharedAccessSignature sr=hub.example%3A8443&sig=[^&]+&se=1767226200&skn=registry$/,
  )
})

test('what a hub says of its refusal is repeated in part only: it goes into the record of the registration', async () => {
  const endless = 'x'.repeat(1_000_000)
  const item = ok({ isSuccessful: false, errors: [{ errorCode: endless, errorStatus: endless }] })
  for (const answer of [item, refused(400, endless, endless)]) {
    const { message } = await fault(hubWith(answer).hub.provision(device(), 'keep'))
    expect(message.length).toBeLessThan(2 * limits.answerExcerpt)
  }
})

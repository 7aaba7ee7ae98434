import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { stopClean } from '../support/clean-stop.ts'
import { clientCertificates, newKey, symmetricKeys } from '../support/enrollments.ts'
import { startMuster, type TestMuster } from '../support/muster.ts'
import { deviceCertificate } from '../support/pki.ts'
import { exchangeRaw, type RawAnswer, requestText } from '../support/raw-https.ts'
import { parseConnectionString } from '../support/rest.ts'
import { lowerHex, sasToken, unixNow } from '../support/tokens.ts'

// Service clients that cannot run here, by the requests of their sources (dps.md 6).

let muster: TestMuster

beforeAll(async () => {
  muster = await startMuster()
})
afterAll(() => stopClean(muster))

interface Client {
  readonly apiVersion: string
  /** Headers of every request, without Host, Authorization and Content-Length. */
  readonly headers: string
  readonly host: (hostName: string) => string
  readonly token: (hostName: string, key: string, keyName: string) => string
  readonly inPath: (id: string) => string
  readonly collection: string
}

const AN_HOUR = 3600

const clients = {
  'az CLI': {
    apiVersion: '2021-10-01',
    headers: `User-Agent: python/3.11.2 (Linux) msrest/0.7.1 azext_iot/0.25.0
      Accept-Encoding: gzip, deflate
      Accept: application/json
      Connection: keep-alive
      Content-Type: application/json; charset=utf-8
      x-ms-client-request-id: 5b1f9a5e-7c9b-11ef-9d2f-0242ac120002
      accept-language: en-US`,
    host: (hostName) => hostName,
    token: (hostName, key, keyName) =>
      sasToken({ sr: encodeURIComponent(hostName), key, se: unixNow() + 600, skn: keyName }),
    inPath: encodeURIComponent,
    collection: '/enrollments',
  },
  'C#': {
    apiVersion: '2019-03-31',
    headers: `Accept: application/json
      User-Agent: Microsoft.Azure.Devices.Provisioning.Service/1.18.4
      Content-Type: application/json; charset=utf-8`,
    host: (hostName) => hostName,
    token: (hostName, key, keyName) =>
      sasToken({ sr: encodeURIComponent(hostName), key, se: unixNow() + AN_HOUR, skn: keyName }),
    inPath: encodeURIComponent,
    collection: '/enrollments',
  },
  Java: {
    apiVersion: '2019-03-31',
    headers: `Accept: application/json
      Content-Type: application/json; charset=utf-8
      User-Agent: com.microsoft.azure.sdk.iot.provisioning.service/2.0.3
      Request-Id: 1001`,
    host: (hostName) => hostName,
    token: (hostName, key, keyName) =>
      sasToken({ sr: encodeURIComponent(hostName), key, se: unixNow() + AN_HOUR, skn: keyName }),
    inPath: (id) => id,
    collection: '/enrollments',
  },
  C: {
    apiVersion: '2018-04-01',
    headers: `UserAgent: iothub_dps_prov_client/1.0
      Accept: application/json
      Content-Type: application/json; charset=utf-8`,
    host: (hostName) => (hostName.includes(':') ? hostName : `${hostName}:443`),
    token: (hostName, key, keyName) =>
      sasToken({ sr: hostName, key, se: unixNow() + AN_HOUR, skn: keyName, encode: lowerHex }),
    inPath: (id) => id,
    collection: '/enrollments/',
  },
} as const satisfies Record<string, Client>

interface Sending {
  readonly body?: unknown
  /** Further header lines. */
  readonly headers?: readonly string[]
}

async function send(client: Client, method: string, path: string, sending: Sending = {}): Promise<RawAnswer> {
  const { hostName, key, keyName } = parseConnectionString(muster.addresses.dps.connectionString)
  const { address, ports } = muster.addresses
  const head = [
    `${method} ${path}?api-version=${client.apiVersion} HTTP/1.1`,
    `Host: ${client.host(hostName)}`,
    `Authorization: ${client.token(hostName, key, keyName)}`,
    'Content-Length: {length}',
    client.headers,
    ...(sending.headers ?? []),
  ]
  const body = sending.body === undefined ? '' : JSON.stringify(sending.body)
  return exchangeRaw({ address, port: ports.https, ca: muster.ca }, requestText(head.join('\n'), body))
}

const object = (answer: RawAnswer): Record<string, unknown> => {
  expect(answer.status, answer.body).toBeLessThan(300)
  return answer.json() as Record<string, unknown>
}

describe.for(Object.entries(clients) as [string, Client][])('%s', ([name, client]) => {
  const slug = name.toLowerCase().replace('#', 'sharp').replace(' ', '-')
  const path = (id: string): string => `/enrollments/${client.inPath(id)}`

  test('create, show, update, attestation mechanism, delete, with exactly the codes of 6.2', async () => {
    const registrationId = `${slug}:One.2`
    const keys = [newKey(), newKey()] as const
    const created = await send(client, 'PUT', path(registrationId), {
      body: { registrationId, ...symmetricKeys(...keys), capabilities: { iotEdge: false } },
    })
    expect(created.statusLine).toBe('HTTP/1.1 200 OK')
    expect(created.header('content-type')).toBe('application/json; charset=utf-8')
    expect(created.json()).toMatchObject({ registrationId, ...symmetricKeys(...keys) })

    const shown = await send(client, 'GET', path(registrationId))
    expect(shown.statusLine).toBe('HTTP/1.1 200 OK')
    const etag = String(object(shown)['etag'])
    expect(etag).toMatch(/^".+"$/)
    const updated = await send(client, 'PUT', path(registrationId), {
      body: { ...object(shown), deviceId: 'other-name' },
      headers: [`If-Match: ${etag}`],
    })
    expect(updated.statusLine).toBe('HTTP/1.1 200 OK')
    expect(updated.json()).toMatchObject({ deviceId: 'other-name', ...symmetricKeys(...keys) })

    const mechanism = await send(client, 'POST', `${path(registrationId)}/attestationmechanism`)
    expect(mechanism.statusLine).toBe('HTTP/1.1 200 OK')
    expect(mechanism.json()).toEqual(symmetricKeys(...keys).attestation)

    const stale = await send(client, 'DELETE', path(registrationId), { headers: [`If-Match: ${etag}`] })
    expect(stale.status).toBe(412)
    expect(stale.header('x-ms-error-code')).toMatch(/^412\d{3}$/)
    const deleted = await send(client, 'DELETE', path(registrationId), { headers: ['If-Match: *'] })
    expect(deleted.statusLine).toBe('HTTP/1.1 204 No Content')
    expect(deleted.body).toBe('')
    expect((await send(client, 'GET', path(registrationId))).json()).toMatchObject({ errorCode: 404201 })
  })

  test('creating twice is a conflict', async () => {
    const registrationId = `${slug}-twice`
    const body = { registrationId, attestation: { type: 'symmetricKey' } }
    expect((await send(client, 'PUT', path(registrationId), { body })).status).toBe(200)
    const again = await send(client, 'PUT', path(registrationId), { body })
    expect(again.status).toBe(409)
    expect(again.header('x-ms-error-code')).toMatch(/^409\d{3}$/)
    expect((await send(client, 'PUT', path(registrationId), { body, headers: ['If-Match: "*"'] })).status).toBe(200)
  })

  test('bulk and query', async () => {
    const enrollments = ['a', 'b', 'c'].map((letter) => ({
      registrationId: `${slug}-bulk-${letter}`,
      attestation: { type: 'symmetricKey' },
    }))
    const made = await send(client, 'POST', client.collection, { body: { mode: 'create', enrollments } })
    expect(made.statusLine).toBe('HTTP/1.1 200 OK')
    expect(made.json()).toEqual({ isSuccessful: true, errors: [] })

    const found: string[] = []
    for (let continuation: string | undefined, page = 0; page < 50; page++) {
      const answer = await send(client, 'POST', '/enrollments/query', {
        body: { query: 'SELECT * FROM enrollments' },
        headers: [
          'x-ms-max-item-count: 2',
          ...(continuation === undefined ? [] : [`x-ms-continuation: ${continuation}`]),
        ],
      })
      expect(answer.statusLine).toBe('HTTP/1.1 200 OK')
      expect(answer.header('x-ms-item-type')).toBe('Enrollment')
      expect(answer.header('x-ms-max-item-count')).toBe('2')
      const items = answer.json() as { registrationId: string }[]
      expect(items.length).toBeLessThanOrEqual(2)
      found.push(...items.map(({ registrationId }) => registrationId))
      continuation = answer.header('x-ms-continuation')
      expect(continuation).not.toBe('')
      if (continuation === undefined) break
    }
    expect(found).toEqual(expect.arrayContaining(enrollments.map(({ registrationId }) => registrationId)))
    expect(new Set(found).size).toBe(found.length)
    await send(client, 'POST', client.collection, { body: { mode: 'delete', enrollments } })
  })
})

describe('az CLI', () => {
  const cli = clients['az CLI']

  test.for([
    ['enrollments', 'Enrollment'],
    ['enrollmentGroups', 'EnrollmentGroup'],
  ] as const)('its malformed query text means everything: %s', async ([collection, itemType]) => {
    const [id, idName] =
      collection === 'enrollments' ? ['cli-listed', 'registrationId'] : ['cli-group', 'enrollmentGroupId']
    const body = { [idName]: id, attestation: { type: 'symmetricKey' } }
    expect((await send(cli, 'PUT', `/${collection}/${id}`, { body })).status).toBe(200)
    const answer = await send(cli, 'POST', `/${collection}/query`, {
      body: { query: "{'additional_properties': {}, 'query': 'SELECT *'}" },
      headers: ['x-ms-max-item-count: 100', 'Cache-Control: no-cache, must-revalidate'],
    })
    expect(answer.statusLine).toBe('HTTP/1.1 200 OK')
    expect(answer.header('x-ms-item-type')).toBe(itemType)
    expect(answer.header('x-ms-continuation')).toBeUndefined()
    expect((answer.json() as Record<string, unknown>[]).map((item) => item[idName])).toContain(id)
  })

  test('registrations of a group are queried without a body', async () => {
    const body = { enrollmentGroupId: 'cli-registrations', attestation: { type: 'symmetricKey' } }
    await send(cli, 'PUT', '/enrollmentGroups/cli-registrations', { body })
    const answer = await send(cli, 'POST', '/registrations/cli-registrations/query')
    expect(answer.statusLine).toBe('HTTP/1.1 200 OK')
    expect(answer.header('x-ms-item-type')).toBe('DeviceRegistration')
    expect(answer.body).toBe('[]')
  })

  test('an update is GET, change, PUT of the same document; the certificate stays', async () => {
    const issued = await deviceCertificate('cli-update')
    const base64 = Buffer.from(issued.certificate).toString('base64')
    const body = { registrationId: 'cli-update', ...clientCertificates(base64) }
    expect((await send(cli, 'PUT', '/enrollments/cli-update', { body })).status).toBe(200)
    const record = object(await send(cli, 'GET', '/enrollments/cli-update'))
    const changed = await send(cli, 'PUT', '/enrollments/cli-update', {
      body: {
        ...record,
        provisioningStatus: 'disabled',
        initialTwin: { tags: { a: [1] }, properties: { desired: {} } },
      },
      headers: ['If-Match: *'],
    })
    expect(changed.statusLine).toBe('HTTP/1.1 200 OK')
    expect(changed.json()).toMatchObject({ provisioningStatus: 'disabled', attestation: record['attestation'] })
  })

  // The models of the extension (azext_iot/operations/dps.py) leave out what is None, and send the twin, the reprovision
  // policy and the capabilities always.
  const defaults = {
    capabilities: { iotEdge: false },
    initialTwin: { tags: {}, properties: { desired: {} } },
    reprovisionPolicy: { updateHubAssignment: true, migrateDeviceData: true },
  }

  test('create and update of a group with keys: the keys are fetched first, and both are sent', async () => {
    const [first, second, next] = [newKey(), newKey(), newKey()]
    const path = '/enrollmentGroups/cli-keys'
    const body = { enrollmentGroupId: 'cli-keys', ...symmetricKeys(first, second), ...defaults }
    expect(object(await send(cli, 'PUT', path, { body }))).toMatchObject({ ...body, provisioningStatus: 'enabled' })
    const { createdDateTimeUtc: _c, lastUpdatedDateTimeUtc: _l, ...record } = object(await send(cli, 'GET', path))
    expect(JSON.stringify(record)).not.toContain('primaryKey')
    const attestation = object(await send(cli, 'POST', `${path}/attestationmechanism`))
    expect(attestation).toEqual(symmetricKeys(first, second).attestation)
    const changed = {
      ...record,
      attestation: { ...attestation, symmetricKey: { primaryKey: next, secondaryKey: second } },
    }
    const updated = object(await send(cli, 'PUT', path, { body: changed, headers: ['If-Match: *'] }))
    expect(updated['attestation']).toEqual(symmetricKeys(next, second).attestation)
    expect(updated['etag']).not.toBe(record['etag'])
    const stale = await send(cli, 'PUT', path, { body: changed, headers: [`If-Match: ${record['etag']}`] })
    expect(stale.status).toBe(412)
  })

  test('update of an X.509 enrollment: the second certificate is taken away, the first stays by its info', async () => {
    const [one, two] = [await deviceCertificate('cli-slots'), await deviceCertificate('cli-slots')]
    const path = '/enrollments/cli-slots'
    const created = await send(cli, 'PUT', path, {
      body: { registrationId: 'cli-slots', ...clientCertificates(one.certificate, two.certificate), ...defaults },
    })
    const { attestation, ...record } = object(created) as { attestation: { x509: { clientCertificates: Slots } } }
    const { primary, secondary } = attestation.x509.clientCertificates
    expect(secondary.info).not.toEqual(primary.info)
    const body = { ...record, attestation: { type: 'x509', x509: { clientCertificates: { primary } } } }
    const updated = object(await send(cli, 'PUT', path, { body, headers: ['If-Match: *'] }))
    expect(updated['attestation']).toEqual(body.attestation)
  })

  interface Slots {
    readonly primary: { readonly info: object }
    readonly secondary: { readonly info: object }
  }

  test('--iot-hub-host-name is static allocation to one hub; --device-info goes beside the twin', async () => {
    const { hostName = '' } = muster.addresses.hubs[0] ?? {}
    const own = hostName.replace(/:\d+$/, '')
    const body = {
      registrationId: 'cli-static',
      attestation: { type: 'symmetricKey', symmetricKey: {} },
      ...defaults,
      allocationPolicy: 'static',
      iotHubs: [own],
      optionalDeviceInformation: { color: 'red' },
    }
    const answer = object(await send(cli, 'PUT', '/enrollments/cli-static', { body }))
    expect(answer).toMatchObject({
      allocationPolicy: 'static',
      iotHubs: [own],
      optionalDeviceInformation: { color: 'red' },
    })
    expect(answer).not.toHaveProperty('iotHubHostName')
  })

  test('its token holds host and port; one for the host alone serves too', async () => {
    const { hostName } = parseConnectionString(muster.addresses.dps.connectionString)
    expect(hostName).toMatch(/:\d+$/)
    const alone: Client = { ...cli, token: (host, key, name) => cli.token(host.replace(/:\d+$/, ''), key, name) }
    for (const client of [cli, alone]) {
      const answer = await send(client, 'POST', '/enrollmentGroups/query', { body: { query: 'SELECT *' } })
      expect(answer.statusLine).toBe('HTTP/1.1 200 OK')
    }
  })

  test('a registration is deleted with If-Match: *, and is not there to be shown', async () => {
    expect((await send(cli, 'DELETE', '/registrations/cli-nobody', { headers: ['If-Match: *'] })).status).toBe(404)
    const shown = await send(cli, 'GET', '/registrations/cli-nobody')
    expect([shown.status, shown.json()]).toMatchObject([404, { errorCode: 404201 }])
  })

  test('null members mean absent', async () => {
    const answer = await send(cli, 'PUT', '/enrollments/cli-nulls', {
      body: {
        registrationId: 'cli-nulls',
        deviceId: null,
        attestation: {
          type: 'symmetricKey',
          symmetricKey: { primaryKey: '', secondaryKey: null },
          tpm: null,
          x509: null,
        },
        initialTwin: null,
        iotHubs: null,
        allocationPolicy: null,
        customAllocationDefinition: null,
        registrationState: null,
        etag: null,
      },
    })
    expect(answer.statusLine).toBe('HTTP/1.1 200 OK')
    expect(answer.body).not.toContain(':null')
    expect(object(answer)).not.toHaveProperty('initialTwin')
  })
})

describe('C#', () => {
  const csharp = clients['C#']

  test('enum texts in any case, answered in the exact spelling', async () => {
    const { hostName = '' } = muster.addresses.hubs[0] ?? {}
    const answer = await send(csharp, 'PUT', '/enrollments/csharp-enums', {
      body: {
        registrationId: 'csharp-enums',
        attestation: { type: 'SymmetricKey' },
        provisioningStatus: 'Disabled',
        allocationPolicy: 'GEOLATENCY',
        iotHubs: [hostName],
      },
    })
    expect(object(answer)).toMatchObject({
      attestation: { type: 'symmetricKey' },
      provisioningStatus: 'disabled',
      allocationPolicy: 'geoLatency',
    })
  })

  test('If-Match: quoted star, the quoted etag, the etag with escaped quotes', async () => {
    const body = { registrationId: 'csharp-match', attestation: { type: 'symmetricKey' } }
    let etag = String(object(await send(csharp, 'PUT', '/enrollments/csharp-match', { body }))['etag'])
    for (const header of [
      '"*"',
      '*',
      () => etag,
      () => etag.slice(1, -1),
      () => `"\\${etag.slice(0, -1)}\\""`,
      () => `W/${etag}`,
    ]) {
      const value = typeof header === 'string' ? header : header()
      const answer = await send(csharp, 'PUT', '/enrollments/csharp-match', { body, headers: [`If-Match: ${value}`] })
      expect(answer.statusLine, value).toBe('HTTP/1.1 200 OK')
      expect(object(answer)['etag']).not.toBe(etag)
      etag = String(object(answer)['etag'])
    }
  })

  test('X.509 as base64 of DER; answers have every member of info', async () => {
    const issued = await deviceCertificate('csharp-cert')
    const der = issued.certificate.replaceAll(/-----[A-Z ]+-----|\s/g, '')
    const body = { registrationId: 'csharp-cert', ...clientCertificates(der, `${issued.certificate}\r\n `) }
    const { attestation } = object(await send(csharp, 'PUT', '/enrollments/csharp-cert', { body })) as {
      attestation: { x509: { clientCertificates: { primary: { info: object }; secondary: { info: object } } } }
    }
    const { primary, secondary } = attestation.x509.clientCertificates
    expect(Object.keys(primary.info).toSorted()).toEqual([
      'issuerName',
      'notAfterUtc',
      'notBeforeUtc',
      'serialNumber',
      'sha1Thumbprint',
      'sha256Thumbprint',
      'subjectName',
      'version',
    ])
    expect(secondary.info).toEqual(primary.info)
  })
})

describe('spellings of paths', () => {
  const node: Client = { ...clients['az CLI'] }

  test('group routes in lower case, a trailing slash, ids in another case', async () => {
    const keys = [newKey(), newKey()] as const
    const body = { enrollmentGroupId: 'Spelled-Group', ...symmetricKeys(...keys) }
    expect((await send(node, 'PUT', '/enrollmentgroups/Spelled-Group/', { body })).status).toBe(200)
    const mechanism = await send(node, 'POST', '/enrollmentgroups/spelled-group/attestationmechanism')
    expect(mechanism.json()).toEqual(symmetricKeys(...keys).attestation)
    const bulk = { mode: 'DELETE', enrollmentGroups: [{ enrollmentGroupId: 'spelled-group' }] }
    expect((await send(node, 'POST', '/enrollmentGroups/', { body: bulk })).json()).toEqual({
      isSuccessful: true,
      errors: [],
    })
  })

  test('a path without its id: 405', async () => {
    for (const [method, path] of [
      ['PUT', '/enrollments'],
      ['DELETE', '/enrollmentGroups'],
      ['DELETE', '/registrations'],
    ] as const) {
      const answer = await send(node, method, path)
      expect(answer.status).toBe(405)
      expect(answer.header('x-ms-error-code')).toBe('405000')
    }
  })

  test('an api-version of any year, and none', async () => {
    for (const apiVersion of [
      '2018-04-01',
      '2018-09-01-preview',
      '2019-03-31',
      '2025-07-01-preview',
      '2026-11-02-preview',
    ]) {
      const answer = await send({ ...node, apiVersion }, 'POST', '/enrollments/query', { body: { query: 'SELECT *' } })
      expect(answer.status, apiVersion).toBe(200)
    }
    for (const apiVersion of ['', 'newest', '2021-13']) {
      const answer = await send({ ...node, apiVersion }, 'POST', '/enrollments/query', { body: { query: 'SELECT *' } })
      expect(answer.status, apiVersion).toBe(400)
    }
  })

  test('an enrollment that came through 2018-04-01 without a policy is sticky', async () => {
    const body = { registrationId: 'sticky', attestation: { type: 'symmetricKey' } }
    const answer = await send(clients.C, 'PUT', '/enrollments/sticky', { body })
    expect(object(answer)).toMatchObject({
      reprovisionPolicy: { updateHubAssignment: false, migrateDeviceData: false },
    })
  })
})

describe('who may call', () => {
  const cli = clients['az CLI']
  const refusedWith = async (token: Client['token']): Promise<void> => {
    const answer = await send({ ...cli, token }, 'GET', '/enrollments/anything')
    expect(answer.statusLine).toBe('HTTP/1.1 401 Unauthorized')
    expect(answer.json()).toMatchObject({
      errorCode: expect.toSatisfy((code: number) => Math.floor(code / 1000) === 401),
    })
  }

  test('a wrong key, an unknown policy, an expired token, another host, no token scheme', async () => {
    const token = (sr: string, key: string, skn: string, se = unixNow() + 60): string => sasToken({ sr, key, se, skn })
    await refusedWith((host, _key, skn) => token(encodeURIComponent(host), newKey(), skn))
    await refusedWith((host, key) => token(encodeURIComponent(host), key, 'nosuchpolicy'))
    await refusedWith((host, key, skn) => token(encodeURIComponent(host), key, skn, unixNow() - 3600))
    await refusedWith((_host, key, skn) => token('elsewhere.example.net', key, skn))
    await refusedWith((host, key, skn) => token(`${encodeURIComponent(host)}%2Fregistrations`, key, skn))
    await refusedWith(() => 'Bearer abc')
    await refusedWith(() => '')
  })

  test('a token for part of the paths is good for that part', async () => {
    const scoped = (part: string): Client => ({
      ...cli,
      token: (host, key, skn) => sasToken({ sr: encodeURIComponent(`${host}/${part}`), key, se: unixNow() + 60, skn }),
    })
    const query = { body: { query: 'SELECT *' } }
    expect((await send(scoped('enrollments'), 'POST', '/enrollments/query', query)).status).toBe(200)
    expect((await send(scoped('enrollment'), 'POST', '/enrollments/query', query)).status).toBe(401)
    expect((await send(scoped('enrollments'), 'POST', '/enrollmentGroups/query', query)).status).toBe(401)
  })
})

import { beforeAll, describe, expect, test } from 'vitest'
import { HUB_A, HUB_B, provisioningRoom, refusal } from '../../tests/support/provisioning.ts'
import { tpmDouble } from '../../tests/support/tpm-double.ts'
import { seededRandom } from '../base/random.ts'
import type { ProvisioningService } from '../control/control.ts'
import { type Issued, issueDeviceCertificate } from '../crypto/issuing.ts'
import { attestationDocument } from './attestation-document.ts'
import {
  type EnrollmentGroup,
  enrollmentDocument,
  type IndividualEnrollment,
  parseEnrollmentGroup,
  parseIndividualEnrollment,
} from './enrollment-document.ts'

let service: ProvisioningService
let first: Issued
let second: Issued
const now = Date.UTC(2026, 0, 1)
const KEY = Buffer.alloc(64, 7).toString('base64')
const OTHER = Buffer.alloc(16, 9).toString('base64')
const tpm = tpmDouble('ecc')
const symmetricKey = { type: 'symmetricKey', symmetricKey: { primaryKey: KEY, secondaryKey: OTHER } }

beforeAll(async () => {
  service = (await provisioningRoom()).service
  const input = { commonName: 'dev', days: 30, keyType: 'ec', now } as const
  ;[first, second] = await Promise.all([issueDeviceCertificate(input), issueDeviceCertificate(input)])
})

interface Given {
  readonly stored?: IndividualEnrollment
  readonly apiVersion?: string
  readonly id?: string
}

const context = <T>({ stored, apiVersion = '2021-10-01', id = 'dev' }: Given & { stored?: T }) => ({
  id,
  service,
  apiVersion,
  stored,
  now,
  random: seededRandom(1),
})

const individual = (more: object, given: Given = {}): IndividualEnrollment =>
  parseIndividualEnrollment(
    { registrationId: 'dev', attestation: symmetricKey, ...more },
    {
      ...context(given),
      stored: given.stored,
    },
  )

const group = (more: object, stored?: EnrollmentGroup): EnrollmentGroup =>
  parseEnrollmentGroup({ enrollmentGroupId: 'dev', attestation: symmetricKey, ...more }, { ...context({}), stored })

const webhook = (more: object) => ({
  allocationPolicy: 'custom',
  customAllocationDefinition: { webhookUrl: 'http://localhost:7071/api/x?code=1', apiVersion: '2019-03-31', ...more },
})

const certificates = (primary: unknown, secondary?: unknown) => ({
  attestation: { type: 'x509', x509: { clientCertificates: { primary, secondary } } },
})

describe('what is stored and shown', () => {
  test('custom allocation, plain http and the older preview included; kept with another policy', () => {
    const { customAllocationDefinition } = webhook({ apiVersion: '2018-09-01-preview' })
    expect(individual({ allocationPolicy: 'Custom', customAllocationDefinition })).toMatchObject({
      allocationPolicy: 'custom',
      customAllocationDefinition,
    })
    expect(group({ allocationPolicy: 'hashed', customAllocationDefinition })).toMatchObject({
      allocationPolicy: 'hashed',
      customAllocationDefinition,
    })
  })

  test('defaults', () => {
    expect(individual({})).toEqual({
      registrationId: 'dev',
      attestation: symmetricKey,
      capabilities: { iotEdge: false },
      provisioningStatus: 'enabled',
      reprovisionPolicy: { updateHubAssignment: true, migrateDeviceData: true },
      createdDateTimeUtc: '2026-01-01T00:00:00.0000000Z',
      lastUpdatedDateTimeUtc: '2026-01-01T00:00:00.0000000Z',
    })
  })

  test('every field, in whatever letter case, read-only and unknown ones left aside', () => {
    const enrollment = individual({
      DeviceId: 'device $1',
      deviceid: 'device-1',
      optionalDeviceInformation: { floor: 2, room: { door: null } },
      capabilities: { iotEdge: true },
      initialTwin: {
        tags: { a: 1, none: null, deep: { b: [1, 'x'], none: null } },
        properties: { desired: { $metadata: {}, $version: 3, c: true } },
      },
      provisioningStatus: 'Disabled',
      reprovisionPolicy: { updateHubAssignment: false, migrateDeviceData: false },
      allocationPolicy: 'GEOLATENCY',
      iotHubs: [HUB_A, HUB_B, HUB_A.toUpperCase()],
      customAllocationDefinition: null,
      etag: '"x"',
      registrationState: { status: 'assigned' },
      createdDateTimeUtc: '1999-01-01T00:00:00Z',
      additional_properties: {},
    })
    expect(enrollment).toMatchObject({
      deviceId: 'device-1',
      optionalDeviceInformation: { floor: 2, room: { door: null } },
      capabilities: { iotEdge: true },
      initialTwin: { tags: { a: 1, deep: { b: [1, 'x'] } }, properties: { desired: { c: true } } },
      provisioningStatus: 'disabled',
      reprovisionPolicy: { updateHubAssignment: false, migrateDeviceData: false },
      allocationPolicy: 'geoLatency',
      iotHubs: [HUB_A, HUB_B],
      createdDateTimeUtc: '2026-01-01T00:00:00.0000000Z',
    })
    expect(enrollment).not.toHaveProperty('additional_properties')
    expect(enrollment.initialTwin).toEqual({
      tags: { a: 1, deep: { b: [1, 'x'] } },
      properties: { desired: { c: true } },
    })
  })

  test('on an update the id keeps its spelling and the time of creation stays', () => {
    const stored = { ...individual({}), registrationId: 'Dev', createdDateTimeUtc: '2025-01-01T00:00:00.0000000Z' }
    expect(individual({}, { stored })).toMatchObject({
      registrationId: 'Dev',
      createdDateTimeUtc: '2025-01-01T00:00:00.0000000Z',
      lastUpdatedDateTimeUtc: '2026-01-01T00:00:00.0000000Z',
    })
  })

  test('without a reprovision policy, old api-versions mean never', () => {
    const policy = (apiVersion: string, more: object = {}) => individual(more, { apiVersion }).reprovisionPolicy
    const never = { updateHubAssignment: false, migrateDeviceData: false }
    expect(policy('2018-04-01')).toEqual(never)
    expect(policy('2017-11-15')).toEqual(never)
    expect(policy('2018-09-01-preview')).toEqual({ updateHubAssignment: true, migrateDeviceData: true })
    expect(policy('2018-04-01', { reprovisionPolicy: {} })).toEqual({
      updateHubAssignment: true,
      migrateDeviceData: true,
    })
    expect(policy('2021-10-01', { reprovisionPolicy: { migrateDeviceData: false } })).toEqual({
      updateHubAssignment: true,
      migrateDeviceData: false,
    })
  })

  test('one hub by its older name', () => {
    expect(individual({ iotHubHostName: HUB_A })).toMatchObject({ iotHubHostName: HUB_A })
    expect(individual({ iotHubHostName: HUB_A, allocationPolicy: 'static' })).toMatchObject({
      allocationPolicy: 'static',
    })
    expect(individual({ iotHubHostName: HUB_A, iotHubs: [HUB_A] })).toMatchObject({ iotHubs: [HUB_A] })
    expect(individual({ iotHubHostName: '', iotHubs: [], deviceId: '' })).toEqual(individual({}))
  })

  test('keys are shown by PUT and not by GET; certificates never, their info always', () => {
    expect(enrollmentDocument(individual({}), '"e"', 'full')).toMatchObject({ attestation: symmetricKey, etag: '"e"' })
    expect(enrollmentDocument(individual({}), '"e"', 'shown')).toMatchObject({ attestation: { type: 'symmetricKey' } })
    expect(JSON.stringify(enrollmentDocument(individual({}), '"e"', 'shown'))).not.toContain(KEY)
    for (const secrecy of ['full', 'shown'] as const) {
      const x509 = enrollmentDocument(individual(certificates({ certificate: first.certificate })), '"e"', secrecy)
      expect(x509['attestation']).toEqual({
        type: 'x509',
        x509: {
          clientCertificates: {
            primary: {
              info: expect.objectContaining({
                subjectName: 'CN=dev',
                sha256Thumbprint: expect.stringMatching(/^[0-9A-F]{64}$/),
                version: 3,
              }),
            },
          },
        },
      })
    }
    const references = group({ attestation: { type: 'x509', x509: { caReferences: { primary: 'ca-1' } } } })
    expect(enrollmentDocument(references, '"e"', 'shown')['attestation']).toEqual({
      type: 'x509',
      x509: { caReferences: { primary: 'ca-1' } },
    })
  })
})

describe('keys', () => {
  test('missing or empty ones are generated, 64 bytes each', () => {
    for (const keys of [undefined, null, {}, { primaryKey: '', secondaryKey: '' }]) {
      const { attestation } = individual({ attestation: { type: 'symmetricKey', symmetricKey: keys } })
      if (attestation.type !== 'symmetricKey') throw new Error('expected keys')
      const { primaryKey, secondaryKey } = attestation.symmetricKey
      expect(Buffer.from(primaryKey, 'base64')).toHaveLength(64)
      expect(Buffer.from(secondaryKey, 'base64')).toHaveLength(64)
      expect(primaryKey).not.toBe(secondaryKey)
    }
  })

  test('absent ones of an update stay as stored, one by one', () => {
    const stored = individual({})
    const updated = (keys: object | undefined) =>
      individual({ attestation: { type: 'symmetricKey', symmetricKey: keys } }, { stored }).attestation
    expect(updated(undefined)).toEqual(symmetricKey)
    const renewed = Buffer.alloc(32, 3).toString('base64')
    expect(updated({ primaryKey: renewed })).toEqual({
      type: 'symmetricKey',
      symmetricKey: { primaryKey: renewed, secondaryKey: OTHER },
    })
  })

  test('an attestation that becomes symmetric does not inherit anything', () => {
    const stored = individual(certificates({ certificate: first.certificate }))
    expect(individual({ attestation: { type: 'symmetricKey' } }, { stored }).attestation).toMatchObject({
      symmetricKey: { primaryKey: expect.any(String), secondaryKey: expect.any(String) },
    })
  })
})

describe('certificates', () => {
  test('in every encoding', () => {
    const pem = first.certificate
    const base64 = pem.replace(/-----[^-]+-----|\n/g, '')
    const expected = individual(certificates({ certificate: pem })).attestation
    for (const text of [
      base64,
      Buffer.from(pem).toString('base64'),
      pem.replaceAll('\n', '\r\n'),
      `${pem}\n  \n`,
      pem + second.certificate,
    ])
      expect(individual(certificates({ certificate: text })).attestation).toEqual(expected)
  })

  test('info without a certificate keeps the stored one of the same place and thumbprint', () => {
    const both = certificates({ certificate: first.certificate }, { certificate: second.certificate })
    const stored = individual(both)
    const shown = enrollmentDocument(stored, '"e"', 'shown') as { attestation: object }
    expect(individual(shown, { stored })).toEqual(stored)
    if (stored.attestation.type !== 'x509') throw new Error('expected certificates')
    const { primary, secondary } = stored.attestation.x509.clientCertificates!
    const bySha1 = { certificate: '', info: { sha1Thumbprint: primary!.info.sha1Thumbprint.toLowerCase() } }
    expect(individual(certificates(bySha1), { stored }).attestation).toEqual(
      individual(certificates({ certificate: first.certificate })).attestation,
    )
    // As the CLI removes the primary certificate.
    expect(individual(certificates(null, { info: secondary!.info }), { stored }).attestation).toEqual({
      type: 'x509',
      x509: { clientCertificates: { secondary } },
    })
    for (const wrong of [{ info: secondary!.info }, { info: {} }, {}, { info: null }, { certificate: '' }])
      expect(() => individual(certificates(wrong), { stored })).toThrow(
        /clientCertificates\.primary\.certificate must be/,
      )
    expect(() => individual(certificates({ info: primary!.info }))).toThrow(/info of another certificate/)
  })

  test('a group: uploaded, or by reference', () => {
    const signingCertificates = { primary: { certificate: first.certificate } }
    expect(group({ attestation: { type: 'x509', x509: { signingCertificates } } }).attestation).toMatchObject({
      x509: { signingCertificates: { primary: { info: { subjectName: 'CN=dev' } } } },
    })
    const caReferences = { primary: 'one', secondary: 'two' }
    expect(group({ attestation: { type: 'x509', x509: { caReferences } } }).attestation).toEqual({
      type: 'x509',
      x509: { caReferences },
    })
  })
})

const deep = (levels: number): object => (levels === 0 ? {} : { a: deep(levels - 1) })
const x509 = (kinds: object) => ({ attestation: { type: 'x509', x509: kinds } })

const badIndividuals: [string, object, RegExp][] = [
  ['no id', { registrationId: undefined }, /registrationId must be a value, found nothing/],
  ['another id', { registrationId: 'other' }, /registrationId must be the id in the path, "dev", found "other"/],
  ['id of another type', { registrationId: 7 }, /registrationId must be a string, found a number/],
  ['device id', { deviceId: 'a/b' }, /deviceId must be 1 to 128 characters .* found "a\/b"/],
  ['device id type', { deviceId: ['a'] }, /deviceId must be a string, found an array/],
  ['no attestation', { attestation: undefined }, /attestation must be a value, found nothing/],
  ['attestation type missing', { attestation: {} }, /attestation.type must be a value/],
  [
    'attestation unknown',
    { attestation: { type: 'retina' } },
    /must be one of none, tpm, x509, symmetricKey, found "retina"/,
  ],
  ['attestation none', { attestation: { type: 'none' } }, /must be x509 or symmetricKey/],
  ['two attestations', { attestation: { ...symmetricKey, tpm: {} } }, /tpm must be absent/],
  ['two attestations', { attestation: { ...symmetricKey, x509: {} } }, /x509 must be absent/],
  [
    'key no base64',
    { attestation: { type: 'symmetricKey', symmetricKey: { primaryKey: 'a b' } } },
    /primaryKey must be base64 of 16 to 64 bytes/,
  ],
  [
    'key short',
    { attestation: { type: 'symmetricKey', symmetricKey: { secondaryKey: 'AAAA' } } },
    /secondaryKey must be base64 of 16 to 64/,
  ],
  [
    'key long',
    { attestation: { type: 'symmetricKey', symmetricKey: { primaryKey: Buffer.alloc(65).toString('base64') } } },
    /primaryKey must be/,
  ],
  [
    'key type',
    { attestation: { type: 'symmetricKey', symmetricKey: { primaryKey: 3 } } },
    /primaryKey must be a string/,
  ],
  ['no x509', { attestation: { type: 'x509' } }, /attestation.x509 must be a value/],
  ['empty x509', x509({}), /x509 must be an object with clientCertificates and nothing else, found none/],
  [
    'x509 of a group',
    x509({ caReferences: { primary: 'a' } }),
    /clientCertificates and nothing else, found caReferences/,
  ],
  [
    'two kinds',
    x509({ clientCertificates: {}, signingCertificates: {} }),
    /found clientCertificates and signingCertificates/,
  ],
  ['no slot', x509({ clientCertificates: {} }), /primary must be given, or secondary, found neither/],
  [
    'no certificate',
    x509({ clientCertificates: { primary: { certificate: 'AAAA' } } }),
    /primary.certificate must be a certificate/,
  ],
  ['slot type', x509({ clientCertificates: { primary: 'PEM' } }), /primary must be an object, found a string/],
  ['capabilities', { capabilities: true }, /capabilities must be an object/],
  ['edge flag', { capabilities: { iotEdge: 'yes' } }, /capabilities.iotEdge must be true or false, found a string/],
  ['status', { provisioningStatus: 'paused' }, /provisioningStatus must be one of enabled, disabled/],
  ['policy', { reprovisionPolicy: [] }, /reprovisionPolicy must be an object/],
  ['policy member', { reprovisionPolicy: { migrateDeviceData: 1 } }, /migrateDeviceData must be true or false/],
  ['allocation', { allocationPolicy: 'nearest' }, /allocationPolicy must be one of hashed/],
  ['custom without a webhook', { allocationPolicy: 'custom' }, /customAllocationDefinition must be webhookUrl and/],
  ['webhook without version', webhook({ apiVersion: undefined }), /customAllocationDefinition.apiVersion must be/],
  ['webhook without URL', webhook({ webhookUrl: null }), /customAllocationDefinition.webhookUrl must be a value/],
  ['webhook URL', webhook({ webhookUrl: 'functions.example/api' }), /webhookUrl must be an http or https URL/],
  ['webhook scheme', webhook({ webhookUrl: 'file:///etc/passwd' }), /webhookUrl must be an http or https URL/],
  ['webhook user', webhook({ webhookUrl: 'https://u:p@x.example' }), /without user name and password/],
  ['webhook length', webhook({ webhookUrl: `https://x/${'y'.repeat(2_048)}` }), /at most 2048 characters/],
  ['webhook version', webhook({ apiVersion: 'latest' }), /apiVersion must be 2018-09-01-preview or a later/],
  ['webhook old version', webhook({ apiVersion: '2017-11-15' }), /apiVersion must be 2018-09-01-preview or a later/],
  ['credential policy', { credentialPolicyName: 'p' }, /credentialPolicyName must be absent/],
  [
    'hub not linked',
    { iotHubs: ['hub-c.example'] },
    /iotHubs must be host names of linked hubs \(hub-a.example, hub-b.example\), found "hub-c.example"/,
  ],
  ['hubs type', { iotHubs: HUB_A }, /iotHubs must be an array of strings/],
  ['hubs items', { iotHubs: [1] }, /iotHubs must be an array of strings/],
  ['too many hubs', { iotHubs: Array.from({ length: 51 }, () => HUB_A) }, /at most 50 host names, found 51/],
  ['older hub name', { iotHubHostName: 'hub-c.example' }, /iotHubHostName must be host names of linked hubs/],
  [
    'two opinions',
    { iotHubHostName: HUB_A, iotHubs: [HUB_B] },
    /iotHubs must be absent or the hub that iotHubHostName names/,
  ],
  ['static without', { allocationPolicy: 'static' }, /exactly one hub, because allocationPolicy is static, found 0/],
  ['static with two', { allocationPolicy: 'static', iotHubs: [HUB_A, HUB_B] }, /exactly one hub.* found 2/],
  ['twin', { initialTwin: 'x' }, /initialTwin must be an object/],
  ['tags', { initialTwin: { tags: [] } }, /initialTwin.tags must be an object/],
  ['tag name', { initialTwin: { tags: { 'a.b': 1 } } }, /tags must be names without/],
  ['desired name', { initialTwin: { properties: { desired: { $x: 1 } } } }, /desired must be names without/],
  ['null in an array', { initialTwin: { tags: { a: [null] } } }, /tags.a\[0\] must be a value, found null/],
  ['deep tags', { initialTwin: { tags: deep(30) } }, /levels deep at most/],
  ['very deep tags', { initialTwin: { tags: deep(5_000) } }, /levels deep at most/],
  [
    'deep information',
    { optionalDeviceInformation: deep(30) },
    /optionalDeviceInformation must be nested 10 levels deep at most/,
  ],
  ['very deep information', { optionalDeviceInformation: deep(5_000) }, /nested 10 levels deep at most/],
  ['information', { optionalDeviceInformation: 3 }, /optionalDeviceInformation must be an object/],
  ['information', { optionalDeviceInformation: [] }, /optionalDeviceInformation must be an object, found an array/],
]

const badGroups: [string, object, RegExp][] = [
  ['no id', { enrollmentGroupId: undefined }, /enrollmentGroup.enrollmentGroupId must be a value/],
  ['another id', { enrollmentGroupId: 'other' }, /the id in the path/],
  ['tpm', { attestation: { type: 'tpm', tpm: {} } }, /TPM attestation is for individual enrollments only/],
  ['client certificates', x509({ clientCertificates: {} }), /signingCertificates or caReferences and nothing else/],
  ['both kinds', x509({ signingCertificates: {}, caReferences: {} }), /nothing else/],
  ['references', x509({ caReferences: { primary: 3 } }), /caReferences.primary must be a string/],
  ['empty references', x509({ caReferences: { primary: '' } }), /given, or secondary, found neither/],
  ['long reference', x509({ caReferences: { primary: 'a'.repeat(65) } }), /at most 64 characters, found one of 65/],
]

test.each(badIndividuals)('an individual enrollment is refused: %s', async (_name, more, message) => {
  const { code, message: found } = await refusal(() => individual(more))
  expect(code).toBe(400004)
  expect(found).toMatch(message)
})

test('TPM keys are kept with their length in front, and shown', () => {
  const { endorsementKey, storageRootKey } = tpm
  const bare = Buffer.from(endorsementKey, 'base64').subarray(2).toString('base64')
  for (const [given, kept] of [
    [{ endorsementKey }, { endorsementKey }],
    [{ endorsementKey: bare, storageRootKey: '' }, { endorsementKey }],
    [
      { endorsementKey, storageRootKey },
      { endorsementKey, storageRootKey },
    ],
  ]) {
    const { attestation } = individual({ attestation: { type: 'TPM', tpm: given } })
    expect(attestation).toEqual({ type: 'tpm', tpm: kept })
    expect(attestationDocument(attestation, 'shown')).toEqual(attestation)
  }
})

test.each([
  ['no endorsement key', { endorsementKey: 'A' }, 400201, /endorsementKey must be .*, found none: expected base64/],
  ['an elliptic one', { endorsementKey: tpm.storageRootKey }, 400201, /must be an RSA key, found an elliptic one/],
  [
    'no storage root key',
    { endorsementKey: tpm.endorsementKey, storageRootKey: 'AAAA' },
    400203,
    /storageRootKey must be .*, found none/,
  ],
])('TPM keys that are refused: %s', async (_name, keys, code, message) => {
  const found = await refusal(() => individual({ attestation: { type: 'tpm', tpm: keys } }))
  expect(found).toEqual({ code, message: expect.stringMatching(message) })
})

test.each(badGroups)('an enrollment group is refused: %s', async (_name, more, message) => {
  const { code, message: found } = await refusal(() => group(more))
  expect(code).toBe(400004)
  expect(found).toMatch(message)
})

test.each([undefined, null, [], 'text', 7])('a body that is no object is refused: %j', async (body) => {
  expect(await refusal(() => parseIndividualEnrollment(body, context({})))).toMatchObject({ code: 400004 })
  expect(await refusal(() => parseEnrollmentGroup(body, context({})))).toMatchObject({ code: 400004 })
})

test('a complaint never repeats a key', async () => {
  const secret = 'c2VjcmV0LXNlY3JldC1zZWNyZXQ*'
  const { message } = await refusal(() =>
    individual({ attestation: { type: 'symmetricKey', symmetricKey: { primaryKey: secret } } }),
  )
  expect(message).not.toContain(secret)
})

test('twins that are too large for the hub are refused here', async () => {
  const tags = Object.fromEntries(Array.from({ length: 3 }, (_, at) => [`t${at}`, 'x'.repeat(4_000)]))
  expect(await refusal(() => individual({ initialTwin: { tags } }))).toMatchObject({
    message: expect.stringContaining('bytes'),
  })
})

/**
 * Makes the fixture of this version: `node tests/upgrade/make-fixture.ts`. Once a release, and never again for a version that
 * was released: its data folders are on users' disks. The keys inside belong to nobody.
 */
import { execFileSync } from 'node:child_process'
import { rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { version } from '../../src/base/version.ts'
import { createAuthority, issueDeviceCertificate } from '../../src/crypto/issuing.ts'
import { managed, uploadCa } from '../support/control-plane.ts'
import { deviceApi } from '../support/device-api.ts'
import {
  type Attested,
  caReferences,
  clientCertificates,
  initialTwin,
  newKey,
  signingCertificates,
  symmetricKeys,
} from '../support/enrollments.ts'
import { hubOf } from '../support/hub.ts'
import { startMuster } from '../support/muster.ts'
import { connectDevice, derivedKey, sas } from '../support/raw-client.ts'
import { restOf } from '../support/rest.ts'
import { enrolling, succeeded } from '../support/service-client.ts'
import { tpmDouble } from '../support/tpm-double.ts'
import type { Fixture } from './fixture.ts'
import { snapshotOf } from './snapshot.ts'

const LONG = { days: 36_500, keyType: 'ec', now: Date.now() } as const
const muster = await startMuster()
const devices = deviceApi(muster)
const dps = enrolling(muster)
const { hostName, connectionString } = hubOf(muster)
const hub = restOf(muster, connectionString)

const authority = await createAuthority({ ...LONG, commonName: 'upgrade root' })
const intermediate = await createAuthority({ ...LONG, commonName: 'upgrade intermediate', issuer: authority })
await uploadCa(muster, 'upgrade-root', authority.certificate)
await uploadCa(muster, 'not-proved', (await createAuthority({ ...LONG, commonName: 'other root' })).certificate, {
  verified: false,
})

const groupKey = newKey()
const key = newKey()
const x509Device = await issueDeviceCertificate({ ...LONG, authority: intermediate, commonName: 'group-cert' })
const ownCertificate = await issueDeviceCertificate({ ...LONG, commonName: 'own-cert' })
await dps.enrollGroup('keys', { ...symmetricKeys(groupKey, newKey()), initialTwin, capabilities: { iotEdge: true } })
await dps.enrollGroup('by-root', caReferences('upgrade-root'))
await dps.enrollGroup('by-intermediate', signingCertificates(intermediate.certificate))
const individual = (id: string, attested: Attested, more = {}) => dps.enroll(id, { ...attested, ...more })
await individual('own-key', symmetricKeys(key, newKey()), { deviceId: 'named-otherwise', initialTwin })
await individual('own-cert', clientCertificates(ownCertificate.certificate))
await individual('disabled', symmetricKeys(newKey(), newKey()), { provisioningStatus: 'disabled' })
await individual('tpm', { attestation: { type: 'tpm', tpm: { endorsementKey: tpmDouble().endorsementKey } } })
await individual('webhook', symmetricKeys(newKey(), newKey()), {
  allocationPolicy: 'custom',
  customAllocationDefinition: { webhookUrl: 'https://example.net/allocate', apiVersion: '2019-03-31' },
})

const groupId = 'group-key-device'
await devices.settled({ registrationId: groupId, authorization: devices.token(groupId, derivedKey(groupKey, groupId)) })
await devices.settled({ registrationId: 'own-key', authorization: devices.token('own-key', key) })
await devices.settled({
  registrationId: 'group-cert',
  certificate: { cert: x509Device.certificate + intermediate.certificate, key: x509Device.key },
})
await devices.settled({
  registrationId: 'own-cert',
  certificate: { cert: ownCertificate.certificate, key: ownCertificate.key },
})

const put = async (path: string, body: object) =>
  succeeded(await hub('PUT', `${path}?api-version=2021-04-12`, { body }))
await put('/devices/by-hand', { deviceId: 'by-hand', status: 'disabled', statusReason: 'for the upgrade suite' })
await put('/devices/by-hand/modules/sensor', { deviceId: 'by-hand', moduleId: 'sensor' })
await managed(muster, 'PUT', '/IotHubs/second-hub', {
  body: { location: 'elsewhere', properties: { hostNames: ['second.example.net'] }, tags: { since: version } },
})

const device = await connectDevice(
  { host: muster.addresses.address, port: muster.addresses.ports.mqtts, ca: muster.ca },
  {
    hubHost: hostName,
    deviceId: groupId,
    password: sas(`${hostName}/devices/${groupId}`, derivedKey(groupKey, groupId)),
  },
)
for (let n = 0; n < 25; n++) await device.publish(`devices/${groupId}/messages/events/n=${n}`, `message ${n}`)
await device.publish('$iothub/twin/PATCH/properties/reported/?$rid=1', '{"firmware":"1.2.3","nested":{"list":[1,2]}}')
device.end()
await device.closed

// What the disconnected device leaves behind is written at the stop, so the state is told by a second start.
await muster.app.stop()
const again = await startMuster({ config: { dataFolder: join(muster.folder, 'data') } })
const fixture: Fixture = {
  snapshot: await snapshotOf(again),
  keys: { [groupId]: derivedKey(groupKey, groupId), 'own-key': key },
  certificates: {
    'group-cert': { cert: x509Device.certificate + intermediate.certificate, key: x509Device.key },
    'own-cert': { cert: ownCertificate.certificate, key: ownCertificate.key },
  },
}
await again.stop()
writeFileSync(join(muster.folder, 'data', 'fixture.json'), JSON.stringify(fixture))
const archive = join(import.meta.dirname, 'fixtures', `${version}.tar.gz`)
execFileSync('tar', ['-C', muster.folder, '-czf', archive, 'data'])
rmSync(muster.folder, { recursive: true })
process.stdout.write(`${archive}\n`)

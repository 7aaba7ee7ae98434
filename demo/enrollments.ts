import { readFile } from 'node:fs/promises'
import type { Commands } from './commands.ts'
import type { Enrolled } from './demo.ts'
import type { Device } from './device.ts'

const cert = (name: string): string => `certs/azure-iot-test-only.${name}.cert.pem`
const identity = (name: string): string => `iot-edge-device-identity-${name}`

/** A root with two branches: plant, line-1 (two intermediates for one group) and supplier (uploaded for another). */
export async function makeCertificates({ muster }: Commands): Promise<void> {
  await muster('certs', 'root')
  await muster('certs', 'intermediate', 'plant')
  await muster('certs', 'intermediate', 'line-1', '--issuer', 'plant')
  await muster('certs', 'intermediate', 'supplier')
  await muster('certs', 'device', 'sensor-01', '--self-signed')
  await muster('certs', 'device', 'press-02', '--issuer', 'line-1')
  await muster('certs', 'device', 'pump-03', '--issuer', 'supplier')
}

/** The service trusts a CA once somebody has shown to hold its key (dps.md 7.3). */
export async function proveRoot({ muster, json }: Commands): Promise<void> {
  await muster('dps', 'certificate', 'create', '-n', 'demo-root', '--path', cert('root.ca'))
  const { properties } = (await json('dps', 'certificate', 'generate-verification-code', '-n', 'demo-root')) as {
    properties: { verificationCode: string }
  }
  await muster('certs', 'verification', properties.verificationCode)
  const proof = 'certs/iot-device-verification-code.cert.pem'
  const verified = (await json('dps', 'certificate', 'verify', '-n', 'demo-root', '--path', proof)) as {
    properties: { isVerified: boolean }
  }
  if (!verified.properties.isVerified) throw new Error('Expected the root to be verified now, found that it is not.')
}

/** Five enrollments, one of each kind, and the device that belongs to each. */
export async function enroll(commands: Commands): Promise<readonly Enrolled[]> {
  const { idScope, dps } = JSON.parse(await readFile(commands.readyFile, 'utf8')) as {
    idScope: string
    dps: { hostName: string }
  }
  const device = (registrationId: string, credential: Device['credential']): Device => ({
    provisioningHost: dps.hostName,
    idScope,
    registrationId,
    credential,
  })
  return [
    await selfSigned(commands, device),
    await twoIntermediates(commands, device),
    await uploadedIntermediate(commands, device),
    await ownKey(commands, device),
    await derivedKey(commands, device),
  ]
}

type MakeDevice = (registrationId: string, credential: Device['credential']) => Device

async function selfSigned(commands: Commands, device: MakeDevice): Promise<Enrolled> {
  const tags = { site: 'lisbon', kind: 'sensor' }
  const file = `certs/${identity('sensor-01')}.cert.pem`
  await create(commands, 'enrollment', 'sensor-01', tags, '--attestation-type', 'x509', '--certificate-path', file)
  return {
    enrollment: 'sensor-01',
    attestation: 'X.509\nself-signed',
    device: device('sensor-01', await x509(commands, 'sensor-01')),
    tags,
  }
}

async function twoIntermediates(commands: Commands, device: MakeDevice): Promise<Enrolled> {
  const tags = { site: 'lyon', kind: 'press' }
  await create(commands, 'enrollment-group', 'presses', tags, '--root-ca-name', 'demo-root')
  return {
    enrollment: 'presses\n(group)',
    attestation: 'X.509\nverified root,\n2 intermediates',
    device: device('press-02', await x509(commands, 'press-02')),
    tags,
  }
}

async function uploadedIntermediate(commands: Commands, device: MakeDevice): Promise<Enrolled> {
  const tags = { site: 'porto', kind: 'pump' }
  await create(commands, 'enrollment-group', 'pumps', tags, '--certificate-path', cert('supplier'))
  return {
    enrollment: 'pumps\n(group)',
    attestation: 'X.509\nuploaded\nintermediate',
    device: device('pump-03', await x509(commands, 'pump-03')),
    tags,
  }
}

async function ownKey(commands: Commands, device: MakeDevice): Promise<Enrolled> {
  const tags = { site: 'lisbon', kind: 'meter' }
  const attestation = ['--attestation-type', 'symmetricKey', '--show-keys']
  const key = primaryKey(await create(commands, 'enrollment', 'meter-04', tags, ...attestation))
  return {
    enrollment: 'meter-04',
    attestation: 'symmetric key',
    device: device('meter-04', { kind: 'symmetricKey', key }),
    tags,
  }
}

async function derivedKey(commands: Commands, device: MakeDevice): Promise<Enrolled> {
  const tags = { site: 'lyon', kind: 'valve' }
  const groupKey = primaryKey(await create(commands, 'enrollment-group', 'valves', tags, '--show-keys'))
  const key = (await commands.musterReading(groupKey, 'derive-key', '--registration-id', 'valve-05')).trim()
  return {
    enrollment: 'valves\n(group)',
    attestation: 'symmetric key\nderived',
    device: device('valve-05', { kind: 'symmetricKey', key }),
    tags,
  }
}

const create = (
  { json }: Commands,
  kind: 'enrollment' | 'enrollment-group',
  id: string,
  tags: object,
  ...attestation: readonly string[]
): Promise<unknown> => json('dps', kind, 'create', '--eid', id, ...attestation, '--tags', JSON.stringify(tags))

/** Of the document that a create with --show-keys answers with. */
const primaryKey = (enrollment: unknown): string =>
  (enrollment as { attestation: { symmetricKey: { primaryKey: string } } }).attestation.symmetricKey.primaryKey

async function x509({ file }: Commands, name: string): Promise<Device['credential']> {
  return {
    kind: 'x509',
    cert: await file(`certs/${identity(name)}-full-chain.cert.pem`),
    key: await file(`private/${identity(name)}.key.pem`),
  }
}

import { execFile, execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { systemClock } from '../../src/base/clock.ts'
import { HANDLES, HIERARCHIES, tpmCommands } from '../../src/tpm-device/commands.ts'
import { ENDORSEMENT_TEMPLATES, registrationIdOf, tpmDevice } from '../../src/tpm-device/keys.ts'
import { openTpm, type TpmTransport } from '../../src/tpm-device/transport.ts'
import { stopClean } from '../support/clean-stop.ts'
import { muster as commandLine } from '../support/command-line.ts'
import { hubOf } from '../support/hub.ts'
import { startMuster, type TestMuster } from '../support/muster.ts'
import { type Enrolling, enrolling } from '../support/service-client.ts'
import type { DeviceJob } from './node-device.ts'
import { canHaveSwtpm, type SoftwareTpm, startSwtpm } from './swtpm.ts'

// The unmodified Node SDK with a software TPM, over HTTPS and then to the hub over MQTT.

const isPossible = canHaveSwtpm()
if (!isPossible) console.warn('TPM: skipped, it needs swtpm (Debian: apt-get install swtpm) and could not install it.')

const PACKAGES = [
  'azure-iot-security-tpm@1.9.3',
  'azure-iot-provisioning-device@1.9.1',
  'azure-iot-provisioning-device-http@1.9.1',
  'azure-iot-device@1.18.4',
  'azure-iot-device-mqtt@1.16.4',
]

let muster: TestMuster
let dps: Enrolling
let packages: string
let caFile: string

beforeAll(async () => {
  if (!isPossible) return
  packages = mkdtempSync(join(tmpdir(), 'muster-tpm-'))
  // Native parts of tss.js are for Windows alone and do not compile any more (attestation-crypto.md A9).
  const options = ['--ignore-scripts', '--no-audit', '--no-fund', '--prefix', packages]
  execFileSync('npm', ['install', ...options, ...PACKAGES], { stdio: 'ignore', cwd: packages })
  muster = await startMuster({
    standardPorts: true,
    config: { registration: { assigningMs: 0, retryAfterSeconds: 1 } },
  })
  caFile = join(packages, 'ca.pem')
  writeFileSync(caFile, muster.ca)
  dps = enrolling(muster)
}, 300_000)
afterAll(async () => {
  if (!isPossible) return
  rmSync(packages, { recursive: true, force: true })
  await stopClean(muster)
})

interface Ended {
  readonly code: number
  readonly answer: Record<string, string> | undefined
  readonly errors: string
}

function device(job: Omit<DeviceJob, 'packages'>): Promise<Ended> {
  const script = new URL('node-device.ts', import.meta.url).pathname
  const env = { ...process.env, NODE_EXTRA_CA_CERTS: caFile, NODE_NO_WARNINGS: '1' }
  const all = JSON.stringify({ packages, ...job } satisfies DeviceJob)
  return new Promise((resolve) => {
    execFile(process.execPath, [script, all], { env, timeout: 60_000 }, (error, stdout, stderr) => {
      const code = error === null ? 0 : Number(error.code ?? 1)
      resolve({ code, errors: stderr, answer: stdout === '' ? undefined : JSON.parse(stdout) })
    })
  })
}

const registering = (tpm: SoftwareTpm, registrationId: string, more: Partial<DeviceJob> = {}): Promise<Ended> => {
  const { dps, idScope } = muster.addresses
  return device({ tpmPort: tpm.port, do: 'register', registrationId, hostName: dps.hostName, idScope, ...more })
}

async function onTpm<T>({ port }: SoftwareTpm, use: (transport: TpmTransport) => Promise<T>): Promise<T> {
  const transport = await openTpm({ kind: 'raw', at: { host: '127.0.0.1', port } }, systemClock)
  try {
    return await use(transport)
  } finally {
    await transport.close()
  }
}

const enroll = (registrationId: string, endorsementKey: string) =>
  dps.enroll(registrationId, { attestation: { type: 'tpm', tpm: { endorsementKey } } })

test.runIf(isPossible)('a fresh TPM: the SDK makes its keys, registers, uses the hub, registers again', async () => {
  const tpm = await startSwtpm()
  try {
    const { answer: shown, errors } = await device({ tpmPort: tpm.port, do: 'show' })
    expect(shown, errors).toBeDefined()
    const { registrationId = '', endorsementKey = '' } = shown ?? {}
    const printed = await commandLine(['tpm', '--device', `tcp:127.0.0.1:${tpm.port}`])
    expect(JSON.parse(printed.out)).toEqual({
      ...shown,
      endorsementKeyTemplate: 'endorsement hierarchy, empty unique',
      templateUsedBy: 'the Node and C SDKs',
    })
    await enroll(registrationId, endorsementKey)
    for (let round = 0; round < 2; round++) {
      const { answer, errors } = await registering(tpm, registrationId)
      expect(answer, errors).toEqual({ assignedHub: hubOf(muster).hostName, deviceId: registrationId })
    }
  } finally {
    await tpm.stop()
  }
})

/** P-256, as operating systems put it at the storage root key's handle (attestation-crypto.md A3.1). */
const ECC_STORAGE = Buffer.from('0023000b0003047200000006008000430010000300100000' + '0000', 'hex')

test.runIf(isPossible)('keys of muster tpm --create, and an elliptic storage root key', async () => {
  const tpm = await startSwtpm()
  try {
    await onTpm(tpm, async (transport) => {
      await (await tpmDevice(transport)).keys(false)
      const commands = tpmCommands(transport)
      const { handle } = await commands.createPrimary(HIERARCHIES.owner, ECC_STORAGE)
      await commands.persist(handle, HANDLES.storageRootKey)
      await commands.flush(handle)
    })
    const printed = await commandLine(['tpm', '--device', `tcp:127.0.0.1:${tpm.port}`, '--create'])
    const { endorsementKey, storageRootKey, templateUsedBy } = JSON.parse(printed.out) as Record<string, string>
    expect(templateUsedBy).toContain('muster')
    expect(Buffer.from(storageRootKey ?? '', 'base64')).toHaveLength(92)
    await enroll('tpm-elliptic', endorsementKey ?? '')
    const { answer, errors } = await registering(tpm, 'tpm-elliptic')
    expect(answer, errors).toEqual({ assignedHub: hubOf(muster).hostName, deviceId: 'tpm-elliptic' })
  } finally {
    await tpm.stop()
  }
})

test.runIf(isPossible)('a failed activation ends the device’s process, not the service', async () => {
  const tpm = await startSwtpm()
  try {
    const { answer } = await device({ tpmPort: tpm.port, do: 'show' })
    const { registrationId = '', endorsementKey = '' } = answer ?? {}
    await enroll(registrationId, endorsementKey)
    const failed = await registering(tpm, registrationId, { tamper: true })
    expect(failed.errors).toContain('TypeError: Cannot read properties of undefined')
    const { answer: done, errors } = await registering(tpm, registrationId)
    expect(done, errors).toMatchObject({ deviceId: registrationId })
  } finally {
    await tpm.stop()
  }
})

test.runIf(isPossible)('a TPM that nobody enrolled, and one under another’s name', async () => {
  const [mine, other] = [await startSwtpm(), await startSwtpm()]
  try {
    expect((await registering(mine, 'tpm-unknown')).errors).toContain('did NOT respond with an unauthorized error')
    const { answer } = await device({ tpmPort: mine.port, do: 'show' })
    await enroll('tpm-mine', answer?.['endorsementKey'] ?? '')
    expect((await registering(other, 'tpm-mine')).errors).toContain('FormatError')
  } finally {
    await Promise.all([mine.stop(), other.stop()])
  }
})

test.runIf(isPossible).each(ENDORSEMENT_TEMPLATES)('an endorsement key made from: $name', async (template) => {
  const tpm = await startSwtpm()
  try {
    await onTpm(tpm, async (transport) => {
      const device = await tpmDevice(transport)
      const commands = tpmCommands(transport)
      const { handle, bytes } = await commands.createPrimary(template.hierarchy, template.area)
      await commands.persist(handle, HANDLES.endorsementKey)
      await commands.flush(handle)
      expect(await device.templateOf(bytes)).toBe(template)
      const { endorsementKey } = await device.keys(true)
      expect(endorsementKey).toEqual(bytes)
      expect(registrationIdOf(bytes)).toMatch(/^[a-z2-7]{52}$/)
    })
  } finally {
    await tpm.stop()
  }
})

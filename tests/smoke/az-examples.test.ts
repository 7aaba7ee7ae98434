import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { createAuthority, issueVerificationCertificate } from '../../src/crypto/issuing.ts'
import { examples, masked, wordsOf } from '../support/az-examples.ts'
import { muster as runMuster, writeReadyFile } from '../support/command-line.ts'
import { deviceApi } from '../support/device-api.ts'
import { newKey } from '../support/enrollments.ts'
import { startMuster, type TestMuster } from '../support/muster.ts'
import { tpmDouble } from '../support/tpm-double.ts'

// Issue 4, acceptance 1: what Microsoft's documentation types after "az iot", typed after "muster", does the same.
let muster: TestMuster
let readyFile: string
/** What stands in the documentation, and what is meant here. */
const meant = new Map<string, string>()
/** The etags of answers, by the names of what they were of. */
const etags = new Map<string, string>()
const golden = join(import.meta.dirname, '..', 'golden', 'cli')

beforeAll(async () => {
  muster = await startMuster()
  readyFile = writeReadyFile(muster)
  await certificates()
  const hub = muster.addresses.hubs[0]!.hostName.replace(/:\d+$/, '')
  const { endorsementKey } = tpmDouble()
  const values: Record<string, string> = {
    '{dps_name}': 'muster-dps',
    '{enrollment_id}': 'enrollment-1',
    '{tpm_enrollment_id}': 'enrollment-2',
    '{symmetric_key_enrollment_id}': 'enrollment-3',
    '{ca_enrollment_id}': 'enrollment-ca',
    '{device_id}': 'device-1',
    '{registration_id}': 'sensor-1',
    '{primary_key}': newKey(),
    '{secondary_key}': newKey(),
    '{new_primary_key}': newKey(),
    '{reprovision_type}': 'reprovisionandresetdata',
    '{iot_hub_host_name}': hub,
    '{iot_hub_host_name1}': hub,
    '{iot_hub_host_name2}': 'myhub.azure-devices.net',
    '{iot_hub_host_name3}': 'myhub3.azure-devices.net',
    '{webhook_url}': 'https://allocation.example.net/api/allocate?code=function-key',
    '{api_version}': '2019-03-31',
    '{certificate_name}': 'Test-Only-Root',
    '14963E8F3BA5B3984110B3C1CA8E8B89': endorsementKey,
    'SharedAccessKey=12345': `SharedAccessKey=${newKey(32)}`,
    'MyLinkedHub.azure-devices.net': 'myhub.azure-devices.net',
    MyLinkedHub: 'muster-hub',
    '{registered_id}': 'registered-1',
    '{registered_group}': 'registered-group',
    '{member_id}': 'member-1',
  }
  for (const [name, value] of Object.entries(values)) meant.set(name, value)
})
afterAll(() => muster.stop())

/** The files of the examples; `.cer` is DER there. */
async function certificates(): Promise<void> {
  const at = (name: string): string => {
    meant.set(`/certificates/${name}`, join(muster.folder, name))
    return join(muster.folder, name)
  }
  const der = (pem: string): Buffer => Buffer.from(pem.replaceAll(/-----[^-]+-----|\s/g, ''), 'base64')
  const authority = await createAuthority({ commonName: 'My root', days: 1, keyType: 'ec', now: Date.now() })
  writeFileSync(at('Certificate.pem'), authority.certificate)
  writeFileSync(at('Certificate.cer'), der(authority.certificate))
  const other = await createAuthority({ commonName: 'My new root', days: 1, keyType: 'ec', now: Date.now() })
  writeFileSync(at('NewCertificate.pem'), other.certificate)
  writeFileSync(at('NewCertificate.cer'), der(other.certificate))
  at('Verification.pem')
  verification = async (code) => {
    const proof = await issueVerificationCertificate({ authority, code, now: Date.now() })
    writeFileSync(join(muster.folder, 'Verification.pem'), proof.certificate)
  }
}
let verification: (code: string) => Promise<unknown>

const filled = (word: string): string => {
  let text = word
  for (const [name, value] of meant) text = text.replaceAll(name, value)
  return text
}

async function typed(line: string): Promise<string> {
  const words = wordsOf(line.replace(/^az iot /, '')).map(filled)
  const named = words[words.findIndex((word) => /^--(enrollment-id|name|certificate-name)$/.test(word)) + 1] ?? ''
  const ran = await runMuster(
    words.map((word) => (word === 'AAAAAAAAAAA=' ? (etags.get(named) ?? word) : word)),
    { readyFile, cwd: muster.folder },
  )
  await remember(named, ran.out)
  const code = ran.code === 0 ? '' : `exit ${ran.code}\n`
  const told = ran.err === '' ? '' : `! ${ran.err}`
  return `$ ${line.replace(/^az iot/, 'muster')}\n${masked(ran.out)}${masked(told)}${code}`
}

/** Etags, and the code that the next certificate must carry. */
async function remember(named: string, out: string): Promise<void> {
  const answer = out.startsWith('{') ? (JSON.parse(out) as Record<string, unknown>) : {}
  if (typeof answer['etag'] === 'string') etags.set(named, answer['etag'])
  const { verificationCode } = (answer['properties'] ?? {}) as Record<string, unknown>
  if (typeof verificationCode === 'string') await verification(verificationCode)
}

/** Devices for the commands that look at their records. */
async function registered(): Promise<void> {
  const api = deviceApi(muster)
  expect((await api.settled(await api.enrolled('registered-1'))).status).toBe(200)
  const run = (...words: string[]) => runMuster(['dps', ...words], { readyFile, cwd: muster.folder })
  const group = await run('enrollment-group', 'create', '--eid', 'registered-group', '-n', 'muster-dps', '--show-keys')
  const key = JSON.parse(group.out).attestation.symmetricKey.primaryKey as string
  const derived = await run('compute-device-key', '--key', key, '--rid', 'member-1', '-o', 'tsv')
  const authorization = api.token('member-1', derived.out.trim())
  expect((await api.settled({ registrationId: 'member-1', authorization })).status).toBe(200)
}

/** Hubs that the examples of enrollments name. */
async function linked(): Promise<void> {
  for (const host of ['myhub.azure-devices.net', 'myhub3.azure-devices.net']) {
    const text = `HostName=${host};SharedAccessKeyName=iothubowner;SharedAccessKey=${newKey(32)}`
    const words = ['dps', 'linked-hub', 'create', '--dps-name', 'muster-dps', '--connection-string', text, '-o', 'none']
    expect(await runMuster(words, { readyFile })).toEqual({ code: 0, out: '', err: '' })
  }
}

const before: Partial<Record<keyof typeof examples, () => Promise<void>>> = {
  enrollments: linked,
  registrations: registered,
}

test.for(Object.keys(examples) as (keyof typeof examples)[])('%s', async (topic) => {
  await before[topic]?.()
  const said: string[] = []
  for (const line of examples[topic].split('\n').map((each) => each.trim()))
    if (line !== '') said.push(await typed(line))
  const file = join(golden, `az-${topic}.txt`)
  if (process.env['UPDATE_GOLDEN'] === '1') writeFileSync(file, said.join('\n'))
  expect(said.join('\n'), 'UPDATE_GOLDEN=1 rewrites it').toBe(readFileSync(file, 'utf8'))
})

import { X509Certificate } from 'node:crypto'
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { muster } from '../../tests/support/command-line.ts'
import { TestClock } from '../base/clock.ts'

let folder: string
const clock = new TestClock()
const certs = (...words: string[]) => muster(['certs', ...words], { cwd: folder, clock })
const pem = (name: string) => readFileSync(join(folder, 'certs', name), 'utf8')
const read = (name: string) => new X509Certificate(pem(name))
const chainOf = (name: string) =>
  pem(name)
    .split(/(?<=-----END CERTIFICATE-----\n)/)
    .map((text) => new X509Certificate(text))

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'muster-certs-'))
})
afterAll(() => rmSync(folder, { recursive: true, force: true }))

test('the script’s first command makes the script’s files', async () => {
  const ran = await certs('create_root_and_intermediate')
  expect(ran).toMatchObject({ code: 0, err: '' })
  expect(ran.out.trim().split('\n')).toHaveLength(5)
  expect(readdirSync(join(folder, 'certs')).sort()).toEqual([
    'azure-iot-test-only.intermediate-full-chain.cert.pem',
    'azure-iot-test-only.intermediate.cert.pem',
    'azure-iot-test-only.root.ca.cert.pem',
  ])
  const root = read('azure-iot-test-only.root.ca.cert.pem')
  expect(root.subject).toBe('CN=Azure_IoT_Hub_CA_Cert_Test_Only')
  expect(root.ca).toBe(true)
  expect(read('azure-iot-test-only.intermediate.cert.pem').verify(root.publicKey)).toBe(true)
})

test('keys are readable by their owner only', () => {
  const files = readdirSync(join(folder, 'private'))
  expect(files).toContain('azure-iot-test-only.root.ca.key.pem')
  for (const file of files) expect(statSync(join(folder, 'private', file)).mode & 0o777).toBe(0o600)
})

test('a device below two intermediates brings its whole chain, leaf first', async () => {
  await certs('intermediate', 'line-1', '--issuer', 'intermediate')
  const ran = await certs('device', 'press-02', '--issuer', 'line-1', '--days', '7')
  expect(ran).toMatchObject({ code: 0, err: '' })
  const chain = chainOf('iot-edge-device-identity-press-02-full-chain.cert.pem')
  expect(chain.map(({ subject }) => subject)).toEqual([
    'CN=press-02',
    'CN=line-1',
    'CN=Azure_IoT_Hub_Intermediate_Cert_Test_Only',
    'CN=Azure_IoT_Hub_CA_Cert_Test_Only',
  ])
  for (const [at, issuer] of chain.slice(1).entries()) expect(chain[at]!.verify(issuer.publicKey)).toBe(true)
  expect(Date.parse(chain[0]!.validTo) - clock.now()).toBe(7 * 24 * 60 * 60 * 1000)
})

test('a self-signed device is signed by its own key, an RSA one has RSA', async () => {
  await certs('device', 'sensor-01', '--self-signed', '--key-type', 'rsa')
  const certificate = read('iot-edge-device-identity-sensor-01.cert.pem')
  expect(certificate.verify(certificate.publicKey)).toBe(true)
  expect(certificate.ca).toBe(false)
  expect(certificate.publicKey.asymmetricKeyType).toBe('rsa')
})

test('a verification certificate carries the code and is signed by the root', async () => {
  const code = '75A1C2E3F4D5B6A7980716253443526170FFEEDDCCBBAA99'
  expect((await certs('verification', code)).code).toBe(0)
  const certificate = read('iot-device-verification-code.cert.pem')
  expect(certificate.subject).toBe(`CN=${code}`)
  expect(certificate.verify(read('azure-iot-test-only.root.ca.cert.pem').publicKey)).toBe(true)
})

test('what exists is not overwritten, unless it is asked for', async () => {
  const before = pem('azure-iot-test-only.root.ca.cert.pem')
  const refused = await certs('root')
  expect(refused).toMatchObject({ code: 2, out: '' })
  expect(refused.err).toContain('azure-iot-test-only.root.ca.cert.pem yet, found one')
  expect(pem('azure-iot-test-only.root.ca.cert.pem')).toBe(before)
  expect((await certs('root', '--force')).code).toBe(0)
  expect(pem('azure-iot-test-only.root.ca.cert.pem')).not.toBe(before)
})

test('a CA that is not there is named, with the command that makes it', async () => {
  const ran = await certs('device', 'd1', '--issuer', 'nowhere')
  expect(ran.code).toBe(2)
  expect(ran.err).toContain('Make it first with "muster certs intermediate nowhere"')
})

test.each(['../escape', '', 'a b', '.hidden', 'x'.repeat(65)])('the name %j is refused', async (name) => {
  const ran = await certs('device', name)
  expect(ran.code).toBe(2)
  expect(readdirSync(join(folder, '..'))).not.toContain('escape.cert.pem')
})

test.each([
  ['--days', '0'],
  ['--days', 'soon'],
  ['--key-type', 'dsa'],
])('%s %s is refused', async (option, value) => {
  const ran = await certs('device', 'never', option, value)
  expect(ran.code).toBe(2)
  expect(readdirSync(join(folder, 'certs'))).not.toContain('iot-edge-device-identity-never.cert.pem')
})
